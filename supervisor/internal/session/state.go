package session

import "slices"

// State is what GET /status answers.
type State string

// The states of a session.
const (
	// Init: the worker or the page is starting.
	Init State = "INIT"
	// QRRequired: the page asks for a phone to be linked.
	QRRequired State = "QR_REQUIRED"
	// Authenticated: linked, chats are still syncing.
	Authenticated State = "AUTHENTICATED"
	// Ready: the session is usable.
	Ready State = "READY"
	// Disconnected: linked, but the server has not accepted the login.
	Disconnected State = "DISCONNECTED"
	// Error: it cannot recover automatically, or keeps failing.
	Error State = "ERROR"
)

// States returns every state, in the order of a session's life.
func States() []State {
	return []State{Init, QRRequired, Authenticated, Ready, Disconnected, Error}
}

// Kind names what happened, as far as it can change the state.
type Kind string

// The kinds of events that can change the state.
const (
	Spawning         Kind = "spawning"          // a new worker generation starts
	WorkerExited     Kind = "worker_exited"     // a generation exits or has exited, for any cause
	Retried          Kind = "retried"           // a generation ends or starts in ERROR, and the cause may still be there
	Blocked          Kind = "blocked"           // nothing runs: the machine or the restart policy does not allow it
	PageLoading      Kind = "page_loading"      // the page is not ready to be read
	PageUnlinked     Kind = "page_unlinked"     // the page asks for a phone
	PageSyncing      Kind = "page_syncing"      // linked, fetching chats
	PageReady        Kind = "page_ready"        // linked, logged in, usable
	PageDisconnected Kind = "page_disconnected" // linked, no connection
	PageFlapping     Kind = "page_flapping"     // ready a moment ago, and perhaps again in a moment
	PageLoggedOut    Kind = "page_logged_out"   // the link was ended
	PageBlocked      Kind = "page_blocked"      // a person must act first
	PageOverdue      Kind = "page_overdue"      // it has been loading for too long
	EvidenceStale    Kind = "evidence_stale"    // the page was not observed for too long
	Stopping         Kind = "stopping"          // the service stops
)

// row is the next state for each present one, in the order of States.
type row [6]State

func all(s State) row { return row{s, s, s, s, s, s} }

// transitions is the whole state machine. A page that reloads, as WhatsApp's does
// to update itself, is not disconnected: page_loading keeps what was known, until
// page_overdue. Another try, of the page or of a worker, is not the end of an error
// either: only its outcome is.
var transitions = map[Kind]row{
	Spawning:         all(Init),
	PageLoading:      {Init, QRRequired, Authenticated, Ready, Disconnected, Error},
	PageUnlinked:     all(QRRequired),
	PageSyncing:      all(Authenticated),
	PageReady:        all(Ready),
	PageFlapping:     {Init, QRRequired, Authenticated, Ready, Disconnected, Error},
	PageDisconnected: all(Disconnected),
	PageLoggedOut:    {Disconnected, QRRequired, Disconnected, Disconnected, Disconnected, Disconnected},
	PageBlocked:      all(Error),
	PageOverdue:      {Error, Error, Disconnected, Disconnected, Disconnected, Error},
	EvidenceStale:    {Init, Init, Init, Init, Init, Error},
	WorkerExited:     all(Init),
	Retried:          {Init, QRRequired, Authenticated, Ready, Disconnected, Error},
	Blocked:          all(Error),
	Stopping:         all(Init),
}

// Next is the state after an event of kind k in state s. It is total: an unknown
// state or kind leaves the state as it is.
func Next(s State, k Kind) State {
	i := slices.Index(States(), s)
	r, ok := transitions[k]
	if i < 0 || !ok {
		return s
	}
	return r[i]
}
