package apikey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/watch"
)

func TestScopesOfKeys(t *testing.T) {
	keys, err := Parse([]byte(`
# a comment
read:reader-reader-reader
command:commander-commander
send:sender-sender-sender
  all-all-all-all-all-all
read:twice-twice-twice-twice
command:twice-twice-twice-twice
`))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]Scope{
		"reader-reader-reader":      Read,
		"commander-commander":       Command,
		"sender-sender-sender":      Send,
		"all-all-all-all-all-all":   All,
		"twice-twice-twice-twice":   Read | Command,
		"read:reader-reader-reader": 0,
		"reader-reader-reader ":     0,
		"reader-reader-reade":       0,
		"# a comment":               0,
		"":                          0,
	} {
		if got := keys.Scope(key); got != want {
			t.Errorf("%q allows %b, want %b", key, got, want)
		}
	}
}

func TestUnusableKeysAreRefusedWithTheirLine(t *testing.T) {
	for content, want := range map[string]string{
		"":                                       "no key",
		"# only a comment\n":                     "no key",
		"good-good-good-good\nshortsecret\n":     "line 2",
		"read:shortsecret":                       "line 1",
		"good-good-good-good\nwith a blank here": "line 2",
		"schlüsselschlüsselschlüssel":            "line 1",
		strings.Repeat("x", 128<<10):             "too long",
		"good-good-good-good\nadmin:good-good-good-good": "line 2: what precedes the colon is not a scope",
		"Read:secret-secret-secret":                      "not a scope",
		"read,send:secret-secret-secret":                 "not a scope",
		"secret-secret:secret-secret":                    "not a scope",
		":secret-secret-secret":                          "not a scope",
		"read:":                                          "line 1: a key has",
		"read:command:secret":                            "line 1: a key has",
		"read: secret-secret-secret":                     "visible",
	} {
		_, err := Parse([]byte(content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: got %v", content, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error holds the key: %v", err)
		}
	}
}

func TestUnusableFileKeepsThePreviousKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := Open(path)
	if f.Load(t.Context()) == nil || f.Value() != nil {
		t.Fatal("keys of a file that is missing")
	}
	write("first-first-first-first")
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("short")
	if f.Load(t.Context()) == nil || !f.Value().Scope("first-first-first-first").Has(All) {
		t.Error("the keys before the error are gone")
	}
	write("second-second-second")
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.Value().Scope("first-first-first-first") != 0 || f.Value().Scope("second-second-second") != All {
		t.Error("not the second keys")
	}
}

func TestKeysLapseAMinuteAfterTheLastReading(t *testing.T) {
	keys, err := Parse([]byte("first-first-first-first"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tt := range []struct {
		read, failed time.Duration // ago
		want         Scope
	}{
		{0, 0, All}, {Grace - 1, 0, All}, {Grace, 0, 0}, {24 * time.Hour, 0, 0}, {Grace, 15 * time.Second, 0},
		// The process was stopped after the file could not be read.
		{75 * time.Second, 75 * time.Second, All}, {24 * time.Hour, 30 * time.Second, All},
	} {
		s := watch.State[*Keys]{Value: keys, ReadAt: now.Add(-tt.read), Err: os.ErrNotExist, FailedAt: now.Add(-tt.failed)}
		if got := inForce(s, now); got == nil || got.Scope("first-first-first-first") != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
	if got := inForce(watch.State[*Keys]{Value: keys, ReadAt: now.Add(-time.Hour)}, now); got != keys {
		t.Errorf("read late, but well: got %v", got)
	}
	if got := inForce(watch.State[*Keys]{}, now); got != nil {
		t.Errorf("no file: got %v", got)
	}
}

func TestPickPrefersAKeyForEverything(t *testing.T) {
	const r, c, all = "read:a-key-that-may-read\n", "command:a-key-for-commands\n", "a-key-for-everything\n"
	for _, tt := range []struct {
		content string
		scope   Scope
		want    string
	}{
		{r + c, Read, "a-key-that-may-read"}, {r + c, Command, "a-key-for-commands"}, {r + c, Send, ""}, {r + c, Read | Command, ""},
		{r + c, 0, "a-key-that-may-read"}, {r + all + c, Read, "a-key-for-everything"}, {all + r, Send, "a-key-for-everything"},
	} {
		if got, err := Pick([]byte(tt.content), tt.scope); got != tt.want || err != nil {
			t.Errorf("%q, %v: got %q, %v", tt.content, tt.scope, got, err)
		}
	}
	if _, err := Pick([]byte("short\n"), Read); err == nil {
		t.Error("a key that is not one is picked")
	}
}
