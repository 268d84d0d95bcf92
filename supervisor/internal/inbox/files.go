package inbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/wait"
	"session-manager/supervisor/internal/worker"
)

var (
	// ErrUnknownFile means that no message has such a file, or that its text was erased.
	ErrUnknownFile = errors.New("there is no such file")
	// ErrFilePending means that a file is still being downloaded.
	ErrFilePending = errors.New("the file is being downloaded")
	// ErrFileDamaged means that what was downloaded is not what the message describes.
	ErrFileDamaged = errors.New("the file is not the one that was sent")
)

// wanted is a file, and the page's name of its message.
type wanted struct {
	key rpc.Secret
	// gone: the page had it no longer.
	gone bool
	Media
}

// arrival is the id of the event that reports a message by its name.
func arrival(name string) string { return hash(name, string(Arrived), "") }

// fileOf returns what is known of a file. It can be fetched as long as the message's text is kept.
func fileOf(ctx context.Context, s *store, id string) (wanted, error) {
	return use(ctx, s, func(db *database.DB) (w wanted, err error) {
		err = db.Query(func(r *sql.Rows) error {
			var key, body, text string
			var gone bool
			if err := r.Scan(&key, &gone, &body, &text); err != nil {
				return err
			}
			var e Event
			var c content
			if strictjson.Unmarshal([]byte(body), &e) != nil || strictjson.Unmarshal([]byte(text), &c) != nil {
				return nil // whoever lists it sets it aside
			}
			if e = e.joined(c); e.Message != nil && e.Media != nil && e.Media.ID == id {
				w = wanted{rpc.Secret(key), gone, *e.Media}
			}
			return nil
		}, "SELECT message.key, iif(json_valid(state), state ->> 'gone' IS NOT NULL, 0), event.body, content.body FROM message, event JOIN content USING (seq) WHERE message.name = ? AND event.id = ?", id, arrival(id))
		if err == nil && w.key == "" {
			err = ErrUnknownFile
		}
		return w, err
	})
}

// mostDownloads is how many files are downloaded at once: the page holds each in memory.
const mostDownloads = 2

// downloads has files fetched from the page, each once for all who want it, and only as long as
// somebody does.
type downloads struct {
	store  *store
	files  *media.Store
	worker Reader
	turns  chan struct{} // holds a token for each that is under way

	mu      sync.Mutex
	running map[string]*download // guarded by mu; by the id of the file
	// barred is how many callers of end keep others from beginning a download. Guarded by mu.
	barred int
	work   sync.WaitGroup
}

// download is a file that is being fetched.
type download struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when it has ended
	err     error         // as of then
	waiting int           // guarded by downloads.mu
}

func newDownloads(s *store, files *media.Store, w Reader) *downloads {
	return &downloads{store: s, files: files, worker: w, turns: make(chan struct{}, mostDownloads), running: map[string]*download{}}
}

// await returns when a file is on disk. If ctx ends before, the error is ErrFilePending, and if its time is over, whoever
// asks again soon finds the download as far as it has got.
func (d *downloads) await(ctx context.Context, w wanted) error {
	one := d.join(w)
	if one == nil {
		return ErrUnavailable
	}
	defer d.leave(w.ID, one)
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			d.mu.Lock()
			one.waiting++
			d.mu.Unlock()
			time.AfterFunc(lingering, func() { d.leave(w.ID, one) })
		}
		return ErrFilePending
	}
}

// join returns the download of a file, which it begins if need be; nil after the end.
func (d *downloads) join(w wanted) *download {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.barred > 0 {
		return nil
	}
	one := d.running[w.ID]
	if one == nil {
		ctx, cancel := context.WithCancel(context.Background())
		one = &download{cancel: cancel, done: make(chan struct{})}
		d.running[w.ID] = one
		d.work.Go(func() {
			defer close(one.done)
			one.err = d.fetch(ctx, w)
			if failed, ok := errors.AsType[*rpc.SendError](one.err); ok && failed.Code == rpc.SendMediaGone {
				_ = mark(context.WithoutCancel(ctx), d.store, "gone", []rpc.Secret{w.key}) // else its sender is asked again
			} else if one.err != nil && ctx.Err() != nil {
				one.err = ErrFilePending // it was ended
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.forgetLocked(w.ID, one)
		})
	}
	one.waiting++
	return one
}

func (d *downloads) forgetLocked(id string, one *download) {
	if d.running[id] == one {
		delete(d.running, id)
	}
}

// leave ends a download for which nobody waits any longer.
func (d *downloads) leave(id string, one *download) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.waiting--; one.waiting == 0 {
		d.forgetLocked(id, one)
		one.cancel()
	}
}

// end ends all downloads, and returns when they have ended. With last, none can begin afterwards.
func (d *downloads) end(last bool) {
	d.mu.Lock()
	d.barred++
	for _, one := range d.running {
		one.cancel()
	}
	d.mu.Unlock()
	d.work.Wait() // also for those that nobody waits for
	if !last {
		d.mu.Lock()
		d.barred--
		d.mu.Unlock()
	}
}

const (
	// pendingPause is how long after a part that is not there yet the page is asked again, at least.
	pendingPause = 250 * time.Millisecond
	// patience is how long nothing of a file may come while others wait for their turn. The page
	// continues with it for two minutes.
	patience = 30 * time.Second
	// lingering is how long a download continues after somebody has given up waiting for it.
	lingering = 30 * time.Second
	// mostFailures is how often in a row something unknown may fail.
	mostFailures = 3
)

// fetch puts a file on disk. A page that is lost meanwhile is waited for, but not one that
// was not there.
func (d *downloads) fetch(ctx context.Context, w wanted) error {
	select {
	case d.turns <- struct{}{}:
		defer func() { <-d.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	draft, err := d.files.Create()
	if err != nil {
		return err
	}
	defer draft.Discard()
	begun, failures, progress := false, 0, time.Now()
	for more := true; more; {
		got, err := d.ask(ctx, w.key, draft.Size())
		if err == nil {
			begun, failures, more = true, 0, got.More
			if err = d.write(draft, w, got.Part); len(got.Part) > 0 {
				progress = time.Now()
			} else if more {
				err = d.stall(ctx, progress)
			}
		} else {
			failures++
			if isFinal(err, begun, failures) {
				return err
			}
			begun = true
			err = pause(ctx, retry)
		}
		if err != nil {
			return err
		}
	}
	return d.keep(ctx, draft, w)
}

// stall waits for a part. It gives up where another download waits for its turn, and nothing has come since
// long ago.
func (d *downloads) stall(ctx context.Context, since time.Time) error {
	d.mu.Lock()
	crowded := len(d.running) > mostDownloads
	d.mu.Unlock()
	if crowded && time.Since(since) > patience {
		return ErrFilePending
	}
	return pause(ctx, pendingPause)
}

func (d *downloads) ask(ctx context.Context, key rpc.Secret, offset int64) (rpc.Reception, error) {
	ctx, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	return d.worker.Receive(ctx, rpc.ReceiveQuery{Keys: []rpc.Secret{key}, Errand: rpc.Fetch, Offset: offset, Most: d.files.MaxFile()})
}

// isFinal reports whether a download has failed, so that it is not continued.
func isFinal(err error, begun bool, failures int) bool {
	failed, known := errors.AsType[*rpc.SendError](err)
	switch {
	case known && failed.Code == rpc.SendNotReady, errors.Is(err, worker.ErrNoWorker), errors.Is(err, rpc.ErrNoPage):
		return !begun
	case known && failed.Code != rpc.SendLookupFailed:
		return true
	case errors.Is(err, rpc.ErrWorkerGone):
		return false
	}
	return failures > mostFailures
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write writes a part that the file may have.
func (d *downloads) write(draft *media.Draft, w wanted, part []byte) error {
	if draft.Size()+int64(len(part)) > w.Size {
		return ErrFileDamaged
	}
	_, err := draft.Write(part)
	return err
}

// keep gives a file its name if it is the one that was sent, and was not erased meanwhile.
func (d *downloads) keep(ctx context.Context, draft *media.Draft, w wanted) error {
	if err := draft.Finish(); err != nil {
		return err
	}
	if sum := draft.Sum(); draft.Size() != w.Size || hex.EncodeToString(sum[:]) != w.SHA256 {
		return ErrFileDamaged
	}
	if _, err := fileOf(ctx, d.store, w.ID); err != nil {
		return err
	}
	if err := draft.Name(w.ID); err != nil {
		return err
	}
	draft.Release()
	return nil
}

// File returns what is known of a file. Errors match ErrUnknownFile or ErrUnavailable.
func (d *downloads) File(ctx context.Context, id string) (Media, error) {
	w, err := fileOf(ctx, d.store, id)
	return w.Media, err
}

// Open returns a file, which it has downloaded before if need be. Errors match those of File,
// ErrFilePending if ctx has ended, ErrFileDamaged, those of package media, or are those of a Reader.
func (d *downloads) Open(ctx context.Context, id string) (*os.File, error) {
	w, err := fileOf(ctx, d.store, id)
	if err != nil {
		return nil, err
	}
	if w.Size > d.files.MaxFile() {
		return nil, media.ErrTooLarge
	}
	for tries := 0; ; tries++ {
		f, err := wait.For(ctx, func() (*os.File, error) { return d.files.Open(id, w.Size) })
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if w.gone {
			return nil, &rpc.SendError{Code: rpc.SendMediaGone}
		}
		if tries == mostTries {
			return nil, media.ErrFull
		}
		if err := d.await(ctx, w); err != nil {
			return nil, err
		}
	}
}

// mostTries is how often a file is downloaded: where there is little room it can give way to another before it is read.
const mostTries = 4

// ownerless has all files removed.
func ownerless(string) (bool, error) { return false, nil }

// sweep removes the files of messages whose texts were erased.
func (d *downloads) sweep(ctx context.Context) error {
	return d.files.Sweep(func(name string) (bool, error) {
		_, err := fileOf(ctx, d.store, name)
		if errors.Is(err, ErrUnknownFile) {
			return false, nil
		}
		return err == nil, err
	})
}
