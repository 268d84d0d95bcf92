package classify

import (
	"fmt"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// Classifier maps observations to what is told and done. It is immutable.
type Classifier struct{ t Timings }

// New returns a Classifier; zero timings take their defaults.
func New(t Timings) Classifier { return Classifier{t.withDefaults()} }

// Action is what should be done to the page.
type Action int

// Actions.
const (
	// Stay does nothing.
	Stay Action = iota
	// Press presses the reload button that lies over the code.
	Press
	// Return presses the button that leads from a pairing code back to the QR.
	Return
	// UseHere presses the button that takes the session over.
	UseHere
	// Reload navigates to the page's address.
	Reload
	// ReloadFresh does so past the cache.
	ReloadFresh
	// GiveUp ends this browser, for Decision.Reason.
	GiveUp
)

// Decision is what follows from a look.
type Decision struct {
	// Events are to be told, in order.
	Events []rpc.EventBody
	Action Action
	// Why is for the log: what made the action, or the reason to give up.
	Why reason.Code
	// Cause is why no code can be scanned; empty when one can.
	Cause string
	// Disagree names the reader that was not believed, once per string.
	Disagree Reader
	// Search says that pictures should be searched for a code: the page may ask
	// to be linked, and the readers that cost nothing have been silent.
	Search bool
	// Wake is when to look again at the latest; zero: whenever.
	Wake time.Time
	// Rest says that the page is well and tells of its changes: the account works, or
	// there is a code that the document or the modules give, not a picture.
	Rest bool
}

// span is when a kind was entered and last seen.
type span struct{ since, last time.Time }

// rejoin is how long another kind may come between, as while the page is loaded
// again, without a kind's time starting anew.
const rejoin = 30 * time.Second

// falseLogin is how long the page may ask for a scan although the login is in
// storage, before it is believed.
const falseLogin = 10 * time.Second

// History is all that is remembered of former looks. It is a value: a copy is a
// snapshot. The zero History is that of a page never looked at.
type History struct {
	document   int
	known      bool // the registration has been read
	registered bool
	connected  bool // in this document
	loggedOut  *Logout
	recognised bool
	scanned    bool      // the login came into storage, and READY has not followed yet
	blindSince time.Time // the cheap readers have been silent
	// linkingSince is since when the login is in storage and a code is shown.
	linkingSince time.Time

	spans   [kinds]span
	lastOK  time.Time // a good kind was seen
	loads   [kinds]int
	loadsAt time.Time

	sightings    [len(readers)]sighting
	lives        lives
	hadCode      bool
	coveredSince time.Time
	disagreed    rpc.QRPayload

	// pairing is the code of which voided tells when its connection was lost.
	pairing time.Time
	voided  time.Time
	// progress of a sync, and when it last moved.
	progress   int
	progressAt time.Time
	takeovers  takeovers

	offer   offer
	seq     uint64
	latest  rpc.QRPayload // the string that seq counts
	renewal renewal

	told   rpc.PageObserved
	toldAt time.Time
}

// Next judges a look. Its time must not run backwards.
func (j Classifier) Next(h History, l Observation, now time.Time) (History, Decision) {
	var v Decision
	if l.Document != h.document {
		h.document, h.connected, h.hadCode = l.Document, false, false
		h.sightings = [len(readers)]sighting{}
	}
	h, v.Events = h.noteLogout(l, now)
	if l.Socket == selectors.SocketConnected || l.surely(selectors.ScreenMain) {
		h.connected = true
	}
	h = h.see(l, now, j.t.PictureHold)

	k := classify(l, facts{
		registered: h.registered, connected: h.connected, seen: h.seen(), quiet: l.Quiet >= j.t.Quiet,
	})
	h, k = h.doubt(k, l, now)
	var code codeVerdict
	if k == kindNoCode {
		h, code = h.judgeCode(l, now, j.t)
		k = refine(code, l)
	} else {
		h.hadCode, code.cause = false, causeOf(k, l, h)
	}
	v.Cause = code.cause
	h = h.enter(k, now).follow(k, l, now)
	h.scanned = h.scanned && k != kindReady
	if k == kindNoCode {
		v.Wake = now.Add(j.t.Eager)
	}
	h, v = j.offer(h, v, code, now)
	if by, wait := h.drawnBy(now, j.t); wait {
		v.Wake = earlier(v.Wake, by)
	}
	h, v = j.cure(h, v, k, l, now)
	h, v = j.tell(h, v, k, l, now)
	h, v.Search = h.search(k, l, now, j.t.Silence)
	v.Rest = k == kindReady || k == kindCode && (code.reader == ReaderDOM || code.reader == ReaderModules)
	if h.disagree(now) && h.disagreed != code.picked.code.Whole && code.cause == "" {
		h.disagreed = code.picked.code.Whole
		v.Disagree = ReaderModules
		if code.reader == ReaderModules {
			v.Disagree = ReaderDOM
		}
	}
	return h, v
}

// doubt disbelieves the login in storage when a code is shown all the same, for
// longer than a scan takes.
func (h History) doubt(k kind, l Observation, now time.Time) (History, kind) {
	switch {
	case k != kindScanned || !l.found(ReaderDOM):
		h.linkingSince = time.Time{}
	case h.linkingSince.IsZero():
		h.linkingSince = now
	case now.Sub(h.linkingSince) >= falseLogin:
		return h, kindNoCode
	}
	return h, k
}

// Told is the observation that was told last.
func (h History) Told() rpc.PageObserved { return h.told }

// noteLogout updates the registration, and tells of its end once.
func (h History) noteLogout(l Observation, now time.Time) (History, []rpc.EventBody) {
	ended := l.LoggedOut
	if l.Registered != nil {
		if h.known && h.registered && !*l.Registered && ended == nil && h.loggedOut == nil {
			ended = &Logout{Detail: "the login has gone from the page's storage"}
		}
		if !h.known && !*l.Registered && l.Remains && ended == nil {
			ended = &Logout{Detail: "the profile held a part of a login only"}
		}
		h.scanned = h.scanned || h.known && !h.registered && *l.Registered
		h.known, h.registered = true, *l.Registered
	}
	if ended == nil {
		if h.registered {
			h.loggedOut = nil
		}
		return h, nil
	}
	h.loggedOut, h.registered, h.scanned = ended, false, false
	h.told = rpc.PageObserved{
		Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut, Detail: ended.Detail,
		Progress: -1, PageVersion: l.Version,
	}
	h.toldAt = now
	h, events := h.withdraw(causeChanged)
	return h, append(events, h.told)
}

// refine says which of the unlinked kinds a judged code makes.
func refine(code codeVerdict, l Observation) kind {
	switch code.cause {
	case "":
		return kindCode
	case causeIdle:
		return kindRenewing
	case causeOffline:
		return kindNoNetwork
	}
	if l.has(selectors.ScreenStorageFailed) {
		return kindStorage
	}
	if l.Socket == selectors.SocketOpening || l.Socket == selectors.SocketPairing {
		return kindNoServer
	}
	return kindNoCode
}

// causeOf says why a page that asks for no code has none.
func causeOf(k kind, l Observation, h History) string {
	switch {
	case k == kindLinking, k == kindScanned, k == kindSyncing, k == kindReady, k == kindPasskey, h.registered:
		return causeScanned
	case k == kindNoNetwork, l.offline():
		return causeOffline
	case l.Document != h.offer.document:
		return causeNavigated
	}
	return causeChanged
}

// silentAgain is how long after a silence the next one counts as the first.
const silentAgain = 30 * time.Minute

// follow notes what else moves while the page is in k.
func (h History) follow(k kind, l Observation, now time.Time) History {
	if k == kindSyncing && (l.Progress != h.progress || h.spans[k].since.Equal(now)) {
		h.progress, h.progressAt = l.Progress, now
	}
	if !l.PairingUntil.Equal(h.pairing) {
		h.pairing, h.voided = l.PairingUntil, time.Time{}
	}
	// A code that was given over a connection ends with it.
	if k == kindPhoneCode && l.Socket == selectors.SocketOpening && h.voided.IsZero() {
		h.voided = now
	}
	return h
}

// since is when the page began to be in k as it is now.
func (h History) since(k kind) time.Time {
	if k == kindSyncing {
		return h.progressAt
	}
	return h.spans[k].since
}

func (h History) spanOf(k kind, now time.Time) span {
	s := h.spans[k]
	if s.last.IsZero() || now.Sub(s.last) > rejoin || h.lastOK.After(s.last) {
		return span{now, now}
	}
	return s
}

// enter notes that the page is in k now.
func (h History) enter(k kind, now time.Time) History {
	s := h.spanOf(k, now)
	s.last = now
	h.spans[k] = s
	if traits[k].good {
		h.lastOK = now
		for other := range h.loads {
			// A connection that falls silent again and again looks good in between.
			if kind(other) != k && (kind(other) != kindSilent || now.Sub(h.spans[other].last) > silentAgain) {
				h.loads[other] = 0
			}
		}
	}
	return h
}

// tell adds the observation, when it is new or has grown old.
func (j Classifier) tell(h History, v Decision, k kind, l Observation, now time.Time) (History, Decision) {
	if !h.recognised && k != kindBlank && k != kindBooting && k != kindErrorPage && k != kindHTTPError {
		h.recognised = true
		v.Events = append(v.Events, rpc.PhaseChanged{Phase: rpc.PhasePage})
	}
	o := j.observe(h, k, l, now)
	if o == h.told && now.Sub(h.toldAt) < j.t.Repeat {
		return h, v
	}
	h.told, h.toldAt = o, now
	v.Events = append(v.Events, o)
	return h, v
}

func (j Classifier) observe(h History, k kind, l Observation, now time.Time) rpc.PageObserved {
	t := j.trait(k)
	o := rpc.PageObserved{
		Condition: t.condition, Reason: t.reason, Detail: t.detail,
		Progress: l.Progress, Registered: h.registered, PageVersion: l.Version,
	}
	if t.overdue > 0 && now.Sub(h.since(k)) >= t.overdue {
		o.Condition, o.Reason = t.late, t.lateReason
	}
	switch {
	case k == kindConflict:
		o.Detail = h.takeovers.detail(now, j.t.TakeOver)
	case k == kindErrorPage && l.Failure != "":
		o.Reason = l.Failure
	case k == kindHTTPError:
		o.Detail = fmt.Sprintf("the server answered %d", l.Status)
	}
	switch {
	case h.registered && o.Condition == rpc.PageLoading && (k == kindErrorPage || k == kindHTTPError || k == kindUnavailable):
		o.Condition = rpc.PageDisconnected
	case h.loggedOut != nil && (o.Reason == reason.PageLoading || o.Reason == reason.Reconnecting):
		o.Condition, o.Reason, o.Detail = rpc.PageLoggedOut, reason.LoggedOut, h.loggedOut.Detail
	case h.loggedOut != nil && o.Reason == reason.ScanQR:
		o.Reason, o.Detail = reason.LoggedOut, h.loggedOut.Detail
	}
	if h.scanned && o.Reason == reason.Reconnecting {
		o.Condition, o.Reason, o.Detail = rpc.PageSyncing, reason.Syncing, "a phone has scanned the code"
	}
	if o.Condition != rpc.PageLoading && o.Condition != rpc.PageSyncing {
		o.Progress = -1
	}
	return o
}
