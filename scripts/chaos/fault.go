package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// effect is what must follow a fault.
type effect string

const (
	// restarts: the generation ends by the fault, and the next one takes over.
	restarts effect = "restart"
	// rolls: the generation ends as planned, and the next one takes over.
	rolls effect = "planned"
	// cured: the same generation mends its page.
	cured effect = "cure"
	// nothing: Chrome heals itself, or there is nothing to heal.
	nothing effect = "none"
	// blocked: no generation can be started until the cause is taken away.
	blocked effect = "blocked"
	// waits: the same generation goes on when the cause is taken away.
	waits effect = "wait"
	// succeeded: the supervisor itself died, and was started again.
	succeeded effect = "successor"
)

// fault is one entry of the catalogue.
type fault struct {
	name   string
	expect effect
	// reasons are the codes of which one must name the cause on /session; none
	// means that there is nothing to name.
	reasons []string
	// excused: the supervisor itself is hit, so requests may fail or be late.
	excused bool
	// random: it may be drawn in the random part, where the service is not
	// started anew before each fault.
	random bool
	// everywhere: it hits all that runs on the machine.
	everywhere bool
	// hold is how long the fault lasts before mend, or how long nothing must
	// happen.
	hold time.Duration

	// prepare and clear, which may be nil, run while the service is stopped.
	prepare, clear func(context.Context, *rig) error
	inject         func(context.Context, *rig, target) error
	// mend, which may be nil, takes the cause away.
	mend func(context.Context, *rig, target) error
}

// target is the service at the moment of the fault.
type target struct {
	view view
	tree tree
}

// settled says whether all is well: a code on the screen, or a linked account
// that works.
func (v view) settled(linked bool) bool {
	if v.Phase.Name != "page" || v.Browser == nil {
		return false
	}
	if linked {
		return v.Status == "READY"
	}
	return v.Status == "QR_REQUIRED" && v.QR != nil && v.QR.Generation == v.Worker.Generation
}

// noticed says whether the service knows that something is wrong.
func (v view) noticed(before view) bool {
	return v.Status != before.Status || v.Reason.Code != before.Reason.Code ||
		v.Worker.Generation != before.Worker.Generation || v.Phase.Name != before.Phase.Name ||
		before.QR != nil && v.QR == nil
}

// passed is what was seen on /session during a fault.
type passed struct {
	// detected is when the service first knew; zero if never.
	detected time.Time
	// ended is when the generation was first seen to be over; zero if never.
	ended time.Time
	// mended is when the cause was taken away, or a long pause cut short; zero
	// if never.
	mended time.Time
	// stated is when the service said, before that, that it would look again.
	stated time.Time
	// back is when all was well again; zero if never.
	back time.Time
	// reasons are the codes that were given, in their order.
	reasons []string
	last    view
}

func (p *passed) note(v view, before view, now time.Time) {
	if p.detected.IsZero() && v.noticed(before) {
		p.detected = now
	}
	if p.ended.IsZero() && v.Phase.Name != before.Phase.Name {
		p.ended = now
	}
	codes := []string{v.Reason.Code}
	if e := v.LastEnd; e != nil && (before.LastEnd == nil || e.Generation != before.LastEnd.Generation) {
		codes = append(codes, e.Reason)
	}
	for _, code := range codes {
		if code != "" && (len(p.reasons) == 0 || !slices.Contains(p.reasons, code)) && code != before.Reason.Code {
			p.reasons = append(p.reasons, code)
		}
	}
	p.last = v
}

// over says whether the fault has been dealt with.
func (f fault) over(p *passed, before view, linked bool) bool {
	v := p.last
	if !v.settled(linked) {
		return false
	}
	switch f.expect {
	case restarts, rolls, blocked:
		return v.Worker.Generation > before.Worker.Generation && (f.mend == nil || !p.mended.IsZero())
	case cured:
		return !p.detected.IsZero()
	case waits:
		return !p.mended.IsZero()
	default:
		return true
	}
}

const (
	// pollEvery is the pause between two looks at /session, which has no long
	// poll for all that matters here.
	pollEvery = 10 * time.Millisecond
	// patience bounds one fault: the slowest detection takes half a minute.
	patience = 90 * time.Second
	// longPause is a backoff that the random part cuts short.
	longPause = time.Second
)

// follow looks at /session until the fault has been dealt with.
func (r *rig) follow(ctx context.Context, f fault, t target, begun time.Time) (*passed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := &passed{}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		v, err := viewOf(ctx, r.service)
		now := time.Now()
		if err == nil {
			p.note(v, t.view, now)
		} else if !f.excused {
			return p, err
		}
		if due := f.dueAt(p, begun); p.mended.IsZero() && f.mend != nil && !due.IsZero() && !now.Before(due) {
			if err := f.mend(ctx, r, t); err != nil {
				return p, fmt.Errorf("cannot mend: %w", err)
			}
			p.mended = time.Now()
			if v, err := viewOf(ctx, r.service); err == nil && v.RetryAt != nil {
				p.stated = *v.RetryAt
			}
		} else if r.impatient(p, now) {
			if err := r.service.Restart(ctx); err != nil {
				return p, err
			}
			p.mended = now
		} else if (f.expect != nothing || now.Sub(begun) >= f.hold) && f.over(p, t.view, r.linked) {
			p.back = now
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("it was not dealt with: %s (%s) in phase %s", p.last.Status, p.last.Reason.Code, p.last.Phase.Name)
		case <-tick.C:
		}
	}
}

// dueAt is when the cause is to be taken away; zero while that is not known.
func (f fault) dueAt(p *passed, begun time.Time) time.Time {
	if f.expect == blocked && (p.detected.IsZero() || p.last.Status != "ERROR") {
		return time.Time{}
	}
	if f.expect == waits && p.detected.IsZero() {
		return time.Time{}
	}
	return begun.Add(f.hold)
}

// impatient says whether to cut a backoff short: in the random part one fault
// follows the other, and the restart policy slows down as it should.
func (r *rig) impatient(p *passed, now time.Time) bool {
	v := p.last
	return r.hurried && p.mended.IsZero() && v.RetryAt != nil && (v.Phase.Name == "backoff" || v.Reason.Code == "crash_loop") &&
		v.RetryAt.Sub(now) > longPause
}
