package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one that was seen; its handle stays valid whatever becomes of its
// number.
type process struct {
	pid    int
	kind   string
	zombie bool
	handle int
}

// tree is the processes below the service.
type tree []process

// below returns what lives below pid, without it. The caller closes it.
func below(pid int) (tree, error) {
	children := map[int][]process{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, parent, ok := look(child); ok {
			children[parent] = append(children[parent], p)
		}
	}
	var found tree
	for next := children[pid]; len(next) > 0; next = next[1:] {
		p := next[0]
		next = append(next, children[p.pid]...)
		if p.handle, err = unix.PidfdOpen(p.pid, 0); err != nil {
			continue // it has ended meanwhile
		}
		found = append(found, p)
	}
	return found, nil
}

// look reads what /proc says of a process; false when it is gone.
func look(pid int) (p process, parent int, ok bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return p, 0, false
	}
	// The name is in parentheses, and may hold some itself.
	head, rest, ok := cutLast(string(stat), ") ")
	if !ok {
		return p, 0, false
	}
	_, name, _ := strings.Cut(head, "(")
	fields := strings.Fields(rest)
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, 0, false
	}
	return process{pid: pid, kind: kindOf(pid, name), zombie: fields[0] == "Z"}, parent, true
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// kindOf names what a process is to Chrome: renderer, gpu-process, zygote,
// network, storage; of others it is the name.
func kindOf(pid int, name string) string {
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return name
	}
	// Children of the zygote have spaces between their arguments.
	for arg := range strings.FieldsFuncSeq(string(cmdline), func(r rune) bool { return r == 0 || r == ' ' }) {
		if sub, ok := strings.CutPrefix(arg, "--utility-sub-type="); ok {
			service, _, _ := strings.Cut(sub, ".")
			return service
		}
		if kind, ok := strings.CutPrefix(arg, "--type="); ok && kind != "utility" {
			return kind
		}
	}
	return name
}

func (t tree) close() {
	for _, p := range t {
		_ = unix.Close(p.handle)
	}
}

// of returns the pids of those of a kind.
func (t tree) of(kind string) []int {
	var pids []int
	for _, p := range t {
		if p.kind == kind {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func (t tree) has(pid int) bool {
	return slices.ContainsFunc(t, func(p process) bool { return p.pid == pid })
}

func (t tree) pids() []int {
	pids := make([]int, 0, len(t))
	for _, p := range t {
		pids = append(pids, p.pid)
	}
	return pids
}

// left waits until all have ended or the time is over, and returns those that
// have not, apart from the pids in but.
func (t tree) left(limit time.Duration, but map[int]bool) []string {
	deadline := time.Now().Add(limit)
	var names []string
	for _, p := range t {
		if !but[p.pid] && !ended(p.handle, time.Until(deadline)) {
			names = append(names, fmt.Sprintf("%s (%d)", p.kind, p.pid))
		}
	}
	return names
}

func ended(handle int, limit time.Duration) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, limit).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// signalAll sends sig to each pid; it fails when none of them took it.
func signalAll(pids []int, sig syscall.Signal) error {
	err := errors.New("there is no such process")
	reached := false
	for _, pid := range pids {
		if e := syscall.Kill(pid, sig); e != nil {
			err = e
			continue
		}
		reached = true
	}
	if !reached {
		return fmt.Errorf("cannot send %s: %w", sig, err)
	}
	return nil
}
