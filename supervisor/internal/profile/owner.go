package profile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
)

// ErrHeld means that another supervisor uses the tokens folder.
var ErrHeld = errors.New("the tokens folder is in use by another supervisor")

// owner is the supervisor's lock on the tokens folder. It may be used from any
// goroutine.
type owner struct {
	path string

	mu   sync.Mutex
	file *os.File // guarded by mu; nil while the lock is not held
}

const (
	// releaseTimeout is how long a predecessor that was killed may take to exit, and
	// releasePoll the pause between two attempts to take its lock.
	releaseTimeout = 2 * time.Second
	releasePoll    = 25 * time.Millisecond
)

// take takes the lock. The error matches ErrHeld or carries a reason.
func (o *owner) take() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for begun := time.Now(); ; {
		err := o.takeLocked()
		if !errors.Is(err, ErrHeld) || time.Since(begun) > releaseTimeout {
			return o.explain(err)
		}
		time.Sleep(releasePoll) // a flock that is released notifies only those who block on it
	}
}

func (o *owner) takeLocked() error {
	file, err := lockFileAt(o.path)
	if err != nil {
		return err
	}
	if o.file != nil {
		_ = o.file.Close()
	}
	o.file = file
	return nil
}

// keep takes the lock again if the lock file is no longer the one that was locked,
// as after the tokens folder was removed or moved.
func (o *owner) keep() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return fmt.Errorf("cannot use profile: %w", os.ErrClosed)
	}
	ours, err := o.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot check lock file: %w", err)
	}
	if found, err := os.Stat(o.path); err == nil && os.SameFile(ours, found) {
		return nil
	}
	return o.explain(o.takeLocked())
}

// explain adds to ErrHeld which process it is. To find that is too expensive for each
// attempt.
func (o *owner) explain(err error) error {
	if !errors.Is(err, ErrHeld) {
		return err
	}
	return fmt.Errorf("%w%s, which holds %s; stop it, or set --tokens to another folder", err, withPID(lease.Holder(o.path)), o.path)
}

// release gives up the lock. The lock file stays: if it were removed, two
// supervisors could each lock a file of their own.
func (o *owner) release() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	o.file = nil
	return err
}

// lockFileAt locks the file at path and writes our pid into it, for people.
func lockFileAt(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, unwritable("cannot open lock file", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		_ = f.Close()
		return nil, ErrHeld
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, unwritable("cannot take lock "+path, err)
	}
	return f, nil
}
