package database

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The log is in its new place before the file is, so that a kill in between separates them nowhere.
func TestLogIsAsideBeforeItsFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a")
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.WriteFile(path+walSuffix, []byte("y"), 0o600)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	aside, err := MoveAside(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, 4096)
	n, err := unix.Read(fd, seen)
	if err != nil {
		t.Fatal(err)
	}
	file, log := []byte(filepath.Base(aside)+"\x00"), []byte(filepath.Base(aside)+walSuffix+"\x00")
	if at := bytes.Index(seen[:n], log); at < 0 || at > bytes.Index(seen[:n], file) {
		t.Errorf("got %q", seen[:n])
	}
	if text, err := os.ReadFile(aside + walSuffix); err != nil || string(text) != "y" {
		t.Errorf("the log is %q, %v", text, err)
	}
}
