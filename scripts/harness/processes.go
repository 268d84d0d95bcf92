package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/proctree"
)

// Process is one that was seen. Its handle stays valid when its number is reused.
type Process struct {
	PID int
	// Kind is what it is to Chrome (renderer, gpu-process, zygote, network,
	// storage), and otherwise its name.
	Kind   string
	handle int
}

// Tree is the processes that were below another at some moment.
type Tree []Process

// Below returns the processes below pid, without it. The caller closes it.
func Below(pid int) (Tree, error) {
	all, err := proctree.Descendants(pid)
	if err != nil {
		return nil, err
	}
	var found Tree
	for _, p := range all {
		if handle, err := unix.PidfdOpen(p.PID, 0); err == nil { // or it has ended
			found = append(found, Process{p.PID, kindOf(p), handle})
		}
	}
	return found, nil
}

func kindOf(p proctree.Process) string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return p.Comm
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
	return p.Comm
}

// Close releases the handles.
func (t Tree) Close() {
	for _, p := range t {
		_ = unix.Close(p.handle)
	}
}

func (t Tree) pids(want func(Process) bool) []int {
	var pids []int
	for _, p := range t {
		if want(p) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// PIDs returns the numbers of all.
func (t Tree) PIDs() []int { return t.pids(func(Process) bool { return true }) }

// Of returns the numbers of the processes of a kind.
func (t Tree) Of(kind string) []int { return t.pids(func(p Process) bool { return p.Kind == kind }) }

// Running returns the numbers of those that have not ended.
func (t Tree) Running() []int { return t.pids(func(p Process) bool { return !p.hasEnded(0) }) }

// Left waits until all have ended, for at most limit, and names those that have not.
func (t Tree) Left(limit time.Duration) []string {
	deadline := time.Now().Add(limit)
	var names []string
	for _, p := range t {
		if !p.hasEnded(time.Until(deadline)) {
			names = append(names, fmt.Sprintf("%s (%d)", p.Kind, p.PID))
		}
	}
	return names
}

func (p Process) hasEnded(limit time.Duration) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(p.handle), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, limit).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// DefaultSignals makes the programs that this one starts react to SIGHUP and SIGINT, even
// if it was itself started so that it ignores them: nohup, and a shell's background, pass
// that on.
func DefaultSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig) // A program that is started gets the default for what is handled.
		}
	}
}

// ExitAtOnce makes the programs that this one starts exit at once. With the race detector
// they would wait for a second (https://go.dev/doc/articles/race_detector#Options).
func ExitAtOnce() {
	_ = os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
}

// SignalAll sends sig to each pid; it fails when none of them took it.
func SignalAll(sig syscall.Signal, pids ...int) error {
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

// Size is what a process holds.
type Size struct {
	// Memory is in bytes, as in package proctree.
	Memory int64
	// Goroutines is 0 where it is not known.
	Goroutines int
	// Files are open descriptors.
	Files int
}

// What a supervisor may hold more at the end of a long run than early in it: Go's
// heap, and the connections that clients keep open, vary.
const (
	MoreGoroutines = 8
	MoreFiles      = 8
	MoreMemory     = 16 << 20 // bytes
)

// SizeOf measures a process.
func SizeOf(pid int) (Size, error) {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return Size{}, fmt.Errorf("cannot measure process %d: %w", pid, err)
	}
	return Size{Memory: int64(proctree.Memory(pid)), Files: len(files)}, nil
}

// Size measures the supervisor.
func (s *Service) Size(ctx context.Context) (Size, error) {
	now, err := SizeOf(s.PID())
	if err != nil {
		return now, err
	}
	metrics, err := s.Get(ctx, "/metrics")
	if err != nil {
		return now, err
	}
	_, number, _ := strings.Cut(metrics, "\ngo_goroutines ")
	if _, err := fmt.Sscan(number, &now.Goroutines); err != nil {
		return now, fmt.Errorf("cannot read the number of goroutines: %w", err)
	}
	return now, nil
}
