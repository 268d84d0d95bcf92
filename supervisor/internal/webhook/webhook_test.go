package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// delivery is one request that the receiver got.
type delivery struct {
	header http.Header
	body   []byte
	status session.State
	reason reason.Code
	// warnings are their codes, joined; "none" in a message about their end.
	warnings string
}

// rig is a sender and its receiver.
type rig struct {
	log       *events.Log
	got       chan delivery
	out       *safeBuffer
	mu        sync.Mutex
	results   []string
	now       *session.Snapshot
	answering func(n int, w http.ResponseWriter)
}

// safeBuffer is for the log of another goroutine.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const opensslSignature = "8lo5cwSTwM2MKwtH/YwiH/A2ZEIY6jm0skHSEY3zWks="

const secretPath = "/hook/secretsecret"

func start(t *testing.T, answering func(n int, w http.ResponseWriter), change func(*Options)) *rig {
	t.Helper()
	r := &rig{got: make(chan delivery, 1000), out: &safeBuffer{}, now: &session.Snapshot{State: session.Init}, answering: answering}
	r.log = events.NewLog("boot", r.now)
	var count atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		var m struct {
			Type string
			Data struct {
				events.State
				events.Warnings
			}
		}
		if err := json.Unmarshal(body, &m); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		warnings := ""
		if m.Type == "session.warnings" {
			warnings = "none"
		} else if m.Type != "session.state" {
			t.Errorf("%s", body)
		}
		for i, w := range m.Data.Warnings.Warnings {
			if i == 0 {
				warnings = ""
			}
			warnings += " " + string(w.Code)
		}
		n := int(count.Add(1))
		if r.answering != nil {
			r.answering(n, w)
		}
		r.got <- delivery{req.Header, body, m.Data.Status, m.Data.Reason.Code, warnings}
	}))
	o := Options{
		URL: receiver.URL + secretPath, Key: []byte("key-key-key-key-key"), Events: r.log, Version: "v1",
		Timings: Timings{Attempt: 5 * time.Second, First: time.Millisecond, Max: 4 * time.Millisecond, GiveUp: time.Hour},
		Count: func(result string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.results = append(r.results, result)
		},
		Logger: logging.New(r.out, "supervisor", slog.LevelDebug),
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	s := New(o)
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		receiver.Close()
		if strings.Contains(r.out.String(), "secret") {
			t.Errorf("the log has a secret: %s", r.out.String())
		}
	})
	return r
}

func (r *rig) becomes(s session.State, c reason.Code, detail string) {
	r.now = &session.Snapshot{State: s, Reason: session.NewReason(c, detail, time.Now())}
	r.log.Observe(r.now)
}

func (r *rig) next(t *testing.T) delivery {
	t.Helper()
	select {
	case d := <-r.got:
		return d
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing was delivered: %s", r.out.String())
		return delivery{}
	}
}

func TestRelevantStatesAndReasonsAreDeliveredInOrder(t *testing.T) {
	r := start(t, nil, nil)
	r.becomes(session.Init, reason.PageLoading, "")
	r.becomes(session.QRRequired, reason.ScanQR, "no code yet")
	r.becomes(session.QRRequired, reason.ScanQR, "")
	r.becomes(session.QRRequired, reason.QRUnreadable, "")
	r.becomes(session.Authenticated, reason.Syncing, "")
	r.becomes(session.Ready, "", "")
	r.becomes(session.Disconnected, reason.Reconnecting, "")
	r.becomes(session.Disconnected, reason.NetworkUnreachable, "")
	r.becomes(session.Ready, "", "")
	var got []string
	for range 7 {
		d := r.next(t)
		got = append(got, string(d.status)+" "+string(d.reason))
	}
	want := []string{
		"QR_REQUIRED scan_qr", "QR_REQUIRED qr_unreadable", "AUTHENTICATED syncing", "READY ",
		"DISCONNECTED reconnecting", "DISCONNECTED network_unreachable", "READY ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWarningsAndTheirEndAreDelivered(t *testing.T) {
	r := start(t, nil, nil)
	for _, codes := range [][]reason.Code{{reason.DiskFull}, {reason.DiskFull, reason.KeysUnusable}, {}} {
		next := session.Snapshot{State: session.Init}
		for _, c := range codes {
			next.Warnings = append(next.Warnings, session.NewReason(c, "", time.Time{}))
		}
		r.log.Observe(&next)
	}
	for _, want := range []string{" disk_full", " disk_full keys_unusable", "none"} {
		if d := r.next(t); d.warnings != want {
			t.Errorf("got%s, want%s", d.warnings, want)
		}
	}
}

func TestDeliveryIsSigned(t *testing.T) {
	r := start(t, nil, nil)
	r.becomes(session.Ready, "", "")
	d := r.next(t)
	// The value was made with openssl dgst -sha256 -hmac for a fixed message.
	if got := Signature([]byte("key-key-key-key-key"), "id", "1", []byte("body")); got != "v1,"+opensslSignature {
		t.Errorf("got %s", got)
	}
	want := Signature([]byte("key-key-key-key-key"), d.header.Get("webhook-id"), d.header.Get("webhook-timestamp"), d.body)
	if d.header.Get("webhook-signature") != want || d.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", d.header)
	}
}

func TestWithoutAKeyNothingIsSigned(t *testing.T) {
	r := start(t, nil, func(o *Options) { o.Key = nil })
	r.becomes(session.Ready, "", "")
	if d := r.next(t); d.header.Get("webhook-signature") != "" || d.header.Get("webhook-id") == "" {
		t.Errorf("headers %v", d.header)
	}
}

func TestFailedDeliveryIsRepeatedWithTheSameID(t *testing.T) {
	answers := []int{500, 404, 429, 301, 200}
	r := start(t, func(n int, w http.ResponseWriter) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answers[min(n, len(answers))-1])
	}, nil)
	r.becomes(session.QRRequired, reason.ScanQR, "")
	r.becomes(session.Ready, "", "")
	first := r.next(t)
	for range answers[1:] {
		d := r.next(t)
		if d.header.Get("webhook-id") != first.header.Get("webhook-id") || !bytes.Equal(d.body, first.body) {
			t.Errorf("another message: %s", d.body)
		}
	}
	if d := r.next(t); d.status != session.Ready || d.header.Get("webhook-id") == first.header.Get("webhook-id") {
		t.Errorf("got %s", d.body)
	}
}

func TestBrokenConnectionIsTriedAgain(t *testing.T) {
	r := start(t, func(n int, w http.ResponseWriter) {
		if n > 1 {
			return
		}
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}, nil)
	r.becomes(session.Ready, "", "")
	if first, second := r.next(t), r.next(t); first.header.Get("webhook-id") != second.header.Get("webhook-id") {
		t.Error("another message")
	}
}

func TestHangingReceiverIsTriedAgain(t *testing.T) {
	release := make(chan struct{})
	r := start(t, func(n int, _ http.ResponseWriter) {
		if n == 1 {
			<-release
		}
	}, func(o *Options) { o.Timings.Attempt = 50 * time.Millisecond })
	r.becomes(session.Ready, "", "")
	if d := r.next(t); d.status != session.Ready {
		t.Errorf("got %s", d.body)
	}
	close(release)
	r.next(t)
}

func TestOldEventsAreDropped(t *testing.T) {
	r := start(t, func(n int, w http.ResponseWriter) {
		if n <= 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}, func(o *Options) {
		o.Timings = Timings{Attempt: time.Second, First: time.Second, Max: time.Second, GiveUp: time.Millisecond}
	})
	r.becomes(session.QRRequired, reason.ScanQR, "")
	r.becomes(session.Authenticated, reason.Syncing, "")
	r.becomes(session.Disconnected, reason.Reconnecting, "")
	r.becomes(session.Ready, "", "")
	for _, want := range []session.State{session.QRRequired, session.Authenticated, session.Disconnected, session.Ready} {
		if d := r.next(t); d.status != want {
			t.Errorf("got %s, want %s", d.status, want)
		}
	}
}

func TestReceiverThatMissedTooMuchGetsThePresent(t *testing.T) {
	called, away := make(chan struct{}), make(chan struct{})
	r := start(t, func(n int, _ http.ResponseWriter) {
		if n == 1 {
			close(called)
			<-away
		}
	}, nil)
	r.becomes(session.QRRequired, reason.ScanQR, "")
	// Once the receiver's handler waits, nothing more is delivered. Before, the
	// sender might still miss the first event: with GOMAXPROCS=1 it would not run
	// until the loop below has ended.
	<-called
	for range events.Capacity {
		r.becomes(session.Init, reason.Starting, "")
		r.becomes(session.Ready, "", "")
	}
	close(away)
	if d := r.next(t); d.status != session.QRRequired {
		t.Errorf("got %s", d.status)
	}
	for {
		d := r.next(t)
		if d.header.Get("webhook-id") == r.last() {
			break
		}
	}
}

// last is the id of the newest event.
func (r *rig) last() string {
	present := r.log.Present().Events
	return present[len(present)-1].ID
}

func TestRetryAfterIsRespectedUpToALimit(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999999999": 0, "3600": maxRetryAfter,
		"Tue, 24 Nov 2026 08:00:00 GMT": 0,
	} {
		if got := retryAfter(text); text != "999999999999" && got != want || got > maxRetryAfter {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

func TestKeysInBothForms(t *testing.T) {
	for content, want := range map[string]string{
		"plain-plain-plain\n":            "plain-plain-plain",
		"whsec_MDEyMzQ1Njc4OWFiY2RlZg==": "0123456789abcdef",
		"whsec_???":                      "",
		"short":                          "",
		"":                               "",
	} {
		got, err := ParseKey([]byte(content))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
		if err != nil && content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("the error has the key: %v", err)
		}
	}
}

// echo accepts connections and answers each with what it was sent.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := conn.Read(b)
			_, _ = conn.Write(b[:n])
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestErrorsDoNotRepeatTheURL(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	plain := httptest.NewServer(nil)
	defer plain.Close()
	const secret = "/services/T00SECRET/B00SECRET/XXSECRETXX?token=QUERYSECRET"
	for name, address := range map[string]string{
		"an echo":         "http://user:PASSSECRET@" + echo(t) + secret,
		"nobody":          "http://user:PASSSECRET@" + closed.Listener.Addr().String() + secret,
		"no TLS":          "https://user:PASSSECRET@" + plain.Listener.Addr().String() + secret,
		"no such host":    "http://user:PASSSECRET@nowhere.invalid" + secret,
		"not a URL":       "http://user:PASSSECRET@host:port" + secret,
		"not a path":      "http://user:PASSSECRET@host/%zz" + secret,
		"control letters": "http://user:PASSSECRET@host" + secret + "\x7f",
		"another scheme":  "gopher://user:PASSSECRET@host" + secret,
	} {
		s := New(Options{URL: address, Timings: DefaultTimings(), Events: events.NewLog("boot", &session.Snapshot{})})
		_, err := s.attempt(t.Context(), "id", []byte("{}"))
		s.client.CloseIdleConnections()
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
