package e2e

import (
	"os"
	"strings"
	"testing"

	"session-manager/scripts/harness"
)

// selectorsApply writes the selectors file of a service that runs, whose page has another attribute than the known one.
func selectorsApply(t *testing.T, s *service, p *phone, file string) {
	t.Helper()
	renamed := renamedSelectors(t)
	s.awaitQR()
	before := s.session()
	if reader := before.QR.Reader; reader == "dom" || before.Page.Selectors.Source != "built_in" {
		t.Fatalf("read by %q, with %+v", reader, before.Page.Selectors)
	}

	write(t, file, renamed)
	after := s.awaitSession("the attribute is read", func(now harness.Session) bool { return now.QR != nil && now.QR.Reader == "dom" })
	if after.Worker.PID != before.Worker.PID || after.Browser.PID != before.Browser.PID {
		t.Error("worker or Chrome was restarted")
	}
	if after.Page.Selectors.Source != "file" || after.Page.Selectors.Path != file {
		t.Errorf("got %+v", after.Page.Selectors)
	}

	write(t, file, renamed[:len(renamed)/2])
	wantRefused(s)
	if err := p.ExpireNow(); err != nil {
		t.Fatal(err)
	}
	s.awaitSession("the last good one reads the next code", func(now harness.Session) bool {
		return now.QR != nil && now.QR.Reader == "dom" && now.QR.Seq > after.QR.Seq
	})
}

// wantRefused waits until a broken file is refused, with the line of the mistake and
// without harm to the last good one.
func wantRefused(s *service) {
	s.t.Helper()
	v := s.awaitSession("the broken file is refused", func(now harness.Session) bool { return now.Page.Selectors.Refused != "" })
	if !strings.Contains(v.Page.Selectors.Refused, "line ") || v.Page.Selectors.Source != "file" {
		s.t.Errorf("got %+v", v.Page.Selectors)
	}
	s.awaitLog(`"file_reload_failed"`)
}

// renamedSelectors returns the built-in selectors for a page whose attribute has another
// name.
func renamedSelectors(t *testing.T) string {
	t.Helper()
	known, err := os.ReadFile("../../shared/selectors/selectors.json")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`[data-ref]`, `[data-link-string]`, `"data-ref"`, `"data-link-string"`).Replace(string(known))
}
