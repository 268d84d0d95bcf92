package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"session-manager/scripts/harness"
)

// tree returns the processes below pid, without it.
func tree(t *testing.T, pid int) harness.Tree {
	t.Helper()
	found, err := harness.Below(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(found.Close)
	return found
}

// gone waits until every process has ended, and fails the test if one does not.
func gone(t *testing.T, processes harness.Tree) {
	t.Helper()
	if left := processes.Left(patience); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

// listening returns the TCP sockets on which a process of the list listens.
func listening(t *testing.T, pids []int) []string {
	t.Helper()
	byInode := map[string]string{}
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			const stateListen = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == stateListen {
				byInode["socket:["+f[9]+"]"] = f[1]
			}
		}
	}
	var found []string
	for _, pid := range pids {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			continue
		}
		for _, fd := range fds {
			target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
			if address, ok := byInode[target]; err == nil && ok {
				found = append(found, fmt.Sprintf("%d on %s", pid, address))
			}
		}
	}
	return found
}
