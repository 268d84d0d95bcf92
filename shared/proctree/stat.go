package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

var errNoStat = errors.New("unexpected format of stat")

// States of a process that others must know.
const (
	// Zombie: it has ended and was not reaped yet.
	Zombie = 'Z'
	// Stopped: somebody sent it SIGSTOP.
	Stopped = 'T'
)

// Process is one line of the process table (proc_pid_stat(5)).
type Process struct {
	PID, PPID int
	// State is the letter that ps shows: R, S, D, T, Z, ...
	State byte
	// Comm is the name of the executable, cut to 15 bytes by the kernel.
	Comm string
	// Start is when it started, in clock ticks (1/100 s) since boot. Together
	// with PID it names a process for good.
	Start uint64
}

// Look returns the process with this pid. The error matches os.ErrNotExist when
// there is none.
func Look(pid int) (Process, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, syscall.ESRCH) { // It ended between open and read.
		err = os.ErrNotExist
	}
	if err != nil {
		return Process{}, fmt.Errorf("cannot read process %d: %w", pid, err)
	}
	return parseStat(data)
}

func parseStat(data []byte) (Process, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 1 || end < open {
		return Process{}, errNoStat
	}
	// The fields after the name, which may itself hold spaces and brackets:
	// state is field 3 of proc_pid_stat(5), ppid 4, starttime 22.
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Process{}, errNoStat
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:open])))
	if err != nil {
		return Process{}, fmt.Errorf("%w: %w", errNoStat, err)
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return Process{}, fmt.Errorf("%w: %w", errNoStat, err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("%w: %w", errNoStat, err)
	}
	return Process{PID: pid, PPID: ppid, State: fields[0][0], Comm: string(data[open+1 : end]), Start: start}, nil
}

// list returns every process that can be seen. One that ends meanwhile is left
// out.
func list() ([]Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var procs []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := Look(pid); err == nil {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// below returns the members of procs whose chain of parents leads to root.
func below(procs []Process, root int) []Process {
	children := make(map[int][]Process, len(procs))
	for _, p := range procs {
		children[p.PPID] = append(children[p.PPID], p)
	}
	var found []Process
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			found = append(found, p)
			queue = append(queue, p.PID)
		}
	}
	return found
}
