package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"session-manager/scripts/harness"
)

// errSkipped means that this machine can't inject a fault.
var errSkipped = errors.New("skipped")

// effect is what must follow a fault.
type effect string

const (
	// restarts: the generation ends by the fault, and the next one takes over.
	restarts effect = "restart"
	// rolls: the generation ends as planned, and the next one takes over.
	rolls effect = "planned"
	// cured: the same generation repairs its page.
	cured effect = "cure"
	// nothing: Chrome recovers without help, or there is nothing to recover from.
	nothing effect = "none"
	// blocked: no generation can be started until the cause is removed.
	blocked effect = "blocked"
	// waits: the same generation recovers when the cause is removed.
	waits effect = "wait"
	// succeeded: the supervisor itself died, and was started again.
	succeeded effect = "successor"
)

// fault is one entry of the catalogue.
type fault struct {
	name   string
	expect effect
	// reasons are the codes of which one must name the cause on /session; without any
	// there is nothing to name.
	reasons []string
	// excused: the supervisor itself is hit, so requests may fail or be late.
	excused bool
	// freezes: something no longer runs that links a phone, so no QR may be served soon.
	freezes bool
	// random: it may be drawn in the random part, where the service is not restarted
	// before each fault.
	random bool
	// hold is how long the fault lasts before fix, or how long nothing must happen.
	hold time.Duration

	// prepare, which may be nil, runs while the service is stopped.
	prepare action
	inject  action
	// fix, which may be nil, removes the cause.
	fix action
}

// action is a step of a fault.
type action func(context.Context, *hit) error

// all makes one action of several, which ends with the first error.
func all(steps ...action) action {
	return func(ctx context.Context, h *hit) error {
		for _, step := range steps {
			if err := step(ctx, h); err != nil {
				return err
			}
		}
		return nil
	}
}

// simply makes an action of a function that does not wait.
func simply(do func(*hit) error) action {
	return func(_ context.Context, h *hit) error { return do(h) }
}

// until waits for a state of the service.
func until(what string, ok func(harness.Session) bool) action {
	return func(ctx context.Context, h *hit) error {
		_, err := h.await(ctx, what, ok)
		return err
	}
}

func awaitReason(code string) action {
	return until(code, func(v harness.Session) bool { return v.Reason.Code == code })
}

// hit is a stage at the moment of a fault.
type hit struct {
	*stage
	// before and tree are from just before the fault; before the service was started,
	// in prepare, they are empty.
	before harness.Session
	tree   harness.Tree
}

// round injects one fault, on a fresh service or on the present one, and adds a row.
// Its error ends the run.
func (s *stage) round(ctx context.Context, out io.Writer, f fault, rep *report, fresh bool) error {
	_, _ = fmt.Fprintf(out, "%s %s … ", time.Now().Format(time.TimeOnly), f.name)
	row, err := s.try(ctx, f, fresh || s.service == nil)
	rep.rows = append(rep.rows, row)
	outcome := strings.Join(row.missed(), "; ") + row.skipped
	_, _ = fmt.Fprintln(out, cmp.Or(outcome, "ok"))
	return err
}

func (s *stage) try(ctx context.Context, f fault, fresh bool) (w row, err error) {
	w = row{fault: f, linked: s.linked, cold: s.cold}
	if fresh {
		defer func() { err = errors.Join(err, s.cleanUp()) }()
		began, err := s.fresh(ctx, f.prepare)
		if errors.Is(err, errSkipped) {
			w.skipped = err.Error()
			return w, nil
		}
		if err != nil {
			return w, err
		}
		if f.prepare != nil {
			w.cold = max(w.cold, began) // the preparation is part of every start
		}
	}
	h := &hit{stage: s}
	if h.before, err = s.awaitSettled(ctx); err != nil {
		return w, err
	}
	if h.tree, err = harness.Below(s.service.PID()); err != nil {
		return w, err
	}
	defer h.tree.Close()
	h.measure(ctx, f, &w)
	if ctx.Err() != nil {
		return w, ctx.Err()
	}
	if w.err != "" && !fresh {
		// The next one needs a service that is well.
		_, err = s.fresh(ctx, nil)
	}
	return w, err
}

// measure injects the fault, follows it to its end, and fills in the row.
func (h *hit) measure(ctx context.Context, f fault, w *row) {
	asking := harness.Probe("http://"+h.address, h.o.pause)
	defer asking.Close()
	begun := time.Now()
	if err := injected(ctx, f, h); errors.Is(err, errSkipped) {
		w.skipped = err.Error()
		return
	} else if err != nil {
		w.err = "not injected: " + err.Error()
		return
	}
	c, err := h.follow(ctx, f, begun)
	w.tally = asking.Tally()
	w.reasons = c.reasons
	if err != nil {
		w.err = err.Error()
		if f.fix != nil && c.fixed.IsZero() {
			_ = f.fix(ctx, h)
		}
		return
	}
	c.time(f, w)
	if f.expect == nothing && c.last.Worker.Generation != h.before.Worker.Generation {
		w.err = "the worker was restarted for it"
	}
	if f.expect == rolls && c.last.LastExit.Class != "planned" {
		w.err = "the end was not planned"
	}
	w.left = h.leftovers(h.tree, c.last)
	w.loginLost = h.linked && slices.Contains(c.reasons, "scan_qr")
}

// injected injects a fault, which must not take long.
func injected(ctx context.Context, f fault, h *hit) error {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	return f.inject(ctx, h)
}

// course is what /session reported during a fault. Each time is zero if its moment
// never came.
type course struct {
	before, last harness.Session
	begun        time.Time
	// detected is when the service first knew.
	detected time.Time
	// ended is when the generation was first seen to be over.
	ended time.Time
	// fixed is when the cause was removed, or a long backoff cut short.
	fixed time.Time
	// stated is when, by the service's word at that moment, it would try again.
	stated time.Time
	// back is when all was well again.
	back time.Time
	// reasons are the codes that were given, in their order.
	reasons []string
}

func (c *course) note(v harness.Session, now time.Time) {
	if c.detected.IsZero() && noticed(v, c.before) {
		c.detected = now
	}
	if c.ended.IsZero() && v.Phase.Name != c.before.Phase.Name {
		c.ended = now
	}
	codes := []string{v.Reason.Code}
	if e := v.LastExit; e != nil && (c.before.LastExit == nil || e.Generation != c.before.LastExit.Generation) {
		codes = append(codes, e.Reason)
	}
	for _, code := range codes {
		if code != "" && code != c.before.Reason.Code && !slices.Contains(c.reasons, code) {
			c.reasons = append(c.reasons, code)
		}
	}
	c.last = v
}

// noticed reports whether the service knows that something is wrong.
func noticed(v, before harness.Session) bool {
	return v.Status != before.Status || v.Reason.Code != before.Reason.Code ||
		v.Worker.Generation != before.Worker.Generation || v.Phase.Name != before.Phase.Name ||
		before.QR != nil && v.QR == nil
}

// time fills in how long the detection and the recovery took.
func (c *course) time(f fault, w *row) {
	if e := c.last.LastExit; e != nil && e.Generation >= c.before.Worker.Generation {
		w.delay = time.Duration(e.DelayMS) * time.Millisecond
	}
	if c.stated.After(c.fixed) {
		w.delay = c.stated.Sub(c.fixed)
	}
	from := c.begun
	if !c.detected.IsZero() {
		w.detected = c.detected.Sub(c.begun)
		from = c.detected
	}
	for _, later := range []time.Time{c.ended, c.fixed} {
		if later.After(from) {
			from = later
		}
	}
	if f.expect != nothing {
		w.back = c.back.Sub(from)
	}
}

const (
	// pollEvery is the pause between two looks at /session, which has no long poll for
	// all that matters here.
	pollEvery = 10 * time.Millisecond
	// longPause is a backoff that the random part cuts short.
	longPause = time.Second
)

// follow looks at /session until the fault has been dealt with.
func (h *hit) follow(ctx context.Context, f fault, begun time.Time) (*course, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := &course{before: h.before, begun: begun}
	for {
		v, err := h.service.Session(ctx)
		now := time.Now()
		if err == nil {
			c.note(v, now)
		} else if !f.excused {
			return c, err
		}
		switch {
		case f.due(c, now):
			err = h.fix(ctx, f, c)
		case h.impatient(c, now):
			c.fixed, err = now, h.service.Restart(ctx)
		case f.over(c, h.linked, now):
			c.back = now
			return c, nil
		default:
			err = nil
		}
		if err != nil {
			return c, err
		}
		if harness.Pause(ctx, max(pollEvery, h.o.pause)) != nil {
			return c, fmt.Errorf("it was not dealt with: %s", c.last)
		}
	}
}

func (h *hit) fix(ctx context.Context, f fault, c *course) error {
	if err := f.fix(ctx, h); err != nil {
		return fmt.Errorf("cannot fix: %w", err)
	}
	c.fixed = time.Now()
	if v, err := h.service.Session(ctx); err == nil && v.RetryAt != nil {
		c.stated = *v.RetryAt
	}
	return nil
}

// due reports whether it is time to fix the fault.
func (f fault) due(c *course, now time.Time) bool {
	if f.fix == nil || !c.fixed.IsZero() || now.Before(c.begun.Add(f.hold)) {
		return false
	}
	switch f.expect {
	case blocked:
		return !c.detected.IsZero() && c.last.Status == "ERROR"
	case waits:
		return !c.detected.IsZero()
	default:
		return true
	}
}

// over reports whether the fault has been dealt with.
func (f fault) over(c *course, linked bool, now time.Time) bool {
	if !c.last.Settled(linked) {
		return false
	}
	switch f.expect {
	case restarts, rolls, blocked:
		return c.last.Worker.Generation > c.before.Worker.Generation && (f.fix == nil || !c.fixed.IsZero())
	case cured:
		return !c.detected.IsZero()
	case waits:
		return !c.fixed.IsZero()
	case nothing:
		return now.Sub(c.begun) >= f.hold
	default:
		return true
	}
}

// impatient reports whether to cut a backoff short: in the random part one fault
// follows the other, and the restart policy slows down as it should.
func (h *hit) impatient(c *course, now time.Time) bool {
	v := c.last
	return h.hurried && c.fixed.IsZero() && v.RetryAt != nil && (v.Phase.Name == "backoff" || v.Reason.Code == "crash_loop") &&
		v.RetryAt.Sub(now) > longPause
}
