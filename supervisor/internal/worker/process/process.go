// Package process runs a worker's process: it forks it into its control group,
// reads what it writes, shakes hands with it, and knows how it exited. What the
// worker has started is left to others (package proctree).
package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// pipeGrace is how long the pipes of a process that has exited stay open for what
// is still in them. A process that it left behind may hold their other ends
// forever.
const pipeGrace = time.Second

// errEnded means that the process was to be killed before it was started.
var errEnded = errors.New("the process was killed before it was started")

// Options of a Process.
type Options struct {
	// Path of the worker's binary.
	Path string
	// Dir is for its sockets and temporary files.
	Dir Dir
	// Request is written to the worker's standard input; nil without one.
	Request *rpc.RunRequest
	// Group contains the worker and all that it starts; nil without one. Tree does not
	// reap the worker.
	Group *proctree.Group
	Tree  *proctree.Tree
	Log   *slog.Logger
}

// Process is a worker's process. Its methods may be called from any goroutine.
type Process struct {
	o       Options
	started chan struct{}
	exited  chan struct{}
	stdout  *stdout
	stderr  *stderr
	volume  *volume // of both
	client  *plugin.Client
	conns   rpc.Conns
	// pipes are the goroutines that read, and the one that waits.
	pipes sync.WaitGroup

	mu     sync.Mutex
	ended  bool             // guarded by mu; no process may be started
	killed bool             // guarded by mu; we killed it while it lived
	cmd    *exec.Cmd        // guarded by mu; nil until started
	state  *os.ProcessState // guarded by mu; nil until exited
}

// New returns a Process that Connect starts. Whoever makes one calls Release.
func New(o Options) *Process {
	p := &Process{
		o: o, started: make(chan struct{}), exited: make(chan struct{}),
		stdout: newStdout(), stderr: newStderr(o.Log, time.Now), volume: newVolume(),
	}
	p.client = plugin.NewClient(p.clientConfig())
	return p
}

// Started returns a channel that is closed when the process runs.
func (p *Process) Started() <-chan struct{} { return p.started }

// Exited returns a channel that is closed when the process has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Flooding reports whether the process has written more to its standard output and error
// than a worker may.
func (p *Process) Flooding() bool { return p.volume.exceeded.Load() }

// start forks the process, with further variables in its environment.
func (p *Process) start(env []string) error {
	var ours, theirs [3]*os.File
	for i := range ours {
		var err error
		if theirs[i], ours[i], err = os.Pipe(); err != nil {
			closeAll(ours, theirs)
			return fmt.Errorf("cannot make pipe: %w", err)
		}
	}
	theirs[1], ours[1] = ours[1], theirs[1] // it writes to stdout and stderr
	theirs[2], ours[2] = ours[2], theirs[2]
	cmd := exec.Command(p.o.Path) // Without a context: Kill and the parent-death signal end it.
	cmd.Args[0] = "worker"        // the path may be the number of a file
	cmd.Env = append(environ(p.o.Dir.worker()), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	result := make(chan error, 1)
	p.pipes.Go(func() { p.live(cmd, result) })
	err := <-result
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return err
	}
	p.pipes.Go(func() { p.send(ours[0]) })
	p.pipes.Go(func() { p.stdout.pump(p.volume.of(ours[1])) })
	p.pipes.Go(func() { p.stderr.pump(p.volume.of(ours[2])) })
	p.pipes.Go(func() {
		<-p.exited
		grace := time.AfterFunc(pipeGrace, func() { closeAll(ours) })
		<-p.stdout.done
		<-p.stderr.done
		if grace.Stop() {
			closeAll(ours)
		}
	})
	return nil
}

// environ is what a worker gets from the environment of its host. Everything
// else stays out: credentials, systemd's sockets, proxies.
func environ(home string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "TMPDIR=" + home,
		// rod would read flags from the environment and the command line.
		"DISABLE_ROD_FLAG=1",
		// A collection at rest makes stacks smaller that grow again at once. To copy one, 2 MB of
		// the binary's tables are mapped.
		"GODEBUG=gcshrinkstackoff=1",
	}
	for _, name := range []string{"LANG", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// closeAll closes files, some of which may be nil.
func closeAll(all ...[3]*os.File) {
	for _, files := range all {
		for _, f := range files {
			_ = f.Close()
		}
	}
}

// send writes the worker's request to its standard input. A worker without one waits
// for it.
func (p *Process) send(stdin io.WriteCloser) {
	if p.o.Request == nil {
		return
	}
	if err := rpc.SendRequest(stdin, *p.o.Request); err != nil {
		p.o.Log.Warn(logid.RequestSendFailed, logging.KeyError, err)
	}
}

// timerSlack is how late the kernel may wake the worker and its Chrome, which inherit it, in
// nanoseconds (PR_SET_TIMERSLACK(2const)). Go's sysmon sleeps for 20 µs at a time while anything
// runs: with the usual slack of 50 µs, it takes a fifth of what the worker needs at rest.
const timerSlack = 250_000

// live starts the process and waits for its end. It stays on one thread all the
// time: the kernel sends the parent-death signal when the thread that forked
// ends, not when the process does.
func (p *Process) live(cmd *exec.Cmd, result chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Where the kernel refuses it, the worker only needs more of the processor.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
	err := p.fork(cmd)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // this thread's own again
	if err != nil {
		result <- err
		return
	}
	result <- nil
	// The error repeats the state. Since the pipes are files, this waits for
	// nothing but the process.
	_ = cmd.Wait()
	p.mu.Lock()
	p.state = cmd.ProcessState
	p.mu.Unlock()
	close(p.exited)
}

func (p *Process) fork(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errEnded
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start worker: %w", err)
	}
	p.cmd = cmd
	p.contain(cmd.Process.Pid)
	close(p.started)
	return nil
}

// oomScore makes the kernel choose the worker and its Chrome, which inherit it, when
// the machine has no memory left, and not the API (proc_pid_oom_score_adj(5)).
const oomScore = "300"

// contain does what must be done before the worker starts anything.
func (p *Process) contain(pid int) {
	p.o.Tree.Spare(pid)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0); err != nil {
		p.o.Log.Debug(logid.OOMScoreRaiseFailed, logging.KeyError, err)
	}
	if p.o.Group == nil {
		return
	}
	// UseCgroupFD would need clone3, which RestrictNamespaces= forbids.
	if err := p.o.Group.Add(pid); err != nil {
		p.o.Log.Warn(logid.ControlGroupJoinFailed, logging.KeyError, err)
	}
}

// Kill ends the process at once; one that was not started yet never will be. It
// uses a handle (a pidfd that os.Process holds), not the pid.
func (p *Process) Kill() { p.signal(os.Kill) }

// Dump makes a Go program write the stacks of its goroutines to stderr and exit.
func (p *Process) Dump() { p.signal(syscall.SIGQUIT) }

func (p *Process) signal(sig os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = p.ended || sig == os.Kill
	if p.cmd == nil || p.state != nil {
		return
	}
	err := p.cmd.Process.Signal(sig)
	switch {
	case err == nil:
		p.killed = p.killed || sig == os.Kill
	case !errors.Is(err, os.ErrProcessDone):
		p.o.Log.Warn(logid.WorkerSignalFailed, "signal", sig.String(), logging.KeyError, err)
	}
}

// PID returns 0 while there is no process.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Record is what is known about a process that has exited.
type Record struct {
	PID int
	// Exit is such as "exit 70" or "signal killed"; empty if it has not exited.
	Exit string
	// Killed reports that Kill ended it. One that was about to exit may have been
	// quicker.
	Killed bool
	// Stdout counts the bytes that it wrote to stdout after the handshake.
	Stdout int64
	// Stderr holds the first 200 lines of a panic's or a hang's stacks, or else the
	// last 200 lines, cut and redacted.
	Stderr []string
}

// Record returns what is known by now.
func (p *Process) Record() Record {
	r := Record{PID: p.PID(), Stdout: p.stdout.dropped.Load(), Stderr: p.stderr.record()}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Killed = p.killed
	if p.state == nil {
		return r
	}
	r.Exit = p.state.String()
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok {
		r.Exit = Describe(status)
		r.Killed = p.killed && status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	return r
}

// Describe puts a wait status into words, such as "exit 70" and "signal killed".
func Describe(status syscall.WaitStatus) string {
	switch {
	case status.Signaled() && status.CoreDump():
		return "signal " + status.Signal().String() + " (core dumped)"
	case status.Signaled():
		return "signal " + status.Signal().String()
	default:
		return "exit " + strconv.Itoa(status.ExitStatus())
	}
}

// reasonOf distinguishes a binary that can't be executed from a machine that can
// start no process at the moment.
func reasonOf(err error) reason.Code {
	if Exhausted(err) {
		return reason.ResourcesExhausted
	}
	for _, broken := range []error{os.ErrNotExist, os.ErrPermission, syscall.ENOEXEC, syscall.EISDIR, syscall.ENOTDIR, syscall.ELIBBAD} {
		if errors.Is(err, broken) {
			return reason.WorkerUnusable
		}
	}
	return reason.WorkerCrashed
}

// Exhausted reports whether err is due to a limit of this process or of the
// machine, regardless of what could not be done.
func Exhausted(err error) bool {
	for _, limit := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, limit) {
			return true
		}
	}
	return false
}
