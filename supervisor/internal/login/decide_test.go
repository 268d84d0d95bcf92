package login

import (
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

var t0 = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return t0.Add(d) }

// seen is what a page was observed in, at a time after t0.
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

func follow(m Memory, g glimpse, all ...seen) (Memory, glimpse) {
	for _, s := range all {
		m, g = observe(m, g, s.PageObserved, at(s.after))
	}
	return m, g
}

// held is the memory of a login that was linked an hour ago.
func held() Memory {
	return Memory{Stamp: "a", LinkedAt: at(-time.Hour), PersistedAt: at(-time.Hour), ReadyAt: at(-59 * time.Minute)}
}

func TestMemoryFollowsALogin(t *testing.T) {
	m, g := follow(Memory{Stamp: "a"}, glimpse{},
		unlinked(0, reason.ScanQR), linked(10*time.Second, rpc.PageSyncing, false), linked(20*time.Second, rpc.PageReady, false),
		linked(25*time.Second, rpc.PageReady, true), linked(35*time.Second, rpc.PageReady, true))
	want := Memory{Stamp: "a", LinkedAt: at(10 * time.Second), PersistedAt: at(25 * time.Second), ReadyAt: at(25 * time.Second)}
	if m != want || !g.ready {
		t.Fatalf("linked: got %+v %+v", m, g)
	}
	m, g = follow(m, g, loggedOut(time.Minute), unlinked(62*time.Second, reason.LoggedOut), unlinked(72*time.Second, reason.LoggedOut))
	want.LoggedOutAt = at(time.Minute)
	if m != want || g.ready || !g.unlinkedSince.Equal(at(62*time.Second)) {
		t.Fatalf("logged out: got %+v %+v", m, g)
	}
	m, _ = follow(m, g, linked(2*time.Minute, rpc.PageSyncing, true))
	if want = (Memory{Stamp: "a", LinkedAt: at(2 * time.Minute), PersistedAt: at(2 * time.Minute)}); m != want {
		t.Fatalf("linked again: got %+v", m)
	}
}

func TestLoginThatNeverReachedTheDiskIsForgottenWhenItIsGone(t *testing.T) {
	m, _ := follow(Memory{Stamp: "a"}, glimpse{}, linked(0, rpc.PageSyncing, false))
	m, g := follow(m, glimpse{}, unlinked(time.Minute, reason.ScanQR))
	if m != (Memory{Stamp: "a"}) {
		t.Errorf("got %+v", m)
	}
	m, _ = follow(m, g, linked(time.Hour, rpc.PageSyncing, false))
	if got := DefaultLimits().hold(m, worker.WhenIdle); !got.Equal(at(time.Hour + 5*time.Minute)) {
		t.Errorf("the next one is held until %v", got)
	}
}

func TestAnotherProfileIsKnownNothingOf(t *testing.T) {
	m := held()
	m.RestoredAt, m.Quarantined, m.SnapshotAt = at(-time.Minute), "x", at(-time.Minute)
	if got := m.of("a"); got != m {
		t.Errorf("the same: got %+v", got)
	}
	// What guards against a loop, and what was moved away, stays known.
	if got, want := m.of("b"), (Memory{Stamp: "b", RestoredAt: at(-time.Minute), Quarantined: "x"}); got != want {
		t.Errorf("another: got %+v", got)
	}
}

func TestDecisions(t *testing.T) {
	l := DefaultLimits()
	restored := func(ago time.Duration) Memory {
		m := held()
		m.RestoredAt = at(-ago)
		return m
	}
	copied := func(ago time.Duration) Memory {
		m := held()
		m.SnapshotAt, m.SnapshotVerifiedAt = at(-time.Hour), at(-ago)
		return m
	}
	const quiet = 65 * time.Minute // 04:05
	tests := []struct {
		name   string
		memory Memory
		seen   []seen
		copies bool
		after  time.Duration
		want   plan
		why    string
	}{
		{"nothing was ever linked", Memory{}, []seen{unlinked(0, reason.ScanQR)}, false, time.Hour, leave, ""},
		{"a logout just now", held(), []seen{linked(0, rpc.PageReady, true), loggedOut(time.Second), unlinked(2*time.Second, reason.LoggedOut)}, true, 3 * time.Second, leave, ""},
		{"a logout, wiped", held(), []seen{linked(0, rpc.PageReady, true), loggedOut(time.Second), unlinked(2*time.Second, reason.LoggedOut)}, true, 4 * time.Second, retire, whyLoggedOut},
		{"a logout while the service was down", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut)}, true, 3 * time.Second, retire, whyLoggedOut},
		{"a logout, and the page hangs", held(), []seen{loggedOut(0)}, true, 30 * time.Second, retire, whyLoggedOut},
		{"a logout, and a phone scans", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), {2 * time.Second, rpc.PageObserved{Condition: rpc.PageSyncing}}}, true, time.Hour, leave, ""},
		{"a logout, and it is linked again", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), linked(2*time.Second, rpc.PageSyncing, false)}, true, time.Minute, leave, ""},
		{"a logout, and a code is being typed", held(), []seen{loggedOut(0), unlinked(time.Second, reason.LoggedOut), unlinked(2*time.Second, reason.PairingCodeShown)}, true, time.Minute, leave, ""},
		{"a logout of a profile that was moved away", held().without(), []seen{unlinked(0, reason.LoggedOut)}, false, time.Hour, leave, ""},
		{"a QR where a login should be", held(), []seen{unlinked(0, reason.ScanQR)}, true, 4 * time.Second, leave, ""},
		{"a QR that stays, with a copy", held(), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, restore, whyMissing},
		{"a QR that stays, without a copy", held(), []seen{unlinked(0, reason.ScanQR)}, false, 5 * time.Second, forget, whyMissing},
		{"a QR after a copy was brought back", restored(time.Minute), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, forget, whyMissing},
		{"a QR a day after", restored(25 * time.Hour), []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, restore, whyMissing},
		{"a QR after three restores that did not end", Memory{LinkedAt: at(-time.Hour), PersistedAt: at(-time.Hour), Attempts: maxAttempts}, []seen{unlinked(0, reason.ScanQR)}, true, 5 * time.Second, forget, whyMissing},
		{"a QR after the login was seen", held(), []seen{linked(0, rpc.PageDisconnected, true), unlinked(time.Second, reason.ScanQR)}, true, time.Minute, leave, ""},
		{"a QR over a login that never reached the disk", Memory{LinkedAt: at(-time.Minute)}, []seen{unlinked(0, reason.ScanQR)}, true, time.Minute, leave, ""},
		{"storage failed", held(), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, true, 10 * time.Second, restore, whyFailed},
		{"storage failed, without a copy", held(), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, false, time.Hour, leave, ""},
		{"storage failed, after a copy was brought back", restored(time.Minute), []seen{{0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}}}, true, time.Hour, leave, ""},
		{"the quiet hour", held(), []seen{linked(0, rpc.PageReady, true)}, false, quiet, snapshot, ""},
		{"the quiet hour, a copy was opened the day before", copied(23 * time.Hour), []seen{linked(0, rpc.PageReady, true)}, true, quiet, snapshot, ""},
		{"the quiet hour, a copy was opened lately", copied(20 * time.Hour), []seen{linked(0, rpc.PageReady, true)}, true, quiet, leave, ""},
		{"the quiet hour, without a connection", held(), []seen{linked(0, rpc.PageDisconnected, true)}, false, quiet, leave, ""},
		{"the quiet hour, just linked", Memory{LinkedAt: at(quiet - time.Minute)}, []seen{linked(quiet-10*time.Second, rpc.PageReady, true)}, false, quiet, leave, ""},
		{"any other hour", held(), []seen{linked(0, rpc.PageReady, true)}, false, 59 * time.Minute, leave, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, g := follow(tt.memory, glimpse{}, tt.seen...)
			if got, why := decide(l, m, g, tt.copies, at(tt.after)); got != tt.want || why != tt.why {
				t.Errorf("got %q %q, want %q %q", got, why, tt.want, tt.why)
			}
			g.asked = true
			if got, _ := decide(l, m, g, tt.copies, at(tt.after)); got != leave {
				t.Errorf("asked already: got %q", got)
			}
		})
	}
}

func TestQuietHourIsTriedOnceADayAndCanBeOff(t *testing.T) {
	l := DefaultLimits()
	m, g := follow(held(), glimpse{}, linked(0, rpc.PageReady, true))
	m.TriedAt = at(61 * time.Minute)
	if got, _ := decide(l, m, g, false, at(65*time.Minute)); got != leave {
		t.Errorf("tried: got %q", got)
	}
	m.TriedAt = time.Time{}
	l.QuietHour = -1
	if got, _ := decide(l, m, g, false, at(65*time.Minute)); got != leave {
		t.Errorf("off: got %q", got)
	}
}

// Whatever the page says, and however often it starts anew, a copy is brought
// back at most once a day, and a profile moved away at most once a login.
func TestNoDecisionLoops(t *testing.T) {
	l := DefaultLimits()
	for name, page := range map[string]seen{
		"a QR": unlinked(0, reason.ScanQR), "a logout": unlinked(0, reason.LoggedOut), "logged out": loggedOut(0),
		"failed storage": {0, rpc.PageObserved{Condition: rpc.PageBlocked, Reason: reason.StorageFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			m, done := held(), 0
			for generation := range 100 {
				now := time.Duration(generation) * 10 * time.Minute
				page.after = now
				var g glimpse
				m, g = follow(m, g, page)
				switch p, _ := decide(l, m, g, true, at(now+5*time.Minute)); p {
				case restore:
					m.RestoredAt = at(now + 5*time.Minute)
					done++
				case retire, forget:
					m = m.without()
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
	l := DefaultLimits()
	tests := []struct {
		name       string
		memory     Memory
		calm, soon time.Time
	}{
		{"nothing linked", Memory{}, time.Time{}, time.Time{}},
		{"being linked", Memory{LinkedAt: t0}, at(5 * time.Minute), at(5 * time.Minute)},
		{"linked and ready", Memory{LinkedAt: t0, ReadyAt: at(time.Minute)}, at(2 * time.Minute), time.Time{}},
		{"logged out", Memory{LinkedAt: t0, ReadyAt: t0, LoggedOutAt: t0}, time.Time{}, time.Time{}},
	}
	for _, tt := range tests {
		calm, soon := l.hold(tt.memory, worker.WhenIdle), l.hold(tt.memory, worker.AfterPairing)
		if !calm.Equal(tt.calm) || !soon.Equal(tt.soon) {
			t.Errorf("%s: got %v and %v", tt.name, calm, soon)
		}
	}
}
