package login

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

const passphrase = "correct horse battery staple"

func (r *rig) export(file string) Export {
	return Export{Tokens: r.tokens, File: file, Passphrase: passphrase, Work: 4}
}

func TestExportedLoginCanBeImported(t *testing.T) {
	from, to := newRig(t), newRig(t)
	from.link()
	linkedAt := from.published().LinkedAt
	to.put("what was there")
	_, _ = from.folder.Close(), to.folder.Close()

	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := from.export(file).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
	_, moved, _, err := Import(t.Context(), to.tokens, file, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	to.start()
	to.holds("login")
	if s := to.published(); !s.LinkedAt.Equal(linkedAt) || s.Quarantined != moved || !strings.HasSuffix(moved, "-import") {
		t.Errorf("published %+v", s)
	}
	old, err := os.ReadFile(filepath.Join(to.tokens, "admin.quarantine", moved, loginFile))
	if err != nil || string(old) != "what was there" {
		t.Errorf("in quarantine: %q, %v", old, err)
	}
}

// inOutbox runs the outbox of a tokens folder, which keeps its own account's messages.
func inOutbox(t *testing.T, r *rig, use func(*outbox.Outbox)) {
	t.Helper()
	o := outbox.New(outbox.Options{Path: r.folder.Outbox(), Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); o.Run(ctx) }()
	use(o)
	cancel()
	<-done
}

// queueMessage has a message wait in the outbox of a tokens folder, and reports whether it
// did already.
func queueMessage(t *testing.T, r *rig, text string) (id rpc.MessageID, replayed bool) {
	t.Helper()
	inOutbox(t, r, func(o *outbox.Outbox) {
		m, before, err := o.Accept(t.Context(), outbox.Request{IdempotencyKey: text, Message: rpc.Message{To: "15550101001@c.us", Text: rpc.Secret(text)}})
		if id, replayed = m.ID, before; err != nil || m.Status != outbox.Queued {
			t.Errorf("got %+v, %v", m, err)
		}
	})
	return id, replayed
}

// table is a page's table with one received message, or none.
type table struct{ text rpc.Secret }

// Receive implements inbox.Reader.
func (p table) Receive(context.Context, rpc.ReceiveQuery) (got rpc.Reception, _ error) {
	got = rpc.Reception{Account: rpc.AccountAt("9@c.us"), Known: true}
	if p.text != "" {
		got.Messages = []rpc.Received{{Key: p.text, ID: "1", Chat: rpc.ChatAt("1@c.us"), Type: rpc.TypeText, Text: p.text, At: time.Now()}}
		got.Marks = []rpc.Mark{{Row: 1, Sum: string(p.text)}}
	}
	return got, nil
}

// inInbox runs the inbox of a tokens folder until it has an event, and returns its text.
func inInbox(t *testing.T, r *rig, text string) string {
	t.Helper()
	i := inbox.New(inbox.Options{
		Path: profile.InboxPath(r.folder), Files: media.New(profile.ReceivedMedia(r.folder), media.DefaultLimits()), Logger: slog.New(slog.DiscardHandler), Worker: table{rpc.Secret(text)}, Limits: inbox.DefaultLimits(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); i.Run(ctx) }()
	defer func() { cancel(); <-done }()
	i.Notice(worker.FromWorker{Event: rpc.Event{Body: rpc.PageObserved{Condition: rpc.PageReady}}})
	for deadline := time.After(time.Minute); ; {
		list, _, _, changed, err := i.List(t.Context(), "", 10)
		if err == nil && len(list) > 0 {
			return list[0].Text
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("nothing was received: %v", err)
		}
	}
}

func TestMessagesMoveWithTheLogin(t *testing.T) {
	from, to := newRig(t), newRig(t)
	from.link()
	moving, _ := queueMessage(t, from, "moving")
	there, _ := queueMessage(t, to, "there")
	inInbox(t, from, "received")
	inInbox(t, to, "received there")
	_, _ = from.folder.Close(), to.folder.Close()
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := from.export(file).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, _, err := Import(t.Context(), to.tokens, file, passphrase); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]rpc.MessageID{"moving": moving, "there": there} {
		if id, replayed := queueMessage(t, to, text); id != want || !replayed {
			t.Errorf("%s was lost", text)
		}
	}
	if text := inInbox(t, to, ""); text != "received" {
		t.Errorf("received: %q", text)
	}
	if info, err := os.Stat(profile.InboxPath(to.folder)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the inbox: %v, %v", info, err)
	}
	from.nothingIsLeft()
	to.nothingIsLeft()
}

// nothingIsLeft checks that a transfer has left no draft of a database.
func (r *rig) nothingIsLeft() {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.tokens, "*outbox*"))
	hidden, _ := filepath.Glob(filepath.Join(r.tokens, ".*"))
	if len(names) != 1 || len(hidden) > 0 || err != nil {
		r.t.Errorf("left: %v, %v, %v", names, hidden, err)
	}
}

func TestExportNeverTearsOrOverwrites(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := r.export(file).Run(t.Context()); !errors.Is(err, profile.ErrHeld) {
		t.Errorf("a supervisor runs: %v", err)
	}
	fromBackup := r.export(file)
	fromBackup.Backup = true
	if _, err := fromBackup.Run(t.Context()); !errors.Is(err, ErrNothing) {
		t.Errorf("no backup yet: %v", err)
	}
	r.link()
	r.end(reason.RestartRequested, true)
	if _, err := fromBackup.Run(t.Context()); err != nil {
		t.Errorf("a backup, while a supervisor runs: %v", err)
	}
	if _, err := fromBackup.Run(t.Context()); !errors.Is(err, ErrExists) {
		t.Errorf("once more: %v", err)
	}
	_ = r.folder.Close()
	empty := Export{Tokens: filepath.Join(t.TempDir(), "none"), File: file + "2", Passphrase: passphrase, Work: 4}
	if _, err := empty.Run(t.Context()); !errors.Is(err, ErrNothing) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(empty.Tokens); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the export made the folder")
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestFailedImportChangesNothing(t *testing.T) {
	r := newRig(t)
	r.link()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	if _, _, _, err := Import(t.Context(), r.tokens, bad, passphrase); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, archive.ErrUnreadable) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(bad, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Import(t.Context(), r.tokens, bad, passphrase); !errors.Is(err, profile.ErrHeld) {
		t.Errorf("a supervisor runs: %v", err)
	}
	_ = r.folder.Close()
	if _, err := r.export(good).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put("later")
	if _, _, _, err := Import(t.Context(), r.tokens, bad, passphrase); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("a bad file: %v", err)
	}
	if _, _, _, err := Import(t.Context(), r.tokens, dir, passphrase); !errors.Is(err, archive.ErrUnreadable) {
		t.Errorf("a folder: %v", err)
	}
	if _, _, _, err := Import(t.Context(), r.tokens, good, "wrong"); !errors.Is(err, archive.ErrPassphrase) {
		t.Errorf("a bad passphrase: %v", err)
	}
	r.holds("later")
	if left, err := filepath.Glob(filepath.Join(r.tokens, "admin.*")); err != nil || strings.Contains(strings.Join(left, " "), "partial") || strings.Contains(strings.Join(left, " "), "quarantine") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The writer of a pipe stops before it begins, and after half of the archive.
func TestInterruptedImportLeavesNothing(t *testing.T) {
	from := newRig(t)
	from.link()
	_ = from.folder.Close()
	file := filepath.Join(t.TempDir(), "login.age")
	if _, err := from.export(file).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string][]byte{"no writer": nil, "half": whole[:len(whole)/2]} {
		t.Run(name, func(t *testing.T) {
			var other *os.File
			t.Cleanup(func() { _ = other.Close() }) // once the pipe has been removed
			tokens, pipe := filepath.Join(t.TempDir(), "tokens"), filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, _, _, err := Import(ctx, tokens, pipe, passphrase)
				done <- err
			}()
			if part != nil {
				// Once it is open for writing the import has opened it, too.
				w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = w.Close() }()
				if _, err := w.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Lstat(tokens); !errors.Is(err, fs.ErrNotExist) {
				left, _ := filepath.Glob(filepath.Join(tokens, "*"))
				t.Errorf("left: %v, %v", left, err)
			}
			// The goroutine that waits for a writer gets one.
			if other, err = os.OpenFile(pipe, os.O_RDWR, 0); err != nil {
				t.Error(err)
			}
		})
	}
}
