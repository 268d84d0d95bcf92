package uitest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"session-manager/scripts/harness"
)

// gate is a reverse proxy that can be closed.
type gate struct {
	url    string
	closed atomic.Bool
	server *httptest.Server
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.Out.Header.Get("Origin") != "" {
			r.Out.Header.Set("Origin", target.Scheme+"://"+target.Host)
		}
	}, FlushInterval: -1}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.closed.Load() {
			http.Error(w, "closed", http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.close()
		g.server.Close()
	})
	g.url = g.server.URL
	return g
}

func (g *gate) close() {
	g.closed.Store(true)
	g.server.CloseClientConnections()
}

func (g *gate) open() { g.closed.Store(false) }

func TestForeignPageReadsAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := browser(t)
	s := service(t, "--chrome=/nonexistent/chrome", "--allow-host=wa.example")
	targets := []string{s.Base}
	if path, err := harness.Tool(t.Context(), "nginx"); err != nil {
		t.Log("without a proxy: ", err)
	} else {
		targets = append(targets, nginx(t, path, passTo(s)+"; proxy_set_header Host $http_host", passTo(s))...)
	}
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>evil</title>")
	}))
	defer evil.Close()
	evilPort := portOf(t, evil.URL)
	wantNoCommand(t, s)
	for _, origin := range []string{"http://evil.example:" + evilPort, "http://127.0.0.1:" + evilPort, "http://localhost:" + evilPort} {
		page := open(t, b, origin, phone)
		for _, target := range targets {
			page.attack(target)
			page.attack("http://wa.example:" + portOf(t, target)) // to which Chrome sends no Sec-Fetch-Site
		}
	}
	wantNoCommand(t, s)
	for _, target := range targets[:min(len(targets), 2)] { // the last one is sent the name that its proxy knows
		rebound := open(t, b, "http://evil.example:"+portOf(t, target)+"/qr", phone)
		got, err := rebound.Eval(`() => document.body.innerText`)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got.Value.Str(), "host_refused") {
			t.Errorf("by a rebound name: %s", got.Value.Str())
		}
	}
}

// attack does from an open page what another site's page might try.
func (p *tab) attack(target string) {
	p.t.Helper()
	got, err := p.Eval(`async (target) => {
		const tried = {};
		const attempt = async (name, f) => { try { tried[name] = await f(); } catch (e) { tried[name] = "refused"; } };
		await attempt("read", async () => (await fetch(target + "/qr")).text());
		await attempt("read blindly", async () => (await fetch(target + "/qr", {mode: "no-cors"})).type);
		await attempt("command", async () => (await fetch(target + "/session/restart", {method: "POST", mode: "no-cors"})).type);
		await attempt("command as JSON", async () => (await fetch(target + "/session/restart",
			{method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"})).status);
		await attempt("picture", () => new Promise((done) => {
			const img = new Image();
			img.onload = () => done("seen");
			img.onerror = () => done("refused");
			img.src = target + "/qr.png";
		}));
		await attempt("events", () => new Promise((done) => {
			const source = new EventSource(target + "/events");
			source.onopen = () => done("open");
			source.onerror = () => { source.close(); done("refused"); };
		}));
		await attempt("frame", () => new Promise((done) => {
			const frame = document.createElement("iframe");
			frame.onload = () => { try { done(frame.contentDocument ? "same" : "refused"); } catch { done("refused"); } };
			frame.src = target + "/";
			document.body.append(frame);
		}));
		return JSON.stringify(tried);
	}`, target)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, bad := range []string{"status", "seen", `"open"`, `"same"`, "202"} {
		if strings.Contains(got.Value.Str(), bad) {
			p.t.Errorf("at %s: %s", target, got.Value.Str())
		}
	}
}

func portOf(t *testing.T, url string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// wantNoCommand wants the service to have carried out no restart so far.
func wantNoCommand(t *testing.T, s *harness.Service) {
	t.Helper()
	metrics, err := s.Get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "session_manager_http_requests_total") && strings.Contains(line, "restart") && strings.Contains(line, `status="2`) {
			t.Errorf("a command was carried out: %s", line)
		}
	}
}
