package e2e

import (
	"strings"
	"testing"

	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

// TestLoginMovesBetweenTheEngines links an account with one engine, and uses the login with the other and
// back.
func TestLoginMovesBetweenTheEngines(t *testing.T) {
	t.Parallel()
	engines := map[string]string{}
	for _, name := range []string{"chromium", "chromium-headless-shell"} {
		binary, err := chrome.Find(name)
		if err != nil {
			t.Skipf("needs %s: apt-get install %s", name, name)
		}
		engines[name] = binary.Path
	}
	p := newPhone(t, simulator.Options{Speed: 4})
	tokens := t.TempDir()
	shell, full := string(chrome.HeadlessShell), string(chrome.FullChrome)
	s := linked(t, p, tokens, "--chrome", engines["chromium-headless-shell"])
	for _, step := range []struct{ binary, engine, before string }{
		{engines["chromium"], full, shell}, {engines["chromium-headless-shell"], shell, full},
	} {
		if got := s.session().Browser.Engine; got != step.before {
			t.Errorf("engine %q, want %q", got, step.before)
		}
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s = start(t, p.URL, tokens, "--chrome", step.binary)
		s.await("READY")
		if strings.Contains(s.Log(), `"to":"QR_REQUIRED"`) {
			t.Errorf("%s asked for a new scan", step.engine)
		}
		if got := s.session().Browser.Engine; got != step.engine {
			t.Errorf("engine %q, want %q", got, step.engine)
		}
	}
}
