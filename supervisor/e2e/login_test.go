package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/simulator"
)

// loginView is what GET /session tells of the login.
type loginView struct {
	PersistedAt  *time.Time `json:"persisted_at"`
	SettledAt    *time.Time `json:"settled_at"`
	SnapshotAt   *time.Time `json:"snapshot_at"`
	RestoredAt   *time.Time `json:"restored_at"`
	RestoredFrom string     `json:"restored_from"`
	LostAt       *time.Time `json:"lost_at"`
	Quarantined  string     `json:"quarantined"`
}

func (s *service) login() loginView {
	s.t.Helper()
	var v struct{ Login loginView }
	if err := json.Unmarshal([]byte(s.get("/session").body), &v); err != nil {
		s.t.Fatal(err)
	}
	return v.Login
}

// linked is a service whose account was linked, READY.
func linked(t *testing.T, p *phone, tokens string, args ...string) *service {
	t.Helper()
	s := start(t, p.url, tokens, args...)
	s.awaitQR()
	if err := p.Scan(within(t)); err != nil {
		t.Fatal(err)
	}
	s.await("READY")
	return s
}

func folders(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLogoutOnThePhoneBringsAFreshQRAndKeepsTheOldProfile(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{})
	s := linked(t, p, tokens)
	before := s.session()
	if err := p.LogOut(); err != nil {
		t.Fatal(err)
	}
	v := s.awaitSession("a QR of the next generation", func(v sessionView) bool {
		return v.QR != nil && v.QR.Generation > before.Worker.Generation
	})
	if v.Status != "QR_REQUIRED" || v.Reason.Code != "logged_out" || v.Worker.AbnormalEnds != 0 {
		t.Errorf("got %+v", v)
	}
	if got, want := s.awaitQR(), p.OnScreen().Login; got != want {
		t.Error("/qr decodes to another string than the one on the screen")
	}
	old := folders(t, filepath.Join(tokens, "admin.quarantine"))
	if len(old) != 1 || !strings.HasSuffix(old[0], "-logged_out") || filepath.Base(old[0]) != s.login().Quarantined {
		t.Errorf("in quarantine: %v, told %+v", old, s.login())
	}
	if _, err := os.Stat(filepath.Join(old[0], "Default", "Local Storage")); err != nil {
		t.Error(err)
	}
	// It can be linked again, and once is all.
	if err := p.Scan(within(t)); err != nil {
		t.Fatal(err)
	}
	s.await("READY")
	if again := s.session(); again.Worker.Generation != v.Worker.Generation {
		t.Errorf("there were %d generations", again.Worker.Generation)
	}
}

func TestLostLoginIsBroughtBackFromTheCopyThatTheStopMade(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{})
	first := linked(t, p, tokens)
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	copies := folders(t, filepath.Join(tokens, "admin.snapshots"))
	if len(copies) != 1 {
		t.Fatalf("copies: %v", copies)
	}
	if err := os.RemoveAll(filepath.Join(tokens, "admin", "Default", "Local Storage")); err != nil {
		t.Fatal(err)
	}
	second := start(t, p.url, tokens)
	second.await("READY")
	if v := second.login(); v.RestoredFrom != filepath.Base(copies[0]) || v.RestoredAt == nil || v.PersistedAt == nil || !strings.HasSuffix(v.Quarantined, "-login_missing") {
		t.Errorf("told %+v", v)
	}
	if v := second.session(); v.Worker.AbnormalEnds != 0 || v.Worker.Generation != 2 {
		t.Errorf("got %+v", v.Worker)
	}
}

func TestPlannedRestartWaitsUntilANewLoginHasSettled(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{})
	s := linked(t, p, t.TempDir(), "--settle-time", "4s")
	settled := s.login().SettledAt
	if settled == nil || time.Until(*settled) > 4*time.Second {
		t.Fatalf("settled at %v", settled)
	}
	s.signal(syscall.SIGHUP)
	v := s.awaitSession("the next generation, READY", func(v sessionView) bool {
		return v.Worker.Generation == 2 && v.Status == "READY"
	})
	if time.Now().Before(*settled) {
		t.Errorf("it did not wait: %+v", v)
	}
	s.stop()
	if !strings.Contains(s.log.String(), `"msg":"restart_deferred"`) {
		t.Error("the log does not say that it waits")
	}
}
