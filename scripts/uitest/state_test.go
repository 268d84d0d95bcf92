package uitest

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

const (
	someNumber = "00 34.600 000-000" // as people write it
	knownPhone = "+1 (555) 010-1001" // has written to the account before
)

// typeInto writes into a field, as a person would.
func (p *tab) typeInto(id, text string) {
	p.t.Helper()
	p.do(`() => { document.getElementById("` + id + `").value = ` + "`" + text + "`" + `; }`)
}

// click clicks a button that asks nothing.
func (p *tab) click(id string) {
	p.t.Helper()
	p.await(`!document.getElementById("` + id + `").disabled`)
	p.do(`() => document.getElementById("` + id + `").click()`)
}

// has wants the text of an element to match.
func (p *tab) has(id, pattern string) {
	p.t.Helper()
	if got := p.text(id); !regexp.MustCompile(pattern).MatchString(got) {
		p.t.Errorf("%s: %q, want %s", id, got, pattern)
	}
}

// shown is true once an element can be seen.
func shown(id string) string { return `document.getElementById("` + id + `").checkVisibility()` }

// matches is true once the text of an element matches.
func matches(id, pattern string) string {
	return `/` + pattern + `/.test(document.getElementById("` + id + `").textContent)`
}

func TestPersonLinksAPhoneByItsNumber(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t, "ack=read", "code=429")
	s := service(t, "--url="+sim.URL, "--message-pause=0s", "--settle-time=0s")
	gate := newGate(t, s.Base)
	page := open(t, b, gate.url, phone)
	page.await(`states.includes("INIT") || states.includes("QR_REQUIRED")`)
	page.await(`!document.getElementById("qr").hidden && ` + matches("countdown", `\d`))
	page.has("headline", "^Link your phone$")

	// The phone on which the page is can't scan it, so the code comes first.
	page.await(`!` + shown("qr") + ` && ` + shown("pairButton"))
	page.visit("1-qr")
	page.typeInto("phone", "600 000 000")
	page.click("pairButton")
	page.await(shown("pairError"))
	page.has("pairError", "plus sign and the country code")
	page.typeInto("phone", someNumber)
	page.click("pairButton")
	page.await(matches("pairError", "no more codes") + ` && document.getElementById("phone").ariaInvalid === "true"`)
	page.has("pairError", `Try again in 5 min\.$`)
	page.visit("2-refused")
	page.await(`!document.getElementById("qr").hidden`)

	sim.ClearFaults()
	if err := sim.SetFault("ack=read"); err != nil {
		t.Fatal(err)
	}
	page.click("pairButton")
	page.await(`document.getElementById("pairButton").ariaBusy === "true" || ` + shown("pairCode"))
	page.await(matches("pairCode", "^[0-9A-Z]{4}-[0-9A-Z]{4}$") + ` && ` + matches("codeLeft", `^Valid for \d:\d\d$`))
	page.await(`!` + shown("link") + ` && ` + matches("headline", "code is waiting"))
	page.visit("3-code")
	page.do(`() => { const now = Date.now; Date.now = () => now() - 3600000; happen("tick"); }`) // somebody sets the clock
	page.has("codeLeft", `^Valid for \d:\d\d$`)
	code := page.text("pairCode")
	page.reload()
	page.await(shown("pairCode") + ` && document.getElementById("pairCode").textContent === "` + code + `"`)
	other := open(t, b, s.Base, desktop)
	other.await(shown("codeOthers") + ` && ` + matches("codeLeft", `^Válido durante \d:\d\d$`))
	other.visit("4-code-of-another")
	if got := other.text("coded"); strings.Contains(got, page.text("pairCode")) || strings.Contains(got, "-") {
		t.Errorf("a second viewer sees %q", got)
	}

	// Either of them can have the QR back.
	page.click("showQR")
	page.await(`!` + shown("coded") + ` && document.getElementById("pairCode").textContent === "" && !document.getElementById("qr").hidden`)
	other.await(shown("qr"))
	page.typeInto("phone", someNumber)
	page.click("pairButton")
	page.await(matches("pairCode", "^[0-9A-Z]{4}-[0-9A-Z]{4}$"))
	page.click("copy")
	page.await(matches("outcome", "^Copied"))
	if err := sim.EnterCode(t.Context(), page.text("pairCode")); err != nil {
		t.Fatal(err)
	}
	page.await(`document.body.dataset.state === "READY" && document.getElementById("pairCode").textContent === ""`)
	other.unharmed()
	page.ready()
	page.send(knownPhone)
	page.lose(gate)
	page.openedElsewhere(sim)
	page.logOut()
	page.unharmed()
}

// ready looks at the facts of a session that is READY.
func (p *tab) ready() {
	p.t.Helper()
	p.await(matches("pageVersion", `^2\.`) + ` && document.getElementById("linked").textContent !== "–" && document.getElementById("saved").textContent !== "–"`)
	host, err := os.Hostname()
	if err != nil {
		p.t.Fatal(err)
	}
	p.has("host", regexp.QuoteMeta(host))
	p.has("instance", `^127\.0\.0\.1:`)
	p.has("backup", "^none yet$")
	p.has("noReports", "none")
	p.await(`!document.getElementById("danger").hidden && document.getElementById("progress").hidden`)
}

// send sends a message, and waits until it is read.
func (p *tab) send(to string) {
	p.t.Helper()
	p.click("sendButton")
	p.has("sendError", "Write a message first")
	p.typeInto("text", "<b>Hello</b>")
	p.click("sendButton")
	p.await(matches("sendError", "plus sign"))
	p.typeInto("to", to)
	p.click("sendButton")
	p.await(`document.getElementById("sent").dataset.status === "read"`)
	p.has("ticks", "^✓✓$")
	p.has("sentTo", `^\+15550101001$`)
	p.has("sentTimes", `Queued.*\n(.*\n)*Read`)
	if got := p.text("text"); got != "" {
		p.t.Errorf("the text is still there: %q", got)
	}
	p.visit("5-ready")
}

// lose loses the connection to the service, and finds it again.
func (p *tab) lose(g *gate) {
	p.t.Helper()
	g.close()
	p.await(`"lost" in document.body.dataset`)
	p.has("headline", "^Connection to the service lost$")
	p.has("message", `^Last known: Ready at \d?\d:\d\d`)
	p.await(`[...document.querySelectorAll("section button")].every((b) => b.disabled)`)
	p.visit("6-lost")
	g.open()
	p.await(`!("lost" in document.body.dataset) && document.getElementById("headline").textContent === "Ready"`)
	p.await(`!document.getElementById("restart").disabled`)
}

// openedElsewhere has the account opened elsewhere, and takes it back.
func (p *tab) openedElsewhere(sim *harness.Phone) {
	p.t.Helper()
	if err := sim.TakeOver(); err != nil {
		p.t.Fatal(err)
	}
	p.await(matches("headline", "^Open elsewhere$") + ` && ` + matches("retryIn", `^The session is taken back in (1:00|0:\d\d)$`))
	p.visit("7-elsewhere")
	p.has("tryNow", "^Take over now$")
	p.click("tryNow")
	p.await(`document.body.dataset.state === "READY" && document.getElementById("retry").hidden`)
	p.await(matches("worker", "no. ") + ` && ` + matches("lastExit", "A restart was requested.* Chrome: exit 0"))
}

func (p *tab) logOut() {
	p.t.Helper()
	p.do(`() => document.getElementById("logout").click()`)
	p.await(`document.getElementById("confirm").open`)
	p.visit("8-question")
	p.do(`() => document.querySelector("#confirm button[value=no]").click()`)
	p.await(`!document.getElementById("confirm").open`)
	p.press("logout")
	p.await(matches("outcome", "^Logged out.") + ` || ` + matches("outcome", "did not work"))
	p.has("outcome", "^Logged out.")
	p.await(`document.body.dataset.state === "QR_REQUIRED" && !document.getElementById("qr").hidden`)
	p.has("headline", "^Unlinked: link your phone again$")
	if got := p.text("crashes"); got != "" {
		p.t.Errorf("%s crashes", got)
	}
}

func TestPersonScansTheQRAfterACode(t *testing.T) {
	t.Parallel()
	b := browser(t)
	sim := simulated(t, "sync=stuck:50")
	s := service(t, "--url="+sim.URL)
	if _, _, err := s.NextQR(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	withoutScript(t, b, s.Base)
	page := open(t, b, s.Base, desktop)
	page.await(shown("qr"))
	page.visit("qr-es")
	page.losesItsCode(s, sim)
	err := sim.ScanPayload(t.Context(), page.decode())
	for simulator.MayScanAgain(err) { // the page has drawn the next one meanwhile
		page.await(shown("qr"))
		err = sim.ScanPayload(t.Context(), page.decode())
	}
	if err != nil {
		t.Fatal(err)
	}
	page.await(`document.body.dataset.state === "AUTHENTICATED"`)
	sim.ClearFaults()
	page.await(`document.body.dataset.state === "READY"`)
	page.press("restart")
	page.await(matches("outcome", "^Reiniciando"))
	page.await(`document.body.dataset.state === "READY" && ` + matches("worker", "n.º 2"))
	page.has("lastExit", "Se ha pedido un reinicio.* Chrome: exit 0")
	page.unharmed()
}

// withoutScript opens the page in Portuguese in a browser that runs no scripts.
func withoutScript(t *testing.T, b *rod.Browser, url string) {
	t.Helper()
	bare := open(t, b, "about:blank", look{width: 1280, height: 900, language: "pt-BR,pt;q=0.9"})
	if err := (proto.EmulationSetScriptExecutionDisabled{Value: true}).Call(bare.Page); err != nil {
		t.Fatal(err)
	}
	once := bare.HijackRequests() // the page renews itself, which no look at it survives
	defer func() { _ = once.Stop() }()
	err := once.Add(url+"/", proto.NetworkResourceTypeDocument, func(h *rod.Hijack) {
		if err := h.LoadResponse(http.DefaultClient, true); err != nil {
			t.Error(err)
		}
		h.Response.SetBody(strings.Replace(h.Response.Body(), `http-equiv="refresh"`, "", 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	go once.Run()
	loaded := bare.Timeout(patience).WaitEvent(&proto.PageLoadEventFired{}) // no listener in the page would be called
	if err := bare.Navigate(url + "/"); err != nil {
		t.Fatal(err)
	}
	loaded()
	// No timer of axe-core's would end while scripts are disabled. The page's own have been passed over by then.
	if err := (proto.EmulationSetScriptExecutionDisabled{Value: false}).Call(bare.Page); err != nil {
		t.Fatal(err)
	}
	bare.visit("without-script")
	got, err := bare.Eval(`() => [document.querySelector("noscript img").naturalWidth > 0, document.querySelector("h1").innerText].join(" ")`)
	if err = errors.Join(err, bare.Close()); err != nil || got.Value.Str() != "true Conecte seu celular" { // else it keeps the focus
		t.Errorf("got %v, %v", got, err)
	}
}

// losesItsCode asks for a code, which ends when another client asks for one in vain.
func (p *tab) losesItsCode(s *harness.Service, sim *harness.Phone) {
	p.t.Helper()
	p.typeInto("phone", someNumber)
	p.click("pairButton")
	p.await(matches("pairCode", "^[0-9A-Z]{4}-[0-9A-Z]{4}$") + ` && !` + shown("qr"))
	if err := sim.SetFault("code=429"); err != nil {
		p.t.Fatal(err)
	}
	a, err := s.Ask(p.t.Context(), http.MethodPost, "/session/pair", `{"phone": "+34 600-000-001"}`)
	if err != nil || a.Code != http.StatusTooManyRequests {
		p.t.Fatalf("got %d %s, %v", a.Code, a.Body, err)
	}
	p.await(`document.getElementById("pairCode").textContent === ""`)
	p.await(shown("qr") + ` && !` + shown("coded"))
	sim.ClearFaults()
}

// crashing is a browser that has a version, and exits as soon as it is started.
func crashing(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chrome")
	script := "#!/bin/sh\n[ \"$*\" != --version ] || exec echo Chromium 156.0.0.0\necho '<b>a last line</b>' >&2\nexit 3\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPageCountsDownToTheNextAttempt(t *testing.T) {
	t.Parallel()
	b := browser(t)
	s := service(t, "--chrome="+crashing(t))
	page := open(t, b, s.Base, phone)
	page.await(matches("headline", "^It keeps crashing$") + ` && ` + matches("retryIn", `^Next attempt in (1:\d\d|0:\d\d)$`))
	page.await(`document.querySelectorAll("#reports details").length > 5`)
	page.do(`() => document.querySelector("#reports summary").click()`)
	page.await(`document.querySelector("#reports details[open] li")`)
	page.visit("crash-loop")
	if got := page.text("reports"); !strings.Contains(got, "Chrome said: <b>a last line</b>") {
		t.Errorf("the open report: %s", got)
	}
	before := page.text("crashes")
	page.click("tryNow")
	page.await(matches("outcome", "^Restarting") + ` && document.getElementById("crashes").textContent !== "` + before + `"`)
	page.await(`document.querySelector("#reports details[open]")`) // an open report stays open
	page.unharmed()
}

func TestPageSpeaksSpanishAndExplainsWhatToDo(t *testing.T) {
	t.Parallel()
	b := browser(t)
	page := open(t, b, service(t, "--chrome=/nonexistent/chrome").Base, desktop)
	page.await(`document.body.dataset.state === "ERROR" && ` + matches("retryIn", "^Próximo intento en 0:"))
	page.has("headline", "^Falta Chrome$")
	page.has("action", "apt-get install chromium")
	page.visit("error-es")
	// What lasts too short elsewhere.
	page.do(`() => happen("state", {status: "INIT", reason: {code: "starting"}})`)
	page.visit("init")
	page.do(`() => { happen("state", {status: "AUTHENTICATED", reason: {code: "syncing"}}); happen("progress", {phase: {name: "page"}, progress_percent: 40}); }`)
	page.visit("syncing")
	page.unharmed()
}

func TestPageAsksForTheKeyAndShowsWarnings(t *testing.T) {
	t.Parallel()
	b := browser(t)
	const reads, both = "a-readers-key-a-readers-key", "a-key-a-key-a-key-a-key"
	file, selectors := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "selectors.json")
	err := errors.Join(os.WriteFile(file, []byte("read:"+reads+"\n"+both), 0o600), os.Chmod(file, 0o644), os.WriteFile(selectors, []byte("<b>{"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	s := service(t, "--chrome=/nonexistent/chrome", "--api-key-file="+file, "--listen=0.0.0.0:0", "--selectors="+selectors)
	page := open(t, b, s.Base, phone)
	enter := func(key string) {
		t.Helper()
		page.await(`document.getElementById("keyDialog").open`)
		page.typeInto("key", key)
		page.do(`() => document.querySelector("#keyDialog button").click()`)
	}
	page.await(`document.getElementById("keyDialog").open`)
	page.has("keyWhere", "--api-key-file")
	page.visit("key")
	if body := page.text("keyDialog"); strings.Contains(body, file) {
		t.Errorf("a stranger learns where the key is: %s", body)
	}
	page.do(`() => document.getElementById("keyCancel").click()`)
	page.await(shown("enterKey"))
	page.visit("locked")
	page.click("enterKey")
	enter("wrong ключ")
	enter("wrong")
	page.await(matches("keyWhy", "not known"))
	enter(reads)
	page.await(`document.body.dataset.state === "ERROR" && ` + matches("worker", "^not running$"))
	page.await(`document.querySelectorAll("#warnings p").length === 2 && "warned" in document.body.dataset`)
	page.visit("warnings")
	page.has("warnings", `(?s)selectors file can't be used.*chmod 600\.\s+`+file)
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	page.await(`document.querySelectorAll("#warnings p").length === 1`)
	if err := os.Remove(selectors); err != nil {
		t.Fatal(err)
	}
	page.await(`document.getElementById("warnings").hidden && !("warned" in document.body.dataset)`)
	page.press("restart")
	page.await(matches("keyWhy", "not for that"))
	enter(both)
	page.await(matches("outcome", "^Restarting"))
	// The tab knows the keys now, and whoever may read learns where they are.
	page.reload()
	page.await(`document.body.dataset.state === "ERROR" && ` + matches("worker", "^not running$"))
	if err := os.WriteFile(file, []byte("another-key-another-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	page.await(matches("keyWhy", "not known") + ` && document.getElementById("keyDialog").open`)
	page.unharmed()
}

func (p *tab) reload() {
	p.t.Helper()
	if err := p.Reload(); err != nil {
		p.t.Fatal(err)
	}
}
