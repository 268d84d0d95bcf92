package supervise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"session-manager/shared/logging"
)

// wait returns nil after d, when one of the paths has changed, or when a restart
// was asked for; and ctx's error when ctx ends.
func (s *Supervisor) wait(ctx context.Context, d time.Duration, paths []string) error {
	changed := make(chan struct{}, 1)
	if len(paths) > 0 {
		w, err := watch(paths)
		if err != nil {
			// inotify may be exhausted by others; then time alone must do.
			s.log.Debug("not_watched", logging.KeyError, err)
		} else {
			defer w.close()
			changed = w.changed
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.restarts:
			return nil
		case <-changed:
			timer.Reset(min(d, s.o.Timings.Settle))
		}
	}
}

// watcher tells that one of some paths has come, gone or changed.
type watcher struct {
	fs *fsnotify.Watcher
	// changed holds at most one token.
	changed chan struct{}
	done    chan struct{}
}

// watch watches folders, never files: a watch on a file is lost when the file is
// replaced. Of a path that is not there it watches the nearest folder above that
// is, for the next part of the path.
func watch(paths []string) (*watcher, error) {
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

func (w *watcher) close() {
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
