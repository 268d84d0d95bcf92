package e2e

import (
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// A QR is served only while everything runs that links a phone. It must be withdrawn
// before anything is restarted, and come back without a restart when the part runs
// again.
func TestQROfAFrozenPartIsWithheld(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	// The codes live as long as WhatsApp's, so that none runs out meanwhile.
	p := newPhone(t, simulator.Options{Speed: 1})
	s := start(t, p.URL, t.TempDir())
	for _, part := range variants([]string{"worker", "browser", "network", "renderer", "storage", "gpu-process"}, 4) {
		withheldWhileFrozen(s, part)
	}
	withheldWhileThePageHangs(s, p)
}

func withheldWhileFrozen(s *service, part string) {
	s.t.Helper()
	s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
	before := s.session()
	pids := map[string][]int{"worker": {before.Worker.PID}, "browser": {before.Browser.PID}}[part]
	if pids == nil {
		pids = tree(s.t, before.Browser.PID).Of(part)
	}
	if part == "storage" && before.Browser.Engine == "chrome-headless-shell" {
		return // it stores in its main process
	}
	begun := time.Now()
	if err := harness.SignalAll(syscall.SIGSTOP, pids...); err != nil {
		s.t.Fatalf("%s: %v", part, err)
	}
	v := s.awaitSession("no QR", func(v harness.Session) bool { return v.QR == nil })
	took := time.Since(begun)
	_, served := s.qr()
	if err := harness.SignalAll(syscall.SIGCONT, pids...); err != nil {
		s.t.Fatalf("%s: %v", part, err)
	}
	if served || v.Status != "QR_REQUIRED" || v.Reason.Code != "scan_qr" || v.Phase.Name != "page" || v.Worker.Generation != before.Worker.Generation {
		s.t.Errorf("%s: served is %v, session %+v", part, served, v)
	}
	v = s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
	if v.Worker.Generation != before.Worker.Generation || v.Browser.PID != before.Browser.PID {
		s.t.Errorf("%s: it was restarted: %+v", part, v)
	}
	s.t.Logf("%s: withheld after %v", part, took.Round(time.Millisecond))
}

// A page in an endless loop runs, and can't link a phone either.
func withheldWhileThePageHangs(s *service, p *phone) {
	s.t.Helper()
	if !*thorough { // its loop costs more than all else here; for the worker it is a frozen renderer
		return
	}
	if err := p.Order(simulator.Hang); err != nil {
		s.t.Fatal(err)
	}
	begun := time.Now()
	v := s.awaitSession("no QR", func(v harness.Session) bool { return v.QR == nil })
	s.t.Logf("page: withheld after %v", time.Since(begun).Round(time.Millisecond))
	if v.Status != "QR_REQUIRED" || v.Reason.Code != "scan_qr" {
		s.t.Errorf("it was withdrawn by the cure only: %+v", v)
	}
	s.awaitSession("a QR", func(v harness.Session) bool { return v.QR != nil })
}
