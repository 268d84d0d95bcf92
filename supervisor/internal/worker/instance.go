package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// cause says why a generation ends, and what its end may still ask of it.
type cause struct {
	reason reason.Code
	// detail is for people; empty means that the worker's exit says it all.
	detail string
	// ask: the worker and Chrome are well, so Chrome is closed cleanly first.
	ask bool
	// dump: the worker does not answer; its goroutines are worth a look.
	dump bool
	// exiting: the worker has said its last word, or its connection is gone, so
	// that its process ends at any moment.
	exiting bool
	// frozen: Chrome won't close by itself.
	frozen bool
}

// generation is one worker with its Chrome, from the making of its folders until
// nothing is left of it. Run's goroutine owns it: run is called once, and what is
// not a channel or documented otherwise belongs to that goroutine.
type instance struct {
	s       *Manager
	number  uint64
	plan    plan
	timings Timings
	log     *slog.Logger
	began   time.Time
	folder  string
	request rpc.RunRequest // what the worker is to run; known from start on

	process *process
	client  *plugin.Client
	worker  *rpc.Client // nil until connected

	// tasks are the goroutines below; each ends soon after the process has.
	tasks     sync.WaitGroup
	connected chan connection
	events    chan rpc.Event
	streamEnd chan error
	checks    chan error
	cancel    context.CancelFunc // ends the stream and the checks

	below      *proctree.Tree // see tree
	announced  bool           // WorkerStarted was told
	phase      string
	streamOver bool            // streamEnd was received
	closed     bool            // Chrome has closed when it was asked to
	wish       *RestartRequest // waits to be granted
	newChrome  chrome.Binary   // the browser, when it was last seen to be another one
	trial      *trial          // nil while there is none
	pageAt     time.Time       // when the page was first observed
	proven     bool            // the binary has shown that it works
	chromePID  int
	browserAt  time.Time   // when chromePID was told
	verified   bool        // Chrome was seen on our profile
	home       os.FileInfo // what Chrome lives in
	strain     Warned      // told last
	astray     int         // beats for which that was not at its path
	failure    *rpc.Failure
	lastEvent  time.Time
	lastBeat   time.Time
	watched    time.Time // when the watch began
	misses     int
	beats      int
}

// connection is what connecting came to.
type connection struct {
	worker *rpc.Client
	err    error
}

func newInstance(s *Manager, number uint64, p plan) *instance {
	return &instance{
		s: s, number: number, plan: p, timings: s.o.Timings, began: time.Now(),
		log:       s.log.With(logging.KeyGeneration, number),
		connected: make(chan connection, 1),
		events:    make(chan rpc.Event),
		streamEnd: make(chan error, 1),
		checks:    make(chan error),
		cancel:    func() {},
		phase:     "spawn",
	}
}

// run is the whole life of the generation. It tells Spawning and everything up to
// Exiting; that nothing is left is told by its caller. When ctx ends it closes
// Chrome cleanly.
func (g *instance) run(ctx context.Context) result {
	g.s.notify(Spawning{Generation: g.number})
	c, ok := g.start(ctx)
	if ok {
		c = g.watch(ctx)
	}
	g.s.notify(Exiting{Generation: g.number, Reason: c.reason, Detail: c.detail})
	return g.end(ctx, c)
}

// start brings the worker up to the handshake. It returns false with the cause
// when that fails or is interrupted.
func (g *instance) start(ctx context.Context) (cause, bool) {
	folder, err := makeFolders(g.s.o.RuntimeDir, folderOf(g.number))
	if err != nil {
		return cause{reason: reason.RuntimeUnwritable, detail: logging.Redact(err.Error())}, false
	}
	g.folder = folder
	home := filepath.Join(folder, workerFolder)
	g.process = newProcess(g.plan.program, append(environ(), "HOME="+home, "TMPDIR="+home), g.log)
	g.process.group = g.s.group
	g.request = g.makeRequest()
	g.process.request = &g.request
	g.client = plugin.NewClient(g.clientConfig())
	g.phase = "handshake"
	g.tasks.Go(func() {
		worker, err := g.connect()
		g.connected <- connection{worker, err}
	})

	timer := time.NewTimer(g.timings.Handshake)
	defer timer.Stop()
	started := g.process.started
	for {
		select {
		case <-started:
			g.announce()
			started = nil
		case c := <-g.connected:
			return g.startedOr(c)
		case <-timer.C:
			return cause{reason: reason.WorkerHung, dump: true,
				detail: fmt.Sprintf("the worker did not complete the handshake within %s", g.timings.Handshake)}, false
		case w := <-g.s.requests:
			return cause{reason: w.Reason, detail: w.Detail}, false
		case <-ctx.Done():
			return cause{reason: reason.Stopping}, false
		}
	}
}

func (g *instance) clientConfig() *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake(),
		Plugins:          rpc.Plugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  rpc.DialOptions(),
		AutoMTLS:         true,
		SkipHostEnv:      true,
		// A little more than start's own bound, which knows what to do then.
		StartTimeout:     g.timings.Handshake + g.timings.Kill,
		Logger:           logging.HCLog(g.log),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: g.folder},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			g.process.env = append(g.process.env, cmd.Env...)
			return g.process, nil
		},
	}
}

// connect has no context, since go-plugin takes none: the end of the process ends
// it.
func (g *instance) connect() (*rpc.Client, error) {
	if _, err := g.client.Start(); err != nil {
		return nil, err
	}
	protocol, err := g.client.Client()
	if err != nil {
		return nil, fmt.Errorf("cannot connect to worker: %w", err)
	}
	return rpc.Dispense(protocol)
}

func (g *instance) announce() {
	if g.announced {
		return
	}
	g.announced = true
	g.log.Info(logid.WorkerStarted, logging.KeyPID, g.process.pid())
	g.s.notify(WorkerStarted{Generation: g.number, PID: g.process.pid()})
}

// startedOr decides what a finished attempt to connect means.
func (g *instance) startedOr(c connection) (cause, bool) {
	if g.process.pid() != 0 {
		g.announce()
	}
	if c.err == nil {
		g.worker = c.worker
		return cause{}, true
	}
	if err := g.process.stdout.refusal(); err != nil {
		return cause{reason: reason.Of(err, reason.WorkerUnusable), detail: logging.Redact(err.Error())}, false
	}
	if g.process.pid() == 0 {
		return cause{reason: ofStart(c.err), detail: logging.Redact(c.err.Error())}, false
	}
	return cause{reason: reason.WorkerCrashed, exiting: true}, false
}

// ofStart tells a binary that can't be executed from a machine that can start no
// process at the moment.
func ofStart(err error) reason.Code {
	if exhausted(err) {
		return reason.ResourcesExhausted
	}
	for _, broken := range []error{os.ErrNotExist, os.ErrPermission, syscall.ENOEXEC, syscall.EISDIR, syscall.ENOTDIR, syscall.ELIBBAD} {
		if errors.Is(err, broken) {
			return reason.WorkerUnusable
		}
	}
	return reason.WorkerCrashed
}

// exhausted says that err comes from a limit of this process or of the machine,
// whatever it was that could not be done.
func exhausted(err error) bool {
	for _, limit := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, limit) {
			return true
		}
	}
	return false
}

// makeRequest says what the worker is to run.
func (g *instance) makeRequest() rpc.RunRequest {
	return rpc.RunRequest{
		Generation: g.number,
		ChromePath: g.plan.browser.Path, ChromeVersion: g.plan.version, ChromeArgs: g.s.o.ChromeArgs,
		URL:        g.s.o.URL,
		ProfileDir: g.s.profile.Dir(), LeaseFile: g.s.profile.LeaseFile(),
		ScratchDir: filepath.Join(g.folder, chromeFolder),
		Selectors:  g.s.o.Selectors(), DeadlineFactor: g.s.o.DeadlineFactor,
	}
}

// tree is everything below this process. The worker is waited for by process. It
// is one tree all the time, since it remembers how what it reaped had ended.
func (g *instance) tree() *proctree.Tree {
	switch {
	case g.below != nil:
	case g.process == nil || g.process.pid() == 0:
		return proctree.Below().In(g.s.group)
	default:
		g.below = proctree.Below(g.process.pid()).In(g.s.group)
	}
	return g.below
}
