// Package classify decides what state the page is in, whether its QR code can be
// scanned, and what should be done about it, from what was observed. It is pure:
// it does no input or output, and the caller passes the time.
//
// What it recognises, reports and does is listed in CATALOGUE.md, which is
// generated from the table in kind.go.
package classify

import (
	"cmp"
	"fmt"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// Classifier maps observations to what is reported and done. It is immutable.
type Classifier struct{ t Timings }

// New returns a Classifier; zero timings take their defaults.
func New(t Timings) Classifier { return Classifier{t.withDefaults()} }

// Action is what should be done to the page.
type Action int

// Actions.
const (
	// Stay does nothing.
	Stay Action = iota
	// Press presses the reload button that covers the code.
	Press
	// Return presses the button that leads from a pairing code back to the QR.
	Return
	// UseHere presses the button that takes the session over.
	UseHere
	// Reload navigates to the page's address.
	Reload
	// ReloadFresh does so past the cache.
	ReloadFresh
	// GiveUp ends this browser, for Decision.Why.
	GiveUp
)

// Decision is what follows from an observation.
type Decision struct {
	// Events are to be reported, in order.
	Events []rpc.EventBody
	Action Action
	// Why is the reason for the action.
	Why reason.Code
	// Cause is why no code can be scanned; empty when one can.
	Cause string
	// Disagree names the reader that was not believed, once per QR payload.
	Disagree selectors.Reader
	// Search asks for a search of images for a code: the page may ask to be
	// linked, and the cheap readers have been silent.
	Search bool
	// Wake is when to observe again at the latest; zero means no preference.
	Wake time.Time
	// Rest means that the page is well and reports its changes: the account works,
	// or there is a code that the document or the modules give, not an image.
	Rest bool
}

// wakeBy moves Wake forward to at.
func (d *Decision) wakeBy(at time.Time) {
	if d.Wake.IsZero() || at.Before(d.Wake) {
		d.Wake = at
	}
}

// History is what is remembered of earlier observations. It is a value: a copy is
// independent of the original. The zero History is that of a page never observed.
type History struct {
	account  account
	login    login
	trust    trust
	qr       qr
	attempts attempts
	// reported is what was reported last.
	reported   rpc.PageObserved
	reportedAt time.Time
	changed    changes
	recognised bool // the page has shown something that we know
}

// step is the classification of one observation.
type step struct {
	t    Timings
	h    History
	o    Observation
	now  time.Time
	kind kind
	code candidate
	// restless: the page keeps replacing its document.
	restless bool
	d        Decision
}

// Next classifies an observation. Time must not run backwards.
func (c Classifier) Next(h History, o Observation, now time.Time) (History, Decision) {
	s := &step{t: c.t, h: h, o: o, now: now}
	if o.Document != s.h.trust.document {
		s.h.trust = s.h.trust.another(o.Document)
		s.h.qr.readings, s.h.qr.secrets, s.h.qr.continued = readings{}, secrets{}, false
	}
	if ended := s.h.account.update(o); ended != nil {
		s.h.qr.withdraw(&s.d, causeChanged)
		s.report(rpc.PageObserved{
			Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut, Detail: *ended,
			Progress: -1, PageVersion: o.Modules.Version,
		})
	}
	s.h.qr.read(o, now)
	s.kind = s.recognise()
	if s.kind == kindNoCode {
		s.code = s.assess()
		s.kind = refine(s.code, o)
	} else {
		s.h.qr.continued, s.code.cause = false, s.causeOfAbsence()
	}
	s.d.Cause = s.code.cause
	if s.kind.unlinked() {
		s.h.attempts.askedAt = now
	}
	if s.restless = o.Reloads.restless(now, s.t); s.restless && hidden[s.kind] {
		s.kind = kindReloading
	}
	s.h.attempts.enter(s.kind, o.Drawn.Progress, now)
	s.h.account.follow(s.kind, o, now)
	if s.kind == kindNoCode {
		s.d.wakeBy(now.Add(eager))
	}
	shown := s.offer(s.code)
	if s.h.qr.awaited(now) {
		s.d.wakeBy(now.Add(looking))
	}
	s.cure()
	s.observe(len(shown) > 0)
	// A code follows the observation that it belongs to.
	s.d.Events = append(s.d.Events, shown...)
	s.d.Search = s.search()
	s.d.Rest = s.kind == kindReady || s.kind == kindCode && s.code.cheap()
	if s.code.cause == "" {
		s.d.Disagree = s.h.qr.disagreement(s.code.reading, now)
	}
	return s.h, s.d
}

// recognise returns the kind of the page, before the codes are assessed.
func (s *step) recognise() kind {
	account, login := &s.h.account, &s.h.login
	login.update(s.o, account.registered, s.now)
	replacedAt := login.replacedAt(s.o.Connection, s.t)
	if s.now.Before(replacedAt) {
		s.d.wakeBy(replacedAt)
	}
	known := evidence{
		Observation: s.o, registered: account.registered, seen: s.h.qr.seen(), loggedIn: s.h.trust.proven,
		replaced: !replacedAt.IsZero() && !s.now.Before(replacedAt), refused: login.refused >= refusedOften,
	}
	return s.believe(account.doubt(known.classify(s.t.Quiet), s.o, s.now))
}

// Restless classifies a page that replaces its documents faster than they can be
// observed, and reports whether it is one. Time must not run backwards.
func (c Classifier) Restless(h History, r Reloads, now time.Time) (_ History, _ Decision, restless bool) {
	if !r.restless(now, c.t) {
		return h, Decision{}, false
	}
	s := &step{t: c.t, h: h, o: Observation{Online: true, Reloads: r}, now: now, kind: kindReloading, restless: true}
	s.o.Drawn.Progress, s.o.Modules.Version = -1, h.reported.PageVersion
	s.h.qr.withdraw(&s.d, causeNavigated)
	s.h.attempts.enter(s.kind, s.o.Drawn.Progress, now)
	s.cure()
	s.observe(false)
	return s.h, s.d, true
}

// Reported is the observation that was reported last.
func (h History) Reported() rpc.PageObserved { return h.reported }

// PressFailed notes that the button could not be pressed, so that the page is
// reloaded without waiting for a code.
func (h History) PressFailed() History {
	h.qr.renewal.at = time.Time{}
	return h
}

// Navigated notes that the worker is loading the page again; meanwhile no code
// can be scanned.
func (h History) Navigated() (History, []rpc.EventBody) {
	var d Decision
	h.qr.withdraw(&d, causeNavigated)
	return h, d.Events
}

// Unobserved withdraws the code when its life is over, or its document has gone,
// although the page could not be observed. There is another document now.
func (h History) Unobserved(document int, now time.Time) (History, []rpc.EventBody) {
	var d Decision
	switch {
	case !now.Before(h.qr.offer.expires):
		h.qr.withdraw(&d, causeExpired)
	case document != h.qr.offer.document:
		h.qr.withdraw(&d, causeNavigated)
	}
	return h, d.Events
}

// Offers reports whether a code is offered.
func (h History) Offers() bool { return h.qr.offer.on }

// Outdated withdraws the code when its document was left, or its connection has ended,
// regardless of what the page shows.
func (h History) Outdated(document int, c Connection) (History, []rpc.EventBody) {
	var d Decision
	switch offer := h.qr.offer; {
	case document != offer.document:
		h.qr.withdraw(&d, causeNavigated)
	case c.closed(), c.Openings != offer.openings:
		h.qr.withdraw(&d, causeDisconnected)
	}
	return h, d.Events
}

// Failing reports that the page cannot be observed, for the reason r, and is
// being reloaded.
func (h History) Failing(r reason.Code, now time.Time) (History, []rpc.EventBody) {
	s := &step{h: h, now: now}
	s.h.qr.withdraw(&s.d, causeNavigated)
	s.report(rpc.PageObserved{
		Condition: rpc.PageLoading, Reason: r, Progress: -1,
		Registered: h.account.registered, PageVersion: h.reported.PageVersion,
	})
	return s.h, s.d.Events
}

func (s *step) report(o rpc.PageObserved) {
	s.h.reported, s.h.reportedAt = o, s.now
	s.d.Events = append(s.d.Events, o)
}

// observe reports the page's state, when it is new or was last reported long ago. A code
// that is shown now is reported with it.
func (s *step) observe(shown bool) {
	switch s.kind {
	case kindBlank, kindBooting, kindErrorPage, kindElsewhere, kindHTTPError:
	default:
		if !s.h.recognised {
			s.h.recognised = true
			s.d.Events = append(s.d.Events, rpc.PhaseChanged{Phase: rpc.PhasePage})
		}
	}
	repeat := s.t.Repeat
	if s.h.qr.offer.on {
		repeat = min(repeat, proofPause)
	}
	o := s.describe()
	due := s.now.Sub(s.h.reportedAt) >= repeat || o != s.h.reported && exempt(s.h.reported, o, shown)
	if !due && o != s.h.reported {
		at := s.h.changed.allow(s.h.reported, o, s.h.reportedAt, s.now)
		if due = !s.now.Before(at); !due {
			s.d.wakeBy(at)
		}
	}
	if due {
		s.report(o)
	}
	if s.h.qr.offer.on {
		s.d.wakeBy(s.h.reportedAt.Add(rpc.QREvidence))
	}
}

// changes bounds how often a page that changes its mind at speed is reported: some
// changes of its state at once, and then one in each pause; progress not more often
// than that either way.
type changes struct{ paid time.Time }

// exempt reports whether a change is reported at once, however often it comes: a request
// for a pairing code, which a person makes and not the page, or the end of the detail
// that explained why there was no QR.
func exempt(from, to rpc.PageObserved, shown bool) bool {
	same := from.Condition == to.Condition && from.Reason == to.Reason
	return same && shown || !same && to.Reason == reason.PairingRequested
}

// allow returns when the change may be reported; it must be then, if that is now.
func (c *changes) allow(from, to rpc.PageObserved, last, now time.Time) time.Time {
	const atOnce, pause, trifle = 10, time.Second, 200 * time.Millisecond
	if from.Condition == to.Condition && from.Reason == to.Reason {
		return last.Add(trifle)
	}
	next := later(c.paid, now).Add(pause)
	if at := next.Add(-atOnce * pause); now.Before(at) {
		return at
	}
	c.paid = next
	return now
}

// describe returns the observation to report.
func (s *step) describe() rpc.PageObserved {
	t := s.kind.trait(s.t)
	r := rpc.PageObserved{
		Condition: t.condition, Reason: t.reason, Detail: t.detail,
		Progress: s.o.Drawn.Progress, Registered: s.h.account.registered, PageVersion: s.o.Modules.Version,
	}
	if late := t.overdue; late.after > 0 && s.now.Sub(s.overdueSince()) >= late.after {
		r.Condition, r.Reason = late.condition, late.reason
	}
	if s.restless && r.Condition == rpc.PageUnlinked || s.kind == kindReloading && s.now.Sub(s.h.attempts.askedAt) < time.Minute {
		r.Condition, r.Reason, r.Detail = rpc.PageUnlinked, reason.PageReloading, ""
	}
	r = s.h.account.amend(s.specify(r), s.kind)
	if r.Condition != rpc.PageLoading && r.Condition != rpc.PageSyncing {
		r.Progress = -1
	}
	return r
}

// specify adds what only this observation of a kind has.
func (s *step) specify(r rpc.PageObserved) rpc.PageObserved {
	r = s.o.withFailure(r, s.kind)
	switch s.kind {
	case kindNoCode:
		if s.o.malformed() {
			r.Reason, r.Detail = reason.QRUnreadable, "the page's code holds a text that no phone would accept"
		} else if err := s.o.unseen(); err != nil {
			r.Detail = "the page has a code, but " + err.Error()
		}
	case kindConflict:
		t := s.h.attempts.takeovers
		r.Detail, r.RetryAt = t.detail(s.now, s.t.TakeOver), t.due(s.h.attempts.since(kindConflict), s.t.TakeOver, s.now)
	case kindElsewhere:
		r.Detail = "the page went to " + s.o.Navigation.Elsewhere
	case kindHTTPError:
		r.Detail = fmt.Sprintf("the server answered %d", s.o.Navigation.Status)
	case kindNoServer:
		if s.code.Found {
			r.Detail = "the page shows a code that is not served: " + Explain(causeDisconnected, s.o.Connection)
		}
	}
	return r
}

// overdueSince is from when the page's time is counted. A page that reloads itself has
// reached its server before.
func (s *step) overdueSince() time.Time {
	since := s.h.attempts.since(s.kind)
	if s.kind == kindNoServer {
		return later(since, s.o.Reloads.last())
	}
	return since
}

// Durations that don't depend on who uses the package.
const (
	// firstTTL is the life of the first code after there was none, and nextTTL
	// that of each further one, where the page's modules don't answer: WhatsApp
	// Web shows the first of its six references for 60 s and the others for
	// 20 s.
	firstTTL, nextTTL = time.Minute, 20 * time.Second
	// grace is added to each life: the page's own timer is a little late, and a
	// code must not vanish for the moment until the next one is drawn.
	grace = time.Second
	// renewWithin is how soon a new code must follow when the overlay's button was
	// pressed, before the page is reloaded.
	renewWithin = 15 * time.Second
	// renewPause is the least time between two renewals. It doubles with every
	// fruitless one, up to renewPauseMax.
	renewPause, renewPauseMax = time.Second, 30 * time.Second
	// looking is how long a code stays on offer while the picture of its successor is
	// looked at.
	looking = time.Second
	// eager is how soon to observe again while a code is due.
	eager = 500 * time.Millisecond
	// proofPause is the least time between two reports that a code is still shown.
	proofPause = time.Second
	// imageHold is how long the reading of a reader that doesn't look each time stays
	// valid.
	imageHold = 10 * time.Second
)

// Timings are the durations by which the page is classified. Zero fields take the
// defaults.
type Timings struct {
	// Silence is how long the cheap readers must have been silent before images are
	// searched.
	Silence time.Duration
	// Repeat is how often an unchanged observation is reported again, as fresh
	// evidence.
	Repeat time.Duration
	// TakeOver is how long the account may be open elsewhere before the page is
	// made to take it back.
	TakeOver time.Duration
	// Quiet is how long nothing may come over the connection of a page that claims
	// to be connected. WhatsApp Web pings its server every 15 s, and gives up after
	// 20 s.
	Quiet time.Duration
	// Pace divides the time that each kind is given, for a page that is faster than
	// WhatsApp Web. Zero stands for 1.
	Pace float64
}

func (t Timings) withDefaults() Timings {
	t.Silence = cmp.Or(t.Silence, 3*time.Second)
	t.Repeat = cmp.Or(t.Repeat, 10*time.Second)
	t.TakeOver = cmp.Or(t.TakeOver, time.Minute)
	t.Quiet = cmp.Or(t.Quiet, 75*time.Second)
	t.Pace = cmp.Or(t.Pace, 1)
	return t
}

// paced is d at the page's pace.
func (t Timings) paced(d time.Duration) time.Duration { return time.Duration(float64(d) / t.Pace) }
