// Package profile guards the folder that holds the login: it lets one supervisor
// use it at a time, finds out before a start what would make Chrome fail or,
// worse, move to another profile in silence, and judges the lock that Chrome
// itself keeps there.
//
// Layout below the tokens folder:
//
//	admin           Chrome's user-data-dir, 0700
//	admin.lock      flock'ed by the supervisor that uses it, with its pid
//	admin.lease     flock'ed through every Chrome of ours (package lease)
//	admin.launch    which Chrome was started last
//	admin.restarts  what the restart policy remembers
//	admin.login     what is known of the login in the profile
//	admin.quarantine/<time>-<why>   former profiles, the newest 3
//	admin.backups/<time>          copies of the closed profile, 3 (see Thin)
//	admin.incoming                  a profile that is about to replace it
package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// session is the name of the one session there is.
const session = "admin"

// ErrHeld means that another supervisor uses the tokens folder.
var ErrHeld = errors.New("the tokens folder is held by another supervisor")

// HeldError is ErrHeld with the holder's pid.
type HeldError struct {
	// Path is the lock file.
	Path string
	// PID is zero when the holder has not written it yet.
	PID int
}

// Error implements error.
func (e *HeldError) Error() string {
	who := "another supervisor"
	if e.PID > 0 {
		who = fmt.Sprintf("another supervisor (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s holds %s; stop that one, or set --tokens to another folder", who, e.Path)
}

// Is makes the error match ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Profile is an opened tokens folder. Its methods are for one goroutine, but for
// Close and the accessors.
type Profile struct {
	tokens string

	mu   sync.Mutex
	lock *os.File // guarded by mu
}

// Open makes the folders where they are missing and takes the lock, which is
// kept until Close or the end of this process. Errors are a *HeldError, or carry
// reason.ProfileUnwritable or reason.DiskFull.
func Open(tokens string) (*Profile, error) {
	abs, err := filepath.Abs(tokens)
	if err != nil {
		return nil, fmt.Errorf("cannot make tokens folder absolute: %w", err)
	}
	p := &Profile{tokens: abs}
	if err := makeFolder(abs); err != nil {
		return nil, err
	}
	if p.lock, err = takeLock(p.path("lock")); err != nil {
		return nil, err
	}
	if err := errors.Join(p.mend(), makeFolder(p.Dir())); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// View returns the tokens folder as it is, without its lock. Only the accessors,
// Backups and LoadLogin may be called; another process may use the folder.
func View(tokens string) (*Profile, error) {
	abs, err := filepath.Abs(tokens)
	if err != nil {
		return nil, fmt.Errorf("cannot make tokens folder absolute: %w", err)
	}
	return &Profile{tokens: abs}, nil
}

// Dir returns the absolute path of Chrome's user-data-dir.
func (p *Profile) Dir() string { return filepath.Join(p.tokens, session) }

// LeaseFile returns the absolute path of the lease.
func (p *Profile) LeaseFile() string { return p.path("lease") }

func (p *Profile) path(extension string) string {
	return filepath.Join(p.tokens, session+"."+extension)
}

// Close gives up the lock. The lock file stays: to remove it would let two
// supervisors each lock a file of their own.
func (p *Profile) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock = nil
	return err
}

// keepLock takes the lock anew when the lock file is not the one that was locked
// any more, as after the tokens folder was removed or moved away.
func (p *Profile) keepLock() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock == nil {
		return fmt.Errorf("cannot use profile: %w", os.ErrClosed)
	}
	ours, err := p.lock.Stat()
	if err != nil {
		return fmt.Errorf("cannot look at lock file: %w", err)
	}
	if there, err := os.Stat(p.path("lock")); err == nil && os.SameFile(ours, there) {
		return nil
	}
	lock, err := takeLock(p.path("lock"))
	if err != nil {
		return err
	}
	_ = p.lock.Close()
	p.lock = lock
	return nil
}

// takeLock locks the file at path and writes our pid into it, for people and
// for HeldError.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, unwritable("cannot open lock file", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &HeldError{Path: path, PID: holder(f)}
		_ = f.Close()
		return nil, err
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, unwritable("cannot take lock "+path, err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holder(f *os.File) int {
	data := make([]byte, 32)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// makeFolder makes the folder at path, and those above it, with mode 0700. One
// that is there already keeps its mode, but nobody else may read a profile.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return unwritable("cannot make folder", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return unwritable("cannot look at folder", err)
	}
	if filepath.Base(path) == session && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return unwritable("cannot make folder private", err)
		}
	}
	return nil
}

// unwritable gives err the reason that fits it. A full disk is a reason of its
// own, since another cure helps.
func unwritable(what string, err error) error {
	code := reason.ProfileUnwritable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		code = reason.DiskFull
	}
	return reason.Wrap(code, fmt.Errorf("%s: %w", what, err))
}
