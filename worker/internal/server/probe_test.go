package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

func TestProbeEvaluatesAnswers(t *testing.T) {
	p := probe{period: 5 * time.Second, deadline: 3 * time.Second}
	tests := []struct {
		name   string
		err    error
		took   time.Duration
		missed bool
		fatal  bool
	}{
		{"answered", nil, time.Millisecond, false, false},
		{"no answer", context.DeadlineExceeded, 3 * time.Second, true, false},
		{"could not be written", context.DeadlineExceeded, 5 * time.Second, true, false},
		{"we were stopped", context.DeadlineExceeded, 14 * time.Second, false, false},
		{"gone", fmt.Errorf("x: %w", browser.ErrGone), time.Millisecond, false, true},
		{"answered with an error", errors.New("x"), time.Millisecond, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			missed, fatal := p.evaluate(tt.err, tt.took)
			if missed != tt.missed || (fatal != nil) != tt.fatal {
				t.Errorf("missed %v, fatal %v", missed, fatal)
			}
		})
	}
}

func TestHungPartOfChromeIsNamed(t *testing.T) {
	for kind, want := range map[string]reason.Code{
		"--type=gpu-process":                 reason.PaintingHung,
		"network.mojom.NetworkService":       reason.NetworkHung,
		"--type=renderer, which answers yes": "",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r, opened := newPartsRig(t)
			// A probe of a busy machine may be late by two periods.
			r.timings.PartPeriod, r.timings.PartDeadline = time.Second, time.Second
			if want == "" {
				r.timings.PartPeriod, r.timings.PartDeadline = 100*time.Millisecond, 5*time.Second
			}
			r.timings.ProbePeriod = time.Minute // so that it is not found by its state
			r.req.DeadlineFactor = 2
			r.start(t.Context())
			chrome := await[rpc.BrowserStarted](r).PID
			if want == "" {
				// All is well: nothing must be found for many rounds.
				for range 50 {
					await[rpc.Heartbeat](r)
				}
				return
			}
			<-opened
			pid := browsertest.Helpers(t, chrome, kind)[0]
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if f := await[rpc.Failure](r); f.Reason != want || !strings.Contains(f.Detail, "2 probes of 2s each") {
				t.Errorf("%+v", f)
			}
			r.mustFail()
			r.mustBeGone()
		})
	}
}

func TestPartThatAnswersOthersIsNotAsked(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name     string
		answered func() time.Time
		want     time.Duration
	}{
		{"nobody else asks", nil, 0},
		{"answered just now", func() time.Time { return now }, 5 * time.Second},
		{"answered a while ago", func() time.Time { return now.Add(-4 * time.Second) }, time.Second},
		{"answered a period ago", func() time.Time { return now.Add(-5 * time.Second) }, 0},
	} {
		if got := (probe{period: 5 * time.Second, answered: tt.answered}).unasked(now); got != tt.want {
			t.Errorf("%s: not asked for %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestSilentPartIsFoundInTime has a part that others ask all the time fall silent. It is not asked
// before.
func TestSilentPartIsFoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := time.Now().Add(30 * time.Second)
		asked := 0
		s := &session{log: slog.New(slog.DiscardHandler)}
		err := s.watch(t.Context(), probe{
			hung: reason.BrowserHung, period: 5 * time.Second, deadline: 3 * time.Second,
			answered: func() time.Time {
				if now := time.Now(); now.Before(silent) {
					return now
				}
				return silent
			},
			ask: func(ctx context.Context) error {
				asked++
				<-ctx.Done()
				return ctx.Err()
			},
		})
		if after := time.Since(silent); reason.Of(err, "") != reason.BrowserHung || after != 16*time.Second || asked != probeMisses {
			t.Errorf("asked %d times, %v after its last answer: %v", asked, after, err)
		}
	})
}
