// Package view holds the JSON forms of what a snapshot tells, the same in
// GET /session, in the events and in the webhook. None of them holds the login
// string. Times are in UTC, as RFC 3339.
package view

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/session"
)

// Reason is why the session is in its state.
type Reason struct {
	Code reason.Code `json:"code"`
	// Message is a sentence in English for people.
	Message string `json:"message"`
	// Action is what the operator can do, where there is something to do.
	Action string `json:"action,omitempty"`
	// Detail is what is particular about this time.
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since"`
}

// Phase is what the service is busy with.
type Phase struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// QR tells all about a QR but its string.
type QR struct {
	Generation uint64    `json:"generation"`
	Seq        uint64    `json:"seq"`
	Reader     string    `json:"reader"`
	IssuedAt   time.Time `json:"issued_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	Renewals   uint      `json:"renewals"`
}

// Worker is the worker process.
type Worker struct {
	Generation uint64 `json:"generation"`
	// PID is left out while there is no process.
	PID           int        `json:"pid,omitempty"`
	StartedAt     *time.Time `json:"started_at"`
	AbnormalEnds  int        `json:"abnormal_ends"`
	ResidentBytes uint64     `json:"resident_bytes,omitempty"`
	// Refused is why the file at --worker is not in use.
	Refused         string     `json:"binary_refused,omitempty"`
	LastHeartbeatAt *time.Time `json:"last_heartbeat_at"`
}

// Browser is the Chrome of the present generation.
type Browser struct {
	PID       int    `json:"pid"`
	Product   string `json:"product"`
	UserAgent string `json:"user_agent"`
	Sandbox   bool   `json:"sandbox"`
}

// End is how a generation ended.
type End struct {
	Generation uint64      `json:"generation"`
	At         time.Time   `json:"at"`
	Reason     reason.Code `json:"reason"`
	Detail     string      `json:"detail,omitempty"`
	Class      string      `json:"class"`
	WorkerExit string      `json:"worker_exit,omitempty"`
	ChromeExit string      `json:"chrome_exit,omitempty"`
	UptimeMS   int64       `json:"uptime_ms"`
	DelayMS    int64       `json:"delay_ms"`
	Failures   int         `json:"failures_in_window"`
}

// Login is what is known of the login, whatever the worker does.
type Login struct {
	// LinkedAt and PersistedAt are when it was first seen in the page, and on
	// disk; null while there is none.
	LinkedAt    *time.Time `json:"linked_at"`
	PersistedAt *time.Time `json:"persisted_at"`
	// SettledAt is from when on planned restarts don't wait for it any more.
	SettledAt *time.Time `json:"settled_at"`
	// LoggedOutAt is when it was ended, LostAt when it was found gone.
	LoggedOutAt *time.Time `json:"logged_out_at"`
	LostAt      *time.Time `json:"lost_at"`
	// SnapshotAt is when the last copy was made, SnapshotVerifiedAt when one that is
	// kept was last opened in a Chrome on trial.
	SnapshotAt         *time.Time `json:"backup_at"`
	SnapshotVerifiedAt *time.Time `json:"backup_verified_at"`
	// RestoredAt is when a copy was last brought back, or that was tried.
	RestoredAt   *time.Time `json:"restored_at"`
	RestoredFrom string     `json:"restored_from,omitempty"`
	// QuarantinedAt is when a profile was last moved away, to the folder of that
	// name in admin.quarantine.
	QuarantinedAt *time.Time `json:"quarantined_at"`
	Quarantined   string     `json:"quarantined,omitempty"`
}

// Pairing tells that a code was given out, and not which.
type Pairing struct {
	ExpiresAt time.Time `json:"expires_at"`
}

// LoginOf returns the form of s.
func LoginOf(s login.Status) Login {
	return Login{
		LinkedAt: Moment(s.LinkedAt), PersistedAt: Moment(s.PersistedAt), SettledAt: Moment(s.HeldUntil),
		LoggedOutAt: Moment(s.LoggedOutAt), LostAt: Moment(s.LostAt), SnapshotAt: Moment(s.SnapshotAt),
		SnapshotVerifiedAt: Moment(s.SnapshotVerifiedAt),
		RestoredAt:         Moment(s.RestoredAt), RestoredFrom: s.RestoredFrom,
		QuarantinedAt: Moment(s.QuarantinedAt), Quarantined: s.Quarantined,
	}
}

// PairingOf returns the form of a pairing code's expiry, and nil when it is zero.
func PairingOf(expires time.Time) *Pairing {
	if expires.IsZero() {
		return nil
	}
	return &Pairing{expires.UTC()}
}

// ReasonOf returns the reason of s, with its text.
func ReasonOf(s *session.Snapshot) Reason {
	text := reason.Describe(s.Reason)
	return Reason{
		Code: s.Reason, Message: text.Message, Action: text.Action,
		Detail: s.Detail, Since: s.ReasonSince.UTC(),
	}
}

// WarningOf returns what is wrong around s although it goes on, and nil for nothing.
func WarningOf(s *session.Snapshot) *Reason {
	if s.Strain == "" {
		return nil
	}
	text := reason.Describe(s.Strain)
	return &Reason{Code: s.Strain, Message: text.Message, Action: text.Action, Detail: s.StrainDetail, Since: s.StrainSince.UTC()}
}

// PhaseOf returns the phase of s.
func PhaseOf(s *session.Snapshot) Phase { return Phase{Name: s.Phase, Since: s.PhaseSince.UTC()} }

// ProgressOf returns the progress of loading or syncing in percent, or nil.
func ProgressOf(s *session.Snapshot) *int {
	if s.Progress < 0 {
		return nil
	}
	return new(s.Progress)
}

// QROf returns the form of q, and nil of nil.
func QROf(q *session.QR) *QR {
	if q == nil {
		return nil
	}
	return &QR{q.Generation, q.Seq, q.Reader, q.IssuedAt.UTC(), q.ExpiresAt.UTC(), q.Renewals}
}

// WorkerOf returns the form of w.
func WorkerOf(w session.Worker) Worker {
	return Worker{
		Generation: w.Generation, PID: w.PID, StartedAt: Moment(w.StartedAt), AbnormalEnds: w.Ends,
		ResidentBytes: w.ResidentBytes, Refused: w.Refused, LastHeartbeatAt: Moment(w.HeartbeatAt),
	}
}

// BrowserOf returns the form of b, and nil while there is none.
func BrowserOf(b session.Browser) *Browser {
	if b.PID == 0 {
		return nil
	}
	return &Browser{b.PID, b.Product, b.UserAgent, b.Sandbox}
}

// EndOf returns the form of e, and nil of nil.
func EndOf(e *session.End) *End {
	if e == nil {
		return nil
	}
	return &End{
		e.Generation, e.At.UTC(), e.Reason, e.Detail, e.Class, e.WorkerExit, e.ChromeExit,
		e.Uptime.Milliseconds(), e.Delay.Milliseconds(), e.Failures,
	}
}

// Moment returns t, and nil when it is zero.
func Moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}
