package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// MaxRuntimeDir limits the runtime folder's path, in bytes: a socket's path has
// at most 107, of which go-plugin's names need 40, and Chrome aborts when that of
// its own socket in TMPDIR gets too long.
const MaxRuntimeDir = 48

// RuntimeDir is the folder in which each worker gets a Dir. Only one supervisor
// uses it.
type RuntimeDir struct {
	Path string
	// Temporary: it is in a folder in which other users can make files, as /tmp.
	Temporary bool
}

// ErrForeign means that another user made a folder, or can write to it.
var ErrForeign = errors.New("it must belong to this user and have mode 0700; remove it")

// dirName is the form of the names of the folders in it.
var dirName = regexp.MustCompile(`^g[0-9]+$`)

// Validate returns an error if the path can never be used.
func (d RuntimeDir) Validate() error {
	if !filepath.IsAbs(d.Path) || len(d.Path) > MaxRuntimeDir {
		return fmt.Errorf("cannot use runtime folder %q: it must be absolute and have at most %d bytes", d.Path, MaxRuntimeDir)
	}
	return nil
}

// Prepare makes the folder if it is missing. A temporary one that another user could have
// made is an error that matches ErrForeign.
func (d RuntimeDir) Prepare() error {
	if !d.Temporary {
		return os.MkdirAll(d.Path, 0o700)
	}
	if err := os.Mkdir(d.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(d.Path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || stat.Uid != uint32(os.Getuid()) || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("cannot use %s: %w", d.Path, ErrForeign)
	}
	return nil
}

// Dir is the folder of one worker. The names in it are short because the paths of
// sockets must be.
type Dir string

// worker is HOME and TMPDIR of the worker.
func (d Dir) worker() string { return filepath.Join(string(d), "w") }

// Chrome is for HOME and TMPDIR of the worker's Chrome.
func (d Dir) Chrome() string { return filepath.Join(string(d), "c") }

// MaxBytes is how much a Dir may hold. Measured: 0.1 MB; Chrome's crash handler may add
// some dumps of 1 MB.
const MaxBytes = 128 << 20

// maxFiles is how many files it may have.
const maxFiles = 10_000

// Exceeded returns what is wrong when the folder holds more bytes or files than it may,
// and nil otherwise. Nobody but Chrome and the worker writes there, and they may do so
// meanwhile.
func (d Dir) Exceeded() error {
	var bytes, files int64
	var over error
	_ = filepath.WalkDir(string(d), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just been removed
		}
		if info, err := e.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += stat.Blocks * 512 // its unit, stat(2)
			}
		}
		if files++; bytes > MaxBytes || files > maxFiles {
			over = fmt.Errorf("%s holds more than %d MiB or %d files", d, MaxBytes>>20, maxFiles)
			return fs.SkipAll
		}
		return nil
	})
	return over
}

func nameOf(number uint64) string { return "g" + strconv.FormatUint(number, 10) }

// Make returns an empty folder for the worker with this number.
func (d RuntimeDir) Make(number uint64) (Dir, error) {
	if err := d.Remove(number); err != nil {
		return "", err
	}
	dir := Dir(filepath.Join(d.Path, nameOf(number)))
	for _, folder := range []string{string(dir), dir.worker(), dir.Chrome()} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return "", fmt.Errorf("cannot make folder of worker: %w", err)
		}
	}
	return dir, nil
}

// Remove deletes the folder of the worker with this number, and follows no link in it.
func (d RuntimeDir) Remove(number uint64) error {
	if err := os.RemoveAll(filepath.Join(d.Path, nameOf(number))); err != nil {
		return fmt.Errorf("cannot remove folder of worker: %w", err)
	}
	return nil
}

// Wipe deletes the folders that the workers of a predecessor have left.
func (d RuntimeDir) Wipe() error {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot list runtime folder: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if dirName.MatchString(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(d.Path, e.Name())))
		}
	}
	return errors.Join(errs...)
}
