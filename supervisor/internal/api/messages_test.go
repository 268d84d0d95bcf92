package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

const (
	someID   = "3EB0ABCDEF0123456789AB"
	someBody = `{"to":"+5491123456789","type":"text","text":{"body":"a secret text"}}`
)

// fakeOutbox answers what the test sets.
type fakeOutbox struct {
	mu       sync.Mutex
	err      error
	replayed bool
	message  outbox.Message
	changed  chan struct{}
	watched  chan struct{}
	accepted []outbox.Request
}

func newFakeOutbox() *fakeOutbox {
	now := time.Now()
	return &fakeOutbox{
		message: outbox.Message{
			ID: someID, Status: outbox.Queued, To: "5491123456789@c.us", ExpiresAt: now, Times: map[outbox.Status]time.Time{outbox.Queued: now},
		},
		changed: make(chan struct{}), watched: make(chan struct{}, 100),
	}
}

func (f *fakeOutbox) Accept(ctx context.Context, r outbox.Request) (outbox.Message, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.OnlyRepeat && f.err == nil && !f.replayed {
		return outbox.Message{}, false, outbox.ErrNew
	}
	f.accepted = append(f.accepted, r)
	return f.message, f.replayed, errors.Join(f.err, ctx.Err())
}

func (f *fakeOutbox) Changed(rpc.MessageID) (outbox.Message, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched <- struct{}{}
	return f.message, f.changed, f.err
}

func (f *fakeOutbox) Cancel(context.Context, rpc.MessageID) (outbox.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.message, f.err
}

// set changes the message, and wakes who waits.
func (f *fakeOutbox) set(s outbox.Status, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.message.Status, f.err = s, err
	close(f.changed)
	f.changed = make(chan struct{})
}

func messaging(t *testing.T, box *fakeOutbox, change func(*Options)) *httptest.Server {
	t.Helper()
	o := Options{
		Session: newFakeSession(session.Snapshot{State: session.Ready}), Outbox: box, Workers: fakeCommands{}, Login: fakeCommands{},
		Draining: make(chan struct{}),
	}
	if change != nil {
		change(&o)
	}
	s := httptest.NewServer(made(t, o).router())
	t.Cleanup(s.Close)
	return s
}

// submit sends a body to /messages.
func submit(t *testing.T, s *httptest.Server, body string, header ...string) answered {
	t.Helper()
	return ask(t, s, http.MethodPost, "/messages", func(r *http.Request) {
		post(body)(r)
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
	})
}

func TestAcceptedMessageHasItsLocation(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	got := submit(t, s, someBody, "Idempotency-Key", "order-1")
	if got.status != 202 || got.header.Get("Location") != "/messages/"+someID || got.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	var body events.Message
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.ID != someID || body.Status != outbox.Queued || body.To.Phone != "+5491123456789" {
		t.Errorf("got %s %v", got.body, err)
	}
	if strings.Contains(got.body, "secret") {
		t.Error("the answer has the text")
	}
	if r := box.accepted[0]; r.IdempotencyKey != "order-1" || r.Message.Text != "a secret text" {
		t.Errorf("accepted %#v", r)
	}
}

func TestRepeatedRequestIsAnsweredWithItsMessage(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	box.replayed, box.message.Status = true, outbox.Sent
	if got := submit(t, s, someBody, "Idempotency-Key", "order-1"); got.status != 200 || got.header.Get("Idempotency-Replayed") != "true" ||
		got.header.Get("Location") == "" || !strings.Contains(got.body, `"sent"`) {
		t.Errorf("repeated: %d %v", got.status, got.header)
	}
}

func TestErrorsOfTheOutboxAreProblems(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	for _, tt := range []struct {
		err    error
		method string
		status int
		code   string
	}{
		{outbox.ErrConflict, "POST", 422, "idempotency_conflict"}, {outbox.ErrIDTaken, "POST", 422, "idempotency_conflict"},
		{outbox.ErrFull, "POST", 503, "outbox_full"}, {outbox.ErrNoSpace, "POST", 507, "disk_full"},
		{outbox.ErrUnavailable, "POST", 503, "outbox_unavailable"}, {errors.New("boom"), "POST", 503, "outbox_unavailable"},
		{context.DeadlineExceeded, "POST", 503, "outbox_unavailable"},
		{outbox.ErrUnknownMessage, "GET", 404, "no_such_message"}, {outbox.ErrUnavailable, "GET", 503, "outbox_unavailable"},
		{outbox.ErrUnknownMessage, "DELETE", 404, "no_such_message"}, {outbox.ErrNotQueued, "DELETE", 409, "not_queued"},
		{outbox.ErrNoSpace, "DELETE", 507, "disk_full"},
	} {
		box.set(outbox.Queued, fmt.Errorf("wrapped: %w", tt.err))
		var got answered
		if tt.method == "POST" {
			got = submit(t, s, someBody)
		} else {
			got = ask(t, s, tt.method, "/messages/"+someID, nil)
		}
		if got.status != tt.status || !strings.Contains(got.body, `"code":"`+tt.code+`"`) {
			t.Errorf("%s, %v: got %d %s", tt.method, tt.err, got.status, got.body)
		}
	}
	box.set(outbox.Cancelled, nil)
	if got := ask(t, s, "DELETE", "/messages/"+someID, nil); got.status != 200 || !strings.Contains(got.body, "cancelled") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestMessagesNeedALogin(t *testing.T) {
	known := session.Login{LinkedAt: moment(time.Now())}
	ended := session.Login{LinkedAt: moment(time.Now()), LoggedOutAt: moment(time.Now())}
	for _, tt := range []struct {
		state session.State
		login session.Login
		want  int
	}{
		{session.Ready, known, 202}, {session.Disconnected, known, 202}, {session.Authenticated, session.Login{}, 202},
		{session.Init, known, 202}, {session.Error, known, 202}, {session.Init, session.Login{}, 409}, {session.Error, ended, 409},
		{session.QRRequired, session.Login{}, 409}, {session.QRRequired, known, 409},
	} {
		box := newFakeOutbox()
		s := messaging(t, box, func(o *Options) { o.Session = newFakeSession(session.Snapshot{State: tt.state, Login: tt.login}) })
		if got := submit(t, s, someBody); got.status != tt.want || tt.want == 409 && !strings.Contains(got.body, "not_linked") {
			t.Errorf("%s, %+v: got %d %s", tt.state, tt.login, got.status, got.body)
		}
		box.replayed = true
		if got := submit(t, s, someBody); got.status != 200 {
			t.Errorf("%s, %+v: repeated: got %d %s", tt.state, tt.login, got.status, got.body)
		}
	}
}

func TestWaitForAMessageEndsWithItsStatus(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	answers := make(chan answered, 1)
	wait := func() { answers <- get(t, s, "/messages/"+someID+"?wait=30s") }
	go wait()
	<-box.watched
	box.set(outbox.Queued, nil)
	<-box.watched
	select {
	case got := <-answers:
		t.Fatalf("answered %s before the status changed", got.body)
	default:
	}
	box.set(outbox.Sending, nil)
	if got := <-answers; got.status != 200 || !strings.Contains(got.body, `"sending"`) {
		t.Errorf("got %s", got.body)
	}
	<-box.watched
	go wait()
	<-box.watched
	box.set(outbox.Sent, outbox.ErrUnknownMessage)
	if got := <-answers; got.status != 404 {
		t.Errorf("erased meanwhile: got %d %s", got.status, got.body)
	}
	box.set(outbox.Sent, nil)
	if got := get(t, s, "/messages/"+someID+"?wait=30s&not=queued&not=sending"); !strings.Contains(got.body, `"sent"`) {
		t.Errorf("sent before it was asked: got %s", got.body)
	}
	if got := get(t, s, "/messages/"+someID+"?wait=1s&not=READY"); got.status != 400 {
		t.Errorf("a status that there is not: got %d", got.status)
	}
	for _, end := range []outbox.Status{outbox.Played, outbox.Failed, outbox.Cancelled, outbox.Expired} {
		box.set(end, nil)
		if got := get(t, s, "/messages/"+someID+"?wait=30s"); got.status != 200 || !strings.Contains(got.body, string(end)) {
			t.Errorf("%s: got %d %s", end, got.status, got.body)
		}
	}
	if got := get(t, s, "/messages/"+someID+"?wait=61s"); got.status != 400 || !strings.Contains(got.body, "bad_wait") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestManyWaitsForMessagesAreRefused(t *testing.T) {
	box := newFakeOutbox()
	box.watched = make(chan struct{}, 1000)
	a := made(t, Options{Session: newFakeSession(session.Snapshot{State: session.Ready}), Outbox: box})
	a.waits.total, a.waits.each = 2, 1
	s := httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	first := make(chan answered, 1)
	go func() { first <- get(t, s, "/messages/"+someID+"?wait=30s") }()
	for a.waits.count() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 100 {
		if got := get(t, s, "/messages/"+someID+"?wait=30s"); got.status != 429 || !strings.Contains(got.body, "too_many_waits") {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	if got := get(t, s, "/messages/"+someID); got.status != 200 {
		t.Errorf("without wait: got %d", got.status)
	}
	box.set(outbox.Sent, nil)
	<-first
}

func TestNothingIsAcceptedWhileSendingIsOff(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, func(o *Options) { o.SendingOff = true })
	for path, body := range map[string]string{"": someBody, "/" + someID + "/reaction": `{"emoji":"👍"}`, "/" + someID + "/edit": `{"text":"x"}`, "/" + someID + "/revoke": ""} {
		if got := ask(t, s, http.MethodPost, "/messages"+path, post(body)); got.status != 409 || !strings.Contains(got.body, "sending_off") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
	if len(box.accepted) > 0 {
		t.Errorf("accepted %d", len(box.accepted))
	}
}

func TestInvalidRequestsReachNoOutbox(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	for name, tt := range map[string]struct {
		body   string
		header []string
		status int
		code   string
	}{
		"nothing":             {"", nil, 400, "invalid_recipient"},
		"a status":            {`{"to":"status@broadcast","type":"text","text":{"body":"x"}}`, nil, 400, "invalid_recipient"},
		"an image":            {`{"to":"+5491123456789","type":"image"}`, nil, 400, "invalid_field"},
		"a sticker":           {`{"to":"+5491123456789","type":"sticker"}`, nil, 422, "unsupported_type"},
		"an unknown field":    {`{"to":"+5491123456789","type":"text","text":{"body":"x"},"sender":"y"}`, nil, 400, "bad_body"},
		"an empty key":        {someBody, []string{"Idempotency-Key", ""}, 400, "bad_idempotency_key"},
		"two keys":            {someBody, []string{"Idempotency-Key", "a", "Idempotency-Key", "a"}, 400, "bad_idempotency_key"},
		"a long key":          {someBody, []string{"Idempotency-Key", strings.Repeat("a", 256)}, 400, "bad_idempotency_key"},
		"too large":           {`{"to":"` + strings.Repeat("x", maxMessageBody) + `"}`, nil, 413, "body_too_large"},
		"a text too long":     {`{"to":"+5491123456789","type":"text","text":{"body":"` + strings.Repeat("x", rpc.MaxMessageText+1) + `"}}`, nil, 413, "text_too_long"},
		"another site's":      {someBody, []string{"Origin", "https://evil.example"}, 403, "origin_refused"},
		"another site's form": {someBody, []string{"Sec-Fetch-Site", "cross-site"}, 403, "origin_refused"},
	} {
		got := submit(t, s, tt.body, tt.header...)
		if got.status != tt.status || !strings.Contains(got.body, `"code":"`+tt.code+`"`) {
			t.Errorf("%s: got %d %.300s", name, got.status, got.body)
		}
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
		got := ask(t, s, http.MethodPost, "/messages", func(r *http.Request) {
			post(someBody)(r)
			r.Header.Set("Content-Type", contentType)
		})
		if got.status != 415 {
			t.Errorf("%q: got %d", contentType, got.status)
		}
	}
	if len(box.accepted) > 0 {
		t.Errorf("accepted %d", len(box.accepted))
	}
}

func TestMessagesNeedTheirScope(t *testing.T) {
	contact := func(rpc.Secret) (rpc.Contact, error) { return rpc.Contact{OnWhatsApp: true}, nil }
	s := messaging(t, newFakeOutbox(), func(o *Options) {
		o.Keys, o.Workers = someKeys(t), fakeCommands{contact: contact}
	})
	for key, want := range map[string]int{"": 401, "wrong-wrong-wrong-wrong": 401, readKey: 403, commandKey: 403, sendKey: 200, bothKey: 200} {
		with := func(r *http.Request) {
			if key != "" {
				r.Header.Set("X-API-Key", key)
			}
		}
		for _, path := range []string{"/messages/" + someID, "/contacts/+5491123456789"} {
			if got := ask(t, s, http.MethodGet, path, with); got.status != want {
				t.Errorf("%q, %s: got %d", key, path, got.status)
			}
		}
		got := submit(t, s, someBody, "X-API-Key", key)
		if want == 200 && got.status != 202 || want != 200 && got.status != want {
			t.Errorf("%q: got %d", key, got.status)
		}
	}
	if got := ask(t, s, http.MethodPost, "/session/restart", func(r *http.Request) { r.Header.Set("X-API-Key", sendKey) }); got.status != 403 {
		t.Errorf("a sender's restart: got %d", got.status)
	}
}

func TestRefusedKeyLogsNoNumber(t *testing.T) {
	var log strings.Builder
	g := newGate(Options{Keys: someKeys(t), Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	a := made(t, Options{Session: newFakeSession(session.Snapshot{})})
	a.gate = g
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/contacts/+5491123456789", nil)
	r.Host = "localhost"
	r.Header.Set("X-API-Key", "wrong-wrong-wrong-wrong")
	a.router().ServeHTTP(w, r)
	if w.Code != 401 || !strings.Contains(log.String(), "/contacts/{phone}") || strings.Contains(log.String(), "5491123456789") {
		t.Errorf("%d %s", w.Code, log.String())
	}
}

func TestContactsAreRememberedAndLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		answer := rpc.Contact{OnWhatsApp: true, Phone: "5491112345678@c.us", LID: "123456789012345@lid", Business: true}
		var fails error
		h := made(t, Options{
			Session: newFakeSession(session.Snapshot{State: session.Ready}),
			Workers: fakeCommands{contact: func(rpc.Secret) (rpc.Contact, error) { asked++; return answer, fails }},
		}).router()
		look := func(phone string, status int, part string) {
			t.Helper()
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/contacts/"+phone, nil)
			r.Host = "localhost"
			h.ServeHTTP(w, r)
			conforms(t, r, w.Code, w.Header(), w.Body.String())
			if w.Code != status || !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s: got %d %s", phone, w.Code, w.Body)
			}
		}
		wantAsked := func(n int) {
			t.Helper()
			if asked != n {
				t.Errorf("WhatsApp was asked %d times, not %d", asked, n)
			}
		}
		look("+5491123456789", 200, `"phone": "+5491112345678"`)
		look("%2B54%209%2011%202345-6789", 200, `"lid": "123456789012345@lid"`)
		wantAsked(1)
		time.Sleep(rememberYes)
		answer = rpc.Contact{}
		look("+5491123456789", 200, `"on_whatsapp": false`)
		look("+5491123456789", 200, `"phone": "+5491123456789"`)
		wantAsked(2)
		time.Sleep(rememberNo)
		for _, failed := range []struct {
			err    error
			status int
			code   string
		}{
			{&rpc.SendError{Code: rpc.SendLookupFailed}, 502, "lookup_failed"}, {&rpc.SendError{Code: rpc.SendPagePathGone}, 501, "page_path_gone"},
			{&rpc.SendError{Code: rpc.SendNotReady}, 503, "no_page"}, {rpc.ErrWorkerGone, 503, "no_page"}, {context.DeadlineExceeded, 504, "command_timeout"},
		} {
			fails = failed.err
			look("+5491123456789", failed.status, failed.code)
		}
		wantAsked(7)
		fails = nil
		look("5491123456789", 422, "phone_invalid")
		look("status@broadcast", 422, "phone_invalid")
		for range lookupBurst - 5 {
			look(fmt.Sprintf("+54911%07d", asked), 200, "false")
		}
		look("+34600000000", 429, "too_many_lookups")
		look("+549110000007", 200, "false") // remembered
		time.Sleep(lookupEvery)
		look("+34600000000", 200, "false")
	})
}

func TestContactsNeedALogin(t *testing.T) {
	s := messaging(t, newFakeOutbox(), func(o *Options) { o.Session = newFakeSession(session.Snapshot{State: session.QRRequired}) })
	if got := get(t, s, "/contacts/+5491123456789"); got.status != 409 || !strings.Contains(got.body, "not_linked") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// TestSlowLargeBodiesDelayNoOthers fills the places of large bodies with clients that send
// nothing more.
func TestSlowLargeBodiesDelayNoOthers(t *testing.T) {
	a := made(t, Options{Session: newFakeSession(session.Snapshot{State: session.Ready}), Outbox: newFakeOutbox()})
	s := httptest.NewServer(a.router())
	t.Cleanup(s.Close)
	for range mostBodiesEach {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		const head = "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
		if _, err := io.WriteString(conn, head+strings.Repeat(" ", 2*maxBody)); err != nil {
			t.Fatal(err)
		}
	}
	for a.bodies.count() < mostBodiesEach {
		time.Sleep(time.Millisecond)
	}
	if got := submit(t, s, someBody+strings.Repeat(" ", 2*maxBody)); got.status != 429 || !strings.Contains(got.body, "too_many_bodies") {
		t.Errorf("one too many: got %d %s", got.status, got.body)
	}
	if got := submit(t, s, someBody); got.status != 202 {
		t.Errorf("a small body: got %d", got.status)
	}
}

// endless is a body that counts what is taken of it.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.n.Add(int64(len(p)))
	return len(p), nil
}

func TestHugeBodyIsRefusedEarly(t *testing.T) {
	s := messaging(t, newFakeOutbox(), nil)
	read := &endless{}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/messages", read)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1 << 30
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.Client().Do(r)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != 413 {
			t.Errorf("got %d", resp.StatusCode)
		}
	}
	if n := read.n.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}
