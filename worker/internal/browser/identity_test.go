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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

// site is a page with a service worker, that remembers the headers by path.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	headers map[string]http.Header // guarded by mu
}

const serviceWorker = `onmessage = async (e) => {
	await fetch("/from-worker");
	e.source.postMessage(await eval(e.data));
}`

func newSite(t *testing.T) *site {
	s := &site{headers: map[string]http.Header{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.headers[r.URL.Path] = r.Header.Clone()
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		body := "<!doctype html><title>site</title>"
		if r.URL.Path == "/worker.js" {
			w.Header().Set("Content-Type", "text/javascript")
			body = serviceWorker
		}
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

// seen is what a page can learn about the browser.
type seen struct {
	UserAgent, WorkerUserAgent  string
	Webdriver                   bool
	Brands, FullVersionList     []struct{ Brand, Version string }
	Architecture, Bitness       string
	Languages                   []string
	Visibility                  string
	Width, ScreenWidth, Plugins int
}

const look = `(async () => {
	const hints = await navigator.userAgentData.getHighEntropyValues(["fullVersionList", "architecture", "bitness"]);
	await navigator.serviceWorker.register("/worker.js");
	const { active } = await navigator.serviceWorker.ready;
	const workerUserAgent = await new Promise((done) => {
		navigator.serviceWorker.onmessage = (e) => done(e.data);
		active.postMessage("navigator.userAgent");
	});
	return JSON.stringify({
		userAgent: navigator.userAgent, workerUserAgent, webdriver: navigator.webdriver,
		brands: navigator.userAgentData.brands, fullVersionList: hints.fullVersionList,
		architecture: hints.architecture, bitness: hints.bitness, languages: navigator.languages,
		visibility: document.visibilityState, width: innerWidth, screenWidth: screen.width, plugins: navigator.plugins.length,
	});
})()`

// visit opens url in a disguised page and returns what the page sees.
func visit(t *testing.T, b *browser.Browser, url string) seen {
	t.Helper()
	page, err := b.Rod().Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Disguise(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	page = page.Timeout(20 * time.Second)
	if err := page.Navigate(url); err != nil {
		t.Fatal(err)
	}
	res, err := proto.RuntimeEvaluate{Expression: look, AwaitPromise: true}.Call(page)
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
	return s
}

func TestPageSeesTheBrowserOfAPerson(t *testing.T) {
	site := newSite(t)
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	s := visit(t, b, site.URL)

	for where, got := range map[string]string{
		"the browser": b.Info().UserAgent, "the page": s.UserAgent, "the service worker": s.WorkerUserAgent,
		"the document's request": site.header("/", "User-Agent"),
		"the script's request":   site.header("/worker.js", "User-Agent"),
		"the worker's request":   site.header("/from-worker", "User-Agent"),
	} {
		if got != plainUserAgentOf(o.Version) {
			t.Errorf("user agent of %s: %q", where, got)
		}
	}
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
	if again := visit(t, b, site.URL); fmt.Sprint(again) != fmt.Sprint(s) {
		t.Errorf("a second page sees another browser:\n%+v\n%+v", again, s)
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
