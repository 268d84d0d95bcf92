package webhook

import (
	"slices"
	"strings"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/session"
)

// Timings of the delivery.
type Timings struct {
	// Attempt bounds one attempt.
	Attempt time.Duration
	// First is the pause after the first failure; it doubles up to Max.
	First, Max time.Duration
}

// DefaultTimings returns the usual timings.
func DefaultTimings() Timings {
	return Timings{Attempt: 10 * time.Second, First: time.Second, Max: time.Minute}
}

// plan is when what may be delivered. An event that was refused delays the others of its
// chat, so that their order is kept, and all others only for as long as the receiver has
// accepted nothing.
type plan struct {
	timings Timings
	trouble
	chats map[string]trouble
}

// trouble is how many attempts in a row have failed, and when the next one is due.
type trouble struct {
	failures int
	until    time.Time
}

// maxTroubled is how many chats with failures are remembered.
const maxTroubled = 64

// failed notes that the delivery of an event of a chat has failed. after is how long the
// receiver asks to wait, and random a number from 0 to 1. Other chats wait for half as long,
// so that they come before it is tried again.
func (p *plan) failed(chat string, after time.Duration, random float64, now time.Time) {
	pause := p.timings.pause(p.failures, random)
	p.trouble = trouble{p.failures + 1, now.Add(max(after, pause/2))}
	t := p.chats[chat]
	pause = p.timings.pause(t.failures, random)
	delete(p.chats, chat)
	if len(p.chats) >= maxTroubled {
		delete(p.chats, p.soonest())
	}
	p.chats[chat] = trouble{t.failures + 1, now.Add(max(pause, after+pause/2))}
}

// pause returns the time until the next attempt. Half of it is random, so that many services
// do not retry at once.
func (t Timings) pause(failures int, random float64) time.Duration {
	pause := min(t.First<<min(failures, 20), t.Max)
	return pause/2 + time.Duration(random*float64(pause/2))
}

// soonest returns the chat that is tried again first.
func (p *plan) soonest() (chat string) {
	var until time.Time
	for c, t := range p.chats {
		if until.IsZero() || t.until.Before(until) {
			chat, until = c, t.until
		}
	}
	return chat
}

func (p *plan) succeeded(chat string) {
	p.trouble = trouble{}
	delete(p.chats, chat)
}

// held returns the chats of which nothing may be delivered yet, and when that ends for the
// first of them, zero without any.
func (p *plan) held(now time.Time) (chats []string, next time.Time) {
	for c, t := range p.chats {
		if !now.Before(t.until) {
			continue
		}
		chats = append(chats, c)
		if next.IsZero() || t.until.Before(next) {
			next = t.until
		}
	}
	return chats, next
}

// reported is what of the session was reported last.
type reported struct {
	Status   session.State `json:"status,omitempty"`
	Reason   reason.Code   `json:"reason,omitempty"`
	Warnings string        `json:"warnings,omitempty"`
}

// after is r after an event, and whether the event is news: a new state, a new
// reason in a state in which somebody may have to act, a warning that was raised or cleared,
// or anything else.
func (t reported) after(e events.Event) (reported, bool) {
	switch body := e.Body.(type) {
	case events.Warnings:
		codes := make([]string, len(body.Warnings))
		for i, w := range body.Warnings {
			codes[i] = string(w.Code)
		}
		warnings := strings.Join(codes, " ")
		news := warnings != t.Warnings
		t.Warnings = warnings
		return t, news
	case events.State:
		before := t
		t.Status, t.Reason = body.Status, body.Reason.Code
		acts := slices.Contains([]session.State{session.QRRequired, session.Disconnected, session.Error}, t.Status)
		return t, t.Status != before.Status || acts && t.Reason != before.Reason
	}
	return t, true
}
