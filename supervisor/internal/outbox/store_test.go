package outbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

// request asks for a message with this text.
func request(key, text string) Request {
	return Request{
		IdempotencyKey: key, Hash: sha256.Sum256([]byte(text)), Reference: "ref",
		Message: rpc.Message{To: "5491123456789@c.us", Text: rpc.Secret(text), ReplyTo: "X", Mentions: []rpc.Secret{"7@lid"}, Preview: true},
	}
}

// start runs an outbox that has no worker, and returns a function that stops it.
func start(t *testing.T, o Options) (*Outbox, func()) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "admin.outbox")
	}
	b := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return b, stop
}

func accept(t *testing.T, o *Outbox, r Request) Message {
	t.Helper()
	m, _, err := o.Accept(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAcceptedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	first := accept(t, b, request("key", "a"))
	if !first.ID.Valid() || first.Status != Queued || first.Reference != "ref" || first.ExpiresAt.Sub(first.Times[Queued]) != DefaultExpiry {
		t.Errorf("got %+v", first)
	}
	named, other := request("", "b"), request("other", "c")
	named.Message.ID, other.Message.ID, named.ExpiresIn = someID, someID, time.Hour
	if m := accept(t, b, named); m.ID != someID || m.ExpiresAt.Sub(m.Times[Queued]) != time.Hour {
		t.Errorf("got %+v", m)
	}
	if m := accept(t, b, request("", "a")); m.ID == first.ID {
		t.Error("a message without a key was taken for another one")
	}
	invalid, repeat, fresh := request("", "x"), request("key", "a"), request("another", "a")
	invalid.Message.To, repeat.OnlyRepeat, fresh.OnlyRepeat = "somebody", true, true
	for _, again := range []string{"at once", "after a restart"} {
		for name, tt := range map[string]struct {
			request Request
			want    rpc.MessageID // of what is replayed
			err     error
		}{
			"same key":                   {request("key", "a"), first.ID, nil},
			"only a repetition":          {repeat, first.ID, nil},
			"something new":              {fresh, "", ErrNew},
			"same id":                    {named, someID, nil},
			"same key for another body":  {request("key", "c"), "", ErrConflict},
			"same id for another body":   {other, "", ErrIDTaken},
			"not an address of the page": {invalid, "", ErrInvalid},
		} {
			m, replayed, err := b.Accept(t.Context(), tt.request)
			if got, want := fmt.Sprint(m.ID, replayed, errors.Is(err, tt.err)), fmt.Sprint(tt.want, tt.err == nil, true); got != want {
				t.Errorf("%s, %s: got %s, %v, want %s", name, again, got, err, want)
			}
		}
		if got := b.Stats().ByStatus[Queued]; got != 3 {
			t.Errorf("%s: %d are queued", again, got)
		}
		stop()
		b, stop = start(t, Options{Path: path})
	}
}

// A key names a request of one account: with another one linked it is new, and while that is not
// known a repetition is put off.
func TestKeysBelongToAnAccount(t *testing.T) {
	const other = rpc.Secret("15550002@c.us")
	inBubble(t, func(r *rig) {
		t := r.t
		r.ready(me)
		first := accept(t, r.Outbox, request("key", "secret a"))
		named := request("", "secret b")
		named.Message.ID = someID
		accept(t, r.Outbox, named)
		repeat, changed := request("key", "secret a"), request("key", "secret c")
		onlyRepeat := repeat
		onlyRepeat.OnlyRepeat = true
		want := func(when string, q Request, id rpc.MessageID, err error) {
			t.Helper()
			m, replayed, got := r.Accept(t.Context(), q)
			if !errors.Is(got, err) || replayed != (id != "") && err == nil || id != "" && m.ID != id || id == "" && err == nil && m.ID == first.ID {
				t.Errorf("%s: %s, replayed: %t, %v", when, m.ID, replayed, got)
			}
		}
		want("the same account", repeat, first.ID, nil)
		want("the same account", changed, "", ErrConflict)
		r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
		synctest.Wait()
		want("unlinked", onlyRepeat, first.ID, nil)
		want("linked, not known which", repeat, "", ErrUnavailable)
		want("linked, not known which", request("new", "secret d"), "", nil)
		r.ready(me)
		want("linked again", repeat, first.ID, nil)
		r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
		r.ready(other)
		want("another account", changed, "", nil)
		second, replayed, err := r.Accept(t.Context(), changed)
		if err != nil || !replayed || second.ID == first.ID {
			t.Errorf("its own: %s, %t, %v", second.ID, replayed, err)
		}
		want("another account", named, "", ErrIDTaken)
		r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
		r.ready(me)
		want("back again", repeat, first.ID, nil)
		want("back again", changed, "", ErrConflict)
		want("another's while none was known", request("new", "secret e"), "", ErrConflict)
	})
}

// Nobody knows whether an address of the other kind, or the next account, is one that has used a key.
func TestKeySurvivesAnotherNameOfTheAccount(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		repeat, changed := request("key", "secret a"), request("key", "secret b")
		unlink := func() {
			r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
			synctest.Wait()
		}
		r.ready("77@lid")
		first := accept(t, r.Outbox, repeat)
		unlink()
		r.ready(me)
		if m, replayed, err := r.Accept(t.Context(), repeat); !replayed || m.ID != first.ID {
			t.Errorf("known by its number: %s, %t, %v", m.ID, replayed, err)
		}
		if _, _, err := r.Accept(t.Context(), changed); !errors.Is(err, ErrConflict) {
			t.Errorf("known by its number, another message: %v", err)
		}
		mine := accept(t, r.Outbox, request("mine", "secret c"))
		unlink()
		r.ready("15550002@c.us")
		unlink()
		if m, _, err := r.Accept(t.Context(), request("mine", "secret c")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("of the account before the last one, while none is known: %s, %v", m.ID, err)
		}
		r.ready(me)
		if m := accept(t, r.Outbox, request("mine", "secret c")); m.ID != mine.ID {
			t.Error("it was accepted again")
		}
	})
}

func TestKeysOfEndedMessagesBelongToAnAccount(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		m := accept(t, r.Outbox, request("key", "secret"))
		if _, err := r.Cancel(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
		r.ready(me)
		if again := accept(t, r.Outbox, request("key", "secret")); again.ID != m.ID {
			t.Error("the account that came next does not own it")
		}
		r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
		r.ready("15550002@c.us")
		if again := accept(t, r.Outbox, request("key", "secret")); again.ID == m.ID {
			t.Error("it is still another account's")
		}
	})
}

// What was exported is repeated at once by its keys where it was imported, and what was there is not.
func TestImportedKeysAreThoseOfItsAccount(t *testing.T) {
	folder := t.TempDir()
	paths := map[rpc.Secret]string{me: filepath.Join(folder, "a"), "15550002@c.us": filepath.Join(folder, "b")}
	made := map[rpc.Secret]rpc.MessageID{}
	for account, path := range paths {
		b, stop := start(t, Options{Path: path})
		if err := b.store.ask(t.Context(), job{write: func(tx *transaction) error {
			return tx.save(settings{link: link{holder: holder{Account: string(account)}}}, time.Now())
		}}); err != nil {
			t.Fatal(err)
		}
		made[account] = accept(t, b, request("key", string(account))).ID
		stop()
	}
	exported := filepath.Join(folder, "exported")
	if _, err := Export(paths[me], exported); err != nil {
		t.Fatal(err)
	}
	to := paths["15550002@c.us"]
	if n, err := Import(exported, to); err != nil || n != (Imported{}) {
		t.Fatalf("%+v, %v", n, err)
	}
	b, stop := start(t, Options{Path: to})
	if m := accept(t, b, request("key", string(me))); m.ID != made[me] {
		t.Error("the imported one is not repeated")
	}
	stop()
	if _, err := Import("", to); err != nil { // of a login without messages
		t.Fatal(err)
	}
	b, stop = start(t, Options{Path: to})
	link := func(account string) {
		if err := b.store.ask(t.Context(), job{write: func(tx *transaction) error {
			return tx.save(settings{link: link{holder: holder{Account: account}}}, time.Now())
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if m, _, err := b.Accept(t.Context(), request("key", "new")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("accepted as %s, %v, though it may be the account that has used the key", m.ID, err)
	}
	link("15550003@c.us")
	if m := accept(t, b, request("key", "new")); m.ID == made[me] {
		t.Error("that of an earlier account is repeated")
	}
	stop()
	// As an older version has kept it.
	set(t, to, "UPDATE message SET key = NULL", fmt.Sprintf("UPDATE message SET key = 'key' WHERE id = '%s'", made[me]))
	b, _ = start(t, Options{Path: to})
	if m := accept(t, b, request("key", "newer")); m.ID == made[me] {
		t.Error("that of an earlier account is repeated")
	}
	link(string(me))
	if m := accept(t, b, request("key", string(me))); m.ID != made[me] {
		t.Error("its account's own is not repeated")
	}
}

func TestOutboxLeavesOnePrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m := accept(t, b, request("", "a"))
	if cancelled, err := b.Cancel(t.Context(), m.ID); err != nil || cancelled.Status != Cancelled || cancelled.Times[Cancelled].IsZero() {
		t.Errorf("cancel: got %+v, %v", cancelled, err)
	}
	if _, err := b.Cancel(t.Context(), someID); !errors.Is(err, ErrUnknownMessage) {
		t.Errorf("cancel what is not there: got %v", err)
	}
	names, _ := filepath.Glob(path + "*")
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	stop()
	if _, err := b.Message(m.ID); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after the end: got %v", err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	b, _ := start(t, Options{Limits: Limits{Waiting: 2, Messages: 3, Bytes: 1000, KeepText: day, Keep: 7 * day}})
	first := accept(t, b, request("", "a"))
	if _, _, err := b.Accept(t.Context(), request("", strings.Repeat("x", 1000))); !errors.Is(err, ErrFull) {
		t.Errorf("too much text: got %v", err)
	}
	accept(t, b, request("key", "b"))
	if _, _, err := b.Accept(t.Context(), request("", "c")); !errors.Is(err, ErrFull) {
		t.Errorf("too many that wait: got %v", err)
	}
	if _, replayed, err := b.Accept(t.Context(), request("key", "b")); !replayed || err != nil {
		t.Errorf("a replay while it is full: got %v, %v", replayed, err)
	}
	if _, err := b.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	accept(t, b, request("", "c"))
	if _, _, err := b.Accept(t.Context(), request("", "d")); !errors.Is(err, ErrFull) {
		t.Errorf("too many: got %v", err)
	}
}

// Nothing is accepted on a full disk, and everything that was is there afterwards.
func TestFullDisk(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NODEV, "size=512k,mode=0700"); err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	path := filepath.Join(folder, "admin.outbox")
	b, stop := start(t, Options{Path: path})
	var accepted []rpc.MessageID
	var full error
	for i := 0; full == nil && i < 10_000; i++ {
		m, _, err := b.Accept(t.Context(), request("", strings.Repeat("x", 2000)))
		if full = err; err == nil {
			accepted = append(accepted, m.ID)
		}
	}
	if !errors.Is(full, ErrNoSpace) || len(accepted) < 10 {
		t.Fatalf("%d accepted, then %v", len(accepted), full)
	}
	stop()
	b, _ = start(t, Options{Path: path})
	for _, id := range accepted {
		if _, err := b.Message(id); err != nil {
			t.Fatalf("%d accepted: %v", len(accepted), err)
		}
	}
	if err := unix.Mount("", folder, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	accept(t, b, request("", strings.Repeat("x", 2000)))
	if got := b.Stats().ByStatus[Queued]; got != len(accepted)+1 {
		t.Errorf("%d are kept, want %d", got, len(accepted)+1)
	}
}

// beginAgain starts an outbox whose database is damaged.
func beginAgain(t *testing.T, path string) {
	t.Helper()
	var log bytes.Buffer
	b, stop := start(t, Options{Path: path, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	m := accept(t, b, request("another", "a"))
	stop()
	if !strings.Contains(log.String(), `"outbox_damaged"`) || strings.Contains(log.String(), "xxx") {
		t.Errorf("got %s", log.String())
	}
	if names, _ := filepath.Glob(path + "*"); !slices.Equal(names, []string{path, path + database.AsideSuffix}) {
		t.Errorf("left: %v", names)
	}
	b, stop = start(t, Options{Path: path})
	defer stop()
	if _, err := b.Message(m.ID); err != nil {
		t.Error(err)
	}
}

// What can't be read is moved aside, whoever made it, and the outbox begins again.
func TestDamagedDatabaseIsMovedAside(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	b, stop := start(t, Options{Path: whole})
	for i := range 200 {
		accept(t, b, request(fmt.Sprint(i), strings.Repeat("x", 500)))
	}
	stop()
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func([]byte) []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, f(bytes.Clone(good)), 0o600) }
	}
	statement := func(query string) func(string) error {
		return func(path string) error {
			if err := os.WriteFile(path, good, 0o600); err != nil {
				return err
			}
			db, err := database.Open(path, format)
			if err != nil {
				return err
			}
			return errors.Join(db.Exec(query), db.Close())
		}
	}
	for name, put := range map[string]func(path string) error{
		"not a database": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 9000), 0o600) },
		"cut":            change(func(b []byte) []byte { return b[:len(b)/2] }),
		"zeros":          change(func(b []byte) []byte { return append(b[:4096:4096], make([]byte, len(b)-4096)...) }),
		"noise": change(func(b []byte) []byte {
			for i := 8192; i < len(b); i += 7 {
				b[i] ^= byte(i)
			}
			return b
		}),
		"a folder": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"a pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link":   func(path string) error { return os.Symlink(whole, path) },
		"a folder for the log": func(path string) error {
			return errors.Join(os.WriteFile(path, good, 0o600), os.MkdirAll(filepath.Join(path+"-wal", "x"), 0o700))
		},
		"huge": func(path string) error {
			return errors.Join(os.WriteFile(path, good, 0o600), os.Truncate(path, database.MaxFile+1))
		},
		"a trigger":       statement("CREATE TRIGGER x AFTER INSERT ON message BEGIN DELETE FROM content; END"),
		"another version": statement("PRAGMA user_version = 0"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "admin.outbox")
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			beginAgain(t, path)
			err := errors.Join(database.ExpireAside(path, time.Now().Add(-time.Hour)), database.ExpireAside(path, time.Now().Add(time.Hour)))
			if _, leftErr := os.Lstat(path + database.AsideSuffix); err != nil || !errors.Is(leftErr, fs.ErrNotExist) {
				t.Errorf("it is kept for ever: %v, %v", err, leftErr)
			}
		})
	}
	if now, err := os.ReadFile(whole); err != nil || !bytes.Equal(now, good) {
		t.Errorf("what a link leads to was changed: %v", err)
	}
}

// repeated repeats n requests, and counts the answers of those that are not accepted again.
func repeated(t *testing.T, path string, n int) map[Status]int {
	t.Helper()
	b, stop := start(t, Options{Path: path})
	defer stop()
	states := map[Status]int{}
	for i := range n {
		if m, replayed, err := b.Accept(t.Context(), request(fmt.Sprint("key", i), strings.Repeat("x", 500))); err == nil && replayed {
			states[m.Status]++
		}
	}
	return states
}

// Whichever page of the file is damaged, no request is accepted a second time, and what can be read is still sent.
func TestMessagesOfADamagedFileAreSalvaged(t *testing.T) {
	const n, size = 100, 4096
	folder := t.TempDir()
	path := filepath.Join(folder, "admin.outbox")
	b, stop := start(t, Options{Path: path})
	for i := range n {
		accept(t, b, request(fmt.Sprint("key", i), strings.Repeat("x", 500)))
	}
	stop()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	step := size * 7
	if *thorough {
		step = size
	}
	for at := size; at < len(good); at += step {
		spoiled := bytes.Clone(good)
		for i := range size {
			spoiled[at+i] = 0xA5
		}
		if err := errors.Join(database.Remove(path), os.WriteFile(path, spoiled, 0o600)); err != nil {
			t.Fatal(err)
		}
		states := repeated(t, path, n)
		if failed := states[Failed]; states[Queued]+failed != n || failed == n && at > size {
			t.Errorf("page %d: %v", at/size, states)
		}
	}
	// The service was killed before it had taken over anything.
	if err := errors.Join(database.Remove(path), os.WriteFile(path+database.AsideSuffix, good, 0o600)); err != nil {
		t.Fatal(err)
	}
	b, stop = start(t, Options{Path: path})
	defer stop()
	accept(t, b, request("another", "a"))
	if got := b.Stats().ByStatus[Queued]; got != n+1 {
		t.Errorf("%d are queued after a kill", got)
	}
}

// After a downgrade the messages of the newer version are neither lost nor sent by what can't
// read them.
func TestDatabaseOfANewerVersionIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m := accept(t, b, request("", "a"))
	setVersion := func(n int) {
		stop()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.ExecContext(t.Context(), fmt.Sprint("PRAGMA user_version = ", n))
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	setVersion(len(format.Versions) + 1)
	b, stop = start(t, Options{Path: path})
	for range 3 {
		if _, _, err := b.Accept(t.Context(), request("", "b")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("accepted: %v", err)
		}
	}
	if open, err := filepath.Glob("/proc/self/fd/*"); err != nil || slices.ContainsFunc(open, func(fd string) bool {
		file, _ := os.Readlink(fd)
		return strings.HasPrefix(file, path)
	}) {
		t.Errorf("a file that was refused stays open: %v", err)
	}
	setVersion(len(format.Versions))
	b, _ = start(t, Options{Path: path})
	if got, err := b.Message(m.ID); err != nil || got.Status != Queued {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A message that is damaged while the database is in use costs nobody else an answer.
func TestDamageInUseIsSurvived(t *testing.T) {
	b, _ := start(t, Options{})
	good, bad := accept(t, b, request("", "a")), accept(t, b, request("bad", "b"))
	if _, err := b.Cancel(t.Context(), bad.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.store.ask(t.Context(), job{read: func(db messages) error {
		return db.Exec("UPDATE message SET entry = '{}' WHERE id = ?", bad.ID)
	}}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if m, err := b.Message(bad.ID); err != nil || m.Status != Cancelled {
				t.Errorf("the damaged one: got %s, %v", m.Status, err)
			}
			if _, err := b.Message(good.ID); err != nil {
				t.Errorf("the whole one: got %v", err)
			}
			if _, _, err := b.Accept(t.Context(), request("", fmt.Sprint(i))); err != nil {
				t.Errorf("another one: got %v", err)
			}
		})
	}
	all.Wait()
	if m, err := b.Message(good.ID); err != nil || m.Status != Queued {
		t.Errorf("got %+v, %v", m, err)
	}
	accept(t, b, request("", "c"))
}

// set runs statements in a database that nothing uses.
func set(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := database.Open(path, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		err = errors.Join(err, db.Exec(statement))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// repaired is what becomes of those damages of which enough is left; the others fail.
var repaired = map[string]Status{"another status": Sent, "no time of it": Sent, "settled": Queued, "an id": Queued}

// damages are what a message can be like that was not written by this package, with seq 2.
var damages = map[string]string{
	"not JSON":            `UPDATE message SET entry = 'x' WHERE seq = 2`,
	"empty":               `UPDATE message SET entry = '{}' WHERE seq = 2`,
	"of another":          `UPDATE message SET entry = (SELECT entry FROM message WHERE seq = 1) WHERE seq = 2`,
	"a status of nobody":  `UPDATE message SET entry = json_set(entry, '$.status', 'x') WHERE seq = 2`,
	"another status":      `UPDATE message SET status = 'sent' WHERE seq = 2`,
	"no time of it":       `UPDATE message SET status = 'sent', entry = json_set(entry, '$.status', 'sent') WHERE seq = 2`,
	"settled":             `UPDATE message SET settled = latest WHERE seq = 2`,
	"an account":          `UPDATE message SET entry = json_set(entry, '$.account', 'me') WHERE seq = 2`,
	"a chat":              `UPDATE message SET entry = json_set(entry, '$.chat', json('{"phone":"p"}')) WHERE seq = 2`,
	"a row":               `UPDATE message SET entry = json_set(entry, '$.row', 'r') WHERE seq = 2`,
	"a target of nothing": `UPDATE message SET entry = json_set(entry, '$.target', 'A') WHERE seq = 2`,
	"a time before all":   `UPDATE message SET entry = json_set(entry, '$.times[0]', -1) WHERE seq = 2`,
	"an id":               `UPDATE message SET id = 'x' WHERE seq = 2`,
	"an id and more":      `UPDATE message SET id = 'x', entry = 'x' WHERE seq = 2`,
	"another's id":        `UPDATE message SET id = 'x', entry = (SELECT entry FROM message WHERE seq = 1) WHERE seq = 2`,
}

// One message that can't be read costs no other anything, is kept for the operator, and is not sent
// when its request is repeated.
func TestDamagedMessageIsSetAsideAlone(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	b, stop := start(t, Options{Path: whole})
	all := []Message{accept(t, b, request("1", "one")), accept(t, b, request("2", "secret two")), accept(t, b, request("3", "three"))}
	stop()
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "admin.outbox")
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			set(t, path, damage)
			var log bytes.Buffer
			counted := 0
			status, known := repaired[name]
			if !known {
				status = Failed
			}
			for range 2 {
				o := Options{Path: path, Logger: slog.New(slog.NewJSONHandler(&log, nil)), Count: func(string) { counted++ }}
				secondIs(t, o, all, status, strings.Contains(name, "an id and more") || strings.Contains(name, "another's id"))
			}
			if text := log.String(); strings.Count(text, `"rows_damaged"`) != 1 || strings.Contains(text, "secret") || counted != 1 {
				t.Errorf("counted %d times; log: %s", counted, text)
			}
			if !holds(t, path, "secret two") {
				t.Error("it is not kept")
			}
			b, _ := start(t, Options{Path: path})
			b.erase(t, time.Now().Add(8*day))
			if status != Queued && holds(t, path, "secret two") {
				t.Error("it is kept for ever")
			}
		})
	}
}

// secondIs runs an outbox, of whose messages the second one was damaged; of renamed only the key is left.
func secondIs(t *testing.T, o Options, all []Message, want Status, renamed bool) {
	t.Helper()
	b, stop := start(t, o)
	defer stop()
	m, replayed, err := b.Accept(t.Context(), request("2", "secret two"))
	if err != nil || !replayed || m.Status != want || (m.ID == all[1].ID) == renamed || (m.Code == CodeDamaged) != (want == Failed) || m.ExpiresAt.IsZero() {
		t.Errorf("repeated: %+v, %t, %v", m, replayed, err)
	}
	if _, _, err := b.Accept(t.Context(), request("2", "other")); !errors.Is(err, ErrConflict) {
		t.Errorf("its key was used for another message: %v", err)
	}
	all = []Message{all[0], m, all[2]}
	b.keeps(t, all)
	if got := b.Stats().ByStatus; got[Queued]+got[want] < len(all) {
		t.Errorf("counted: %v", got)
	}
}

// keeps checks that messages are as they were, and that no other one is queued.
func (o *Outbox) keeps(t *testing.T, all []Message) {
	t.Helper()
	queued := 0
	for i, m := range all {
		got, err := o.Message(m.ID)
		if err != nil || got.Status != m.Status {
			t.Errorf("message %d: %s, %v", i+1, got.Status, err)
		}
		if m.Status == Queued {
			queued++
		}
	}
	if got := o.Stats().ByStatus; got[Queued] != queued {
		t.Errorf("counted: %v", got)
	}
}

func TestDamagedSettingsAndReportsCostNoMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	r := &reader{ready: true, news: make(chan struct{}, 1)}
	b, stop := start(t, Options{Path: path, Report: r.report})
	m, bad := accept(t, b, request("1", "one")), accept(t, b, request("2", "two"))
	stop()
	set(t, path, "INSERT INTO setting VALUES (1, '[]')", "DELETE FROM report", "INSERT INTO report (entry) VALUES ('x')", damages["not JSON"])
	var log bytes.Buffer
	b, _ = start(t, Options{Path: path, Report: r.report, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	if got, err := b.Message(m.ID); err != nil || got.Status != Queued {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := b.Cancel(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	r.await(t, string(bad.ID)+" failed", string(m.ID)+" cancelled")
	if n := strings.Count(log.String(), `"rows_damaged"`); n == 0 || strings.Contains(log.String(), "_failed") {
		t.Errorf("logged: %s", log.String())
	}
}

// imported checks what has become of a message that was bad in an export.
func (o *Outbox) imported(t *testing.T, name string, id rpc.MessageID, want Imported) {
	t.Helper()
	got, err := o.Message(id)
	if lost := strings.Contains(name, "id"); lost && want.Damaged > 0 { // only its key is left
		got, _, err = o.Accept(t.Context(), request("2", "two"))
	}
	status := map[Imported]Status{{Invalid: 1}: Failed, {Damaged: 1}: Failed, {Keyless: 1}: Cancelled, {}: Queued}[want]
	if name == "no time of it" {
		status = Sent
	}
	code := map[Imported]Code{{Invalid: 1}: Code(rpc.SendInvalid), {Damaged: 1}: CodeDamaged}[want]
	if err != nil || got.Status != status || got.Code != code && status == Failed {
		t.Errorf("got %+v, %v", got, err)
	}
	if again, replayed, err := o.Accept(t.Context(), request("2", "two")); want.Damaged > 0 && (err != nil || !replayed || again.ID != got.ID) {
		t.Errorf("repeated: %+v, %t, %v", again, replayed, err)
	}
}

// What an export has is checked as what a client sends: nothing of it holds up a chat.
func TestImportChecksEachMessage(t *testing.T) {
	folder := t.TempDir()
	from, exported, to := filepath.Join(folder, "from"), filepath.Join(folder, "exported"), filepath.Join(folder, "to")
	b, stop := start(t, Options{Path: from})
	accept(t, b, request("1", "one"))
	bad := accept(t, b, request("2", "two"))
	last := accept(t, b, request("3", "three"))
	stop()
	good, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	invalid := map[string]string{
		"no content":     `DELETE FROM content WHERE seq = 2`,
		"garbage":        `UPDATE content SET body = 'x' WHERE seq = 2`,
		"a long text":    `UPDATE content SET body = '{"text":"' || printf('%.70000c', 'x') || '"}' WHERE seq = 2`,
		"nobody":         `UPDATE message SET entry = json_set(entry, '$.to', '00@c.us') WHERE seq = 2`,
		"waits for ever": `UPDATE message SET entry = json_set(entry, '$.expires', 99999999999999) WHERE seq = 2`,
		"a reference":    `UPDATE message SET entry = json_set(entry, '$.reference', printf('%.300c', 'x')) WHERE seq = 2`,
		"a key":          `UPDATE message SET key = printf('%.300c', 'x') WHERE seq = 2`,
		"a file":         `UPDATE message SET entry = json_set(entry, '$.file', 7) WHERE seq = 2`,
	}
	damaged := maps.Clone(damages)
	delete(damaged, "another status") // the columns are made of the entry
	delete(damaged, "settled")
	damaged["of the future"] = `UPDATE message SET entry = json_set(entry, '$.times[0]', 99999999999999) WHERE seq = 2`
	keys := map[string]string{
		"another's key": `UPDATE message SET key = '15550002@c.us 2', status = 'cancelled', entry = json_set(entry, '$.status', 'cancelled', '$.times[8]', 1) WHERE seq = 2`,
	}
	for want, cases := range map[Imported]map[string]string{
		{Invalid: 1}: invalid, {Damaged: 1}: damaged, {Keyless: 1}: keys, {}: {"all is well": "DELETE FROM setting"},
	} {
		for name, damage := range cases {
			t.Run(name, func(t *testing.T) {
				if err := errors.Join(os.WriteFile(exported, good, 0o600), database.Remove(to)); err != nil {
					t.Fatal(err)
				}
				set(t, exported, damage)
				if n, err := Import(exported, to); err != nil || n != want {
					t.Fatalf("%+v, %v", n, err)
				}
				b, stop := start(t, Options{Path: to})
				defer stop()
				b.imported(t, name, bad.ID, want)
				if got, err := b.Message(last.ID); err != nil || got.Status != Queued {
					t.Errorf("the next one: %+v, %v", got, err)
				}
			})
		}
	}
}

func TestRemovedFolderIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens", "admin.outbox")
	b, stop := start(t, Options{Path: path})
	var aside string
	for range 2 {
		m := accept(t, b, request("", "a"))
		aside = filepath.Dir(path) + string(m.ID)
		if err := os.Rename(filepath.Dir(path), aside); err != nil {
			t.Fatal(err)
		}
	}
	last := accept(t, b, request("", "a"))
	stop()
	b, _ = start(t, Options{Path: path})
	if _, err := b.Message(last.ID); err != nil {
		t.Error(err)
	}
	if got := b.Stats().ByStatus[Queued]; got != 1 {
		t.Errorf("%d are queued", got)
	}
	if names, err := os.ReadDir(aside); err != nil || len(names) == 0 {
		t.Errorf("what was moved away: %v, %v", names, err)
	}
}

func TestSecondOutboxWaitsForTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	m := accept(t, b, request("", "a"))
	second, _ := start(t, Options{Path: path})
	if _, _, err := second.Accept(t.Context(), request("", "b")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := second.Message(m.ID); err != nil; _, err = second.Message(m.ID) {
		if ctx.Err() != nil || !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

// holds reports whether any file of a database has a text.
func holds(t *testing.T, path, text string) (found bool) {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	for _, name := range names {
		content, readErr := os.ReadFile(name)
		err = errors.Join(err, readErr)
		found = found || bytes.Contains(content, []byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestStrangersAreForgottenAfterADay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, _ := start(t, Options{Path: path})
	now := time.Now()
	some := settings{History: history{Strangers: []stranger{{"5491100@c.us", now.Add(-day)}, {"5491101@c.us", now.Add(-time.Hour)}}}}
	if err := b.store.ask(t.Context(), job{write: func(tx *transaction) error { return tx.save(some, now) }}); err != nil {
		t.Fatal(err)
	}
	if holds(t, path, "5491100") || !holds(t, path, "5491101") {
		t.Error("an old number is on disk, or a new one is not")
	}
	b.erase(t, now.Add(day))
	if holds(t, path, "5491101") {
		t.Error("the number is still on disk")
	}
}

// erase has what is too old then erased.
func (o *Outbox) erase(t *testing.T, now time.Time) {
	t.Helper()
	if err := o.store.ask(t.Context(), job{write: func(tx *transaction) error { return tx.retain(o.o.Limits, now) }}); err != nil {
		t.Fatal(err)
	}
}

// What is erased is in no file, although SQLite leaves deleted rows in its pages.
// What is erased because of a clock that was set forward could be sent again.
func TestClockSetForwardErasesNothing(t *testing.T) {
	var c clock
	for _, step := range []struct{ after, ahead, want time.Duration }{
		{0, 0, 0}, {time.Hour, 0, 0}, {time.Hour, 10 * day, 0}, {time.Hour, 10 * day, 0}, {time.Hour, 0, 0}, // for two hours
		{time.Hour, 10 * day, 0}, {12 * time.Hour, 10 * day, 0}, {12 * time.Hour, 10 * day, 10 * day}, {time.Hour, 10 * day, 10 * day}, // for ever
		{time.Hour, 0, 0}, {time.Hour, -day, -day}, {time.Hour, 0, -day},
	} {
		at := c.at + step.after
		if got := c.now(t0.Add(at+step.ahead), at); !got.Equal(t0.Add(at + step.want)) {
			t.Errorf("%v after the start, %v ahead: it is %v ahead", at, step.ahead, got.Sub(t0.Add(at)))
		}
	}
}

func TestErasedTextIsGoneFromDisk(t *testing.T) {
	const count, waits = 300, 0 // more than the journal holds before it is written back
	path := filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: path})
	secret := func(i int) string { return fmt.Sprint("the treasure is buried", i, strings.Repeat("y", 1000)) }
	var ids []rpc.MessageID
	for i := range count {
		ids = append(ids, accept(t, b, request(fmt.Sprint("key", i, "."), secret(i))).ID)
	}
	for _, id := range ids[waits+1:] {
		if _, err := b.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	left := func(after time.Duration, texts, keys string) {
		t.Helper()
		b.erase(t, time.Now().Add(after))
		for _, i := range []int{0, 1, 5, 150, count - 1} {
			id := ids[i]
			kept := map[string]bool{"all": true, "what waits": i == waits}
			got := []bool{holds(t, path, secret(i)[:30]), holds(t, path, fmt.Sprint("key", i, ".")), holds(t, path, string(id))}
			if want := []bool{kept[texts], kept[keys], kept[keys]}; !slices.Equal(got, want) {
				t.Fatalf("after %v message %d's text, key and id: got %v, want %v", after, i, got, want)
			}
		}
	}
	left(0, "all", "all")
	exported := filepath.Join(t.TempDir(), "exported")
	stop()
	_, exportErr := Export(path, exported)
	b, stop = start(t, Options{Path: path})
	left(day+time.Minute, "what waits", "all")
	if m := accept(t, b, request("key5.", secret(5))); m.ID != ids[5] {
		t.Error("the key of an erased text was forgotten")
	}
	stop()
	if _, err := Import(exported, path); err != nil || exportErr != nil {
		t.Fatal(err, exportErr)
	}
	b, _ = start(t, Options{Path: path})
	left(day+time.Minute, "what waits", "all")
	left(7*day+time.Minute, "what waits", "what waits")
	if err := b.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if holds(t, path, "treasure") || holds(t, path, "5491123456789") {
		t.Error("something is left of a purge")
	}
	if _, err := b.Message(ids[waits]); !errors.Is(err, ErrUnknownMessage) {
		t.Errorf("after a purge: got %v", err)
	}
}
