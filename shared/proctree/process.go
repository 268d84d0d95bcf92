package proctree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// States of a process.
const (
	// Zombie: it has exited and was not reaped yet.
	Zombie = 'Z'
	// Stopped: it received SIGSTOP.
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
	// with PID it identifies a process.
	Start uint64
}

// statSize is enough for a process's line, of about 200 bytes.
const statSize = 1024

// Find returns the process with this pid. The error matches os.ErrNotExist if it
// does not exist.
func Find(pid int) (Process, error) {
	h, err := open(pid)
	if err != nil {
		return Process{}, err
	}
	defer h.Close()
	return h.Look()
}

// Handle looks at one process again and again, in half the time that Find takes. No other process
// is ever behind it: its pid may be used again, its open file is not. It must not be used
// after Close, and is closed once.
type Handle struct{ pid, stat int }

// noHandle is what Close does nothing to.
var noHandle = Handle{stat: -1}

// Open returns a handle on the process. The error matches os.ErrNotExist if it has ended.
func (p Process) Open() (Handle, error) {
	h, err := open(p.PID)
	if err != nil {
		return h, err
	}
	now, err := h.Look()
	if err == nil && now.Start != p.Start {
		err = fmt.Errorf("cannot open process %d: another one has its number: %w", p.PID, os.ErrNotExist)
	}
	if err != nil {
		h.Close()
		return noHandle, err
	}
	return h, nil
}

// open returns a handle on the process that has the number now. It takes half the system calls of
// os.Open, which takes the file for one that may have to be waited for.
func open(pid int) (Handle, error) {
	stat, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return noHandle, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return Handle{pid, stat}, nil
}

// PID is that of the process.
func (h Handle) PID() int { return h.pid }

// Look returns the process as it is now. The error matches os.ErrNotExist once it has been reaped.
func (h Handle) Look() (Process, error) {
	var stat [statSize]byte
	n, err := unix.Pread(h.stat, stat[:], 0)
	if errors.Is(err, unix.ESRCH) { // it has ended since its file was opened
		err = os.ErrNotExist
	}
	if err != nil {
		return Process{}, fmt.Errorf("cannot read process %d: %w", h.pid, err)
	}
	return parseStat(h.pid, string(stat[:n]))
}

// Close lets go of the process.
func (h Handle) Close() { _ = unix.Close(h.stat) }

// parseStat reads the four fields of 52 that are needed here. procfs reads all of them,
// which takes twice as long, and every look at a tree reads every process.
func parseStat(pid int, stat string) (Process, error) {
	// The name may itself contain spaces and brackets. The fields after it are state
	// (field 3 of proc_pid_stat(5)), ppid (4), …, starttime (22).
	head, rest := stat[:strings.LastIndexByte(stat, ')')+1], stat[strings.LastIndexByte(stat, ')')+1:]
	_, name, _ := strings.Cut(head, "(")
	const wanted = 20
	fields := make([]string, 0, wanted)
	for field := range strings.FieldsSeq(rest) {
		if fields = append(fields, field); len(fields) == wanted {
			break
		}
	}
	if name == "" || len(fields) < wanted {
		return Process{}, fmt.Errorf("cannot read process %d: unexpected format of stat", pid)
	}
	ppid, err1 := strconv.Atoi(fields[1])
	start, err2 := strconv.ParseUint(fields[19], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return Process{}, fmt.Errorf("cannot read process %d: %w", pid, err)
	}
	return Process{PID: pid, PPID: ppid, State: fields[0][0], Comm: strings.TrimSuffix(name, ")"), Start: start}, nil
}

// Descendants returns the processes whose chain of parents leads to pid. One that
// ends meanwhile may be missing.
func Descendants(pid int) ([]Process, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	children := map[int][]Process{}
	for _, proc := range all {
		if p, err := Find(proc.PID); err == nil {
			children[p.PPID] = append(children[p.PPID], p)
		}
	}
	var found []Process
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			found = append(found, p)
			queue = append(queue, p.PID)
		}
	}
	return found, nil
}

// Waited returns for how long the threads of a process have been ready to run, and waited for a
// processor, in all, as proc_pid_schedstat has it. Each wait counts once it has ended.
func Waited(pid int) (time.Duration, error) {
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(all) == 0 {
		return 0, fmt.Errorf("cannot read process %d: %w", pid, errors.Join(os.ErrNotExist, err))
	}
	var sum time.Duration
	for _, path := range all {
		var ran, waited time.Duration
		text, err := os.ReadFile(path)
		if _, scanErr := fmt.Sscan(string(text), &ran, &waited); err == nil && scanErr == nil { // else the thread has ended
			sum += waited
		}
	}
	return sum, nil
}

// Memory returns the bytes that the process pid keeps from others: anonymous and shared
// memory, without pages of files. A sum of whole resident sizes would count Chrome's
// binary once a process, and be 3 to 4 times too high. What can't be read counts as
// nothing.
func Memory(pid int) uint64 {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	status, err := p.NewStatus()
	if err != nil {
		return 0
	}
	return status.RssAnon + status.RssShmem
}

// TreeMemory returns the Memory of pid and its descendants.
func TreeMemory(pid int) uint64 {
	sum := Memory(pid)
	below, err := Descendants(pid)
	if err != nil {
		return sum
	}
	for _, p := range below {
		sum += Memory(p.PID)
	}
	return sum
}
