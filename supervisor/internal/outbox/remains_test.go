package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

// edit changes the bytes of a file in place.
func edit(t *testing.T, path string, change func(text []byte)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(text)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// kept makes a database with n messages that wait, and returns its bytes.
func kept(t *testing.T, path string, n int) []byte {
	t.Helper()
	b, stop := start(t, Options{Path: path})
	for i := range n {
		accept(t, b, request(fmt.Sprint("key", i), strings.Repeat("x", 500)))
	}
	stop()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return good
}

// Some bytes that are lost leave a row that is there, but has another id and key.
func TestKeySurvivesInItsIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m := accept(t, b, request("key", "x"))
	stop()
	edit(t, path, func(text []byte) {
		row := []byte(string(m.ID) + "key")
		if n := bytes.Count(text, row); n != 1 {
			t.Fatalf("%d rows", n)
		}
		copy(text[bytes.Index(text, row):], bytes.Repeat([]byte{0xA5}, len(row)))
	})
	b, _ = start(t, Options{Path: path})
	if again, replayed, err := b.Accept(t.Context(), request("key", "x")); err != nil || !replayed || again.ID != m.ID || again.Status != Queued {
		t.Errorf("got %+v, %t, %v", again, replayed, err)
	}
}

// At no step does a kill separate a database that is moved aside from its log.
func TestKillWhileMovingAsideCostsNothing(t *testing.T) {
	const n = 5
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, _ := start(t, Options{Path: path})
	for i := range n {
		accept(t, b, request(fmt.Sprint("key", i), "x"))
	}
	read := func(name string) []byte {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	file, log := read(path), read(path+"-wal") // as a kill leaves them
	if len(log) == 0 {
		t.Fatal("the log is empty")
	}
	for name, left := range map[string]map[string][]byte{
		"log linked":      {"admin.outbox": file, "admin.outbox-wal": log, "admin.outbox.damaged-wal": log},
		"file moved":      {"admin.outbox.damaged": file, "admin.outbox-wal": log, "admin.outbox.damaged-wal": log},
		"all moved":       {"admin.outbox.damaged": file, "admin.outbox.damaged-wal": log},
		"a new one begun": {"admin.outbox": nil, "admin.outbox.damaged": file, "admin.outbox.damaged-wal": log},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			for file, text := range left {
				if err := os.WriteFile(filepath.Join(folder, file), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b, _ := start(t, Options{Path: filepath.Join(folder, "admin.outbox")})
			for i := range n {
				if _, replayed, err := b.Accept(t.Context(), request(fmt.Sprint("key", i), "x")); err != nil || !replayed {
					t.Errorf("key %d: %t, %v", i, replayed, err)
				}
			}
		})
	}
}

// What had become of messages is reported although the file was damaged before, and so is
// that some can't be read.
func TestReportsOfADamagedFileAreSalvaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	r := &reader{news: make(chan struct{}, 1)}
	b, stop := start(t, Options{Path: path, Report: r.report})
	m, bad := accept(t, b, request("1", "one")), accept(t, b, request("2", "two"))
	if _, err := b.Cancel(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	set(t, path, damages["not JSON"])
	if err := os.Rename(path, path+database.AsideSuffix); err != nil {
		t.Fatal(err)
	}
	r.ready = true
	start(t, Options{Path: path, Report: r.report})
	r.await(t, string(m.ID)+" cancelled", string(bad.ID)+" failed")
}

// A login that is imported finds a damaged database, whose keys are still known.
func TestImportSalvagesADamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m := accept(t, b, request("1", "one"))
	stop()
	if err := errors.Join(os.Rename(path, path+database.AsideSuffix), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Import("", path); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, Options{Path: path})
	if got, err := b.Message(m.ID); err != nil || got.Status != Queued {
		t.Errorf("got %+v, %v", got, err)
	}
}

// What can't be taken over now, as another process reads the file, is taken over later.
func TestSalvageIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	kept(t, path, 1)
	aside := path + database.AsideSuffix
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	other, err := database.Open(aside, format) // which locks it
	if err != nil {
		t.Fatal(err)
	}
	b, _ := start(t, Options{Path: path})
	if _, _, err := b.Accept(t.Context(), request("key0", strings.Repeat("x", 500))); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(storePause / 4) {
		_, replayed, err := b.Accept(t.Context(), request("key0", strings.Repeat("x", 500)))
		if err == nil && replayed {
			return
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatalf("got %t, %v", replayed, err)
		}
	}
}

// The size of a file alone is no reason to lose what it has.
func TestHugeFileIsSalvaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	kept(t, path, 1)
	if err := os.Truncate(path, database.MaxFile+1); err != nil {
		t.Fatal(err)
	}
	b, _ := start(t, Options{Path: path})
	if _, replayed, err := b.Accept(t.Context(), request("key0", strings.Repeat("x", 500))); err != nil || !replayed {
		t.Errorf("%t, %v", replayed, err)
	}
}

// A byte that a disk flips, of which the indexes know nothing.
func TestByteFlippedInAMessageCostsNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m, other := accept(t, b, request("1", "one")), accept(t, b, request("2", "two"))
	stop()
	edit(t, path, func(text []byte) {
		entry := bytes.Index(text, []byte(`{"id":"`+string(m.ID)))
		if entry < 0 {
			t.Fatal("the message is not in the file")
		}
		text[entry] ^= 1
	})
	b, _ = start(t, Options{Path: path})
	if got, err := b.Message(m.ID); err != nil || got.Status != Failed {
		t.Errorf("got %s, %v", got.Status, err)
	}
	if got, err := b.Cancel(t.Context(), other.ID); err != nil || got.Status != Cancelled {
		t.Errorf("the other: %s, %v", got.Status, err)
	}
	accept(t, b, request("3", "three"))
}

// Damage of an index that is found only when a message changes stops nothing for long.
func TestDamagedIndexIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m, other := accept(t, b, request("1", "one")), accept(t, b, request("2", "two"))
	stop()
	edit(t, path, func(text []byte) {
		latest := binary.BigEndian.AppendUint64(nil, uint64(m.Times[Queued].UnixMilli()))[2:] // as SQLite writes it
		row := bytes.Index(text, []byte(string(m.ID)+"1"))
		for at := 0; ; at++ {
			next := bytes.Index(text[at:], latest)
			if next < 0 {
				return
			}
			if at += next; at < row || at > row+500 {
				text[at+5] ^= 0xFF
			}
		}
	})
	b, _ = start(t, Options{Path: path})
	for _, id := range []rpc.MessageID{m.ID, other.ID} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(storePause / 4) {
			got, err := b.Cancel(t.Context(), id)
			if err == nil && got.Status == Cancelled {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %s, %v", got.Status, err)
			}
		}
	}
}
