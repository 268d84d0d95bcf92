package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
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

// take takes the lock. The error matches ErrHeld or carries a reason.
func (o *owner) take() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.takeLocked()
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
	return o.takeLocked()
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

// lockFileAt locks the file at path and writes our pid into it, for people and for
// the error of the next one.
func lockFileAt(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, unwritable("cannot open lock file", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		var pid int
		_, _ = fmt.Fscan(io.LimitReader(f, 20), &pid)
		_ = f.Close()
		return nil, fmt.Errorf("%w%s, which holds %s; stop it, or set --tokens to another folder", ErrHeld, withPID(pid), path)
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
