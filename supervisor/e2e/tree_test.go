package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is one that was seen; the handle stays valid whatever its number
// becomes.
type process struct {
	pid    int
	name   string
	handle int
}

// tree returns the processes below pid, without it.
func tree(t *testing.T, pid int) []process {
	t.Helper()
	children := map[int][]int{}
	names := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		name, rest, ok := strings.Cut(string(stat), ") ")
		if !ok {
			continue
		}
		parent, err := strconv.Atoi(strings.Fields(rest)[1])
		if err != nil {
			t.Fatal(err)
		}
		children[parent] = append(children[parent], child)
		_, names[child], _ = strings.Cut(name, "(")
	}
	var found []process
	for next := children[pid]; len(next) > 0; next = next[1:] {
		child := next[0]
		next = append(next, children[child]...)
		handle, err := unix.PidfdOpen(child, 0)
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = unix.Close(handle) })
		found = append(found, process{child, names[child], handle})
	}
	return found
}

// gone waits until every process has ended, and fails the test if one does not.
func gone(t *testing.T, processes []process) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, p := range processes {
		for {
			fds := []unix.PollFd{{Fd: int32(p.handle), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n != 1 {
				t.Errorf("%s (%d) is still there", p.name, p.pid)
			}
			break
		}
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
