// Package uitest opens the service's page in a real Chrome, as a person would,
// and as another site's page might.
package uitest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/launcher"
	"github.com/go-rod/rod/lib/launcher/flags"
	"github.com/go-rod/rod/lib/proto"

	"go.uber.org/goleak"

	"session-manager/scripts/simulator"
)

// patience bounds every wait of a test. It is far longer than anything takes.
const patience = 90 * time.Second

// binaries is the folder that TestMain builds both programs into.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "uitest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.Command("go", "build", "-o", dir+"/", "session-manager/supervisor", "session-manager/worker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build:", err)
		return 1
	}
	binaries = dir
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// chrome returns the browser to look with.
func chrome(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"google-chrome-stable", "google-chrome", "chromium", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("chromium is missing: apt-get install chromium")
	return ""
}

// simulated starts the simulator, and returns its page's address.
func simulated(t *testing.T) (*simulator.Server, string) {
	t.Helper()
	sim, err := simulator.New(simulator.Options{Speed: 4})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		server.Close()
	})
	return sim, server.URL + "/"
}

// service starts the supervisor, and returns its address.
func service(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	args = append([]string{"--listen=127.0.0.1:0", "--tokens=" + t.TempDir()}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "supervisor"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, ended := make(chan string, 1), make(chan struct{})
	var lines []string
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(log); s.Scan(); {
			var line struct{ Msg, Address string }
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "service_started" {
				listening <- line.Address
			}
			lines = append(lines, s.Text())
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the service: %v", err)
		}
		if t.Failed() {
			for _, line := range lines {
				t.Log(line)
			}
		}
	})
	select {
	case address := <-listening:
		return "http://" + address
	case <-ended:
	case <-time.After(patience):
	}
	t.Fatal("the service does not listen")
	return ""
}

// browser starts a Chrome with further flags, "name=value".
func browser(t *testing.T, settings map[string]string) *rod.Browser {
	t.Helper()
	l := launcher.New().Bin(chrome(t)).Leakless(false).Headless(true).UserDataDir(t.TempDir())
	if os.Getuid() == 0 {
		l.NoSandbox(true)
	}
	for name, value := range settings {
		l.Set(flags.Flag(name), value)
	}
	url, err := l.Launch()
	if err != nil {
		t.Fatal(err)
	}
	b := rod.New().ControlURL(url)
	if err := b.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.Close()
		l.Cleanup() // waits for the end, and removes the profile
	})
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
}

// open opens url in a new tab.
func open(t *testing.T, b *rod.Browser, url string, l look) *tab {
	t.Helper()
	page, err := b.Page(proto.TargetCreateTarget{})
	if err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	for _, call := range []interface{ Call(proto.Client) error }{
		proto.EmulationSetDeviceMetricsOverride{Width: l.width, Height: l.height, DeviceScaleFactor: 2, Mobile: l.width < 600},
		proto.EmulationSetEmulatedMedia{Features: []*proto.EmulationMediaFeature{{Name: "prefers-color-scheme", Value: scheme}}},
		proto.NetworkSetUserAgentOverride{UserAgent: "uitest", AcceptLanguage: l.language},
	} {
		if err := call.Call(page); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := page.EvalOnNewDocument(`window.violations = [];
		addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));`); err != nil {
		t.Fatal(err)
	}
	if err := page.Navigate(url); err != nil {
		t.Fatal(err)
	}
	return &tab{page, t}
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
		p.t.Fatalf("not seen: %s: %v", expression, err)
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

// shoot keeps a picture of the whole page (go test -artifacts).
func (p *tab) shoot(name string) {
	p.t.Helper()
	png, err := p.Screenshot(true, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		p.t.Error(err)
	}
}

// fetch gets an address as a program would.
func fetch(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
