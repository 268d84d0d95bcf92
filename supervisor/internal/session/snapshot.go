package session

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/qr"
)

// Snapshot is the session at one moment. It is immutable: readers share it.
type Snapshot struct {
	State State
	// Since is when this state was entered.
	Since  time.Time
	Reason reason.Code
	// ReasonSince is when this reason was first given.
	ReasonSince time.Time
	// Detail adds to the reason what is particular; it may be empty.
	Detail string
	// Phase is what the service is busy with: spawn, handshake, browser_start,
	// navigate, recognise, page, backoff, blocked or stopping.
	Phase      string
	PhaseSince time.Time
	// Evidence is when the page was last heard of; zero while it wasn't.
	Evidence time.Time
	// Progress of loading or syncing in percent; -1 when there is none to show.
	Progress int
	// Registered says that the login is in the page's storage.
	Registered bool
	// PersistedAt is when the login was first seen on disk; zero while it
	// wasn't.
	PersistedAt time.Time
	PageVersion string
	// Strain is what is wrong around the session although it goes on; empty for
	// nothing. StrainDetail adds what is particular.
	Strain       reason.Code
	StrainDetail string
	StrainSince  time.Time
	// Login is what is known of it beyond this worker.
	Login login.Status
	// PairingExpires is until when a phone can be linked by a code; zero while there
	// is none. Use Pairing to read it.
	PairingExpires time.Time

	// QR is what the page showed last. Use FreshQR to read it.
	QR *QR

	Worker  Worker
	Browser Browser
	// LastEnd is nil while no generation has ended.
	LastEnd *End
	// RetryAt is when the next attempt is due; zero when none is waited for.
	RetryAt time.Time
	// Version counts the snapshots.
	Version uint64
}

// FreshQR returns the QR that a phone could scan at now, or nil.
func (s *Snapshot) FreshQR(now time.Time) *QR {
	if s.QR != nil && s.QR.timed {
		now = now.Add(asleep() - s.QR.asleep)
	}
	if s.State != QRRequired || s.QR == nil || !now.Before(s.QR.ExpiresAt) {
		return nil
	}
	return s.QR
}

// Pairing returns until when the code that was asked for is good at now, and
// zero when there is none.
func (s *Snapshot) Pairing(now time.Time) time.Time {
	if s.State != QRRequired || !now.Before(s.PairingExpires) {
		return time.Time{}
	}
	return s.PairingExpires
}

// QR is a code that the page shows, drawn and proven readable.
type QR struct {
	Code *qr.Code
	// Generation of the worker and Seq within it identify the string.
	Generation uint64
	Seq        uint64
	// Reader found the string in the page.
	Reader    string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Renewals counts how often this generation asked the page for new codes.
	Renewals uint

	// timed says that asleep is what it was when the string was first shown.
	timed  bool
	asleep time.Duration
}

// Worker is the worker process.
type Worker struct {
	Generation uint64
	// PID is 0 while there is no process.
	PID       int
	StartedAt time.Time
	// Ends counts the generations that ended abnormally.
	Ends          int
	ResidentBytes uint64
	// Refused is why the file at --worker is not in use, and the last one that
	// worked is; empty when it is in use.
	Refused string
	// HeartbeatAt is when the last heartbeat came.
	HeartbeatAt time.Time
}

// Browser is the Chrome of the present generation, zero while there is none.
type Browser struct {
	PID       int
	Product   string
	UserAgent string
	Sandbox   bool
}

// End is how a generation ended.
type End struct {
	Generation uint64
	At         time.Time
	Reason     reason.Code
	Detail     string
	Class      string
	WorkerExit string
	ChromeExit string
	Uptime     time.Duration
	// Delay before the next start.
	Delay time.Duration
	// Failures counted in the restart policy's window.
	Failures int
}

func (m machine) fill(s *Snapshot) {
	s.State, s.Since = m.state, m.since
	s.Reason, s.ReasonSince, s.Detail = m.reason, m.reasonSince, m.detail
	s.Phase, s.PhaseSince = m.phase, m.phaseSince
	s.Evidence, s.Progress, s.PageVersion = m.evidence, m.progress, m.pageVersion
	s.Registered, s.PersistedAt = m.registered, m.persistedAt
}

var kindOf = map[rpc.Condition]Kind{
	rpc.PageLoading:      PageLoading,
	rpc.PageUnlinked:     PageUnlinked,
	rpc.PageSyncing:      PageSyncing,
	rpc.PageReady:        PageReady,
	rpc.PageDisconnected: PageDisconnected,
	rpc.PageLoggedOut:    PageLoggedOut,
	rpc.PageBlocked:      PageBlocked,
}
