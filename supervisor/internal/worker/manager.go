package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/worker/preflight"
	"session-manager/supervisor/internal/worker/process"
)

// Options of a Manager.
type Options struct {
	// Tokens is the folder that holds the profile.
	Tokens string
	// Worker is the path of the worker's binary.
	Worker string
	// Chrome names the browser, as for chrome.Find. It may be empty.
	Chrome string
	// Versions may have been asked for Chrome's already; a nil one asks first when it is needed.
	Versions *chrome.Versions
	// ChromeArgs are further flags for it, each with its dashes.
	ChromeArgs []string
	// URL is the page to open.
	URL string
	// Receive allows messages that arrive to leave the page.
	Receive bool
	// Selectors returns the selectors file in force, empty for the built-in one.
	Selectors func() []byte
	// RuntimeDir has an absolute path of at most process.MaxRuntimeDir bytes. Nobody else
	// uses the folder. Sockets and temporary files are made in it.
	RuntimeDir process.RuntimeDir
	// ControlGroup is the path of a cgroup v2 in which a group for the worker may be
	// made (proctree.Delegated). Without one, processes are followed by their parents
	// alone.
	ControlGroup string
	// MemoryLimit is what the worker and Chrome may hold together, in bytes, before
	// they are restarted; 0 means that there is no limit.
	MemoryLimit uint64
	Logger      *slog.Logger
	// DeadlineFactor is for the responses of the worker and Chrome.
	DeadlineFactor rpc.DeadlineFactor
	// Timings are DefaultTimings, and Limits restart.DefaultLimits, except in tests.
	Timings Timings
	Limits  restart.Limits
}

// Manager runs workers. Run is its loop; the other methods may be called
// from any goroutine at any time, an observer's too, and don't block on the loop.
type Manager struct {
	live
	o        Options
	log      *slog.Logger
	policy   policy
	requests chan RestartRequest
	// replaced holds a token when the worker's file may have changed.
	replaced chan struct{}

	// observers and hooks are set before Run's loop begins.
	observers []func(Notice)
	hooks     Hooks

	// What follows is owned by Run's goroutine.
	checker preflight.Checker
	profile *profile.Profile
	memory  memory
	group   *proctree.Group // nil without one
	blocked Blocked         // logged last; empty since an instance began
}

// New returns a Manager that does nothing until Run. The process must be a
// child subreaper (proctree.BecomeSubreaper), and must start no children of its
// own while Run lasts: Run kills and reaps every process below it.
func New(o Options) *Manager {
	o.Timings = o.Timings.stretched(o.DeadlineFactor)
	return &Manager{
		o: o, log: o.Logger, live: live{selectors: o.Selectors},
		policy:   policy{limits: o.Limits},
		requests: make(chan RestartRequest, requestLimit),
		replaced: make(chan struct{}, 1),
		checker: preflight.Checker{
			Worker: o.Worker, Chrome: o.Chrome, RuntimeDir: o.RuntimeDir, Lease: o.Timings.Start.Lease, Log: o.Logger,
			Versions: cmp.Or(o.Versions, new(chrome.Versions)),
		},
		memory: memory{limit: o.MemoryLimit},
	}
}

// Subscribe makes observe receive every Notice, in order and from Run's goroutine.
// It must be called before Run, and observe must not block.
func (m *Manager) Subscribe(observe func(Notice)) { m.observers = append(m.observers, observe) }

func (m *Manager) notify(n Notice) {
	for _, observe := range m.observers {
		observe(n)
	}
}

// Report notes whether the session is healthy, that is, whether it has fresh
// evidence that the page works. It may be called at changes or again and again. Only
// health resets what the restart policy has counted.
func (m *Manager) Report(healthy bool) { m.policy.report(healthy, time.Now()) }

// Run starts workers until ctx ends; then it closes the last one cleanly, which
// takes less than 12 s and what the hooks take, and returns nil. It returns at once,
// with an error that matches profile.ErrHeld, when another supervisor uses the tokens
// folder. Anything else that keeps workers from being started is reported by Blocked,
// and tried again.
func (m *Manager) Run(ctx context.Context, hooks Hooks) error {
	m.hooks = hooks
	if err := m.checker.RuntimeDir.Validate(); err != nil {
		return err
	}
	defer m.closeProfile()
	defer m.checker.Close()
	m.openGroup(ctx)
	defer m.closeGroup()
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	watches.Go(func() { signal(watching, watch.NewSet(m.o.Worker), m.replaced) })
	for number := uint64(1); ; number++ {
		plan, err := m.prepare(ctx)
		if err != nil {
			return unlessDone(ctx, err)
		}
		m.policy.attempted()
		m.blocked = Blocked{}
		for len(m.requests) > 0 {
			<-m.requests // the instance about to begin fulfils it
		}
		record := newInstance(m, number, plan).run(ctx)
		m.hooks.AfterStop(ctx, m.profile, Closing{
			Reason: record.Reason, Clean: record.closed, ChromeVersion: plan.ChromeVersion, Stopping: ctx.Err() != nil,
		})
		if record.Reason == reason.RestartRequested {
			m.tryBinary()
		}
		if err := m.follow(ctx, record); err != nil {
			return unlessDone(ctx, err)
		}
	}
}

// groupName is the worker's control group, the same for all instances.
const groupName = "worker"

// openGroup makes the worker's control group, if that is possible.
func (m *Manager) openGroup(ctx context.Context) {
	if m.o.ControlGroup == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.Timings.Stop.Kill)
	defer cancel()
	group, err := proctree.NewGroup(ctx, m.o.ControlGroup, groupName)
	if err != nil {
		m.log.Warn(logid.ControlGroupCreateFailed, logging.KeyPath, m.o.ControlGroup, logging.KeyError, err)
		return
	}
	m.group = group
}

func (m *Manager) closeGroup() {
	if m.group == nil {
		return
	}
	if err := m.group.Close(); err != nil {
		m.log.Warn(logid.ControlGroupRemoveFailed, logging.KeyError, err)
	}
}

// tryBinary gives a worker binary that was rejected another trial, next to the next
// instance.
func (m *Manager) tryBinary() {
	select {
	case m.replaced <- struct{}{}:
	default:
	}
}

// signal puts a token into changed at each change of the files, until ctx ends.
func signal(ctx context.Context, files watch.Set, changed chan<- struct{}) {
	files.Watch(ctx, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
}

// unlessDone drops an error that only means that ctx has ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// prepare returns when an instance can be started. Until then it reports what is
// missing, and tries again after a while, when one of the files concerned changes,
// and when a restart is requested. It returns an error when ctx ends, and when another
// supervisor uses the tokens folder.
func (m *Manager) prepare(ctx context.Context) (preflight.Plan, error) {
	for {
		hindrances := m.checker.Hindrances(m.o.Tokens) // before the check, so that no change is missed
		plan, err := m.check(ctx)
		switch {
		case err == nil:
			return plan, nil
		case ctx.Err() != nil:
			return preflight.Plan{}, ctx.Err()
		case errors.Is(err, profile.ErrHeld):
			return preflight.Plan{}, err
		}
		b := blockedBy(err, reason.WorkerUnusable)
		pause := m.o.Timings.Start.Retry
		if scarce(b.Reason) || errors.Is(err, syscall.ENOSPC) {
			pause = min(pause, m.o.Timings.Start.RetrySpace) // nothing notifies us of what is freed
		}
		if err := m.block(ctx, b, pause, hindrances); err != nil {
			return preflight.Plan{}, err
		}
	}
}

// scarce reports whether a reason may go away without a file that changes.
func scarce(code reason.Code) bool {
	return code == reason.DiskFull || code == reason.ResourcesExhausted || code == reason.RuntimeUnwritable
}

// check opens the profile at the first time, and returns a plan when an instance can
// be started.
func (m *Manager) check(ctx context.Context) (preflight.Plan, error) {
	if m.profile == nil {
		p, err := profile.Open(m.o.Tokens)
		if err != nil {
			return preflight.Plan{}, err
		}
		m.profile = p
		if err := m.policy.load(p); err != nil {
			m.log.Warn(logid.RestartStateLoadFailed, logging.KeyError, err)
		}
	}
	plan, err := m.checker.Check(ctx, m.profile)
	if err != nil {
		return preflight.Plan{}, err
	}
	return plan, m.hooks.BeforeStart(ctx, m.profile, Start{Chrome: plan.Chrome.Path, ChromeVersion: plan.ChromeVersion})
}

func (m *Manager) closeProfile() {
	if m.profile == nil {
		return
	}
	if err := m.profile.Close(); err != nil {
		m.log.Warn(logid.ProfileCloseFailed, logging.KeyError, err)
	}
	m.profile = nil
}

// follow reports that an instance has exited, and waits for as long as the policy
// wants.
func (m *Manager) follow(ctx context.Context, r record) error {
	r.Class = restart.Classify(r.Reason)
	d := m.policy.ended(r.Class, time.Now())
	r.Delay, r.Failures = d.Delay, d.Failures
	if err := m.policy.save(m.profile); err != nil {
		m.log.Warn(logid.RestartStateSaveFailed, logging.KeyError, err)
	}
	r.log(m.log, d.Circuit)
	m.notify(r.Exited)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.Delay == 0 {
		return nil
	}
	if d.Circuit != restart.Open {
		return m.wait(ctx, d.Delay, watch.Set{})
	}
	if r.Class == restart.Environmental {
		return m.block(ctx, Blocked{Reason: r.Reason, Detail: r.Detail, Tried: true}, d.Delay, m.checker.Hindrances(m.o.Tokens))
	}
	last := cmp.Or(r.Detail, reason.Describe(r.Reason).Message)
	return m.block(ctx, Blocked{Reason: reason.CrashLoop, Detail: "the last failure: " + last, Tried: true}, d.Delay, watch.Set{})
}

// stuck reports that something can't be killed, and waits until the next attempt. A
// restart request only shortens the pause, and the end of ctx allows one last attempt.
func (m *Manager) stuck(ctx context.Context, err error) {
	b := blockedBy(fmt.Errorf("a process can't be killed: %w", err), reason.ProfileInUse)
	_ = m.block(ctx, b, m.o.Timings.Stop.Stuck, watch.Set{})
}

func blockedBy(err error, otherwise reason.Code) Blocked {
	b := Blocked{Reason: reason.Of(err, otherwise), Detail: logging.Redact(err.Error())}
	if process.Exhausted(err) {
		b.Reason = reason.ResourcesExhausted
	}
	return b
}

// block reports that no instance can be started, and waits for the next try. The same
// cause is logged once.
func (m *Manager) block(ctx context.Context, b Blocked, pause time.Duration, files watch.Set) error {
	if b != m.blocked {
		m.blocked = b
		m.log.Warn(logid.WorkerBlocked, logging.KeyReason, string(b.Reason), logging.KeyDetail, b.Detail, "retry_ms", pause.Milliseconds())
	}
	b.RetryAt = time.Now().Add(pause)
	m.notify(b)
	return m.wait(ctx, pause, files)
}

// wait returns nil after d, when one of the files has changed, or when a restart is
// requested; and ctx's error when ctx ends.
func (m *Manager) wait(ctx context.Context, d time.Duration, files watch.Set) error {
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	changed := make(chan struct{}, 1)
	watches.Go(func() { signal(watching, files, changed) })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	case <-m.requests:
	case <-changed:
	}
	return nil
}
