package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// delivery is one request that the receiver got.
type delivery struct {
	header http.Header
	body   []byte
	kind   string
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
	sender    *Sender
	stop      func()
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
			Type, Host, Instance string
			Data                 struct {
				events.State
				events.Warnings
			}
		}
		if err := json.Unmarshal(body, &m); err != nil || m.Host != "host" || m.Instance != "127.0.0.1:3001" {
			t.Errorf("%s: %v", body, err)
		}
		warnings := ""
		if m.Type == "session.warnings" {
			warnings = "none"
		}
		for i, w := range m.Data.Warnings.Warnings {
			if i == 0 {
				warnings = ""
			}
			warnings += " " + string(w.Code)
		}
		n := int(count.Add(1))
		w.Header().Set("webhook-id", req.Header.Get("webhook-id")) // for answering
		if r.answering != nil {
			r.answering(n, w)
		}
		r.got <- delivery{req.Header, body, m.Type, m.Data.Status, m.Data.Reason.Code, warnings}
	}))
	o := Options{
		URL: receiver.URL + secretPath, Key: []byte("key-key-key-key-key"), Events: r.log, Version: "v1",
		Path: filepath.Join(t.TempDir(), "admin.webhook"), Host: "host", Instance: "127.0.0.1:3001",
		Timings: Timings{Attempt: 5 * time.Second, First: time.Millisecond, Max: 4 * time.Millisecond}, Limits: DefaultLimits(),
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
	r.sender = New(o)
	r.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		r.sender.Run(ctx)
	}()
	t.Cleanup(func() {
		r.stop()
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

func TestAnswerWithoutEndDelaysNothing(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		arrived <- struct{}{}
		<-release
	}))
	defer receiver.Close()
	defer close(release)
	r := start(t, nil, func(o *Options) { o.URL, o.Timings.Attempt = receiver.URL, time.Hour })
	r.keep(t, "chat", "1", "2")
	for n := range 2 {
		select {
		case <-arrived:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d were delivered", n)
		}
	}
	r.stop()
}

// report is an event about a message.
func report(id, chat string) events.Report {
	return events.Report{ID: id, Type: events.MessageChanged, At: time.Now(), Chat: chat, Account: "1@c.us", Data: json.RawMessage(`{"text":"secret"}`)}
}

// keep reports what happened to a message.
func (r *rig) keep(t *testing.T, chat string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := r.sender.Keep(t.Context(), rpc.Account{}, []events.Report{report(id, chat)}); err != nil {
			t.Fatal(err)
		}
	}
}

// ids returns those of the next events.
func (r *rig) ids(t *testing.T, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, r.next(t).header.Get("webhook-id"))
	}
	return ids
}

func TestReceiverThatWasAwayMissesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.webhook")
	at := func(o *Options) { o.Path = path }
	away := start(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, at)
	away.becomes(session.QRRequired, reason.ScanQR, "")
	first := away.next(t)
	away.keep(t, "a", "a1", "a2")
	away.keep(t, "b", "b1")
	away.becomes(session.Ready, "", "")
	last := away.last()
	away.stop()

	r := start(t, nil, at)
	d := r.next(t)
	if d.header.Get("webhook-id") != first.header.Get("webhook-id") || !bytes.Equal(d.body, first.body) {
		t.Errorf("first came %s", d.body)
	}
	var got []string
	for len(got) == 0 || got[len(got)-1] != last {
		got = append(got, r.ids(t, 1)...)
	}
	for _, id := range []string{"a1", "a2", "b1"} {
		if !slices.Contains(got, id) {
			t.Errorf("%s is missing in %q", id, got)
		}
	}
	if slices.Index(got, "a2") < slices.Index(got, "a1") {
		t.Errorf("reordered: %q", got)
	}
	// The process has begun again, which is news after READY.
	if d := r.next(t); d.status != session.Init || !strings.Contains(string(d.body), `"previous_status":"READY"`) {
		t.Errorf("the new process is %s", d.body)
	}
}

func TestRefusedEventDelaysOnlyItsChat(t *testing.T) {
	var refused atomic.Bool
	refused.Store(true)
	r := start(t, func(_ int, w http.ResponseWriter) {
		if refused.Load() && w.Header().Get("webhook-id") == "a1" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}, func(o *Options) { o.Timings.First, o.Timings.Max = 50*time.Millisecond, 50*time.Millisecond })
	r.keep(t, "a", "a1", "a2")
	r.keep(t, "b", "b1", "b2")
	r.becomes(session.Ready, "", "")
	var got []string
	for !slices.Contains(got, "b2") || !slices.Contains(got, r.last()) {
		got = append(got, r.ids(t, 1)...)
	}
	if slices.Contains(got, "a2") || slices.Index(got, "b1") > slices.Index(got, "b2") {
		t.Errorf("got %q", got)
	}
	refused.Store(false)
	for got = nil; !slices.Contains(got, "a2"); {
		got = append(got, r.ids(t, 1)...)
	}
	if slices.Contains(got, "b1") || slices.Contains(got, "b2") {
		t.Errorf("delivered again: %q", got)
	}
}

func TestDroppedEventsAreReportedAndThePresentFollows(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	r := start(t, func(_ int, w http.ResponseWriter) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}, func(o *Options) { o.Limits.Events = 5 })
	r.becomes(session.QRRequired, reason.ScanQR, "")
	r.becomes(session.Ready, "", "")
	r.ids(t, 1)
	for i := range 20 {
		r.keep(t, "a", fmt.Sprint("a", i))
	}
	away.Store(false)
	var got []string
	for !slices.Contains(got, "a19") {
		d := r.next(t)
		if d.kind == Dropped && d.header.Get("webhook-signature") == "" {
			t.Errorf("not signed: %s", d.body)
		}
		if d.kind == Dropped || d.kind == State {
			got = append(got, d.kind+string(d.status))
		} else {
			got = append(got, d.header.Get("webhook-id"))
		}
	}
	if i, j := slices.Index(got, Dropped), slices.Index(got, State+"READY"); i < 0 || j < 0 || slices.Contains(got[i:], "a1") {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(r.out.String(), `"webhook_event_dropped"`) {
		t.Errorf("the log has %s", r.out.String())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.results, dropped) {
		t.Errorf("counted %q", r.results)
	}
}

// On a disk that can't be written the session's events come from memory, and those of messages
// are left to their source.
func TestSessionIsReportedWithoutADisk(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, func(o *Options) { o.Path = filepath.Join(folder, "admin.webhook") })
	r.becomes(session.QRRequired, reason.ScanQR, "")
	r.becomes(session.Ready, "", "")
	for _, want := range []session.State{session.QRRequired, session.Ready} {
		if d := r.next(t); d.status != want {
			t.Errorf("got %s", d.body)
		}
	}
	if err := r.sender.Keep(t.Context(), rpc.Account{}, []events.Report{report("a1", "a")}); err == nil {
		t.Error("it was kept")
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	r.keep(t, "a", "a1")
	r.becomes(session.Disconnected, reason.Reconnecting, "")
	var got []string
	for !slices.Contains(got, "a1") || !slices.Contains(got, r.last()) {
		got = append(got, r.ids(t, 1)...)
	}
}

// fill reports until the disk is full, and returns the ids of what was kept.
func (r *rig) fill(t *testing.T) (kept []string) {
	t.Helper()
	var full error
	for i := 0; full == nil && i < 10_000; i++ {
		id := fmt.Sprint("a", i)
		if full = r.sender.Keep(t.Context(), rpc.Account{}, []events.Report{report(id, "a")}); full == nil {
			kept = append(kept, id)
		}
	}
	if !database.Full(full) || len(kept) < 10 {
		t.Fatalf("%d kept, then %v", len(kept), full)
	}
	return kept
}

func TestFullDiskLosesAndRepeatsNothing(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NODEV, "size=400k,mode=0700"); err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	var away atomic.Bool
	away.Store(true)
	r := start(t, func(_ int, w http.ResponseWriter) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}, func(o *Options) { o.Path = filepath.Join(folder, "admin.webhook") })
	kept := r.fill(t)
	r.becomes(session.Error, reason.DiskFull, "")
	away.Store(false)
	seen := map[string]int{}
	for seen[kept[len(kept)-1]] == 0 || seen[r.last()] == 0 {
		seen[r.ids(t, 1)[0]]++
	}
	for _, id := range kept {
		if seen[id] == 0 {
			t.Errorf("%s is missing", id)
		}
	}
	if err := unix.Mount("", folder, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	r.keep(t, "a", "z")
	for id := ""; id != "z"; {
		id = r.ids(t, 1)[0]
		if slices.Contains(kept, id) {
			t.Errorf("%s came after it was delivered", id)
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
	return answering(t, func(request []byte) []byte { return request })
}

// answering accepts connections and writes an answer to each.
func answering(t *testing.T, answer func(request []byte) []byte) string {
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
			_, _ = conn.Write(answer(b[:n]))
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
		s := New(Options{URL: address, Timings: DefaultTimings(), Logger: slog.New(slog.DiscardHandler), Events: events.NewLog("boot", &session.Snapshot{})})
		_, err := s.attempt(t.Context(), "id", []byte("{}"))
		s.client.CloseIdleConnections()
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A receiver whose answer is not HTTP may repeat what it was sent.
func TestErrorsDoNotRepeatTheMessage(t *testing.T) {
	for _, before := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: ", "HTTP/1.1 "} {
		s := New(Options{
			URL: "http://" + answering(t, func(request []byte) []byte {
				_, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
				return slices.Concat([]byte(before), body, []byte("\r\n\r\n"))
			}), Timings: DefaultTimings(), Logger: slog.New(slog.DiscardHandler), Events: events.NewLog("boot", &session.Snapshot{}),
		})
		_, err := s.attempt(t.Context(), "id", []byte("the secret text"))
		s.client.CloseIdleConnections()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", before, err)
		}
	}
}
