package classify

import (
	"time"

	"session-manager/shared/selectors"
)

// loggedIn reports whether the server has accepted the page's login. A page that is
// linked calls itself connected before that; only its stream shows it. Where the modules
// don't give the stream, the chats on the screen stand in for it, unless the document's
// connection is known to be closed.
func (o Observation) loggedIn() bool {
	switch {
	case o.Modules.Socket != selectors.SocketConnected && o.Modules.Socket != "":
		return false
	case o.Modules.Stream != "":
		return o.Modules.Stream == selectors.StreamLoggedIn
	default:
		return o.showsChats() && !o.Connection.closed()
	}
}

// showsChats reports whether the document shows chats, or that it fetches them.
func (o Observation) showsChats() bool {
	return o.surely(selectors.ScreenMain) || o.has(selectors.ScreenSyncing) && !o.surely(selectors.ScreenQR)
}

// refusedOften is after how many refused logins in a row the page is no longer just
// reconnecting.
const refusedOften = 3

// login follows what becomes of a linked page's connections while its login is not
// accepted.
type login struct {
	document int
	reloads  Reloads
	accepted bool // in this document
	// refused counts the connections in a row that ended before the login was accepted,
	// and earlier those of them that the document did not make.
	refused, earlier int
	// accounted are the document's connections up to the last accepted login.
	accounted int
	// claim is what the page last claimed without a login, and claimSince when it began to.
	claim      claim
	claimSince time.Time
}

// claim is all by which a page that still tries to connect can be recognised.
type claim struct {
	socket                       selectors.Socket
	attempts, openings, document int
	open                         bool
}

// update notes an observation.
func (l *login) update(o Observation, registered bool, now time.Time) {
	if o.Document != l.document {
		l.earlier = l.refused
		if o.Reloads != l.reloads { // That is something else, which has a kind of its own.
			l.earlier = 0
		}
		l.refused = l.earlier
		l.document, l.reloads, l.accepted, l.accounted = o.Document, o.Reloads, false, 0
	}
	made := o.Connection.Openings
	if !registered || o.loggedIn() {
		l.refused, l.earlier, l.accounted, l.accepted, l.claim = 0, 0, made, registered, claim{}
		return
	}
	next := claim{o.Modules.Socket, o.Connection.Attempts, made, o.Document, o.Connection.Open}
	switch {
	case o.Connection.Open:
		l.refused = l.earlier + max(0, made-1-l.accounted)
	case o.Connection.Seen():
		l.refused = l.earlier + max(0, made-l.accounted)
	case l.claim.socket == selectors.SocketConnected && next.socket != selectors.SocketConnected:
		l.refused++
	}
	if next != l.claim {
		l.claim, l.claimSince = next, now
	}
}

// replacedAt returns when a page that claims to be connected, and no longer tries to, is
// known to have been replaced: the server has ended its connection for another one, and
// the page looks alive for ever. It is the zero time for any other page. One that has
// only lost its connection opens the next within a second.
func (l login) replacedAt(c Connection, t Timings) time.Time {
	var after time.Duration
	switch socket := l.claim.socket; {
	case l.claim == claim{} || l.refused > 1:
	case socket == selectors.SocketConnected:
		after = l.afterClaim(c)
	case socket == "" && c.closed() && c.Openings > 0:
		after = 20 * time.Second // The pauses between its attempts grow up to ten seconds.
	}
	if after == 0 {
		return time.Time{}
	}
	return l.claimSince.Add(t.paced(after))
}

// afterClaim is how long a page that claims to be connected may take to try to; 0 if it
// may be about to log in.
func (l login) afterClaim(c Connection) time.Duration {
	switch {
	case l.accepted && l.refused == 0 && c.closed():
		return 2500 * time.Millisecond
	case c.closed() && c.Openings > 0:
		return 5 * time.Second // Its login may have been refused rather than replaced.
	case l.accepted && c.Openings == l.accounted:
		return 4 * time.Second // The end of a connection may not be seen, or be reported late.
	}
	return 0
}

// trust is how steadily the page has been logged in. A login counts only when it lasts,
// since a page that changes its mind at speed is not logged in whenever it is looked at.
type trust struct {
	document int
	// proven reports whether the login has lasted in this document.
	proven bool
	// since is the start of an unbroken login, and seen counts its observations.
	since time.Time
	seen  int
	last  kind
	lost  [4]time.Time // the latest losses, newest last
}

// How long a login must last, and how often it must have been observed meanwhile: the
// first time in a document, and after it was lost too often within erratic.
const (
	steadyFor, steadySeen = 500 * time.Millisecond, 12
	waryFor, warySeen     = 10 * time.Second, 40
	erratic               = 5 * time.Second
)

// another is what remains in another document.
func (t trust) another(document int) trust { return trust{document: document, lost: t.lost} }

// count notes an observation of a login.
func (t *trust) count(o Observation, now time.Time) {
	if t.since.IsZero() {
		t.since = now
	}
	if !o.Repeated {
		t.seen++
	}
}

// believe returns the kind of a page that seems to be k: one whose login is not believed
// yet is still connecting.
func (s *step) believe(k kind) kind {
	t, now := &s.h.trust, s.now
	in := k == kindReady || k == kindSyncing
	if t.last == kindReady && k != kindReady || t.last == kindSyncing && !in {
		copy(t.lost[:], t.lost[1:])
		t.lost[len(t.lost)-1], t.since, t.seen = now, time.Time{}, 0
	}
	t.last = k
	if !in {
		return k
	}
	t.count(s.o, now)
	lasts, times := steadyFor, steadySeen
	switch {
	case t.erratic(now):
		lasts, times = waryFor, warySeen
	case t.proven:
		return k
	}
	lasts = s.t.paced(lasts)
	if now.Sub(t.since) >= lasts && t.seen >= times {
		t.proven = true
		return k
	}
	s.d.wakeBy(now.Add(lasts / time.Duration(times)))
	if t.proven {
		return kindReconnecting
	}
	return kindConnecting
}

// erratic reports whether the login was lost too often, and not long ago.
func (t *trust) erratic(now time.Time) bool {
	first, last := t.lost[0], t.lost[len(t.lost)-1]
	return !first.IsZero() && last.Sub(first) <= erratic && now.Sub(last) < time.Minute
}

// restless reports whether the page keeps replacing its document of its own accord. A
// page that does so once, to update itself or after a scan, is not. It has come to rest
// when a document has lasted as long as the last two did together.
func (r Reloads) restless(now time.Time, t Timings) bool {
	const within, atLeast = time.Minute, 5 * time.Second
	took := r.last().Sub(r[0])
	return !r[0].IsZero() && took <= t.paced(within) && now.Sub(r.last()) < max(took, t.paced(atLeast))
}

// hidden are the kinds that a restless page is not reported as: it passes through them,
// or is in them for a moment.
var hidden = map[kind]bool{
	kindBlank: true, kindBooting: true, kindLoggingOut: true, kindLinking: true, kindScanned: true, kindNoCode: true,
	kindNoServer: true, kindSyncing: true, kindReady: true, kindSilent: true, kindRefused: true, kindConnecting: true,
	kindReconnecting: true,
}
