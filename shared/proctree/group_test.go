package proctree

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testGroup makes a control group for a test, as systemd would for a service.
func testGroup(t *testing.T) string {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err != nil {
			continue
		}
		path := filepath.Join(mount, fmt.Sprintf("session-manager-test-%d", os.Getpid()))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Skipf("needs the right to make a control group: %v", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		})
		return path
	}
	t.Skip("needs cgroup v2")
	return ""
}

func TestGroupContainsWhatItsMembersStart(t *testing.T) {
	parent := testGroup(t)
	g, err := NewGroup(within(t, 5*time.Second), parent, "worker")
	if err != nil {
		t.Fatal(err)
	}
	// The shell waits to be moved before it starts anything.
	ready := filepath.Join(t.TempDir(), "ready")
	cmd, line := startShell(t, `echo $$; while [ ! -e `+ready+` ]; do sleep 0.01; done
		trap "" TERM; (setsid sh -c 'trap "" TERM; (sleep 600 &) ; exec sleep 600' &); while :; do (sleep 600 &); sleep 0.02; done`)
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Add(pid); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tree := Below(g)
	tree.Spare(cmd.Process.Pid)
	awaitMembers(t, g, 12)
	go func() { _ = cmd.Wait() }()
	if err := tree.Kill(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	// The shells among the members came and went.
	if n := tree.Killed(); n < 4 {
		t.Errorf("killed %d", n)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// awaitMembers waits until the group has at least n.
func awaitMembers(t *testing.T, g *Group, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(10 * time.Second); ; {
		procs, err := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(procs), "\n") >= n {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("members: %q", procs)
		}
	}
}

func TestNewGroupIsEmptied(t *testing.T) {
	parent := testGroup(t)
	g, err := NewGroup(within(t, 5*time.Second), parent, "worker")
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := startShell(t, `echo; sleep 600`)
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	next, err := NewGroup(within(t, 5*time.Second), parent, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the predecessor's process ended well")
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

func TestForeignGroupIsLeftAlone(t *testing.T) {
	path := testGroup(t) // without systemd's mark
	if isDelegated(path) {
		t.Error("it counts as delegated")
	}
	if _, err := NewGroup(t.Context(), filepath.Join(path, "no"), "worker"); err == nil {
		t.Error("a group was made where there is no parent")
	}
	if got, ok := Delegated(); ok && got == path {
		t.Errorf("Delegated() = %q", got)
	}
}

func TestGroupPath(t *testing.T) {
	const (
		pure   = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
		partly = "33 23 0:28 /system.slice /mnt/g rw - cgroup2 none rw\n"
	)
	tests := map[string]struct{ membership, mounts, want string }{
		"a service":            {"0::/system.slice/s.service\n", pure, "/sys/fs/cgroup/system.slice/s.service"},
		"hybrid":               {"4:cpu:/x\n0::/s\n", hybrid, "/sys/fs/cgroup/unified/s"},
		"the root":             {"0::/\n", pure, "/sys/fs/cgroup"},
		"a part is mounted":    {"0::/system.slice/s.service\n", partly, "/mnt/g/s.service"},
		"another part is":      {"0::/user.slice\n", partly, ""},
		"version 1 alone":      {"4:cpu:/x\n", "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", ""},
		"nothing is mounted":   {"0::/s\n", "", ""},
		"something unforeseen": {"0::/s\n", "x - cgroup2 y\n\n", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := groupPath([]byte(tt.membership), []byte(tt.mounts)); got != tt.want || ok != (tt.want != "") {
				t.Errorf("groupPath() = %q, %v", got, ok)
			}
		})
	}
}
