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
	p := newPhone(t, simulator.Options{Speed: 1, Profile: "large", Faults: []string{"ref=growing"}})
	s := start(t, p.URL, t.TempDir(), light...)
	lengths := map[int]bool{}
	for codes, withheld := 0, false; len(lengths) < 4 || !withheld; codes++ {
		if codes > 20 {
			t.Fatalf("served were payloads of %v bytes, and withheld was one: %t", lengths, withheld)
		}
		length := s.nextLength() / 100 * 100
		if length == 0 {
			continue
		}
		lengths[length] = true
		p.order(t, simulator.Next)
		if length == 2800 { // The next one can't be drawn.
			withheld = s.isWithheld()
			p.order(t, simulator.Next)
		}
	}
	if !lengths[200] || !lengths[400] || !lengths[900] || !lengths[2800] {
		t.Errorf("served were payloads of %v bytes", lengths)
	}
	if served := s.awaitNewQR(); len(served) > 2953 {
		t.Error("the successor is not served")
	}
}

// nextLength waits for the next payload, checks both drawings of it, and returns how long
// it is; 0 when its own successor was drawn meanwhile.
func (s *service) nextLength() int {
	s.t.Helper()
	var code []byte
	s.lastQR, code = s.nextQR(s.lastQR)
	picture, text := s.get("/qr.png").Body, s.get("/qr.txt").Body
	if s.get("/qr").Body != s.lastQR {
		return 0
	}
	length := len(scan(s.t, code)) // which takes its time
	size, err := png.DecodeConfig(strings.NewReader(picture))
	if err != nil || size.Width > 1000 {
		s.t.Errorf("%d bytes are drawn on %d pixels: %v", length, size.Width, err)
	}
	if !strings.ContainsRune(text, '▀') {
		s.t.Errorf("%d bytes are not drawn as text", length)
	}
	return length
}

// isWithheld waits for the payload that can't be drawn, and wants none to be served; it
// returns false when the next one took its place meanwhile.
func (s *service) isWithheld() bool {
	s.t.Helper()
	undrawable := func(v harness.Session) bool { return v.Reason.Code == "qr_unreadable" && v.QR == nil }
	s.awaitSession("that the next payload can't be drawn", undrawable)
	qr, picture, text := s.get("/qr"), s.get("/qr.png"), s.get("/qr.txt")
	if !undrawable(s.session()) {
		return false
	}
	if qr.Body != `{"status":"NO_QR"}` || picture.Code != 404 || text.Code != 404 {
		s.t.Errorf("a QR is served, or a drawing: %d, %d", picture.Code, text.Code)
	}
	return true
}
