// Package smallfile reads the small files that settings name, and those that the service
// itself keeps. It reads regular files only, never more than a limit, and never waits
// for another process, as the reader of a pipe does.
package smallfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/wait"
)

// Max bounds the files that settings name, in bytes.
const Max = 1 << 20

// Timeout bounds ReadSoon, for a file system that hangs.
const Timeout = 10 * time.Second

var (
	// ErrNotRegular means that the path leads to a folder, a pipe, a socket or a device.
	ErrNotRegular = errors.New("it is not a regular file")
	// ErrTooLarge means that the file is larger than the limit.
	ErrTooLarge = errors.New("it is too large")
	// ErrSlow means that the file system did not respond in time.
	ErrSlow = errors.New("the file system does not respond")
)

// Read returns the content of the regular file at path, or at the end of a link, if it
// has at most limit bytes. Errors are *fs.PathError.
func Read(path string, limit int64) ([]byte, error) {
	// A device may do something when it is opened, and a pipe's writer is woken.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, failed(path, ErrNotRegular)
	}
	// The file may be another one by now: what waits in open(2) must not.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, failed(path, ErrNotRegular)
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, failed(path, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit))
	}
	return content, nil
}

// OpenInherited opens the file at path for reading. A path that stands for a descriptor of
// this process, such as /dev/stdin, or - for standard input, is that descriptor: another
// user than the one who opened it could not open it again.
func OpenInherited(path string) (*os.File, error) {
	number := path
	for _, prefix := range []string{"/dev/fd/", "/proc/self/fd/"} {
		number = strings.TrimPrefix(number, prefix)
	}
	if path == "-" || path == "/dev/stdin" {
		number = "0"
	}
	fd, err := strconv.Atoi(number)
	if number == path || err != nil {
		return os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY, 0)
	}
	if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return nil, failed(path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func failed(path string, err error) error { return &fs.PathError{Op: "read", Path: path, Err: err} }

// ReadSetting is ReadSoon for a file that a setting names.
func ReadSetting(ctx context.Context, path string) ([]byte, error) { return ReadSoon(ctx, path, Max) }

// ReadSoon is Read within Timeout and until ctx ends.
func ReadSoon(ctx context.Context, path string, limit int64) ([]byte, error) {
	return Within(ctx, path, func() ([]byte, error) { return Read(path, limit) })
}

// Within returns what read returns, which reads the file at path. After Timeout its
// error is ErrSlow, and when ctx ends ctx's cause.
func Within[T any](ctx context.Context, path string, read func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, failed(path, ErrSlow))
	defer cancel()
	return wait.For(ctx, read)
}

// Exposed returns those of the files at paths that users other than the owner and the
// group may read or write.
func Exposed(paths []string) (exposed []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o006 != 0 {
			exposed = append(exposed, path)
		}
	}
	return exposed
}
