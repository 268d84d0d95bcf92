package classify

import (
	"fmt"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/selectors"
)

// rejoin is how long another kind may come between, as during a reload, without
// a kind's time starting again.
const rejoin = 30 * time.Second

// recurs are the kinds of a page that looks good in between, and recursAgain is how
// long after one of them the next one counts as the first.
var recurs = map[kind]bool{kindSilent: true, kindReloading: true}

const recursAgain = 30 * time.Minute

// attempts are how long the page has been in each kind, and what was done about it.
type attempts struct {
	spans   [kinds]span
	loads   [kinds]int // without success
	loadsAt time.Time
	lastOK  time.Time // when a good kind was last seen
	// progress of a sync, and when it last moved.
	progress   int
	progressAt time.Time
	takeovers  takeovers
	askedAt    time.Time // when the page last asked for a phone
}

// span is when a kind was entered and last seen.
type span struct{ since, last time.Time }

// enter notes that the page is in k now.
func (a *attempts) enter(k kind, progress int, now time.Time) {
	s := a.spans[k]
	if s.last.IsZero() || now.Sub(s.last) > rejoin || a.lastOK.After(s.last) {
		s.since = now
	}
	s.last = now
	a.spans[k] = s
	if k == kindSyncing && (progress != a.progress || s.since.Equal(now)) {
		a.progress, a.progressAt = progress, now
	}
	if !traits[k].good {
		return
	}
	a.lastOK = now
	for other := range a.loads {
		if kind(other) != k && (!recurs[kind(other)] || now.Sub(a.spans[other].last) > recursAgain) {
			a.loads[other] = 0
		}
	}
}

// since is when the page began to be in k as it is now.
func (a *attempts) since(k kind) time.Time {
	if k == kindSyncing {
		return a.progressAt
	}
	return a.spans[k].since
}

// cure decides what to do about the page.
func (s *step) cure() {
	if s.o.Busy {
		return
	}
	renewal := &s.h.qr.renewal
	if s.kind == kindPhoneCode || s.kind == kindPhoneEntry || s.kind == kindPairing {
		renewal.pending = false // Another way of linking was chosen in the meantime.
	}
	switch {
	case renewal.pending && s.kind.unlinked() && s.kind != kindNoNetwork:
		s.awaitRenewal()
	case s.kind == kindRenewing:
		s.renew()
	case s.kind == kindConflict:
		s.takeOver()
	case traits[s.kind].retry.after > 0:
		s.load()
	}
}

// load reloads a page that has been in its kind for too long, or does what its
// trait says instead.
func (s *step) load() {
	t, a := s.kind.trait(s.t), &s.h.attempts
	n := a.loads[s.kind]
	if due := s.due(t); s.now.Before(due) {
		s.d.wakeBy(due)
		return
	}
	s.d.Why = s.describe().Reason
	if t.giveUp > 0 && n >= t.giveUp {
		s.d.Action = GiveUp
		return
	}
	a.loads[s.kind]++
	a.loadsAt = s.now
	switch {
	case t.fresh:
		s.d.Action = ReloadFresh
	case n == 0 && t.first != Stay:
		s.d.Action = t.first
	default:
		s.d.Action = Reload
	}
}

// due is when something must be done about the page.
func (s *step) due(t trait) time.Time {
	a := &s.h.attempts
	n := a.loads[s.kind]
	if s.kind == kindPhoneCode && !s.o.PairingUntil.IsZero() {
		if ends := s.h.account.pairingEnds(s.o, s.now, s.t.paced(pairingGrace)); a.loadsAt.Before(ends) {
			return ends
		}
	}
	if n == 1 && t.first == Return {
		return a.loadsAt.Add(renewWithin) // The button had no effect.
	}
	return later(a.since(s.kind), a.loadsAt).Add(min(t.retry.after<<min(n, 10), t.retry.limit))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// renewal is the page being asked for new codes.
type renewal struct {
	pending   bool
	at        time.Time // when it was last asked
	notBefore time.Time
	fruitless int
	total     uint
}

// renew asks an idle page for new codes: by its button, or without one by a
// reload.
func (s *step) renew() {
	const buttonAppears = 2 * time.Second
	r, button := &s.h.qr.renewal, len(s.o.Drawn.Buttons) > 0
	due := r.notBefore
	if !button {
		due = later(due, s.h.attempts.since(kindRenewing).Add(buttonAppears))
	}
	if s.now.Before(due) {
		s.d.wakeBy(due)
		return
	}
	s.d.Action, s.d.Why = Press, reason.ScanQR
	if !button {
		s.d.Action = Reload
	}
	*r = renewal{pending: true, at: s.now, notBefore: s.now.Add(renewPause), fruitless: r.fruitless, total: r.total + 1}
}

// awaitRenewal reloads the page when the button has brought no new code in time.
func (s *step) awaitRenewal() {
	r := &s.h.qr.renewal
	due := later(r.at.Add(renewWithin), r.notBefore)
	if s.now.Before(due) {
		s.d.wakeBy(due)
		return
	}
	pause := min(renewPause<<min(r.fruitless, 10), renewPauseMax)
	*r = renewal{at: s.now, notBefore: s.now.Add(pause), fruitless: r.fruitless + 1, total: r.total + 1}
	s.h.attempts.loadsAt = s.now
	s.d.Action, s.d.Why = Reload, reason.QRUnreadable
}

// takeoverWindow is the time in which a session is taken over no more often
// than takeovers has room for: two services with one account would otherwise
// take it from each other for ever.
const takeoverWindow = time.Hour

// takeovers are the times of the latest attempts, newest last.
type takeovers [3]time.Time

// within counts those of the last window.
func (t takeovers) within(now time.Time) int {
	n := 0
	for _, at := range t {
		if !at.IsZero() && now.Sub(at) < takeoverWindow {
			n++
		}
	}
	return n
}

// detail explains what will be done about the conflict.
func (t takeovers) detail(now time.Time, after time.Duration) string {
	switch n := t.within(now); n {
	case 0:
		return fmt.Sprintf("the session is taken over after %v", after)
	case len(t):
		return fmt.Sprintf("the session was taken over %d times within the hour, and is now left alone", n)
	default:
		return fmt.Sprintf("the session was taken over %d of at most %d times within the hour", n, len(t))
	}
}

// due is when a conflict that began at since is ended in favour of this page; zero for not now.
func (t takeovers) due(since time.Time, after time.Duration, now time.Time) time.Time {
	if t.within(now) == len(t) {
		return time.Time{}
	}
	return later(since, t[len(t)-1]).Add(after)
}

// takeOver ends a conflict in favour of this page, when it has lasted.
func (s *step) takeOver() {
	t := &s.h.attempts.takeovers
	due := t.due(s.h.attempts.since(kindConflict), s.t.TakeOver, s.now)
	if due.IsZero() {
		return
	}
	if s.now.Before(due) {
		s.d.wakeBy(due)
		return
	}
	copy(t[:], t[1:])
	t[len(t)-1] = s.now
	s.d.Action, s.d.Why = UseHere, reason.Conflict
	if s.o.Modules.Socket != selectors.SocketConflict && !s.o.has(selectors.ScreenConflict) {
		s.d.Action = Reload // It shows nothing of the conflict, and has no button that ends it.
	}
}
