package restart

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
)

var (
	t0     = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	limits = DefaultLimits()
)

func at(d time.Duration) time.Time { return t0.Add(d) }

func TestClassify(t *testing.T) {
	for code, want := range map[reason.Code]Class{
		reason.RestartRequested:   Planned,
		reason.Maintenance:        Planned,
		reason.SendsStuck:         Planned,
		reason.ProfileReplaced:    Planned,
		reason.Stopping:           Planned,
		reason.BrowserMissing:     Environmental,
		reason.BrowserUnsupported: Environmental,
		reason.SandboxRefused:     Environmental,
		reason.ProfileInUse:       Environmental,
		reason.ProfileUnwritable:  Environmental,
		reason.DiskFull:           Environmental,
		reason.WorkerUnusable:     Environmental,
		reason.BrowserCrashed:     Transient,
		reason.WorkerHung:         Transient,
		reason.WorkerFlooded:      Transient,
		reason.PageHung:           Transient,
		reason.ScratchFull:        Transient,
		"something new":           Transient,
	} {
		if got := Classify(code); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
}

func TestFirstFailureRestartsAtOnceThenBacksOff(t *testing.T) {
	s, now := State{}, t0
	want := []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}
	for i, w := range want {
		var d Decision
		s, d = s.Ended(limits, Transient, now, 1)
		if d.Delay != w || d.Circuit != Closed || d.Failures != i+1 {
			t.Errorf("failure %d: got %+v, want %s", i+1, d, w)
		}
	}
}

func TestBackoffHasACeilingAndJitterHasBounds(t *testing.T) {
	s := State{Streak: 40}
	_, least := s.Ended(limits, Transient, t0, 0)
	_, most := s.Ended(limits, Transient, t0, 0.999999)
	if least.Delay != 30*time.Second || most.Delay > time.Minute || most.Delay < 59*time.Second {
		t.Errorf("got %s to %s", least.Delay, most.Delay)
	}
}

func TestTooManyFailuresOpenTheCircuit(t *testing.T) {
	s, now := State{}, t0
	var d Decision
	for range 6 {
		s, d = s.Ended(limits, Transient, now, 0.5)
		now = now.Add(10 * time.Second)
	}
	if d.Circuit != Open || d.Delay != time.Minute {
		t.Fatalf("got %+v", d)
	}
	want := time.Minute
	for range 6 {
		s = s.Attempt()
		if s.Circuit != HalfOpen {
			t.Fatalf("got %s", s.Circuit)
		}
		want = min(2*want, limits.MaxOpenDelay)
		now = now.Add(want)
		if s, d = s.Ended(limits, Transient, now, 0.5); d.Circuit != Open || d.Delay != want {
			t.Errorf("got %+v, want %s", d, want)
		}
	}
}

func TestRareFailuresNeverOpenTheCircuit(t *testing.T) {
	s := State{}
	for i := range 50 {
		var d Decision
		s, d = s.Ended(limits, Transient, at(time.Duration(i)*61*time.Second), 0.5)
		if d.Circuit != Closed {
			t.Fatalf("failure %d: %+v", i, d)
		}
	}
}

func TestHealthClosesResetsAndForgets(t *testing.T) {
	s := State{Circuit: HalfOpen, Streak: 6, Opened: 3, Failures: []time.Time{t0}}
	s = s.Health(limits, true, t0)
	steps := []struct {
		after time.Duration
		want  State
	}{
		{59 * time.Second, State{Circuit: HalfOpen, Streak: 6, Opened: 3, Failures: []time.Time{t0}, HealthySince: t0}},
		{time.Minute, State{Circuit: Closed, Streak: 6, Opened: 3, HealthySince: t0}},
		{5 * time.Minute, State{Circuit: Closed, Opened: 3, HealthySince: t0}},
		{30 * time.Minute, State{Circuit: Closed, HealthySince: t0}},
	}
	for _, step := range steps {
		if d := cmp.Diff(step.want, s.Tick(limits, at(step.after))); d != "" {
			t.Errorf("after %s: %s", step.after, d)
		}
	}
}

func TestHealthThatIsInterruptedStartsOver(t *testing.T) {
	s := State{Streak: 3}.Health(limits, true, t0)
	s = s.Health(limits, false, at(4*time.Minute))
	s = s.Health(limits, true, at(4*time.Minute))
	if s = s.Tick(limits, at(8*time.Minute)); s.Streak != 3 {
		t.Errorf("streak %d after two short stretches of health", s.Streak)
	}
}

func TestEndedCountsTheHealthBeforeIt(t *testing.T) {
	s := State{Streak: 4}.Health(limits, true, t0)
	_, d := s.Ended(limits, Transient, at(6*time.Minute), 1)
	if d.Delay != 0 {
		t.Errorf("got %s after proven health", d.Delay)
	}
}

func TestPlannedEndsAreNeverCounted(t *testing.T) {
	s := State{}
	for range 100 {
		var d Decision
		if s, d = s.Ended(limits, Planned, t0, 0.5); d.Delay != 0 || d.Failures != 0 || d.Circuit == Open {
			t.Fatalf("got %+v", d)
		}
	}
}

func TestEnvironmentalEndOpensTheCircuitUncounted(t *testing.T) {
	s, d := State{}.Ended(limits, Environmental, t0, 0.5)
	if d.Circuit != Open || d.Failures != 0 || s.Streak != 0 {
		t.Errorf("got %+v, streak %d", d, s.Streak)
	}
}

func TestEnvironmentalEndsAreProbedEverMoreSlowly(t *testing.T) {
	s := State{}
	for _, want := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		var d Decision
		if s, d = s.Attempt().Ended(limits, Environmental, t0, 0.5); d.Delay != want {
			t.Errorf("got %s, want %s", d.Delay, want)
		}
	}
	s = s.Attempt().Health(limits, true, t0).Tick(limits, at(time.Minute))
	if _, d := s.Ended(limits, Environmental, at(time.Minute), 0.5); d.Delay != 15*time.Second {
		t.Errorf("got %s after health", d.Delay)
	}
}

func TestClockThatWasSetBackKeepsNoFailures(t *testing.T) {
	s := State{Failures: []time.Time{at(time.Hour), at(2 * time.Hour)}}
	if _, d := s.Ended(limits, Transient, t0, 0.5); d.Failures != 1 {
		t.Errorf("got %d failures", d.Failures)
	}
}

func TestStateSurvivesJSON(t *testing.T) {
	s := State{Failures: []time.Time{t0}, Streak: 2, Opened: 1, Circuit: Open, HealthySince: t0}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got State
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Error(d)
	}
}
