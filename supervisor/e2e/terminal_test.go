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
	if err := s.Master.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "\n", "\r\n")
	for part := make([]byte, 4096); !strings.Contains(s.text, text); {
		n, err := s.Master.Read(part)
		if err != nil {
			t.Fatalf("%q is not on the terminal: %v: %s", text, err, s.text)
		}
		s.text += string(part[:n])
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
		Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: terminal.Slave, URL: p.URL, Args: []string{"--log-level", "info"},
	})
	shown.shows(t, s.Base+" is QR_REQUIRED: ")
	shown.shows(t, s.get("/qr.txt?wait=25s").Body+"scan it")
	p.scan(t)
	shown.shows(t, s.Base+" is AUTHENTICATED: ")
	if !strings.Contains(shown.text, " INFO  state_changed ") || strings.Contains(shown.text, `{"`) {
		t.Errorf("the log on the terminal is not for people: %s", shown.text)
	}
}
