package browser_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"

	"session-manager/worker/internal/browser/browsertest"
)

var updateEngines = flag.Bool("update", false, "rewrite ENGINES.md")

// question asks a page, or its service worker, about the browser. The expression may be a promise.
type question struct{ name, expression string }

// questions are asked in this order. Answers that depend on the machine are made to be the
// same on each.
var questions = []question{
	{"user agent", "navigator.userAgent"},
	{"brands", "navigator.userAgentData.brands.map(b => b.brand + ' ' + b.version).join(', ')"},
	{"detailed hints", "navigator.userAgentData.getHighEntropyValues(['fullVersionList', 'architecture', 'bitness', 'platformVersion', 'model', 'wow64']).then(h => JSON.stringify([h.fullVersionList.map(b => b.version), h.bitness, h.platformVersion, h.model, h.wow64]))"},
	{"mobile, platform", "[navigator.userAgentData.mobile, navigator.userAgentData.platform, navigator.platform].join()"},
	{"navigator.webdriver", "navigator.webdriver"},
	{"window.chrome", "typeof chrome === 'undefined' ? 'none' : Object.keys(chrome).sort().join() || 'empty'"},
	{"plugins", "[...navigator.plugins].map(p => p.name).join(', ') || 'none'"},
	{"PDF viewer", "navigator.pdfViewerEnabled"},
	{"codecs to play", "['video/mp4; codecs=\"avc1.42E01E\"', 'video/mp4; codecs=\"hvc1.1.6.L93.B0\"', 'audio/mp4; codecs=\"mp4a.40.2\"', 'audio/mpeg', 'video/webm; codecs=\"vp9\"', 'video/mp4; codecs=\"av01.0.05M.08\"', 'audio/ogg; codecs=\"opus\"'].map(c => document.createElement('video').canPlayType(c) || 'no').join()"},
	{"codecs to record", "['video/webm;codecs=vp8', 'video/mp4;codecs=avc1', 'audio/webm;codecs=opus'].map(c => MediaRecorder.isTypeSupported(c)).join()"},
	{"WebGL", "(gl => gl ? gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info').UNMASKED_RENDERER_WEBGL).includes('SwiftShader') ? 'SwiftShader' : 'a GPU' : 'none')(document.createElement('canvas').getContext('webgl'))"},
	{"WebGPU", "'gpu' in navigator ? navigator.gpu.requestAdapter().then(a => a ? 'an adapter' : 'no adapter') : 'none'"},
	{"permissions", "Promise.all(['notifications', 'geolocation', 'camera', 'microphone', 'persistent-storage', 'clipboard-read', 'push'].map(name => navigator.permissions.query({name, userVisibleOnly: true}).then(s => name + ' ' + s.state, e => name + ' ' + e.name))).then(a => a.join(', '))"},
	{"Notification.permission", "typeof Notification === 'undefined' ? 'none' : Notification.permission"},
	{"service worker", "inside('service', '1').then(() => navigator.serviceWorker.ready).then(r => r.active.state)"},
	{"storage: 1 GB or more", "navigator.storage.estimate().then(e => e.quota >= 1e9)"},
	{"storage: persisted, persist()", "navigator.storage.persisted().then(async p => p + ', ' + await navigator.storage.persist())"},
	{"storage: IndexedDB, OPFS, cookies", "[typeof indexedDB, typeof navigator.storage.getDirectory, navigator.cookieEnabled].join()"},
	{"WebAuthn", "Promise.all([PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable(), PublicKeyCredential.isConditionalMediationAvailable()]).then(a => a.join())"},
	{"fonts", "(c => ['serif', 'sans-serif', 'monospace', 'Arial', 'Helvetica', 'Times New Roman', 'Courier New', 'Segoe UI', 'Roboto', 'Noto Color Emoji'].map(f => (c.font = '40px \"' + f + '\", monospace', c.measureText('mmmmmlliW😀').width)).join())(document.createElement('canvas').getContext('2d'))"},
	{"languages", "[navigator.language, navigator.languages, Intl.DateTimeFormat().resolvedOptions().locale].join()"},
	{"viewport", "[innerWidth, innerHeight].join('x')"},
	{"window", "[outerWidth, outerHeight].join('x') + ' at ' + [screenX, screenY].join()"},
	{"screen", "[screen.width, screen.height, screen.availWidth, screen.availHeight, screen.colorDepth, devicePixelRatio].join()"},
	{"pointer, hover, colours", "['(pointer: fine)', '(hover: hover)', '(prefers-color-scheme: light)', '(prefers-reduced-motion: no-preference)'].map(q => matchMedia(q).matches).join()"},
	{"visible, focused", "[document.visibilityState, document.hasFocus()].join()"},
	{"cameras and microphones", "navigator.mediaDevices.enumerateDevices().then(d => d.length ? 'some' : 'none')"},
	{"voices", "new Promise(done => setTimeout(() => done(speechSynthesis.getVoices().length), 100))"},
	{"network", "[navigator.onLine, navigator.connection?.effectiveType].join()"},
	{"globals", "Object.getOwnPropertyNames(window).filter(n => n !== 'inside').sort().join()"},
	{"navigator's members", "Object.getOwnPropertyNames(Navigator.prototype).sort().join()"},
}

// passkeyQuestion asks for a passkey that nobody has: with a list of keys and without.
const passkeyQuestion = `Promise.all([{}, {allowCredentials: [{type: "public-key", id: new Uint8Array(16)}]}].map(async (more, i) => {
	await new Promise(done => setTimeout(done, 3000 * i)); // one after the other
	const end = new AbortController();
	const asked = navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: location.hostname, ...more}, signal: end.signal});
	const got = await Promise.race([asked.then(() => "a passkey", e => e.name + " at once"), new Promise(done => setTimeout(done, 2000, "no answer"))]);
	end.abort();
	return got;
})).then(a => a.join())`

// named are the questions that are asked in workers and frames too.
var named = []question{
	{"user agent", "navigator.userAgent"},
	{"brands", "navigator.userAgentData.brands.map(b => b.brand + ' ' + b.version).join(', ')"},
	{"full versions", "navigator.userAgentData.getHighEntropyValues(['fullVersionList']).then(h => h.fullVersionList.map(b => b.version).join())"},
	{"languages", "navigator.languages.join()"},
}

// requests are those whose headers are in the table, by path.
var requests = map[string]string{
	"/": "document", "/frame": "frame",
	"/service.js": "service worker's script", "/shared.js": "shared worker's script", "/dedicated.js": "dedicated worker's script",
	"/from-service": "service worker", "/from-shared": "shared worker", "/from-dedicated": "dedicated worker", "/from-frame": "frame's script",
}

// notes are what a page could notice of a difference, and what we do about it.
var notes = map[string]string{
	"Notification.permission": "Notifications are refused at once instead of after a question. Nothing: nobody would see one.",
	"PDF viewer":              "The shell can't show a PDF. Nothing: it is part of the program.",
	"a request for a passkey": "The shell refuses a request without a list of keys, having no dialog to choose one; Chrome waits. Linking by a passkey works in both: the product takes the page's next request before the browser sees it. A request that waits is the only sign of one where the page's events, modules and cards are unknown, and there the shell gives none.",
	"fonts":                   "Text is wider by a fraction of a pixel. Nothing: machines differ more.",
	"globals":                 "See window.chrome.",
	"plugins":                 "A person's Chrome has these five. Nothing: they could only be imitated by a script, which can itself be noticed.",
	"viewport":                "The shell's window has no toolbar above the page. Nothing: so is one in full screen.",
	"window":                  "The shell's window is in the screen's corner. Nothing: so is one that is maximised.",
	"window.chrome":           "A person's Chrome has it. Nothing: it could only be imitated by a script, which can itself be noticed.",
}

// askAll asks an engine everything.
func askAll(t *testing.T, name string) (answers map[string]string, version string) {
	t.Helper()
	binary, err := chrome.Find(name)
	if err != nil {
		t.Skipf("needs %s: apt-get install %s", name, name)
	}
	o := browsertest.Options(t)
	o.Path = binary.Path
	if o.Version, err = new(chrome.Versions).Of(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	b, site := browsertest.Start(t, o), newSite(t)
	page, err := b.Rod().Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	page = page.Timeout(90 * time.Second)
	if err := (proto.EmulationSetFocusEmulationEnabled{Enabled: true}).Call(page); err != nil {
		t.Fatal(err)
	}
	if err := b.Disguise(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	if err := page.Navigate(site.URL); err != nil {
		t.Fatal(err)
	}
	answers = map[string]string{}
	ask := func(q question) {
		res, err := proto.RuntimeEvaluate{Expression: "(async () => { try { return String(await (" + q.expression + ")) } catch (e) { return 'error: ' + e } })()", AwaitPromise: true}.Call(page)
		if err != nil {
			t.Fatalf("%s: %v", q.name, err)
		}
		answers[q.name] = strings.NewReplacer(o.Version, "156.x", chrome.Major(o.Version), "156").Replace(res.Result.Value.Str())
	}
	ask(question{"", defineInside})
	delete(answers, "")
	for _, q := range questions {
		ask(q)
	}
	for _, place := range places {
		for _, q := range named {
			ask(question{place + ": " + q.name, fmt.Sprintf("inside(%q, %q)", place, q.expression)})
		}
	}
	site.describe(answers, o.Version)
	if err := page.Navigate(strings.Replace(site.URL, "127.0.0.1", "localhost", 1)); err != nil { // an address can be no party to a passkey
		t.Fatal(err)
	}
	ask(question{"a request for a passkey", passkeyQuestion}) // without a list of keys, and with one
	return answers, o.Version
}

// describe adds the headers of the requests.
func (s *site) describe(answers map[string]string, version string) {
	for path, where := range requests {
		for _, header := range []string{"User-Agent", "Sec-Ch-Ua", "Sec-Ch-Ua-Platform", "Accept-Language", "Accept-Encoding"} {
			if strings.HasSuffix(path, ".js") && header == "Accept-Language" {
				continue // whether it is fetched before the worker has the identity depends on the moment
			}
			answers["request of the "+where+": "+header] = strings.ReplaceAll(s.header(path, header), chrome.Major(version), "156")
		}
	}
}

// TestWhatAPageNoticesOfEnginesIsKnown wants a note for each difference, and with -update writes
// the table.
func TestWhatAPageNoticesOfEnginesIsKnown(t *testing.T) {
	full, version := askAll(t, "chromium")
	shell, other := askAll(t, "chromium-headless-shell")
	if version != other {
		t.Skipf("needs both engines of one version, and has %s and %s", version, other)
	}
	var differ, same strings.Builder
	for _, name := range slices.Sorted(maps.Keys(full)) {
		a, b := full[name], shell[name]
		if a == b {
			if name == "fonts" || strings.Contains(name, "members") || name == "globals" {
				a = "what both have is the same"
			}
			fmt.Fprintf(&same, "| %s | %s |\n", name, cell(a))
			continue
		}
		if notes[name] == "" {
			t.Errorf("%s differs and has no note:\n%s\n%s", name, a, b)
		}
		a, b = apart(a, b)
		fmt.Fprintf(&differ, "| %s | %s | %s | %s |\n", name, cell(a), cell(b), notes[name])
	}
	for name := range notes {
		if full[name] == shell[name] && name != "fonts" { // which depend on the machine
			t.Errorf("%s has a note and does not differ: %s", name, full[name])
		}
	}
	want := fmt.Sprintf(enginesPage, differ.String(), same.String())
	const file = "ENGINES.md"
	if *updateEngines {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// apart leaves of two lists what only one of them has.
func apart(a, b string) (onlyA, onlyB string) {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	if len(x) < 50 {
		return a, b
	}
	without := func(l, m []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(l), func(s string) bool { return slices.Contains(m, s) }), ", ")
	}
	return without(x, y), without(y, x)
}

func cell(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + strings.ReplaceAll(s, "|", "\\|") + "`"
}

const enginesPage = `<!-- generated by go test ./worker/internal/browser -run TestWhatAPageNotices -update -->
# What a page sees of the two engines

Answers that Debian's chromium and chromium-headless-shell of the same version, started with our flags and disguised, gave to a page,
its workers and its frame of another site. ` + "`156.x`" + ` stands for the whole version. The request for a worker's script can have the
languages of a chrome-headless-shell, which have no weights: it is sent before the worker starts.

## What differs

| asked | chromium | chromium-headless-shell | what a page could notice, and what we do |
| --- | --- | --- | --- |
%s
## What is the same

| asked | both |
| --- | --- |
%s`
