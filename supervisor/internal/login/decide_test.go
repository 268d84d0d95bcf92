package login

import (
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

var t0 = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

func defaultLimits() Limits { return Limits{SettleTime: time.Minute, BackupHour: 4} }

func at(d time.Duration) time.Time { return t0.Add(d) }

// seen is an observation of the page at a time after t0.
type seen struct {
	after time.Duration
	rpc.PageObserved
}

func unlinked(after time.Duration, why reason.Code) seen {
	return seen{after, rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: why}}
}

func linked(after time.Duration, c rpc.Condition, persisted bool) seen {
	return seen{after, rpc.PageObserved{Condition: c, Registered: true, Persisted: persisted}}
}

func loggedOut(after time.Duration) seen {
	return seen{after, rpc.PageObserved{Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut}}
}

func follow(r Record, g page, all ...seen) (Record, page) {
	for _, s := range all {
		r, g = observe(r, g, s.PageObserved, at(s.after))
	}
	return r, g
}

// held is the record of a login that was linked an hour ago.
func held() Record {
	return Record{Stamp: "a", LinkedAt: at(-time.Hour), PersistedAt: at(-time.Hour), ReadyAt: at(-59 * time.Minute)}
}

func TestRecordFollowsALogin(t *testing.T) {
	r, g := follow(Record{Stamp: "a"}, page{},
		unlinked(0, reason.ScanQR), linked(10*time.Second, rpc.PageSyncing, false), linked(20*time.Second, rpc.PageReady, false),
		linked(25*time.Second, rpc.PageReady, true), linked(35*time.Second, rpc.PageReady, true))
	want := Record{Stamp: "a", LinkedAt: at(10 * time.Second), PersistedAt: at(25 * time.Second), ReadyAt: at(25 * time.Second), ProfileReadyAt: at(25 * time.Second)}
	if r != want || !g.ready {
		t.Fatalf("linked: got %+v %+v", r, g)
	}
	r, g = follow(r, g, loggedOut(time.Minute), unlinked(62*time.Second, reason.LoggedOut), unlinked(72*time.Second, reason.LoggedOut))
	want.LoggedOutAt = at(time.Minute)
	if r != want || g.ready || !g.unlinkedSince.Equal(at(62*time.Second)) {
		t.Fatalf("logged out: got %+v %+v", r, g)
	}
	r, _ = follow(r, g, linked(2*time.Minute, rpc.PageSyncing, true))
	if want = (Record{Stamp: "a", LinkedAt: at(2 * time.Minute), PersistedAt: at(2 * time.Minute), ProfileReadyAt: at(25 * time.Second)}); r != want {
		t.Fatalf("linked again: got %+v", r)
	}
}

func TestLoginThatNeverReachedTheDiskIsForgotten(t *testing.T) {
	r, _ := follow(Record{Stamp: "a"}, page{}, linked(0, rpc.PageSyncing, false))
	r, g := follow(r, page{}, unlinked(time.Minute, reason.ScanQR))
	if r != (Record{Stamp: "a"}) {
		t.Errorf("got %+v", r)
	}
	r, _ = follow(r, g, linked(time.Hour, rpc.PageSyncing, false))
	if got := defaultLimits().hold(r, worker.WhenIdle); !got.Equal(at(time.Hour + 5*time.Minute)) {
		t.Errorf("the next one is held until %v", got)
	}
}

func TestNothingIsKnownAboutAnotherProfile(t *testing.T) {
	r := held()
	r.RestoredAt, r.Quarantined, r.BackupAt = at(-time.Minute), "x", at(-time.Minute)
	if got := r.forProfile("a"); got != r {
		t.Errorf("the same: got %+v", got)
	}
	// What prevents a loop and what is in quarantine stays known.
	if got, want := r.forProfile("b"), (Record{Stamp: "b", RestoredAt: at(-time.Minute), Quarantined: "x"}); got != want {
		t.Errorf("another: got %+v", got)
	}
}

func TestDecide(t *testing.T) {
	l := defaultLimits()
	restored := func(ago time.Duration) Record {
		r := held()
		r.RestoredAt = at(-ago)
		return r
	}
	backedUp := func(ago time.Duration) Record {
		r := held()
		r.BackupAt, r.BackupVerifiedAt = at(-time.Hour), at(-ago)
		return r
	}
	const quiet = 65 * time.Minute // 04:05
	tests := []struct {
		name      string
		record    Record
		seen      []seen
		hasBackup bool
		after     time.Duration
		want      action
		why       string
	}{
		{"nothing was ever linked", Record{}, []seen{unlinked(0, reason.ScanQR)}, false, time.Hour, nothing, ""},
		{"a logout just now", held(), []seen{linked(0, rpc.PageReady, true), loggedOut(time.Second), unlinked(2*time.Second, reason.LoggedOut)}, true, 3 * time.Second, nothing, ""},
		{"a logout, wiped", held(), []seen{linked(0, rpc.PageReady, true), loggedOut(time.Second), unlinked(2*time.Second, reason.LoggedOut)}, true, 4 * time.Second, quarantine, whyLoggedOut},
		{"a logout while the service was down", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut)}, true, 3 * time.Second, quarantine, whyLoggedOut},
		{"a logout, and the page hangs", held(), []seen{loggedOut(0)}, true, 30 * time.Second, quarantine, whyLoggedOut},
		{"a logout, and a phone scans", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), {2 * time.Second, rpc.PageObserved{Condition: rpc.PageSyncing}}}, true, time.Hour, nothing, ""},
		{"a logout, and it is linked again", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), linked(2*time.Second, rpc.PageSyncing, false)}, true, time.Minute, nothing, ""},
		{"a logout, and a code is being typed", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), unlinked(2*time.Second, reason.PairingCodeShown)}, true, time.Minute, nothing, ""},
		{"a logout of a profile in quarantine", held().withoutLogin(), []seen{unlinked(0, reason.LoggedOut)}, false, time.Hour, nothing, ""},
		{"a QR where a login should be", held(), []seen{unlinked(0, reason.ScanQR)}, true, 4 * time.Second, nothing, ""},
		{"a QR that stays, with a backup", held(), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, restore, whyMissing},
		{"a QR that stays, without a backup", held(), []seen{unlinked(0, reason.ScanQR)}, false, 5 * time.Second, giveUp, whyMissing},
		{"a QR after a restore", restored(time.Minute), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, giveUp, whyMissing},
		{"a QR a day after a restore", restored(25 * time.Hour), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, restore, whyMissing},
		{"a QR after three interrupted restores", Record{LinkedAt: at(-time.Hour), PersistedAt: at(-time.Hour), Attempts: maxAttempts}, []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, giveUp, whyMissing},
		{"a QR after the login was seen", held(), []seen{linked(0, rpc.PageDisconnected, true), unlinked(time.Second, reason.ScanQR)}, true, time.Minute, nothing, ""},
		{"a QR over a login that never reached the disk", Record{LinkedAt: at(-time.Minute)}, []seen{unlinked(0, reason.ScanQR)}, true, time.Minute, nothing, ""},
		{"storage failed", held(), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, true, 10 * time.Second, restore, whyStorageFailed},
		{"storage failed, without a backup", held(), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, false, time.Hour, nothing, ""},
		{"storage failed, after a restore", restored(time.Minute), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, true, time.Hour, nothing, ""},
		{"the backup hour", held(), []seen{linked(0, rpc.PageReady, true)}, false, quiet, backUp, ""},
		{"the backup hour, verified the day before", backedUp(23 * time.Hour), []seen{linked(0, rpc.PageReady, true)}, true, quiet, backUp, ""},
		{"the backup hour, verified recently", backedUp(20 * time.Hour), []seen{linked(0, rpc.PageReady, true)}, true, quiet, nothing, ""},
		{"the backup hour, without a connection", held(), []seen{linked(0, rpc.PageDisconnected, true)}, false, quiet, nothing, ""},
		{"the backup hour, just linked", Record{LinkedAt: at(quiet - time.Minute)}, []seen{linked(quiet-10*time.Second, rpc.PageReady, true)}, false, quiet, nothing, ""},
		{"any other hour", held(), []seen{linked(0, rpc.PageReady, true)}, false, 59 * time.Minute, nothing, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, g := follow(tt.record, page{}, tt.seen...)
			if got, why := decide(l, r, g, kept{backup: tt.hasBackup}, at(tt.after)); got != tt.want || why != tt.why {
				t.Errorf("got %q %q, want %q %q", got, why, tt.want, tt.why)
			}
			g.asked = true
			if got, _ := decide(l, r, g, kept{backup: tt.hasBackup}, at(tt.after)); got != nothing {
				t.Errorf("requested already: got %q", got)
			}
		})
	}
}

func TestProfileThatIsReplacedSoonIsKnown(t *testing.T) {
	storageFailed := seen{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}
	retired := func(ago time.Duration) Record {
		r := held()
		r.QuarantinedAt = at(-ago)
		return r
	}
	for _, tt := range []struct {
		name    string
		record  Record
		seen    []seen
		kept    kept
		pending action
		want    bool
	}{
		{"nothing was ever linked", Record{}, []seen{unlinked(0, reason.ScanQR)}, kept{}, nothing, false},
		{"it is linked", held(), []seen{linked(0, rpc.PageReady, true)}, kept{backup: true}, nothing, false},
		{"its login has ended, which the page shows first", held(), []seen{loggedOut(0)}, kept{}, nothing, true},
		{"its login has ended just now", held(), []seen{unlinked(0, reason.LoggedOut)}, kept{}, nothing, true},
		{"its login has ended, and a code is being typed", held(), []seen{unlinked(-time.Second, reason.LoggedOut), unlinked(0, reason.PairingCodeShown)}, kept{}, nothing, false},
		{"its login has ended, and a phone scans", held(), []seen{unlinked(-time.Second, reason.LoggedOut), linked(0, rpc.PageSyncing, false)}, kept{}, nothing, false},
		{"its login has ended, but another had within the hour", retired(59 * time.Minute), []seen{unlinked(0, reason.LoggedOut)}, kept{}, nothing, false},
		{"its login has ended, and another had almost an hour ago", retired(time.Hour - time.Second), []seen{unlinked(0, reason.LoggedOut)}, kept{}, nothing, true},
		{"its login has ended, but the quarantine is full", held(), []seen{unlinked(0, reason.LoggedOut)}, kept{quarantineFull: true}, nothing, false},
		{"its login is missing, with a backup", held(), []seen{unlinked(0, reason.ScanQR)}, kept{backup: true}, nothing, true},
		{"its login is missing, without a backup", held(), []seen{unlinked(0, reason.ScanQR)}, kept{}, nothing, false},
		{"its storage fails", held(), []seen{storageFailed}, kept{backup: true}, nothing, false},
		{"it will be moved away", held(), []seen{unlinked(0, reason.LoggedOut)}, kept{}, quarantine, true},
		{"it would be moved away, but was linked again", held(), []seen{linked(0, rpc.PageSyncing, true)}, kept{}, quarantine, false},
		{"it will be erased", Record{}, []seen{unlinked(0, reason.ScanQR)}, kept{}, erase, true},
		{"it will be restored", Record{}, []seen{unlinked(0, reason.ScanQR)}, kept{}, restore, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, g := follow(tt.record, page{}, tt.seen...)
			k := known{r, g, tt.kept, plan{tt.pending, ""}, nil}
			if got := k.replacing(defaultLimits(), t0); got != tt.want {
				t.Errorf("got %v", got)
			}
			k.logout = &logout{}
			if got, want := k.replacing(defaultLimits(), t0), tt.want || !r.LoggedOutAt.IsZero() || tt.pending == quarantine; got != want {
				t.Errorf("while somebody logs out: got %v", got)
			}
		})
	}
}

func TestBackupIsTriedOnceADayOrNever(t *testing.T) {
	l := defaultLimits()
	r, g := follow(held(), page{}, linked(0, rpc.PageReady, true))
	r.BackupTriedAt = at(61 * time.Minute)
	if got, _ := decide(l, r, g, kept{}, at(65*time.Minute)); got != nothing {
		t.Errorf("tried: got %q", got)
	}
	r.BackupTriedAt = time.Time{}
	l.BackupHour = -1
	if got, _ := decide(l, r, g, kept{}, at(65*time.Minute)); got != nothing {
		t.Errorf("off: got %q", got)
	}
}

// Regardless of what the page shows and how often it restarts, a backup is restored
// at most once a day, and a profile quarantined at most once per login.
func TestDecisionsDoNotLoop(t *testing.T) {
	l := defaultLimits()
	for name, shown := range map[string]seen{
		"a QR": unlinked(0, reason.ScanQR), "a logout": unlinked(0, reason.LoggedOut), "logged out": loggedOut(0),
		"failed storage": {0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			r, done := held(), 0
			for generation := range 100 {
				now := time.Duration(generation) * 10 * time.Minute
				shown.after = now
				var g page
				r, g = follow(r, g, shown)
				switch p, _ := decide(l, r, g, kept{backup: true}, at(now+5*time.Minute)); p {
				case restore:
					r.RestoredAt = at(now + 5*time.Minute)
					done++
				case quarantine, giveUp:
					r = r.withoutLogin()
					done++
				}
			}
			if done > 2 {
				t.Errorf("the profile was replaced %d times in 16 hours", done)
			}
		})
	}
}

func TestHold(t *testing.T) {
	l := defaultLimits()
	tests := []struct {
		name                   string
		record                 Record
		whenIdle, afterPairing time.Time
	}{
		{"nothing linked", Record{}, time.Time{}, time.Time{}},
		{"being linked", Record{LinkedAt: t0}, at(5 * time.Minute), at(5 * time.Minute)},
		{"linked and ready", Record{LinkedAt: t0, ReadyAt: at(time.Minute)}, at(2 * time.Minute), time.Time{}},
		{"logged out", Record{LinkedAt: t0, ReadyAt: t0, LoggedOutAt: t0}, time.Time{}, time.Time{}},
	}
	for _, tt := range tests {
		whenIdle, afterPairing := l.hold(tt.record, worker.WhenIdle), l.hold(tt.record, worker.AfterPairing)
		if !whenIdle.Equal(tt.whenIdle) || !afterPairing.Equal(tt.afterPairing) {
			t.Errorf("%s: got %v and %v", tt.name, whenIdle, afterPairing)
		}
	}
}

func TestLoginNeverOnDiskDoesNotEnd(t *testing.T) {
	r, g := follow(Record{Stamp: "a", ProfileReadyAt: t0}, page{}, linked(0, rpc.PageReady, false), loggedOut(time.Second), unlinked(2*time.Second, reason.LoggedOut))
	if want := (Record{Stamp: "a", ProfileReadyAt: t0}); r != want {
		t.Errorf("got %+v", r)
	}
	if got, _ := decide(defaultLimits(), r, g, kept{}, at(time.Hour)); got != nothing {
		t.Errorf("got %q", got)
	}
}

func TestRetire(t *testing.T) {
	for _, tt := range []struct {
		name          string
		quarantinedAt time.Time
		kept          kept
		want          action
	}{
		{"the first", time.Time{}, kept{}, quarantine},
		{"one shortly after another", at(-59 * time.Minute), kept{}, nothing},
		{"one an hour after another", at(-time.Hour), kept{}, quarantine},
		{"one after the clock was turned back", at(time.Hour), kept{}, quarantine},
		{"the first, without room", time.Time{}, kept{quarantineFull: true}, keep},
		{"another one, without room", at(-time.Minute), kept{quarantineFull: true}, keep},
	} {
		if got := (Record{QuarantinedAt: tt.quarantinedAt}).retire(tt.kept, t0); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
