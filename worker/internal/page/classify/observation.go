package classify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

// Observation is what was found out about the page at one time.
type Observation struct {
	// Document counts the documents that the page has loaded.
	Document   int
	Navigation Navigation
	Drawn      Drawn
	Modules    Modules
	Storage    Storage
	// Readings holds what each reader found. One that is not mentioned has not
	// looked.
	Readings []Reading
	// Online is false when Chrome, or the page's own probe, sees no network.
	Online     bool
	Connection Connection
	Reloads    Reloads
	// PasskeyAsked is true while the page waits for its browser to give it a
	// passkey. It is checked only where a scan could have come before.
	PasskeyAsked bool
	// PairingAsked is true from the request for a pairing code in this document until
	// the page is back at its QR: meanwhile no QR of it can be used. PairingUntil is
	// when the life of the code ends, zero without a code.
	PairingAsked bool
	PairingUntil time.Time
	// Busy is true while a person's command is being carried out in the page.
	Busy bool
	// Repeated is true when no timer of the page could run since the observation before,
	// as on a machine that is too busy: then it is the same one, seen again.
	Repeated bool
}

// Connection is what Chrome reports of the document's websockets to the page's
// server. A websocket that a service worker holds is not among them.
type Connection struct {
	// Attempts counts the websockets that the document has begun to open.
	Attempts int
	// Openings counts how often the document got an open one after it had none: the page
	// tries several addresses at once, and closes what it does not need.
	Openings int
	// Open is true while there is one whose handshake was answered.
	Open bool
	// OpenedAt is when it last did; zero means never.
	OpenedAt time.Time
	// Quiet is for how long nothing has come over them; 0 if nothing ever has.
	Quiet time.Duration
	// Failure is why the last one could not be opened; none once one was.
	Failure Failure
}

// Seen reports whether the document has its own connection, so that Open is
// evidence. Otherwise a service worker may hold it.
func (c Connection) Seen() bool { return c.Attempts > 0 }

// Reloads are when the page has replaced its document of its own accord, of which it
// keeps the latest, newest last; zero means never. What the worker loads is not among
// them.
type Reloads [3]time.Time

// With returns r with another one.
func (r Reloads) With(at time.Time) Reloads {
	copy(r[:], r[1:])
	r[len(r)-1] = at
	return r
}

// last is when the page has last done so.
func (r Reloads) last() time.Time { return r[len(r)-1] }

// closed reports whether the document's own connection is known to be closed.
func (c Connection) closed() bool { return c.Seen() && !c.Open }

// Navigation is how the document was reached.
type Navigation struct {
	// LoggedOut is set once after the page went to its address for ended sessions. It
	// is the reason, for people, and may be empty.
	LoggedOut *string
	// Elsewhere names the origin of a document that is not of the page's own, of which
	// nothing else is known; it is empty for the page itself.
	Elsewhere string
	// ErrorPage is true when Chrome shows its own page for a failed navigation, or
	// nothing yet, and Failure is why, when it is known.
	ErrorPage bool
	Failure   Failure
	// UnsupportedURL is true at the address for browsers that lack something.
	UnsupportedURL bool
	// Status is the document's HTTP status, 0 when there was none.
	Status int
}

// Drawn is what the document shows.
type Drawn struct {
	// Splash, Mount: the page's boot picture, and the element that it draws into.
	Splash, Mount bool
	Screens       []Sign
	// Progress in percent, -1 when the page shows none.
	Progress int
	// Buttons are the kinds of those that cover the code.
	Buttons []string
	// Opacity of the code's image, 1 without one.
	Opacity float64
	Passkey Passkey
	// AutoLogoutFrame is true when the code shown is that of a frame whose
	// session would not be kept.
	AutoLogoutFrame bool
}

// Sign is one screen that the observer recognised.
type Sign struct {
	Name selectors.ScreenName `json:"name"`
	// Text is true when it was recognised by its text only.
	Text bool `json:"text"`
}

// Kinds of overlay buttons, which the observer distinguishes by their texts.
const (
	ButtonReload  = "reload"
	ButtonOffline = "offline"
	ButtonOther   = "other"
)

// Modules is what the page's own modules answer.
type Modules struct {
	// Loader is true when the page's module loader is there.
	Loader  bool
	Version string
	// Socket and Method are empty when the modules don't answer. Method is how
	// the page means to be linked.
	Socket selectors.Socket
	Method selectors.Method
	// Stream reports whether the server has accepted the login; empty when the modules
	// don't answer.
	Stream selectors.Stream
	// HasSynced reports whether the chats are there; nil when the modules don't
	// answer.
	HasSynced *bool
	// Ref and RefTTL are the current reference; RefTTL is 0 when it is unknown.
	Ref    qrpayload.Ref
	RefTTL time.Duration
}

// Storage is what the page's storage holds.
type Storage struct {
	// Registered reports whether the login is there; nil when storage could not
	// be read.
	Registered *bool
	// Remains is true when parts of a login are there, but not all of it.
	Remains bool
}

// Reading is what one reader has found.
type Reading struct {
	Reader selectors.Reader
	// Found is false when it looked and found nothing.
	Found bool
	Code  qrpayload.Code
	// Seen is true once the picture on the screen was seen to encode it. While a
	// payload is Found but not Seen, its picture is being looked at.
	Seen bool
	// Err is why what it found is not a code, or why it could not look. With ErrUnseen
	// there is a Code, but it is not Found.
	Err error
	// At is when it looked.
	At time.Time
}

// ErrUnseen means that a payload is in the page, but that nobody could scan it.
var ErrUnseen = errors.New("its picture can't be scanned")

// Unseen returns the reading of a payload that nobody could scan, and why.
func (r Reading) Unseen(why string) Reading {
	r.Found, r.Seen, r.Err = false, false, fmt.Errorf("%w: %s", ErrUnseen, why)
	return r
}

// has reports whether the observer recognised a screen, by selector or text.
func (o Observation) has(name selectors.ScreenName) bool {
	return slices.ContainsFunc(o.Drawn.Screens, func(s Sign) bool { return s.Name == name })
}

// surely reports whether it recognised the screen by more than text.
func (o Observation) surely(name selectors.ScreenName) bool {
	return slices.ContainsFunc(o.Drawn.Screens, func(s Sign) bool { return s.Name == name && !s.Text })
}

func (o Observation) button(kind string) bool { return slices.Contains(o.Drawn.Buttons, kind) }

// covered reports whether something covers the code.
func (o Observation) covered() bool { return len(o.Drawn.Buttons) > 0 || o.Drawn.Opacity < faint }

// offline reports whether anything means that there is no network.
func (o Observation) offline() bool {
	return !o.Online || o.button(ButtonOffline) || o.has(selectors.ScreenOffline)
}

// reading returns what a reader found, and whether it has looked.
func (o Observation) reading(by selectors.Reader) (Reading, bool) {
	i := slices.IndexFunc(o.Readings, func(r Reading) bool { return r.Reader == by })
	if i < 0 {
		return Reading{}, false
	}
	return o.Readings[i], true
}

// malformed reports whether a reader found a text that is not a QR payload.
func (o Observation) malformed() bool {
	return slices.ContainsFunc(o.Readings, func(r Reading) bool { return errors.Is(r.Err, qrpayload.ErrMalformed) })
}

// unseen returns why the payload that the document holds can't be scanned, or nil.
func (o Observation) unseen() error {
	r, _ := o.reading(selectors.ReaderDOM)
	if errors.Is(r.Err, ErrUnseen) {
		return r.Err
	}
	return nil
}

func (o Observation) found(by selectors.Reader) bool {
	r, _ := o.reading(by)
	return r.Found
}

// seen reports whether what a reader found was also seen on the screen.
func (o Observation) seen(by selectors.Reader) bool {
	r, _ := o.reading(by)
	return r.Found && r.Seen
}

// Passkey is what the page shows of linking by a passkey: the cards, and the last event
// about it, an rpc.PasskeyStage, with its argument. Code and Word may be secret.
type Passkey struct {
	Prompt, Waiting bool
	Code            rpc.Secret
	Event           rpc.PasskeyStage
	Word            rpc.Secret
	// Skip means that the page confirms the code of the event itself.
	Skip bool
}
