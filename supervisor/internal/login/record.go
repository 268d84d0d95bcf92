package login

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/worker"
)

// Record is what is known about the login. It outlives the supervisor. A time is
// zero while the thing has not happened.
type Record struct {
	// Stamp identifies the profile that this is about.
	Stamp string `json:"stamp"`
	// LinkedAt is when the login was first seen in the page's storage, and zero
	// again when it has gone.
	LinkedAt time.Time `json:"linked_at,omitzero"`
	// PersistedAt is when it was first seen on disk.
	PersistedAt time.Time `json:"persisted_at,omitzero"`
	// ReadyAt is when it was first on disk and usable.
	ReadyAt time.Time `json:"ready_at,omitzero"`
	// ProfileReadyAt is when the profile first held a login that was READY. Unlike
	// ReadyAt it outlives that login: what a page does later must not make the profile
	// look worthless.
	ProfileReadyAt time.Time `json:"profile_ready_at,omitzero"`
	// LoggedOutAt is when the link was ended: by the phone, by WhatsApp or by
	// command.
	LoggedOutAt time.Time `json:"logged_out_at,omitzero"`
	// LostAt is when it was found missing although nobody had logged out, and no
	// backup could be restored.
	LostAt time.Time `json:"lost_at,omitzero"`

	// BackupAt is when the last backup was made, BackupVerifiedAt when one that is
	// kept was last verified, and BackupTriedAt when a restart was last requested
	// for the sake of a backup.
	BackupAt         time.Time `json:"backup_at,omitzero"`
	BackupVerifiedAt time.Time `json:"backup_verified_at,omitzero"`
	BackupTriedAt    time.Time `json:"backup_tried_at,omitzero"`
	// RestoredAt is when a backup was last restored, or none was found usable;
	// RestoredFrom is its name, empty in the second case. Attempts counts the
	// restores begun since: one that a death interrupts must not be the only one.
	RestoredAt   time.Time `json:"restored_at,omitzero"`
	RestoredFrom string    `json:"restored_from,omitempty"`
	Attempts     int       `json:"attempts,omitempty"`
	// QuarantinedAt is when a profile was last moved to quarantine, or could not be;
	// Quarantined is the name of its folder there, empty in the second case.
	QuarantinedAt time.Time `json:"quarantined_at,omitzero"`
	Quarantined   string    `json:"quarantined,omitempty"`
}

// LoadRecord reads the record in a tokens folder, which a running supervisor may
// use, or zero.
func LoadRecord(tokens string) (Record, error) {
	p, err := profile.View(tokens)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := p.Login.Load(&r); err != nil {
		return Record{}, fmt.Errorf("cannot load record of the login: %w", err)
	}
	return r, nil
}

// withoutLogin is what is still known when the login is gone.
func (r Record) withoutLogin() Record {
	r.LinkedAt, r.PersistedAt, r.ReadyAt, r.LoggedOutAt, r.Attempts = time.Time{}, time.Time{}, time.Time{}, time.Time{}, 0
	return r
}

// forProfile is the record for the profile with this stamp. If it is not the one in
// the record, somebody put it there, or it is empty, and nothing is known about it.
func (r Record) forProfile(stamp string) Record {
	if r.Stamp == stamp {
		return r
	}
	r = r.withoutLogin()
	r.Stamp, r.LostAt, r.ProfileReadyAt = stamp, time.Time{}, time.Time{}
	r.BackupAt, r.BackupVerifiedAt, r.BackupTriedAt = time.Time{}, time.Time{}, time.Time{}
	return r
}

// former describes the profile for the quarantine.
func (r Record) former(why string, now time.Time) profile.Former {
	return profile.Former{
		QuarantinedAt: now.UTC(), Why: why, Stamp: r.Stamp,
		LinkedAt: r.LinkedAt, ReadyAt: first(r.ProfileReadyAt, r.ReadyAt),
	}
}

// ended reports whether the profile has what is left of a login whose link was ended.
func (r Record) ended() bool { return !r.LinkedAt.IsZero() && !r.LoggedOutAt.IsZero() }

// expected reports whether there should be a login on disk.
func (r Record) expected() bool { return !r.PersistedAt.IsZero() && r.LoggedOutAt.IsZero() }

// page is what the page has shown of the login in the present worker instance.
type page struct {
	// linked: the login was in the page's storage at some time.
	linked bool
	// ready: it is on disk and usable now.
	ready     bool
	condition rpc.Condition
	reason    reason.Code
	// unlinkedSince is when the page began to ask for a phone, and failedSince when
	// its storage began to fail; zero if it does not.
	unlinkedSince, failedSince time.Time
	// asked: the end of this instance was requested.
	asked bool
}

// observe returns the page after an observation.
func (p page) observe(o rpc.PageObserved, now time.Time) page {
	p.linked = p.linked || o.Registered
	p.ready = o.Condition == rpc.PageReady && o.Registered && o.Persisted
	p.condition, p.reason = o.Condition, o.Reason
	p.unlinkedSince = since(p.unlinkedSince, o.Condition == rpc.PageUnlinked && !o.Registered, now)
	p.failedSince = since(p.failedSince, o.Reason == reason.StorageFailed, now)
	return p
}

// loggedOut reports whether the page shows that the link was ended.
func (p page) loggedOut() bool {
	return p.condition == rpc.PageLoggedOut || !p.unlinkedSince.IsZero() && p.reason == reason.LoggedOut
}

// pairing reports whether somebody types a code, or is about to.
func (p page) pairing() bool {
	return p.reason == reason.PairingCodeShown || p.reason == reason.PairingRequested
}

// observe returns the record and the page after an observation.
func observe(r Record, p page, o rpc.PageObserved, now time.Time) (Record, page) {
	p = p.observe(o, now)
	if o.Registered {
		r = r.linked(o.Persisted, now)
	}
	if p.ready {
		r.Attempts, r.ReadyAt = 0, first(r.ReadyAt, now)
		r.ProfileReadyAt = first(r.ProfileReadyAt, r.ReadyAt)
	}
	switch {
	case !p.loggedOut() || r.LinkedAt.IsZero():
	case r.PersistedAt.IsZero():
		r = r.withoutLogin() // It was never on disk, so nothing has ended there.
	default:
		r.LoggedOutAt = first(r.LoggedOutAt, now)
	}
	if !p.unlinkedSince.IsZero() && !p.linked && r.PersistedAt.IsZero() && r.LoggedOutAt.IsZero() {
		r = r.withoutLogin() // Chrome was killed before the login was on disk.
	}
	return r, p
}

// linked is the record while the login is in the page's storage.
func (r Record) linked(persisted bool, now time.Time) Record {
	if r.LinkedAt.IsZero() || !r.LoggedOutAt.IsZero() {
		r = r.withoutLogin()
		r.LinkedAt, r.LostAt = now, time.Time{}
	}
	if persisted {
		r.PersistedAt = first(r.PersistedAt, now)
	}
	return r
}

// since is when a condition began that holds, or does not, now.
func since(began time.Time, holds bool, now time.Time) time.Time {
	if !holds {
		return time.Time{}
	}
	return first(began, now)
}

// first is when something happened first that has happened again now.
func first(before, now time.Time) time.Time {
	if before.IsZero() {
		return now
	}
	return before
}

// Status is what others are shown of the login.
type Status struct {
	Record
	// HeldUntil is when planned restarts stop waiting for the login.
	HeldUntil time.Time
	// Replacing means that the profile is about to be replaced, so that a phone that is
	// linked now might lose its link.
	Replacing bool
}

// journal saves the record, logs what has happened to the login, and publishes its
// status. Its methods are called with the Manager's mu held.
type journal struct {
	limits  Limits
	log     *slog.Logger
	now     func() time.Time
	publish func(Status)
	file    profile.JSONFile // empty while the profile is not known
	saved   Record
	status  atomic.Pointer[Status] // may be read without mu
}

// load returns the record in the file, from now on kept there. It returns an error when
// what is in the file can be found out later.
func (j *journal) load(file profile.JSONFile) (r Record, err error) {
	if err = file.Load(&r); errors.Is(err, smallfile.ErrSlow) {
		return r, err
	} else if err != nil {
		j.log.Warn(logid.LoginReadFailed, logging.KeyError, err)
	}
	j.file, j.saved = file, r
	return r, nil
}

// save keeps the record if it has changed, and reports. If the record can't be written, the
// next save tries again.
func (j *journal) save(k known) {
	r := k.record
	if r != j.saved && j.file != "" {
		if err := j.file.Save(r); err != nil {
			j.log.Warn(logid.LoginRecordFailed, logging.KeyError, err)
		} else {
			j.saved = r
		}
	}
	j.report(k)
}

// report publishes the status if it has changed.
func (j *journal) report(k known) {
	status := Status{Record: k.record, HeldUntil: j.limits.hold(k.record, worker.WhenIdle), Replacing: k.replacing(j.limits, j.now())}
	if status != *j.status.Load() {
		j.status.Store(&status)
		j.publish(status)
	}
}

// logChanges logs what has happened to the login between two records.
func (j *journal) logChanges(before, after Record) {
	for _, e := range []struct {
		id      string
		was, is time.Time
	}{
		{logid.LoginLinked, before.LinkedAt, after.LinkedAt},
		{logid.LoginPersisted, before.PersistedAt, after.PersistedAt},
		{logid.LoginConfirmed, before.ReadyAt, after.ReadyAt},
		{logid.LoginEnded, before.LoggedOutAt, after.LoggedOutAt},
	} {
		if !e.is.IsZero() && !e.is.Equal(e.was) {
			j.log.Info(e.id)
		}
	}
}
