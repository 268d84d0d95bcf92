package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// startTimeout keeps go-plugin from waiting forever. Callers wait for less, and
// kill the process.
const startTimeout = 10 * time.Minute

func (p *Process) clientConfig() *plugin.ClientConfig {
	c := rpc.ClientConfig()
	c.SkipHostEnv, c.StartTimeout = true, startTimeout
	c.GRPCDialOptions = append(c.GRPCDialOptions, p.conns.Option())
	c.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: string(p.o.Dir)}
	c.RunnerFunc = func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
		variable, err := rpc.Secure(c)
		return pluginRunner{p, append(cmd.Env, variable)}, err
	}
	return c
}

// Connect starts the process and returns the worker in it when they have shaken
// hands. It must be called once; Kill ends it. Its errors carry a reason if there
// is no process, or one that is not a worker of this version: any other process
// has exited or is about to.
func (p *Process) Connect() (*rpc.Client, error) {
	worker, err := rpc.Connect(p.client)
	switch {
	case err == nil:
		return worker, nil
	case p.stdout.rejection() != nil:
		return nil, p.stdout.rejection()
	case p.PID() == 0:
		return nil, reason.Wrap(reasonOf(err), err)
	}
	return nil, err
}

// Release frees what a killed process held, and returns when its pipes have been
// read and Connect has returned. go-plugin sets no time limit for its part.
func (p *Process) Release() {
	p.client.Kill()
	p.conns.Close()
	p.pipes.Wait()
}

// pluginRunner is a Process as go-plugin starts it. go-plugin's own runner would
// hand its stderr to a parser that panics on hostile lines, mistake a grandchild
// that holds the pipes for a living worker, and keep the exit status to itself.
type pluginRunner struct {
	p   *Process
	env []string
}

var _ runner.Runner = pluginRunner{}

func (r pluginRunner) Start(context.Context) error { return r.p.start(r.env) }
func (r pluginRunner) Name() string                { return r.p.o.Path }

func (r pluginRunner) Wait(context.Context) error {
	<-r.p.exited
	return nil
}

func (r pluginRunner) Kill(context.Context) error {
	r.p.Kill()
	return nil
}

// Stdout carries the handshake and nothing else.
func (r pluginRunner) Stdout() io.ReadCloser { return r.p.stdout.handshake }

// Stderr is empty: go-plugin's parser must not see what the worker writes.
func (r pluginRunner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// ID is not empty even when there is no process, since go-plugin's Kill would then free
// nothing.
func (r pluginRunner) ID() string { return strconv.Itoa(r.p.PID()) }

func (r pluginRunner) Diagnose(context.Context) string { return "" }

func (r pluginRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (r pluginRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// maxHandshake limits the first line of stdout. It has about 100 bytes.
const maxHandshake = 16 << 10

// stdout is the worker's standard output. Its first line goes to go-plugin; the
// rest is counted and dropped, since nothing belongs there and nobody would read
// it.
type stdout struct {
	// handshake is go-plugin's end.
	handshake *io.PipeReader
	line      *io.PipeWriter
	done      chan struct{}

	dropped  atomic.Int64
	rejected atomic.Pointer[error]
}

func newStdout() *stdout {
	r, w := io.Pipe()
	return &stdout{handshake: r, line: w, done: make(chan struct{})}
}

// pump reads until from is closed.
func (s *stdout) pump(from io.Reader) {
	defer close(s.done)
	// The end of its stdout is the end of the worker for go-plugin.
	defer func() { _ = s.line.Close() }()
	reader := bufio.NewReaderSize(from, maxHandshake)
	line, err := reader.ReadSlice('\n')
	if len(line) > 0 {
		if rejected := checkHandshake(string(line)); rejected != nil {
			s.rejected.Store(&rejected)
			_ = s.line.Close()
		} else {
			_, _ = s.line.Write(line)
		}
	}
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		n, _ := io.Copy(io.Discard, reader)
		s.dropped.Add(n)
	}
}

// rejection returns why the first line is not our handshake; nil when it is,
// or when there was none.
func (s *stdout) rejection() error {
	if err := s.rejected.Load(); err != nil {
		return *err
	}
	return nil
}

// checkHandshake finds out what go-plugin reports in words only: whether the first
// line is that of a worker of our version. Its fields are the version of
// go-plugin's core protocol, ours, the network, the address, and more.
func checkHandshake(line string) error {
	fields := strings.Split(strings.TrimSpace(line), "|")
	version, err := 0, error(nil)
	if len(fields) >= 4 {
		version, err = strconv.Atoi(fields[1])
	}
	switch {
	case len(fields) < 4 || err != nil:
		err = errors.New("the program is not a worker of this service: its first line is not a handshake")
	case fields[0] != strconv.Itoa(plugin.CoreProtocolVersion):
		err = fmt.Errorf("the worker speaks version %.20q of go-plugin's protocol, the supervisor %d; build both from one tree",
			fields[0], plugin.CoreProtocolVersion)
	case version != rpc.ProtocolVersion:
		err = fmt.Errorf("the worker speaks protocol version %d, the supervisor %d; build both from one tree", version, rpc.ProtocolVersion)
	case fields[2] != "unix":
		err = fmt.Errorf("the worker listens on %.20q, not on a unix socket", fields[2])
	}
	return reason.Wrap(reason.WorkerUnusable, err)
}
