package session

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/worker"
)

// Snapshot is the session at one moment. It is immutable: readers share it. Its
// JSON is what GET /session serves, and parts of it are the bodies of events and
// of crash reports; it never holds the QR payload.
type Snapshot struct {
	State State `json:"status"`
	// Since is when this state was entered.
	Since  Moment `json:"since"`
	Reason Reason `json:"reason"`
	Phase  Phase  `json:"phase"`
	Evidence
	// Warnings are problems that leave the state alone, and Warning is the first of them,
	// or nil.
	Warnings Reasons `json:"warnings"`
	Warning  *Reason `json:"warning"`
	Login    Login   `json:"login"`
	Messaging
	Linking
	// QR is what the page showed last. Use FreshQR to read it.
	QR *QR `json:"qr"`
	Processes
	Page Page `json:"page"`
	// Healthy reports whether the page was observed lately and does what it should,
	// as the restart policy understands it.
	Healthy bool `json:"-"`
	// Version counts the snapshots.
	Version uint64 `json:"-"`
}

// At returns s as it is at now: with the age of the evidence, and without a QR or
// a pairing code that has expired.
func (s *Snapshot) At(now time.Time) *Snapshot {
	c := *s
	c.QR = s.FreshQR(now)
	if c.Pairing != nil && !now.Before(c.Pairing.ExpiresAt.Time) {
		c.Pairing = nil
	}
	if !c.EvidenceAt.IsZero() {
		c.EvidenceAgeMS = new(now.Sub(c.EvidenceAt.Time).Milliseconds())
	}
	return &c
}

// FreshQR returns the QR that a phone could scan at now, or nil.
func (s *Snapshot) FreshQR(now time.Time) *QR {
	if s.QR != nil && s.QR.timed {
		now = now.Add(asleep() - s.QR.asleep)
	}
	if s.State != QRRequired || s.QR == nil || !now.Before(s.QR.ExpiresAt.Time) {
		return nil
	}
	return s.QR
}

// Moment is a point in time. Its JSON is in UTC, and null for the zero Moment.
type Moment struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (m Moment) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return []byte("null"), nil
	}
	return m.UTC().MarshalJSON()
}

// Percent is a progress; a negative one is unknown, and null in JSON.
type Percent int

// MarshalJSON implements json.Marshaler.
func (p Percent) MarshalJSON() ([]byte, error) {
	if p < 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(p), 10), nil
}

// Reason is why the session is in its state, or what a warning is about.
type Reason struct {
	Code reason.Code `json:"code"`
	// Message is a sentence in English for people.
	Message string `json:"message"`
	// Action is what the operator can do, if anything.
	Action string `json:"action,omitempty"`
	// Detail is specific to this occurrence.
	Detail string `json:"detail,omitempty"`
	// Since is when this reason was first given.
	Since Moment `json:"since"`
}

// NewReason returns a Reason with the texts of its code.
func NewReason(c reason.Code, detail string, since time.Time) Reason {
	text := reason.Describe(c)
	return Reason{Code: c, Message: text.Message, Action: text.Action, Detail: detail, Since: Moment{since}}
}

// Reasons is a list whose JSON is never null.
type Reasons []Reason

// MarshalJSON implements json.Marshaler.
func (r Reasons) MarshalJSON() ([]byte, error) { return json.Marshal(append([]Reason{}, r...)) }

// warned returns the Reasons of all warnings at now. Those that are in before have not
// begun now.
func warned(before Reasons, all []reason.Warning, now time.Time) (after Reasons) {
	for _, w := range all {
		since := now
		if i := slices.IndexFunc(before, func(r Reason) bool { return r.Code == w.Code }); i >= 0 {
			since = before[i].Since.Time
		}
		after = append(after, NewReason(w.Code, w.Detail, since))
	}
	return after
}

// Phase is what the service is busy with.
type Phase struct {
	// Name is spawn, handshake, browser_start, navigate, recognise, page, backoff,
	// blocked or stopping.
	Name  string `json:"name"`
	Since Moment `json:"since"`
}

// Evidence is what the page last showed of itself.
type Evidence struct {
	// EvidenceAt is when the page was last observed; zero while it isn't.
	EvidenceAt Moment `json:"-"`
	// EvidenceAgeMS is set by Snapshot.At.
	EvidenceAgeMS *int64 `json:"evidence_age_ms"`
	// Progress of loading or syncing.
	Progress Percent `json:"progress_percent"`
	// Registered reports whether the login is in the page's storage.
	Registered bool `json:"registered"`
	// PersistedAt is when the present login was first seen on disk.
	PersistedAt Moment `json:"persisted_at"`
}

// Page is WhatsApp's page.
type Page struct {
	Version string `json:"version,omitempty"`
}

// Login is what is known of the login, independently of the worker. A moment is
// zero while the thing has not happened.
type Login struct {
	// LinkedAt and PersistedAt are when it was first seen in the page, and on disk.
	LinkedAt    Moment `json:"linked_at"`
	PersistedAt Moment `json:"persisted_at"`
	// SettledAt is when planned restarts stop waiting for it.
	SettledAt   Moment `json:"settled_at"`
	LoggedOutAt Moment `json:"logged_out_at"`
	// LostAt is when it was found missing.
	LostAt   Moment `json:"lost_at"`
	BackupAt Moment `json:"backup_at"`
	// BackupVerifiedAt is when one of the present backups was last opened in a Chrome.
	BackupVerifiedAt Moment `json:"backup_verified_at"`
	// RestoredAt is when a backup was last restored, or none was fit to be.
	RestoredAt   Moment `json:"restored_at"`
	RestoredFrom string `json:"restored_from,omitempty"`
	// QuarantinedAt is when a profile was last moved to the folder Quarantined in
	// admin.quarantine.
	QuarantinedAt Moment `json:"quarantined_at"`
	Quarantined   string `json:"quarantined,omitempty"`
}

func loginOf(s login.Status) Login {
	return Login{
		LinkedAt: Moment{s.LinkedAt}, PersistedAt: Moment{s.PersistedAt}, SettledAt: Moment{s.HeldUntil},
		LoggedOutAt: Moment{s.LoggedOutAt}, LostAt: Moment{s.LostAt},
		BackupAt: Moment{s.BackupAt}, BackupVerifiedAt: Moment{s.BackupVerifiedAt},
		RestoredAt: Moment{s.RestoredAt}, RestoredFrom: s.RestoredFrom,
		QuarantinedAt: Moment{s.QuarantinedAt}, Quarantined: s.Quarantined,
	}
}

// Linking is what a person does to link a phone other than by the QR.
type Linking struct {
	// Pairing is nil while no code has been given out.
	Pairing *Pairing `json:"pairing"`
	Passkey Passkey  `json:"passkey"`
}

// Pairing means that a code to link a phone was given out, not which.
type Pairing struct {
	ExpiresAt Moment `json:"expires_at"`
}

// Messaging is what the page can do with messages.
type Messaging struct {
	// Sending is nil while the page has not reported it.
	Sending *Sending `json:"sending"`
	// Receiving is nil while it has not, or if it is not asked to.
	Receiving *Receiving `json:"receiving"`
}

// Sending is whether the page can send messages.
type Sending struct {
	Possible bool `json:"possible"`
	// Why explains why not.
	Why      string   `json:"why,omitempty"`
	NewChats NewChats `json:"new_chats"`
}

// Receiving is whether the page's messages, and reactions to them, can be read.
type Receiving struct {
	Possible  bool `json:"possible"`
	Reactions bool `json:"reactions"`
	// Why explains what is not possible.
	Why string `json:"why,omitempty"`
}

// NewChats is what WhatsApp lets the account do with people it has never talked to.
type NewChats struct {
	Restricted      bool   `json:"restricted"`
	RestrictedUntil Moment `json:"restricted_until,omitzero"`
	Capped          bool   `json:"capped"`
	// Used and Quota count new chats; a Quota of 0 stands for none.
	Used        int    `json:"used"`
	Quota       int    `json:"quota"`
	CappedUntil Moment `json:"capped_until,omitzero"`
	Challenge   bool   `json:"challenge"`
}

func sendingOf(s rpc.SendingObserved) *Sending {
	n := s.NewChats
	return &Sending{Possible: s.Possible, Why: s.Why, NewChats: NewChats{
		Restricted: n.Restricted, RestrictedUntil: Moment{n.RestrictedUntil},
		Capped: n.Capped, Used: n.Used, Quota: n.Quota, CappedUntil: Moment{n.CappedUntil}, Challenge: n.Challenge,
	}}
}

// warnings are those about what the account may not do.
func (s *Sending) warnings() (all []reason.Warning) {
	until := func(m Moment) string {
		if m.IsZero() {
			return ""
		}
		return "until " + m.UTC().Format(time.RFC3339)
	}
	if s.NewChats.Restricted {
		all = append(all, reason.Warning{Code: reason.NewChatsRestricted, Detail: until(s.NewChats.RestrictedUntil)})
	}
	if s.NewChats.Capped {
		all = append(all, reason.Warning{Code: reason.NewChatsCapped, Detail: until(s.NewChats.CappedUntil)})
	}
	if s.NewChats.Challenge {
		all = append(all, reason.Warning{Code: reason.ChallengeRequired})
	}
	return all
}

// QR is a code that the page shows, drawn and proven readable. Its JSON holds
// everything but the code itself.
type QR struct {
	Code *qr.Code `json:"-"`
	// Generation of the worker and Seq within it identify the payload.
	Generation uint64 `json:"generation"`
	Seq        uint64 `json:"seq"`
	// Reader found the payload in the page.
	Reader    string `json:"reader"`
	IssuedAt  Moment `json:"issued_at"`
	ExpiresAt Moment `json:"expires_at"`
	// Renewals counts how often this generation asked the page for new codes.
	Renewals uint `json:"renewals"`

	// timed reports whether asleep was measured when the payload was first shown.
	timed  bool
	asleep time.Duration
}

// Same reports whether q and other encode the same payload.
func (q *QR) Same(other *QR) bool {
	if q == nil || other == nil {
		return q == other
	}
	return q.Generation == other.Generation && q.Seq == other.Seq
}

// asleep is how long the machine has been suspended since it was booted. Go's
// monotonic clock stands still meanwhile, as does the page's; WhatsApp's server,
// which decides when a code expires, does not sleep.
func asleep() time.Duration {
	var all, awake unix.Timespec
	// These clocks exist on every Linux that Chrome runs on (clock_gettime(2)).
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	// Some time passes between the two readings.
	return time.Duration(all.Nano() - awake.Nano()).Round(time.Second)
}

// Processes are the worker, its Chrome, and what became of the last ones.
type Processes struct {
	Worker Worker `json:"worker"`
	// Browser is nil while no Chrome runs.
	Browser *Browser `json:"browser"`
	// LastExit is nil until a generation has exited.
	LastExit *Exit `json:"last_exit"`
	// RetryAt is when the next attempt is due: a start, or to end a conflict; zero when none is
	// scheduled.
	RetryAt Moment `json:"retry_at"`
}

// Worker is the worker process.
type Worker struct {
	Generation uint64 `json:"generation"`
	// PID is 0 while there is no process.
	PID       int    `json:"pid,omitempty"`
	StartedAt Moment `json:"started_at"`
	// AbnormalExits counts the generations whose exit was not planned.
	AbnormalExits int    `json:"abnormal_exits"`
	ResidentBytes uint64 `json:"resident_bytes,omitempty"`
	HeartbeatAt   Moment `json:"last_heartbeat_at"`
}

// Browser is the Chrome of the present generation.
type Browser struct {
	PID       int           `json:"pid"`
	Engine    chrome.Engine `json:"engine"`
	Product   string        `json:"product"`
	UserAgent string        `json:"user_agent"`
	Sandbox   bool          `json:"sandbox"`
}

// Exit is how a generation exited.
type Exit struct {
	Generation uint64      `json:"generation"`
	At         Moment      `json:"at"`
	Reason     reason.Code `json:"reason"`
	Detail     string      `json:"detail,omitempty"`
	Class      string      `json:"class,omitempty"`
	WorkerExit string      `json:"worker_exit,omitempty"`
	ChromeExit string      `json:"chrome_exit,omitempty"`
	UptimeMS   int64       `json:"uptime_ms"`
	// DelayMS is the pause before the next start.
	DelayMS int64 `json:"delay_ms"`
	// Failures counts those in the restart policy's window.
	Failures int `json:"failures_in_window"`
}

// NewExit returns the Exit that n reports.
func NewExit(n worker.Exited, at time.Time) Exit {
	return Exit{
		Generation: n.Generation, At: Moment{at}, Reason: n.Reason, Detail: n.Detail, Class: string(n.Class),
		WorkerExit: n.WorkerExit, ChromeExit: n.ChromeExit,
		UptimeMS: n.Uptime.Milliseconds(), DelayMS: n.Delay.Milliseconds(), Failures: n.Failures,
	}
}
