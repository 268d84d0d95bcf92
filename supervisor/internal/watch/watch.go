// Package watch reads the files that settings name, and notices when they have become
// others, however that was done: written in place, replaced by rename, or reached by
// a link that was moved.
package watch

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"session-manager/supervisor/internal/smallfile"
)

// Times of a watch.
const (
	// settle is how long nothing more must happen before the files are checked:
	// a certificate and its key are two writes.
	settle = 200 * time.Millisecond
	// busy is when they are checked although things keep happening in their folder.
	busy = time.Second
	// recheck is how often they are checked in any case. inotify may be used up, may lose
	// events, and does not notice changes of network file systems.
	recheck = 15 * time.Second
	// slow is how long a check may take before that is reported.
	slow = 10 * time.Second
)

// Set is files as they were at one moment.
type Set struct {
	paths    []string
	last     []status
	optional bool
}

// NewSet notes how the files at paths are now. It is called before they are read,
// so that no change between the reading and the watching is missed. While one of
// them is missing, nothing counts as changed: it is about to come back.
func NewSet(paths ...string) Set { return Set{paths: paths, last: statuses(paths)} }

// NewOptionalSet is NewSet for files and folders that need not exist. That one has come
// or gone, or got another owner or mode, is a change, too.
func NewOptionalSet(paths ...string) Set {
	s := NewSet(paths...)
	s.optional = true
	return s
}

// Watch calls changed, from its own goroutine, each time that one of the files has
// changed since NewSet, until ctx ends.
func (s Set) Watch(ctx context.Context, changed func()) {
	poll(ctx, s.paths, func() []status { return statuses(s.paths) }, func(now []status) {
		if s.differ(now) {
			s.last = now
			changed()
		}
	}, func() {})
}

// Exposed calls changed with those of the files at paths that every user may read or write,
// when there are any and each time that these are others, until ctx ends.
func Exposed(ctx context.Context, paths []string, changed func(exposed []string)) {
	if len(paths) == 0 {
		return
	}
	var last []string
	poll(ctx, paths, func() []string { return smallfile.Exposed(paths) }, func(now []string) {
		if !slices.Equal(now, last) {
			last = now
			changed(now)
		}
	}, func() {})
}

// poll calls look, and then use with what look returned, at once, when something may
// have happened to the files at paths, and every so often; until ctx ends. It calls hung
// when look takes long, again and again. As a file system that does not respond would hold up poll, look
// has a goroutine of its own, of which there is one at a time; use and hung do not.
func poll[T any](ctx context.Context, paths []string, look func() T, use func(T), hung func()) {
	var w waker
	defer w.close()
	w.timer = time.NewTimer(0)
	for w.wait(ctx) {
		found := make(chan T, 1)
		go func() {
			w.follow(paths)
			found <- look()
		}()
		late, last := time.NewTicker(slow), time.Now()
		for waiting := true; waiting; {
			select {
			case now := <-found:
				use(now)
				waiting = false
			case now := <-late.C:
				// Otherwise this process was stopped, and look with it.
				if now.Sub(last) < 2*slow {
					hung()
				}
				last = now
			case <-ctx.Done():
				late.Stop()
				return
			}
		}
		late.Stop()
	}
}

// waker wakes whoever checks files. It watches folders, as the watch on a file is lost
// when the file is replaced. Without inotify it has only its timer.
type waker struct {
	timer    *time.Timer
	mu       sync.Mutex
	notifier *fsnotify.Watcher // guarded by mu; nil until it could be opened
	closed   bool              // guarded by mu
}

// wait returns true when the files are to be checked, and false when ctx has ended.
func (w *waker) wait(ctx context.Context) bool {
	w.mu.Lock()
	var events <-chan fsnotify.Event
	var lost <-chan error // an overflow: anything may have happened
	if w.notifier != nil {
		events, lost = w.notifier.Events, w.notifier.Errors
	}
	w.mu.Unlock()
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.timer.C:
			w.timer.Reset(recheck)
			return true
		case <-events:
		case err := <-lost:
			_ = err
		}
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		w.timer.Reset(max(0, min(settle, first.Add(busy).Sub(now))))
	}
}

// follow watches the folders where something can happen to the paths. Each time it tries
// again what failed before: folders may have come, and links may lead elsewhere.
func (w *waker) follow(paths []string) {
	notifier := w.open()
	if notifier == nil {
		return
	}
	for _, path := range paths {
		folder := filepath.Dir(path)
		for ; folder != "/" && folder != "."; folder = filepath.Dir(folder) {
			if info, err := os.Stat(folder); err == nil && info.IsDir() {
				break
			}
		}
		_ = notifier.Add(folder) // the timer does without
		if target, err := filepath.EvalSymlinks(path); err == nil {
			_ = notifier.Add(filepath.Dir(target))
		}
	}
}

func (w *waker) open() *fsnotify.Watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notifier == nil && !w.closed {
		if notifier, err := fsnotify.NewWatcher(); err == nil {
			w.notifier = notifier
		}
	}
	return w.notifier
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.timer.Stop()
	if w.notifier != nil {
		_ = w.notifier.Close()
	}
}

// Signature changes whenever the content of a file may have. That of a folder does not
// depend on what is in it. The zero value is that of a missing file.
type Signature struct {
	dev, inode  uint64
	size, mtime int64
}

// Sign returns the signature of the file at path, and follows links.
func Sign(path string) Signature {
	info, err := os.Stat(path)
	if err != nil {
		return Signature{}
	}
	return SignatureOf(info)
}

// SignatureOf returns the signature of a file from what os.Stat returned.
func SignatureOf(info os.FileInfo) Signature {
	var s Signature
	if !info.IsDir() {
		s.size, s.mtime = info.Size(), info.ModTime().UnixNano()
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.inode = stat.Dev, stat.Ino
	}
	return s
}

// status is a path at one moment.
type status struct {
	file Signature
	// link is the path itself where that is a link, which may lead nowhere.
	link Signature
	mode fs.FileMode
	uid  uint32
}

func statuses(paths []string) []status {
	list := make([]status, len(paths))
	for i, path := range paths {
		if info, err := os.Lstat(path); err == nil {
			list[i].link = SignatureOf(info)
		}
		if info, err := os.Stat(path); err == nil {
			list[i].file, list[i].mode = SignatureOf(info), info.Mode()
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				list[i].uid = stat.Uid
			}
		}
	}
	return list
}

// differ reports whether now counts as a change.
func (s Set) differ(now []status) bool {
	if s.optional {
		return !slices.Equal(now, s.last)
	}
	missing := func(f status) bool { return f.file == Signature{} }
	same := func(a, b status) bool { return a.file == b.file }
	return !slices.ContainsFunc(now, missing) && !slices.EqualFunc(now, s.last, same)
}
