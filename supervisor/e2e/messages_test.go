package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// eager are the settings of a service that does not pace its messages.
var eager = []string{"--message-pause", "0s", "--new-chat-pause", "0s", "--new-chats-per-day", "10000", "--settle-time", "0s"}

// message is what the API shows of one.
type message struct {
	ID       string
	Status   string
	Attempts int
	To       struct{ Phone, LID string }
	Error    struct{ Code string }
}

// submit sends a text with an Idempotency-Key, and returns the answer's status.
func (s *service) submit(key, to, text string) (message, int) {
	s.t.Helper()
	m, status, err := s.trySubmit(within(s.t), key, to, text)
	if err != nil {
		s.t.Fatalf("POST /messages: %v", err)
	}
	return m, status
}

func (s *service) trySubmit(ctx context.Context, key, to, text string) (m message, status int, err error) {
	body := fmt.Sprintf(`{"to":%q,"type":"text","text":{"body":%q}}`, to, text)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Base+"/messages", strings.NewReader(body))
	if err != nil {
		return m, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return m, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return m, resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return m, 0, err
	}
	if resp.Header.Get("Location") != "/messages/"+m.ID {
		return m, 0, fmt.Errorf("%d with the Location %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	return m, resp.StatusCode, nil
}

func (s *service) message(id string) (m message) {
	s.t.Helper()
	a := s.get("/messages/" + id)
	if err := json.Unmarshal([]byte(a.Body), &m); err != nil || a.Code != 200 {
		s.t.Fatalf("GET /messages/%s: %d %s", id, a.Code, a.Body)
	}
	return m
}

// awaitMessage follows a message by the API's long poll until it has one of these statuses.
func (s *service) awaitMessage(id string, want ...string) message {
	s.t.Helper()
	for ctx := within(s.t); ; {
		body, err := s.Get(ctx, "/messages/"+id+"?wait=5s")
		var m message
		if err == nil {
			err = json.Unmarshal([]byte(body), &m)
		}
		switch {
		case err != nil:
			s.t.Fatalf("waiting for %s to be %v: %v; session: %s", id, want, err, s.describe())
		case slices.Contains(want, m.Status):
			return m
		}
	}
}

// once checks that the server has one message with each text.
func (p *phone) once(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		var ids []string
		for _, m := range p.Sent() {
			if m.Text == text {
				ids = append(ids, m.ID)
				if m.Altered {
					t.Errorf("message %s was altered when it was repeated", m.ID)
				}
			}
		}
		if len(ids) != 1 {
			t.Errorf("the server has %d messages with one text: %v", len(ids), ids)
		}
	}
}

// listen collects the statuses in the events of messages until the test ends.
func (s *service) listen(t *testing.T) func(id string) []string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+"/events?types=message.status", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string][]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var m message
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if ok && json.Unmarshal([]byte(data), &m) == nil {
				mu.Lock()
				seen[m.ID] = append(seen[m.ID], m.Status)
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { stop(); _ = resp.Body.Close(); <-done })
	return func(id string) []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(seen[id]))
	}
}

const (
	ada    = "+15550101001"
	marker = "marker-of-a-secret-text"
)

// TestMessagesArriveOnceThoughProcessesDie follows messages through one service, whose processes die
// right after they were accepted.
func TestMessagesArriveOnceThoughProcessesDie(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{})
	s := start(t, p.URL, tokens, eager...)
	if m, status := s.submit("early", ada, "early"); status != 409 {
		t.Errorf("without a login: %d %+v", status, m)
	}
	if err := p.Link(within(t), s.Service); err != nil {
		t.Fatalf("%v; session: %s", err, s.describe())
	}
	events := s.listen(t)

	m, status := s.submit("first", ada, marker+" 0")
	if status != 202 || m.To.Phone != ada {
		t.Fatalf("got %d %+v", status, m)
	}
	if err := p.AwaitSent(within(t), func(all []simulator.Sent) bool { return len(all) > 0 }); err != nil {
		t.Fatalf("%v; message: %+v, session: %s", err, s.message(m.ID), s.describe())
	}
	if got := p.Sent()[0]; got.ID != m.ID || got.Chat != "15550101001@c.us" || got.Text != marker+" 0" {
		t.Errorf("the server has %+v", got)
	}
	s.awaitMessage(m.ID, "sent")
	for _, step := range []struct {
		level int
		want  string
	}{{2, "delivered"}, {3, "read"}} {
		if err := p.Ack(m.ID, step.level); err != nil {
			t.Fatal(err)
		}
		s.awaitMessage(m.ID, step.want)
	}
	for ctx := within(t); !slices.Equal(events(m.ID), []string{"sending", "sent", "delivered", "read"}); {
		if err := harness.Pause(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("the events were %v", events(m.ID))
		}
	}
	if again, status := s.submit("first", "15550101001@c.us", marker+" 0"); status != 200 || again.ID != m.ID || again.Status != "read" {
		t.Errorf("repeated: %d %+v", status, again)
	}
	if _, status := s.submit("first", ada, marker+" another"); status != 422 {
		t.Errorf("another body: %d", status)
	}
	if a := s.ask(http.MethodDelete, "/messages/"+m.ID, ""); a.Code != 409 {
		t.Errorf("too late: %d %s", a.Code, a.Body)
	}
	if body := s.get("/session").Body; !strings.Contains(body, `"possible": true`) {
		t.Errorf("got %s", body)
	}
	if a := s.get("/contacts/" + ada); a.Code != 200 || !strings.Contains(a.Body, `"on_whatsapp": true`) {
		t.Errorf("got %d %s", a.Code, a.Body)
	}

	texts := []string{marker + " 0"}
	for i, death := range []func(v harness.Session){
		func(harness.Session) { s.command("/session/restart") },
		func(v harness.Session) { _ = syscall.Kill(v.Browser.PID, syscall.SIGKILL) },
		func(v harness.Session) { _ = syscall.Kill(v.Worker.PID, syscall.SIGKILL) },
		func(harness.Session) { s.signal(syscall.SIGKILL); s.Kill(); s = start(t, p.URL, tokens, eager...) },
		func(harness.Session) { s.stop(); s = start(t, p.URL, tokens, eager...) },
	} {
		before := s.session()
		key, text := fmt.Sprint("death ", i), fmt.Sprint(marker, " ", i+1)
		m, status := s.submit(strings.ReplaceAll(key, " ", "-"), ada, text)
		if status != 202 {
			t.Fatalf("got %d", status)
		}
		death(before)
		s.awaitMessage(m.ID, "sent", "delivered")
		texts = append(texts, text)
		p.once(t, texts...)
		if again, status := s.submit(strings.ReplaceAll(key, " ", "-"), ada, text); status != 200 || again.ID != m.ID {
			t.Errorf("repeated after the death: %d %+v", status, again)
		}
		s.awaitSession("READY", func(v harness.Session) bool { return v.Status == "READY" && v.Browser != nil })
	}
	leaksNothing(t, s, tokens, marker, ada[1:])
	s.stop()
	if log := s.Log(); strings.Contains(log, marker) || strings.Contains(log, ada[1:]) {
		t.Error("a text or a number is in the log")
	}
}

// leaksNothing looks for secrets of messages in everything but the profile and the outbox.
func leaksNothing(t *testing.T, s *service, tokens string, secrets ...string) {
	t.Helper()
	found := func(where string, content []byte) {
		for _, secret := range secrets {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s has a text or a number", where)
			}
		}
	}
	for _, path := range []string{"/session", "/metrics", "/status", "/crashes", "/events"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			body, _ := io.ReadAll(resp.Body) // of /events until the time is over
			_ = resp.Body.Close()
			found("GET "+path, body)
		}
		cancel()
	}
	for _, pid := range append(processes(t, s), s.PID()) {
		for _, name := range []string{"cmdline", "environ"} {
			content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)) // it may have exited
			found(name, content)
		}
	}
	err := filepath.WalkDir(tokens, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it has just gone
		case d.IsDir() && (d.Name() == "admin" || d.Name() == "admin.backups"):
			return fs.SkipDir
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "admin.outbox"):
			return nil
		}
		content, err := os.ReadFile(path)
		found(path, content)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
