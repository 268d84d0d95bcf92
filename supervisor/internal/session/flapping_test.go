package session

import (
	"testing"
	"testing/synctest"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// heard is an observation that comes after a pause.
type heard struct {
	after time.Duration
	rpc.PageObserved
}

var (
	ready        = rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true, Progress: -1}
	reconnecting = rpc.PageObserved{Condition: rpc.PageDisconnected, Registered: true, Persisted: true, Progress: -1}
	syncing      = rpc.PageObserved{Condition: rpc.PageSyncing, Registered: true, Persisted: true, Progress: -1}
	opened       = rpc.PageObserved{Condition: rpc.PageDisconnected, Reason: reason.Conflict, Registered: true, Persisted: true, Progress: -1}
	refused      = rpc.PageObserved{Condition: rpc.PageDisconnected, Reason: reason.LoginRefused, Registered: true, Persisted: true, Progress: -1}
	reloading    = rpc.PageObserved{Condition: rpc.PageDisconnected, Reason: reason.PageReloading, Registered: true, Persisted: true, Progress: -1}
	redirected   = rpc.PageObserved{Condition: rpc.PageDisconnected, Reason: reason.WrongOrigin, Registered: true, Persisted: true, Progress: -1}
	loading      = rpc.PageObserved{Condition: rpc.PageLoading, Registered: true, Persisted: true, Progress: -1}
	unlinked     = rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1}
	ended        = rpc.PageObserved{Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut, Progress: -1}
)

func TestFlappingPageDoesNotFlapTheStatus(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name   string
		heard  []heard
		rest   time.Duration
		states []State
		reason reason.Code
	}{
		{"a short disconnection", []heard{{0, reconnecting}, {2 * second, ready}}, 10 * second, []State{Ready}, ""},
		{"one after the other", []heard{{0, reconnecting}, {second, syncing}, {second, ready}, {0, reconnecting}, {2 * second, ready}, {second, reconnecting}, {2 * second, ready}}, 10 * second, []State{Ready}, ""},
		{"not long enough yet", []heard{{0, reconnecting}}, 3*second - 1, []State{Ready}, ""},
		{"long enough", []heard{{0, reconnecting}}, 3 * second, []State{Ready, Disconnected}, reason.Reconnecting},
		{"told again meanwhile", []heard{{0, reconnecting}, {2 * second, reconnecting}}, second, []State{Ready, Disconnected}, reason.Reconnecting},
		{"in changing ways", []heard{{0, syncing}, {2 * second, reconnecting}}, second, []State{Ready, Disconnected}, reason.Reconnecting},
		{"and the page loads again", []heard{{0, reconnecting}, {second, loading}}, 2 * second, []State{Ready, Disconnected}, reason.Reconnecting},
		{"chats are fetched again", []heard{{0, syncing}}, 3 * second, []State{Ready, Authenticated}, reason.Syncing},
		{"ready again afterwards, at once", []heard{{0, reconnecting}, {5 * second, ready}}, 0, []State{Ready, Disconnected, Ready}, ""},
		{"refused, after a lost connection", []heard{{0, reconnecting}, {2 * second, refused}, {second, refused}}, 10 * second, []State{Ready, Disconnected}, reason.LoginRefused},
		{"reloading itself", []heard{{0, loading}, {2 * second, loading}, {2 * second, reloading}}, 3 * second, []State{Ready, Disconnected}, reason.PageReloading},
		{"reloading itself, and loading in between", []heard{{0, reloading}, {second, loading}, {second, reloading}, {second, loading}, {0, reloading}}, 0, []State{Ready, Disconnected}, reason.PageReloading},
		{"opened elsewhere, at once", []heard{{0, opened}}, 0, []State{Ready, Disconnected}, reason.Conflict},
		{"at another site, at once", []heard{{0, redirected}, {0, loading}}, 0, []State{Ready, Disconnected}, reason.WrongOrigin},
		{"logged out, at once", []heard{{0, ended}, {0, unlinked}}, 0, []State{Ready, Disconnected, QRRequired}, reason.LoggedOut},
		{"logged out while flapping", []heard{{0, reconnecting}, {second, ended}}, 10 * second, []State{Ready, Disconnected}, reason.LoggedOut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.Notify(worker.Spawning{Generation: 1})
				r.worker(ready)
				r.observed = nil
				for _, h := range tt.heard {
					time.Sleep(h.after)
					r.worker(h.PageObserved)
				}
				time.Sleep(tt.rest)
				synctest.Wait()
				states := []State{Ready}
				for _, s := range r.observed {
					if s.State != states[len(states)-1] {
						states = append(states, s.State)
					}
				}
				if len(states) != len(tt.states) {
					t.Fatalf("got %v, want %v", states, tt.states)
				}
				for i := range states {
					if states[i] != tt.states[i] {
						t.Fatalf("got %v, want %v", states, tt.states)
					}
				}
				if got := r.Snapshot().Reason.Code; got != tt.reason {
					t.Errorf("reason %q, want %q", got, tt.reason)
				}
			})
		})
	}
}

func TestCrashWhileFlappingIsNotADisconnection(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.Notify(worker.Spawning{Generation: 1})
		r.worker(ready)
		r.worker(reconnecting)
		r.Notify(worker.Exiting{Generation: 1, Reason: reason.WorkerCrashed})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := r.Snapshot(); s.State != Init || s.Reason.Code != reason.WorkerCrashed {
			t.Errorf("got %s (%s)", s.State, s.Reason.Code)
		}
	})
}

func TestLoggedOutOutlivesTheWorker(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(1)).step(page(rpc.PageLoggedOut, ""), at(2))
	m = m.step(event{kind: WorkerExited, generation: 1, reason: reason.Maintenance}, at(3))
	m = m.step(event{kind: Spawning, generation: 2}, at(4))
	next := func(c rpc.Condition) event {
		e := page(c, "")
		e.generation = 2
		return e
	}
	m = m.step(next(rpc.PageLoading), at(5)).step(next(rpc.PageUnlinked), at(6))
	expect(t, m, QRRequired, reason.LoggedOut)
	m = m.step(next(rpc.PageSyncing), at(7)).step(event{kind: Spawning, generation: 3}, at(8))
	last := page(rpc.PageUnlinked, "")
	last.generation = 3
	expect(t, m.step(last, at(9)), QRRequired, reason.ScanQR)
}

func TestPairingIsShownUntilItExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.Notify(worker.Spawning{Generation: 1})
		r.worker(unlinked)
		until := time.Now().Add(time.Minute)
		r.Paired(until)
		synctest.Wait()
		if got := r.Snapshot().At(time.Now()).Pairing; got == nil || !got.ExpiresAt.Equal(until) {
			t.Errorf("got %v", got)
		}
		if got := r.Snapshot().At(until).Pairing; got != nil {
			t.Errorf("after its expiry: %v", got)
		}
		r.worker(syncing)
		if got := r.Snapshot().Pairing; got != nil {
			t.Errorf("linked: %v", got)
		}
	})
}
