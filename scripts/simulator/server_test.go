package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/websocket"

	"session-manager/scripts/simulator"
)

const goodAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"

func TestServerChoosesPageByUserAgent(t *testing.T) {
	for name, row := range map[string]struct {
		agent     string
		supported bool
		faults    []string
	}{
		"today's Chrome": {goodAgent, true, nil},
		"Firefox":        {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", true, nil},
		"headless":       {strings.Replace(goodAgent, "Chrome/", "HeadlessChrome/", 1), false, nil},
		"old Chrome":     {strings.Replace(goodAgent, "156", "99", 1), false, nil},
		"floor":          {strings.Replace(goodAgent, "156", "100", 1), true, nil},
		"library":        {"WhatsApp/2.2413.1 " + goodAgent, false, nil},
		"Electron":       {goodAgent + " Electron/30.0.0", false, nil},
		"check is off":   {strings.Replace(goodAgent, "Chrome/", "HeadlessChrome/", 1), true, []string{"ua=off"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, simulator.Options{Faults: row.faults})
			body := get(t, url, row.agent).body
			if got := strings.Contains(body, "wa_web_initial_startup"); got != row.supported {
				t.Errorf("application served: %t", got)
			}
			if got := strings.Contains(body, "WhatsApp works with Google Chrome 100+"); got == row.supported {
				t.Errorf("browser refused: %t", got)
			}
		})
	}
}

func serve(t *testing.T, o simulator.Options) (*simulator.Server, string) {
	t.Helper()
	sim, err := simulator.New(o)
	check(t, err)
	web := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		web.Close()
	})
	return sim, web.URL
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, url, agent string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	check(t, err)
	request.Header.Set("User-Agent", agent)
	response, err := http.DefaultClient.Do(request)
	check(t, err)
	defer func() { check(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestScriptHasEveryModule(t *testing.T) {
	_, url := serve(t, simulator.Options{})
	_, path, _ := strings.Cut(get(t, url, goodAgent).body, `type="module" src="`)
	path, _, _ = strings.Cut(path, `"`)
	script := get(t, url+path, goodAgent)
	if script.status != http.StatusOK || !strings.Contains(script.body, "Object.assign($modules['boot.js']") {
		t.Errorf("%s is answered with %d, %d bytes", path, script.status, len(script.body))
	}
	for line := range strings.Lines(script.body) {
		if strings.HasPrefix(line, "import ") || strings.HasPrefix(line, "export ") {
			t.Errorf("a line is not understood: %s", line)
		}
	}
}

func TestStrictPolicyIsSentWhenAsked(t *testing.T) {
	_, url := serve(t, simulator.Options{})
	if got := get(t, url, goodAgent); got.header.Get("Content-Security-Policy") != "" {
		t.Error("there is a policy without the switch")
	}
	if got := get(t, url+"/?sim.fault=csp=strict", goodAgent); !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Error("there is no policy with the switch")
	}
}

func TestBadQueryIsRefused(t *testing.T) {
	_, url := serve(t, simulator.Options{})
	for _, query := range []string{"sim=1999", "sim.speed=0", "sim.speed=x", "sim.fault=gravity"} {
		if got := get(t, url+"/?"+query, goodAgent); got.status != http.StatusBadRequest {
			t.Errorf("%s is answered with %d", query, got.status)
		}
	}
}

func TestUnknownRequestIsRemembered(t *testing.T) {
	sim, url := serve(t, simulator.Options{})
	if got := get(t, url+"/wp-login.php", goodAgent); got.status != http.StatusNotFound {
		t.Errorf("status is %d", got.status)
	}
	if got := sim.UnknownRequests(); len(got) != 1 || got[0] != "GET /wp-login.php" {
		t.Errorf("unknown requests are %q", got)
	}
}

func TestDroppedNetworkAnswersNothing(t *testing.T) {
	sim, url := serve(t, simulator.Options{})
	sim.DropNetwork()
	for _, path := range []string{"/", "/status.json", "/ws/chat"} {
		response, err := http.Get(url + path)
		if err == nil {
			t.Errorf("%s is answered with %s", path, response.Status)
			_ = response.Body.Close()
		}
	}
	sim.RestoreNetwork()
	if got := get(t, url+"/status.json", goodAgent); !strings.Contains(got.body, `"ok":true`) {
		t.Errorf("status after the restoration is %s", got.body)
	}
}

func TestCloseEndsConnectionsAndWaits(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	sim, err := simulator.New(simulator.Options{})
	check(t, err)
	web := httptest.NewServer(sim)
	address := strings.Replace(web.URL, "http", "ws", 1)
	for _, path := range []string{"/ws/chat", "/sim/page"} {
		conn, err := websocket.Dial(address+path, "", web.URL)
		check(t, err)
		defer func() { _ = conn.Close() }()
		if path == "/ws/chat" {
			// A device that is syncing keeps a goroutine busy.
			check(t, websocket.JSON.Send(conn, map[string]any{"type": "hello", "registered": true, "noise": "n"}))
			var welcome map[string]any
			check(t, websocket.JSON.Receive(conn, &welcome))
		}
	}
	awaiting := make(chan error, 1)
	go func() { awaiting <- sim.Await(t.Context(), visible) }()
	sim.Close()
	sim.Close()
	web.Close()
	http.DefaultClient.CloseIdleConnections()
	if err := <-awaiting; !errors.Is(err, simulator.ErrClosed) {
		t.Errorf("waiting ends with %v", err)
	}
	goleak.VerifyNone(t, leaks)
}

func TestSlowUploadEndsWithItsConnection(t *testing.T) {
	sim, err := simulator.New(simulator.Options{Faults: []string{"upload=slow:600000"}})
	check(t, err)
	ctx, leave := context.WithCancel(t.Context())
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave()
		sim.ServeHTTP(w, r)
	}))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, web.URL+"/mms/document", strings.NewReader("content"))
	check(t, err)
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) { //nolint:bodyclose // there is no answer
		t.Errorf("the upload ends with %v", err)
	}
	ended := make(chan struct{})
	go func() {
		sim.Close()
		web.Close()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(rowLimit / 2):
		t.Error("its handler did not end")
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	sim, _ := serve(t, simulator.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := sim.Await(ctx, visible); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting ends with %v", err)
	}
}

func TestLeversWithoutPageSayWhy(t *testing.T) {
	sim, _ := serve(t, simulator.Options{})
	for name, row := range map[string]struct {
		pull func() error
		want error
	}{
		"scan":      {func() error { return sim.Scan(t.Context()) }, simulator.ErrNothingToScan},
		"string":    {func() error { return sim.ScanPayload(t.Context(), "2@x,a,b,c,1") }, simulator.ErrExpired},
		"code":      {func() error { return sim.EnterCode(t.Context(), "") }, simulator.ErrExpired},
		"log out":   {sim.LogOut, simulator.ErrNotLinked},
		"take over": {sim.TakeOver, simulator.ErrNotLinked},
		"replace":   {sim.Replace, simulator.ErrNotLinked},
		"rotate":    {sim.RotateADV, simulator.ErrNothingToScan},
		"expire":    {sim.ExpireNow, simulator.ErrNothingToScan},
		"hang":      {func() error { return sim.Order(simulator.Hang) }, simulator.ErrNoPage},
		"crash":     {func() error { return sim.Order(simulator.Crash) }, simulator.ErrNoPage},
		"reload":    {func() error { return sim.Order(simulator.Reload) }, simulator.ErrNoPage},
	} {
		if err := row.pull(); !errors.Is(err, row.want) {
			t.Errorf("%s without a page: %v", name, err)
		}
	}
}

func TestScreenDescribesItselfWithoutSecrets(t *testing.T) {
	c := simulator.Screen{Payload: "secret", Offered: "secret", Ref: "secret", Code: "secret"}
	if text := c.String(); strings.Contains(text, "secret") {
		t.Errorf("a screen reads %q", text)
	}
}

func TestControlPullsLevers(t *testing.T) {
	sim, _ := serve(t, simulator.Options{})
	control := httptest.NewServer(sim.Control())
	defer control.Close()
	for _, row := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/healthz", "", 200, `{"ok":true}`},
		{"GET", "/screen", "", 200, `"state":""`},
		{"GET", "/profiles", "", 200, `"2026-08"`},
		{"GET", "/faults", "", 200, `"sync=stuck:N"`},
		{"POST", "/scan", "", 409, `no scannable code`},
		{"POST", "/scan", `{"payload":"2@a,b,c,d,1"}`, 409, `expired`},
		{"POST", "/scan", `{"logn":"2@a,b,c,d,1"}`, 400, `unknown field`},
		{"GET", "/sent", "", 200, `[]`},
		{"GET", "/traps", "", 200, `0`},
		{"POST", "/ack", `{"id":"3EB0","level":2}`, 409, `no such message`},
		{"POST", "/receive", `{"from":"15550101001","text":"Hi"}`, 200, `{"ok":true}`},
		{"POST", "/person", `{"phone":"15550109999","absent":true}`, 200, `{"ok":true}`},
		{"POST", "/code", `{"code":"ABCD-1234"}`, 409, `expired`},
		{"POST", "/logout", "", 409, `no linked device`},
		{"POST", "/takeover", "", 409, `no linked device`},
		{"POST", "/rotate-adv", "", 409, `no scannable code`},
		{"POST", "/expire", "", 409, `no scannable code`},
		{"POST", "/reload", "", 409, `no page is open`},
		{"POST", "/hang", "", 409, `no page is open`},
		{"POST", "/crash", "", 409, `no page is open`},
		{"POST", "/network/drop", "", 200, `{"ok":true}`},
		{"POST", "/network/stall", "", 200, `{"ok":true}`},
		{"POST", "/network/restore", "", 200, `{"ok":true}`},
		{"POST", "/profile/2022", "", 200, `{"ok":true}`},
		{"POST", "/profile/1999", "", 400, `is not one of`},
		{"POST", "/fault/sync=stuck:99", "", 200, `{"ok":true}`},
		{"POST", "/fault/gravity", "", 400, `is not a switch`},
		{"DELETE", "/fault", "", 200, `{"ok":true}`},
		{"GET", "/nowhere", "", 404, `there is no GET /nowhere`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), row.method, control.URL+row.path, strings.NewReader(row.body))
		check(t, err)
		response, err := http.DefaultClient.Do(request)
		check(t, err)
		answer, err := io.ReadAll(response.Body)
		check(t, err)
		check(t, response.Body.Close())
		if response.StatusCode != row.status || !strings.Contains(string(answer), row.answer) || !json.Valid(answer) {
			t.Errorf("%s %s is answered with %d %s", row.method, row.path, response.StatusCode, answer)
		}
	}
}

func TestLoginOutlivesSimulator(t *testing.T) {
	r := newRig(t, simulator.Options{})
	second, err := simulator.New(simulator.Options{Speed: 50})
	check(t, err)
	defer second.Close()
	var now atomic.Pointer[simulator.Server]
	now.Store(r.Server)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { now.Load().ServeHTTP(w, q) }))
	defer web.Close()
	r.url = web.URL
	r.open("")
	r.link()
	now.Store(second)
	r.Close()
	check(t, second.Await(r.ctx, named("MAIN")))
	r.open("")
	check(t, second.Await(r.ctx, func(c screen) bool { return c.Load > 1 && c.Name == "MAIN" }))
}

func TestPageAsksForNothingUnknown(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	if got := r.UnknownRequests(); len(got) != 0 {
		t.Errorf("the page asked for %q", got)
	}
}

func TestPageOpenedWithoutServerSaysComputerNotConnected(t *testing.T) {
	r := newRig(t, simulator.Options{Faults: []string{"socket=never"}})
	r.open("")
	r.until(func(c screen) bool { return c.State == "OPENING" })
	r.DropNetwork()
	r.untilNamed("OFFLINE")
	r.ClearFaults()
	r.RestoreNetwork()
	r.shown()
}
