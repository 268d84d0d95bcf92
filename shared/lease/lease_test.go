package lease_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"session-manager/shared/lease"
)

func TestHolderIsTheProcessThatCarriesTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")
	if pid := lease.Holder(path); pid != 0 {
		t.Errorf("no file: held by %d", pid)
	}
	held, err := lease.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if pid := lease.Holder(path); pid != os.Getpid() {
		t.Errorf("ours: held by %d", pid)
	}
	reader, err := os.Open(path) // has it open, and holds nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	heir := exec.CommandContext(t.Context(), "sleep", "600")
	heir.ExtraFiles = []*os.File{held}
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if pid := lease.Holder(path); pid != heir.Process.Pid {
		t.Errorf("inherited by %d: held by %d", heir.Process.Pid, pid)
	}
	_ = heir.Process.Kill()
	_ = heir.Wait()
	if pid := lease.Holder(path); pid != 0 {
		t.Errorf("freed: held by %d", pid)
	}
}
