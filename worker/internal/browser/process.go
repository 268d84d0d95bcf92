package browser

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit is how Chrome's main process exited.
type Exit struct {
	// Code is the exit code, -1 if it was killed by a signal.
	Code int
	// Signal is the name of that signal ("killed", "aborted"), or empty.
	Signal string
}

// String implements fmt.Stringer.
func (e Exit) String() string {
	if e.Signal != "" {
		return "signal " + e.Signal
	}
	return fmt.Sprintf("exit %d", e.Code)
}

// process is Chrome's main process, and the process group that it leads. All of
// Chrome's helpers are in that group, except the crash handlers, which have a
// session of their own and exit when the main process is gone.
type process struct {
	cmd    *exec.Cmd
	stderr *tail
	// drained is closed when no process holds the other end of stderr: the main
	// process and every helper are gone then.
	drained chan struct{}
	// done is closed when the main process has been reaped.
	done chan struct{}

	mu     sync.Mutex
	reaped bool // guarded by mu; the group's number may be someone else's now
	exit   Exit // guarded by mu; valid when reaped
}

// spawn starts path in a process group of its own, with files as its descriptors
// 3, 4, …, nothing on its stdin and stdout, and stderr read here. The context
// that bounds it is the caller's, who must kill the process or await its exit.
//
// There is no parent-death signal: the kernel would send it at every move
// between this program's threads, and the closed pipe does the job cleanly.
func spawn(path string, args, env []string, files ...*os.File) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.Stderr = write
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		_ = read.Close()
		return nil, fmt.Errorf("cannot run %s: %w", path, err)
	}
	p := &process{cmd: cmd, stderr: &tail{}, drained: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.drained)
		p.stderr.readFrom(read)
	}()
	go p.reap(read)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// reap waits for the exit and for the helpers to follow, kills those that do not, and
// reaps the main process last: until then the number of its group can't be reused.
func (p *process) reap(stderr *os.File) {
	defer close(p.done)
	// After a clean exit helpers may still be writing; after a signal there is
	// nothing left to wait for.
	if signaled := awaitExit(p.pid()); !signaled {
		wait(p.drained, helperExit)
	}
	p.kill()
	wait(p.drained, helperExit)
	_ = stderr.Close() // a stopped crash handler may hold the other end forever
	<-p.drained

	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Wait() // the state has more than the error
	p.reaped = true
	p.exit = exitOf(p.cmd.ProcessState)
}

// kill sends SIGKILL to the whole group.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // ESRCH: all gone
	}
}

func (p *process) exitStatus() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// awaitExit returns when the child pid has exited, without reaping it, and reports
// whether it was killed by a signal.
func awaitExit(pid int) (signaled bool) {
	const cldExited = 1 // CLD_EXITED, siginfo(2)
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return info.Code != cldExited
		}
	}
}

func exitOf(s *os.ProcessState) Exit {
	if s == nil {
		return Exit{Code: -1}
	}
	e := Exit{Code: s.ExitCode()}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		e.Signal = w.Signal().String()
	}
	return e
}
