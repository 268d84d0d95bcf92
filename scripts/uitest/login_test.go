package uitest

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestLinkByNumberAndLogoutWorkWithoutReload(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t, 4)
	page := open(t, b, service(t, "--url="+sim.URL).Base, phone)
	page.await(`!document.getElementById("qr").hidden`)

	submit := `() => document.getElementById("pair").requestSubmit()`
	page.do(`() => { document.getElementById("phone").value = "600 000 000"; }`)
	page.do(submit)
	page.await(`!document.getElementById("phone").validity.valid && document.getElementById("pairCode").textContent === ""`)
	page.do(`() => { document.getElementById("phone").value = "+34 600-000-000"; }`)
	page.do(submit)
	page.await(`/^[0-9A-Z]{4}-[0-9A-Z]{4}$/.test(document.getElementById("pairCode").textContent)`)
	page.shoot("7-code")
	page.fits()
	code := page.text("pairCode")
	if !regexp.MustCompile(`^[0-9A-Z]{4}-[0-9A-Z]{4}$`).MatchString(code) {
		t.Fatalf("code %q", code)
	}
	if err := sim.EnterCode(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	page.await(`document.body.dataset.state === "READY"`)

	page.do(`() => document.getElementById("logout").click()`)
	page.await(`document.getElementById("confirm").open`)
	page.do(`() => document.getElementById("yes").click()`)
	page.await(`document.getElementById("outcome").textContent.startsWith("Logged out.")`)
	page.await(`document.body.dataset.state === "QR_REQUIRED" && !document.getElementById("qr").hidden`)
	page.shoot("8-logged-out")
	if got := page.text("pairCode"); got != "" {
		t.Errorf("an old code is still shown: %q", got)
	}
	if got := page.text("crashes"); got != "0" || strings.Contains(page.text("outcome"), "did not work") {
		t.Errorf("crashes %q, outcome %q", got, page.text("outcome"))
	}
	page.unharmed()
}

// TestPairingCodeVanishesWhenAnotherEndsIt has another client ask for a code, in vain.
func TestPairingCodeVanishesWhenAnotherEndsIt(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t, 4)
	s := service(t, "--url="+sim.URL)
	page := open(t, b, s.Base, phone)
	page.await(`!document.getElementById("qr").hidden`)
	page.do(`() => { document.getElementById("phone").value = "+34 600-000-000"; document.getElementById("pair").requestSubmit(); }`)
	page.await(`/^[0-9A-Z]{4}-[0-9A-Z]{4}$/.test(document.getElementById("pairCode").textContent)`)
	page.await(`document.getElementById("scan").hidden`)
	if err := sim.SetFault("code=429"); err != nil {
		t.Fatal(err)
	}
	a, err := s.Ask(t.Context(), http.MethodPost, "/session/pair", `{"phone": "+34 600-000-001"}`)
	if err != nil || a.Code != http.StatusTooManyRequests {
		t.Fatalf("got %d %s, %v", a.Code, a.Body, err)
	}
	page.await(`document.getElementById("pairCode").textContent === ""`)
	page.await(`!document.getElementById("qr").hidden && !document.getElementById("scan").hidden`)
	page.unharmed()
}
