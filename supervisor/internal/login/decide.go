package login

import (
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// Limits of the decisions that can be configured.
type Limits struct {
	// SettleTime is how long after the first READY of a login no planned restart
	// disturbs it. Similar projects lost logins that were closed too soon after the
	// scan; their authors advise to wait for a minute.
	SettleTime time.Duration
	// BackupHour, 0 to 23 in local time, is when a backup may cost a restart;
	// negative: never.
	BackupHour int
}

// Limits that are fixed. What they assume of WhatsApp is from field reports.
const (
	// syncTime is how long a login is protected before its first READY. The page itself
	// gives up after three minutes.
	syncTime = 5 * time.Minute
	// wipeTime is how long the page must have asked for a phone after a logout: it
	// deletes its databases meanwhile. After maxWipeTime the wait is over.
	wipeTime, maxWipeTime = 2 * time.Second, 30 * time.Second
	// missingTime is how long the page must have asked for a phone, and failedTime
	// how long its storage must have failed, although there should be a login, before
	// that login counts as lost.
	missingTime, failedTime = 5 * time.Second, 10 * time.Second
	// restoreInterval is the least time between two restores, and maxAttempts how many
	// in a row may be interrupted: together they prevent a loop.
	restoreInterval = 24 * time.Hour
	maxAttempts     = 3
	// retireInterval is the least time between a profile's move to quarantine and the
	// next that a page causes. Meanwhile the profile, which the page has emptied, stays.
	retireInterval = time.Hour
	// backupInterval is how long ago a backup must have been verified for the next
	// one to be made at the backup hour. It is less than a day, so that the hour does
	// not drift.
	backupInterval = 23 * time.Hour
)

// action is what should be done with the profile.
type action string

const (
	nothing action = ""
	// quarantine moves it away: its login has ended.
	quarantine action = "quarantine"
	// keep leaves it where it is, without its login: the quarantine is full.
	keep action = "keep"
	// erase removes it, its backups and the quarantine.
	erase action = "erase"
	// restore replaces it with a backup.
	restore action = "restore"
	// giveUp records that its login is lost.
	giveUp action = "give_up"
	// backUp restarts the worker for the sake of a backup.
	backUp action = "back_up"
)

// replaces reports whether another profile, or an empty one, takes the present one's place.
func (a action) replaces() bool { return a == quarantine || a == erase || a == restore }

// Why a profile is moved away, as part of its name in quarantine.
const (
	whyLoggedOut     = "logged_out"
	whyMissing       = "login_missing"
	whyStorageFailed = "storage_failed"
	whyNoStart       = "no_start"
	whyImported      = "import"
)

// kept is what is in the folders next to the profile.
type kept struct {
	// backup: there is one of the present login.
	backup bool
	// quarantineFull: no further profile fits.
	quarantineFull bool
}

// plan is an action, and why it is done.
type plan struct {
	action action
	why    string
}

// known is what decisions are based on, and the one that is to be carried out.
type known struct {
	record  Record
	page    page
	kept    kept
	pending plan    // what BeforeStart has to do
	logout  *logout // nil while nobody logs out
}

// replacing reports whether the profile is replaced soon, unless the page shows something
// else. It looks ahead by the longest that a page which asks for a phone is waited for.
func (k known) replacing(l Limits, now time.Time) bool {
	now = now.Add(max(wipeTime, missingTime))
	switch {
	case k.pending.action != nothing:
		return k.pending.action.replaces() && !k.overtaken()
	case k.record.ended() && k.logout != nil:
		return true
	case k.record.ended() && !k.page.asked && !k.page.pairing():
		return k.record.retire(k.kept, now) == quarantine
	}
	next, _ := decide(l, k.record, k.page, k.kept, now)
	return next.replaces()
}

// overtaken reports whether a phone was linked after the pending plan was made because the
// profile has no login: its new one must stay.
func (k known) overtaken() bool {
	switch k.pending.action {
	case quarantine:
		return k.logout == nil && k.record.LoggedOutAt.IsZero()
	case restore:
		return k.pending.why == whyMissing && k.page.linked
	}
	return false
}

// decide returns what to do at now, and why.
func decide(l Limits, r Record, p page, k kept, now time.Time) (action, string) {
	canRestore := k.backup && r.canRestore(now)
	switch {
	case p.asked, p.pairing():
		return nothing, ""
	case wiped(r, p, now):
		return r.retire(k, now), whyLoggedOut
	case r.expected() && !p.linked && passed(p.unlinkedSince, missingTime, now):
		if canRestore {
			return restore, whyMissing
		}
		return giveUp, whyMissing
	case r.expected() && passed(p.failedSince, failedTime, now) && canRestore:
		return restore, whyStorageFailed
	case l.backupDue(r, p, now):
		return backUp, ""
	}
	return nothing, ""
}

// wiped reports whether the page has had the time to delete what a logout leaves, or
// will not: then it neither asks for a phone nor is it being linked again.
func wiped(r Record, p page, now time.Time) bool {
	if !r.ended() {
		return false
	}
	switch p.condition {
	case rpc.PageLoggedOut, rpc.PageLoading, rpc.PageDisconnected:
		return passed(r.LoggedOutAt, maxWipeTime, now)
	}
	return passed(p.unlinkedSince, wipeTime, now)
}

// retire returns what to do with a profile whose login has ended.
func (r Record) retire(k kept, now time.Time) action {
	switch ago := now.Sub(r.QuarantinedAt); {
	case k.quarantineFull:
		return keep
	case !r.QuarantinedAt.IsZero() && ago >= 0 && ago < retireInterval:
		return nothing
	}
	return quarantine
}

// passed reports whether something has been so for this long.
func passed(since time.Time, d time.Duration, now time.Time) bool {
	return !since.IsZero() && now.Sub(since) >= d
}

// canRestore reports whether a backup may be restored: not twice in a row.
func (r Record) canRestore(now time.Time) bool {
	return r.Attempts < maxAttempts && (r.RestoredAt.IsZero() || now.Sub(r.RestoredAt) >= restoreInterval)
}

// backupDue reports whether it is time to restart for the sake of a backup.
func (l Limits) backupDue(r Record, p page, now time.Time) bool {
	old := func(t time.Time) bool { return t.IsZero() || passed(t, backupInterval, now) }
	return l.BackupHour >= 0 && now.Hour() == l.BackupHour && p.ready && !l.hold(r, worker.WhenIdle).After(now) &&
		old(r.BackupVerifiedAt) && old(r.BackupTriedAt)
}

// hold returns when a planned restart of this urgency stops endangering the login.
func (l Limits) hold(r Record, u worker.Urgency) time.Time {
	switch {
	case r.LinkedAt.IsZero() || !r.LoggedOutAt.IsZero():
		return time.Time{}
	case r.ReadyAt.IsZero():
		return r.LinkedAt.Add(syncTime)
	case u != worker.WhenIdle:
		return time.Time{}
	}
	return r.ReadyAt.Add(l.SettleTime)
}
