package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/session"
)

const (
	readKey    = "reader-reader-reader"
	commandKey = "commander-commander"
	sendKey    = "sender-sender-sender"
	receiveKey = "receiver-receiver-r"
	bothKey    = "both-both-both-both"
)

func someKeys(t *testing.T) func() *apikey.Keys {
	t.Helper()
	keys, err := apikey.Parse([]byte("read:" + readKey + "\ncommand:" + commandKey + "\nsend:" + sendKey + "\nreceive:" + receiveKey + "\n" + bothKey + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return func() *apikey.Keys { return keys }
}

func TestEachRouteAsksForItsAccess(t *testing.T) {
	always := []string{"/healthz", "/readyz", "/openapi.yaml", "/"}
	commands := []string{"/session/restart", "/session/pair", "/session/logout", "/session/passkey", "/session/passkey/confirm", "/session/screenshot", "/crashes/{id}/{file}"}
	sends := []string{"/messages/{id}", "/messages/{id}/reaction", "/messages/{id}/edit", "/messages/{id}/revoke", "/messages/{id}/read", "/contacts/{phone}"}
	a := made(t, Options{Session: newFakeSession(session.Snapshot{})})
	for _, rt := range a.routes {
		want := read
		if slices.Contains(sends, rt.path) {
			want = send
		}
		switch rt.path {
		case "/messages":
			want = exchange
		case "/media/{id}":
			want = receive
		}
		for _, path := range always {
			if rt.path == path {
				want = open
			}
		}
		for _, path := range commands {
			if rt.path == path {
				want = command
			}
		}
		if rt.access != want {
			t.Errorf("%s asks for access %d, want %d", rt.path, rt.access, want)
		}
	}
}

// admitting returns an API whose routes answer 200 to whoever they admit.
func admitting(t *testing.T, o Options) (*api, http.Handler) {
	t.Helper()
	o.Session = newFakeSession(session.Snapshot{})
	a := made(t, o)
	for i := range a.routes {
		a.routes[i].answer = func(*http.Request) http.Handler { return object{http.StatusOK, struct{}{}} }
	}
	return a, a.router()
}

// allowed are the scopes of the keys.
var allowed = map[string]string{readKey: "read", commandKey: "command", sendKey: "send", receiveKey: "receive", bothKey: "read command send receive"}

// documented returns what the description has about a request with a key.
func documented(t *testing.T, method, path, key string, readNeedsKey bool) int {
	t.Helper()
	operations := doc(t).Paths.Value(path).Operations()
	described := operations[method]
	if method == http.MethodHead && path != "/session/passkey" {
		described = operations[http.MethodGet]
	}
	switch {
	case method == http.MethodOptions:
		return http.StatusNoContent
	case described == nil:
		return http.StatusMethodNotAllowed
	}
	status := http.StatusForbidden
	need, _ := described.Extensions["x-access"].(string)
	switch {
	case need == "open", need == "read" && !readNeedsKey, strings.Contains(allowed[key], need):
		return http.StatusOK
	case allowed[key] == "":
		status = http.StatusUnauthorized
	}
	if described.Responses.Status(status) == nil {
		t.Errorf("%s %s: %d is not described", method, path, status)
	}
	return status
}

func TestEachMethodAdmitsItsScopesOnly(t *testing.T) {
	methods := []string{"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "get", "PROPFIND"}
	for _, beyond := range []bool{false, true} {
		for _, key := range []string{"", "wrong-wrong-wrong-wrong", readKey, commandKey, sendKey, receiveKey, bothKey} {
			a, h := admitting(t, Options{Keys: someKeys(t), ReadNeedsKey: beyond})
			for _, rt := range a.routes {
				for _, method := range methods {
					r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+rt.path, nil)
					r.Header.Set("X-API-Key", key)
					w := httptest.NewRecorder()
					if h.ServeHTTP(w, r); w.Code != documented(t, method, rt.path, key, beyond) {
						t.Errorf("%s %s with the key %q, beyond the loopback %v: got %d", method, rt.path, key, beyond, w.Code)
					}
				}
			}
		}
	}
}

// asksInBrowser reports whether a browser would ask for a password.
func asksInBrowser(answer *httptest.ResponseRecorder) bool {
	return strings.Contains(strings.Join(answer.Header().Values("WWW-Authenticate"), " "), "Basic")
}

func TestWhoMayDoWhat(t *testing.T) {
	tests := []struct {
		name       string
		keys       bool
		beyond     bool
		key        string
		read, comm int
	}{
		{name: "no keys set", read: 200, comm: 202},
		{name: "keys set, none sent", keys: true, read: 200, comm: 401},
		{name: "keys set, a wrong one sent", keys: true, key: "wrong", read: 200, comm: 401},
		{name: "keys set, a reader's sent", keys: true, key: readKey, read: 200, comm: 403},
		{name: "keys set, a commander's sent", keys: true, key: commandKey, read: 200, comm: 202},
		{name: "beyond the loopback, none sent", keys: true, beyond: true, read: 401, comm: 401},
		{name: "beyond the loopback, a wrong one sent", keys: true, beyond: true, key: "wrong", read: 401, comm: 401},
		{name: "beyond the loopback, a reader's sent", keys: true, beyond: true, key: readKey, read: 200, comm: 403},
		{name: "beyond the loopback, a commander's sent", keys: true, beyond: true, key: commandKey, read: 403, comm: 202},
		{name: "beyond the loopback, one for both", keys: true, beyond: true, key: bothKey, read: 200, comm: 202},
	}
	shown := map[string]func(*http.Request, string){
		"X-API-Key": func(r *http.Request, key string) { r.Header.Set("X-API-Key", key) },
		"Bearer":    func(r *http.Request, key string) { r.Header.Set("Authorization", "bearer "+key) },
		"Basic":     func(r *http.Request, key string) { r.SetBasicAuth("anybody", key) },
	}
	for _, tt := range tests {
		for form, show := range shown {
			t.Run(tt.name+" as "+form, func(t *testing.T) {
				o := Options{
					Session: newFakeSession(session.Snapshot{State: session.Ready}),
					Workers: fakeCommands{}, Login: fakeCommands{}, ReadNeedsKey: tt.beyond,
				}
				if tt.keys {
					o.Keys = someKeys(t)
				}
				h := made(t, o).router()
				do := func(method, path string) *httptest.ResponseRecorder {
					r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
					r.Host = "localhost"
					if tt.key != "" {
						show(r, tt.key)
					}
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					return w
				}
				for path, want := range map[string]int{
					"/status": tt.read, "/qr": tt.read, "/session": tt.read, "/": tt.read, "/readyz?session=1": tt.read,
					"/healthz": 200, "/readyz": 200, "/readyz?session=": 200,
				} {
					if got := do("GET", path); got.Code != want {
						t.Errorf("%s: got %d, want %d", path, got.Code, want)
					}
				}
				got := do("POST", "/session/restart")
				if got.Code != tt.comm {
					t.Errorf("restart: got %d, want %d", got.Code, tt.comm)
				}
				if asks, want := asksInBrowser(got), got.Code == 401 && (form != "X-API-Key" || tt.key == ""); asks != want {
					t.Errorf("%d makes a browser ask: %v", got.Code, asks)
				}
				if page := do("GET", "/"); asksInBrowser(page) || (page.Header().Get("WWW-Authenticate") == "") != (tt.read != 401) {
					t.Errorf("the page's challenge is %q", page.Header().Values("WWW-Authenticate"))
				}
			})
		}
	}
}

func TestKeyInTheURLDoesNotCount(t *testing.T) {
	h := made(t, Options{Session: newFakeSession(session.Snapshot{}), Keys: someKeys(t), ReadNeedsKey: true}).router()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/status?api_key="+bothKey+"&key="+bothKey, nil)
	r.Host = "localhost"
	h.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("got %d", w.Code)
	}
}

func TestTooManyCommandsAreRejectedUntilRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := fakeCommands{logOut: func(bool) (login.LoggedOut, error) { return login.LoggedOut{}, nil }}
		h := made(t, Options{Session: newFakeSession(session.Snapshot{}), Workers: idle, Login: idle, Keys: someKeys(t)}).router()
		restart := func(key string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/session/restart", nil)
			r.Host = "localhost"
			r.Header.Set("X-API-Key", key)
			h.ServeHTTP(w, r)
			return w
		}
		for range 100 {
			if got := restart("wrong"); got.Code != 401 {
				t.Fatalf("got %d", got.Code)
			}
		}
		for n := range commandBurst {
			if got := restart(commandKey); got.Code != 202 {
				t.Fatalf("command %d: got %d; rejected commands must not count", n, got.Code)
			}
		}
		for _, path := range []string{"/session/screenshot", "/session/logout", "/session/pair", "/crashes/x/y"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.Host = "localhost"
			r.Header.Set("X-API-Key", commandKey)
			if path == "/session/logout" || path == "/session/pair" {
				r.Method = "POST"
			}
			h.ServeHTTP(w, r)
			if w.Code == 429 {
				t.Errorf("%s has no budget of its own", path)
			}
		}
		got := restart(commandKey)
		after, err := strconv.Atoi(got.Header().Get("Retry-After"))
		if got.Code != 429 || err != nil || after < 1 {
			t.Fatalf("got %d, Retry-After %q", got.Code, got.Header().Get("Retry-After"))
		}
		time.Sleep(time.Duration(after) * time.Second)
		if got := restart(commandKey); got.Code != 202 {
			t.Errorf("after Retry-After: got %d", got.Code)
		}
	})
}
