package outbox

import (
	"slices"
	"time"
)

// Pacing is how fast messages may be sent: an account that writes to many strangers at
// once is restricted by WhatsApp, which publishes no limits.
type Pacing struct {
	// Any is the least time between two messages, and Chat that between two in one chat.
	Any, Chat time.Duration
	// FirstContact is the mean time between the first messages to two people who have never
	// written to us; each is up to a half longer or shorter.
	FirstContact time.Duration
	// NewPerDay is how many such people are written to within 24 hours in the time New after
	// a phone was linked, and PerDay afterwards.
	NewPerDay, PerDay int
	New               time.Duration
}

// DefaultPacing returns the usual pacing, which is that of advice to users of WhatsApp's
// libraries.
func DefaultPacing() Pacing {
	return Pacing{
		Any: time.Second, Chat: 3 * time.Second, FirstContact: 45 * time.Second,
		NewPerDay: 20, PerDay: 100, New: 14 * 24 * time.Hour,
	}
}

// history is what was sent lately, as far as pacing depends on it.
type history struct {
	last  time.Time
	chats map[string]time.Time
	// NextStranger is when the next person may be written to for the first time, and
	// Strangers who was within 24 hours, oldest first.
	NextStranger time.Time  `json:"next_stranger"`
	Strangers    []stranger `json:"strangers"`
}

type stranger struct {
	Chat string    `json:"chat"`
	At   time.Time `json:"at"`
}

const day = 24 * time.Hour

// earliest returns when a message in chat may be sent. first means that nobody there has
// ever written to us, and linkedAt is when the phone was linked, zero if nobody knows.
func (p Pacing) earliest(h history, chat string, first bool, linkedAt, now time.Time) time.Time {
	at := later(h.last.Add(p.Any), h.chats[chat].Add(p.Chat))
	today := h.today(now)
	if !first || wasContacted(today, chat) {
		return at
	}
	if h.NextStranger.Sub(now) < 2*p.FirstContact { // else the clock was set back
		at = later(at, h.NextStranger)
	}
	limit := p.PerDay
	if linkedAt.IsZero() || now.Sub(linkedAt) < p.New {
		limit = p.NewPerDay
	}
	if len(today) < limit {
		return at
	}
	if limit <= 0 {
		return later(at, now.Add(day))
	}
	return later(at, today[len(today)-limit].At.Add(day))
}

// today returns who was written to for the first time within 24 hours.
func (h history) today(now time.Time) []stranger {
	return slices.DeleteFunc(slices.Clone(h.Strangers), func(s stranger) bool {
		return now.Sub(s.At).Abs() >= day // the clock may have been set back
	})
}

func wasContacted(today []stranger, chat string) bool {
	return slices.ContainsFunc(today, func(s stranger) bool { return s.Chat == chat })
}

// sent returns h after a message in chat. random is from 0 to 1.
func (p Pacing) sent(h history, chat string, first bool, now time.Time, random float64) history {
	chats := map[string]time.Time{chat: now}
	for c, at := range h.chats {
		if now.Sub(at) < p.Chat && c != chat {
			chats[c] = at
		}
	}
	h.last, h.chats = now, chats
	if today := h.today(now); first && !wasContacted(today, chat) {
		h.Strangers = append(today, stranger{chat, now})
		h.NextStranger = now.Add(time.Duration(float64(p.FirstContact) * (0.5 + random)))
	}
	return h
}
