package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// pipeGrace is how long the pipes of a process that has ended stay open for what
// is still in them. Something that it left behind may hold their other ends for
// ever.
const pipeGrace = time.Second

// errEnded means that the worker was to be ended before it was started.
var errEnded = errors.New("the generation has ended")

// process is the worker's process, as go-plugin's runner. go-plugin's own runner
// would hand its stderr to a parser that panics on hostile lines, take a
// grandchild that holds the pipes for a living worker, and keep the exit status
// to itself.
//
// The methods may be called from any goroutine.
type process struct {
	program program
	env     []string
	log     *slog.Logger
	// group takes the process and all that it starts; nil without one.
	group *proctree.Group
	// request is sent to the worker as soon as it runs; nil for a worker that only
	// shakes hands.
	request *rpc.RunRequest

	// started is closed when there is a process, exited when it has ended.
	started chan struct{}
	exited  chan struct{}
	stdout  *stdout
	stderr  *stderr
	// pipes are the goroutines that read, and the one that waits.
	pipes sync.WaitGroup

	mu     sync.Mutex
	ended  bool             // guarded by mu; no process may be started any more
	killed bool             // guarded by mu; it was killed by us while it lived
	cmd    *exec.Cmd        // guarded by mu; nil until started
	state  *os.ProcessState // guarded by mu; nil until exited
}

var _ runner.Runner = (*process)(nil)

func newProcess(what program, env []string, log *slog.Logger) *process {
	return &process{
		program: what, env: env, log: log,
		started: make(chan struct{}), exited: make(chan struct{}),
		stdout: newStdout(), stderr: newStderr(log, time.Now),
	}
}

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	var stdio [3]pipe
	for i := range stdio {
		var err error
		if stdio[i], err = openPipe(); err != nil {
			closePipes(stdio[:i])
			return err
		}
	}
	stdin, stdout, stderr := stdio[0], stdio[1], stdio[2]
	cmd := exec.Command(p.program.path) // Without a context: kill and the parent-death signal end it.
	if p.program.kept {
		cmd.Args[0] = "worker" // not the number of a file
	}
	cmd.Env = p.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin.read, stdout.write, stderr.write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	result := make(chan error, 1)
	p.pipes.Go(func() { p.live(cmd, result) })
	if err := <-result; err != nil {
		closePipes(stdio[:])
		return err
	}
	_, _, _ = stdin.read.Close(), stdout.write.Close(), stderr.write.Close()
	p.pipes.Go(func() { p.sendRequest(stdin.write) })
	p.pipes.Go(func() { p.stdout.pump(stdout.read) })
	p.pipes.Go(func() { p.stderr.pump(stderr.read) })
	p.pipes.Go(func() {
		<-p.exited
		p.closeLater(stdin.write, stdout.read, stderr.read)
	})
	return nil
}

type pipe struct{ read, write *os.File }

func openPipe() (pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return pipe{}, fmt.Errorf("cannot make pipe: %w", err)
	}
	return pipe{r, w}, nil
}

func closePipes(all []pipe) {
	for _, one := range all {
		_, _ = one.read.Close(), one.write.Close()
	}
}

// sendRequest tells the worker what to do. A worker that does not read it ends its
// stream of events with an error.
func (p *process) sendRequest(stdin *os.File) {
	if p.request == nil {
		_ = stdin.Close()
		return
	}
	if err := rpc.SendRequest(stdin, *p.request); err != nil {
		p.log.Debug(logid.RequestSendFailed, logging.KeyError, err)
	}
}

// live starts the process and waits for its end. It stays on one thread all the
// time: the kernel sends the parent-death signal when the thread that forked
// ends, not when the process does.
func (p *process) live(cmd *exec.Cmd, result chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.fork(cmd); err != nil {
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

func (p *process) fork(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errEnded
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start worker: %w", err)
	}
	p.cmd = cmd
	contain(p.group, p.log, cmd.Process.Pid)
	close(p.started)
	return nil
}

// oomScore makes the kernel take the worker and its Chrome, which inherit it, when
// the machine has no memory left, and not the API (proc_pid_oom_score_adj(5)).
const oomScore = "300"

// contain does what must be done before a worker starts anything, which it does
// not before it is asked to. The group may be nil.
func contain(group *proctree.Group, log *slog.Logger, pid int) {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0); err != nil {
		log.Debug(logid.OOMScoreRaiseFailed, logging.KeyError, err)
	}
	if group == nil {
		return
	}
	// UseCgroupFD would need clone3, which RestrictNamespaces= forbids.
	if err := group.Add(pid); err != nil {
		log.Warn(logid.ControlGroupJoinFailed, logging.KeyError, err)
	}
}

// closeLater closes the pipes when they have been read, or after pipeGrace.
func (p *process) closeLater(files ...*os.File) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		<-p.stdout.done
		<-p.stderr.done
	}()
	timer := time.NewTimer(pipeGrace)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
	}
	for _, f := range files {
		_ = f.Close()
	}
	<-read
}

// kill ends the process at once, and for good: one that was not started yet
// won't be. It goes by handle (a pidfd that os.Process holds), not by pid.
func (p *process) kill() { p.signal(os.Kill) }

// dump makes a Go program write the stacks of its goroutines to stderr and end.
func (p *process) dump() { p.signal(syscall.SIGQUIT) }

func (p *process) signal(sig os.Signal) {
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
		p.log.Warn(logid.WorkerSignalFailed, "signal", sig.String(), logging.KeyError, err)
	}
}

// wasKilled reports whether kill ended a living process. One that was about to
// exit may have been quicker.
func (p *process) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.killed || p.state == nil {
		return p.killed
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// pid returns 0 while there is no process.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// exit describes how the process ended; "" while it has not.
func (p *process) exit() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return ""
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok {
		return describe(status)
	}
	return p.state.String()
}

// describe puts a wait status into words, such as "exit 70" and "signal killed".
func describe(status syscall.WaitStatus) string {
	switch {
	case status.Signaled() && status.CoreDump():
		return "signal " + status.Signal().String() + " (core dumped)"
	case status.Signaled():
		return "signal " + status.Signal().String()
	default:
		return "exit " + strconv.Itoa(status.ExitStatus())
	}
}

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return nil
}

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// Stdout implements runner.Runner. It carries the handshake and nothing else.
func (p *process) Stdout() io.ReadCloser { return p.stdout.handshake }

// Stderr implements runner.Runner. It is empty: go-plugin's parser must not see
// what the worker writes.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *process) Name() string { return p.program.path }

// ID implements runner.Runner. It is not empty even when there is no process,
// since go-plugin's Kill would then free nothing.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

// Diagnose implements runner.Runner.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
