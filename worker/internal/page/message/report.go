package message

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

const (
	// hintRate and hintBurst bound the changes that are reported in a second, and at once:
	// the events of the worker are limited, and the table has what is left out.
	hintRate  = 5
	hintBurst = 100
	// every is how often it is reported whether the page can send, and retry how soon the
	// page is asked again while it can't.
	every = time.Minute
	retry = 2 * time.Second
)

// reports is what Run remembers. Only Run uses it.
type reports struct {
	pace *rate.Limiter
	last rpc.SendingObserved
	at   time.Time // of last, zero before it
	next time.Time // when to ask the page at the latest
	of   Subject   // what was asked last
	unreadable
}

// unreadable is the time in which one document did not show its messages.
type unreadable struct {
	since  time.Time // zero while it does
	misses int
	// reloads is how often the page was loaded again because of it since it last did.
	reloads int
}

// patience is how long the page may take now: ever longer, as on a machine that is too busy.
func (u unreadable) patience(call, answer time.Duration) time.Duration {
	return min(call<<min(u.misses, 10), max(call, answer))
}

// in is u while the page is the same and ready, and begins again otherwise.
func (u unreadable) in(same bool) unreadable {
	if same {
		return u
	}
	return unreadable{reloads: u.reloads}
}

// next is u after the page was asked, from began to now, and reports whether only another life of
// the page may help. Each one that does not help doubles the time until the next.
func (u unreadable) next(answers bool, limit time.Duration, began, now time.Time) (after unreadable, reload bool) {
	if answers {
		return unreadable{}, false
	}
	if u.misses++; u.since.IsZero() {
		u.since = began
	}
	if now.Sub(u.since) < limit<<min(u.reloads, 10) {
		return u, false
	}
	u.since = now
	u.reloads++
	return u, true
}

// Subject is the document that a report is about, and by what it is asked.
type Subject struct {
	// Ready: the page is.
	Ready    bool
	document int
	scripts  *target.Scripts
}

// SubjectOf returns that of a view of the page.
func SubjectOf(v observe.View, t *target.Target) Subject {
	return Subject{v.Ready(), v.Document, t.Scripts.Load()}
}

// Observed is called when there is another view of the page. It never blocks.
func (m *Messages) Observed() {
	select {
	case m.observed <- struct{}{}:
	default:
	}
}

// Run reports whether the page can send, and what becomes of messages, until ctx ends.
func (m *Messages) Run(ctx context.Context) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for news := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-m.o.News:
			news = true
		case <-m.observed:
		case <-timer.C:
		}
		m.observe(ctx)
		if news && m.reports.of.Ready {
			m.fetch(ctx)
			news = false
		}
		timer.Reset(max(0, time.Until(m.reports.next)))
	}
}

// observe asks the page what it can do, if that is due, and reports it.
func (m *Messages) observe(ctx context.Context) {
	r, v, now := &m.reports, m.o.Views.Get(), time.Now()
	current := SubjectOf(v, m.o.Target)
	if current == r.of && now.Before(r.next) {
		return
	}
	fresh := current != r.of
	r.unreadable = r.in(current.Ready && current.document == r.of.document)
	r.of = current
	seen := rpc.SendingObserved{Why: "the page is not ready"}
	r.next = now.Add(every)
	if current.Ready {
		seen = m.ability(ctx, v, r.patience(m.o.Call-margin, m.o.Answer))
		m.notice(seen.Why != whyUnreadable, now)
		r.next = now.Add(pauseAfter(seen))
	}
	m.challenged.Store(seen.NewChats.ChallengePasskey)
	due := r.at.IsZero() || now.Sub(r.at) >= every-retry || fresh && current.Ready
	if seen == r.last && !due {
		return
	}
	if seen.Possible != r.last.Possible || seen.Why != r.last.Why {
		m.o.Log.Info(logid.SendingChanged, "possible", seen.Possible, logging.KeyDetail, seen.Why)
	}
	r.last, r.at = seen, now
	m.o.Emit(seen)
}

// pauseAfter is how long the page need not be asked again.
func pauseAfter(seen rpc.SendingObserved) time.Duration {
	if !seen.Possible || seen.NewChats.Challenge {
		return retry
	}
	return every
}

// notice follows whether the page's messages can be read, and asks for another life of the page if need be.
func (m *Messages) notice(answers bool, began time.Time) {
	var reload bool
	if m.reports.unreadable, reload = m.reports.unreadable.next(answers, m.o.Unreadable, began, time.Now()); !reload {
		return
	}
	select {
	case m.Stuck <- struct{}{}:
	default:
	}
}

// seen is what message.js observes.
type seen struct {
	Missing, Unchecked, Undoable string
	Own                          Own
	Arriving, Answers            bool
	NewChats                     struct {
		Restricted, Capped, Challenge, ChallengePasskey bool
		RestrictedUntil, CappedUntil                    float64 // in milliseconds since 1970
		Used, Quota                                     float64
	}
}

// Own has what the page says are the account's addresses.
type Own struct{ Phone, LID string }

// Account is the account that they are of.
func (o Own) Account() rpc.Account { return rpc.AccountAt(valid(o.Phone), valid(o.LID)) }

const whyUnreadable = "the page's messages can't be read"

// ability asks a page that is ready, which may take so long.
func (m *Messages) ability(ctx context.Context, v observe.View, patience time.Duration) rpc.SendingObserved {
	ctx, cancel := context.WithTimeout(ctx, patience+margin)
	defer cancel()
	var s seen
	object, err := m.object(ctx, v)
	if err == nil {
		err = object.Invoke(ctx, &s, "observe", patience.Milliseconds())
	}
	if err == nil && s.Missing != "" && !m.o.Views.Still(ctx, v) {
		return rpc.SendingObserved{Why: "the page is still loading"}
	}
	if err != nil {
		return rpc.SendingObserved{Why: "the page does not answer"}
	}
	n := s.NewChats
	const mostChats = 1 << 20
	o := rpc.SendingObserved{Account: s.Own.Account(), NewChats: rpc.NewChats{
		Restricted: n.Restricted, Capped: n.Capped, Challenge: n.Challenge, ChallengePasskey: n.ChallengePasskey,
		Used: Whole(n.Used, 0, mostChats), Quota: Whole(n.Quota, 0, mostChats),
	}}
	if n.Restricted {
		o.NewChats.RestrictedUntil = Moment(n.RestrictedUntil)
	}
	if n.Quota > 0 {
		o.NewChats.CappedUntil = Moment(n.CappedUntil)
	}
	switch {
	case s.Missing != "":
		o.Typing = true
		o.Why = "the page's " + m.Function(s.Missing) + " is missing"
	case !s.Answers:
		o.Why = whyUnreadable
	case s.Arriving:
		o.Why = "the page still receives what came while it was offline"
	default:
		o.Possible = true
		switch {
		case s.Unchecked != "":
			o.Why = "people who never wrote to us can't be written to: the page's " + m.Function(s.Unchecked) + " is missing"
		case s.Undoable != "":
			o.Why = "not everything can be done to messages: the page's " + m.Function(s.Undoable) + " is missing"
		}
	}
	return o
}

// fetch takes the news from the page, and reports as many as the pace allows.
func (m *Messages) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Call)
	defer cancel()
	for more := true; more; {
		var taken struct {
			News []struct {
				ID           string
				Ack, Refusal float64
			}
			More bool
		}
		object, err := m.object(ctx, m.o.Views.Get())
		if err == nil {
			err = object.Invoke(ctx, &taken, "take")
		}
		if err != nil {
			if !errors.Is(err, target.ErrStale) && ctx.Err() == nil {
				m.o.Log.Debug(logid.NewsFetchFailed, logging.KeyError, err)
			}
			return
		}
		more = taken.More && len(taken.News) > 0
		now := time.Now()
		for _, n := range taken.News {
			id := rpc.MessageID(n.ID)
			if !id.Valid() {
				continue
			}
			if !m.reports.pace.AllowN(now, 1) {
				return
			}
			m.o.Emit(rpc.MessageChanged{ID: id, Ack: Whole(n.Ack, -1, 4), Refusal: Whole(n.Refusal, 0, mostRefusal), At: now.UTC()})
		}
	}
}
