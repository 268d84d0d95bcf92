// Package worker owns the worker's process, one generation after the other:
// it makes sure that one can be started, starts it, watches it, ends it so that
// nothing is left of it and the login is not harmed, and starts the next one when
// the restart policy says so. It knows nothing of the session's state.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
)

// ErrNoWorker means that no worker runs, or that it is not connected yet.
var ErrNoWorker = errors.New("no worker runs")

// Options of a Manager.
type Options struct {
	// Tokens is the folder that holds the profile.
	Tokens string
	// Worker is the path of the worker's binary.
	Worker string
	// Chrome names the browser, as chrome.Find takes it. It may be empty.
	Chrome string
	// ChromeArgs are further flags for it, each with its dashes.
	ChromeArgs []string
	// URL is the page to open.
	URL string
	// Selectors returns the selectors file in force, empty for the built-in one.
	Selectors func() []byte
	// RuntimeDir is an absolute path of at most 40 bytes, to a folder of mode
	// 0700 that nobody else uses. Sockets and temporary files are made in it.
	RuntimeDir string
	// ControlGroup is the path of a cgroup v2 in which a group for the worker may be
	// made (proctree.Delegated). It may be empty: then processes are followed by
	// who started whom alone.
	ControlGroup string
	// MemoryLimit is what the worker and Chrome may hold together, in bytes, before
	// they are started anew; 0 means that there is no limit.
	MemoryLimit uint64
	Logger      *slog.Logger
	// DeadlineFactor is for the answers of the worker and Chrome.
	DeadlineFactor rpc.DeadlineFactor
	// Timings are DefaultTimings, and Limits restart.DefaultLimits, except in tests.
	Timings Timings
	Limits  restart.Limits
}

// Manager runs workers. Run is its loop; the other methods may be called
// from any goroutine at any time, Notify's too, and don't block on the loop.
type Manager struct {
	o        Options
	log      *slog.Logger
	policy   *policy
	versions chrome.Versions
	requests chan RestartRequest
	live     atomic.Pointer[rpc.Client]
	// replaced holds a token when the worker's file may have changed.
	replaced chan struct{}

	// observers and hooks are set before Run's loop begins.
	observers []func(Notice)
	hooks     Hooks

	// What follows is owned by Run's goroutine.
	profile  *profile.Profile
	binaries binaries
	told     string // of binaries.why
	memory   memory
	group    *proctree.Group // nil without one
}

// New returns a Manager that does nothing until Run. The process must be a
// child subreaper (proctree.BecomeSubreaper), and must start no children of its
// own while Run lasts: Run kills and reaps every process below it.
func New(o Options) *Manager {
	o.Timings = o.Timings.stretched(o.DeadlineFactor)
	return &Manager{
		o: o, log: o.Logger,
		policy:   newPolicy(o.Limits, rand.Float64),
		requests: make(chan RestartRequest, requestLimit),
		replaced: make(chan struct{}, 1),
		binaries: binaries{path: o.Worker},
		memory:   memory{limit: o.MemoryLimit},
	}
}

// Subscribe makes observe receive every Notice, in order and from Run's goroutine.
// It must be called before Run, and observe must not block.
func (s *Manager) Subscribe(observe func(Notice)) { s.observers = append(s.observers, observe) }

func (s *Manager) notify(n Notice) {
	for _, observe := range s.observers {
		observe(n)
	}
}

// Run starts workers until ctx ends; then it closes the last one cleanly, which
// takes less than 12 s and what the Hooks takes, and returns nil. It returns at once, with an error that
// matches profile.ErrHeld, when another supervisor uses the tokens folder.
// Everything else that keeps workers from being started is told by Blocked, and
// tried again.
func (s *Manager) Run(ctx context.Context, hooks Hooks) error {
	s.hooks = hooks
	if err := checkRuntimeDir(s.o.RuntimeDir); err != nil {
		return err
	}
	defer s.closeProfile()
	defer s.binaries.close()
	s.openGroup(ctx)
	defer s.closeGroup()
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	watches.Go(func() { s.watchWorker(watching) })
	for number := uint64(1); ; number++ {
		plan, err := s.prepare(ctx)
		if err != nil {
			return unlessDone(ctx, err)
		}
		s.policy.attempted()
		s.drainRequests()
		g := newInstance(s, number, plan)
		result := g.run(ctx)
		s.hooks.AfterStop(ctx, s.profile, result.closing(ctx))
		if err := s.follow(ctx, result); err != nil {
			return unlessDone(ctx, err)
		}
	}
}

// groupName is the worker's control group, the same for all generations.
const groupName = "worker"

// openGroup makes the worker's control group, where that is possible.
func (s *Manager) openGroup(ctx context.Context) {
	if s.o.ControlGroup == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timings.Kill)
	defer cancel()
	group, err := proctree.NewGroup(ctx, s.o.ControlGroup, groupName)
	if err != nil {
		s.log.Warn(logid.ControlGroupCreateFailed, logging.KeyPath, s.o.ControlGroup, logging.KeyError, err)
		return
	}
	s.group = group
}

func (s *Manager) closeGroup() {
	if s.group == nil {
		return
	}
	if err := s.group.Close(); err != nil {
		s.log.Warn(logid.ControlGroupRemoveFailed, logging.KeyError, err)
	}
}

// unlessDone drops an error that only says that ctx has ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// follow tells that a generation has ended, and waits for as long as the policy
// wants.
func (s *Manager) follow(ctx context.Context, r result) error {
	class := restart.Classify(r.cause.reason)
	counted := class
	if s.binaries.accuses(r) {
		s.binaries.refuse(r.program.file, "the new worker binary is not used, but the last one that worked: "+r.summary())
		counted = restart.Planned // its cause is gone
	}
	d := s.policy.ended(counted, time.Now())
	if err := s.policy.save(s.profile); err != nil {
		s.log.Warn(logid.RestartStateSaveFailed, logging.KeyError, err)
	}
	r.logTo(s.log, class, d)
	s.notify(Exited{
		Generation: r.generation, Reason: r.cause.reason, Detail: r.cause.detail, Class: class, Uptime: r.uptime,
		WorkerExit: r.workerExit, ChromeExit: r.chromeExit, Delay: d.Delay, Failures: d.Failures,
		Phase: r.phase, WorkerStderr: r.workerStderr, ChromeStderr: r.chromeStderr,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.Delay == 0 {
		return nil
	}
	if d.Circuit != restart.Open {
		return s.wait(ctx, d.Delay, nil)
	}
	blocked := Blocked{Reason: r.cause.reason, Detail: r.cause.detail, RetryAt: time.Now().Add(d.Delay)}
	var w *watcher
	if class == restart.Environmental {
		w = s.watch()
		defer w.close()
	} else {
		blocked.Reason, blocked.Detail = reason.CrashLoop, "the last end: "+r.summary()
	}
	s.logBlocked(blocked)
	s.notify(blocked)
	return s.wait(ctx, d.Delay, w)
}

func (s *Manager) logBlocked(b Blocked) {
	s.log.LogAttrs(noContext, slog.LevelWarn, logid.WorkerBlocked, slog.String(logging.KeyReason, string(b.Reason)),
		slog.String(logging.KeyDetail, b.Detail), logging.Millis("retry_ms", time.Until(b.RetryAt)))
}

// Screenshot returns a PNG of the page as it is now. Errors match ErrNoWorker,
// rpc.ErrNoPage or rpc.ErrWorkerGone where they apply.
func (s *Manager) Screenshot(ctx context.Context) ([]byte, error) {
	worker := s.live.Load()
	if worker == nil {
		return nil, fmt.Errorf("cannot take screenshot: %w", ErrNoWorker)
	}
	return worker.Screenshot(ctx)
}

// Pair makes the page offer a code that links the phone with this number: E.164,
// digits only. Errors match ErrNoWorker, rpc.ErrWorkerGone, or those of
// rpc.Worker's Pair.
func (s *Manager) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	worker := s.live.Load()
	if worker == nil {
		return rpc.Pairing{}, fmt.Errorf("cannot pair: %w", ErrNoWorker)
	}
	return worker.Pair(ctx, phone)
}

// LogOut ends the link through the page, and returns when the page has wiped its
// login. Errors match ErrNoWorker, rpc.ErrWorkerGone, rpc.ErrNoPage or
// rpc.ErrNotLinked.
func (s *Manager) LogOut(ctx context.Context) error {
	worker := s.live.Load()
	if worker == nil {
		return fmt.Errorf("cannot log out: %w", ErrNoWorker)
	}
	return worker.LogOut(ctx)
}

// SetSelectors hands the selectors file in force to the worker; without a worker the
// next one gets it. It is called when Options.Selectors returns another one.
func (s *Manager) SetSelectors(ctx context.Context) error {
	worker := s.live.Load()
	if worker == nil {
		return nil
	}
	return worker.SetSelectors(ctx, s.o.Selectors())
}

// Diagnose tells what the page is made of. Errors are those of Screenshot.
func (s *Manager) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	worker := s.live.Load()
	if worker == nil {
		return rpc.Diagnosis{}, fmt.Errorf("cannot diagnose page: %w", ErrNoWorker)
	}
	return worker.Diagnose(ctx)
}

// Report tells whether the session is healthy, that is, whether it has fresh
// evidence that the page does its work. Levels and edges will do. Only health
// resets what the restart policy has counted.
func (s *Manager) Report(healthy bool) { s.policy.report(healthy, time.Now()) }

func (s *Manager) closeProfile() {
	if s.profile == nil {
		return
	}
	if err := s.profile.Close(); err != nil {
		s.log.Warn(logid.ProfileCloseFailed, logging.KeyError, err)
	}
	s.profile = nil
}

// environ is what a worker gets from the environment of its host. Everything
// else stays out: credentials, systemd's sockets, proxies.
func environ() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		// rod would take flags from the environment and the command line.
		"DISABLE_ROD_FLAG=1",
	}
	for _, name := range []string{"LANG", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
