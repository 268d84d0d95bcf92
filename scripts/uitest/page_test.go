package uitest

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

var (
	phone   = look{width: 390, height: 844, language: "en-US,en"}
	desktop = look{width: 1280, height: 900, dark: true, language: "es-AR,es;q=0.9"}
)

func TestPersonLinksAPhoneAndRestarts(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t)
	page := open(t, b, service(t, "--url="+sim.URL).Base, phone)
	page.do(`() => { window.same = true; }`)
	page.await(`document.body.dataset.state === "INIT" || document.body.dataset.state === "QR_REQUIRED"`)
	page.shoot("1-init")

	page.await(`!document.getElementById("qr").hidden && /\d/.test(document.getElementById("countdown").textContent)`)
	page.shoot("2-qr")
	if got := page.text("headline"); got != "Link your phone" {
		t.Errorf("headline %q", got)
	}
	page.fits()
	err := sim.ScanPayload(t.Context(), page.decode())
	for errors.Is(err, simulator.ErrExpired) { // the page has drawn the next one meanwhile
		err = sim.ScanPayload(t.Context(), page.decode())
	}
	if err != nil {
		t.Fatal(err)
	}
	page.await(`states.includes("AUTHENTICATED")`) // it may be over before somebody looks
	page.shoot("3-authenticated")
	page.await(`document.body.dataset.state === "READY"`)
	page.shoot("4-ready")
	if !strings.Contains(page.text("worker"), "no. 1") {
		t.Errorf("worker: %q", page.text("worker"))
	}

	page.do(`() => document.getElementById("restart").click()`)
	page.await(`document.getElementById("confirm").open`)
	page.shoot("5-confirm")
	page.do(`() => document.querySelector("#confirm button[value=no]").click()`)
	page.await(`!document.getElementById("confirm").open`)
	page.press("restart")
	page.await(`document.getElementById("outcome").textContent === "Restarting."`)
	page.await(`document.body.dataset.state === "READY" && /no\. 2/.test(document.getElementById("worker").textContent)`)
	page.shoot("6-restarted")
	if got := page.text("crashes"); got != "0" {
		t.Errorf("a planned restart is no crash: %q", got)
	}
	if got := page.text("lastExit"); !strings.Contains(got, "A restart was requested.") || !strings.HasSuffix(got, " Chrome: exit 0.") {
		t.Errorf("last end: %q", got)
	}
	page.unharmed()
}

func TestPageSpeaksSpanishAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	b := browser(t)
	page := open(t, b, service(t, "--chrome=/nonexistent/chrome").Base, desktop)
	page.await(`document.body.dataset.state === "ERROR"`)
	page.shoot("error-es-dark")
	if got := page.text("headline"); got != "Se requiere tu intervención" {
		t.Errorf("headline %q", got)
	}
	if got := page.text("action"); !strings.Contains(got, "apt-get install chromium") {
		t.Errorf("action %q", got)
	}
	page.await(`/Próximo intento/.test(document.getElementById("retry").textContent)`)
	page.unharmed()
}

func TestPageReconnectsAfterTheServiceWasAway(t *testing.T) {
	t.Parallel()
	b := browser(t)
	gate := newGate(t, service(t, "--chrome=/nonexistent/chrome").Base)
	page := open(t, b, gate.url, phone)
	page.await(`document.body.dataset.state === "ERROR" && document.getElementById("offline").hidden`)
	gate.close()
	page.await(`!document.getElementById("offline").hidden`)
	page.shoot("offline")
	gate.open()
	page.await(`document.getElementById("offline").hidden`)
	page.unharmed()
}

// press presses a button, and confirms it.
func (p *tab) press(id string) {
	p.t.Helper()
	p.do(`() => document.getElementById("` + id + `").click()`)
	p.await(`document.getElementById("confirm").open`)
	p.do(`() => document.getElementById("yes").click()`)
}

// decode reads the QR from the image that the page shows.
func (p *tab) decode() string {
	p.t.Helper()
	got, err := p.Eval(`async () => {
		const img = document.getElementById("qr"), canvas = document.createElement("canvas");
		await img.decode();
		canvas.width = img.naturalWidth;
		canvas.height = img.naturalHeight;
		canvas.getContext("2d").drawImage(img, 0, 0);
		return canvas.toDataURL("image/png").split(",")[1];
	}`)
	if err != nil {
		p.t.Fatal(err)
	}
	png, err := base64.StdEncoding.DecodeString(got.Value.Str())
	if err != nil {
		p.t.Fatal(err)
	}
	payload, err := harness.Decode(png)
	if err != nil {
		p.t.Fatal(err)
	}
	return payload
}

// fits checks that nobody has to scroll sideways.
func (p *tab) fits() {
	p.t.Helper()
	got, err := p.Eval(`() => document.documentElement.scrollWidth - innerWidth`)
	if err != nil {
		p.t.Fatal(err)
	}
	if got.Value.Int() > 0 {
		p.t.Errorf("the page is %d px wider than the screen", got.Value.Int())
	}
}

// unharmed checks what must hold at the end of every visit: the policy was never
// in the way, and nothing came from elsewhere.
func (p *tab) unharmed() {
	p.t.Helper()
	got, err := p.Eval(`() => JSON.stringify({
		violations, elsewhere: performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith(location.origin) && !n.startsWith("blob:" + location.origin)),
	})`)
	if err != nil {
		p.t.Fatal(err)
	}
	if got.Value.Str() != `{"violations":[],"elsewhere":[]}` {
		p.t.Errorf("got %s", got.Value.Str())
	}
}

func TestPageWithAnAPIKeyShowsWarnings(t *testing.T) {
	t.Parallel()
	b := ownBrowser(t) // the credentials go to all its pages
	const key = "a-key-a-key-a-key-a-key"
	file, selectors := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "selectors.json")
	err := errors.Join(os.WriteFile(file, []byte(key), 0o600), os.Chmod(file, 0o644), os.WriteFile(selectors, []byte("<b>{"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	s := service(t, "--chrome=/nonexistent/chrome", "--api-key-file="+file, "--listen=0.0.0.0:0", "--selectors="+selectors)
	asked := make(chan error, 1)
	wait := b.HandleAuth("anybody", key)
	go func() { asked <- wait() }()
	page := open(t, b, s.Base, phone)
	page.await(`document.body.dataset.state === "ERROR" && document.getElementById("worker").textContent === "not running"`)
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	page.await(`document.querySelectorAll("#warnings p").length === 2 && document.body.hasAttribute("data-warned")`)
	page.shoot("warnings")
	if got := page.text("warnings"); !strings.Contains(got, "selectors file can't be used") || !strings.Contains(got, "chmod 600. "+file) {
		t.Errorf("warnings: %q", got)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	page.await(`document.querySelectorAll("#warnings p").length === 1`)
	if err := os.Remove(selectors); err != nil {
		t.Fatal(err)
	}
	page.await(`document.getElementById("warnings").hidden && !document.body.hasAttribute("data-warned")`)
	page.press("restart")
	page.await(`document.getElementById("outcome").textContent === "Restarting."`)
	page.unharmed()
}

// TestDenseCodeCanBeScannedFromThePage waits for the longest payload that a QR holds.
func TestDenseCodeCanBeScannedFromThePage(t *testing.T) {
	t.Parallel()
	b := browser(t)
	p, err := harness.NewPhone(simulator.Options{Speed: 3, Profile: "large", Faults: []string{"ref=growing"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	page := open(t, b, service(t, "--url="+p.URL).Base, desktop)
	page.await(`document.getElementById("qr").naturalWidth === 4 * 185 && document.getElementById("qr").clientWidth > 600`)
	if got := page.decode(); len(got) < 2000 {
		t.Errorf("it decodes to %d bytes", len(got))
	}
	page.fits()
	page.await(`document.getElementById("qr").hidden`) // its successor can't be drawn
}
