package inbox

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/worker"
)

// mostFile is the size of the largest file that is fetched here.
const mostFile = 4 * aPart

// aPart is how much of a file the page returns at once.
const aPart = 1000

// withFiles is a page that also has files.
type withFiles struct{ *table }

// Receive implements Reader.
func (p withFiles) Receive(ctx context.Context, q rpc.ReceiveQuery) (rpc.Reception, error) {
	if q.Errand != rpc.Fetch {
		return p.table.Receive(ctx, q)
	}
	p.mu.Lock()
	p.parts++
	n := p.parts
	p.mu.Unlock() // it may take long
	return p.fetch(n, q)
}

// contents are files that the page has, each in the parts that are asked for.
func contents(all map[rpc.Secret][]byte) func(int, rpc.ReceiveQuery) (rpc.Reception, error) {
	return func(_ int, q rpc.ReceiveQuery) (rpc.Reception, error) {
		content := all[q.Keys[0]]
		end := min(q.Offset+aPart, int64(len(content)))
		return rpc.Reception{Part: content[min(q.Offset, end):end], More: end < int64(len(content))}, nil
	}
}

// withFile has a message with a file arrive, and returns its media.
func (r *rig) withFile(content []byte, change func(*rpc.ReceivedMedia)) Media {
	r.t.Helper()
	sum := sha256.Sum256(content)
	m := rpc.ReceivedMedia{MIME: "image/png", Size: int64(len(content)), Name: secret, SHA256: hex.EncodeToString(sum[:])}
	if change != nil {
		change(&m)
	}
	cursor, err := r.store.present(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.page.mu.Lock()
	r.page.writeLocked("with a file", m)
	r.page.mu.Unlock()
	r.hint()
	list, _ := r.await(cursor, 1)
	return *list[0].Media
}

// read returns the content of a file.
func (r *rig) read(id string) (string, error) {
	f, err := r.Open(r.t.Context(), id)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(f)
	return string(content), err
}

// kept are the names of all files on disk.
func (r *rig) kept() []string {
	entries, _ := os.ReadDir(r.o.Path + ".files") // it may not be there
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (r *rig) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.t.Context(), d)
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func isCode(want rpc.SendCode) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*rpc.SendError](err)
		return ok && e.Code == want
	}
}

func someBytes(n int) []byte {
	content := make([]byte, n)
	_, _ = rand.Read(content)
	return content
}

func TestFileIsFetchedOnceForAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) { fetchedOnceForAll(t, path) })
}

func fetchedOnceForAll(t *testing.T, path string) {
	r := newRig(t, path)
	content := someBytes(3*aPart + 1)
	release := make(chan struct{})
	parts := contents(map[rpc.Secret][]byte{"one_3A0": content})
	r.page.fetch = func(n int, q rpc.ReceiveQuery) (rpc.Reception, error) {
		<-release
		return parts(n, q)
	}
	r.start()
	m := r.withFile(content, nil)
	if about, err := r.File(t.Context(), m.ID); err != nil || about != m || m.ID == "" || m.Name != secret {
		t.Errorf("%+v, %v, reported as %+v", about, err, m)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if got, err := r.read(m.ID); err != nil || got != string(content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	synctest.Wait() // until all of them wait
	close(release)
	readers.Wait()
	r.stop()
	r.start()
	defer func() { r.stop() }()
	r.checkKept(m, content)
	r.checkErased(m)
}

// checkKept checks that a file is on disk, and downloaded again if it is not what it was.
func (r *rig) checkKept(m Media, content []byte) {
	t := r.t
	t.Helper()
	if got, err := r.read(m.ID); err != nil || got != string(content) {
		t.Errorf("after a restart: %d bytes, %v", len(got), err)
	}
	if r.page.parts != 4 {
		t.Errorf("the page was asked for %d parts", r.page.parts)
	}
	if err := os.Truncate(filepath.Join(r.o.Path+".files", m.ID), 5); err != nil {
		t.Fatal(err)
	}
	if got, err := r.read(m.ID); err != nil || got != string(content) || r.page.parts != 8 {
		t.Errorf("after it was cut: %d bytes, %v, %d parts", len(got), err, r.page.parts)
	}
	if _, err := r.read("../inbox"); !errors.Is(err, ErrUnknownFile) {
		t.Errorf("no id: %v", err)
	}
}

// checkErased checks that a file goes with the text of its message.
func (r *rig) checkErased(m Media) {
	r.t.Helper()
	if err := r.store.retain(r.t.Context(), time.Now().Add(r.o.Limits.KeepText+time.Second)); err != nil {
		r.t.Fatal(err)
	}
	r.clean(r.t.Context())
	if _, err := r.read(m.ID); !errors.Is(err, ErrUnknownFile) || len(r.kept()) > 0 {
		r.t.Errorf("after a day: %v, left are %v", err, r.kept())
	}
	content := someBytes(1)
	r.page.fetch = contents(map[rpc.Secret][]byte{"one_3A1": content})
	m = r.withFile(content, nil)
	if _, err := r.read(m.ID); err != nil {
		r.t.Error(err)
	}
	if err := r.Purge(r.t.Context()); err != nil || len(r.kept()) > 0 {
		r.t.Errorf("%v, left are %v", err, r.kept())
	}
}

func TestOtherFilesAreRefusedAndLeaveNothing(t *testing.T) {
	content := someBytes(2 * aPart)
	other := append([]byte{content[0] ^ 1}, content[1:]...)
	forever := func(part []byte) func(int, rpc.ReceiveQuery) (rpc.Reception, error) {
		return func(int, rpc.ReceiveQuery) (rpc.Reception, error) { return rpc.Reception{Part: part, More: true}, nil }
	}
	refuses := func(code rpc.SendCode) func(int, rpc.ReceiveQuery) (rpc.Reception, error) {
		return func(int, rpc.ReceiveQuery) (rpc.Reception, error) { return rpc.Reception{}, &rpc.SendError{Code: code} }
	}
	for name, tc := range map[string]struct {
		fetch  func(int, rpc.ReceiveQuery) (rpc.Reception, error)
		change func(*rpc.ReceivedMedia)
		want   func(error) bool
	}{
		"endless": {forever(content[:aPart]), nil, is(ErrFileDamaged)},
		"never":   {forever(nil), nil, is(ErrFilePending)},
		"late": {func(int, rpc.ReceiveQuery) (rpc.Reception, error) {
			time.Sleep(2 * time.Minute)
			return rpc.Reception{}, nil
		}, nil, is(ErrFilePending)},
		"short":           {contents(map[rpc.Secret][]byte{"one_3A0": content[:aPart]}), nil, is(ErrFileDamaged)},
		"empty":           {contents(nil), nil, is(ErrFileDamaged)},
		"corrupt":         {contents(map[rpc.Secret][]byte{"one_3A0": other}), nil, is(ErrFileDamaged)},
		"of another size": {contents(map[rpc.Secret][]byte{"one_3A0": content}), func(m *rpc.ReceivedMedia) { m.Size++ }, is(ErrFileDamaged)},
		"too large":       {nil, func(m *rpc.ReceivedMedia) { m.Size = mostFile + 1 }, is(media.ErrTooLarge)},
		"gone":            {refuses(rpc.SendMediaGone), nil, isCode(rpc.SendMediaGone)},
		"failed":          {refuses(rpc.SendMediaFailed), nil, isCode(rpc.SendMediaFailed)},
		"not ready":       {refuses(rpc.SendNotReady), nil, isCode(rpc.SendNotReady)},
		"no worker":       {func(int, rpc.ReceiveQuery) (rpc.Reception, error) { return rpc.Reception{}, worker.ErrNoWorker }, nil, is(worker.ErrNoWorker)},
		"nonsense":        {func(int, rpc.ReceiveQuery) (rpc.Reception, error) { return rpc.Reception{}, os.ErrInvalid }, nil, is(os.ErrInvalid)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "inbox")
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, path)
				r.page.fetch = tc.fetch
				r.start()
				m := r.withFile(content, tc.change)
				ctx, cancel := r.within(time.Minute)
				defer cancel()
				if f, err := r.Open(ctx, m.ID); f != nil || !tc.want(err) || strings.Contains(err.Error(), secret) {
					t.Errorf("%v, %v", f, err)
				}
				r.stop()
				if left := r.kept(); len(left) > 0 {
					t.Errorf("left are %v", left)
				}
			})
		})
	}
}

func TestUnverifiableFilesHaveNoID(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.start()
	defer func() { r.stop() }()
	if m := r.withFile(nil, func(m *rpc.ReceivedMedia) { m.SHA256 = "" }); m.ID != "" {
		t.Errorf("got %+v", m)
	}
}

// TestFetchingContinuesWithAnotherWorker loses the page at each part but the first.
func TestFetchingContinuesWithAnotherWorker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		content := someBytes(3*aPart + 1)
		parts := contents(map[rpc.Secret][]byte{"one_3A0": content})
		lost := []error{rpc.ErrWorkerGone, worker.ErrNoWorker, &rpc.SendError{Code: rpc.SendNotReady}, nil, rpc.ErrNoPage, nil, &rpc.SendError{Code: rpc.SendLookupFailed}, os.ErrInvalid}
		r.page.fetch = func(n int, q rpc.ReceiveQuery) (rpc.Reception, error) {
			if n <= len(lost) && lost[n-1] != nil {
				return rpc.Reception{}, lost[n-1]
			}
			return parts(n, q)
		}
		r.start()
		defer func() { r.stop() }()
		m := r.withFile(content, nil)
		if got, err := r.read(m.ID); err != nil || got != string(content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func TestOldestFilesGiveWay(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	content := someBytes(aPart)
	r.page.fetch = contents(map[rpc.Secret][]byte{"one_3A0": content, "one_3A1": content, "one_3A2": content})
	r.start()
	defer func() { r.stop() }()
	var ids []string
	for n := range 3 {
		m := r.withFile(content, nil)
		ids = append(ids, m.ID)
		if got, err := r.read(m.ID); err != nil || got != string(content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		at := time.Now().Add(time.Duration(n-10) * time.Hour)
		if err := os.Chtimes(filepath.Join(r.o.Path+".files", m.ID), at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := strings.Join(r.kept(), " ")
	if strings.Contains(left, ids[0]) || !strings.Contains(left, ids[1]) || !strings.Contains(left, ids[2]) || r.page.parts != 3 {
		t.Errorf("left are %s of %v", left, ids)
	}
	if got, err := r.read(ids[0]); err != nil || got != string(content) || r.page.parts != 4 {
		t.Errorf("again: %d bytes, %v", len(got), err)
	}
}

func TestGoneFilesAreAskedForOnce(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	content := someBytes(aPart)
	r.page.fetch = func(int, rpc.ReceiveQuery) (rpc.Reception, error) {
		return rpc.Reception{}, &rpc.SendError{Code: rpc.SendMediaGone}
	}
	r.start()
	m := r.withFile(content, nil)
	for n := range 3 {
		if _, err := r.read(m.ID); !isCode(rpc.SendMediaGone)(err) || r.page.parts != 1 {
			t.Errorf("request %d: %v, the page was asked %d times", n, err, r.page.parts)
		}
		cursor, err := r.store.present(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.stop() // the others come after a restart, and after a change of the message
		edited := r.page.rows[0]
		edited.Text = rpc.Secret(strings.Repeat("edited ", n+1))
		r.page.again = map[rpc.Secret]rpc.Received{edited.Key: edited}
		r.start()
		r.await(cursor, 1)
	}
	r.stop()
}

func TestFilesOfDamagedRowsAreErased(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	content := someBytes(aPart)
	r.page.fetch = contents(map[rpc.Secret][]byte{"one_3A0": content, "one_3A1": content})
	r.start()
	defer func() { r.stop() }()
	damaged, whole := r.withFile(content, nil), r.withFile(content, nil)
	for _, m := range []Media{damaged, whole} {
		if _, err := r.read(m.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := use(t.Context(), r.store, func(db *database.DB) (nothing, error) {
		return nothing{}, db.Exec("UPDATE event SET body = 'x' WHERE id = ?", arrival(damaged.ID))
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(damaged.ID); !errors.Is(err, ErrUnknownFile) {
		t.Errorf("got %v", err)
	}
	if err := r.sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if left := r.kept(); !slices.Equal(left, []string{whole.ID}) {
		t.Errorf("left are %v, not %s", left, whole.ID)
	}
}

// TestPurgeLeavesNoFile has requests that were there before it.
func TestPurgeLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		content := someBytes(aPart)
		r.page.fetch = func(int, rpc.ReceiveQuery) (rpc.Reception, error) { return rpc.Reception{More: true}, nil }
		r.start()
		defer func() { r.stop() }()
		m := r.withFile(content, nil)
		w, err := fileOf(t.Context(), r.store, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() {
			_, err := r.read(m.ID)
			waiting <- err
		}()
		synctest.Wait()
		if err := r.Purge(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-waiting; !errors.Is(err, ErrFilePending) {
			t.Errorf("who waits gets %v", err)
		}
		r.page.fetch = contents(map[rpc.Secret][]byte{"one_3A0": content})
		if err := r.downloads.await(t.Context(), w); !errors.Is(err, ErrUnknownFile) || len(r.kept()) > 0 {
			t.Errorf("who comes late gets %v; left are %v", err, r.kept())
		}
	})
}

// TestFilesThatDoNotComeGiveWay has two that never come, which are asked for again and again.
func TestFilesThatDoNotComeGiveWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		r.o.Files = media.New(path+".files", media.Limits{File: mostFile, Bytes: 3 * mostFile, Files: 3, Replace: true}) // two drafts and one that is read
		content := someBytes(2 * aPart)
		parts := contents(map[rpc.Secret][]byte{"one_3A2": content})
		r.page.fetch = func(n int, q rpc.ReceiveQuery) (rpc.Reception, error) {
			if q.Keys[0] != "one_3A2" {
				return rpc.Reception{More: true}, nil
			}
			return parts(n, q)
		}
		r.start()
		ctx, cancel := r.within(time.Hour)
		var readers sync.WaitGroup
		for range 2 {
			id := r.withFile(content, nil).ID
			for range 2 {
				readers.Go(func() {
					for ctx.Err() == nil {
						if _, err := r.Open(ctx, id); !errors.Is(err, ErrFilePending) && ctx.Err() == nil {
							t.Error(err)
						}
					}
				})
			}
		}
		synctest.Wait()
		last := r.withFile(content, nil)
		some, done := r.within(2 * time.Minute)
		if f, err := r.Open(some, last.ID); err != nil {
			t.Error(err)
		} else {
			_ = f.Close()
		}
		done()
		cancel()
		readers.Wait()
		r.stop()
	})
}

// A file that takes longer than any request waits comes in the end.
func TestSlowFilesComeAcrossRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		content := someBytes(3 * aPart)
		parts := contents(map[rpc.Secret][]byte{"one_3A0": content})
		r.page.fetch = func(n int, q rpc.ReceiveQuery) (rpc.Reception, error) {
			time.Sleep(20 * time.Second)
			return parts(n, q)
		}
		r.start()
		defer func() { r.stop() }()
		id := r.withFile(content, nil).ID
		ask := func() error {
			ctx, cancel := r.within(30 * time.Second)
			defer cancel()
			f, err := r.Open(ctx, id)
			if err == nil {
				_ = f.Close()
			}
			return err
		}
		first := ask()
		time.Sleep(5 * time.Second)
		if second := ask(); !errors.Is(first, ErrFilePending) || second != nil {
			t.Errorf("got %v, then %v", first, second)
		}
		if r.page.parts != 3 {
			t.Errorf("the page was asked for %d parts", r.page.parts)
		}
	})
}
