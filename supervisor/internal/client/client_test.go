package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/qr"
)

const testKey = "a-key-of-a-good-length"

// ask starts a server, and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := New(Options{Address: s.URL, Keys: []byte("read:another-key-of-some-length\n" + testKey + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func problem(code string) string {
	return fmt.Sprintf(`{"type":"about:blank","code":%q,"detail":"It is %s.","hint":"Look."}`, code, code)
}

func TestBadAnswersHaveTheirKind(t *testing.T) {
	for status, want := range map[int]error{
		400: ErrRefused, 401: ErrKey, 403: ErrKey, 404: ErrRefused, 409: ErrFailed, 422: ErrRefused, 429: ErrLater, 500: ErrFailed,
		502: ErrLater, 503: ErrLater, 504: ErrLater, 507: ErrLater, 302: ErrRefused,
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+testKey {
				t.Errorf("the key %q", r.Header.Get("Authorization"))
			}
			w.Header().Set("Location", "/elsewhere")
			write(w, status, problem("some_code"))
		})
		err := c.Restart(t.Context(), Output{Writer: io.Discard}, false)
		hint := "Look."
		if status == http.StatusUnauthorized {
			hint = "Name a file that has the service's key with --key-file." // not a header
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "It is some_code. "+hint) {
			t.Errorf("%d: got %v", status, err)
		}
		for _, other := range []error{ErrRefused, ErrKey, ErrFailed, ErrLater, ErrUnreachable} {
			if !errors.Is(want, other) && errors.Is(err, other) {
				t.Errorf("%d is %v, too", status, other)
			}
		}
	}
}

// escape is what a hostile service puts into all of its texts.
const escape = "\x1b]0;x\x07\x1b[2J\u009b2J\u202e\x00\r\nnext\U000e0001"

// hostile checks that what a command writes can't control a terminal.
func hostile(t *testing.T, what, text string) {
	t.Helper()
	for i, r := range text {
		if !unicode.IsGraphic(r) && r != '\n' {
			t.Errorf("%s: %q can control a terminal", what, text[max(i-20, 0):min(i+20, len(text))])
			return
		}
	}
}

func TestValuesCanNotControlTheTerminal(t *testing.T) {
	encoded, err := json.Marshal(escape)
	if err != nil {
		t.Fatal(err)
	}
	// Go escapes less than it may; the others are put in raw.
	bad := strings.Trim(strings.ReplaceAll(string(encoded), `\u202e`, "\u202e"), `"`)
	state := `{"status":"READY` + bad + `","reason":{"code":"` + bad + `","message":"` + bad + `","action":"` + bad + `","detail":"` + bad + `"}}`
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/session":
			write(w, 200, strings.TrimSuffix(state, "}")+`,"warnings":[{"message":"`+bad+`"}],"version":"`+bad+`","page":{"version":"`+bad+`"}}`)
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: "+"1\x1b[2J"+"\nevent: state\ndata: "+state+"\n\nevent: \x1b[2J\ndata: {\"x\":\""+bad+"\"}\n\nevent: last\ndata: no JSON\n\n")
		case "/messages":
			write(w, 202, `{"id":"`+bad+`","status":"failed`+bad+`","error":{"code":"`+bad+`"}}`)
		case "/session/logout":
			write(w, 200, `{"quarantined":"`+bad+`","detail":"`+bad+`"}`)
		default:
			write(w, 409, `{"code":"`+bad+`","detail":"`+bad+`"}`)
		}
	})
	for name, command := range map[string]func(Output) error{
		"status":  func(o Output) error { return c.Status(t.Context(), o, false) },
		"events":  func(o Output) error { return c.Events(t.Context(), o, "") },
		"send":    func(o Output) error { return c.Send(t.Context(), o, Message{To: "+1", Text: "x"}) },
		"logout":  func(o Output) error { return c.LogOut(t.Context(), o, false) },
		"restart": func(o Output) error { return c.Restart(t.Context(), o, false) },
		"pair":    func(o Output) error { return c.Pair(t.Context(), NewView(o, ""), "+1") },
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			err := command(Output{Writer: &out, JSON: asJSON})
			hostile(t, name, out.String())
			if err != nil {
				hostile(t, name+"'s error", err.Error())
			}
			if asJSON && (name == "status" || name == "send") && !json.Valid(out.Bytes()) {
				t.Errorf("%s: not JSON: %q", name, out.String())
			}
		}
	}
}

func TestHostileAnswersAreBounded(t *testing.T) {
	large := strings.Repeat("x", maxAnswer)
	for name, answer := range map[string]func(w http.ResponseWriter){
		"a large body":        func(w http.ResponseWriter) { write(w, 200, `{"x":"`+large+`"}`) },
		"another program's":   func(w http.ResponseWriter) { write(w, 200, "<html>") },
		"another one's error": func(w http.ResponseWriter) { write(w, 404, "<html>"+large) },
		"large headers": func(w http.ResponseWriter) {
			w.Header().Set("X", large[:200<<10])
			write(w, 200, `{}`)
		},
		"a large event": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: state\ndata: "+large+"\n\n")
		},
		"a false QR": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: qr\ndata: {\"available\":true}\n\n")
		},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
		var out bytes.Buffer
		for command, err := range map[string]error{
			"status": c.Status(t.Context(), Output{Writer: &out}, false),
			"qr":     c.ShowQR(t.Context(), NewView(Output{Writer: &out}, "")),
		} {
			if !errors.Is(err, ErrUnreachable) || len(err.Error()) > 4*longest || out.Len() > 0 {
				t.Errorf("%s, %s: %v, %d bytes", name, command, err, out.Len())
			}
		}
	}
}

func TestOnlyBlocksAreDrawn(t *testing.T) {
	code, err := qr.Draw(rpc.QRPayload("2@some-payload"))
	if err != nil {
		t.Fatal(err)
	}
	if drawn, err := redraw(code.Text); err != nil || drawn != code.Text {
		t.Errorf("%v: %q", err, drawn)
	}
	for _, bad := range []string{
		"", "x", "█\x1b[2J█", "\x1b[2J█", "\x1b]0;x\x07█", "█\r█", "█\x1b[0m\x1b[0m", strings.Repeat("█", 401), strings.Repeat("█\n", 300), "█\n\n█", "\x1b[38;5;16m",
	} {
		if drawn, err := redraw(bad); err == nil {
			t.Errorf("%q is drawn as %q", bad, drawn)
		}
	}
}

func TestViewFitsTheTerminal(t *testing.T) {
	code := strings.Repeat(strings.Repeat("█", 20)+"\n", 10)
	text := "QR_REQUIRED: a state in words that are more than fit\n" + strings.Repeat("x", 100) + "\n日本語日本語日本語日本語日本語\n"
	for _, size := range [][2]int{{0, 0}, {80, 24}, {20, 30}, {19, 30}, {21, 12}, {1, 1}, {5, 2}, {200, 100}, {-1, -1}, {1000, 12}} {
		columns, rows := size[0], size[1]
		lines := compose(code, text, "http://x", columns, rows)
		if columns <= 0 {
			columns, rows = usualColumns, usualRows
		}
		if len(lines) >= max(rows, 2) {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		drawn := 0
		for _, line := range lines {
			if columnsOf(strings.ReplaceAll(line, "█", "x")) > columns {
				t.Errorf("%v: the line %q", size, line)
			}
			if strings.HasPrefix(line, "█") {
				drawn++
			}
		}
		if fits := columns >= 20 && rows > 10+len(wrap(text, columns-1)); fits != (drawn == 10) || drawn != 0 && drawn != 10 {
			t.Errorf("%v: %d lines of the QR", size, drawn)
		}
	}
}

// lateService is one that goes away and comes back.
type lateService struct {
	mu     sync.Mutex
	asked  []string
	script []func(w http.ResponseWriter)
}

func (l *lateService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked = append(l.asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Last-Event-ID")+r.Header.Get("Idempotency-Key"))
	next := l.script[0]
	l.script = l.script[1:]
	l.mu.Unlock()
	next(w)
}

func events(text string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "retry: 1000\n\n"+text)
	}
}

func answer(status int, body string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) { write(w, status, body) }
}

func TestLostStreamContinuesWhereItEnded(t *testing.T) {
	l := &lateService{script: []func(http.ResponseWriter){
		events("event: state\ndata: {\"status\":\"INIT\",\"reason\":{\"action\":\"Wait.\"}}\n\nid: boot-5\nevent: qr\ndata: {\"available\":false}\n\n: heartbeat\n\nid: boot-7\n\n"),
		answer(503, problem("draining")),
		events("id: boot-8\nevent: state\ndata: {\"status\":\"READY\",\"reason\":{\"message\":\"It is usable.\"}}\n\n"),
	}}
	var out bytes.Buffer
	if err := serve(t, l.ServeHTTP).ShowQR(t.Context(), NewView(Output{Writer: &out}, "")); err != nil {
		t.Error(err)
	}
	if got := strings.Join(l.asked, "|"); got != "GET /events?types=state%2Cqr |GET /events?types=state%2Cqr boot-7|GET /events?types=state%2Cqr boot-7" {
		t.Errorf("asked %s", got)
	}
	if out.String() != "INIT: \n→ Wait.\nREADY: It is usable.\n"+nextHint+"\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestTerminalWithTheQRLeadsNowhereElse(t *testing.T) {
	const state = "event: state\ndata: {\"status\":\"%s\",\"reason\":{\"code\":\"%s\",\"message\":\"M.\",\"action\":\"Scan /qr.\",\"detail\":\"none yet\"}}\n\n"
	var out bytes.Buffer
	stream := events(fmt.Sprintf(state+state+state, "QR_REQUIRED", "scan_qr", "QR_REQUIRED", "qr_unreadable", "READY", ""))
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { stream(w) })
	if err := c.ShowQR(t.Context(), NewView(Output{Writer: &out}, "")); err != nil {
		t.Error(err)
	}
	if got, want := out.String(), "QR_REQUIRED: M. (none yet)\nQR_REQUIRED: M. (none yet)\n→ Scan /qr.\nREADY: M. (none yet)\n→ Scan /qr.\n"+nextHint+"\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestAbsentServiceIsAnErrorAtOnce(t *testing.T) {
	c, err := New(Options{Address: "unix:/nonexistent/socket"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		c.Status(t.Context(), Output{Writer: io.Discard}, true), c.ShowQR(t.Context(), NewView(Output{Writer: io.Discard}, "")),
		c.Events(t.Context(), Output{Writer: io.Discard}, ""), c.Send(t.Context(), Output{Writer: io.Discard}, Message{Key: new("my-key")}),
	} {
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "unix:/nonexistent/socket") {
			t.Error(err)
		}
	}
}

func TestKeyThatNamesNothingIsRefused(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a message was sent") })
	for _, key := range []string{"", "a b", "a\nb", "é", strings.Repeat("k", outbox.MaxKey+1)} {
		if err := c.Send(t.Context(), Output{Writer: io.Discard}, Message{To: "+5491123456789", Text: "x", Key: &key}); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: got %v", key, err)
		}
	}
}

func TestSendWaitsUntilTheMessageIsSent(t *testing.T) {
	body := func(status string) string { return `{"id":"3EB0","status":"` + status + `"}` }
	for _, tt := range []struct {
		script []func(http.ResponseWriter)
		want   string
		err    error
	}{
		{[]func(http.ResponseWriter){answer(202, body("queued")), answer(200, body("sending")), answer(503, problem("draining")), answer(200, body("sent"))}, "3EB0 queued\n3EB0 sending\n3EB0 sent\n", nil},
		{[]func(http.ResponseWriter){answer(200, body("read"))}, "3EB0 read\n", nil},
		{[]func(http.ResponseWriter){answer(202, body("queued")), answer(200, `{"id":"3EB0","status":"failed","error":{"code":"not_on_whatsapp"}}`)}, "3EB0 queued\n3EB0 failed: not_on_whatsapp\n", ErrFailed},
		{[]func(http.ResponseWriter){answer(503, problem("outbox_full"))}, "", ErrLater},
	} {
		l := &lateService{script: tt.script}
		var out bytes.Buffer
		err := serve(t, l.ServeHTTP).Send(t.Context(), Output{Writer: &out}, Message{To: "+5491123456789", Text: "x", Key: new("order"), Wait: true})
		if !errors.Is(err, tt.err) || out.String() != tt.want || l.asked[0] != "POST /messages order" {
			t.Errorf("%v: %q, asked %v", err, out.String(), l.asked)
		}
		if errors.Is(tt.err, ErrLater) && !strings.Contains(err.Error(), "--idempotency-key order") {
			t.Error(err)
		}
	}
}

func TestCodeThatExpiresIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			write(w, 200, `{"code":"ABCD1234","expires_at":"`+time.Now().Add(200*time.Millisecond).Format(time.RFC3339Nano)+`"}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: state\ndata: {\"status\":\"QR_REQUIRED\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	var out bytes.Buffer
	err := c.Pair(t.Context(), NewView(Output{Writer: &out}, ""), "+5491123456789")
	if !errors.Is(err, ErrLater) || !strings.HasPrefix(out.String(), "ABCD1234\n") {
		t.Errorf("%v: %q", err, out.String())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stopped) })
	if err := c.ShowQR(ctx, NewView(Output{Writer: io.Discard}, "")); !errors.Is(err, stopped) {
		t.Errorf("stopped: got %v", err)
	}
}
