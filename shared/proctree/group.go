package proctree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a control group (cgroup v2, Linux 5.14 or newer) for a worker and
// everything below it. It kills all members at once, also those that fork faster than
// /proc can be read, and the kernel reports when it is empty. It needs no controllers,
// so no process has to be moved out of its parent.
type Group struct{ path string }

// Delegated returns the control group that systemd has given to this process to
// manage (Delegate=, systemd.resource-control(5)), and false if it has not: other groups
// stay as they are, even for root.
func Delegated() (path string, ok bool) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	path, ok = groupPath(membership, mounts)
	if !ok || !isDelegated(path) {
		return "", false
	}
	return path, true
}

// isDelegated looks for systemd's mark: an attribute that it sets for root, and
// since version 251 another one that everybody may read.
func isDelegated(path string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(path, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// groupPath finds this process's cgroup v2 in the file system, from the contents
// of /proc/self/cgroup and /proc/self/mountinfo (cgroups(7),
// proc_pid_mountinfo(5)).
func groupPath(membership, mounts []byte) (string, bool) {
	own, ok := "", false
	for line := range bytes.Lines(membership) {
		if path, found := strings.CutPrefix(strings.TrimSpace(string(line)), "0::"); found {
			own, ok = path, true
		}
	}
	if !ok {
		return "", false
	}
	for line := range bytes.Lines(mounts) {
		about, kind, _ := strings.Cut(string(line), " - ")
		fields := strings.Fields(about)
		if !strings.HasPrefix(kind, "cgroup2 ") || len(fields) < 5 {
			continue
		}
		// What is mounted may be a part of the hierarchy only.
		if below, inside := strings.CutPrefix(own, strings.TrimSuffix(fields[3], "/")); inside {
			return filepath.Join(fields[4], below), true
		}
	}
	return "", false
}

// groupPause is the pause between two attempts to remove a group whose members were
// killed.
const groupPause = 5 * time.Millisecond

// NewGroup makes the group name in parent. Anything that is in it already, as after
// the death of a predecessor, is killed.
func NewGroup(ctx context.Context, parent, name string) (*Group, error) {
	g := &Group{path: filepath.Join(parent, name)}
	for {
		err := os.Mkdir(g.path, 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("cannot make control group: %w", err)
		}
		// Linux before 5.14 has no such file.
		if killErr := g.Kill(); killErr != nil {
			_ = os.Remove(g.path)
			return nil, killErr
		}
		if err == nil {
			return g, nil
		}
		// A group can be removed when no member is alive.
		if err := os.Remove(g.path); err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot empty control group: %w", ctx.Err())
		case <-time.After(groupPause):
		}
	}
}

// Add moves the process pid into the group. What it forks from then on is in the
// group as well.
func (g *Group) Add(pid int) error {
	return g.write("cgroup.procs", strconv.Itoa(pid))
}

// Kill sends SIGKILL to every member at once.
func (g *Group) Kill() error { return g.write("cgroup.kill", "1") }

// Close removes the group, which must be empty.
func (g *Group) Close() error {
	if err := os.Remove(g.path); err != nil {
		return fmt.Errorf("cannot remove control group: %w", err)
	}
	return nil
}

func (g *Group) write(name, value string) error {
	if err := os.WriteFile(filepath.Join(g.path, name), []byte(value), 0o600); err != nil {
		return fmt.Errorf("cannot write to control group: %w", err)
	}
	return nil
}
