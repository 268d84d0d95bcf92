package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
)

// The names that Chrome gives its lock and its socket
// (chrome/common/chrome_constants.cc).
const (
	lockFile   = "SingletonLock"
	socketFile = "SingletonSocket"
)

// CleanLock removes Chrome's SingletonLock when it is proven stale, and only
// then, so that Chrome neither refuses to start (another machine's name, not a
// link) nor kills whoever got the pid in the lock. It never touches
// SingletonSocket and SingletonCookie: whoever wins the lock writes them anew,
// and without them a live Chrome can't be reached, which makes the next one kill
// it or start beside it.
//
// The caller must have proven that nothing of an earlier generation is left, and
// start one Chrome only, since Chrome has a race with itself here. A lock that is
// not proven stale, and a held lease, are errors that carry reason.ProfileInUse.
func (p *Profile) CleanLock(ctx context.Context) (LockState, error) {
	if err := p.checkLease(); err != nil {
		return "", err
	}
	folder, err := os.OpenFile(p.Dir(), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", unwritable("cannot open profile", err)
	}
	defer func() { _ = folder.Close() }()
	dir := int(folder.Fd())

	target, err := readLink(dir, lockFile)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return p.cleanNoLink(ctx, dir, err)
	case err != nil:
		return "", unwritable("cannot read lock", err)
	}
	name, ok := parseLock(target)
	if !ok {
		return Unparsable, nil
	}
	e, err := p.gather(ctx, dir, target, name)
	if err != nil {
		return "", err
	}
	verdict, err := judge(e)
	if err != nil {
		return "", err
	}
	if err := claim(dir, target); err != nil {
		return "", err
	}
	return verdict, nil
}

// checkLease makes sure that no Chrome of ours lives.
func (p *Profile) checkLease() error {
	free, err := lease.Free(p.LeaseFile())
	if err != nil {
		return unwritable("cannot look at lease", err)
	}
	if free {
		return nil
	}
	last, err := p.lastLaunch()
	if err != nil {
		return err
	}
	return inUse("a Chrome that this service started earlier%s has not ended yet", withPID(last.PID))
}

// cleanNoLink handles a lock that is missing, or no symlink. Even without a lock
// a socket that answers proves a live Chrome.
func (p *Profile) cleanNoLink(ctx context.Context, dir int, cause error) (LockState, error) {
	if state, peer := probeSocket(ctx, dir); state == socketAlive {
		return "", inUse("a Chrome that this service did not start%s uses the profile, although its lock is gone", withPID(peer))
	}
	if errors.Is(cause, unix.ENOENT) {
		return NoLock, nil
	}
	aside := lockFile + ".quarantine." + suffix()
	if err := renameNew(dir, lockFile, aside); err != nil {
		return "", unwritable("cannot move aside what is no lock", err)
	}
	return NotALink, nil
}

// claim removes the lock if it still is the one that was judged. It is moved to
// a name of our own first: to look and then to remove would hit a lock that
// another Chrome makes in between.
func claim(dir int, judged string) error {
	aside := lockFile + ".stale." + suffix()
	if err := renameNew(dir, lockFile, aside); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return unwritable("cannot move stale lock", err)
	}
	found, err := readLink(dir, aside)
	if err == nil && found == judged {
		if err := unix.Unlinkat(dir, aside, 0); err != nil {
			return unwritable("cannot remove stale lock", err)
		}
		if err := unix.Fsync(dir); err != nil {
			return unwritable("cannot flush profile", err)
		}
		return nil
	}
	if back := renameNew(dir, aside, lockFile); back != nil {
		return inUse("%w, and can't be put back from %s: %w", errChanged, aside, back)
	}
	return inUse("%w", errChanged)
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", fmt.Errorf("cannot read link %s: %w", name, err)
	}
	return string(buf[:n]), nil
}

// renameNew renames within dir and never replaces anything.
func renameNew(dir int, from, to string) error {
	if err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", from, to, err)
	}
	return nil
}

func suffix() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }
