package worker

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
)

// watched is a generation that has been watched since t0 and has just spoken.
func watched(t *testing.T, t0 time.Time) *instance {
	t.Helper()
	s := New(Options{Logger: slog.New(slog.DiscardHandler), Timings: DefaultTimings()})
	var err error
	s.profile, err = profile.Open(t.TempDir())
	must(t, err)
	t.Cleanup(s.closeProfile)
	g := newInstance(s, 1, plan{})
	g.watched, g.lastEvent, g.lastBeat = t0, t0, t0
	return g
}

func TestBeatFindsSilenceButNotItsOwnLateness(t *testing.T) {
	t0 := time.Now()
	tests := map[string]struct {
		after time.Duration // since the last event and beat but one
		gap   time.Duration // since the last beat
		start bool          // Chrome has not answered yet
		want  reason.Code
	}{
		"all is well":                 {9 * time.Second, time.Second, false, ""},
		"silent":                      {11 * time.Second, time.Second, false, reason.WorkerHung},
		"silent, but we were away":    {time.Hour, time.Hour, false, ""},
		"starting":                    {9 * time.Second, time.Second, true, ""},
		"a little late is no excuse":  {11 * time.Second, 2 * time.Second, false, reason.WorkerHung},
		"late by more than two beats": {11 * time.Second, 3100 * time.Millisecond, false, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := watched(t, t0)
			if !tt.start {
				g.chromePID, g.verified = 1, true
			}
			now := t0.Add(tt.after)
			g.lastBeat = now.Add(-tt.gap)
			c, over := g.beat(now)
			if c.reason != tt.want || over != (tt.want != "") {
				t.Errorf("beat() = %+v, %v", c, over)
			}
		})
	}
}

func TestBeatBoundsTheStartOfChrome(t *testing.T) {
	t0 := time.Now()
	g := watched(t, t0)
	for _, tt := range []struct {
		after time.Duration
		want  reason.Code
	}{{44 * time.Second, ""}, {46 * time.Second, reason.BrowserStartFailed}} {
		now := t0.Add(tt.after)
		g.lastBeat, g.lastEvent = now, now
		if c, _ := g.beat(now); c.reason != tt.want {
			t.Errorf("after %v: %+v", tt.after, c)
		}
	}
}

func TestTwoMissedChecksInARowAreAHang(t *testing.T) {
	g := watched(t, time.Now())
	miss := errors.New("no answer")
	for i, err := range []error{miss, nil, miss} {
		if c, over := g.checked(err); over {
			t.Fatalf("check %d: %+v", i, c)
		}
	}
	if c, over := g.checked(miss); !over || c.reason != reason.WorkerHung || !c.dump {
		t.Errorf("checked() = %+v, %v", c, over)
	}
}

func TestTheCauseFollowsFromTheLastWords(t *testing.T) {
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
		g := watched(t, time.Now())
		g.failure = tt.failure
		if got := g.workerEnded(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestTheDefaultsLetAStopEndInTwelveSeconds(t *testing.T) {
	d := DefaultTimings()
	if sum := d.Stop + farewell + d.Drain; sum >= 12*time.Second {
		t.Errorf("stop, farewell and drain take %v", sum)
	}
}

func TestATreeGetsTheTimeThatItsChromeCanUse(t *testing.T) {
	timings := DefaultTimings()
	for state, want := range map[byte]time.Duration{
		'S': timings.Drain, 'R': timings.Drain, 'D': timings.Drain, 0: timings.Drain,
		proctree.Zombie: timings.Helpers, proctree.Stopped: 0,
	} {
		if got := drainOf(timings, state); got != want {
			t.Errorf("%q: %s, want %s", state, got, want)
		}
	}
}
