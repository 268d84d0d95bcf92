package outbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/media"
)

// withFile makes a request whose file has a content.
func withFile(t *testing.T, files *media.Store, key, content string) Request {
	t.Helper()
	d, err := files.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	r := request(key, "a secret caption")
	r.Hash = sha256.Sum256([]byte(content))
	r.File = d
	r.Message.Media = rpc.Media{Kind: rpc.MediaDocument, MIME: "text/plain", Name: "a secret name", Size: d.Size()}
	return r
}

// names are the files in a folder.
func names(t *testing.T, files *media.Store) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(files.Path("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestMessageWithoutTextIsImportedAndErased(t *testing.T) {
	folder := t.TempDir()
	path, exported, imported := filepath.Join(folder, "a"), filepath.Join(folder, "b"), filepath.Join(folder, "c")
	files := filesOf(path)
	b, stop := start(t, Options{Path: path, Media: files})
	r := withFile(t, files, "file", "content")
	r.Message = rpc.Message{To: "1@g.us", Media: r.Message.Media}
	all := []Message{accept(t, b, r), accept(t, b, Request{Message: rpc.Message{Act: rpc.ActRevoke, Target: "3A00", To: "1@g.us"}})}
	stop()
	if _, err := Export(path, exported); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(exported, imported); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, Options{Path: imported, Media: files})
	check := func(want bool) {
		t.Helper()
		for _, m := range all {
			err := b.store.ask(t.Context(), job{read: func(db messages) error {
				if got, err := db.owns(string(m.ID)); err != nil || got != want {
					t.Errorf("content of %s %s: %t, %v", m.Act, m.ID, got, err)
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	check(true)
	for _, m := range all {
		if _, err := b.Cancel(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	retain := job{write: func(tx *transaction) error { return tx.retain(b.o.Limits, time.Now().Add(day+time.Minute)) }}
	if err := b.store.ask(t.Context(), retain); err != nil {
		t.Fatal(err)
	}
	check(false)
}

func TestFileLivesAsLongAsItsText(t *testing.T) {
	inBubble(t, func(r *rig) {
		var got rpc.Media
		r.before = func(_ context.Context, m rpc.Message) error {
			got = m.Media
			if content, err := os.ReadFile(m.Media.Path); string(content) != "content" {
				r.t.Errorf("%q, %v", content, err)
			}
			return nil
		}
		m := accept(r.t, r.Outbox, withFile(r.t, r.files, "key", "content"))
		again, replayed, err := r.Accept(r.t.Context(), withFile(r.t, r.files, "key", "content"))
		if err != nil || !replayed || again.ID != m.ID {
			r.t.Errorf("the same again: %+v, %v", again, err)
		}
		if _, _, err := r.Accept(r.t.Context(), withFile(r.t, r.files, "key", "other content")); !errors.Is(err, ErrConflict) {
			r.t.Errorf("other bytes: %v", err)
		}
		lone := request("lone", "text")
		lone.Message.Media.Size = 1
		if _, _, err := r.Accept(r.t.Context(), lone); !errors.Is(err, ErrInvalid) {
			r.t.Errorf("without its file: %v", err)
		}
		if all := names(r.t, r.files); !slices.Equal(all, []string{string(m.ID)}) {
			r.t.Errorf("there are %v", all)
		}
		r.ready(me)
		r.after(time.Second, m.ID, Sent)
		if want := (rpc.Media{Path: r.files.Path(string(m.ID)), Kind: rpc.MediaDocument, MIME: "text/plain", Name: "a secret name", Size: 7}); got != want {
			r.t.Errorf("the page got another file")
		}
		r.after(day-time.Minute, m.ID, Sent)
		if len(names(r.t, r.files)) != 1 {
			r.t.Error("it was erased too early")
		}
		r.after(2*housekeeping, m.ID, Sent)
		if all := names(r.t, r.files); len(all) != 0 {
			r.t.Errorf("left are %v", all)
		}
		r.gone() // nobody reads what is purged
		accept(r.t, r.Outbox, withFile(r.t, r.files, "", "to be purged"))
		if err := r.Purge(r.t.Context()); err != nil || len(names(r.t, r.files)) != 0 {
			r.t.Errorf("after a purge: %v, %v", err, names(r.t, r.files))
		}
	})
}

func TestUploadsDelayNoText(t *testing.T) {
	inBubble(t, func(r *rig) {
		uploads := make(chan rpc.MessageID, 10)
		hang := make(chan struct{})
		r.before = func(ctx context.Context, m rpc.Message) error {
			if m.Media.Size == 0 {
				return nil
			}
			uploads <- m.ID
			select {
			case <-hang:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for i := range maxFiles + 1 {
			f := withFile(r.t, r.files, "", "content")
			f.Message.To, f.Message.Text = rpc.Secret(fmt.Sprintf("54911%d@c.us", i)), ""
			accept(r.t, r.Outbox, f)
		}
		r.ready(me)
		for i := range 3 {
			m := r.to("5491199@c.us", fmt.Sprintf("text %d", i))
			r.after(10*time.Second, m.ID, Sent)
		}
		if n := len(uploads); n != maxFiles {
			r.t.Errorf("%d uploads at once", n)
		}
		close(hang)
		time.Sleep(time.Minute)
		if n := len(r.sentTexts()); n != maxFiles+4 {
			r.t.Errorf("the server has %d messages", n)
		}
	})
}

func TestFailedUploadsEnd(t *testing.T) {
	inBubble(t, func(r *rig) {
		code := rpc.SendMediaFailed
		r.before = func(_ context.Context, m rpc.Message) error {
			if m.Media.Size == 0 {
				return nil
			}
			return &rpc.SendError{Code: code}
		}
		f := withFile(r.t, r.files, "", "content")
		f.Message.To = "5491111@c.us"
		m, next := accept(r.t, r.Outbox, f), r.to("5491111@c.us", "next")
		r.ready(me)
		m = r.after(10*time.Minute, m.ID, Failed)
		if m.Code != Code(code) || m.Attempts != maxUploads {
			r.t.Errorf("it failed as %s after %d attempts", m.Code, m.Attempts)
		}
		r.after(0, next.ID, Sent)
		code = rpc.SendMediaTooLarge
		m = accept(r.t, r.Outbox, withFile(r.t, r.files, "", "content"))
		if m = r.after(time.Minute, m.ID, Failed); m.Code != Code(code) || m.Attempts != 1 {
			r.t.Errorf("it failed as %s after %d attempts", m.Code, m.Attempts)
		}
		// A page that can't send files still sends texts.
		code = rpc.SendPagePathGone
		for i := range 3 {
			f := withFile(r.t, r.files, "", "content")
			f.Message.To = rpc.Secret(fmt.Sprintf("5491122%d@c.us", i))
			accept(r.t, r.Outbox, f)
		}
		time.Sleep(time.Minute)
		r.after(time.Minute, r.to("5491111@c.us", "last").ID, Sent)
	})
}

func TestFilesWithoutMessagesAreRemovedAtTheStart(t *testing.T) {
	path, files := filepath.Join(t.TempDir(), "admin.outbox"), media.New(filepath.Join(t.TempDir(), "media"), media.DefaultLimits())
	b, stop := start(t, Options{Path: path, Media: files})
	m := accept(t, b, withFile(t, files, "", "content"))
	stop()
	for _, n := range []string{"3EB0FFFFFFFFFFFFFFFFFF", ".draft-1", "other"} {
		if err := os.WriteFile(filepath.Join(files.Path("."), n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, _ = start(t, Options{Path: path, Media: media.New(files.Path("."), media.DefaultLimits())})
	if _, err := b.Message(m.ID); err != nil {
		t.Fatal(err)
	}
	accept(t, b, request("", "text")) // by then the first sweep has ended
	if all := names(t, files); !slices.Equal(all, []string{string(m.ID)}) {
		t.Errorf("left are %v", all)
	}
}
