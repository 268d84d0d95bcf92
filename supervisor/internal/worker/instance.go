package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker/preflight"
	"session-manager/supervisor/internal/worker/process"
)

// instance is one worker with its Chrome, from the making of its folder until nothing
// is left of it. Run's goroutine owns it, and calls run once.
type instance struct {
	m       *Manager
	number  uint64
	plan    preflight.Plan
	dir     process.Dir
	timings Timings
	log     *slog.Logger
	began   time.Time

	*child
	started  bool // WorkerStarted was notified
	liveness liveness
	guard    guard
	warnings warnings
	pending  *RestartRequest // waits to be granted
	trial    trial
	// chrome is the browser when it was last found to be another one.
	chrome chrome.Binary
}

func newInstance(m *Manager, number uint64, plan preflight.Plan) *instance {
	i := &instance{
		m: m, number: number, plan: plan, timings: m.o.Timings, began: time.Now(),
		log: m.log.With(logging.KeyGeneration, number),
	}
	i.guard = guard{profile: m.profile, log: i.log, patience: i.timings.Run.Lock}
	return i
}

// run is the whole life of the instance. It notifies of everything from Spawning to
// Exiting; its caller, of Exited. When ctx ends it closes Chrome cleanly.
func (i *instance) run(ctx context.Context) record {
	i.m.notify(Spawning{Generation: i.number})
	dir, err := i.m.checker.RuntimeDir.Make(i.number)
	if err != nil {
		c := cause{reason: reason.RuntimeUnwritable, detail: logging.Redact(err.Error())}
		i.m.notify(Exiting{Generation: i.number, Reason: c.reason, Detail: c.detail})
		return record{Exited: Exited{Generation: i.number, Reason: c.reason, Detail: c.detail, Phase: "spawn", Uptime: time.Since(i.began)}}
	}
	i.dir = dir
	request := i.runRequest(dir)
	i.child = i.m.newChild(i.plan.Worker.Path, dir, request, proctree.Below(i.m.group), i.log)
	c := i.start(ctx)
	if c == nil {
		c = i.watch(ctx, request.Selectors)
	}
	i.m.client.Store(nil)
	i.m.notify(Exiting{Generation: i.number, Reason: c.reason, Detail: c.detail})
	return i.end(ctx, *c)
}

// runRequest is what the worker is asked to run.
func (i *instance) runRequest(dir process.Dir) *rpc.RunRequest {
	return &rpc.RunRequest{
		Generation: i.number,
		ChromePath: i.plan.Chrome.Path, ChromeVersion: i.plan.ChromeVersion, ChromeArgs: i.m.o.ChromeArgs,
		URL:        i.m.o.URL,
		ProfileDir: i.m.profile.Dir(), LeaseFile: i.m.profile.LeaseFile(),
		ScratchDir: dir.Chrome(),
		Receive:    i.m.o.Receive,
		Selectors:  i.m.o.Selectors(), DeadlineFactor: i.m.o.DeadlineFactor,
	}
}

// start brings the worker up to the handshake. It returns a cause if that fails or is
// interrupted.
func (i *instance) start(ctx context.Context) *cause {
	limit := i.timings.Start.Handshake
	timer := time.NewTimer(limit)
	defer timer.Stop()
	started := i.process.Started()
	for {
		select {
		case <-started:
			i.notifyStarted()
			started = nil
		case c := <-i.connected:
			return i.takeConnection(c)
		case <-timer.C:
			if more := i.timings.Run.Starved - limit; more > 0 && (hunger{at: i.began}).starved(hunger{time.Now(), i.waited()}) {
				limit += more
				timer.Reset(more)
				continue
			}
			return &cause{reason: reason.WorkerHung, dump: true,
				detail: fmt.Sprintf("the worker did not complete the handshake within %s", limit)}
		case r := <-i.m.requests:
			return &cause{reason: r.Reason, detail: r.Detail}
		case <-ctx.Done():
			return &cause{reason: reason.Stopping}
		}
	}
}

func (i *instance) notifyStarted() {
	if i.started || i.process.PID() == 0 {
		return
	}
	i.started = true
	i.log.Info(logid.WorkerStarted, logging.KeyPID, i.process.PID())
	i.m.notify(WorkerStarted{Generation: i.number, PID: i.process.PID()})
}

// takeConnection lets a connected worker begin, or returns why none did.
func (i *instance) takeConnection(c connection) *cause {
	i.notifyStarted()
	if c.err != nil {
		if code := reason.Of(c.err, ""); code != "" {
			return &cause{reason: code, detail: logging.Redact(c.err.Error())}
		}
		return &cause{reason: reason.WorkerCrashed, exiting: true}
	}
	i.child.run(c.worker)
	if err := i.m.checker.Keep(i.plan.Worker, i.process.PID()); err != nil {
		i.log.Warn(logid.WorkerKeepFailed, logging.KeyError, err)
	}
	if why := i.plan.Worker.Warning; why != "" {
		i.warnOfBinary(why)
	}
	return nil
}

// watch runs the connected worker until something ends the instance, and returns what
// did.
func (i *instance) watch(ctx context.Context, selectors []byte) *cause {
	now := time.Now()
	i.liveness = liveness{since: now, lastCheck: now}
	i.m.client.Store(i.worker)
	i.tasks.Go(func() { i.catchUp(i.stream, selectors) })
	tick := time.NewTicker(i.timings.Run.Check)
	defer tick.Stop()
	for {
		var c *cause
		select {
		case e := <-i.events:
			c = i.take(e)
		case err := <-i.streamEnd:
			i.streamOver = true
			c = i.streamEnded(err)
		case <-i.process.Exited():
			i.lastEvents(func(e rpc.Event) { i.m.notify(FromWorker{Event: e}) })
			c = i.workerEnded()
		case <-tick.C:
			c = i.check(time.Now())
		case r := <-i.m.requests:
			c = i.requested(r, time.Now())
		case <-i.m.replaced:
			i.tryReplacement()
		case err := <-i.trial.result:
			c = i.trialEnded(err)
		case <-ctx.Done():
			c = &cause{reason: reason.Stopping, ask: true}
		}
		if c != nil {
			return c
		}
	}
}

// catchUp passes on the selectors that came into force after the request was
// made and before SetSelectors could reach this worker.
func (i *instance) catchUp(ctx context.Context, requested []byte) {
	now := i.m.o.Selectors()
	if bytes.Equal(now, requested) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, i.timings.Stop.Close)
	defer cancel()
	if err := i.worker.SetSelectors(ctx, now); err != nil && ctx.Err() == nil {
		i.log.Error(logid.SelectorsLoadFailed, logging.KeyError, err)
	}
}

// take passes an event on, and ends the instance if it is the last one.
func (i *instance) take(e rpc.Event) *cause {
	if !i.receive(e) {
		return nil
	}
	i.m.notify(FromWorker{Event: e})
	if i.known.failure != nil {
		return i.workerEnded()
	}
	switch b := e.Body.(type) {
	case rpc.BrowserStarted:
		return i.guard.checkLock(i.known, i.known.lastEvent)
	case rpc.Heartbeat:
		if r := i.m.memory.sample(i.timings.Run, b.ResidentBytes, i.known.lastEvent); r != nil {
			return i.requested(*r, i.known.lastEvent)
		}
	}
	return nil
}

// streamEnded is the cause when the stream of events has ended.
func (i *instance) streamEnded(err error) *cause {
	switch {
	case i.known.failure != nil:
		return i.workerEnded()
	case errors.Is(err, rpc.ErrFlooded):
		return &cause{reason: reason.WorkerFlooded, detail: logging.Redact(err.Error())}
	case errors.Is(err, rpc.ErrWorkerGone):
		// The process has exited or is about to, unless it is frozen.
		if i.exits(i.timings.Stop.LastEvents) {
			return i.workerEnded()
		}
		return &cause{reason: reason.WorkerHung, detail: "the connection to the worker was lost, but its process lives", dump: true}
	case err != nil:
		return &cause{reason: reason.WorkerCrashed, detail: "the worker's stream of events failed: " + logging.Redact(err.Error()), exiting: true}
	default:
		return &cause{reason: reason.WorkerCrashed, detail: "the worker ended its session without being asked", exiting: true}
	}
}

// workerEnded is the cause when the worker has reported its Failure, or is gone.
func (i *instance) workerEnded() *cause {
	f := i.known.failure
	if f == nil {
		return &cause{reason: reason.WorkerCrashed, exiting: true}
	}
	c := &cause{reason: f.Reason, detail: logging.Redact(f.Detail), exiting: true}
	if c.reason == "" {
		c.reason = reason.WorkerCrashed
	}
	// Without its network process Chrome accepts the order to close, and stays.
	c.frozen = c.reason == reason.BrowserHung || c.reason == reason.NetworkHung
	return c
}

// Some checks are made less often: zombies cost next to nothing, and to look where the
// profile is, and how large folders are, costs more than the rest of a check. A page can make Chrome
// write 8 MB a second to its caches, so they grow by about 480 MB more, and its temporary files by 80.
const (
	checksPerReap    = 10
	checksPerHome    = 2
	checksPerScratch = 10
	checksPerCaches  = 60
)

// check looks for silence and for changes around the instance.
func (i *instance) check(now time.Time) *cause {
	l := &i.liveness
	pause, late := l.begin(i.timings.Run, now)
	rarely := l.checks%checksPerReap == 0
	if rarely {
		if err := i.tree.Reap(); err != nil {
			i.log.Debug(logid.ChildReapFailed, logging.KeyError, err)
		}
		i.warn(&i.warnings.disk, i.guard.checkDisk())
	}
	if late {
		i.log.Warn(logid.SupervisorSuspended, "for_ms", pause.Milliseconds(),
			logging.KeyDetail, "the machine slept, or is too busy; the time of the worker starts again")
		i.known.lastEvent = now
		return nil
	}
	if c := i.grant(now); c != nil {
		return c
	}
	if rarely && i.pending == nil && i.chromeReplaced() {
		return i.requested(RestartRequest{Reason: reason.BrowserReplaced, Detail: "its file is a new one"}, now)
	}
	if i.process.Flooding() {
		return &cause{reason: reason.WorkerFlooded, detail: "its standard output or error has no end"}
	}
	if c := l.silence(i.timings, i.known, l.measure(i.timings.Run, i.known, now, i.waited), now); c != nil {
		return c
	}
	if i.known.chromePID == 0 {
		return nil
	}
	return i.guard.check(i.known, i.dir, l.checks, now)
}

// requested notes a request, and grants it unless it has to wait.
func (i *instance) requested(r RestartRequest, now time.Time) *cause {
	first := i.pending == nil
	if first || r.Urgency > i.pending.Urgency {
		i.pending = &r
	}
	c := i.grant(now)
	if c == nil && first {
		i.log.Info(logid.RestartDeferred, logging.KeyReason, string(r.Reason), "until", r.heldUntil(i.m.hooks, now).UTC())
	}
	return c
}

// grant ends the instance when a request waits for it and need not wait longer.
func (i *instance) grant(now time.Time) *cause {
	if i.pending == nil || !i.pending.heldUntil(i.m.hooks, now).IsZero() {
		return nil
	}
	return &cause{reason: i.pending.Reason, detail: i.pending.Detail, ask: true}
}

// chromeReplaced reports whether the browser was replaced on disk, or the setting leads
// to another one. A Chrome that keeps running would start new helpers from the new
// files, and mix two versions. It must have stayed the same since the last check: a
// package has many files.
func (i *instance) chromeReplaced() bool {
	found, err := chrome.Find(i.m.o.Chrome)
	settled := err == nil && found == i.chrome
	i.chrome = found
	return settled && found != i.plan.Chrome
}

// end shuts the worker down and returns what is known about it.
func (i *instance) end(ctx context.Context, c cause) record {
	began := time.Now()
	if i.trial.child != nil {
		i.trial.child.process.Kill()
	}
	s := shutdown{child: i.child, cause: c, stuck: func(err error) { i.m.stuck(ctx, err) }}
	leftover := s.run(ctx)
	i.m.removeDirs(i.log, i.number, trialNumber)
	r := s.record()
	r.Generation, r.Uptime, r.took, r.leftover = i.number, time.Since(i.began), time.Since(began), leftover
	r.closed = r.closed && leftover == nil
	return r
}
