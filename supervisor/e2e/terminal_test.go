package e2e

import (
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// screen is what was read from a terminal.
type screen struct {
	*harness.Terminal
	text string
}

// shows reads until the screen has text on it, in lines that end as a terminal's do.
func (s *screen) shows(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	for !strings.Contains(s.text, text) {
		s.next(t, text)
	}
}

// next reads what is written next. What is expected is named if nothing is.
func (s *screen) next(t *testing.T, expected string) {
	t.Helper()
	part := make([]byte, 4096)
	err := s.Master.SetReadDeadline(time.Now().Add(patience))
	if err == nil {
		var n int
		n, err = s.Master.Read(part)
		s.text += string(part[:n])
	}
	if err != nil {
		t.Fatalf("%q is not on the terminal: %v: %s", expected, err, s.text)
	}
}

func TestTerminalShowsAddressStateAndQR(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	terminal, err := harness.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	shown := &screen{Terminal: terminal}
	p := newPhone(t, simulator.Options{Speed: 1}) // its codes live as long as real ones
	s := launchWith(t, harness.Options{
		Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: terminal.Slave, URL: p.URL, Args: append(light, "--log-level", "info"),
	})
	shown.shows(t, s.Base+" is QR_REQUIRED: ")
	shown.shows(t, s.get("/qr.txt?wait=25s").Body+"scan it")
	lines, err := harness.Render(shown.text)
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := harness.DecodeBlocks(lines); err != nil || payload != s.awaitQR() {
		t.Errorf("what is drawn on the terminal can't be scanned: %v", err)
	}
	p.scan(t)
	shown.shows(t, s.Base+" is AUTHENTICATED: ")
	if !strings.Contains(shown.text, " INFO  state_changed ") || strings.Contains(shown.text, `{"`) {
		t.Errorf("the log on the terminal is not for people: %s", shown.text)
	}
}
