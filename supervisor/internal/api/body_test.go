package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/session"
)

func TestInvalidBodiesAreProblems(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    int
		code                    string
	}{
		{name: "nothing", want: 202},
		{name: "nothing, as JSON", contentType: "application/json", want: 202},
		{name: "an empty object", contentType: "application/json; charset=utf-8", body: " {}\n", want: 202},
		{name: "a form", contentType: "application/x-www-form-urlencoded", body: "a=b", want: 415, code: "body_not_json"},
		{name: "text, as pages may send it", contentType: "text/plain", body: "{}", want: 415, code: "body_not_json"},
		{name: "no content type", body: "{}", want: 415, code: "body_not_json"},
		{name: "an unknown field", contentType: "application/json", body: `{"force":true}`, want: 400, code: "bad_body"},
		{name: "an array", contentType: "application/json", body: `[1]`, want: 400, code: "bad_body"},
		{name: "null", contentType: "application/json", body: `null`, want: 400, code: "bad_body"},
		{name: "broken JSON", contentType: "application/json", body: `{"`, want: 400, code: "bad_body"},
		{name: "two objects", contentType: "application/json", body: `{}{}`, want: 400, code: "bad_body"},
		{name: "an object and a brace", contentType: "application/json", body: `{}}`, want: 400, code: "bad_body"},
		{name: "an object and a bracket", contentType: "application/json", body: `{}]`, want: 400, code: "bad_body"},
		{name: "a field twice", contentType: "application/json", body: `{"a":1,"a":1}`, want: 400, code: "is there twice"},
		{name: "deep nesting", contentType: "application/json", body: `{"a":` + strings.Repeat("[", 2000), want: 400, code: "nested"},
		{name: "too large", contentType: "application/json", body: `{"a":"` + strings.Repeat("x", maxBody) + `"}`, want: 413, code: "body_too_large"},
		{name: "far too large", contentType: "application/json", body: strings.Repeat("x", 10<<20), want: 413, code: "body_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/session/restart", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
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
			if resp.StatusCode != tt.want || !strings.Contains(string(body), tt.code) {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
		})
	}
}

// slow is a server with short timeouts.
func slow(t *testing.T) *httptest.Server {
	t.Helper()
	h := made(t, Options{Session: newFakeSession(session.Snapshot{State: session.Init}), Workers: fakeCommands{}, Login: fakeCommands{}}).router()
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadHeaderTimeout, s.Config.ReadTimeout = 2*time.Second, 4*time.Second
	s.Config.MaxHeaderBytes = 16 << 10
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// say sends text as it is, and returns the answer; its status is 0 if the
// connection was closed without one.
func say(t *testing.T, s *httptest.Server, text string) answered {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	// The server may close the connection before everything is sent.
	_, _ = io.WriteString(conn, text)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the server keeps waiting")
		}
		return answered{}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return answered{resp.StatusCode, resp.Header, string(body)}
}

func TestIncompleteBodyTimesOut(t *testing.T) {
	s := slow(t)
	got := say(t, s, "POST /session/restart HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
	if got.status != http.StatusRequestTimeout || !strings.Contains(got.body, `"code":"body_timeout"`) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestIncompleteHeadersCloseTheConnection(t *testing.T) {
	got := say(t, slow(t), "GET /status HTTP/1.1\r\nHost: local")
	if got.status != 0 && got.status != http.StatusRequestTimeout {
		t.Errorf("got %d", got.status)
	}
}

func TestHugeHeadersAreRejected(t *testing.T) {
	got := say(t, slow(t), "GET /status HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	if got.status != 0 && got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", got.status)
	}
}

func TestSlowClientsDelayNobody(t *testing.T) {
	s := slow(t)
	for range 100 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprint(conn, "POST /session/restart HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := get(t, s, "/status"); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
}

func TestPathsAreNotCleaned(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	for _, path := range []string{"//status", "/status/", "/./status", "/session/../qr", "/STATUS", "/%2e%2e/status", "/status%00"} {
		got := get(t, s, path)
		if got.status != 404 || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s", path, got.status, got.header.Get("Content-Type"))
		}
	}
}
