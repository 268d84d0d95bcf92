package api

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// types is how many events a stream begins with: one of each type but those of messages.
var types = len(events.Types()) - 1 - len(inbox.Kinds())

// streaming is a server of events that the test makes.
type streaming struct {
	*httptest.Server
	log      *events.Log
	draining chan struct{}
	progress int
}

func serveEvents(t *testing.T, change func(*api)) *streaming {
	t.Helper()
	s := &streaming{log: events.NewLog("boot", &session.Snapshot{State: session.Init}), draining: make(chan struct{})}
	a := made(t, Options{
		Session: newFakeSession(session.Snapshot{}), Workers: fakeCommands{}, Login: fakeCommands{}, Events: s.log, Draining: s.draining,
	})
	if change != nil {
		change(a)
	}
	s.Server = httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	return s
}

// step makes one event of type progress.
func (s *streaming) step() {
	s.progress++
	s.log.Observe(&session.Snapshot{State: session.Init, Evidence: session.Evidence{Progress: session.Percent(s.progress)}})
}

// frame is one server-sent event, or a comment.
type frame struct{ id, event, data, comment string }

// listener reads the stream of one client.
type listener struct {
	body  io.Closer
	lines *bufio.Scanner
}

func newListener(body io.ReadCloser) *listener {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	return &listener{body, lines}
}

func (s *streaming) listen(t *testing.T, path, lastID string, key ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a stream that lacks an event ends then
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	for _, k := range key {
		r.Header.Set("X-Api-Key", k)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return newListener(resp.Body)
}

// next returns the next event or comment; false at the stream's end.
func (l *listener) next() (frame, bool) {
	var f frame
	for l.lines.Scan() {
		name, value, _ := strings.Cut(l.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "id":
			f.id = value
		case name == "event":
			f.event = value
		case name == "data":
			f.data = value
		case name == "" && value != "":
			f.comment = value
		case name == "" && f != frame{}:
			return f, true
		}
	}
	return f, false
}

func (l *listener) want(t *testing.T, n int) []frame {
	t.Helper()
	var frames []frame
	for len(frames) < n {
		f, ok := l.next()
		if !ok {
			t.Fatalf("the stream ended after %d of %d events", len(frames), n)
		}
		frames = append(frames, f)
	}
	return frames
}

// lostCursor is one after which events were dropped.
const lostCursor = "gone-7"

// keptEvents is an inbox; when all was listed once, arrive is called.
type keptEvents struct {
	Inbox
	list   []inbox.Event
	arrive func(inbox.Event)
	// unreadable: its disk can't be read.
	unreadable atomic.Bool
}

func (k *keptEvents) add() inbox.Event {
	n := strconv.Itoa(len(k.list) + 1)
	e := inbox.Event{Kind: inbox.Arrived, ID: "id" + n, Cursor: "c-" + n, Message: &inbox.Message{ID: n}}
	k.list = append(k.list, e)
	return e
}

func (k *keptEvents) List(_ context.Context, cursor string, n int) (list []inbox.Event, next string, more bool, changed <-chan struct{}, err error) {
	if k.unreadable.Load() {
		return nil, "", false, nil, inbox.ErrUnavailable
	}
	if cursor == lostCursor {
		return nil, "", false, nil, inbox.ErrLost
	}
	if cursor == "" {
		cursor = "c-0"
	}
	at, err := strconv.Atoi(strings.TrimPrefix(cursor, "c-"))
	if err != nil {
		return nil, "", false, nil, inbox.ErrCursor
	}
	list = slices.Clone(k.list[at:])
	list = list[:min(n, len(list))]
	if arrive := k.arrive; arrive != nil && n > 1 {
		k.arrive = nil
		arrive(k.add())
	}
	return list, "c-" + strconv.Itoa(at+len(list)), false, nil, nil
}

// TestListenersOfAnotherRunMissNothing has a message arrive while a listener is sent what it missed.
func TestListenersOfAnotherRunMissNothing(t *testing.T) {
	kept := &keptEvents{}
	s := serveEvents(t, func(a *api) { a.streams.inbox = kept })
	kept.add()
	kept.add()
	s.log.Inbox("c-2")
	kept.arrive = s.log.Received
	l := s.listen(t, "/events?types=message", "another-1~c-1")
	var got []string
	for len(got) < 2 {
		f, ok := l.next()
		if !ok {
			t.Fatalf("the stream has ended after %v", got)
		}
		if f.event == string(inbox.Arrived) {
			got = append(got, f.data[strings.Index(f.data, `"id":`)+5:][:3])
		}
	}
	if !slices.Equal(got, []string{`"2"`, `"3"`}) {
		t.Errorf("got %v", got)
	}
}

func TestListenerWhosePlaceIsGoneLearnsIt(t *testing.T) {
	kept := &keptEvents{}
	s := serveEvents(t, func(a *api) { a.streams.inbox = kept })
	kept.add()
	kept.add()
	s.log.Inbox("c-2")
	l := s.listen(t, "/events?types=messages.gap,message,qr", "another-1~"+lostCursor)
	var got []string
	for f, ok := l.next(); ok; f, ok = l.next() {
		if got = append(got, f.event); f.event == "messages.gap" && (!strings.Contains(f.data, `"reason":"dropped"`) || strings.Contains(f.data, "since")) {
			t.Errorf("got %s", f.data)
		}
		if f.event == "qr" {
			break
		}
	}
	if !slices.Contains(got, "messages.gap") || !slices.Equal(slices.DeleteFunc(got, func(e string) bool { return e == "" }), []string{"messages.gap", "message", "message", "qr"}) {
		t.Errorf("got %v", got)
	}
}

// TestListenerMissesNothingOfAnUnreadableInbox has a listener come back for what could not be read, live and
// from another run.
func TestListenerMissesNothingOfAnUnreadableInbox(t *testing.T) {
	kept := &keptEvents{}
	s := serveEvents(t, func(a *api) { a.streams.inbox, a.streams.limits.heartbeat = kept, 10*time.Millisecond })
	kept.add()
	s.log.Inbox("c-1")
	// until returns the last id when an event has come, or when the stream has ended.
	until := func(l *listener, event string) (id, data string) {
		for {
			f, ok := l.next()
			if id = cmp.Or(f.id, id); !ok || f.event == event {
				return id, f.data
			}
		}
	}
	for _, name := range []string{"live", "another run"} { // in this order qr is the last of the present, which has the id
		last := ""
		if name == "another run" {
			last = "another-1~c-0"
			kept.unreadable.Store(true)
		}
		l := s.listen(t, "/events", last)
		if last == "" {
			last, _ = until(l, "qr")
			kept.unreadable.Store(true)
			s.log.Received(kept.list[0])
		} else {
			until(l, "qr")
		}
		s.step()
		if id, data := until(l, "progress"); id != "" || data == "" {
			t.Errorf("%s: the listener has the id %s after an event that it did not get", name, id)
		}
		kept.unreadable.Store(false)
		if _, data := until(l, "none"); data != "" {
			t.Errorf("%s: the stream continues with %s", name, data)
		}
		if _, data := until(s.listen(t, "/events", last), "message"); !strings.Contains(data, "id1") {
			t.Errorf("%s: the listener that came back got %q", name, data)
		}
	}
}

// TestPlaceInTheInboxSurvivesAnotherRestart has a listener come before the inbox was opened, and leave.
func TestPlaceInTheInboxSurvivesAnotherRestart(t *testing.T) {
	kept := &keptEvents{}
	s := serveEvents(t, func(a *api) { a.streams.inbox = kept })
	kept.add()
	l := s.listen(t, "/events?types=message,qr", "another-1~c-0")
	for range 2 {
		var id string
		for f, ok := l.next(); ok; f, ok = l.next() {
			if id = cmp.Or(f.id, id); f.event == "qr" || f.id != "" {
				break
			}
		}
		if got := events.Cursor(id); got != "c-1" {
			t.Errorf("the place is %q in the id %s", got, id)
		}
		s.step()
	}
}

func TestEventsBeginWithThePresentAndContinue(t *testing.T) {
	s := serveEvents(t, nil)
	l := s.listen(t, "/events", "")
	present := l.want(t, types)
	seen := map[string]bool{}
	for i, f := range present {
		seen[f.event] = true
		if (f.id != "") != (i == types-1) {
			t.Errorf("event %d has the id %q: only the last of the present has one", i, f.id)
		}
	}
	if len(seen) != types {
		t.Errorf("got %v", seen)
	}
	s.log.Observe(&session.Snapshot{State: session.QRRequired, Reason: session.Reason{Code: reason.ScanQR}})
	f := l.want(t, 1)[0]
	if f.event != "state" || f.id != "boot-"+strconv.Itoa(types+1) || !strings.Contains(f.data, `"status":"QR_REQUIRED","previous_status":"INIT"`) {
		t.Errorf("got %+v", f)
	}
}

func TestListenerWithARevokedKeyIsDisconnected(t *testing.T) {
	var keys atomic.Pointer[apikey.Keys]
	keys.Store(someKeys(t)())
	s := serveEvents(t, func(a *api) { a.gate.keys, a.gate.readNeedsKey = keys.Load, true })
	l := s.listen(t, "/events", "", readKey)
	l.want(t, types)
	s.step()
	l.want(t, 1)
	others, err := apikey.Parse([]byte(commandKey))
	if err != nil {
		t.Fatal(err)
	}
	keys.Store(others)
	s.step()
	if f, ok := l.next(); ok {
		t.Errorf("it got %+v", f)
	}
}

func TestReconnectedListenerGetsWhatItMissed(t *testing.T) {
	s := serveEvents(t, nil)
	l := s.listen(t, "/events", "")
	last := l.want(t, types)[types-1].id
	_ = l.body.Close()
	const missed = 300
	for range missed {
		s.step()
	}
	for i, f := range s.listen(t, "/events", last).want(t, missed) {
		if want := "boot-" + strconv.Itoa(types+1+i); f.id != want {
			t.Fatalf("got %s, want %s", f.id, want)
		}
	}
}

func TestListenerThatMissedTooMuchGetsThePresent(t *testing.T) {
	s := serveEvents(t, nil)
	for range events.Capacity + 1 {
		s.step()
	}
	for _, id := range []string{"boot-2", "another-2", "rubbish", "boot-9999999"} {
		frames := s.listen(t, "/events", id).want(t, types)
		if last := frames[types-1]; last.event != "progress" || last.id == "" {
			t.Errorf("%s: got %+v", id, last)
		}
	}
}

func TestOnlyRequestedTypesOfEventsAreSent(t *testing.T) {
	s := serveEvents(t, nil)
	l := s.listen(t, "/events?types=state,qr", "")
	l.want(t, 2)
	s.step()
	s.log.Observe(&session.Snapshot{State: session.Ready, Evidence: session.Evidence{Progress: session.Percent(s.progress)}})
	for {
		f := l.want(t, 1)[0]
		if f.event == "progress" {
			t.Fatal("progress was not asked for")
		}
		if f.event == "state" {
			break
		}
	}
	if got := get(t, s.Server, "/events?types=state,nothing"); got.status != 400 || !strings.Contains(got.body, `"code":"bad_types"`) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestEventsOfMessagesAreForSenders(t *testing.T) {
	withKeys := func(a *api) { a.gate.keys = someKeys(t) }
	m := outbox.Message{ID: someID, Status: outbox.Sent, To: "5491123456789@c.us", Times: map[outbox.Status]time.Time{}}
	for _, tt := range []struct {
		key  string
		keys func(*api)
		want bool
	}{{"", nil, true}, {readKey, withKeys, false}, {sendKey, withKeys, true}, {bothKey, withKeys, true}, {"", withKeys, false}} {
		s := serveEvents(t, tt.keys)
		l := s.listen(t, "/events", "", tt.key)
		l.want(t, types)
		s.log.Message(m)
		s.step()
		var got []string
		for len(got) == 0 || got[len(got)-1] != "progress" {
			f := l.want(t, 1)[0]
			got = append(got, f.event)
			if strings.Contains(f.data, "5491123456789") != (f.event == "message.status") {
				t.Errorf("%q: %s has %s", tt.key, f.event, f.data)
			}
		}
		if slices.Contains(got, "message.status") != tt.want {
			t.Errorf("%q: got %v", tt.key, got)
		}
		status := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[tt.want]
		if tt.key == "" && !tt.want {
			status = http.StatusUnauthorized
		}
		r := ask(t, s.Server, http.MethodHead, "/events?types=message.status", func(r *http.Request) { r.Header.Set("X-API-Key", tt.key) })
		if r.status != status {
			t.Errorf("%q, only those: got %d, want %d", tt.key, r.status, status)
		}
	}
}

func TestSilentStreamHasHeartbeats(t *testing.T) {
	s := serveEvents(t, func(a *api) { a.streams.limits.heartbeat = 10 * time.Millisecond })
	l := s.listen(t, "/events", "")
	l.want(t, types)
	for _, f := range l.want(t, 3) {
		if f.comment != "heartbeat" {
			t.Errorf("got %+v", f)
		}
	}
}

func TestStreamsEndWhenTheServiceStops(t *testing.T) {
	s := serveEvents(t, nil)
	l := s.listen(t, "/events", "")
	l.want(t, types)
	close(s.draining)
	if f, ok := l.next(); ok {
		t.Errorf("got %+v", f)
	}
}

func TestHTTP2StreamOutlivesTheWriteTimeout(t *testing.T) {
	s := serveEvents(t, func(a *api) {
		a.streams.limits.take, a.streams.limits.heartbeat = 300*time.Millisecond, 500*time.Millisecond
	})
	secure := httptest.NewUnstartedServer(s.Config.Handler)
	secure.EnableHTTP2 = true
	secure.Config.WriteTimeout = 400 * time.Millisecond
	secure.StartTLS()
	defer secure.Close()
	s.Server = secure
	l := s.listen(t, "/events", "")
	l.want(t, types)
	for range 3 {
		if f := l.want(t, 1)[0]; f.comment != "heartbeat" {
			t.Errorf("got %+v", f)
		}
	}
	s.step()
	if f := l.want(t, 1)[0]; f.event != "progress" {
		t.Errorf("got %+v", f)
	}
	_ = l.body.Close()
}

func TestTooManyListenersAreRejected(t *testing.T) {
	s := serveEvents(t, func(a *api) { a.streams.listeners = newShares("event streams", "too_many_listeners", 2, 2) })
	s.listen(t, "/events", "").want(t, presentEvents)
	s.listen(t, "/events", "").want(t, presentEvents)
	got := get(t, s.Server, "/events")
	if got.status != 429 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "too_many_listeners") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// presentEvents is how many events the present of serveEvents' session has.
const presentEvents = 6

func TestListenerThatReadsNothingIsDropped(t *testing.T) {
	var a *api
	s := serveEvents(t, func(made *api) {
		made.streams.limits.take = 5 * time.Second
		a = made
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	good := s.listen(t, "/events", "")
	good.want(t, presentEvents)
	// The kernel buffers some megabytes for the stalled listener.
	detail := strings.Repeat("x", 100_000)
	for n := 0; a.streams.listeners.count() > 1; n++ {
		s.log.Observe(&session.Snapshot{State: session.Init, Reason: session.Reason{Detail: detail + strconv.Itoa(n)}})
		if f := good.want(t, 1)[0]; f.id != "boot-"+strconv.Itoa(n+presentEvents+1) {
			t.Fatalf("event %d: got %s", n, f.id)
		}
	}
}

func TestFiveHundredListenersGetEverything(t *testing.T) {
	s := serveEvents(t, nil)
	const listeners, steps = 500, 50
	var ready, done sync.WaitGroup
	ready.Add(listeners)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range listeners {
		done.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/events", nil)
			if err != nil {
				t.Error(err)
			}
			resp, err := client.Do(r)
			if err != nil {
				ready.Done()
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			l := newListener(resp.Body)
			for i := range presentEvents + steps {
				if i == presentEvents {
					ready.Done()
				}
				f, ok := l.next()
				if !ok || i >= presentEvents && f.id != "boot-"+strconv.Itoa(i+1) {
					t.Errorf("event %d: got %+v, %v", i, f, ok)
					return
				}
			}
		})
	}
	ready.Wait()
	for range steps {
		s.step()
	}
	done.Wait()
}
