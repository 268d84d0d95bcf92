package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/shared/rpc"
)

// standIn is the stand-in of the worker, built once.
var standIn = sync.OnceValues(func() ([]byte, error) {
	path, err := harness.StandIn(context.Background())
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// hostileWorker is the stand-in of the worker, which does what mode says.
func hostileWorker(t *testing.T, mode string) string {
	t.Helper()
	program, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "worker")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mode"), []byte(mode), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mostMemory is what a supervisor may hold, with the race detector's share.
const mostMemory = 400 << 20

func (s *service) checkSize() {
	s.t.Helper()
	if raceEnabled { // Its bookkeeping takes several times as much.
		return
	}
	size, err := s.Size(within(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	if size.Memory > mostMemory {
		s.t.Errorf("the supervisor holds %d bytes", size.Memory)
	}
}

func TestFloodingWorkerIsNamedWhileTheAPIAnswers(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	for _, mode := range variants([]string{"flood PageObserved", "flood QRShown", "oversize PageObserved", "strangers"}, 1) {
		t.Run(mode, func(t *testing.T) {
			s := start(t, "http://127.0.0.1:1/", t.TempDir(), "--worker", hostileWorker(t, mode))
			asking := probe(s)
			v := s.awaitSession("the end of the worker", func(v harness.Session) bool { return v.LastExit != nil })
			if v.LastExit.Reason != "worker_flooded" || v.LastExit.Class != "transient" {
				t.Errorf("it ended for %s, %s", v.LastExit.Reason, v.LastExit.Class)
			}
			eventually(t, "a report", func() bool { return strings.Contains(s.get("/crashes").Body, "worker_flooded") })
			asking.check(t)
			s.checkSize()
			if exits, lines := strings.Count(s.Log(), `"msg":"worker_exited"`), strings.Count(s.Log(), "\n"); lines > 2*rpc.EventBurst*(exits+1) {
				t.Errorf("%d floods made %d lines", exits, lines)
			}
		})
	}
}

func TestLargeScreenshotIsRefused(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	s := start(t, "http://127.0.0.1:1/", t.TempDir(), "--worker", hostileWorker(t, "large screenshot"))
	s.await("QR_REQUIRED")
	if a := s.get("/session/screenshot"); a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body, "command_failed") {
		t.Errorf("%d, %d bytes", a.Code, len(a.Body))
	}
}

// strangers opens many connections, each of which sends the request.
func strangers(t *testing.T, s *service, request string) {
	t.Helper()
	for range 2200 {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.Base, "http://"), patience)
		if err != nil {
			t.Skipf("this machine allows too few connections: %v", err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNobodyIsShutOutByStrangers(t *testing.T) {
	s := start(t, "http://127.0.0.1:1/", t.TempDir(), "--worker", "/bin/false")
	const get = "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, tt := range map[string]struct{ request, path, code string }{
		"silent": {}, "headers": {request: "GET / HTTP/1.1\r\nHost: loc"}, "idle": {request: fmt.Sprintf(get, "/healthz")},
		"a body": {request: "POST /session/restart HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"},
		"waits":  {fmt.Sprintf(get, "/status?wait=60s"), "/status?wait=60s", "too_many_waits"},
		"events": {fmt.Sprintf(get, "/events"), "/events", "too_many_listeners"},
	} {
		if name != "a body" && name != "events" && !*thorough {
			continue // package listen is tested with all of them
		}
		t.Run(name, func(t *testing.T) {
			strangers(t, s, tt.request)
			for range 10 {
				client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
				answer, err := client.Get(s.Base + "/healthz")
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Errorf("/healthz: %d", answer.StatusCode)
				}
			}
			if tt.code != "" {
				wantTooMany(t, s, tt.path, tt.code)
			}
		})
	}
	s.checkSize()
}

// wantTooMany asks for a path of which an address has as many as it may, once more for each that
// had to give way to another connection: 152 of strangers, and 10.
func wantTooMany(t *testing.T, s *service, path, code string) {
	t.Helper()
	const most = 200
	accepted := 0
	eventually(t, "a refusal", func() bool {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.Base, "http://"), patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(250 * time.Millisecond)) // what waits has no answer yet
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case err != nil:
			t.Fatal(err)
		case answer.StatusCode == http.StatusOK:
			if accepted++; accepted > most {
				t.Fatalf("%d more were accepted", accepted)
			}
			return false
		}
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(body), code) || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, answer.StatusCode, body)
		}
		return true
	})
}
