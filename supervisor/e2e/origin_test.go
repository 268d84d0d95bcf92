package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// awaitElsewhere waits until the page is known to be at the other host name, where it
// shows a code of its own, and wants that nobody learns anything of that.
func (s *service) awaitElsewhere(p *phone, status string) {
	s.t.Helper()
	v := s.awaitSession("the other origin", func(v harness.Session) bool { return v.Reason.Code == "wrong_origin" })
	if v.Status != status || v.Reason.Detail != "the page went to "+strings.TrimSuffix(strings.Replace(p.URL, "127.0.0.1", "localhost", 1), "/") || v.Reason.Action == "" {
		s.t.Errorf("got %+v", v)
	}
	if err := p.Await(within(s.t), func(c simulator.Screen) bool { return c.Visible }); err != nil {
		s.t.Fatal(err)
	}
	for range 20 {
		if _, shown := s.qr(); shown || strings.Contains(s.status(), "READY") || s.session().QR != nil {
			s.t.Fatalf("the other origin is believed: %s", s.describe())
		}
	}
	s.wantAnswer("/session/pair", `{"phone": "+54 9 11 5555-1234"}`, 503, `"no_page"`)
	s.wantAnswer("/session/logout", "", 503, `"no_page"`)
}

func TestRedirectedPageIsNotBelieved(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{Faults: []string{"elsewhere=redirect:localhost"}})
	s := start(t, p.URL, tokens, light...)
	s.awaitElsewhere(p, "ERROR")
	p.ClearFaults()
	if err := p.Link(within(t), s.Service); err != nil {
		t.Fatalf("%v; session: %s", err, s.describe())
	}
	if err := p.SetFault("elsewhere=logout:localhost"); err != nil {
		t.Fatal(err)
	}
	if err := p.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	s.awaitElsewhere(p, "DISCONNECTED")
	p.ClearFaults()
	s.await("READY")
	if v := s.session(); v.Worker.Generation != 1 || v.Worker.AbnormalExits != 0 || v.Login.Quarantined != "" || v.Login.LostAt != nil {
		t.Errorf("got %+v", v)
	}
	if moved := folders(t, filepath.Join(tokens, "admin.quarantine")); len(moved) > 0 {
		t.Errorf("in quarantine: %v", moved)
	}
	if _, err := os.Stat(filepath.Join(tokens, "admin", "Default", "Local Storage")); err != nil {
		t.Error(err)
	}
}
