// Package proctree finds, measures, kills and reaps every process below this one,
// regardless of the session, process group or parent it gave itself. It needs this
// process to be a child subreaper: then an orphan becomes our child and stays in the
// tree.
//
// It reaps children by their pid and never with wait4(-1), which would steal
// the status that an exec.Cmd waits for. Children that others wait for must be
// named to Spare; while a Tree is used no other child may be started.
package proctree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The pause between two looks at a tree, short at first. Without a cgroup of our own
// there is no event for "no descendant is left".
const (
	firstPause = time.Millisecond
	lastPause  = 20 * time.Millisecond
)

// Reading /proc is not atomic: a child forked meanwhile by a process that then exits
// is in neither place. So a tree counts as empty when it was seen empty twice in a
// row.
const looksToBelieve = 2

// DenyCoreDumps keeps the kernel from writing the memory of this process, and of those
// that it starts from now on, to disk when they crash: it holds the login, and has
// gigabytes in the case of Chrome (setrlimit(2), RLIMIT_CORE).
func DenyCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot deny core dumps: %w", err)
	}
	return nil
}

// BecomeSubreaper makes orphans among this process's descendants its children,
// for the rest of its life (prctl(2), PR_SET_CHILD_SUBREAPER).
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become child subreaper: %w", err)
	}
	return nil
}

// Tree is the set of processes below this process. Its methods may be called
// from several goroutines.
type Tree struct {
	root  int
	group *Group // nil without one

	mu     sync.Mutex
	waited map[int]bool               // guarded by mu
	killed map[identity]bool          // guarded by mu
	exits  map[int]syscall.WaitStatus // guarded by mu
}

// identity distinguishes a process from later ones with its pid.
type identity struct {
	pid   int
	start uint64
}

// Below returns the tree below this process. Kill ends the members of group, if there
// is one, at once, before it looks for what is left.
func Below(group *Group) *Tree {
	return &Tree{
		root: os.Getpid(), group: group, waited: make(map[int]bool),
		killed: make(map[identity]bool), exits: make(map[int]syscall.WaitStatus),
	}
}

// Spare adds a child that its starter waits for: it belongs to the tree, is killed with
// it, and is not reaped here.
func (t *Tree) Spare(pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waited[pid] = true
}

// Killed returns how many processes Kill has killed so far.
func (t *Tree) Killed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.killed)
}

// Exit returns how the process pid exited, and whether Kill has killed it, if it was
// adopted and reaped here.
func (t *Tree) Exit(pid int) (status syscall.WaitStatus, killed, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.killed {
		killed = killed || p.pid == pid
	}
	status, ok = t.exits[pid]
	return status, killed, ok
}

// Reap reaps the adopted children that have exited, without waiting. If there are none
// it costs one system call.
func (t *Tree) Reap() error {
	if !anyExited() {
		return nil
	}
	procs, err := Descendants(t.root)
	if err != nil {
		return err
	}
	t.reap(procs)
	return nil
}

// anyExited reports whether a child of this process waits to be reaped, by its starter
// or by us.
func anyExited() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil && !errors.Is(err, unix.ECHILD) || info.Signo != 0
}

// Wait waits until the tree is empty. When ctx ends first the error is a
// *LeftoverError.
func (t *Tree) Wait(ctx context.Context) error { return t.untilEmpty(ctx, func([]Process) {}) }

// Kill sends SIGKILL to everything in the tree until it is empty. When ctx ends first,
// as with a process in uninterruptible sleep, the error is a *LeftoverError.
func (t *Tree) Kill(ctx context.Context) error { return t.untilEmpty(ctx, t.kill) }

// Continue resumes the stopped processes of the tree, except those named.
func (t *Tree) Continue(but ...int) error {
	procs, err := Descendants(t.root)
	if err != nil {
		return err
	}
	for _, p := range procs {
		if p.State == Stopped && !slices.Contains(but, p.PID) {
			signalOne(p, syscall.SIGCONT)
		}
	}
	return nil
}

func (t *Tree) untilEmpty(ctx context.Context, act func([]Process)) error {
	timer := time.NewTimer(lastPause)
	defer timer.Stop()
	pause := firstPause
	for empty := 0; ; {
		procs, err := Descendants(t.root)
		if err != nil {
			return err
		}
		left := t.reap(procs)
		if len(left) > 0 {
			empty = 0
		} else if empty++; empty == looksToBelieve {
			return nil
		}
		act(left)
		timer.Reset(pause)
		pause = min(2*pause, lastPause)
		if len(left) == 0 {
			<-timer.C
			continue
		}
		select {
		case <-ctx.Done():
			return &LeftoverError{Processes: left, Err: ctx.Err()}
		case <-timer.C:
		}
	}
}

// reap reaps those of our own children in procs that have exited, and returns the
// rest.
func (t *Tree) reap(procs []Process) []Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := procs[:0]
	for _, p := range procs {
		if p.State == Zombie && p.PPID == t.root && !t.waited[p.PID] {
			var status syscall.WaitStatus
			// A leader whose other threads still run is a zombie that can't be
			// reaped yet: wait4 returns 0 and it stays in the list.
			if pid, err := syscall.Wait4(p.PID, &status, syscall.WNOHANG, nil); err != nil || pid == p.PID {
				t.exits[p.PID] = status
				continue
			}
		}
		left = append(left, p)
	}
	return left
}

func (t *Tree) kill(procs []Process) {
	if t.group != nil && len(procs) > 0 {
		_ = t.group.Kill() // what it misses is killed one by one
	}
	for _, p := range procs {
		if signalOne(p, syscall.SIGKILL) && p.State != Zombie {
			t.mu.Lock()
			t.killed[identity{p.PID, p.Start}] = true
			t.mu.Unlock()
		}
	}
}

// signalOne signals exactly the process p. The handle is opened first (os.Process
// holds a pidfd) and the start time compared afterwards, so that a pid given to
// another process in between is left alone.
func signalOne(p Process, sig syscall.Signal) bool {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return false
	}
	defer func() { _ = handle.Release() }()
	now, err := Find(p.PID)
	if err != nil || now.Start != p.Start {
		return false
	}
	return handle.Signal(sig) == nil
}

// LeftoverError lists the processes that were left when the time was up.
type LeftoverError struct {
	Processes []Process
	Err       error
}

// Error implements error.
func (e *LeftoverError) Error() string {
	names := make([]string, 0, len(e.Processes))
	for _, p := range e.Processes {
		names = append(names, fmt.Sprintf("%s (pid %d, state %c)", p.Comm, p.PID, p.State))
	}
	return fmt.Sprintf("%d processes are left: %s", len(names), strings.Join(names, ", "))
}

// Unwrap returns the error of the context that ended.
func (e *LeftoverError) Unwrap() error { return e.Err }
