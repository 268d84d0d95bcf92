package smallfile

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func put(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRegularFilesAndLinksAreRead(t *testing.T) {
	path := put(t, "file", "content")
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if got, err := Read(p, 7); err != nil || string(got) != "content" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	// It is a regular file that has no size.
	if got, err := Read("/proc/self/status", Max); err != nil || len(got) == 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOtherFilesAreRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	fifo, socket, long, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket"), put(t, "long", "12345678"), filepath.Join(dir, "loop")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink(loop, loop)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		fifo: ErrNotRegular, link: ErrNotRegular, socket: ErrNotRegular, dir: ErrNotRegular, "/dev/zero": ErrNotRegular, "/dev/ptmx": ErrNotRegular,
		long: ErrTooLarge, filepath.Join(dir, "missing"): fs.ErrNotExist, loop: unix.ELOOP, long + "/below": unix.ENOTDIR,
	} {
		content, err := Read(path, 7)
		var where *fs.PathError
		if !errors.Is(err, want) || content != nil || !errors.As(err, &where) || where.Path != path {
			t.Errorf("%s: got %q, %v; want %v", path, content, err, want)
		}
	}
}

// A sparse file is as large as it says, and costs no memory to refuse.
func TestNoMoreThanTheLimitIsRead(t *testing.T) {
	path := put(t, "sparse", "")
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
	if _, err := Read(path, Max); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	cause := errors.New("the cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	release := make(chan struct{})
	defer close(release)
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	_, err := Within(ctx, "file", func() ([]byte, error) {
		<-release
		return nil, nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestExposedFiles(t *testing.T) {
	path := put(t, "file", "")
	for mode, want := range map[fs.FileMode]bool{0o600: false, 0o640: false, 0o440: false, 0o644: true, 0o602: true, 0o666: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := Exposed([]string{path + ".missing", path}); len(got) > 0 != want {
			t.Errorf("%o: %v", mode, got)
		}
	}
}

// A program that has a lease on a file makes others wait in open(2), for 45 s.
func TestLeasedFileIsNotWaitedFor(t *testing.T) {
	path := put(t, "file", "content")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip(err)
	}
	if _, err := Read(path, Max); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path, Max); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
}
