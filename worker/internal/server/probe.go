package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/logid"
)

// probe is one question that is asked again and again, and what it means when
// there is no answer.
type probe struct {
	// ask returns context.DeadlineExceeded when there is no answer.
	ask func(context.Context) error
	// fits says whether the question can be asked now: a layer is not asked
	// while the one below it fails.
	fits             func() bool
	period, deadline time.Duration
	hung             reason.Code
	// says is what did not answer.
	says string
	// good is told of each answer. It may be nil.
	good func(time.Time)
}

func (s *session) probeBrowser(ctx context.Context) error {
	t := s.worker.o.Timings
	return s.probe(ctx, probe{
		ask: s.browser.Probe, fits: func() bool { return true }, period: t.ProbePeriod, deadline: s.req.DeadlineFactor.Of(t.ProbeDeadline),
		hung: reason.BrowserHung, says: "Chrome", good: s.pulse.browserAnswered,
	})
}

func (s *session) probePaint(ctx context.Context) error {
	t := s.worker.o.Timings
	return s.probe(ctx, probe{
		ask: s.browser.ProbePaint, fits: s.mainThreadTurns, period: t.PartPeriod, deadline: s.req.DeadlineFactor.Of(t.PartDeadline),
		hung: reason.PaintingHung, says: "the part of Chrome that paints",
	})
}

func (s *session) probeNetwork(ctx context.Context) error {
	t := s.worker.o.Timings
	return s.probe(ctx, probe{
		ask: s.browser.ProbeNetwork, fits: s.browserTurns, period: t.PartPeriod, deadline: s.req.DeadlineFactor.Of(t.PartDeadline),
		hung: reason.NetworkHung, says: "Chrome's network process",
	})
}

// browserTurns reports whether Chrome's main process answered lately.
func (s *session) browserTurns() bool {
	age, _ := s.pulse.ages(time.Now())
	return age >= 0 && age < s.fresh()
}

// mainThreadTurns reports whether the page's main thread answered lately.
func (s *session) mainThreadTurns() bool {
	_, age := s.pulse.ages(time.Now())
	return age >= 0 && age < s.fresh() && s.browserTurns()
}

// fresh is how old an answer of the layer below may be for the one above to be asked.
func (s *session) fresh() time.Duration {
	t := s.worker.o.Timings
	return t.ProbePeriod + s.req.DeadlineFactor.Of(t.ProbeDeadline)
}

// probe asks until ctx ends, and returns an error with a reason when probeMisses
// answers in a row have not come.
func (s *session) probe(ctx context.Context, p probe) error {
	for misses := 0; ; {
		missed, err := s.probeOnce(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case missed:
			misses++
			s.log.Warn(logid.ProbeMissed, slog.String(logging.KeyReason, string(p.hung)), slog.Int("misses", misses))
		default:
			misses = 0
		}
		if misses == probeMisses {
			return reason.Wrap(p.hung, fmt.Errorf("%s did not answer %d probes of %v each", p.says, misses, p.deadline))
		}
		if !sleep(ctx, p.period) {
			return ctx.Err()
		}
	}
}

// probeOnce reports whether an answer was missed. Its error is fatal. When the
// layer below stopped answering meanwhile, nothing was missed.
func (s *session) probeOnce(ctx context.Context, p probe) (missed bool, fatal error) {
	if !p.fits() {
		return false, nil
	}
	begun := time.Now()
	asked, cancel := context.WithTimeout(ctx, p.deadline)
	defer cancel()
	missed, fatal = judgeProbe(p.ask(asked), time.Since(begun), p)
	if !missed && fatal == nil && p.good != nil {
		p.good(time.Now())
	}
	return missed && p.fits(), fatal
}

// turns reports whether Chrome answers now.
func (s *session) turns(ctx context.Context) bool {
	t := s.worker.o.Timings
	missed, fatal := s.probeOnce(ctx, probe{
		ask: s.browser.Probe, fits: func() bool { return true }, period: t.ProbePeriod, deadline: s.req.DeadlineFactor.Of(t.ProbeDeadline),
	})
	return !missed && fatal == nil
}

// judgeProbe says what a probe proves. A probe that took far longer than its
// deadline allows proves that this process, or the machine, was stopped, and
// nothing of Chrome: it counts as good.
func judgeProbe(err error, took time.Duration, p probe) (missed bool, fatal error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, browser.ErrGone):
		return false, err
	case took > p.deadline+2*p.period:
		return false, nil
	case errors.Is(err, context.DeadlineExceeded):
		return true, nil
	default:
		// It answered with an error, so it turns.
		return false, nil
	}
}
