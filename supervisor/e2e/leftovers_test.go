package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// processes are every process of the service.
func processes(t *testing.T, s *service) []int {
	t.Helper()
	found, err := harness.Below(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(found.Close)
	return append(found.PIDs(), s.PID())
}

// dumping is a program that starts the supervisor with core dumps allowed.
func dumping(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dumping")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nulimit -S -c \"$(ulimit -H -c)\"\nexec "+binaries.Supervisor+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantNoCoreLimit checks the limits of a process, unless it has just exited.
func wantNoCoreLimit(t *testing.T, pid int) {
	t.Helper()
	limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "limits"))
	if err != nil {
		return
	}
	_, line, _ := strings.Cut(string(limits), "Max core file size")
	if fields := strings.Fields(line); len(fields) < 2 || fields[0] != "0" || fields[1] != "0" {
		t.Errorf("process %d may dump its core: %.40s", pid, line)
	}
}

func TestNothingIsLeftOfAKilledPredecessor(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p, folder, tokens := newPhone(t, simulator.Options{}), shortDir(t), t.TempDir()
	o := harness.Options{Folder: folder, Tokens: tokens, Args: append(light, "--url", p.URL)}
	first := launchWith(t, o)
	first.awaitListening()
	first.awaitQR()
	_ = harness.SignalAll(syscall.SIGKILL, processes(t, first)...) // some may have exited
	first.Kill()
	for _, file := range []string{"run/.probe-1", "run/g7/c/t/file"} {
		path := filepath.Join(folder, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, "left")
	}
	write(t, filepath.Join(tokens, ".admin.login42"), "left")
	second := launchWith(t, o)
	second.awaitListening()
	second.awaitQR()
	if left := folders(t, filepath.Join(folder, "run")); len(left) != 1 || filepath.Base(left[0]) != "g1" {
		t.Errorf("in the runtime folder: %v", left)
	}
	second.stop()
	for _, path := range []string{"run", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(folder, path))
		if err != nil || len(entries) > 0 {
			t.Errorf("left in %s: %v, %v", path, entries, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(tokens, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left in the tokens folder: %v, %v", left, err)
	}
}
