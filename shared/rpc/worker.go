// Package rpc is the contract between the supervisor and the worker: the Go
// interface that both sides speak, its errors, and the go-plugin glue that
// carries it over gRPC. No other package names a protobuf or gRPC type.
package rpc

import (
	"context"
	"log/slog"
	"time"

	"session-manager/shared/reason"
)

// Worker is the process that owns one Chrome, as the supervisor sees it. What it
// does is fixed by the RunRequest on its standard input. The worker implements
// Worker; Client implements it over the wire. Every call must carry a deadline,
// except Events, which lasts as long as the work does.
type Worker interface {
	// Events calls emit for each event, from the first one on, in order and from
	// one goroutine, until the work has ended. It returns nil after Stop, ctx's
	// error when the caller went away, and an error otherwise. It may be called
	// once; ErrAlreadyStreaming after that.
	Events(ctx context.Context, emit func(Event) error) error
	// Stop closes Chrome cleanly and returns when it has exited. Idempotent.
	Stop(ctx context.Context) error
	// Screenshot returns a PNG of the page as it is now, or ErrNoPage.
	Screenshot(ctx context.Context) ([]byte, error)
	// Pair makes the page offer a code that links the phone with this number:
	// E.164, digits only. It returns when the page has the code. Otherwise the
	// error is ErrNoPage, ErrNotUnlinked, ErrPhoneRefused, ErrPairingForbidden,
	// ErrTooManyAttempts, ErrPairingFailed, ErrPairingTimeout or ErrPairingUnavailable.
	// A request ends the code before it, even if it is refused.
	Pair(ctx context.Context, phone Secret) (Pairing, error)
	// LogOut ends the link through the page, and returns when the page has
	// wiped its login. Otherwise the error is ErrNoPage or ErrNotLinked.
	LogOut(ctx context.Context) error
	// SetSelectors replaces the selectors file; an empty one stands for the
	// built-in one. The message of ErrSelectors explains what is wrong with the
	// file, and where; nothing has changed then.
	SetSelectors(ctx context.Context, file []byte) error
	// Diagnose describes the page and what each reader sees in it, without
	// secrets, or returns ErrNoPage.
	Diagnose(ctx context.Context) (Diagnosis, error)
	// Send makes the page store and send m, and returns when it is stored. It is
	// idempotent by m.ID: what is stored already is returned, not sent again, unless
	// an earlier life of the page left it without an acknowledgement. Then it is sent
	// again under the same id. A *SendError means that nothing was stored and nothing
	// will be sent, every other error that this is unknown: it is to be called again
	// later with the same id.
	Send(ctx context.Context, m Message) (MessageState, error)
	// Lookup returns the state of each message (at most MaxLookup), in the same order.
	// Nothing is sent, and no chat is made. A *SendError means that the page can't be
	// asked.
	Lookup(ctx context.Context, refs []MessageRef) ([]MessageState, error)
	// Contact asks the page's server whether there is an account for this number (E.164, digits only)
	// or LID (an address). An error, which may be a *SendError, is never a "no".
	Contact(ctx context.Context, phone Secret) (Contact, error)
	// Receive reads messages from the page's table: ErrNotReceiving unless RunRequest has
	// Receive, and otherwise a *SendError if the page can't be asked. Without an Errand it marks
	// nothing as read.
	Receive(ctx context.Context, r ReceiveQuery) (Reception, error)
	// Passkey carries the page's request for a passkey to a person, and the answer back;
	// the actions explain what each does. Otherwise the error is ErrNoPage or a
	// *PasskeyError. Nothing in the page is replaced before PasskeyBegin.
	Passkey(ctx context.Context, c PasskeyCommand) (PasskeyCall, error)
}

// Mode is what a worker is started for.
type Mode string

// The modes of a worker.
const (
	// ModeSession runs the page on a profile. It is the default.
	ModeSession Mode = "session"
	// ModeVerify checks whether a backup of the profile opens in Chrome and holds
	// a login, reports BackupChecked, and waits for Stop. The page's server is
	// never contacted: that would be a second session of the same login.
	ModeVerify Mode = "verify"
)

// RunRequest is what a worker is to do. The supervisor writes it to the worker's
// standard input (SendRequest).
type RunRequest struct {
	// Mode is empty for ModeSession.
	Mode Mode
	// Generation numbers the workers of one supervisor from 1. It comes back in
	// every Event, so that events of an earlier worker are dropped.
	Generation uint64
	// ChromePath is the absolute path of the browser's binary.
	ChromePath string
	// ChromeVersion is its version, "156.0.8078.79".
	ChromeVersion string
	// ChromeArgs are further command line flags, each with its dashes.
	ChromeArgs []string
	// URL is the page to open.
	URL string
	// ProfileDir is the absolute path of Chrome's user-data-dir. ModeVerify needs
	// an empty folder instead, with room for a copy of the backup, which it
	// leaves empty.
	ProfileDir string
	// LeaseFile is the file whose flock Chrome inherits (package lease).
	LeaseFile string
	// ScratchDir is private to this generation, exists, and is removed by the
	// supervisor afterwards. Chrome gets its HOME and TMPDIR below it.
	ScratchDir string
	// Selectors is a selectors file, empty for the built-in one.
	Selectors []byte
	// Receive allows messages that arrive to leave the page.
	Receive bool
	// DeadlineFactor applies to the answers of Chrome, its parts and the page.
	DeadlineFactor DeadlineFactor
	// BackupDir is the absolute path of the backup that ModeVerify checks. It is
	// only read.
	BackupDir string
	// VerifyLimit bounds ModeVerify, Chrome's exit not included.
	VerifyLimit time.Duration
}

// DeadlineFactor is how many times the usual time an answer may take before what is
// asked counts as hung; 0 stands for 1.
type DeadlineFactor float64

// Of returns the usual deadline times f.
func (f DeadlineFactor) Of(usual time.Duration) time.Duration {
	if f == 0 {
		return usual
	}
	return time.Duration(float64(f) * float64(usual))
}

// Stretch applies Of to each deadline.
func (f DeadlineFactor) Stretch(deadlines ...*time.Duration) {
	for _, d := range deadlines {
		*d = f.Of(*d)
	}
}

// Pairing is a code by which a phone is linked without a camera.
type Pairing struct {
	// Code has eight characters, without a hyphen. It is as secret as a QR payload.
	Code Secret
	// TTL is how long it is still valid.
	TTL time.Duration
}

// Diagnosis is what a person needs to find out why a page is not understood. Its
// texts are bounded and redacted.
type Diagnosis struct {
	// URL without query and fragment.
	URL string
	// PageVersion is WhatsApp Web's own version, empty while unknown.
	PageVersion string
	// UserAgent of the page.
	UserAgent string
	// Outline has one element per line, indented by its depth, with the
	// attributes that a reader might look for.
	Outline string
	// Console are the last errors and warnings, oldest first.
	Console []string
	// Readers are what each reader saw last.
	Readers []ReaderView
}

// ReaderView is what one reader saw last.
type ReaderView struct {
	Reader string
	// Saw is a sentence: a fresh payload, a stale one, nothing, or an error.
	Saw string
}

// Event is one thing that the worker reports.
type Event struct {
	Generation uint64
	// Seq counts from 1 within a generation, without gaps.
	Seq uint64
	// Waited is how long it waited in the worker for the supervisor: the work
	// begins before the events are streamed.
	Waited time.Duration
	Body   EventBody
}

// EventBody is one of PhaseChanged, BrowserStarted, PageObserved, QRShown, QRGone,
// Heartbeat, Failure, BrowserExited, BackupChecked, MessageChanged, MessagesArrived, SendingObserved,
// ReceivingObserved and PasskeyChanged.
type EventBody interface{ eventBody() }

// Phase names what the worker is busy with before the page is recognised.
type Phase string

// The phases of a start, in order. The supervisor adds its own before them.
const (
	PhaseBrowserStart Phase = "browser_start"
	PhaseNavigate     Phase = "navigate"
	PhaseRecognise    Phase = "recognise"
	PhasePage         Phase = "page"
)

// PhaseChanged means that the next phase has begun.
type PhaseChanged struct{ Phase Phase }

// BrowserStarted means that Chrome answers, and holds our profile.
type BrowserStarted struct {
	PID       int
	Product   string
	UserAgent string
	// Sandbox is false when Chrome had to be started without its sandbox.
	Sandbox bool
}

// Condition is the condition of the page, as coarse as the session's state needs it.
// The reason has the details.
type Condition string

// Conditions of the page.
const (
	// PageLoading: it boots, or opens its connection, so that nothing is known yet.
	PageLoading Condition = "loading"
	// PageUnlinked: it asks for a phone to be linked.
	PageUnlinked Condition = "unlinked"
	// PageSyncing: linked, and fetching chats, or about to log in after a scan.
	PageSyncing Condition = "syncing"
	// PageReady: linked, logged in and usable.
	PageReady Condition = "ready"
	// PageDisconnected: linked, without a connection; the reason explains why.
	PageDisconnected Condition = "disconnected"
	// PageLoggedOut: the link was ended, by the phone or by the server.
	PageLoggedOut Condition = "logged_out"
	// PageBlocked: a person must act before this page can continue.
	PageBlocked Condition = "blocked"
)

// QREvidence is how often at least the page is observed, and PageObserved sent, while
// it shows a QR that can be scanned.
const QREvidence = 4 * time.Second

// PageObserved reports the page's condition. It is sent on each change, and again
// as fresh evidence: while a QR is shown at least every QREvidence, otherwise at least
// every ten seconds.
type PageObserved struct {
	Condition Condition
	// Reason may be empty.
	Reason reason.Code
	// Detail is for people and contains no secret. It may be empty.
	Detail string
	// Progress of loading or syncing in percent, -1 when the page shows none.
	Progress int
	// Registered means that the login is in the page's storage.
	Registered bool
	// Persisted means that it has reached the disk, where a SIGKILL of Chrome
	// can't harm it.
	Persisted bool
	// PageVersion is WhatsApp Web's own version, empty while unknown.
	PageVersion string
	// RetryAt is when the worker will end a conflict in favour of this page, zero if it won't.
	RetryAt time.Time
}

// Secret is a string that must not be seen: a QR payload, a phone number, a
// pairing code. It logs and prints as "[redacted]"; convert it to string where
// the real value is meant.
type Secret string

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String hides the value from fmt.
func (Secret) String() string { return "[redacted]" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText hides the value from encoding/json, which slog uses for structs.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// QRPayload is the string that a QR code encodes. With it a phone can be linked to
// this browser.
type QRPayload = Secret

// MaxQRPayload is the length of the longest payload that is read and drawn, in
// bytes: what a QR of the largest size, version 40, holds at level L (ISO/IEC 18004).
// WhatsApp's has about 240.
const MaxQRPayload = 2953

// QRShown means that the page shows this QR payload now.
type QRShown struct {
	Payload QRPayload
	// Reader is the name of the reader that found it.
	Reader string
	// Seq counts the different payloads of this generation from 1.
	Seq uint64
	// TTL is how long it is still valid when the event is sent.
	TTL time.Duration
	// Renewals counts how often this generation asked the page for new codes.
	Renewals uint
}

// QRGone means that the page no longer shows a QR that can be scanned.
type QRGone struct {
	// Cause is one of scanned, idle, offline, disconnected, expired, page_changed, navigated.
	Cause string
}

// Heartbeat proves every few seconds that the worker responds.
type Heartbeat struct {
	// ResidentBytes is the memory of the worker and of all of Chrome's processes,
	// without pages of files (proctree.TreeMemory).
	ResidentBytes uint64
}

// Failure means that the work has failed. Only BrowserExited follows.
type Failure struct {
	Reason reason.Code
	Detail string
	// ChromeStderr holds its last lines, escaped and redacted.
	ChromeStderr []string
}

// BrowserExited is the last event of a generation whose Chrome had started, and has
// exited.
type BrowserExited struct {
	// Exit is such as "exit 0", "signal killed", or "signal killed, by the worker".
	Exit string
}

// Outcome is the result of checking a backup.
type Outcome string

// The outcomes of ModeVerify.
const (
	// BackupVerified: the backup opens, and holds a login.
	BackupVerified Outcome = "verified"
	// BackupRejected: it does not, twice in a row, and the backup is to blame.
	BackupRejected Outcome = "rejected"
	// BackupInconclusive: it could not be found out.
	BackupInconclusive Outcome = "inconclusive"
)

// BackupChecked is the result of ModeVerify.
type BackupChecked struct {
	Outcome Outcome
	// Detail explains every outcome but BackupVerified. It contains no secret.
	Detail string
	// Databases is how many of the page's databases were opened.
	Databases int
}

func (PhaseChanged) eventBody()   {}
func (BrowserStarted) eventBody() {}
func (PageObserved) eventBody()   {}
func (QRShown) eventBody()        {}
func (QRGone) eventBody()         {}
func (Heartbeat) eventBody()      {}
func (Failure) eventBody()        {}
func (BrowserExited) eventBody()  {}
func (BackupChecked) eventBody()  {}
