package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/session"
)

func TestWaitHoldsTheAnswerUntilItChanges(t *testing.T) {
	f := newFakeSession(session.Snapshot{State: session.Init, Version: 1})
	s := serve(t, f, fakeCommands{})
	answers := make(chan answered, 1)
	go func() { answers <- get(t, s, "/status?wait=30s") }()
	<-f.watched
	f.set(session.Snapshot{State: session.Init, Version: 2})
	<-f.watched
	select {
	case got := <-answers:
		t.Fatalf("answered %s before the state changed", got.body)
	default:
	}
	f.set(session.Snapshot{State: session.Ready, Version: 3})
	if got := <-answers; got.body != `{"status":"READY"}` {
		t.Errorf("got %s", got.body)
	}
}

func TestWaitTimesOut(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{State: session.Init}), fakeCommands{})
	if got := get(t, s, "/qr?wait=20ms"); got.body != `{"status":"NO_QR"}` {
		t.Errorf("got %s", got.body)
	}
}

func TestWaitRejectsInvalidDurations(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	for _, wait := range []string{"x", "-1s", "10h", "25"} {
		got := get(t, s, "/status?wait="+wait)
		if got.status != 400 || !strings.Contains(got.body, `"code":"bad_wait"`) {
			t.Errorf("%s: got %d %s", wait, got.status, got.body)
		}
	}
}

func TestWaitWithATagWaitsForAnotherQR(t *testing.T) {
	f := newFakeSession(withQR(t, time.Minute))
	s := serve(t, f, fakeCommands{})
	for _, path := range []string{"/qr.png", "/qr.txt"} {
		tag := get(t, s, path).header.Get("ETag")
		waiting := func(wait string) answered {
			return ask(t, s, "GET", path+"?wait="+wait, func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		}
		if got := waiting("10ms"); got.status != http.StatusNotModified {
			t.Errorf("%s, nothing new: got %d", path, got.status)
		}
		for len(f.watched) > 0 {
			<-f.watched
		}
		answers := make(chan answered, 1)
		go func() { answers <- waiting("30s") }()
		<-f.watched
		old := *f.Snapshot()
		gone := old
		gone.QR = nil
		f.set(gone)
		<-f.watched
		next := old
		next.QR = new(*old.QR)
		next.QR.Seq++
		f.set(next)
		if got := <-answers; got.status != http.StatusOK || got.header.Get("ETag") == tag {
			t.Errorf("%s, the next one: got %d %s", path, got.status, got.header.Get("ETag"))
		}
	}
	f.set(session.Snapshot{State: session.Init})
	got := ask(t, s, "GET", "/qr.png?wait=10ms", func(r *http.Request) { r.Header.Set("If-None-Match", `"old"`) })
	if got.status != http.StatusNotFound {
		t.Errorf("none: got %d", got.status)
	}
}
