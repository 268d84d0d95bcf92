package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// beatsPerReap: zombies cost next to nothing. The disk is looked at as often.
const beatsPerReap = 10

// beatsPerHome: to look where the profile is costs more than all else that a beat does.
const beatsPerHome = 2

// watch runs the connected worker until something ends the generation, and
// returns what did.
func (g *instance) watch(ctx context.Context) cause {
	streamCtx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.phase = string(rpc.PhaseBrowserStart)
	g.watched = time.Now()
	g.lastEvent, g.lastBeat = g.watched, g.watched
	g.tasks.Go(func() { g.streamEnd <- g.worker.Events(streamCtx, g.emit(streamCtx)) })
	g.tasks.Go(func() { g.check(streamCtx) })
	g.s.live.Store(g.worker)
	g.tasks.Go(func() { g.catchUp(streamCtx, g.request.Selectors) })

	beat := time.NewTicker(g.timings.Beat)
	defer beat.Stop()
	for {
		var c cause
		var over bool
		select {
		case e := <-g.events:
			c, over = g.take(e)
		case err := <-g.streamEnd:
			g.streamOver = true
			c, over = g.streamEnded(err), true
		case <-g.process.exited:
			g.lastWords(true)
			c, over = g.workerEnded(), true
		case err := <-g.checks:
			c, over = g.checked(err)
		case <-beat.C:
			c, over = g.beat(time.Now())
		case w := <-g.s.requests:
			c, over = g.wished(w, time.Now())
		case <-g.s.replaced:
			g.replacement()
		case err := <-g.results():
			c, over = g.tried(err)
		case <-ctx.Done():
			c, over = cause{reason: reason.Stopping, ask: true}, true
		}
		if over {
			return c
		}
	}
}

// catchUp hands over the selectors that came into force after the request was
// made and before SetSelectors could reach this worker.
func (g *instance) catchUp(ctx context.Context, requested []byte) {
	now := g.s.o.Selectors()
	if bytes.Equal(now, requested) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.timings.Stop)
	defer cancel()
	if err := g.worker.SetSelectors(ctx, now); err != nil && ctx.Err() == nil {
		g.log.Error(logid.SelectorsLoadFailed, logging.KeyError, err)
	}
}

// emit hands the stream's events to the owner. It must not outlive the stream.
func (g *instance) emit(ctx context.Context) func(rpc.Event) error {
	return func(e rpc.Event) error {
		select {
		case g.events <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take tells an event on, and ends the generation when it is the last one.
func (g *instance) take(e rpc.Event) (cause, bool) {
	if !g.remember(e) {
		return cause{}, false
	}
	g.s.notify(FromWorker{Event: e})
	if g.failure != nil {
		return g.workerEnded(), true
	}
	switch b := e.Body.(type) {
	case rpc.BrowserStarted:
		return g.verify(g.lastEvent)
	case rpc.Heartbeat:
		if wish, ok := g.s.memory.sample(g.timings, b.ResidentBytes, g.lastEvent); ok {
			return g.wished(wish, g.lastEvent)
		}
	}
	return cause{}, false
}

// remember notes what the record of the end needs. It returns false for an event
// that is not of this generation.
func (g *instance) remember(e rpc.Event) bool {
	if e.Generation != g.number {
		g.log.Warn(logid.EventIgnored, "event_gen", e.Generation, logging.KeySeq, e.Seq)
		return false
	}
	g.lastEvent = time.Now()
	switch b := e.Body.(type) {
	case rpc.PhaseChanged:
		g.phase = string(b.Phase)
	case rpc.BrowserStarted:
		g.chromePID, g.browserAt = b.PID, g.lastEvent
	case rpc.PageObserved:
		if g.pageAt.IsZero() {
			g.pageAt = g.lastEvent
		}
	case rpc.Failure:
		g.failure = &b
	}
	return true
}

// verify makes sure, with its own eyes, that Chrome is on our profile. When Chrome
// can't write that, it uses another one and looks healthy. A Chrome that closes
// takes its lock away shortly before it ends, so one look proves nothing: it is
// repeated with each beat until Timings.Verify is over.
func (g *instance) verify(now time.Time) (cause, bool) {
	if g.verified {
		return cause{}, false
	}
	err := g.s.profile.ChromeLock.Record(g.chromePID)
	if err == nil {
		g.verified = true
		return cause{}, false
	}
	if _, lookErr := proctree.Look(g.chromePID); errors.Is(lookErr, os.ErrNotExist) {
		return cause{}, false // The worker is about to tell why it died.
	}
	if now.Sub(g.browserAt) < g.timings.Verify {
		return cause{}, false
	}
	if code := reason.Of(err, ""); code == reason.ProfileInUse {
		return cause{reason: code, detail: logging.Redact(err.Error()), ask: true}, true
	}
	// It runs where it should, which can't be written down; that is one proof
	// less for ChromeLock.Clean.
	g.verified = true
	g.log.Warn(logid.LaunchRecordFailed, logging.KeyError, err)
	return cause{}, false
}

// checkRoom tells of a disk that is about to be full. Chrome goes on: to end it
// would lose what it could not write, and mend nothing.
func (g *instance) checkRoom() {
	var now Warned
	if err := g.s.profile.CheckSpace(); err != nil {
		now = Warned{Reason: reason.Of(err, reason.ProfileUnwritable), Detail: logging.Redact(err.Error())}
	}
	if now.Reason == g.strain.Reason {
		return
	}
	g.strain = now
	if now.Reason == "" {
		g.log.Info(logid.WarningCleared)
	} else {
		g.log.Error(logid.WarningRaised, logging.KeyReason, string(now.Reason), logging.KeyDetail, now.Detail)
	}
	g.s.notify(now)
}

// checkHome ends the generation when its profile was removed, emptied or replaced:
// what Chrome still knows is of no use to what is there now. It is killed, as it
// would write its settings there when it closes. A look with each beat needs no
// watch that could be lost, and no room for one.
func (g *instance) checkHome() (cause, bool) {
	there := g.s.profile.Home()
	switch {
	case !g.verified, g.home == nil:
		g.home = there
		return cause{}, false
	case os.SameFile(g.home, there):
		g.astray = 0
		return cause{}, false
	}
	if g.astray++; g.astray < homeMisses {
		return cause{}, false
	}
	return cause{reason: reason.ProfileReplaced, detail: g.s.profile.Dir() + " is not the folder that Chrome was started on", frozen: true}, true
}

// streamEnded is called when the worker's Run has returned.
func (g *instance) streamEnded(err error) cause {
	switch {
	case g.failure != nil:
		return g.workerEnded()
	case errors.Is(err, rpc.ErrWorkerGone):
		// The process has ended or is about to, unless it is frozen.
		if g.awaitExit(g.timings.LastWords) {
			return g.workerEnded()
		}
		return cause{reason: reason.WorkerHung, detail: "the connection to the worker was lost, but its process lives", dump: true}
	case err != nil:
		return cause{reason: reason.WorkerCrashed, detail: "the worker's Run failed: " + logging.Redact(err.Error()), exiting: true}
	default:
		return cause{reason: reason.WorkerCrashed, detail: "the worker ended its session without being asked", exiting: true}
	}
}

// workerEnded is the cause when the worker has told its Failure, or is gone.
func (g *instance) workerEnded() cause {
	if g.failure == nil {
		return cause{reason: reason.WorkerCrashed, exiting: true}
	}
	c := cause{reason: g.failure.Reason, detail: logging.Redact(g.failure.Detail), exiting: true}
	if c.reason == "" {
		c.reason = reason.WorkerCrashed
	}
	// Without its network process Chrome takes the order to close, and stays.
	c.frozen = c.reason == reason.BrowserHung || c.reason == reason.NetworkHung
	return c
}

// lastWords takes what a worker that has ended, or is about to, had sent before,
// and tells it on if tell is set.
func (g *instance) lastWords(tell bool) {
	if g.streamOver {
		return
	}
	timer := time.NewTimer(g.timings.LastWords)
	defer timer.Stop()
	for {
		select {
		case e := <-g.events:
			if g.remember(e) && tell {
				g.s.notify(FromWorker{Event: e})
			}
		case err := <-g.streamEnd:
			g.streamOver = true
			g.log.Debug(logid.EventStreamClosed, logging.KeyError, err)
			return
		case <-timer.C:
			return
		}
	}
}

// check asks the worker's RPC server, one question at a time, whether it turns.
func (g *instance) check(ctx context.Context) {
	tick := time.NewTicker(g.timings.Health)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		checkCtx, cancel := context.WithTimeout(ctx, g.timings.Answer)
		err := g.worker.Healthy(checkCtx)
		cancel()
		select {
		case g.checks <- err:
		case <-ctx.Done():
			return
		}
	}
}

func (g *instance) checked(err error) (cause, bool) {
	if err == nil {
		g.misses = 0
		return cause{}, false
	}
	if g.misses++; g.misses < healthMisses {
		return cause{}, false
	}
	return cause{reason: reason.WorkerHung, dump: true,
		detail: fmt.Sprintf("the worker's RPC server failed %d checks: %s", g.misses, logging.Redact(err.Error()))}, true
}

// beat looks for silence, and reaps what the worker's tree has left to us. When
// the beat itself comes late, as after a suspend, it was us, and the worker gets
// its time anew.
func (g *instance) beat(now time.Time) (cause, bool) {
	pause := now.Sub(g.lastBeat)
	late := pause > max(3*g.timings.Beat, time.Second)
	g.lastBeat = now
	if g.beats++; g.beats%beatsPerReap == 0 {
		if err := g.tree().Reap(); err != nil {
			g.log.Debug(logid.ChildReapFailed, logging.KeyError, err)
		}
		g.checkRoom()
	}
	if late {
		g.log.LogAttrs(noContext, slog.LevelWarn, logid.SupervisorSuspended, logging.Millis("for_ms", pause),
			slog.String(logging.KeyDetail, "the machine slept, or is too busy; the worker gets its time anew"))
		g.lastEvent, g.misses = now, 0
		return cause{}, false
	}
	if c, over := g.grant(now); over {
		return c, true
	}
	g.prove(now)
	if g.beats%beatsPerReap == 0 && g.wish == nil {
		if w, ok := g.upgraded(); ok {
			return g.wished(w, now)
		}
	}
	if silent := now.Sub(g.lastEvent); silent > g.timings.Silence {
		return cause{reason: reason.WorkerHung, dump: true,
			detail: fmt.Sprintf("the worker has said nothing for %s", silent.Round(time.Second/10))}, true
	}
	if g.chromePID != 0 {
		if c, over := g.verify(now); over {
			return c, true
		}
		if g.beats%beatsPerHome == 0 {
			return g.checkHome()
		}
		return cause{}, false
	}
	if now.Sub(g.watched) > g.timings.BrowserStart {
		return cause{reason: reason.BrowserStartFailed,
			detail: fmt.Sprintf("Chrome gave no answer within %s, and the worker did not end it", g.timings.BrowserStart)}, true
	}
	return cause{}, false
}

// prove remembers the worker's binary as one that works, when it has for a while.
func (g *instance) prove(now time.Time) {
	if g.proven || g.pageAt.IsZero() || now.Sub(g.pageAt) < g.timings.Prove {
		return
	}
	g.proven = true
	if err := g.s.binaries.keep(g.plan.program, g.process.pid()); err != nil {
		g.log.Warn(logid.WorkerKeepFailed, logging.KeyError, err)
	}
}
