package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/worker"
)

// fakeSession is a session whose snapshot the test sets.
type fakeSession struct {
	mu       sync.Mutex
	snapshot *session.Snapshot
	changed  chan struct{}
	watched  chan struct{}
}

func newFakeSession(s session.Snapshot) *fakeSession {
	return &fakeSession{snapshot: &s, changed: make(chan struct{}), watched: make(chan struct{}, 100)}
}

func (f *fakeSession) Snapshot() *session.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot
}

func (f *fakeSession) Changed() (*session.Snapshot, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watched != nil {
		f.watched <- struct{}{}
	}
	return f.snapshot, f.changed
}

func (f *fakeSession) Paired(time.Time)  {}
func (f *fakeSession) PasskeyCancelled() {}

func (f *fakeSession) set(s session.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshot = &s
	close(f.changed)
	f.changed = make(chan struct{})
}

type fakeCommands struct {
	restart error
	until   time.Time
	png     []byte
	err     error
	pair    func(rpc.Secret) (rpc.Pairing, error)
	logOut  func(purge bool) (login.LoggedOut, error)
	contact func(rpc.Secret) (rpc.Contact, error)
	passkey func(rpc.PasskeyCommand) (rpc.PasskeyCall, error)
}

func (f fakeCommands) Restart(_ context.Context, u worker.Urgency) (time.Time, error) {
	if u == worker.Immediately {
		return time.Time{}, f.restart
	}
	return f.until, f.restart
}

func (f fakeCommands) Pair(_ context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	return f.pair(phone)
}

func (f fakeCommands) LogOut(_ context.Context, purge bool) (login.LoggedOut, error) {
	return f.logOut(purge)
}

func (f fakeCommands) Passkey(_ context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	if f.passkey == nil {
		return rpc.PasskeyCall{}, &rpc.PasskeyError{Code: rpc.PasskeyNotAsked}
	}
	return f.passkey(c)
}

func (f fakeCommands) Contact(_ context.Context, phone rpc.Secret) (rpc.Contact, error) {
	return f.contact(phone)
}

func (f fakeCommands) Screenshot(context.Context) ([]byte, error) { return f.png, f.err }

const testPayload = "https://wa.me/settings/linked_devices#2@abcdefghijkl,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=," +
	"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=,CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC=,1"

func moment(t time.Time) session.Moment { return session.Moment{Time: t} }

func withQR(t *testing.T, ttl time.Duration) session.Snapshot {
	t.Helper()
	code, err := qr.Draw(rpc.QRPayload(testPayload))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return session.Snapshot{
		State: session.QRRequired, Since: moment(now), Phase: session.Phase{Name: "page", Since: moment(now)}, Reason: session.NewReason(reason.ScanQR, "", now), Evidence: session.Evidence{Progress: -1},
		QR: &session.QR{Code: code, Generation: 3, Seq: 2, Reader: "dom", IssuedAt: moment(now), ExpiresAt: moment(now.Add(ttl))},
	}
}

// made returns an API that the test may still change.
func made(t testing.TB, o Options) *api {
	t.Helper()
	o.About = About{Version: "v1", Instance: "127.0.0.1:3001", Host: "host", URL: o.URL, KeyFile: o.KeyFile}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Crashes == nil {
		o.Crashes = crash.NewStore(t.TempDir())
	}
	if o.Keys == nil {
		o.Keys = func() *apikey.Keys { return nil }
	}
	o.Selectors = watch.New(func(contents [][]byte) ([]byte, error) { return contents[0], nil }, "").Optional()
	if o.Events == nil {
		o.Events = events.NewLog("boot", o.Session.Snapshot())
	}
	o.Metrics = metrics.New(o.Version, o.Session.Snapshot(), func() uint64 { return 0 })
	a, err := newAPI(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serve(t *testing.T, f *fakeSession, c fakeCommands) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(made(t, Options{
		Session: f, Workers: c, Login: c, AllowedHosts: []string{"wa.example"}, Draining: make(chan struct{}),
	}).router())
	t.Cleanup(s.Close)
	return s
}

type answered struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, s *httptest.Server, method, path string, change func(*http.Request)) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	conforms(t, r, resp.StatusCode, resp.Header, string(body))
	return answered{resp.StatusCode, resp.Header, string(body)}
}

func get(t *testing.T, s *httptest.Server, path string) answered {
	t.Helper()
	return ask(t, s, http.MethodGet, path, nil)
}

func TestStatusIsExactlyTheContractInEveryState(t *testing.T) {
	for _, state := range session.States() {
		s := serve(t, newFakeSession(session.Snapshot{State: state}), fakeCommands{})
		got := get(t, s, "/status")
		if got.status != 200 || got.body != `{"status":"`+string(state)+`"}` {
			t.Errorf("%s: got %d %s", state, got.status, got.body)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", got.header)
		}
	}
}

func TestQRIsExactlyTheContract(t *testing.T) {
	s := serve(t, newFakeSession(withQR(t, time.Minute)), fakeCommands{})
	got := get(t, s, "/qr")
	var body map[string]string
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatal(err)
	}
	if got.status != 200 || len(body) != 2 || body["status"] != "QR_AVAILABLE" {
		t.Fatalf("got %d with %d fields, status %q", got.status, len(body), body["status"])
	}
	png, err := base64.StdEncoding.DecodeString(body["qr"])
	if err != nil {
		t.Fatal(err)
	}
	if direct := get(t, s, "/qr.png"); direct.body != string(png) {
		t.Error("/qr and /qr.png are different images")
	}
	if got.body != `{"status":"QR_AVAILABLE","qr":"`+body["qr"]+`"}` {
		t.Error("the bytes differ from the contract")
	}
}

func TestNoQRInEveryStateThatHasNone(t *testing.T) {
	expired := withQR(t, -time.Second)
	linked := withQR(t, time.Minute)
	linked.State = session.Ready
	for name, snapshot := range map[string]session.Snapshot{
		"starting":       {State: session.Init},
		"none found":     {State: session.QRRequired},
		"expired":        expired,
		"already linked": linked,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, newFakeSession(snapshot), fakeCommands{})
			for _, accept := range []string{"", "image/png", "text/plain"} {
				got := ask(t, s, "GET", "/qr", func(r *http.Request) { r.Header.Set("Accept", accept) })
				if got.status != 200 || got.body != `{"status":"NO_QR"}` {
					t.Errorf("Accept %q: got %d %s", accept, got.status, got.body)
				}
			}
			for _, path := range []string{"/qr.png", "/qr.txt"} {
				got := get(t, s, path)
				if got.status != 404 || !strings.Contains(got.body, `"code":"no_qr"`) {
					t.Errorf("%s: got %d %s", path, got.status, got.body)
				}
			}
		})
	}
}

func TestQRComesInTheFormThatAcceptPrefers(t *testing.T) {
	s := serve(t, newFakeSession(withQR(t, time.Minute)), fakeCommands{})
	for accept, want := range map[string]string{
		"":                               "application/json",
		"*/*":                            "application/json",
		"image/png":                      "image/png",
		"text/plain":                     "text/plain; charset=utf-8",
		"image/*,*/*;q=0.8":              "image/png",
		"text/html,*/*;q=0.8":            "application/json",
		"image/png;q=0.1,text/plain":     "text/plain; charset=utf-8",
		"application/json,image/png":     "application/json",
		"application/xml":                "application/json",
		"image/png;q=bad, ;;, text/html": "image/png",
	} {
		got := ask(t, s, "GET", "/qr", func(r *http.Request) { r.Header.Set("Accept", accept) })
		if got.status != 200 || got.header.Get("Content-Type") != want {
			t.Errorf("Accept %q: got %d %s, want %s", accept, got.status, got.header.Get("Content-Type"), want)
		}
	}
}

func TestImageHasItsAgeAndAnswersConditionalRequests(t *testing.T) {
	f := newFakeSession(withQR(t, time.Minute))
	s := serve(t, f, fakeCommands{})
	got := get(t, s, "/qr.png")
	q := f.Snapshot().QR
	if got.header.Get("Expires") != q.ExpiresAt.UTC().Format(http.TimeFormat) ||
		got.header.Get("Last-Modified") != q.IssuedAt.UTC().Format(http.TimeFormat) {
		t.Errorf("headers %v", got.header)
	}
	tag := got.header.Get("ETag")
	same := ask(t, s, "GET", "/qr.png", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
	if tag == "" || same.status != http.StatusNotModified {
		t.Errorf("tag %q: got %d", tag, same.status)
	}
	next := withQR(t, time.Minute)
	next.QR.Seq++
	f.set(next)
	if get(t, s, "/qr.png").header.Get("ETag") == tag {
		t.Error("the next QR has the same tag")
	}
}

func TestSessionHasEverythingButTheQRPayload(t *testing.T) {
	snapshot := withQR(t, time.Minute)
	snapshot.LastExit = &session.Exit{Generation: 2, At: moment(time.Now()), Class: "transient", Reason: reason.BrowserCrashed}
	s := serve(t, newFakeSession(snapshot), fakeCommands{})
	got := get(t, s, "/session")
	var body map[string]any
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"status", "since", "reason", "phase", "qr", "worker", "last_exit", "version"} {
		if body[key] == nil {
			t.Errorf("no %s in %s", key, got.body)
		}
	}
	for _, secret := range []string{"2@", "AAAA", "linked_devices"} {
		if strings.Contains(got.body, secret) {
			t.Errorf("the answer holds %q of the QR payload", secret)
		}
	}
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	a := made(t, Options{Session: newFakeSession(session.Snapshot{})})
	for _, rt := range a.routes {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if slices.Contains(rt.methods, method) {
				continue
			}
			got := ask(t, s, method, rt.path, nil)
			want, allow := 405, strings.Join(rt.methods, ", ")+", OPTIONS"
			if method == "OPTIONS" {
				want = 204
			}
			if got.status != want || got.header.Get("Allow") != allow {
				t.Errorf("%s %s: got %d, Allow %q", method, rt.path, got.status, got.header.Get("Allow"))
			}
		}
	}
	got := get(t, s, "/nowhere")
	if got.status != 404 || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s", got.status, got.header.Get("Content-Type"))
	}
}

func TestCommandsAnswerAndFailAsProblems(t *testing.T) {
	f := newFakeSession(session.Snapshot{})
	ok := serve(t, f, fakeCommands{png: []byte("picture")})
	if got := ask(t, ok, "POST", "/session/restart", nil); got.status != 202 {
		t.Errorf("restart: got %d", got.status)
	}
	if got := get(t, ok, "/session/screenshot"); got.status != 200 || got.body != "picture" {
		t.Errorf("screenshot: got %d", got.status)
	}
	bad := serve(t, f, fakeCommands{restart: context.DeadlineExceeded, err: errors.New("no worker")})
	if got := ask(t, bad, "POST", "/session/restart", nil); got.status != 504 {
		t.Errorf("restart: got %d", got.status)
	}
	if got := get(t, bad, "/session/screenshot"); got.status != 503 {
		t.Errorf("screenshot: got %d", got.status)
	}
}

func TestReadyzReportsServiceAndSession(t *testing.T) {
	draining := make(chan struct{})
	h := made(t, Options{
		Session: newFakeSession(session.Snapshot{State: session.Init}), Workers: fakeCommands{}, Login: fakeCommands{}, Draining: draining,
	}).router()
	code := func(path string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Host = "localhost"
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code("/healthz") != 200 || code("/readyz") != 200 || code("/readyz?session=1") != 503 {
		t.Error("a starting service is alive and ready, and its session is not")
	}
	close(draining)
	if code("/healthz") != 200 || code("/readyz") != 503 {
		t.Error("a stopping service is alive and not ready")
	}
}
