package login

import (
	"fmt"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
)

// Memory is what is known of the login, and outlives the supervisor. All times
// are zero while what they tell has not happened.
type Memory struct {
	// Stamp names the profile that all this is about.
	Stamp string `json:"stamp"`
	// LinkedAt is when the login was first seen in the page's storage, and zero
	// again when it has gone.
	LinkedAt time.Time `json:"linked_at,omitzero"`
	// PersistedAt is when it was first seen on disk.
	PersistedAt time.Time `json:"persisted_at,omitzero"`
	// ReadyAt is when it was first on disk and usable.
	ReadyAt time.Time `json:"ready_at,omitzero"`
	// LoggedOutAt is when the link was ended: by the phone, by WhatsApp or by
	// command.
	LoggedOutAt time.Time `json:"logged_out_at,omitzero"`
	// LostAt is when it was found gone although nobody had logged out, and no
	// copy could be brought back.
	LostAt time.Time `json:"lost_at,omitzero"`

	// SnapshotAt is when the last copy was made, SnapshotVerifiedAt when one that
	// is kept was last opened on trial, and TriedAt when a restart was last asked
	// for in order to make one.
	SnapshotAt         time.Time `json:"backup_at,omitzero"`
	SnapshotVerifiedAt time.Time `json:"backup_verified_at,omitzero"`
	TriedAt            time.Time `json:"tried_at,omitzero"`
	// RestoredAt is when a copy was last brought back, or none was found fit;
	// RestoredFrom is its name, empty when none was. Attempts counts those begun
	// since: a death in the middle must not use up the only one.
	RestoredAt   time.Time `json:"restored_at,omitzero"`
	RestoredFrom string    `json:"restored_from,omitempty"`
	Attempts     int       `json:"attempts,omitempty"`
	// QuarantinedAt is when a profile was last moved away, and Quarantined the
	// name of its folder.
	QuarantinedAt time.Time `json:"quarantined_at,omitzero"`
	Quarantined   string    `json:"quarantined,omitempty"`
}

// Recall reads what a supervisor, which may be running, has noted of the login in
// the tokens folder; the zero Memory when there is nothing.
func Recall(tokens string) (Memory, error) {
	folder, err := profile.View(tokens)
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	if err := folder.Login.Load(&m); err != nil {
		return Memory{}, fmt.Errorf("cannot recall login: %w", err)
	}
	return m, nil
}

// without is what is left to know when the login is no more.
func (m Memory) without() Memory {
	m.LinkedAt, m.PersistedAt, m.ReadyAt, m.LoggedOutAt, m.Attempts = time.Time{}, time.Time{}, time.Time{}, time.Time{}, 0
	return m
}

// of is the memory for the profile that is there now. One that is not the
// remembered one was put there by somebody, or is empty: nothing is known of it.
func (m Memory) of(stamp string) Memory {
	if m.Stamp == stamp {
		return m
	}
	m = m.without()
	m.Stamp, m.LostAt = stamp, time.Time{}
	m.SnapshotAt, m.SnapshotVerifiedAt, m.TriedAt = time.Time{}, time.Time{}, time.Time{}
	return m
}

// glimpse is what one generation has shown of the login.
type glimpse struct {
	// linked says that the login was in the page's storage at some time.
	linked bool
	// ready says that it is usable and on disk now.
	ready bool
	// condition is the page's last one, and why its reason.
	condition rpc.Condition
	why       reason.Code
	// unlinkedSince is since when the page has asked for a phone, failedSince
	// since when its storage has failed; zero while it doesn't, or hasn't.
	unlinkedSince, failedSince time.Time
	// asked says that an end of this generation was asked for.
	asked bool
}

// observe takes in what the page was seen in.
func observe(m Memory, g glimpse, o rpc.PageObserved, now time.Time) (Memory, glimpse) {
	if o.Registered {
		g.linked = true
		if m.LinkedAt.IsZero() || !m.LoggedOutAt.IsZero() {
			m = m.without()
			m.LinkedAt, m.LostAt = now, time.Time{}
		}
		if o.Persisted && m.PersistedAt.IsZero() {
			m.PersistedAt = now
		}
	}
	g.ready = o.Condition == rpc.PageReady && o.Registered && o.Persisted
	if g.ready {
		m.Attempts = 0
		if m.ReadyAt.IsZero() {
			m.ReadyAt = now
		}
	}
	unlinked := o.Condition == rpc.PageUnlinked && !o.Registered
	if o.Condition == rpc.PageLoggedOut || unlinked && o.Reason == reason.LoggedOut {
		if !m.LinkedAt.IsZero() && m.LoggedOutAt.IsZero() {
			m.LoggedOutAt = now
		}
	}
	if unlinked && !g.linked && m.PersistedAt.IsZero() && m.LoggedOutAt.IsZero() {
		m = m.without() // A death took it away before it was on disk.
	}
	g.condition, g.why = o.Condition, o.Reason
	g.unlinkedSince = since(g.unlinkedSince, unlinked, now)
	g.failedSince = since(g.failedSince, o.Reason == reason.StorageFailed, now)
	return m, g
}

// since is when a condition began that holds, or not, now.
func since(began time.Time, holds bool, now time.Time) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case began.IsZero():
		return now
	}
	return began
}
