package browser_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree returns the processes of the Chrome that was started with scratchDir,
// wherever they hang in the process tree: all have it in their environment or,
// where Chrome has overwritten that, belong to the group that pid leads.
func tree(t *testing.T, pid int, scratchDir string) []int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, dir := range entries {
		p, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		environ, _ := os.ReadFile(dir + "/environ")
		group, _ := unix.Getpgid(p)
		if p != os.Getpid() && (group == pid || bytes.Contains(environ, []byte(scratchDir))) {
			pids = append(pids, p)
		}
	}
	return pids
}

// mustBeGone fails the test when a process of that Chrome is left. Chrome's
// crash handlers may need a moment longer than Chrome.
func mustBeGone(t *testing.T, pid int, scratchDir string) {
	t.Helper()
	for _, p := range tree(t, pid, scratchDir) {
		if !ended(p, 30*time.Second) {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
			t.Errorf("process %d is left: %.80s", p, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
}

// ended waits until p has ended; it need not be our child.
func ended(p int, limit time.Duration) bool {
	fd, err := unix.PidfdOpen(p, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	for deadline := time.Now().Add(limit); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(deadline).Milliseconds())))
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// listeners returns the listening TCP sockets that p holds.
func listeners(t *testing.T, p int) []string {
	t.Helper()
	held := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			held[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", p, table))
		if err != nil {
			continue // it has ended, or has a network namespace without it
		}
		const listen, state, inode = "0A", 3, 9
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > inode && fields[state] == listen && held[fields[inode]] {
				found = append(found, lines.Text())
			}
		}
		_ = f.Close()
	}
	return found
}
