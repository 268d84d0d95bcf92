package uitest

import (
	"encoding/base64"
	"testing"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

var (
	phone   = look{width: 390, height: 844, language: "en-US,en"}
	desktop = look{width: 1280, height: 900, dark: true, language: "es-AR,es;q=0.9"}
)

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

// TestDenseCodeCanBeScannedFromThePage waits for the longest payload that a QR holds.
func TestDenseCodeCanBeScannedFromThePage(t *testing.T) {
	t.Parallel()
	b := browser(t)
	p, err := harness.NewPhone(simulator.Options{Speed: 1, Profile: "large", Faults: []string{"ref=growing"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	page := open(t, b, service(t, "--url="+p.URL).Base, desktop)
	page.await(`!document.getElementById("qr").hidden`)
	for range 3 {
		if err := p.Order(simulator.Next); err != nil {
			t.Fatal(err)
		}
	}
	page.await(`document.getElementById("qr").naturalWidth === 4 * 185 && document.getElementById("qr").clientWidth > 600`)
	if got := page.decode(); len(got) < 2000 {
		t.Errorf("it decodes to %d bytes", len(got))
	}
	page.fits()
	if err := p.Order(simulator.Next); err != nil {
		t.Fatal(err)
	}
	page.await(`document.getElementById("qr").hidden`) // its successor can't be drawn
}
