package worker

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker/preflight"
	"session-manager/supervisor/internal/worker/process"
)

// watched is an instance that has been watched since t0 and has just sent an event.
func watched(t *testing.T, t0 time.Time) *instance {
	t.Helper()
	m := New(Options{Logger: slog.New(slog.DiscardHandler), Timings: DefaultTimings()})
	var err error
	m.profile, err = profile.Open(t.TempDir())
	must(t, err)
	t.Cleanup(m.closeProfile)
	i := newInstance(m, 1, preflight.Plan{})
	i.child = &child{known: known{lastEvent: t0}, process: process.New(process.Options{Log: m.log})}
	t.Cleanup(i.process.Release)
	i.liveness = liveness{since: t0, lastCheck: t0}
	return i
}

// reasonOf is that of a cause, empty for none.
func reasonOf(c *cause) reason.Code {
	if c == nil {
		return ""
	}
	return c.reason
}

func TestCheckFindsSilenceButNotItsOwnLateness(t *testing.T) {
	t0 := time.Now()
	tests := map[string]struct {
		after time.Duration // since the last event and check but one
		gap   time.Duration // since the last check
		start bool          // Chrome has not responded yet
		want  reason.Code
	}{
		"all is well":                   {9 * time.Second, time.Second, false, ""},
		"silent":                        {11 * time.Second, time.Second, false, reason.WorkerHung},
		"silent, but we were away":      {time.Hour, time.Hour, false, ""},
		"starting":                      {9 * time.Second, time.Second, true, ""},
		"a little late is not enough":   {11 * time.Second, 2 * time.Second, false, reason.WorkerHung},
		"late by more than two periods": {11 * time.Second, 3100 * time.Millisecond, false, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i := watched(t, t0)
			if !tt.start {
				i.known.chromePID, i.guard.locked = 1, true
			}
			now := t0.Add(tt.after)
			i.liveness.lastCheck = now.Add(-tt.gap)
			if c := i.check(now); reasonOf(c) != tt.want || c != nil && !c.dump {
				t.Errorf("check() = %+v", c)
			}
		})
	}
}

// A worker that gets no processor gets time; one that is deadlocked or stopped on a busy machine does not.
func TestStarvedWorkerIsNotHung(t *testing.T) {
	t0 := time.Now()
	type beat struct{ event, end time.Duration } // of a silence
	always := func(share float64) func(time.Duration) time.Duration {
		return func(since time.Duration) time.Duration { return time.Duration(share * float64(since)) }
	}
	for name, tt := range map[string]struct {
		silences []beat
		waited   func(since time.Duration) time.Duration
		dies     time.Duration // 0 if it does not
	}{
		"deadlocked":             {[]beat{{0, time.Minute}}, always(0), 11 * time.Second},
		"deadlocked, busy":       {[]beat{{0, time.Minute}}, always(0.1), 11 * time.Second},
		"starved for long":       {[]beat{{0, 30 * time.Second}, {30 * time.Second, 65 * time.Second}}, always(1), 0},
		"several of its threads": {[]beat{{0, 35 * time.Second}}, always(3), 0},
		"starved and hung":       {[]beat{{0, 2 * time.Minute}}, always(1), 41 * time.Second},
		"hung after starvation": {[]beat{{0, 30 * time.Second}, {30 * time.Second, 2 * time.Minute}}, func(since time.Duration) time.Duration {
			return min(since, 33*time.Second)
		}, 41 * time.Second},
		"it had waited before": {[]beat{{0, time.Minute}}, func(time.Duration) time.Duration { return time.Hour }, 11 * time.Second},
	} {
		l, k := liveness{since: t0}, known{chromePID: 1}
		dies := time.Duration(0)
		for _, s := range tt.silences {
			for at := s.event; at < s.end && dies == 0; at += time.Second {
				k.lastEvent = t0.Add(s.event)
				now, timings := t0.Add(at), DefaultTimings()
				starved := l.measure(timings.Run, k, now, func() time.Duration { return tt.waited(at) })
				if l.silence(timings, k, starved, now) != nil {
					dies = at
				}
			}
		}
		if dies != tt.dies {
			t.Errorf("%s: ends after %s, want %s", name, dies, tt.dies)
		}
	}
}

func TestCheckLimitsTheStartOfChrome(t *testing.T) {
	t0 := time.Now()
	i := watched(t, t0)
	for _, tt := range []struct {
		after time.Duration
		want  reason.Code
	}{{44 * time.Second, ""}, {46 * time.Second, reason.BrowserStartFailed}} {
		now := t0.Add(tt.after)
		i.liveness.lastCheck, i.known.lastEvent = now, now
		if c := i.check(now); reasonOf(c) != tt.want {
			t.Errorf("after %v: %+v", tt.after, c)
		}
	}
}

func TestCauseFollowsFromTheFailure(t *testing.T) {
	failure := func(code reason.Code) *rpc.Failure { return &rpc.Failure{Reason: code, Detail: "call +49 170 1234567"} }
	tests := map[string]struct {
		failure *rpc.Failure
		want    cause
	}{
		"none":       {nil, cause{reason: reason.WorkerCrashed, exiting: true}},
		"nameless":   {failure(""), cause{reason: reason.WorkerCrashed, detail: "call [phone]", exiting: true}},
		"a page":     {failure(reason.PageHung), cause{reason: reason.PageHung, detail: "call [phone]", exiting: true}},
		"no network": {failure(reason.NetworkHung), cause{reason: reason.NetworkHung, detail: "call [phone]", exiting: true, frozen: true}},
		"frozen":     {failure(reason.BrowserHung), cause{reason: reason.BrowserHung, detail: "call [phone]", exiting: true, frozen: true}},
	}
	for name, tt := range tests {
		i := watched(t, time.Now())
		i.known.failure = tt.failure
		if got := i.workerEnded(); *got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestEachChangeNotifiesOfAllWarnings(t *testing.T) {
	i := watched(t, time.Now())
	var shown []Warned
	i.m.Subscribe(func(n Notice) { shown = append(shown, n.(Warned)) })
	disk, binary := reason.Warning{Code: reason.DiskFull, Detail: "4 MB"}, reason.Warning{Code: reason.WorkerUnusable, Detail: "no program"}
	i.warn(&i.warnings.binary, binary)
	i.warn(&i.warnings.disk, disk)
	i.warn(&i.warnings.disk, reason.Warning{Code: reason.DiskFull, Detail: "3 MB"})
	i.warn(&i.warnings.disk, reason.Warning{})
	i.warn(&i.warnings.binary, reason.Warning{})
	want := []Warned{{[]reason.Warning{binary}}, {[]reason.Warning{disk, binary}}, {[]reason.Warning{binary}}, {[]reason.Warning{}}}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsLetAStopEndInTwelveSeconds(t *testing.T) {
	d := DefaultTimings().Stop
	if sum := d.Close + d.Exit + d.Drain; sum >= 12*time.Second {
		t.Errorf("close, exit and drain take %v", sum)
	}
}

func TestTimeToDrainDependsOnChromesState(t *testing.T) {
	timings := DefaultTimings().Stop
	for state, want := range map[byte]time.Duration{
		'S': timings.Drain, 'R': timings.Drain, 'D': timings.Drain, 0: timings.Drain,
		proctree.Zombie: timings.Helpers, proctree.Stopped: 0,
	} {
		if got := drainLimit(timings, state); got != want {
			t.Errorf("%q: %s, want %s", state, got, want)
		}
	}
}
