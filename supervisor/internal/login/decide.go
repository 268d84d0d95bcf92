package login

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// Limits of the decisions. What they assume of WhatsApp is from field reports.
type Limits struct {
	// SettleTime is how long after the first READY of a login no planned restart
	// disturbs it. Similar projects lost logins that were closed too soon after the
	// scan; their authors advise to wait for a minute.
	SettleTime time.Duration
	// SyncTime is how long a login is protected that has not become READY. The page
	// itself gives up after three minutes.
	SyncTime time.Duration
	// WipeTime is how long the page must have asked for a phone after a logout: it
	// deletes its databases meanwhile. MaxWipeTime is when that is no longer waited
	// for.
	WipeTime, MaxWipeTime time.Duration
	// MissingTime is how long the page must have asked for a phone, and FailedTime
	// how long its storage must have failed, although there should be a login, before
	// that login counts as lost.
	MissingTime, FailedTime time.Duration
	// RestoreInterval is the least time between two restores: it prevents a loop.
	RestoreInterval time.Duration
	// BackupInterval is how long ago a backup must have been verified for the next
	// one to be made at the backup hour. It is less than a day, so that the hour does
	// not drift.
	BackupInterval time.Duration
	// BackupHour, 0 to 23 in local time, is when a backup may cost a restart;
	// negative: never.
	BackupHour int
	// BackupTime bounds the making of a backup, and StopBackupTime that at a stop.
	BackupTime, StopBackupTime time.Duration
}

// DefaultLimits returns the limits of the service when nothing is configured.
func DefaultLimits() Limits {
	return Limits{
		SettleTime: time.Minute, SyncTime: 5 * time.Minute,
		WipeTime: 2 * time.Second, MaxWipeTime: 30 * time.Second,
		MissingTime: 5 * time.Second, FailedTime: 10 * time.Second, RestoreInterval: 24 * time.Hour,
		BackupInterval: 23 * time.Hour, BackupHour: 4,
		BackupTime: 20 * time.Second, StopBackupTime: 5 * time.Second,
	}
}

// action is what should be done with the profile.
type action string

const (
	nothing action = ""
	// quarantine moves it away: its login has ended.
	quarantine action = "quarantine"
	// erase removes it, its backups and the quarantine.
	erase action = "erase"
	// restore replaces it with a backup.
	restore action = "restore"
	// giveUp records that its login is lost.
	giveUp action = "give_up"
	// backUp restarts the worker for the sake of a backup.
	backUp action = "back_up"
)

// Why a profile is moved away, as part of its name in quarantine.
const (
	whyLoggedOut     = "logged_out"
	whyMissing       = "login_missing"
	whyStorageFailed = "storage_failed"
	whyNoStart       = "no_start"
	whyImported      = "import"
)

// decide returns what to do at now, and why. hasBackup: there is a backup of this
// login.
func decide(l Limits, r Record, p page, hasBackup bool, now time.Time) (action, string) {
	canRestore := hasBackup && r.canRestore(l, now)
	switch {
	case p.asked, p.reason == reason.PairingCodeShown:
		return nothing, ""
	case l.wiped(r, p, now):
		return quarantine, whyLoggedOut
	case r.expected() && !p.linked && passed(p.unlinkedSince, l.MissingTime, now):
		if canRestore {
			return restore, whyMissing
		}
		return giveUp, whyMissing
	case r.expected() && passed(p.failedSince, l.FailedTime, now) && canRestore:
		return restore, whyStorageFailed
	case l.backupDue(r, p, now):
		return backUp, ""
	}
	return nothing, ""
}

// wiped reports whether the page has had the time to delete what a logout leaves, or
// will not: then it neither asks for a phone nor is it being linked again.
func (l Limits) wiped(r Record, p page, now time.Time) bool {
	if r.LinkedAt.IsZero() || r.LoggedOutAt.IsZero() {
		return false
	}
	switch p.condition {
	case rpc.PageLoggedOut, rpc.PageLoading, rpc.PageDisconnected:
		return passed(r.LoggedOutAt, l.MaxWipeTime, now)
	}
	return passed(p.unlinkedSince, l.WipeTime, now)
}

// passed reports whether something has been so for this long.
func passed(since time.Time, d time.Duration, now time.Time) bool {
	return !since.IsZero() && now.Sub(since) >= d
}

// maxAttempts is how many restores in a row may be interrupted.
const maxAttempts = 3

// canRestore reports whether a backup may be restored: not twice in a row.
func (r Record) canRestore(l Limits, now time.Time) bool {
	return r.Attempts < maxAttempts && (r.RestoredAt.IsZero() || now.Sub(r.RestoredAt) >= l.RestoreInterval)
}

// backupDue reports whether it is time to restart for the sake of a backup.
func (l Limits) backupDue(r Record, p page, now time.Time) bool {
	old := func(t time.Time) bool { return t.IsZero() || passed(t, l.BackupInterval, now) }
	return l.BackupHour >= 0 && now.Hour() == l.BackupHour && p.ready && !l.hold(r, worker.WhenIdle).After(now) &&
		old(r.BackupVerifiedAt) && old(r.BackupTriedAt)
}

// hold returns until when a planned restart of this urgency would endanger the login.
func (l Limits) hold(r Record, u worker.Urgency) time.Time {
	switch {
	case r.LinkedAt.IsZero() || !r.LoggedOutAt.IsZero():
		return time.Time{}
	case r.ReadyAt.IsZero():
		return r.LinkedAt.Add(l.SyncTime)
	case u != worker.WhenIdle:
		return time.Time{}
	}
	return r.ReadyAt.Add(l.SettleTime)
}
