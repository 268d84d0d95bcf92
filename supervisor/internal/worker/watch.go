package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// wait returns nil after d, when w tells of a change, or when a restart was asked
// for; and ctx's error when ctx ends. w may be nil.
func (s *Manager) wait(ctx context.Context, d time.Duration, w *watcher) error {
	var changed chan struct{}
	if w != nil {
		changed = w.changed
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.requests:
			return nil
		case <-changed:
			// Once is enough: it is looked at again when it has settled.
			changed = nil
			timer.Reset(min(d, s.o.Timings.Settle))
		}
	}
}

// watch begins to watch everything whose change may mend what keeps a generation
// from being started. It returns nil when that can't be had, as when others have
// used inotify up; then time alone must do.
func (s *Manager) watch() *watcher {
	w, err := newWatcher(s.paths())
	if err != nil {
		s.log.Debug(logid.StartWatchFailed, logging.KeyError, err)
		return nil
	}
	return w
}

// watcher tells that one of some paths has come, gone or changed.
type watcher struct {
	fs *fsnotify.Watcher
	// changed holds at most one token.
	changed chan struct{}
	done    chan struct{}
}

// newWatcher watches folders, never files: a watch on a file is lost when the file is
// replaced. Of a path that is not there it watches the nearest folder above that
// is, for the next part of the path.
func newWatcher(paths []string) (*watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch folders: %w", err)
	}
	w := &watcher{fs: fs, changed: make(chan struct{}, 1), done: make(chan struct{})}
	wanted := make(map[string]bool)
	for _, path := range paths {
		folder, name := nearest(path)
		if folder == "" {
			continue
		}
		// One that we may not read is left to the timer.
		if err := fs.Add(folder); err == nil {
			wanted[filepath.Join(folder, name)] = true
		}
	}
	go w.loop(wanted)
	return w, nil
}

func (w *watcher) loop(wanted map[string]bool) {
	defer close(w.done)
	for {
		select {
		case event, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if !wanted[event.Name] {
				continue
			}
		case _, ok := <-w.fs.Errors:
			// An overflow: whatever happened, look.
			if !ok {
				return
			}
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// close may be called on nil.
func (w *watcher) close() {
	if w == nil {
		return
	}
	_ = w.fs.Close()
	<-w.done
}

// nearest returns the nearest folder above path that exists, and the part of
// path that comes next.
func nearest(path string) (folder, name string) {
	if !filepath.IsAbs(path) {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", ""
		}
		path = abs
	}
	path = filepath.Clean(path)
	for path != "/" {
		folder, name = filepath.Split(path)
		folder = filepath.Clean(folder)
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return folder, name
		}
		path = folder
	}
	return "", ""
}
