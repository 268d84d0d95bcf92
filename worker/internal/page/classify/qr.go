package classify

import (
	"slices"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

// Causes for which a code stops being scannable, as rpc.QRGone carries them.
const (
	causeScanned      = "scanned"
	causeIdle         = "idle"
	causeOffline      = "offline"
	causeDisconnected = "disconnected"
	causeExpired      = "expired"
	causeChanged      = "page_changed"
	causeNavigated    = "navigated"
)

// faint is the opacity below which a code can't be scanned. Under an overlay
// WhatsApp Web has drawn it at 0.04 since August 2026.
const faint = 0.5

// qr is what is known of the QR code: what the readers found, how long its
// payloads live, which one is offered, and how new ones are asked for.
type qr struct {
	readings  readings
	secrets   secrets
	lives     []life // of the latest references, newest last
	continued bool   // there was a code a moment ago, so that the next is not the first
	// coveredSince is when the code was covered, blindSince when the cheap
	// readers fell silent; zero means that they are not.
	coveredSince, blindSince time.Time
	disagreed                rpc.QRPayload // the last payload that readers disagreed about
	offer                    offer
	seq                      uint64
	latest                   rpc.QRPayload // the payload that seq counts
	renewal                  renewal
}

// reading is the latest of one reader, and when it first found this code.
type reading struct {
	Reading
	since time.Time
}

// readings holds the reading of each reader.
type readings struct{ dom, modules, image, screenshot reading }

// life is that of one reference.
type life struct {
	ref      qrpayload.Ref
	since    time.Time
	ttl      time.Duration
	exact    time.Duration // from the modules; 0 when ttl is a guess
	document int
}

// offer is the code that was last reported.
type offer struct {
	on       bool
	reading  reading
	expires  time.Time
	document int
	openings int // Connection.Openings
}

// read updates the readings.
func (q *qr) read(o Observation, now time.Time) {
	q.readings = readings{
		dom:        q.readings.dom.next(o, selectors.ReaderDOM, now, 0),
		modules:    q.readings.modules.next(o, selectors.ReaderModules, now, 0),
		image:      q.readings.image.next(o, selectors.ReaderImage, now, imageHold),
		screenshot: q.readings.screenshot.next(o, selectors.ReaderScreenshot, now, imageHold),
	}
	q.secrets = q.secrets.note(o, q.readings, now)
}

// next returns the reading after an observation. That of a reader that has not
// looked is kept for hold.
func (r reading) next(o Observation, by selectors.Reader, now time.Time, hold time.Duration) reading {
	latest, looked := o.reading(by)
	switch {
	case looked && r.Found && latest.Found && r.Code == latest.Code:
		return reading{latest, r.since}
	case looked:
		return reading{latest, latest.At}
	case hold == 0 || now.Sub(r.At) > hold:
		return reading{}
	}
	return r
}

// best returns the reading to serve. What the page holds as a string beats decoded
// images, but only counts when it was seen on the screen.
func (q *qr) best() reading {
	for _, r := range []reading{q.readings.dom, q.readings.modules} {
		if r.Found && r.Seen {
			return r
		}
	}
	return newer(q.readings.image, q.readings.screenshot)
}

// awaited reports whether a payload was found a moment ago, whose picture is still
// being looked at.
func (q *qr) awaited(now time.Time) bool {
	return slices.ContainsFunc([]reading{q.readings.dom, q.readings.modules}, func(r reading) bool {
		return r.Found && !r.Seen && now.Sub(r.since) < looking
	})
}

// newer returns the one of two readings that found its code last, the first if
// both did at once.
func newer(a, b reading) reading {
	if b.Found && (!a.Found || b.since.After(a.since)) {
		return b
	}
	return a
}

// seen reports whether a code was found in an image lately.
func (q *qr) seen() bool { return q.readings.image.Found || q.readings.screenshot.Found }

// disagreement names the reader that is not believed, when the document and the
// modules have given different payloads for longer than it takes to draw one.
// It does so once for each payload that is served instead.
func (q *qr) disagreement(served reading, now time.Time) selectors.Reader {
	a, b := q.readings.dom, q.readings.modules
	const lasting = time.Second
	lasts := a.Seen && b.Found && a.Code != b.Code && now.Sub(a.since) > lasting && now.Sub(b.since) > lasting
	if !lasts || q.disagreed == served.Code.Whole {
		return ""
	}
	q.disagreed = served.Code.Whole
	return selectors.ReaderModules
}

// live brings the life of the served reference up to date. One that is issued
// again starts a new life; any other keeps its age, however often it vanishes.
func (q *qr) live(o Observation, served reading, now time.Time) life {
	exact := time.Duration(0)
	if o.Modules.Ref == served.Code.Ref {
		exact = max(0, o.Modules.RefTTL)
	}
	ours := func(l life) bool { return l.ref == served.Code.Ref }
	i, old := slices.IndexFunc(q.lives, ours), life{}
	known := i >= 0
	if known {
		old = q.lives[i]
	}
	next := old
	if !known || q.reissued(old, o.Document, exact, served) {
		next = life{ref: served.Code.Ref, since: served.since, ttl: nextTTL, document: o.Document}
		if !q.continued {
			next.ttl = firstTTL
		}
		if known && old.document == o.Document && exact != old.exact {
			next.since = now
		}
	}
	if exact > 0 {
		next.ttl, next.exact = exact, exact
	}
	if next != old {
		const most = 8
		kept := append(slices.DeleteFunc(slices.Clone(q.lives), ours), next)
		q.lives = kept[max(0, len(kept)-most):]
	}
	return next
}

// reissued reports whether the server issued a known reference again: it comes back
// in another document, after a renewal, or with another time to live.
func (q *qr) reissued(old life, document int, exact time.Duration, served reading) bool {
	renewed := q.renewal.at.After(old.since) && served.since.After(q.renewal.at)
	return old.document != document || renewed || exact > 0 && old.exact > 0 && exact != old.exact
}

// overlay returns why the code can't be scanned although it is there: causeIdle,
// causeOffline, or nothing. The code's life ends at end.
func (q *qr) overlay(o Observation, end time.Time) string {
	switch {
	case o.button(ButtonOffline):
		return causeOffline
	case o.Modules.Socket == selectors.SocketIdle, o.button(ButtonReload):
		return causeIdle
	case !o.covered(), o.Modules.Socket == selectors.SocketUnpaired && o.Drawn.Opacity >= faint:
		return ""
	case o.Modules.Socket == selectors.SocketUnpaired:
		return causeOffline
	case q.coveredSince.Before(end):
		// Its text is in no language that we know. The reload button appears
		// when the last code is used up, the other one at any moment before.
		return causeOffline
	}
	return causeIdle
}

// withdraw reports that the offered code can no longer be scanned, if there is one.
func (q *qr) withdraw(d *Decision, cause string) {
	if q.offer.on {
		q.offer.on = false
		d.Events = append(d.Events, rpc.QRGone{Cause: cause})
	}
}

// candidate is the code of an unlinked page. The empty cause means that it can be
// scanned until expires.
type candidate struct {
	reading
	cause   string
	expires time.Time
}

// cheap reports whether it was found by a reader that looks at each observation.
func (c candidate) cheap() bool {
	return c.Reader == selectors.ReaderDOM || c.Reader == selectors.ReaderModules
}

// assess finds the code of an unlinked page, and whether it can be scanned.
func (s *step) assess() candidate {
	q := &s.h.qr
	if !s.o.covered() {
		q.coveredSince = time.Time{}
	} else if q.coveredSince.IsZero() {
		q.coveredSince = s.now
	}
	served, seen := q.present(s.now)
	if served.Code.Whole == "" {
		q.continued = q.continued && q.awaited(s.now)
		return candidate{cause: s.absence()}
	}
	current := q.live(s.o, served, s.now)
	alive := seen && q.secrets.alive(served.Code, s.o)
	if seen {
		q.continued = alive // The code after a dead one is the first of a list.
	}
	end := current.since.Add(current.ttl)
	c := candidate{reading: served, cause: s.hindrance(end), expires: end.Add(grace)}
	switch {
	case c.cause != "":
	case !seen:
		c.cause = s.absence()
	case !alive:
		c.cause = causeDisconnected
	case !s.now.Before(c.expires), !q.offer.on && !s.now.Before(end.Add(-current.ttl/20)):
		// One that was withdrawn does not come back for its last moments: by the page's
		// clock, which began earlier, they may be over.
		c.cause = causeExpired
	}
	return c
}

// present returns the code that the page has, and whether it was seen on the screen.
func (q *qr) present(now time.Time) (r reading, seen bool) {
	if r = q.best(); r.Found {
		return r, true
	}
	if q.offer.on && q.awaited(now) {
		return q.offer.reading, true
	}
	return q.readings.dom, false // What covers it may explain why.
}

// hindrance returns why no code whose life ends at end can be scanned, as far as the
// page around it shows that.
func (s *step) hindrance(end time.Time) string {
	switch overlay := s.h.qr.overlay(s.o, end); {
	case overlay == causeOffline || s.o.offline():
		return causeOffline
	case overlay == causeIdle:
		return causeIdle
	case s.o.Modules.Socket != "" && s.o.Modules.Socket != selectors.SocketUnpaired:
		return causeChanged
	}
	return ""
}

// absence returns why an unlinked page shows no code at all.
func (s *step) absence() string {
	switch {
	case s.o.offline():
		return causeOffline
	case s.o.Modules.Socket == selectors.SocketIdle, s.o.button(ButtonReload):
		return causeIdle
	case s.o.Connection.closed():
		return causeDisconnected
	}
	return s.moved()
}

// causeOfAbsence returns why a page that does not ask to be linked has no code.
func (s *step) causeOfAbsence() string {
	switch {
	case s.kind == kindLinking, s.kind == kindScanned, s.kind == kindSyncing, s.kind == kindReady, s.kind == kindPasskey,
		s.h.account.registered:
		return causeScanned
	case s.kind == kindNoNetwork, s.o.offline():
		return causeOffline
	}
	return s.moved()
}

// moved returns whether the code's document was left or only changed.
func (s *step) moved() string {
	if s.o.Document != s.h.qr.offer.document {
		return causeNavigated
	}
	return causeChanged
}

// offer reports that the last code can no longer be scanned, and returns the report of
// one that can.
func (s *step) offer(c candidate) []rpc.EventBody {
	q := &s.h.qr
	if c.cause != "" {
		q.withdraw(&s.d, c.cause)
		return nil
	}
	s.d.wakeBy(c.expires)
	if !c.since.Before(q.renewal.at) {
		q.renewal.pending, q.renewal.fruitless = false, 0
	}
	const same = 500 * time.Millisecond
	whole := c.Code.Whole
	if q.offer.on && q.offer.reading.Code.Whole == whole && c.expires.Sub(q.offer.expires).Abs() < same {
		return nil
	}
	if q.latest != whole {
		q.latest = whole
		q.seq++
	}
	q.offer = offer{on: true, reading: c.reading, expires: c.expires, document: s.o.Document, openings: s.o.Connection.Openings}
	return []rpc.EventBody{rpc.QRShown{
		Payload: whole, Reader: string(c.Reader), Seq: q.seq, TTL: c.expires.Sub(s.now), Renewals: q.renewal.total,
	}}
}

// search reports whether images should be searched for a code now.
func (s *step) search() bool {
	q := &s.h.qr
	if s.o.seen(selectors.ReaderDOM) || s.o.seen(selectors.ReaderModules) || s.h.account.registered || s.o.offline() {
		q.blindSince = time.Time{}
		return false
	}
	if q.blindSince.IsZero() {
		q.blindSince = s.now
	}
	switch s.kind {
	case kindBlank, kindBooting, kindNoCode, kindCode:
		return s.now.Sub(q.blindSince) >= s.t.Silence
	default:
		return false
	}
}
