package browser_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

// site is a page with workers and a frame of another site, that remembers the headers by path.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	headers map[string]http.Header // guarded by mu
}

// scripts are those of the site's workers, by path. Each answers a message by what the
// expression in it is worth there, after a request.
var scripts = map[string]string{
	"/service.js": `onmessage = async (e) => { await fetch("/from-service"); e.source.postMessage(await eval(e.data)); }`,
	"/shared.js": `onconnect = ({ ports: [port] }) => {
		port.onmessage = async (e) => { await fetch("/from-shared"); port.postMessage(await eval(e.data)); };
	}`,
	"/dedicated.js": `onmessage = async (e) => { await fetch("/from-dedicated"); postMessage(await eval(e.data)); }`,
	"/outer.js": `const inner = new Worker("/dedicated.js");
		inner.onmessage = (e) => postMessage(e.data);
		onmessage = (e) => inner.postMessage(e.data);`,
	"/loop.js": `for (;;) {}`,
}

const framePage = `<!doctype html><script>
	onmessage = async (e) => { await fetch("/from-frame"); e.source.postMessage(await eval(e.data), "*"); };
	parent.postMessage("there", "*");
</script>`

// defineInside defines inside in the page, which evaluates an expression in one of the
// places where scripts run.
const defineInside = `window.inside = (() => {
	const once = (from) => new Promise((done) => { from.onmessage = (e) => done(e.data); });
	const ask = (to) => (expression) => { to.postMessage(expression); return once(to); };
	const places = {
		service: async () => {
			await navigator.serviceWorker.register("/service.js");
			const { active } = await navigator.serviceWorker.ready;
			return (expression) => { active.postMessage(expression); return once(navigator.serviceWorker); };
		},
		shared: () => ask(new SharedWorker("/shared.js").port),
		dedicated: () => ask(new Worker("/dedicated.js")),
		nested: () => ask(new Worker("/outer.js")),
		frame: async () => {
			const frame = document.createElement("iframe");
			frame.src = "http://localhost:" + location.port + "/frame";
			document.documentElement.append(frame);
			await once(window);
			return (expression) => { frame.contentWindow.postMessage(expression, "*"); return once(window); };
		},
	};
	const open = {};
	const silence = (place) => new Promise((_, fail) => setTimeout(() => fail(Error(place + " is silent")), 10_000));
	return (place, expression) => Promise.race([(async () => (await (open[place] ??= places[place]()))(expression))(), silence(place)]);
})()`

// places are those that inside knows.
var places = []string{"service", "shared", "dedicated", "nested", "frame"}

func newSite(t *testing.T) *site {
	s := &site{headers: map[string]http.Header{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.headers[r.URL.Path] = r.Header.Clone()
		s.mu.Unlock()
		kind, body := "text/html", "<!doctype html><title>site</title>"
		if script := scripts[r.URL.Path]; script != "" {
			kind, body = "text/javascript", script
		} else if r.URL.Path == "/frame" {
			body = framePage
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) header(path, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headers[path].Get(name)
}

// identity is what a page's script can learn about the browser's name, wherever it runs.
const identity = `navigator.userAgentData.getHighEntropyValues(["fullVersionList", "architecture", "bitness"]).then((hints) => JSON.stringify({
	userAgent: navigator.userAgent, brands: navigator.userAgentData.brands, fullVersionList: hints.fullVersionList,
	architecture: hints.architecture, bitness: hints.bitness, languages: navigator.languages,
}))`

// seen is what a page can learn about the browser.
type seen struct {
	UserAgent                   string
	Webdriver                   bool
	Brands, FullVersionList     []struct{ Brand, Version string }
	Architecture, Bitness       string
	Languages                   []string
	Visibility                  string
	Width, ScreenWidth, Plugins int
	// Elsewhere are the identities in other places.
	Elsewhere map[string]string
	Identity  string
}

const look = `(async (identity, places) => {
	const elsewhere = {};
	for (const place of places) elsewhere[place] = await inside(place, identity);
	const here = await eval(identity);
	return JSON.stringify({
		...JSON.parse(here), identity: here, elsewhere, webdriver: navigator.webdriver,
		visibility: document.visibilityState, width: innerWidth, screenWidth: screen.width, plugins: navigator.plugins.length,
	});
})`

// visit opens url in a disguised page, which does something first, and returns what the page sees.
func visit(t *testing.T, b *browser.Browser, url, first string) seen {
	t.Helper()
	page, err := b.Rod().Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Disguise(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	page = page.Timeout(2 * time.Minute)
	if err := page.Navigate(url); err != nil {
		t.Fatal(err)
	}
	arguments, err := json.Marshal([]any{identity, places})
	if err != nil {
		t.Fatal(err)
	}
	res, err := proto.RuntimeEvaluate{Expression: first + ";" + defineInside + ";" + look + "(..." + string(arguments) + ")", AwaitPromise: true}.Call(page)
	if err != nil {
		t.Fatal(err)
	}
	if res.ExceptionDetails != nil {
		t.Fatal(res.ExceptionDetails)
	}
	var s seen
	if err := json.Unmarshal([]byte(res.Result.Value.Str()), &s); err != nil {
		t.Fatal(err)
	}
	again(t, page, s.Identity)
	opens(t, page, s.Identity)
	return s
}

// opens has the page open a window, which would hold up the page if it were held, and wants its identity there.
func opens(t *testing.T, page *rod.Page, want string) {
	t.Helper()
	const popup = `new Promise((done) => {
		const w = open("/popup"), look = setInterval(() => {
			if (w.location.pathname !== "/popup" || w.document.readyState !== "complete") return;
			clearInterval(look);
			done(w.eval(%q).finally(() => w.close()));
		}, 10);
	})`
	res, err := proto.RuntimeEvaluate{Expression: fmt.Sprintf(popup, identity), AwaitPromise: true, UserGesture: true}.Call(page)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Result.Value.Str(); got != want {
		t.Errorf("a window that the page opened is:\n%s\n%s", got, want)
	}
}

// again has the service worker stop and start again, as it does when it has had nothing to do, and
// when its process has crashed, and wants the page's identity there.
func again(t *testing.T, page *rod.Page, want string) {
	t.Helper()
	for range 2 {
		stopped := page.EachEvent(func(e *proto.ServiceWorkerWorkerVersionUpdated) bool {
			return slices.ContainsFunc(e.Versions, func(v *proto.ServiceWorkerServiceWorkerVersion) bool {
				return v.RunningStatus == proto.ServiceWorkerServiceWorkerVersionRunningStatusStopped
			})
		})
		if err := (proto.ServiceWorkerStopAllWorkers{}).Call(page); err != nil {
			t.Fatal(err)
		}
		stopped()
		res, err := proto.RuntimeEvaluate{Expression: fmt.Sprintf("inside('service', %q)", identity), AwaitPromise: true}.Call(page)
		if err != nil {
			t.Fatal(err)
		}
		if res.ExceptionDetails != nil {
			t.Fatal(res.ExceptionDetails.Exception.Description)
		}
		if got := res.Result.Value.Str(); got != want {
			t.Errorf("a service worker that started again is:\n%s\n%s", got, want)
		}
	}
}

func TestPageSeesTheBrowserOfAPerson(t *testing.T) {
	site := newSite(t)
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	attached := sessions(t, b)
	s := visit(t, b, site.URL, "")

	for where, got := range map[string]string{"the browser": b.Info().UserAgent, "the page": s.UserAgent} {
		if got != plainUserAgentOf(o.Version) {
			t.Errorf("user agent of %s: %q", where, got)
		}
	}
	checkElsewhere(t, s, site, o.Version)
	if s.Webdriver {
		t.Error("navigator.webdriver is true")
	}
	checkBrands(t, s, site, o.Version)
	if strings.Join(s.Languages, ",") != "en-US,en" || !strings.HasPrefix(site.header("/", "Accept-Language"), "en-US,en;") {
		t.Errorf("languages: %v, %q", s.Languages, site.header("/", "Accept-Language"))
	}
	if s.Visibility != "visible" || s.Width < 1200 || s.ScreenWidth < s.Width {
		t.Errorf("window: %+v", s)
	}
	if chrome.EngineOf(b.Info().Product) == chrome.FullChrome && s.Plugins == 0 {
		t.Error("no plugins, as no Chrome of a person has")
	}
	// Scripts that never end hold up no other.
	if again := visit(t, b, site.URL, `for (let i = 0; i < 8; i++) new Worker("/loop.js")`); fmt.Sprint(again) != fmt.Sprint(s) {
		t.Errorf("a second page sees another browser:\n%+v\n%+v", again, s)
	}
	attached(len(places))
}

// sessions wants no call kept to any of the first targets that Chrome holds: a page may start a worker a second, for months.
func sessions(t *testing.T, b *browser.Browser) func(least int) {
	t.Helper()
	events := b.Rod().Context(t.Context()).Event()
	return func(least int) {
		for least > 0 {
			e, open := <-events
			var to proto.TargetAttachedToTarget
			if !open {
				t.Fatal("the events have ended")
			} else if e.Load(&to) && to.WaitingForDebugger {
				least--
				if b.Rod().LoadState(to.SessionID, &proto.EmulationSetUserAgentOverride{}) {
					t.Error("the calls to a worker are kept")
				}
			}
		}
	}
}

// checkElsewhere wants the page's identity in its workers and frames, and no other in any request.
func checkElsewhere(t *testing.T, s seen, site *site, version string) {
	t.Helper()
	for _, place := range places {
		if s.Elsewhere[place] != s.Identity {
			t.Errorf("the identity of %s is not the page's:\n%s\n%s", place, s.Elsewhere[place], s.Identity)
		}
	}
	site.mu.Lock()
	defer site.mu.Unlock()
	for path, header := range site.headers {
		if header.Get("User-Agent") != plainUserAgentOf(version) || strings.Contains(fmt.Sprint(header), "Headless") {
			t.Errorf("the request for %s has the headers %v", path, header)
		}
	}
}

// checkBrands checks the client hints of the browser that the page sees.
func checkBrands(t *testing.T, s seen, site *site, version string) {
	t.Helper()
	brands := fmt.Sprint(s.Brands, s.FullVersionList, site.header("/", "Sec-Ch-Ua"))
	if strings.Contains(brands, "Headless") || len(s.Brands) < 2 || len(s.FullVersionList) != len(s.Brands) {
		t.Errorf("brands: %s", brands)
	}
	if !strings.Contains(fmt.Sprint(s.FullVersionList), version) || s.Architecture == "" || s.Bitness != "64" {
		t.Errorf("client hints are not filled in: %+v", s)
	}
}

func TestUserAgentLacksHeadless(t *testing.T) {
	site := newSite(t)
	o := browsertest.Options(t)
	cmd := exec.CommandContext(t.Context(), o.Path, "--headless=new", "--dump-dom", "--user-data-dir="+o.ProfileDir, site.URL)
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args[:1], append([]string{"--no-sandbox"}, cmd.Args[1:]...)...)
	}
	cmd.Env = []string{"HOME=" + filepath.Dir(o.ProfileDir), "TMPDIR=" + filepath.Dir(o.ProfileDir), "PATH=" + os.Getenv("PATH")}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	own := site.header("/", "User-Agent")
	if !strings.Contains(own, "HeadlessChrome/") {
		t.Logf("this Chrome no longer admits that it is headless: %q", own)
	}
	// A chrome-headless-shell says its whole version, which Chrome no longer does.
	own = strings.Replace(own, o.Version, chrome.Major(o.Version)+".0.0.0", 1)
	if want := strings.Replace(own, "HeadlessChrome/", "Chrome/", 1); plainUserAgentOf(o.Version) != want {
		t.Errorf("we say %q, Chrome itself %q", plainUserAgentOf(o.Version), want)
	}
}

// plainUserAgentOf is what a person's Chrome of this version says.
func plainUserAgentOf(version string) string {
	return strings.Replace(plainUserAgent, "156", chrome.Major(version), 1)
}
