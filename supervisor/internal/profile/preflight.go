package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// What must be free where the profile is, before a start. Chrome starts on a full disk
// too, looks healthy, and loses what it should keep.
const (
	MinFreeBytes  = 256 << 20
	minFreeInodes = 1024
	// A running Chrome keeps running with less, but with a warning.
	scarceBytes  = 64 << 20
	scarceInodes = 256
)

// Preflight finds out within a few milliseconds whether Chrome could use the profile.
// It makes the folder if it is missing. A Chrome that can't write to the folder exits
// with 21 as if the profile were in use; one that can't make it silently uses
// $HOME/.config/chromium.
//
// Errors match ErrHeld, or carry reason.ProfileUnwritable or reason.DiskFull.
func (p *Profile) Preflight() error {
	if err := makeFolder(string(p.tokens)); err != nil {
		return err
	}
	if err := p.owner.keep(); err != nil {
		return err
	}
	if err := p.tokens.prepare(); err != nil {
		return err
	}
	return p.checkFolders()
}

// checkFolders is the part of Preflight that needs no lock and changes nothing.
func (p *Profile) checkFolders() error {
	// Space first: a full disk fails the test of writing as well.
	if err := CheckSpaceAt(p.Dir(), MinFreeBytes); err != nil {
		return err
	}
	for _, path := range []string{string(p.tokens), p.Dir()} {
		if err := TryWrite(path); err != nil {
			return err
		}
	}
	return checkOwned(p.Dir())
}

// CheckSpace finds out whether a running Chrome could still write what it has to
// keep. Errors are those of Preflight. It costs one call of statfs.
func (p *Profile) CheckSpace() error { return checkSpace(p.Dir(), scarceBytes, scarceInodes) }

// CheckSpaceAt finds out whether that many bytes are free at path, and inodes for a
// Chrome. Errors are those of Preflight.
func CheckSpaceAt(path string, bytes uint64) error { return checkSpace(path, bytes, minFreeInodes) }

// checkSpaceForCopy makes sure that a copy of the profile in a folder leaves room for Chrome.
func checkSpaceForCopy(profile, folder string) error {
	var size, count uint64
	err := WalkFiles(profile, func(rel string, _ bool) error {
		info, err := os.Lstat(filepath.Join(profile, filepath.FromSlash(rel)))
		if err == nil {
			size, count = size+uint64(max(info.Size(), 0)), count+1
		}
		return err
	})
	if err != nil {
		return unwritable("cannot measure profile", err)
	}
	return checkSpace(folder, size+2*MinFreeBytes, count+2*minFreeInodes)
}

func checkSpace(path string, bytes, inodes uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return unwritable("cannot check file system of "+path, err)
	}
	return checkFree(path, &st, bytes, inodes)
}

func checkFree(path string, st *unix.Statfs_t, bytes, inodes uint64) error {
	if st.Flags&unix.ST_RDONLY != 0 {
		return unwritable("cannot use "+path, unix.EROFS)
	}
	if free := st.Bavail * uint64(max(st.Bsize, 0)); free < bytes {
		return reason.Wrap(reason.DiskFull, fmt.Errorf("only %d MiB are free at %s, %d MiB are needed", free>>20, path, bytes>>20))
	}
	// Btrfs and others make inodes as they need them, and report 0 of 0.
	if st.Files > 0 && st.Ffree < inodes {
		return reason.Wrap(reason.DiskFull, fmt.Errorf("only %d inodes are free at %s, %d are needed", st.Ffree, path, inodes))
	}
	return nil
}

// probePrefix begins the names of the files that TryWrite makes.
const probePrefix = ".probe-"

// RemoveProbes removes what a TryWrite whose process was killed has left in the folder.
func RemoveProbes(folder string) error {
	names, err := list(folder)
	for _, name := range names {
		if strings.HasPrefix(name, probePrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(folder, name)))
		}
	}
	return err
}

// TryWrite does in the folder what Chrome does with its files. Permission bits prove
// little: they don't bind root, and a mount may be read-only. Errors are those of
// Preflight.
func TryWrite(folder string) error {
	f, err := os.CreateTemp(folder, probePrefix+"*")
	if err != nil {
		return unwritable("cannot write in folder", err)
	}
	_, err = f.WriteString("probe\n")
	err = errors.Join(err, f.Sync(), f.Close())
	name, moved := f.Name(), f.Name()+".moved"
	if err == nil {
		err = os.Rename(name, moved)
	}
	for _, path := range []string{name, moved} {
		if rmErr := os.Remove(path); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	if err != nil {
		return unwritable("cannot write in folder", err)
	}
	return nil
}
