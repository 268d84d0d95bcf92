// Package lease answers "does our Chrome use this profile?" without a race. The lease
// is a flock on a file next to the profile. The worker takes it before it starts Chrome
// and lets Chrome inherit the descriptor, so that the kernel keeps the lock as long as
// the browser process lives, regardless of its parent, and frees it when that dies, even
// by SIGKILL.
package lease

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

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

// Holder returns a process that holds a flock on the file at path, or 0 if none is found,
// as when it is another user's. It looks for the descriptor that carries the lock: the
// process that took it may have ended (proc_pid_fdinfo(5)).
func Holder(path string) (pid int) {
	file, err := os.Stat(path)
	if err != nil {
		return 0
	}
	processes, _ := filepath.Glob("/proc/[0-9]*") // it fails on malformed patterns only
	for _, process := range processes {
		descriptors, _ := os.ReadDir(filepath.Join(process, "fd")) // it has ended, or is another user's
		for _, d := range descriptors {
			// Most are not locked, and to look at a file can take forever.
			info, _ := os.ReadFile(filepath.Join(process, "fdinfo", d.Name()))
			if !bytes.Contains(info, []byte("FLOCK")) {
				continue
			}
			if found, err := os.Stat(filepath.Join(process, "fd", d.Name())); err == nil && os.SameFile(file, found) {
				pid, _ = strconv.Atoi(filepath.Base(process))
				return pid
			}
		}
	}
	return 0
}
