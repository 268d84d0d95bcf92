package login

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// Limits of the decisions. Their reasons are in the comments; the times on
// WhatsApp are from field reports.
type Limits struct {
	// Settle is how long after the first READY of a login no planned restart
	// disturbs it. Peers lost logins that were closed too soon after the scan;
	// their makers advise to wait for a minute.
	Settle time.Duration
	// Sync bounds how long a login may take from the scan to READY before it is
	// no longer protected. The page itself gives up after three minutes.
	Sync time.Duration
	// Wiped is how long the page must have asked for a phone after a logout: it
	// deletes its databases meanwhile. WipedAnyhow is when that is not waited
	// for any more.
	Wiped, WipedAnyhow time.Duration
	// Missing is how long the page must have asked for a phone although a login
	// should be there, before that login is held to be lost. Failed is the same
	// for storage that can't be used.
	Missing, Failed time.Duration
	// Again is how long after a copy was brought back no other one is: it makes
	// a loop impossible.
	Again time.Duration
	// SnapshotAge is how long ago a copy must last have been opened on trial for
	// one to be made at the quiet hour. It is less than a day, so that the hour
	// does not drift.
	SnapshotAge time.Duration
	// QuietHour, 0 to 23 in local time, is when a copy may cost a restart;
	// negative: never.
	QuietHour int
	// Copy and CopyAtStop bound the making of a copy.
	Copy, CopyAtStop time.Duration
}

// DefaultLimits returns the limits in force when none are set.
func DefaultLimits() Limits {
	return Limits{
		Settle: time.Minute, Sync: 5 * time.Minute,
		Wiped: 2 * time.Second, WipedAnyhow: 30 * time.Second,
		Missing: 5 * time.Second, Failed: 10 * time.Second, Again: 24 * time.Hour,
		SnapshotAge: 23 * time.Hour, QuietHour: 4,
		Copy: 20 * time.Second, CopyAtStop: 5 * time.Second,
	}
}

// plan is what should be done with the profile.
type plan string

const (
	// leave it as it is.
	leave plan = ""
	// retire moves it to quarantine: its login has ended.
	retire plan = "retire"
	// erase removes it, and all that was kept of earlier ones.
	erase plan = "erase"
	// restore replaces it by a copy.
	restore plan = "restore"
	// forget notes that its login is lost.
	forget plan = "forget"
	// snapshot restarts it for the sake of a copy.
	snapshot plan = "snapshot"
)

// Why a profile goes, as part of its name in quarantine.
const (
	whyLoggedOut = "logged_out"
	whyMissing   = "login_missing"
	whyFailed    = "storage_failed"
	whyNoStart   = "no_start"
)

// decide says what to do, and why, at now. copies says that there is a snapshot
// of this very login.
func decide(l Limits, m Memory, g glimpse, copies bool, now time.Time) (plan, string) {
	passed := func(since time.Time, d time.Duration) bool { return !since.IsZero() && now.Sub(since) >= d }
	held := !m.PersistedAt.IsZero() && m.LoggedOutAt.IsZero()
	switch {
	case g.asked, g.why == reason.PairingCodeShown:
		return leave, ""
	case !m.LinkedAt.IsZero() && (passed(g.unlinkedSince, l.Wiped) && !m.LoggedOutAt.IsZero() ||
		passed(m.LoggedOutAt, l.WipedAnyhow) && stuckAfterLogout(g.condition)):
		return retire, whyLoggedOut
	case held && !g.linked && passed(g.unlinkedSince, l.Missing):
		if copies && m.mayRestore(l, now) {
			return restore, whyMissing
		}
		return forget, whyMissing
	case held && passed(g.failedSince, l.Failed) && copies && m.mayRestore(l, now):
		return restore, whyFailed
	case l.backupDue(m, g, now):
		return snapshot, ""
	}
	return leave, ""
}

// stuckAfterLogout says that a page which was logged out neither asks for a phone
// nor is being linked again.
func stuckAfterLogout(c rpc.Condition) bool {
	return c == rpc.PageLoggedOut || c == rpc.PageLoading || c == rpc.PageDisconnected
}

// maxAttempts is how often a restore may be begun without an end.
const maxAttempts = 3

// mayRestore says whether a copy may be brought back: not twice in a row.
func (m Memory) mayRestore(l Limits, now time.Time) bool {
	return m.Attempts < maxAttempts && (m.RestoredAt.IsZero() || now.Sub(m.RestoredAt) >= l.Again)
}

// snapshotDue says whether a restart for the sake of a copy is worth it now.
func (l Limits) backupDue(m Memory, g glimpse, now time.Time) bool {
	old := func(t time.Time) bool { return t.IsZero() || now.Sub(t) >= l.SnapshotAge }
	return l.QuietHour >= 0 && now.Hour() == l.QuietHour && g.ready && !l.hold(m, worker.WhenIdle).After(now) &&
		old(m.SnapshotVerifiedAt) && old(m.TriedAt)
}

// hold returns until when a planned restart of this urgency would endanger the
// login.
func (l Limits) hold(m Memory, u worker.Urgency) time.Time {
	switch {
	case m.LinkedAt.IsZero() || !m.LoggedOutAt.IsZero():
		return time.Time{}
	case m.ReadyAt.IsZero():
		return m.LinkedAt.Add(l.Sync)
	case u != worker.WhenIdle:
		return time.Time{}
	}
	return m.ReadyAt.Add(l.Settle)
}
