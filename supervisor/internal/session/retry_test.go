package session

import (
	"slices"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// TestRetriesDoNotChangeTheState repeats what a cause that lasts makes the worker and the
// manager report, for half an hour.
func TestRetriesDoNotChangeTheState(t *testing.T) {
	loading := func(c reason.Code) event { return page(rpc.PageLoading, c) }
	exited := func(c reason.Code) event { return event{kind: WorkerExited, generation: 1, reason: c} }
	spawning := event{kind: Spawning, generation: 1}
	linked := page(rpc.PageDisconnected, reason.Reconnecting)
	linked.page.Registered = true
	blocked := func(c reason.Code) event { return event{kind: Blocked, reason: c, tried: true} }
	for name, tt := range map[string]struct {
		before, cycle []event
		states        []State
		reason        reason.Code
	}{
		"nobody listens": {nil, []event{loading(reason.NetworkUnreachable)}, []State{Init, Error}, reason.NetworkUnreachable},
		"nobody listens, and Chrome is restarted": {nil, []event{
			loading(reason.NetworkUnreachable), loading(reason.NetworkUnreachable), loading(reason.NetworkUnreachable),
			exited(reason.MemoryLimit), spawning, loading(reason.PageLoading),
		}, []State{Init, Error}, reason.NetworkUnreachable},
		"a bad certificate":           {nil, []event{loading(reason.CertificateInvalid)}, []State{Init, Error}, reason.CertificateInvalid},
		"a proxy that does not work":  {nil, []event{loading(reason.ProxyFailed)}, []State{Init, Error}, reason.ProxyFailed},
		"an error of the server":      {nil, []event{loading(reason.HTTPError), loading(reason.PageLoading)}, []State{Init, Error}, reason.HTTPError},
		"a page that does not finish": {nil, []event{loading(reason.PageLoading)}, []State{Init, Error}, reason.PageLoadFailed},
		"a page that needs a new Chrome": {nil, []event{
			loading(reason.PageLoading), page(rpc.PageBlocked, reason.PageUnrecognised), exited(reason.PageLoadFailed), spawning,
		}, []State{Init, Error}, reason.PageUnrecognised},
		"another site":                   {nil, []event{page(rpc.PageBlocked, reason.WrongOrigin), loading(reason.PageLoading)}, []State{Init, Error}, reason.WrongOrigin},
		"after a QR":                     {[]event{page(rpc.PageUnlinked, "")}, []event{loading(reason.NetworkUnreachable)}, []State{Init, QRRequired, Error}, reason.NetworkUnreachable},
		"during the synchronisation":     {[]event{page(rpc.PageSyncing, "")}, []event{loading(reason.NetworkUnreachable)}, []State{Init, Authenticated, Disconnected}, reason.NetworkUnreachable},
		"of a linked page":               {[]event{linked}, []event{loading(reason.NetworkUnreachable)}, []State{Init, Disconnected}, reason.NetworkUnreachable},
		"a Chrome that exits at once":    {nil, []event{exited(reason.BrowserCrashed), blocked(reason.CrashLoop), spawning}, []State{Init, Error}, reason.CrashLoop},
		"a sandbox that does not work":   {nil, []event{exited(reason.SandboxRefused), blocked(reason.SandboxRefused), spawning}, []State{Init, Error}, reason.SandboxRefused},
		"a Chrome that exits some times": {nil, []event{exited(reason.BrowserCrashed), spawning}, []State{Init}, reason.BrowserCrashed},
	} {
		t.Run(name, func(t *testing.T) {
			m := started()
			states := []State{m.state}
			note := func() {
				if m.state != states[len(states)-1] {
					states = append(states, m.state)
				}
			}
			for _, e := range tt.before {
				m = m.step(e, at(0))
				note()
			}
			for s := time.Second; s < 30*time.Minute; s += time.Second {
				if n := int(s / time.Second); n%5 == 1 {
					m = m.step(tt.cycle[n/5%len(tt.cycle)], at(s))
				}
				note()
				m = m.tick(at(s))
				note()
			}
			if !slices.Equal(states, tt.states) || m.reason.Code != tt.reason && m.reason.Code != reason.Starting {
				t.Errorf("states were %v (%s), want %v (%s)", states, m.reason.Code, tt.states, tt.reason)
			}
			m.generation, m.running = 1, true
			m = m.step(page(rpc.PageUnlinked, reason.ScanQR), at(time.Hour))
			if m.state != QRRequired {
				t.Errorf("%s once the page has loaded", m.state)
			}
		})
	}
}

func TestUnreachablePageIsAnErrorSoon(t *testing.T) {
	m := started().step(page(rpc.PageLoading, reason.NetworkUnreachable), at(0))
	limit := m.limits.Unreachable
	expect(t, m.tick(at(limit-1)), Init, reason.NetworkUnreachable)
	m = m.tick(at(limit))
	expect(t, m, Error, reason.NetworkUnreachable)
	m = m.step(page(rpc.PageLoading, reason.CertificateInvalid), at(limit))
	expect(t, m, Error, reason.CertificateInvalid)
	for s := limit; s < 3*time.Minute; s += 10 * time.Second { // reached, but it does not finish
		m = m.step(page(rpc.PageLoading, reason.PageLoading), at(s)).tick(at(s))
	}
	expect(t, m, Error, reason.PageLoadFailed)
}

func TestErrorEndsWhenItsCauseDoes(t *testing.T) {
	failed := newMachine(DefaultLimits(15*time.Second), t0).step(event{kind: Blocked, reason: reason.CrashLoop, tried: true}, at(1))
	// What is checked before a start is gone when an instance starts.
	m := failed.step(event{kind: Blocked, reason: reason.BrowserMissing}, at(2))
	expect(t, m, Error, reason.BrowserMissing)
	expect(t, m.step(event{kind: Spawning, generation: 1}, at(3)), Init, reason.Starting)
	// A person who asks for a restart sees one.
	m = failed.step(event{kind: Spawning, generation: 1}, at(2)).step(page(rpc.PageBlocked, reason.PageUnrecognised), at(3))
	m = m.step(event{kind: WorkerExited, generation: 1, reason: reason.RestartRequested}, at(4))
	expect(t, m, Init, reason.RestartRequested)
}
