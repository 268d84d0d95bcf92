package api

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/session"
)

func (s *shares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func TestAddressesShareThePlacesOfAKind(t *testing.T) {
	s := newShares("things", "too_many_things", 3, 2)
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	take := func(remote string) (func(), int) {
		r.RemoteAddr = remote
		release, bad := s.take(r)
		if bad != nil {
			if bad.retryAfter == 0 || bad.Code != "too_many_things" {
				t.Errorf("%+v", bad)
			}
			return nil, bad.Status
		}
		return release, 0
	}
	first, _ := take("192.0.2.1:1")
	if _, status := take("192.0.2.1:2"); status != 0 {
		t.Errorf("a second one: %d", status)
	}
	if _, status := take("192.0.2.1:3"); status != 429 {
		t.Errorf("a third one: %d", status)
	}
	if _, status := take("@"); status != 0 {
		t.Errorf("another address: %d", status)
	}
	if _, status := take("127.0.0.1:5"); status != 503 {
		t.Errorf("one too many: %d", status)
	}
	first()
	if _, status := take("[::1]:5"); status != 0 {
		t.Errorf("after one has ended: %d", status)
	}
}

func TestTooManyWaitsAreRefusedAndNothingElse(t *testing.T) {
	f := newFakeSession(session.Snapshot{State: session.Init})
	a := made(t, Options{Session: f, Workers: fakeCommands{}, Login: fakeCommands{}})
	waits := a.waits
	waits.total, waits.each = 2, 1
	s := httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	answers := make(chan answered, 1)
	go func() { answers <- get(t, s, "/status?wait=30s") }()
	<-f.watched
	for waits.count() == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, path := range []string{"/status?wait=1s", "/qr?wait=1s", "/qr.png?wait=1s"} {
		got := get(t, s, path)
		if got.status != 429 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "too_many_waits") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for path, want := range map[string]int{"/status": 200, "/status?wait=0s": 200, "/qr": 200, "/healthz": 200} {
		if got := get(t, s, path); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	f.set(session.Snapshot{State: session.Ready})
	if got := <-answers; got.body != `{"status":"READY"}` {
		t.Errorf("the one that waited got %s", got.body)
	}
}
