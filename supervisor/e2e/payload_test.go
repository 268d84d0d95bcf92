package e2e

import (
	"image/png"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// TestPayloadOfAnyLengthReplacesItsPredecessor follows payloads that get longer, up to
// what a QR holds. The one that no QR holds ends the one before, at once.
func TestPayloadOfAnyLengthReplacesItsPredecessor(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 4, Profile: "large", Faults: []string{"ref=growing"}})
	s := start(t, p.URL, t.TempDir())
	lengths := map[int]bool{}
	for codes := 0; !lengths[200] || !lengths[400] || !lengths[900] || !lengths[2800]; codes++ {
		if codes > 20 {
			t.Fatalf("served were payloads of %v bytes", lengths)
		}
		length := len(s.awaitNewQR())
		lengths[length/100*100] = true
		s.wantDrawn(length)
	}
	s.awaitSession("that the next payload can't be drawn", func(v harness.Session) bool {
		return v.Reason.Code == "qr_unreadable" && v.QR == nil
	})
	if body := s.get("/qr").Body; body != `{"status":"NO_QR"}` {
		t.Error("a QR is served")
	}
	for _, path := range []string{"/qr.png", "/qr.txt"} {
		if code := s.get(path).Code; code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if served := s.awaitNewQR(); len(served) > 2953 {
		t.Error("the successor is not served")
	}
}

// wantDrawn checks both drawings of a payload of so many bytes.
func (s *service) wantDrawn(length int) {
	s.t.Helper()
	size, err := png.DecodeConfig(strings.NewReader(s.get("/qr.png").Body))
	if err != nil || size.Width > 1000 {
		s.t.Errorf("%d bytes are drawn on %d pixels: %v", length, size.Width, err)
	}
	if text := s.get("/qr.txt").Body; !strings.ContainsRune(text, '▀') {
		s.t.Errorf("%d bytes are not drawn as text", length)
	}
}
