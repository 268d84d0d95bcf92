package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// states are those that the session passed through, by the log, which is complete once
// the service has stopped.
func (s *service) states() []string {
	list := []string{"INIT"}
	for line := range strings.Lines(s.Log()) {
		var l struct{ Msg, To string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "state_changed" {
			list = append(list, l.To)
		}
	}
	return list
}

// awaitReason waits for a state with its reason, and returns how long that took.
func (s *service) awaitReason(state, reason string) time.Duration {
	s.t.Helper()
	began := time.Now()
	s.awaitSession(state+" "+reason, func(v harness.Session) bool { return v.Status == state && v.Reason.Code == reason })
	took := time.Since(began)
	if v := s.session(); v.Reason.Code == reason && v.Reason.Action == "" {
		s.t.Errorf("no advice for %s", reason)
	}
	if a := s.get("/metrics"); !strings.Contains(a.Body, fmt.Sprintf("session_reason{reason=%q} 1", reason)) {
		s.t.Errorf("the metrics do not have the reason %s", reason)
	}
	if a := s.get("/readyz?session=1"); a.Code != 503 {
		s.t.Errorf("/readyz?session=1: %d %s", a.Code, a.Body)
	}
	return took
}

// stays checks that the session is in this state for this reason for a while.
func (s *service) stays(state, reason string, d time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if v := s.session(); v.Status != state || v.Reason.Code != reason {
			s.t.Fatalf("got %s, want %s (%s)", v, state, reason)
		}
	}
}

// reconnect makes the page log in again.
func (p *phone) reconnect(t *testing.T) {
	t.Helper()
	p.DropNetwork()
	if err := p.Await(within(t), func(s simulator.Screen) bool { return s.State == "OPENING" }); err != nil {
		t.Fatal(err)
	}
	p.RestoreNetwork()
}

func (p *phone) misbehave(t *testing.T, fault string) {
	t.Helper()
	if err := p.SetFault(fault); err != nil {
		t.Fatal(err)
	}
}

func (p *phone) order(t *testing.T, do simulator.Order) {
	t.Helper()
	if err := p.Order(do); err != nil {
		t.Fatal(err)
	}
}

// TestSessionOpenedElsewhereIsAConflict waits until the session is taken back, with -thorough;
// TestRefusedLoginIsOneDisconnection has the rest of it.
func TestSessionOpenedElsewhereIsAConflict(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	for _, fault := range variants([]string{"", "socket=worker"}, 0) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			p := newPhone(t, simulator.Options{})
			if fault != "" {
				p.misbehave(t, fault)
			}
			s := linked(t, p, t.TempDir())
			s.isOpenedElsewhere(p)
			s.await("READY") // after a minute
			if load := p.OnScreen().Load; load != 2 {
				t.Errorf("the page was loaded %d times", load)
			}
		})
	}
}

// isOpenedElsewhere opens the account elsewhere.
func (s *service) isOpenedElsewhere(p *phone) {
	s.t.Helper()
	if err := p.Replace(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("it took %v", s.awaitReason("DISCONNECTED", "conflict"))
	s.stays("DISCONNECTED", "conflict", 3*time.Second)
}

// TestRefusedLoginIsOneDisconnection has it refused while the service runs, and when it starts again.
func TestRefusedLoginIsOneDisconnection(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{Speed: 4, Faults: []string{"sync=stuck:50"}})
	s := start(t, p.URL, tokens, light...)
	s.awaitQR()
	p.scan(t)
	s.await("AUTHENTICATED")
	p.ClearFaults()
	s.await("READY")
	p.misbehave(t, "500")
	p.reconnect(t)
	s.awaitReason("DISCONNECTED", "login_refused")
	s.stays("DISCONNECTED", "login_refused", 5*time.Second)
	p.ClearFaults()
	s.await("READY")
	want := []string{"INIT", "QR_REQUIRED", "AUTHENTICATED", "READY", "DISCONNECTED", "READY"}
	eventually(t, fmt.Sprint(want), func() bool { return slices.Equal(s.states(), want) })
	s.isOpenedElsewhere(p)
	s.stop()
	refusedAtStart(t, p, tokens)
}

// refusedAtStart starts a linked account, which must never be READY while its login is refused.
func refusedAtStart(t *testing.T, p *phone, tokens string) {
	t.Helper()
	p.misbehave(t, "500")
	s := start(t, p.URL, tokens, light...)
	s.awaitReason("DISCONNECTED", "login_refused")
	before := s.session()
	kill(t, before.Worker.PID)
	s.awaitSession("another worker", func(v harness.Session) bool { return v.Worker.Generation > before.Worker.Generation })
	s.awaitReason("DISCONNECTED", "login_refused")
	p.ClearFaults()
	s.await("READY")
	s.stop()
	got := s.states()
	if ready := slices.Index(got, "READY"); !slices.Equal(got[ready:], []string{"READY", "INIT"}) || slices.Contains(got, "QR_REQUIRED") {
		t.Errorf("states were %v", got)
	}
}

// TestPageThatReloadsItselfIsReported also kills a worker meanwhile. A page that reloads itself
// once, as after a link and for an update, is not reported.
func TestPageThatReloadsItselfIsReported(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	type variant struct {
		fault, state string
		linked       bool
	}
	for _, tc := range variants([]variant{
		{"405", "DISCONNECTED", true},
		{"409", "DISCONNECTED", true},
		{"405", "QR_REQUIRED", false},
		{"409", "QR_REQUIRED", false},
	}, 1) {
		t.Run(tc.fault+" "+tc.state, func(t *testing.T) {
			t.Parallel()
			p := newPhone(t, simulator.Options{Speed: 4})
			s := start(t, p.URL, t.TempDir(), light...)
			s.awaitQR()
			if tc.linked {
				p.misbehave(t, "reload=canonical")
				p.scan(t)
				s.await("READY")
				s.reloadsOnce(p)
				p.ClearFaults()
			}
			p.misbehave(t, tc.fault)
			p.order(t, simulator.Reload)
			s.awaitReason(tc.state, "page_reloading")
			if _, ok := s.qr(); ok {
				t.Error("a QR is served")
			}
			s.stays(tc.state, "page_reloading", 3*time.Second)
			before := s.session()
			kill(t, before.Worker.PID)
			s.awaitSession("another worker", func(v harness.Session) bool { return v.Worker.Generation > before.Worker.Generation })
			s.awaitReason(tc.state, "page_reloading")
			p.ClearFaults()
			if tc.linked {
				s.await("READY")
			} else {
				s.awaitQR()
			}
			if v := s.session(); v.Worker.AbnormalExits != 1 {
				t.Errorf("%d workers have failed", v.Worker.AbnormalExits)
			}
		})
	}
}

// reloadsOnce has a page reload itself, twice, and wants it to stay connected.
func (s *service) reloadsOnce(p *phone) {
	s.t.Helper()
	for range 2 {
		loads := p.OnScreen().Load
		p.order(s.t, simulator.Reload)
		if err := p.Await(within(s.t), func(c simulator.Screen) bool { return c.Load > loads && c.Name == "MAIN" }); err != nil {
			s.t.Fatal(err)
		}
	}
	s.stays("READY", "", time.Second)
	s.awaitLog(`"to":"READY"`)
	if got := s.states(); slices.Contains(got, "DISCONNECTED") || slices.Contains(got, "ERROR") {
		s.t.Errorf("states were %v", got)
	}
}

// pretender serves a page that looks linked and ready; its script makes of the object
// socket what its modules answer.
func pretender(t *testing.T, script string) string {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><body><div id="app"><div id="side">Chats</div></div><script>
			for (const k of ["WANoiseInfo", "last-wid-md"]) localStorage.setItem(k, '"x"');
			const socket = { state: "CONNECTED", stream: "CONNECTED", hasSynced: true, on() {} };
			window.importNamespace = window.require = () => ({ Socket: socket });`+script+`</script>`) // Chrome may have gone.
	}))
	t.Cleanup(func() {
		site.CloseClientConnections()
		site.Close()
	})
	return site.URL + "/"
}

func TestPageThatLiesAtSpeedIsBounded(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	const flip = `setInterval(() => { const any = (...of) => of[Math.floor(Math.random() * of.length)]; `
	for _, tc := range variants([]struct{ name, script, reason string }{
		{"stream", flip + `socket.stream = any("CONNECTED", "DISCONNECTED") }, 5)`, ""},
		{"soon", `setTimeout(() => location.reload(), 200)`, "page_reloading"},
		{"state", flip + `socket.state = any("CONNECTED", "CONFLICT", "SCREEN_LOCKED", "NEW", "OPENING") }, 5)`, ""},
		{"errors", `Object.defineProperty(socket, "stream", { get() { if (Math.random() < .5) throw this; return "DISCONNECTED" } })`, ""},
		{"reload", `location.reload()`, "page_reloading"}, // blocked or disconnected: it may be too fast for the storage to be read
	}, 1) { // TestPageThatReloadsItselfIsReported has a page that reloads
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, pretender(t, tc.script), t.TempDir(), light...)
			s.awaitSession("an observation", func(v harness.Session) bool { return v.Phase.Name == "page" })
			if tc.reason != "" {
				s.awaitSession(tc.reason, func(v harness.Session) bool { return v.Reason.Code == tc.reason })
			}
			time.Sleep(5 * time.Second)
			if v := s.session(); v.Worker.AbnormalExits != 0 || v.Worker.Generation != 1 {
				t.Errorf("got %+v", v.Worker)
			}
			s.stop()
			states, log := s.states(), s.Log()
			if slices.Contains(states, "READY") || len(states) > 30 || tc.reason != "" && len(states) > 4 {
				t.Errorf("%d states: %v", len(states), states)
			}
			lines := 0
			for line := range strings.Lines(log) {
				if !strings.Contains(line, `"level":"DEBUG"`) {
					lines++
				}
			}
			if lines > 100 {
				t.Errorf("%d log lines", lines)
			}
		})
	}
}
