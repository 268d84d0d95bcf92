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
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of a watch.
const (
	// settle is how long nothing more must happen before the files are checked:
	// a certificate and its key are two writes.
	settle = 200 * time.Millisecond
	// recheck is how often they are checked in any case. inotify may be used up, may lose
	// events, and does not notice changes of network file systems.
	recheck = time.Minute
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
// changed since NewSet, until ctx ends. It watches folders, as the watch on a file is
// lost when the file is replaced.
func (s Set) Watch(ctx context.Context, changed func()) {
	var events <-chan fsnotify.Event
	var lost <-chan error
	follow := func() {}
	if notifier, err := fsnotify.NewWatcher(); err == nil { // otherwise the periodic check must do
		defer func() { _ = notifier.Close() }()
		events, lost = notifier.Events, notifier.Errors
		follow = func() { addFolders(notifier, s.paths) }
	}
	follow()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			timer.Reset(settle)
		case err := <-lost: // an overflow: anything may have happened
			_ = err
			timer.Reset(settle)
		case <-timer.C:
			timer.Reset(recheck)
			follow() // folders may have come, and links may lead elsewhere
			if now := statuses(s.paths); s.differ(now) {
				s.last = now
				changed()
			}
		}
	}
}

// addFolders watches the folders of paths, or the nearest ones above that exist, and
// those that links among them lead to. It may be called again.
func addFolders(notifier *fsnotify.Watcher, paths []string) {
	for _, path := range paths {
		folder := filepath.Dir(path)
		for ; folder != "/" && folder != "."; folder = filepath.Dir(folder) {
			if info, err := os.Stat(folder); err == nil && info.IsDir() {
				break
			}
		}
		_ = notifier.Add(folder) // the periodic check does without
		if target, err := filepath.EvalSymlinks(path); err == nil {
			_ = notifier.Add(filepath.Dir(target))
		}
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
