package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker/process"
)

// liveness finds out from the times of the worker's events whether it responds.
type liveness struct {
	since     time.Time // when the worker was connected
	lastCheck time.Time
	checks    int
	// hunger is what was measured when the present silence had lasted for a while.
	hunger hunger
}

// hunger is for how long a process had waited for processors by then.
type hunger struct {
	at     time.Time
	waited time.Duration
}

// starved reports whether the process hardly got a processor since then: its threads waited for
// half of the time at least. One that is deadlocked or stopped does not wait.
func (h hunger) starved(now hunger) bool {
	lasted := now.at.Sub(h.at)
	return lasted > 0 && now.waited-h.waited >= lasted/2
}

// measure notes whether a worker that is silent gets processors. waited is for how long it has
// waited for them since it was started; it is called only if that matters.
func (l *liveness) measure(t RunTimings, k known, now time.Time, waited func() time.Duration) (starved bool) {
	silent := now.Sub(k.lastEvent)
	if silent <= t.Silence/2 {
		l.hunger = hunger{}
		return false
	}
	if l.hunger.at.IsZero() || l.hunger.at.Before(k.lastEvent) {
		l.hunger = hunger{now, waited()}
	}
	return silent > t.Silence && l.hunger.starved(hunger{now, waited()})
}

// begin counts a check. late means that the check itself came late, as after a suspend:
// then it was us, and the worker must not suffer for it.
func (l *liveness) begin(t RunTimings, now time.Time) (pause time.Duration, late bool) {
	pause = now.Sub(l.lastCheck)
	l.lastCheck = now
	l.checks++
	return pause, pause > max(3*t.Check, time.Second)
}

// silence returns a cause if the worker has sent nothing for too long, which is longer on a
// machine that is too busy to run it, or Chrome does
// not respond after its start.
func (l *liveness) silence(t Timings, k known, starved bool, now time.Time) *cause {
	limit := t.Run.Silence
	if starved {
		limit = t.Run.Starved
	}
	if silent := now.Sub(k.lastEvent); silent > limit {
		return &cause{reason: reason.WorkerHung, dump: true,
			detail: fmt.Sprintf("the worker has sent no event for %s", silent.Round(time.Second/10))}
	}
	if k.chromePID == 0 && now.Sub(l.since) > t.Start.Browser {
		return &cause{reason: reason.BrowserStartFailed,
			detail: fmt.Sprintf("Chrome did not respond within %s, and the worker did not kill it", t.Start.Browser)}
	}
	return nil
}

// guard makes sure that Chrome runs on our profile, and that the profile stays the one
// that Chrome was started on.
type guard struct {
	profile *profile.Profile
	log     *slog.Logger
	// patience is how long Chrome's lock may be missing.
	patience time.Duration

	locked bool        // Chrome was seen on our profile
	home   os.FileInfo // what Chrome runs on
	astray int         // checks at which that was not at its path
}

// check looks at what Chrome holds, and at some of the checks also at what it writes.
func (g *guard) check(k known, dir process.Dir, checks int, now time.Time) *cause {
	if c := g.checkLock(k, now); c != nil {
		return c
	}
	var err error
	if checks%checksPerScratch == 0 {
		err = dir.Exceeded()
	}
	if err == nil && checks%checksPerCaches == 0 {
		err = g.profile.CheckCaches()
	}
	switch {
	case err != nil:
		return &cause{reason: reason.ScratchFull, detail: err.Error(), ask: true}
	case checks%checksPerHome == 0:
		return g.checkHome()
	}
	return nil
}

// checkLock makes sure that Chrome is on our profile. When Chrome can't write to it, it
// uses another one and looks healthy. A Chrome that closes removes its lock shortly
// before it exits, so one look proves nothing: it is repeated with each check. A
// chrome-headless-shell has no lock, and uses no other profile than ours.
func (g *guard) checkLock(k known, now time.Time) *cause {
	if g.locked {
		return nil
	}
	if k.engine == chrome.HeadlessShell {
		g.locked, g.home = true, g.profile.Home()
		return nil
	}
	err := g.profile.ChromeLock.Record(k.chromePID)
	if err == nil {
		g.locked, g.home = true, g.profile.Home()
		return nil
	}
	if _, lookErr := proctree.Find(k.chromePID); errors.Is(lookErr, os.ErrNotExist) {
		return nil // The worker is about to report why it died.
	}
	if now.Sub(k.browserAt) < g.patience {
		return nil
	}
	if code := reason.Of(err, ""); code == reason.ProfileInUse {
		return &cause{reason: code, detail: logging.Redact(err.Error()), ask: true}
	}
	// It runs where it should, which can't be written down; that is one proof
	// less for ChromeLock.Clean.
	g.locked = true
	g.log.Warn(logid.LaunchRecordFailed, logging.KeyError, err)
	return nil
}

// homeMisses is at how many checks the profile must be another one: a folder may
// be put back.
const homeMisses = 2

// checkHome ends the instance when its profile was removed, emptied or replaced: what
// Chrome still knows is of no use to what is there now. Chrome is killed, as it would
// write its settings there when it closes. Unlike a watch, a look can't be lost and
// needs no resources.
func (g *guard) checkHome() *cause {
	there := g.profile.Home()
	switch {
	case !g.locked, g.home == nil:
		g.home = there
		return nil
	case os.SameFile(g.home, there):
		g.astray = 0
		return nil
	}
	if g.astray++; g.astray < homeMisses {
		return nil
	}
	return &cause{reason: reason.ProfileReplaced, detail: g.profile.Dir() + " is not the folder that Chrome was started on", frozen: true}
}

// checkDisk returns a warning while the profile's disk is almost full. Chrome keeps
// running: stopping it would lose what it cannot write, and would free nothing.
func (g *guard) checkDisk() reason.Warning {
	if err := g.profile.CheckSpace(); err != nil {
		return reason.Warning{Code: reason.Of(err, reason.ProfileUnwritable), Detail: logging.Redact(err.Error())}
	}
	return reason.Warning{}
}

// warnings are what is wrong around an instance; one without a code is not there.
type warnings struct{ disk, binary reason.Warning }

// warn sets one of the instance's warnings, and notifies of all. A warning whose detail
// alone has changed is the same.
func (i *instance) warn(slot *reason.Warning, to reason.Warning) {
	if slot.Code == to.Code {
		return
	}
	*slot = to
	all := []reason.Warning{i.warnings.disk, i.warnings.binary}
	i.m.notify(Warned{slices.DeleteFunc(all, func(w reason.Warning) bool { return w.Code == "" })})
}
