// Package watch tells when a file has become another one, however that was done:
// written in place, replaced by rename, or reached by a link that was moved.
package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of a watch.
const (
	// settle is how long nothing more must happen before the files are looked at:
	// a certificate and its key are two writes.
	settle = 200 * time.Millisecond
	// look is how often they are looked at anyhow. inotify may lose events, and
	// tells nothing of network file systems.
	look = time.Minute
)

// Set is files as they were at one moment.
type Set struct {
	paths    []string
	last     signatureList
	optional bool
}

// Look notes how the files at paths are now. It is called before they are read,
// so that no change between the reading and the watching is missed.
func Look(paths ...string) Set { return Set{paths: paths, last: signatures(paths)} }

// LookOptional is Look for files that need not be there: that one has gone is a
// change, too.
func LookOptional(paths ...string) Set {
	s := Look(paths...)
	s.optional = true
	return s
}

// Watch calls changed, from its own goroutine, each time that one of the files
// has come, or has become another one than at Look, until ctx ends. The folders
// that hold them must exist: folders are watched, as the watch on a file is lost
// when the file is replaced.
func (s Set) Watch(ctx context.Context, changed func()) error {
	paths, last := s.paths, s.last
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch files: %w", err)
	}
	defer func() { _ = notifier.Close() }()
	if err := addFolders(notifier, paths); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-notifier.Events:
			if !ok {
				return nil
			}
			timer.Reset(settle)
		case _, ok := <-notifier.Errors:
			if !ok {
				return nil
			}
			timer.Reset(settle) // events were lost
		case <-timer.C:
			timer.Reset(look)
			if now := signatures(paths); now.replaces(last) || s.optional && !slices.Equal(now, last) {
				last = now
				// A link may lead elsewhere now. Its own folder is watched already.
				_ = addFolders(notifier, paths)
				changed()
			}
		}
	}
}

// addFolders watches the folders of paths, and those that links among them lead
// to. It may be called again.
func addFolders(notifier *fsnotify.Watcher, paths []string) error {
	for _, path := range paths {
		if err := notifier.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("cannot watch folder of %s: %w", path, err)
		}
		if target, err := filepath.EvalSymlinks(path); err == nil {
			_ = notifier.Add(filepath.Dir(target)) // the slow look does without
		}
	}
	return nil
}

// Signature changes whenever the content of a file may have. The zero value is
// that of a file that is missing.
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

// SignatureOf returns the signature of a file that was looked at.
func SignatureOf(info os.FileInfo) Signature {
	s := Signature{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.inode = stat.Dev, stat.Ino
	}
	return s
}

type signatureList []Signature

func signatures(paths []string) signatureList {
	list := make(signatureList, len(paths))
	for i, path := range paths {
		list[i] = Sign(path)
	}
	return list
}

// replaces says whether a file differs, and all are there: one that is missing
// is about to come back.
func (l signatureList) replaces(old signatureList) bool {
	differs := false
	for i := range l {
		if l[i] == (Signature{}) {
			return false
		}
		differs = differs || l[i] != old[i]
	}
	return differs
}
