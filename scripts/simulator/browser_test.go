package simulator_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
)

// chrome is the one browser that all tests share; each test has its own context
// in it, hence its own storage.
var chrome = sync.OnceValues(startChrome)

// stopChrome is set once the browser runs.
var stopChrome func()

func TestMain(m *testing.M) {
	code := m.Run()
	if stopChrome != nil {
		stopChrome()
	}
	os.Exit(code)
}

func startChrome() (*rod.Browser, error) {
	bin, err := lookChrome()
	if err != nil {
		return nil, err
	}
	version, err := exec.Command(bin, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s for its version: %w", bin, err)
	}
	major := regexp.MustCompile(`\d+`).FindString(string(version))
	dir, err := os.MkdirTemp("", "simulator-test-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "--headless=new", "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--remote-debugging-port=0", "--user-data-dir="+dir,
		"--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/"+major+".0.0.0 Safari/537.36")
	// Chrome ends when this pipe does, however the test binary ends.
	lifeline, kept, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answers, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	cmd.Args = append(cmd.Args, "--remote-debugging-pipe")
	cmd.ExtraFiles = []*os.File{lifeline, answers}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = lifeline.Close() // Chrome has it now, and the other one.
	_ = answers.Close()
	stopChrome = func() {
		_ = kept.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	address, err := devtools(stderr)
	if err != nil {
		return nil, err
	}
	browser := rod.New().ControlURL(address)
	return browser, browser.Connect()
}

// lookChrome prefers chromium-headless-shell to chromium, as it takes half of the processor time.
func lookChrome() (string, error) {
	for _, name := range []string{"google-chrome-stable", "google-chrome", "chromium-headless-shell", "chromium", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoChrome
}

var errNoChrome = errors.New("no chromium, chromium-headless-shell, chromium-browser, google-chrome or google-chrome-stable on the PATH")

func devtools(stderr io.Reader) (string, error) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, address, found := strings.Cut(lines.Text(), "DevTools listening on "); found {
			go func() { _, _ = io.Copy(io.Discard, stderr) }() // Ends with the browser.
			return address, nil
		}
	}
	return "", fmt.Errorf("chrome ended without an address: %w", lines.Err())
}

// rowLimit ends what would wait for ever; it is generous, as machines are busy.
const rowLimit = time.Minute

// rig is a simulator with a page of a real browser that can open it.
type rig struct {
	*simulator.Server
	t    *testing.T
	url  string
	ctx  context.Context
	page *rod.Page
	tabs *rod.Browser
	// before is the page load that open replaced; until looks at later ones.
	before int
}

// newRig starts a simulator and an empty tab with storage of its own.
func newRig(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	browser, err := chrome()
	if errors.Is(err, errNoChrome) {
		t.Skip(err)
	}
	check(t, err)
	if o.Speed == 0 {
		o.Speed = 50
	}
	sim, err := simulator.New(o)
	check(t, err)
	web := httptest.NewServer(sim)
	ctx, cancel := context.WithTimeout(context.Background(), rowLimit)
	tabs, err := browser.Incognito()
	check(t, err)
	t.Cleanup(func() {
		cancel()
		_ = proto.TargetDisposeBrowserContext{BrowserContextID: tabs.BrowserContextID}.Call(browser)
		sim.Close()
		web.CloseClientConnections()
		web.Close()
	})
	r := &rig{Server: sim, t: t, url: web.URL, ctx: ctx, tabs: tabs}
	r.page = r.newTab()
	return r
}

// row gives a row of a table the rig, and a deadline of its own.
func (r *rig) row(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), rowLimit)
	t.Cleanup(cancel)
	r.t, r.ctx, r.page = t, ctx, r.page.Context(ctx)
}

func (r *rig) newTab() *rod.Page {
	r.t.Helper()
	page, err := r.tabs.Context(r.ctx).Page(proto.TargetCreateTarget{URL: "about:blank"})
	check(r.t, err)
	check(r.t, proto.EmulationSetFocusEmulationEnabled{Enabled: true}.Call(page))
	// A small window is quicker to look at.
	check(r.t, proto.EmulationSetDeviceMetricsOverride{Width: 640, Height: 640, DeviceScaleFactor: 1}.Call(page))
	return page
}

// open navigates the tab to the page.
func (r *rig) open(query string) {
	r.t.Helper()
	r.before = max(r.before, r.OnScreen().Load)
	check(r.t, r.page.Navigate(r.url+"/"+query))
}

// until waits for a screen of the page opened last, and returns it.
func (r *rig) until(want func(simulator.Screen) bool) simulator.Screen {
	r.t.Helper()
	var seen simulator.Screen
	check(r.t, r.Await(r.ctx, func(c simulator.Screen) bool {
		seen = c
		return c.Load > r.before && want(c)
	}))
	return seen
}

// untilAlso is until, but takes a page that has gone, or was replaced by its own
// doing, as well.
func (r *rig) untilAlso(want func(simulator.Screen) bool) {
	r.t.Helper()
	check(r.t, r.Await(r.ctx, func(c simulator.Screen) bool { return (c.Load > r.before || c.Load == 0) && want(c) }))
}

func (r *rig) untilNamed(name string) simulator.Screen {
	r.t.Helper()
	return r.until(func(c simulator.Screen) bool { return c.Name == name })
}

// shown waits for a scannable code.
func (r *rig) shown() simulator.Screen {
	r.t.Helper()
	return r.until(func(c simulator.Screen) bool { return c.Visible })
}

// scan scans the code that is shown, and the next one if the page was about to draw it.
func (r *rig) scan() {
	r.t.Helper()
	r.shown()
	err := r.Scan(r.ctx)
	for simulator.MayScanAgain(err) {
		r.shown()
		err = r.Scan(r.ctx)
	}
	check(r.t, err)
}

// link scans the code and waits for the end of the first sync.
func (r *rig) link() {
	r.t.Helper()
	r.scan()
	r.untilNamed("MAIN")
}

// eval returns what an expression is on the page.
func (r *rig) eval(expression string) string {
	r.t.Helper()
	return evalIn(r.t, r.page, expression)
}

func evalIn(t *testing.T, page *rod.Page, expression string) string {
	t.Helper()
	result, err := page.Eval("() => " + expression) // A block returns.
	check(t, err)
	return result.Value.Str()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// press clicks the button with that label.
func (r *rig) press(label string) {
	r.t.Helper()
	pressed := r.eval(`{
		const all = [...document.querySelectorAll('button, [role=button]')];
		const found = all.find((b) => b.textContent.trim() === ` + quote(label) + `);
		found?.click();
		return String(!!found);
	}`)
	if pressed != "true" {
		r.t.Fatalf("no button says %q", label)
	}
}

// evalUntil is what rod's Wait takes for "until this is truthy".
func evalUntil(expression string) *rod.EvalOptions {
	return rod.Eval("() => !!(" + expression + ")")
}

func quote(text string) string { return strconv.Quote(text) }
