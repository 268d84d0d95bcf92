package uitest

import (
	"archive/zip"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// signer is a tab of the person's own browser, whose authenticator has the passkey.
func signer(t *testing.T, b *rod.Browser, k simulator.Passkey) *rod.Page {
	t.Helper()
	page, err := b.Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	options := &proto.WebAuthnVirtualAuthenticatorOptions{
		Protocol: proto.WebAuthnAuthenticatorProtocolCtap2, Ctap2Version: proto.WebAuthnCtap2VersionCtap21,
		Transport: proto.WebAuthnAuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		HasPrf: true, AutomaticPresenceSimulation: true, IsUserVerified: true,
	}
	if err := (proto.WebAuthnEnable{}).Call(page); err != nil {
		t.Fatal(err)
	}
	added, err := proto.WebAuthnAddVirtualAuthenticator{Options: options}.Call(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := (proto.EmulationSetFocusEmulationEnabled{Enabled: true}).Call(page); err != nil {
		t.Fatal(err)
	}
	err = proto.WebAuthnAddCredential{AuthenticatorID: added.AuthenticatorID, Credential: &proto.WebAuthnCredential{
		CredentialID: k.ID, IsResidentCredential: true, RpID: "localhost", PrivateKey: k.PrivateKey, UserHandle: k.UserHandle,
	}}.Call(page)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// signed presses the button that our script has drawn, and returns what it shows.
func signed(t *testing.T, page *rod.Page, label string) string {
	t.Helper()
	button, err := page.Timeout(patience).ElementR("button", label)
	if err != nil {
		t.Fatal(err)
	}
	if err := button.Click(proto.InputMouseButtonLeft, 1); err != nil {
		t.Fatal(err)
	}
	box := &tab{Page: page, t: t}
	box.await(`(window.result = [...document.querySelectorAll("textarea")].find((e) => e.value))`)
	text, err := page.Eval(`() => window.result.value`)
	if err != nil {
		t.Fatal(err)
	}
	return text.Value.Str()
}

// value returns a property of an element.
func (p *tab) value(id, property string) string {
	p.t.Helper()
	got, err := p.Eval(`(id, property) => document.getElementById(id)[property]`, id, property)
	if err != nil {
		p.t.Fatal(err)
	}
	return got.Value.Str()
}

// answer pastes a result, and sends it.
func (p *tab) answer(result string) {
	p.t.Helper()
	if _, err := p.Eval(`(text) => { document.getElementById("passkeyResult").value = text; document.querySelector("#passkeyAnswer button").click(); }`, result); err != nil {
		p.t.Fatal(err)
	}
}

func TestPersonLinksWithAPasskey(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t, "passkey=compare")
	url := strings.Replace(sim.URL, "127.0.0.1", "localhost", 1)
	s := service(t, "--url="+url)
	page := open(t, b, s.Base, desktop)
	scan := func() {
		t.Helper()
		if _, _, err := s.NextQR(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if err := sim.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		page.await(`!document.getElementById("passkeyBegin").hidden && !document.getElementById("passkey").hidden`)
	}
	click := func(id string) { page.do(`() => document.getElementById("` + id + `").click()`) }

	// A restart ends a request, and the page explains that.
	scan()
	click("passkeyBegin")
	page.await(`document.getElementById("passkeyScript").value !== ""`)
	if _, err := s.Ask(t.Context(), "POST", "/session/restart?now=true", ""); err != nil {
		t.Fatal(err)
	}
	page.await(`document.getElementById("passkeyNow").textContent.includes("empieza de nuevo") && document.getElementById("passkeySteps").hidden`)

	scan()
	click("passkeyBegin")
	page.await(`document.getElementById("passkeyScript").value !== "" && /Durante \d+ s/.test(document.getElementById("passkeyClocks").textContent)`)
	page.visit("1-steps")
	own := signer(t, b, sim.Passkey())
	script := page.value("passkeyScript", "value")
	result := page.sign(own, script)
	page.answer(strings.Replace(result, `"type":"public-key"`, `"type":"password"`, 1))
	page.await(`document.getElementById("passkeyOutcome").textContent !== ""`)
	page.answer(result)
	page.await(`document.getElementById("passkeyNow").textContent.startsWith("Firmado")`)
	if err := sim.AwaitPasskey(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := sim.ApprovePasskey(); err != nil {
		t.Fatal(err)
	}
	page.await(`document.getElementById("passkeyCode").textContent !== "" && !document.getElementById("passkeyCompare").hidden`)
	page.visit("2-compare")
	code := sim.Passkey().Code
	if got := page.text("passkeyCode"); strings.ReplaceAll(got, "-", "") != code || !strings.Contains(got, "-") {
		t.Error("the page and the phone show different codes")
	}
	click("passkeyConfirm")
	page.await(`document.body.dataset.state === "READY" && document.getElementById("passkey").hidden`)

	page.meetChallenge(s, sim)
	for _, verdict := range sim.Passkey().Verdicts {
		if verdict != "accepted" {
			t.Errorf("the server found %s", verdict)
		}
	}
	for _, secret := range []string{code, code[:4] + "-" + code[4:], part(script, `"challenge": "`), part(result, `"signature":"`), part(result, `"id":"`)} {
		if secret == "" || strings.Contains(s.Log(), secret) {
			t.Errorf("the log has a secret of %d bytes", len(secret))
		}
	}
	page.unharmed()
}

// sign follows the page's steps in a browser of the person's own: it opens WhatsApp's page and
// runs the script there.
func (p *tab) sign(own *rod.Page, script string) (result string) {
	p.t.Helper()
	if err := own.Navigate(p.value("passkeyPage", "href")); err != nil {
		p.t.Fatal(err)
	}
	if err := own.WaitLoad(); err != nil {
		p.t.Fatal(err)
	}
	if _, err := (proto.RuntimeEvaluate{Expression: script, UserGesture: true}).Call(own); err != nil {
		p.t.Fatal(err)
	}
	return signed(p.t, own, "Firmar con la clave de acceso")
}

// meetChallenge is the owner of a linked account whom WhatsApp asks, and who has the
// extension.
func (p *tab) meetChallenge(s *harness.Service, sim *harness.Phone) {
	p.t.Helper()
	before, err := s.Session(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := sim.SetFault("challenge=passkey"); err != nil {
		p.t.Fatal(err)
	}
	if _, err := s.Ask(p.t.Context(), "POST", "/session/restart?now=true", ""); err != nil { // so that it is noticed now
		p.t.Fatal(err)
	}
	// The page before the restart may show it as well.
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if _, err := s.Await(ctx, "the challenge after a restart", func(v harness.Session) bool {
		return v.Worker.Generation > before.Worker.Generation && v.Warned("challenge_required")
	}); err != nil {
		p.t.Fatal(err)
	}
	p.await(`!document.getElementById("passkey").hidden && document.getElementById("passkeyNow").textContent.includes("titular")`)
	p.do(`() => document.getElementById("passkeyBegin").click()`)
	p.await(`document.getElementById("passkeySign").href !== ""`)
	b, end, err := startChrome(extension(p.t, s))
	p.t.Cleanup(end)
	if err != nil {
		p.t.Fatal(err)
	}
	own := signer(p.t, b, sim.Passkey())
	if err := own.Navigate(p.value("passkeySign", "href")); err != nil {
		p.t.Fatal(err)
	}
	challenge := signed(p.t, own, "Sign with the passkey")
	p.answer(challenge)
	p.await(`document.getElementById("passkey").hidden`)
}

func part(text, before string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, `"`)
	return text
}

// extension returns the folder of the extension that the service serves.
func extension(t *testing.T, s *harness.Service) string {
	t.Helper()
	folder := t.TempDir()
	res, err := s.Get(t.Context(), "/passkey-extension.zip")
	if err != nil {
		t.Fatal(err)
	}
	files, err := zip.NewReader(strings.NewReader(res), int64(len(res)))
	if err == nil {
		err = os.CopyFS(folder, files)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}
