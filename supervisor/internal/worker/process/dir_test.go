package process

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRemoveStaysInTheRuntimeFolder(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "outside"), 0o700),
		os.MkdirAll(filepath.Join(run, "g1"), 0o700),
		os.Symlink("../../outside", filepath.Join(run, "g1/link")),
	); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (RuntimeDir{Path: run}).Remove(1); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(run, "g1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "outside")); err != nil {
		t.Error(err)
	}
}
