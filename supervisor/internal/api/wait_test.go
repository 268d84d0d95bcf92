package api

import (
	"net/http"
	"net/http/httptest"
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
	s := serve(t, newFakeSession(session.Snapshot{State: session.Init}), fakeCommands{})
	for _, wait := range []string{"x", "-1s", "10h", "61", "-1", "2.5", "18446744073709551616", "1e1", "2%200"} {
		got := get(t, s, "/status?wait="+wait)
		if got.status != 400 || !strings.Contains(got.body, `"code":"bad_wait"`) {
			t.Errorf("%s: got %d %s", wait, got.status, got.body)
		}
	}
	for _, wait := range []string{"0", "0s", "1ms"} {
		if got := get(t, s, "/status?wait="+wait); got.status != 200 {
			t.Errorf("%s: got %d %s", wait, got.status, got.body)
		}
	}
	for path, not := range map[string]string{"/status": "NO_QR", "/qr": "INIT", "/qr.txt": "", "/qr.png": "QR_AVAILABLE,NO_QR"} {
		if got := get(t, s, path+"?not="+not); got.status != 400 || !strings.Contains(got.body, `"code":"bad_parameter"`) {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
}

// waits asks with wait, and returns where its answer comes once it is held.
func waits(t *testing.T, f *fakeSession, s *httptest.Server, path, tag string) <-chan answered {
	t.Helper()
	for len(f.watched) > 0 {
		<-f.watched
	}
	answers := make(chan answered, 1)
	go func() {
		answers <- ask(t, s, "GET", path, func(r *http.Request) {
			if tag != "" {
				r.Header.Set("If-None-Match", tag)
			}
		})
	}()
	<-f.watched
	return answers
}

func TestWaitMissesNoChangeBetweenTwoRequests(t *testing.T) {
	f := newFakeSession(session.Snapshot{State: session.Init, Since: moment(time.Now())})
	s := serve(t, f, fakeCommands{})
	tag := get(t, s, "/status").header.Get("ETag")
	if got := ask(t, s, "GET", "/status?wait=1ms", func(r *http.Request) { r.Header.Set("If-None-Match", tag) }); got.status != 304 || got.body != "" {
		t.Errorf("nothing new: got %d %q", got.status, got.body)
	}
	held := []<-chan answered{waits(t, f, s, "/status?wait=30", tag), waits(t, f, s, "/status?wait=30&not=INIT", "")}
	f.set(session.Snapshot{State: session.Ready, Since: moment(time.Now())})
	for _, answers := range held {
		if got := <-answers; got.status != 200 || got.body != `{"status":"READY"}` {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if got := get(t, s, "/status?wait=30s&not=INIT&not=QR_REQUIRED"); got.body != `{"status":"READY"}` {
		t.Errorf("changed before it was asked: got %s", got.body)
	}
	// It is as it was, but something happened in between.
	f.set(session.Snapshot{State: session.Init, Since: moment(time.Now().Add(time.Second))})
	if got := ask(t, s, "GET", "/status?wait=30s", func(r *http.Request) { r.Header.Set("If-None-Match", tag) }); got.body != `{"status":"INIT"}` {
		t.Errorf("left and entered again: got %d %s", got.status, got.body)
	}
}

func TestWaitForAQRNamesWhatIsKnown(t *testing.T) {
	with := withQR(t, time.Minute)
	f := newFakeSession(session.Snapshot{State: session.Init})
	s := serve(t, f, fakeCommands{})
	none := get(t, s, "/qr").header.Get("ETag")
	held := map[string]<-chan answered{
		"/qr":     waits(t, f, s, "/qr?wait=30&not=NO_QR", ""),
		"/qr.png": waits(t, f, s, "/qr.png?wait=30&not=NO_QR", ""),
		"tag":     waits(t, f, s, "/qr?wait=30", none),
	}
	f.set(with)
	for path, answers := range held {
		if got := <-answers; got.status != 200 || path != "/qr.png" && !strings.HasPrefix(got.body, `{"status":"QR_AVAILABLE","qr":"`) {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
	tag := get(t, s, "/qr").header.Get("ETag")
	if got := ask(t, s, "GET", "/qr", func(r *http.Request) { r.Header.Set("If-None-Match", tag) }); got.status != 304 {
		t.Errorf("the same tag: got %d", got.status)
	}
	if got := ask(t, s, "GET", "/qr.png", func(r *http.Request) { r.Header.Set("If-None-Match", tag) }); got.status != 200 {
		t.Errorf("the tag of another form: got %d", got.status)
	}
	gone := []<-chan answered{waits(t, f, s, "/qr?wait=30s", tag), waits(t, f, s, "/qr?wait=30s&not=QR_AVAILABLE", "")}
	f.set(session.Snapshot{State: session.Init})
	for _, answers := range gone {
		if got := <-answers; got.body != `{"status":"NO_QR"}` || got.header.Get("ETag") != none {
			t.Errorf("gone: got %d %s", got.status, got.body)
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
