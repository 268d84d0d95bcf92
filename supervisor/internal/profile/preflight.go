package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// What must be free where the profile lies. Chrome starts on a full disk too,
// looks healthy, and loses what it should keep.
const (
	minFreeBytes  = 256 << 20
	minFreeInodes = 1024
	// A Chrome that runs already is left alone with less, but not in silence.
	scarceBytes  = 64 << 20
	scarceInodes = 256
)

// Preflight finds out whether Chrome could use the profile, in a few
// milliseconds. It makes the folder where it is missing. When Chrome can't write
// the folder it exits with 21 as if the profile were in use, or, when it can't
// make it, uses $HOME/.config/chromium without a word.
//
// Errors match ErrHeld, or carry reason.ProfileUnwritable or reason.DiskFull.
func (p *Profile) Preflight() error {
	if err := makeFolder(p.tokens); err != nil {
		return err
	}
	if err := p.keepLock(); err != nil {
		return err
	}
	if err := p.mend(); err != nil {
		return err
	}
	if err := makeFolder(p.Dir()); err != nil {
		return err
	}
	// Space first: a full disk fails the test of writing as well.
	if err := checkSpace(p.Dir()); err != nil {
		return err
	}
	for _, path := range []string{p.tokens, p.Dir()} {
		if err := tryWrite(path); err != nil {
			return err
		}
	}
	return nil
}

func checkSpace(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return unwritable("cannot look at file system of "+path, err)
	}
	return judgeSpace(path, &st, minFreeBytes, minFreeInodes)
}

// CheckSpace finds out whether a Chrome that runs could still write what it has to
// keep. Errors are those of Preflight. It costs one call of statfs.
func (p *Profile) CheckSpace() error {
	var st unix.Statfs_t
	if err := unix.Statfs(p.Dir(), &st); err != nil {
		return unwritable("cannot look at file system of "+p.Dir(), err)
	}
	return judgeSpace(p.Dir(), &st, scarceBytes, scarceInodes)
}

func judgeSpace(path string, st *unix.Statfs_t, bytes, inodes uint64) error {
	if st.Flags&unix.ST_RDONLY != 0 {
		return unwritable("cannot use "+path, unix.EROFS)
	}
	if free := st.Bavail * uint64(max(st.Bsize, 0)); free < bytes {
		return reason.Wrap(reason.DiskFull, fmt.Errorf("only %d MiB are free at %s, %d are needed", free>>20, path, bytes>>20))
	}
	// Btrfs and others make inodes as they need them and say 0 of 0.
	if st.Files > 0 && st.Ffree < inodes {
		return reason.Wrap(reason.DiskFull, fmt.Errorf("only %d inodes are free at %s, %d are needed", st.Ffree, path, inodes))
	}
	return nil
}

// tryWrite does in the folder what Chrome does with its files. To look at
// permission bits is not enough: they don't bind root, and say nothing of a
// read-only mount.
func tryWrite(folder string) (err error) {
	f, err := os.CreateTemp(folder, ".probe-*")
	if err != nil {
		return unwritable("cannot write in folder", err)
	}
	name := f.Name()
	defer func() {
		if rmErr := os.Remove(name); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) && err == nil {
			err = unwritable("cannot remove from folder", rmErr)
		}
	}()
	_, err = f.WriteString("probe\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return unwritable("cannot write file", err)
	}
	moved := filepath.Join(folder, filepath.Base(name)+".moved")
	if err := os.Rename(name, moved); err != nil {
		return unwritable("cannot rename in folder", err)
	}
	name = moved
	return nil
}
