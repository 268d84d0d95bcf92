// Package classify decides what the page is in, whether its QR code can be
// scanned, and what should be done about it, from what was observed. It is
// pure: it does no input or output, and the time is given to it.
package classify

import (
	"slices"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

// Reader names one way of finding the login string.
type Reader string

// The readers, from the cheapest to the dearest. When two of them speak for the
// first time at once the earlier is believed.
const (
	// ReaderDOM reads the attribute from which the page draws its code.
	ReaderDOM Reader = "dom"
	// ReaderModules puts the string together from the page's own modules.
	ReaderModules Reader = "modules"
	// ReaderImage decodes the pictures in the document.
	ReaderImage Reader = "image"
	// ReaderScreenshot decodes a screenshot, as a phone's camera would.
	ReaderScreenshot Reader = "screenshot"
)

// readers gives each reader its place in a History.
var readers = [...]Reader{ReaderDOM, ReaderModules, ReaderImage, ReaderScreenshot}

// Reading is what one reader has found.
type Reading struct {
	Reader Reader
	// Found is false when it looked and found nothing.
	Found bool
	Code  qrpayload.Code
	// Err is why what it found is no code, or why it could not look.
	Err error
	// At is when it looked.
	At time.Time
}

// Overlay button kinds, as the observer tells them by their texts.
const (
	ButtonReload  = "reload"
	ButtonOffline = "offline"
	ButtonOther   = "other"
)

// Sign is one screen that the observer recognised.
type Sign struct {
	Name selectors.ScreenName `json:"name"`
	// Text is true when only its text gave it away.
	Text bool `json:"text"`
}

// Logout says that the page has navigated to its address for ended sessions.
type Logout struct {
	// Detail is why, for people; it may be empty.
	Detail string
}

// Observation is one observation of the page.
type Observation struct {
	// Document counts the documents that the page has loaded.
	Document int
	// LoggedOut is set once after such a navigation.
	LoggedOut *Logout
	// ErrorPage is true when Chrome shows its own page for a failed navigation.
	ErrorPage bool
	// Failure is why, when it is known.
	Failure reason.Code
	// UnsupportedURL is true at the address for browsers that lack something.
	UnsupportedURL bool
	// Status is the document's HTTP status, 0 when there was none.
	Status int

	// Splash, Mount and Loader: the page's boot picture, the element that it
	// draws into, and its module loader are there.
	Splash, Mount, Loader bool
	Version               string
	Screens               []Sign
	// Progress in percent, -1 when the page shows none.
	Progress int

	// Registered tells whether the login is in storage; nil when storage could
	// not be read.
	Registered *bool
	// Online is false when Chrome, or the page's own probe, sees no network.
	Online bool
	// Socket is empty when the modules don't tell.
	Socket selectors.Socket
	// HasSynced tells whether the chats are there; nil when the modules don't.
	HasSynced *bool

	// Readings holds what each reader found. One that is not mentioned has not
	// looked.
	Readings []Reading
	// Ref and RefTTL are the modules' word on the current reference; RefTTL is 0
	// when they are silent.
	Ref    qrpayload.Ref
	RefTTL time.Duration
	// Buttons are the kinds of those that lie over the code.
	Buttons []string
	// Opacity of the code's picture, 1 when there is none.
	Opacity float64
	// Method is the way in which the page means to be linked; empty when the
	// modules don't tell.
	Method selectors.Method
	// PasskeyAsked is true while the page waits for its browser to give it a
	// passkey. It is asked only where a scan could have come before.
	PasskeyAsked bool
	// PairingUntil is set while the page was asked for a pairing code, in this
	// document: it is when the code's life ends. Whatever the page draws
	// meanwhile, no QR of it can be used.
	PairingUntil time.Time
	// Busy is true while a person's command is being carried out in the page.
	Busy bool
	// Quiet is for how long nothing has come over the page's connection; 0 while
	// that is not known.
	Quiet time.Duration
	// Remains is true when storage holds parts of a login, but not all of it.
	Remains bool
	// AutoLogoutFrame is true when the code shown is that of a frame whose
	// session would not be kept.
	AutoLogoutFrame bool
}

// has tells whether the observer recognised a screen, by whatever.
func (l Observation) has(name selectors.ScreenName) bool {
	return slices.ContainsFunc(l.Screens, func(s Sign) bool { return s.Name == name })
}

// surely tells whether it recognised it by more than text.
func (l Observation) surely(name selectors.ScreenName) bool {
	return slices.ContainsFunc(l.Screens, func(s Sign) bool { return s.Name == name && !s.Text })
}

func (l Observation) button(kind string) bool { return slices.Contains(l.Buttons, kind) }

// offline tells whether anything says that there is no network.
func (l Observation) offline() bool {
	return !l.Online || l.button(ButtonOffline) || l.has(selectors.ScreenOffline)
}

func (l Observation) found(r Reader) bool {
	return slices.ContainsFunc(l.Readings, func(x Reading) bool { return x.Reader == r && x.Found })
}
