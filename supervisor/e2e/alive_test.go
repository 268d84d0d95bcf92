package e2e

import (
	"errors"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// TestNoDeadCodeIsServed refuses every connection after a list of codes was given out,
// until the page has drawn the rest of it. Nothing may be served meanwhile, and what
// follows must link the phone.
func TestNoDeadCodeIsServed(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 8})
	s := start(t, p.URL, t.TempDir(), light...)
	first := s.awaitNewQR()
	p.misbehave(t, "socket=refused")
	p.Disconnect()
	s.awaitSession("no QR", func(v harness.Session) bool { return v.QR == nil })
	r := readAtRandom(t, s)
	drawn := map[string]bool{}
	err := p.Await(within(t), func(c simulator.Screen) bool {
		if c.State == "UNPAIRED" && c.Payload != "" {
			drawn[c.Payload] = true
		}
		return c.State == "UNPAIRED_IDLE" || c.Load > 1
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(drawn) < 3 {
		t.Errorf("the page has drawn %d codes of the dead list", len(drawn))
	}
	for payload := range drawn {
		if err := p.ScanPayload(within(t), payload); !errors.Is(err, simulator.ErrExpired) {
			t.Errorf("the phone takes a dead code: %v", err)
		}
	}
	r.end()
	if len(r.reads) > 0 {
		t.Errorf("%d times a dead code was served", len(r.reads))
	}
	p.ClearFaults()
	s.linksWithServed(p, first)
}

// TestStoppedClockOfCodesIsCured lets the page's clock end in a moment without network.
func TestStoppedClockOfCodesIsCured(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 8})
	s := start(t, p.URL, t.TempDir(), light...)
	first := s.awaitNewQR()
	p.misbehave(t, "probe=fail")
	err := p.Await(within(t), func(c simulator.Screen) bool { return !c.Online && !c.Alive && c.State == "UNPAIRED" })
	if err != nil {
		t.Fatal(err)
	}
	s.awaitSession("no QR", func(v harness.Session) bool { return v.QR == nil })
	p.ClearFaults()
	s.linksWithServed(p, first)
}
