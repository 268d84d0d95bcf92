package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// Inspect finds out what Open, Preflight and ChromeLock.Clean would in this tokens folder,
// and leaves it as it is. Errors are theirs.
func Inspect(folder string) error {
	p, err := View(folder)
	if err != nil {
		return err
	}
	present, err := existing(p.Dir())
	switch {
	case reason.Of(err, "") != "":
		return err
	case err != nil:
		return unwritable("cannot use folder", err)
	}
	held := p.owner.inspect()
	switch {
	case held != nil:
		return held
	case present != string(p.tokens) && present != p.Dir():
		// The missing folders are made at the first start.
		if err := unix.Access(present, unix.W_OK|unix.X_OK); err != nil {
			return unwritable("cannot make folder in "+present, err)
		}
		return CheckSpaceAt(present, MinFreeBytes)
	case present == string(p.tokens):
		return errors.Join(CheckSpaceAt(present, MinFreeBytes), TryWrite(present))
	}
	if err := errors.Join(p.tokens.checkAbove(), p.checkFolders()); err != nil {
		return err
	}
	_, _, err = p.ChromeLock.inspect()
	return err
}

// existing returns the folder at path, or the nearest one above it that exists.
func existing(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return "", fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if _, linkErr := os.Lstat(path); linkErr == nil {
			_, err = follow(path) // a link that leads nowhere
			return "", err
		}
		return existing(filepath.Dir(path))
	}
	return path, err
}

// inspect returns ErrHeld, explained, while another supervisor has the lock, and an error
// that carries a reason when the lock can't be taken.
func (o *owner) inspect() error {
	f, err := os.OpenFile(o.path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return unwritable("cannot open lock file", err)
	}
	defer func() { _ = f.Close() }()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
		return o.explain(ErrHeld)
	}
	return nil
}

// maxOwned bounds how many files checkOwned looks at. A profile has some hundreds.
const maxOwned = 20_000

// checkOwned makes sure that nothing in the profile is closed to this user because it is
// another user's: with such files Chrome exits, or keeps nothing.
func checkOwned(profile string) error {
	root, err := filepath.EvalSymlinks(profile)
	if err != nil {
		return unwritable("cannot find profile", err)
	}
	count := 0
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if d == nil {
			return unwritable("cannot check profile", err)
		}
		rel, relErr := filepath.Rel(root, path)
		mode := uint32(unix.R_OK | unix.W_OK)
		switch {
		case count > maxOwned:
			return fs.SkipAll
		case errors.Is(err, fs.ErrNotExist), relErr != nil, !d.IsDir() && !d.Type().IsRegular():
			return nil
		case d.IsDir() && isCache(filepath.ToSlash(rel)):
			return fs.SkipDir
		case d.IsDir():
			mode |= unix.X_OK
		}
		count++
		if err == nil {
			err = unix.Access(path, mode)
		}
		if err == nil {
			return nil
		}
		owner, ok := otherOwner(path)
		if !ok {
			return nil // Chrome makes some files read-only
		}
		return unwritable(fmt.Sprintf("%s belongs to user %d; chown -R it to user %d", path, owner, os.Geteuid()), err)
	})
}

// otherOwner returns whose file it is, if it is another user's.
func otherOwner(path string) (uid uint32, ok bool) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return 0, false
	}
	return stat.Uid, int(stat.Uid) != os.Geteuid()
}
