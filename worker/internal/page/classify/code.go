package classify

import (
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

// Causes for which a code stops being scannable, as rpc.QRGone carries them.
const (
	causeScanned   = "scanned"
	causeIdle      = "idle"
	causeOffline   = "offline"
	causeExpired   = "expired"
	causeChanged   = "page_changed"
	causeNavigated = "navigated"
)

// faint is the opacity below which a code can't be scanned. Under an overlay
// WhatsApp Web has drawn it at 0.04 since August 2026.
const faint = 0.5

// sighting is the last word of one reader.
type sighting struct {
	found bool
	code  qrpayload.Code
	since time.Time // when it first gave this string
	at    time.Time // when it last looked
}

// life is that of one reference.
type life struct {
	ref      qrpayload.Ref
	since    time.Time
	ttl      time.Duration
	told     time.Duration // by the modules; 0 when ttl is a guess
	document int
}

// offer is the code that was last told to the outside.
type offer struct {
	on       bool
	code     rpc.QRPayload
	reader   Reader
	expires  time.Time
	document int
}

// lives are those of the latest references, newest last.
type lives [8]life

func (ls lives) find(ref qrpayload.Ref) (life, bool) {
	for i := len(ls) - 1; i >= 0; i-- {
		if ls[i].ref == ref {
			return ls[i], true
		}
	}
	return life{}, false
}

// with returns ls with l as its newest, in place of an older one of its ref.
func (ls lives) with(l life) lives {
	kept := make([]life, 0, len(ls)+1)
	for _, old := range ls {
		if old.ref != l.ref {
			kept = append(kept, old)
		}
	}
	kept = append(kept, l)
	var next lives
	copy(next[:], kept[max(0, len(kept)-len(next)):])
	return next
}

// see records what the readers of l say. Those that don't look every time are
// believed for a while longer.
func (h History) see(l Observation, now time.Time, hold time.Duration) History {
	for i, r := range readers {
		s := h.sightings[i]
		word, looked := reading(l, r)
		switch {
		case looked && !word.Found:
			s = sighting{at: word.At}
		case looked && s.found && s.code == word.Code:
			s.at = word.At
		case looked:
			s = sighting{found: true, code: word.Code, since: word.At, at: word.At}
		case r == ReaderDOM, r == ReaderModules, now.Sub(s.at) > hold:
			s = sighting{}
		}
		h.sightings[i] = s
	}
	return h
}

func reading(l Observation, r Reader) (Reading, bool) {
	for _, word := range l.Readings {
		if word.Reader == r {
			return word, true
		}
	}
	return Reading{}, false
}

// pick returns the string to believe: the newest of the DOM's and the modules',
// or else the newest of the pictures'. What the modules say counts only when it
// has had its time, as patience has it.
func (h History) pick(now time.Time, t Timings) (sighting, Reader, bool) {
	for _, pair := range [][2]int{{0, 1}, {2, 3}} {
		a, b := h.sightings[pair[0]], h.sightings[pair[1]]
		if readers[pair[1]] == ReaderModules && now.Sub(b.since) < h.patience(t) {
			b.found = false
		}
		switch {
		case b.found && (!a.found || b.since.After(a.since)):
			return b, readers[pair[1]], true
		case a.found:
			return a, readers[pair[0]], true
		}
	}
	return sighting{}, "", false
}

// seen tells whether a picture of a code was found lately.
func (h History) seen() bool { return h.sightings[2].found || h.sightings[3].found }

// search tells whether pictures should be searched for a code now.
func (h History) search(k kind, l Observation, now time.Time, silence time.Duration) (History, bool) {
	if l.found(ReaderDOM) || l.found(ReaderModules) || h.registered || l.offline() {
		h.blindSince = time.Time{}
		return h, false
	}
	if h.blindSince.IsZero() {
		h.blindSince = now
	}
	switch k {
	case kindBlank, kindBooting, kindNoCode, kindCode:
		return h, now.Sub(h.blindSince) >= silence
	default:
		return h, false
	}
}

// disagree tells whether the DOM and the modules have given different strings
// for longer than it takes to draw one.
func (h History) disagree(now time.Time) bool {
	a, b := h.sightings[0], h.sightings[1]
	const lasting = time.Second
	return a.found && b.found && a.code != b.code && now.Sub(a.since) > lasting && now.Sub(b.since) > lasting
}

// live brings the life of the picked reference up to date. A reference that
// comes back in another document, after a renewal, or with another time to live
// has been given out anew; any other keeps its age, however often it vanishes.
func (h History) live(l Observation, s sighting, now time.Time, t Timings) (History, life) {
	told := time.Duration(0)
	if l.RefTTL > 0 && l.Ref == s.code.Ref {
		told = l.RefTTL
	}
	old, known := h.lives.find(s.code.Ref)
	anew := !known || old.document != l.Document || h.renewal.at.After(old.since) && s.since.After(h.renewal.at) ||
		told > 0 && old.told > 0 && told != old.told
	next := old
	if anew {
		next = life{ref: s.code.Ref, since: s.since, ttl: t.NextTTL, document: l.Document}
		if !h.hadCode {
			next.ttl = t.FirstTTL
		}
		if known && old.document == l.Document && told != old.told {
			next.since = now
		}
	}
	if told > 0 {
		next.ttl, next.told = told, told
	}
	if next != old {
		h.lives = h.lives.with(next)
	}
	return h, next
}

// overlay says why the code can't be scanned although it is there: causeIdle,
// causeOffline, or nothing.
func (h History) overlay(l Observation, end time.Time) string {
	covered := len(l.Buttons) > 0 || l.Opacity < faint
	switch {
	case l.button(ButtonOffline):
		return causeOffline
	case l.Socket == selectors.SocketIdle, l.button(ButtonReload):
		return causeIdle
	case !covered, l.Socket == selectors.SocketUnpaired && l.Opacity >= faint:
		return ""
	case l.Socket == selectors.SocketUnpaired:
		return causeOffline
	case h.coveredSince.Before(end):
		// Its text is in no language that we know. The reload button appears
		// when the last code is used up, the other one at any moment before.
		return causeOffline
	}
	return causeIdle
}

// patience is how old the modules' string must be: so old that it has been drawn
// where that can be seen. Where the modules are the only ones to tell, it must
// just have outlived a change of secret and reference one after the other.
func (h History) patience(t Timings) time.Duration {
	if !h.sightings[0].found && h.offer.reader == ReaderModules {
		return t.Settling
	}
	return t.Drawing
}

// drawnBy is when the modules' string will have had time to be drawn, if that is
// still to come.
func (h History) drawnBy(now time.Time, t Timings) (time.Time, bool) {
	m := h.sightings[1]
	by := m.since.Add(h.patience(t))
	return by, m.found && now.Before(by)
}

// verdict on the code of an unlinked page: the empty cause means that it can be
// scanned until expires.
type codeVerdict struct {
	cause   string
	picked  sighting
	reader  Reader
	expires time.Time
}

func (h History) judgeCode(l Observation, now time.Time, t Timings) (History, codeVerdict) {
	if covered := len(l.Buttons) > 0 || l.Opacity < faint; !covered {
		h.coveredSince = time.Time{}
	} else if h.coveredSince.IsZero() {
		h.coveredSince = now
	}
	s, reader, found := h.pick(now, t)
	if !found {
		_, comes := h.drawnBy(now, t)
		h.hadCode = h.hadCode && comes
		return h, codeVerdict{cause: h.absence(l, now)}
	}
	h, lf := h.live(l, s, now, t)
	h.hadCode = true
	v := codeVerdict{picked: s, reader: reader, expires: lf.since.Add(lf.ttl + t.Grace)}
	switch overlay := h.overlay(l, lf.since.Add(lf.ttl)); {
	case overlay == causeOffline || l.offline():
		v.cause = causeOffline
	case overlay == causeIdle:
		v.cause = causeIdle
	case l.Socket != "" && l.Socket != selectors.SocketUnpaired:
		v.cause = causeChanged
	case !now.Before(v.expires):
		v.cause = causeExpired
	}
	return h, v
}

// absence says why there is no code at all.
func (h History) absence(l Observation, now time.Time) string {
	switch {
	case l.offline():
		return causeOffline
	case l.Socket == selectors.SocketIdle, h.overlay(l, now) == causeIdle && l.button(ButtonReload):
		return causeIdle
	case l.Document != h.offer.document:
		return causeNavigated
	}
	return causeChanged
}
