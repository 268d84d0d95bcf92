// Package uitest opens the service's page in a real Chrome, as a person would,
// and as another site's page might.
package uitest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/launcher"
	"github.com/go-rod/rod/lib/proto"
	"go.uber.org/goleak"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
	"session-manager/shared/chrome/chrometest"
)

// patience bounds every wait of a test. It is far longer than anything takes.
const patience = 90 * time.Second

// binaries are built once, by TestMain.
var binaries harness.Binaries

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if binaries, err = harness.Build(context.Background(), false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	closeShared()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// simulated starts the simulator.
func simulated(t *testing.T, faults ...string) *harness.Phone {
	t.Helper()
	p, err := harness.NewPhone(simulator.Options{Speed: 4, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// service starts the supervisor.
func service(t *testing.T, args ...string) *harness.Service {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "uitest") // short, as sockets are made below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if path := chrometest.Light(); path != "" {
		args = append([]string{"--chrome=" + path}, args...) // the last one counts
	}
	s, err := harness.Start(t.Context(), harness.Options{Supervisor: binaries.Supervisor, Folder: folder, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(s.Log())
		}
	})
	return s
}

// closeShared ends the Chrome that tests share, once one has started it.
var closeShared = func() {}

// shared is the Chrome in which each test has a context of its own, hence its own storage.
var shared = sync.OnceValues(func() (b *rod.Browser, err error) {
	b, closeShared, err = startChrome()
	return b, err
})

// startChrome returns a Chrome with unpacked extensions, and what ends it, which is never nil.
func startChrome(extensions ...string) (b *rod.Browser, end func(), err error) {
	end = func() {}
	setting := chrometest.Light()
	if len(extensions) > 0 {
		setting = "" // which that engine does not have
	}
	found, err := chrome.Find(setting)
	if err != nil {
		return nil, end, err
	}
	folder, err := os.MkdirTemp("", "uitest-chrome")
	if err != nil {
		return nil, end, err
	}
	l := launcher.New().Bin(found.Path).Leakless(false).Headless(true).UserDataDir(folder)
	l.Append("disable-features", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess") // they would be loaded, too
	l.Set("host-resolver-rules", "MAP *.example 127.0.0.1")
	if len(extensions) > 0 {
		l.Delete("disable-extensions")
		l.Delete("disable-component-extensions-with-background-pages")
		l.Set("load-extension", extensions...)
	}
	if os.Getuid() == 0 {
		l.NoSandbox(true)
	}
	url, err := l.Launch()
	if err != nil {
		_ = os.RemoveAll(folder)
		return nil, end, err
	}
	b = rod.New().ControlURL(url)
	end = func() {
		_ = b.Close()
		l.Cleanup() // waits for the end, and removes the profile
	}
	return b, end, b.Connect()
}

// needChrome skips the test where none is installed.
func needChrome(t *testing.T) {
	t.Helper()
	if _, err := chrome.Find(""); err != nil {
		t.Skip(err)
	}
}

// browser returns a context of the shared Chrome.
func browser(t *testing.T) *rod.Browser {
	t.Helper()
	needChrome(t)
	all, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	b, err := all.Incognito()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // of a context, its pages only
	return b
}

// look is how a person looks at the page.
type look struct {
	width, height int
	dark          bool
	language      string
}

// tab is an open page.
type tab struct {
	*rod.Page
	t *testing.T
	// own is the look that it was opened with.
	own look
}

// open opens url in a new tab.
func open(t *testing.T, b *rod.Browser, url string, l look) *tab {
	t.Helper()
	page, err := b.Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	p := &tab{page, t, l}
	p.look(l)
	language := proto.NetworkSetUserAgentOverride{UserAgent: "uitest", AcceptLanguage: l.language}
	if err := language.Call(page); err != nil {
		t.Fatal(err)
	}
	if _, err := page.EvalOnNewDocument(`window.violations = [];
		addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
		window.states = []; // that the page has shown
		new MutationObserver(() => {
			const state = document.body?.dataset.state;
			if (state && state !== states.at(-1)) states.push(state);
		}).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"]});`); err != nil {
		t.Fatal(err)
	}
	if err := page.Navigate(url); err != nil {
		t.Fatal(err)
	}
	return p
}

// look changes all but the language.
func (p *tab) look(l look) {
	p.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	for _, call := range []interface{ Call(proto.Client) error }{
		proto.EmulationSetDeviceMetricsOverride{Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600},
		proto.EmulationSetEmulatedMedia{Features: []*proto.EmulationMediaFeature{{Name: "prefers-color-scheme", Value: scheme}}},
	} {
		if err := call.Call(p.Page); err != nil {
			p.t.Fatal(err)
		}
	}
}

// await waits until the expression is true in the page, looking again at each
// change of it.
func (p *tab) await(expression string) {
	p.t.Helper()
	js := `() => new Promise((done) => {
		const seen = () => { try { return ` + expression + `; } catch { return false; } }; // still loading
		const look = () => { if (seen()) { observer.disconnect(); done(); } };
		const observer = new MutationObserver(look);
		observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
		look();
	})`
	if _, err := p.Timeout(patience).Evaluate(rod.Eval(js).ByPromise()); err != nil {
		p.shoot("failed")
		shown, _ := p.Eval(`() => [document.visibilityState, location.href, document.body?.innerText].join("\n")`)
		p.t.Fatalf("not seen: %s: %v, but: %+v", expression, err, shown)
	}
}

func (p *tab) text(id string) string {
	p.t.Helper()
	got, err := p.Eval(`(id) => document.getElementById(id).innerText`, id)
	if err != nil {
		p.t.Fatal(err)
	}
	return got.Value.Str()
}

func (p *tab) do(js string) {
	p.t.Helper()
	if _, err := p.Evaluate(rod.Eval(js).ByUser()); err != nil {
		p.t.Fatal(err)
	}
}

// shoot keeps an image of the whole page (go test -artifacts).
func (p *tab) shoot(name string) {
	p.t.Helper()
	if asked := flag.Lookup("test.artifacts"); asked == nil || asked.Value.String() != "true" {
		return
	}
	png, err := p.Screenshot(true, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		p.t.Error(err)
	}
}
