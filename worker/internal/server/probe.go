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

// probe is a question to a part of Chrome that is asked again and again.
type probe struct {
	// part is what is asked, and hung what it means when there is no answer.
	part string
	hung reason.Code
	// ask returns context.DeadlineExceeded when there is no answer.
	ask              func(context.Context) error
	period, deadline time.Duration
	// answered is when the part last proved that it responds, whoever asked: it is asked when that
	// was a period ago. Nil means that nobody else asks.
	answered func() time.Time
	// ready reports whether the layer below answers: a part is not asked while that
	// fails. Nil means that there is no layer below.
	ready func() bool
}

// browserProbe asks Chrome's main process.
func (s *session) browserProbe() probe {
	return probe{
		part: "Chrome", hung: reason.BrowserHung, period: s.timings.ProbePeriod, deadline: s.timings.ProbeDeadline,
		ask: s.browser.Probes().Main, answered: s.browser.Answered,
	}
}

func (s *session) paintProbe() probe {
	return probe{
		part: "the part of Chrome that paints", hung: reason.PaintingHung, ask: s.browser.Probes().Paint,
		period: s.timings.PartPeriod, deadline: s.timings.PartDeadline,
		ready: func() bool { return s.browserAnswers() && s.pageAnswers() },
	}
}

func (s *session) networkProbe() probe {
	return probe{
		part: "Chrome's network process", hung: reason.NetworkHung, ask: s.browser.Probes().Network,
		period: s.timings.PartPeriod, deadline: s.timings.PartDeadline, ready: s.browserAnswers,
	}
}

// watch asks until ctx ends, and returns an error with a reason when probeMisses
// answers in a row have not come. It begins with a pause: Chrome has just answered, and is
// about to load the page.
func (s *session) watch(ctx context.Context, p probe) error {
	misses, pause := 0, p.period
	for sleep(ctx, pause) {
		if pause = p.unasked(time.Now()); pause > 0 {
			misses = 0
			continue
		}
		pause = p.period
		missed, err := p.once(ctx)
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
			return reason.Wrap(p.hung, fmt.Errorf("%s did not answer %d probes of %v each", p.part, misses, p.deadline))
		}
	}
	return ctx.Err()
}

// unasked is for how long the part need not be asked.
func (p probe) unasked(now time.Time) time.Duration {
	if p.answered == nil {
		return 0
	}
	return p.period - now.Sub(p.answered())
}

// once reports whether an answer was missed. Its error is fatal. When the layer below
// stopped answering meanwhile, nothing was missed.
func (p probe) once(ctx context.Context) (missed bool, fatal error) {
	if p.ready != nil && !p.ready() {
		return false, nil
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.deadline)
	defer cancel()
	missed, fatal = p.evaluate(p.ask(ctx), time.Since(begun))
	return missed && (p.ready == nil || p.ready()), fatal
}

// evaluate returns what an answer proves. A probe that took far longer than its deadline
// allows proves that this process, or the machine, was stopped, and nothing about
// Chrome: it counts as answered.
func (p probe) evaluate(err error, took time.Duration) (missed bool, fatal error) {
	switch {
	case errors.Is(err, browser.ErrGone):
		return false, err
	case took > p.deadline+2*p.period:
		return false, nil
	default:
		// Any other error is an answer, too.
		return errors.Is(err, context.DeadlineExceeded), nil
	}
}
