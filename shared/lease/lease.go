// Package lease answers "does our Chrome use this profile?" without a race. The lease
// is a flock on a file next to the profile. The worker takes it before it starts Chrome
// and lets Chrome inherit the descriptor, so that the kernel keeps the lock as long as
// the browser process lives, regardless of its parent, and frees it when that dies, even
// by SIGKILL.
package lease

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrHeld means that our Chrome, or a worker that is about to start it, lives.
var ErrHeld = errors.New("lease is held")

// Acquire takes the lease and returns the file that carries it. The lease is
// free once this descriptor and every inherited copy is closed. It does not
// wait: a lease held elsewhere is ErrHeld.
func Acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lease: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot take lease %s: %w", path, ErrHeld)
		}
		return nil, fmt.Errorf("cannot take lease %s: %w", path, err)
	}
	return f, nil
}

// Free reports whether the lease is held by no process at this moment.
func Free(path string) (bool, error) {
	f, err := Acquire(path)
	if errors.Is(err, ErrHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
