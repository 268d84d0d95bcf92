// Package media keeps the files of messages, such as pictures, in a folder, and bounds
// them.
//
// A file is written as a Draft, which nobody but its writer sees, and gets its name in
// the same step in which somebody notes on disk that it belongs to a message. What has a
// name and no owner, as after a kill between the two, is removed by Sweep.
//
// Files that can be downloaded again may give way to newer ones.
package media

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge means that one file is larger than Limits.File.
	ErrTooLarge = errors.New("the file is too large")
	// ErrFull means that there are as many files, or as many bytes, as there may be.
	ErrFull = errors.New("there are too many files")
	// ErrNoSpace means that the disk is full, or would be.
	ErrNoSpace = errors.New("there is no space left for files")
	// ErrDisk means that a file could not be written for another reason.
	ErrDisk = errors.New("the file could not be written")
	// ErrDiscarded means that the draft was discarded.
	ErrDiscarded = errors.New("the file was discarded")
)

// Limits bound what a Store keeps, drafts included. Sizes are in bytes.
type Limits struct {
	// File is the size of the largest file, Bytes that of all, and Files how many there are.
	File, Bytes int64
	Files       int
	// Reserve is what is left free on the disk, which Chrome needs, too.
	Reserve uint64
	// Replace has the oldest files removed where a new one has no room.
	Replace bool
}

// DefaultLimits returns the usual limits.
func DefaultLimits() Limits {
	return Limits{File: 64 << 20, Bytes: 1 << 30, Files: 2000, Reserve: 320 << 20}
}

// reserveEvery is after how many bytes the space on the disk is checked again.
const reserveEvery = 4 << 20

// Store is a folder of files. Its methods may be called from any goroutine, and wait for the
// disk.
type Store struct {
	dir    string
	limits Limits

	mu      sync.Mutex
	counted bool                // guarded by mu; bytes and files are known
	bytes   int64               // guarded by mu
	files   int                 // guarded by mu
	drafts  map[*Draft]struct{} // guarded by mu; those whose files are not to be swept
	oldest  []fs.FileInfo       // guarded by mu; the next to give way, as of when the folder was read
}

// New returns the Store in a folder, which is made when it is needed. The path must be absolute.
func New(dir string, l Limits) *Store {
	return &Store{dir: dir, limits: l, drafts: map[*Draft]struct{}{}}
}

// MaxFile is the size of the largest file in bytes.
func (s *Store) MaxFile() int64 { return s.limits.File }

// Path returns the absolute path of a file, which may not be there.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name) }

// name is the form of the names of files, and longestName how many bytes they have at most.
// Those of drafts have another form.
var name = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]*$`)

const longestName = 101

// Valid reports whether a file may have this name.
func Valid(n string) bool { return len(n) <= longestName && name.MatchString(n) }

// Draft is a file that is being written. It is for one goroutine at a time. It keeps its
// file until Release or Discard.
type Draft struct {
	store *Store
	file  *os.File
	sum   hash.Hash
	size  int64  // guarded by store.mu
	path  string // guarded by store.mu
	ended bool
}

// Create returns an empty draft. Errors match ErrFull or ErrNoSpace where they apply.
func (s *Store) Create() (*Draft, error) {
	if err := s.prepare(); err != nil {
		return nil, failed("make folder for files", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.counted {
		if err := s.countLocked(); err != nil {
			return nil, failed("count files", err)
		}
	}
	for s.files >= s.limits.Files {
		if !s.replaceLocked() {
			return nil, ErrFull
		}
	}
	if err := s.checkSpaceLocked(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.dir, ".draft-") // with mode 0600
	if err != nil {
		return nil, failed("make file", err)
	}
	d := &Draft{store: s, file: f, sum: sha256.New(), path: f.Name()}
	s.files++
	s.drafts[d] = struct{}{}
	return d, nil
}

// prepare makes the folder, for the owner alone.
func (s *Store) prepare() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	info, err := s.folder()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(s.dir, 0o700)
	}
	return err
}

// folder makes sure that the folder is one, and not a link to one that has files of others.
func (s *Store) folder() (fs.FileInfo, error) {
	info, err := os.Lstat(s.dir)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	return info, err
}

// Import moves the files in a folder, which need not exist, into that of a Store that nothing uses.
// Those that it has stay as they are.
func Import(from, dir string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s := New(dir, Limits{})
	if err == nil {
		err = s.prepare()
	}
	for _, e := range entries {
		if _, missing := os.Lstat(s.Path(e.Name())); err == nil && missing != nil {
			err = errors.Join(syncPath(filepath.Join(from, e.Name())), os.Rename(filepath.Join(from, e.Name()), s.Path(e.Name())))
		}
	}
	if err == nil {
		err = syncPath(s.dir)
	}
	if err != nil {
		return failed("import files", err)
	}
	return nil
}

// checkSpaceLocked returns ErrNoSpace unless the disk has more free than Limits.Reserve.
func (s *Store) checkSpaceLocked() error {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(s.dir, &st); err != nil {
			return failed("check disk", err)
		}
		if st.Bavail*uint64(max(st.Bsize, 0)) >= s.limits.Reserve {
			return nil
		}
		if !s.replaceLocked() {
			return ErrNoSpace
		}
	}
}

// replaceLocked removes the oldest file that is not a draft, if files may be replaced. The folder is read
// once for many files.
func (s *Store) replaceLocked() bool {
	if !s.limits.Replace {
		return false
	}
	for read := false; ; {
		for len(s.oldest) > 0 {
			one := s.oldest[0]
			s.oldest = s.oldest[1:]
			now, err := os.Lstat(s.Path(one.Name()))
			if err == nil && now.ModTime().Equal(one.ModTime()) && os.Remove(s.Path(one.Name())) == nil {
				s.files--
				s.bytes -= now.Size()
				return true
			}
		}
		if read || s.countLocked() != nil {
			return false
		}
		read = true
	}
}

// heldLocked are the names of the files of drafts.
func (s *Store) heldLocked() map[string]bool {
	held := map[string]bool{}
	for d := range s.drafts {
		held[filepath.Base(d.path)] = true
	}
	return held
}

// Open opens a file of this size. The error matches fs.ErrNotExist if it is missing; what is
// not what it should be is removed.
func (s *Store) Open(name string, size int64) (*os.File, error) {
	f, err := os.OpenFile(s.Path(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, failed("open file", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == size {
		return f, nil
	}
	_ = f.Close()
	if err := os.Remove(s.Path(name)); err != nil {
		return nil, failed("remove file", err)
	}
	return nil, fs.ErrNotExist
}

// Write implements io.Writer. Errors match ErrTooLarge, ErrFull or ErrNoSpace where they
// apply; then the draft is of no use.
func (d *Draft) Write(p []byte) (int, error) {
	if err := d.store.reserve(d, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.file.Write(p)
	d.sum.Write(p[:n])
	if err != nil {
		return n, failed("write file", err)
	}
	return n, nil
}

// reserve counts n bytes more of a draft, if it may have them.
func (s *Store) reserve(d *Draft, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.size+n > s.limits.File {
		return ErrTooLarge
	}
	for s.bytes+n > s.limits.Bytes {
		if !s.replaceLocked() {
			return ErrFull
		}
	}
	if d.size/reserveEvery != (d.size+n)/reserveEvery {
		if err := s.checkSpaceLocked(); err != nil {
			return err
		}
	}
	d.size += n
	s.bytes += n
	return nil
}

// Finish puts what was written on disk, but for its name, and ends the writing.
func (d *Draft) Finish() error {
	if err := errors.Join(d.file.Sync(), d.file.Close()); err != nil {
		return failed("write file", err)
	}
	return nil
}

// Sum returns the SHA-256 of what was written, and Size how much that is in bytes.
func (d *Draft) Sum() (sum [sha256.Size]byte) { return [sha256.Size]byte(d.sum.Sum(nil)) }

// Size is documented at Sum.
func (d *Draft) Size() int64 {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	return d.size
}

// Name gives a finished draft a name, on disk when it returns. It may get another one.
func (d *Draft) Name(n string) error {
	if d.ended || !Valid(n) {
		return ErrDiscarded
	}
	if err := d.store.rename(d, n); err != nil {
		return failed("name file", err)
	}
	if err := syncPath(d.store.dir); err != nil {
		return failed("name file", err)
	}
	return nil
}

// syncPath puts a file, or the names in a folder, on disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}

func (s *Store) rename(d *Draft, n string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.Path(n)
	if err := os.Rename(d.path, path); err != nil {
		return err
	}
	d.path = path
	return nil
}

// Release leaves the file to who owns it now.
func (d *Draft) Release() { d.end(false) }

// Discard removes the file, unless it was released. It may be called more than once.
func (d *Draft) Discard() { d.end(true) }

func (d *Draft) end(remove bool) {
	if d.ended {
		return
	}
	d.ended = true
	_ = d.file.Close() // again, as a rule
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.drafts, d)
	if remove && os.Remove(d.path) == nil { // else Sweep removes it
		s.files--
		s.bytes -= d.size
	}
}

// Sweep removes each file that keep reports no owner for, counts those that are left, and brings
// them within the limits if files may be replaced. Drafts stay, also those that have a name. After an error of keep nothing more is removed.
func (s *Store) Sweep(keep func(name string) (bool, error)) error {
	if _, err := s.folder(); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return failed("sweep folder of files", err)
	}
	s.mu.Lock()
	entries, err := os.ReadDir(s.dir)
	held := s.heldLocked() // as of before keep is asked, so that what is released meanwhile has an owner
	s.mu.Unlock()
	for _, e := range entries {
		if held[e.Name()] {
			continue
		}
		if Valid(e.Name()) && e.Type().IsRegular() {
			if owned, err := keep(e.Name()); err != nil {
				return err
			} else if owned {
				continue
			}
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = errors.Join(err, s.countLocked())
	for (s.files > s.limits.Files || s.bytes > s.limits.Bytes) && s.replaceLocked() {
	}
	return err
}

// mostOldest is how many files are remembered as the next to give way.
const mostOldest = 100

// countLocked counts what is in the folder.
func (s *Store) countLocked() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("cannot count files: %w", err)
	}
	s.counted, s.files, s.bytes = true, len(entries), 0
	for d := range s.drafts {
		s.bytes += d.size // not all of it may be written yet
	}
	held, old := s.heldLocked(), []fs.FileInfo{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || held[e.Name()] {
			continue
		}
		s.bytes += info.Size()
		if s.limits.Replace && info.Mode().IsRegular() {
			old = append(old, info)
		}
	}
	slices.SortFunc(old, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	s.oldest = slices.Clone(old[:min(len(old), mostOldest)])
	return nil
}

// failed is an error of the disk, without the path.
func failed(what string, err error) error {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("cannot %s: %w: %w", what, ErrNoSpace, full)
		}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot %s: %w: %w", what, ErrDisk, err)
}
