package classify

import (
	"slices"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

// secrets are the ADV secrets of the codes in this document, newest last, by which a
// dead code is recognised: WhatsApp Web still draws the codes of a list after its
// connection has closed, and no phone can link with those. Only the list that comes
// over the next connection brings a new secret.
//
// The evidence of the connection is Chrome's, if the document has opened a websocket to
// its server, and the page's own state. Without the former a service worker may hold the
// connection, and only the latter counts. Where the page's modules don't answer either,
// nothing is known of the connection, and the codes are as alive as they look.
type secrets struct {
	known []secret
	// lost is when the page itself last said that it is not connected.
	lost time.Time
}

// secret is one ADV secret.
type secret struct {
	value    rpc.Secret
	since    time.Time // when it was first seen
	openings int       // Connection.Openings then, 0 if the document had no connection
}

// eventLag is how much later than what the page does with a new connection the worker
// may hear of the connection.
const eventLag = 250 * time.Millisecond

// Explain puts into words, for people, why a code can't be scanned.
func Explain(cause string, c Connection) string {
	switch {
	case cause != causeDisconnected:
		return cause
	case c.closed():
		return "its connection to the server is closed"
	case c.Seen():
		return "it is from before its connection to the server was lost"
	default:
		return "the page itself has lost its connection to the server since"
	}
}

// secretOf is the ADV secret of a code. A form of the payload without one has its
// reference instead.
func secretOf(c qrpayload.Code) rpc.Secret {
	if c.Secret == "" {
		return c.Ref
	}
	return c.Secret
}

// connected reports whether there is a connection, by all evidence.
func connected(o Observation) bool {
	said := o.Modules.Socket != selectors.SocketOpening && o.Modules.Socket != selectors.SocketPairing
	return said && !o.Connection.closed()
}

// note returns s with the secrets of what the readers have found.
func (s secrets) note(o Observation, found readings, now time.Time) secrets {
	if o.Modules.Socket == selectors.SocketOpening || o.Modules.Socket == selectors.SocketPairing {
		s.lost = now
	}
	begun := later(o.Connection.OpenedAt, s.lost)
	for _, r := range []reading{found.dom, found.modules, found.image, found.screenshot} {
		switch {
		case r.Code.Whole == "", s.find(secretOf(r.Code)) >= 0:
		case !connected(o):
			s = s.with(secret{value: secretOf(r.Code), since: now})
		case !r.At.Before(begun):
			s = s.with(secret{value: secretOf(r.Code), since: now, openings: o.Connection.Openings})
		}
		// Any other was read before the connection began, or while it did. Whether it
		// is new will be known when it is read again.
	}
	if !o.Connection.Open {
		return s
	}
	s.known = slices.Clone(s.known)
	for i, k := range s.known {
		if k.openings == 0 && k.since.Add(eventLag).After(o.Connection.OpenedAt) {
			s.known[i].openings = o.Connection.Openings
		}
	}
	return s
}

func (s secrets) find(value rpc.Secret) int {
	return slices.IndexFunc(s.known, func(k secret) bool { return k.value == value })
}

func (s secrets) with(next secret) secrets {
	const most = 32
	kept := append(slices.Clone(s.known), next)
	s.known = kept[max(0, len(kept)-most):]
	return s
}

// alive reports whether a code belongs to the connection that there is now.
func (s secrets) alive(c qrpayload.Code, o Observation) bool {
	i := s.find(secretOf(c))
	return i >= 0 && connected(o) && s.known[i].since.After(s.lost) && s.known[i].openings == o.Connection.Openings
}
