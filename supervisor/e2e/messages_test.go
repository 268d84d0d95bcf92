package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
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
var eager = slices.Clip(append([]string{"--message-pause", "0s", "--new-chat-pause", "0s", "--new-chats-per-day", "10000", "--settle-time", "0s"}, light...))

// message is what the API shows of one.
type message struct {
	ID       string
	Status   string
	Attempts int
	To       struct{ Phone, LID string }
	Times    map[string]time.Time
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

func (s *service) trySubmit(ctx context.Context, key, to, text string) (message, int, error) {
	body := fmt.Sprintf(`{"to":%q,"type":"text","text":{"body":%q}}`, to, text)
	return s.tryPost(ctx, "/messages", key, "application/json", strings.NewReader(body))
}

// accepted has a message accepted, and returns it with the answer's status.
func accepted(r *http.Request) (m message, status int, err error) {
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
	resp, err := http.DefaultClient.Do(r) //nolint:bodyclose // it is closed when the test ends
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
	if m, status := s.submit("early", ada, "early"); status != http.StatusConflict {
		t.Errorf("without a login: %d %+v", status, m)
	}
	if err := p.Link(within(t), s.Service); err != nil {
		t.Fatalf("%v; session: %s", err, s.describe())
	}
	followed(t, s, p)
	answersWhenSent(t, s)
	texts := []string{marker + " 0"}
	for i, death := range variants([]func(v harness.Session){
		func(harness.Session) { s.command("/session/restart") },
		func(v harness.Session) { _ = syscall.Kill(v.Browser.PID, syscall.SIGKILL) },
		func(harness.Session) { s.signal(syscall.SIGKILL); s.Kill(); s = start(t, p.URL, tokens, eager...) },
		func(v harness.Session) { _ = syscall.Kill(v.Worker.PID, syscall.SIGKILL) },
		func(harness.Session) { s.stop(); s = start(t, p.URL, tokens, eager...) },
	}, 3) {
		before := s.session()
		key, text := fmt.Sprint("death-", i), fmt.Sprint(marker, " ", i+1)
		m, status := s.submit(key, ada, text)
		if status != http.StatusAccepted {
			t.Fatalf("got %d", status)
		}
		f := aFile(t, i+1, fmt.Sprint(marker, " file ", i))
		withFile := s.submitFile(fmt.Sprint("file-", i), ada, f)
		death(before)
		s.awaitMessage(m.ID, "sent", "delivered")
		s.awaitMessage(withFile.ID, "sent", "delivered")
		p.file(t, withFile.ID, f)
		texts = append(texts, text)
		p.once(t, texts...)
		if again, status := s.submit(key, ada, text); status != http.StatusOK || again.ID != m.ID {
			t.Errorf("repeated after the death: %d %+v", status, again)
		}
		s.awaitSession("READY", func(v harness.Session) bool { return v.Status == "READY" && v.Browser != nil })
	}
	typed(t, s, p)
	answersHold(t, s, marker, ada[1:])
	processesHold(t, s, marker, ada[1:])
	s.stop()
	filesHold(t, tokens, marker, ada[1:])
	if log := s.Log(); strings.Contains(log, marker) || strings.Contains(log, ada[1:]) {
		t.Error("a text or a number is in the log")
	}
	filesAreErased(t, p, tokens)
}

// followed sends one message, and follows it by GET and by events until it was read.
func followed(t *testing.T, s *service, p *phone) {
	t.Helper()
	events := s.listen(t)
	m, status := s.submit("first", ada, marker+" 0")
	if status != http.StatusAccepted || m.To.Phone != ada {
		t.Fatalf("got %d %+v", status, m)
	}
	if err := p.AwaitSent(within(t), func(all []simulator.Sent) bool { return len(all) > 0 }); err != nil {
		t.Fatalf("%v; message: %+v, session: %s", err, s.message(m.ID), s.describe())
	}
	if got := p.Sent()[0]; got.ID != m.ID || got.Chat != "15550101001@c.us" || got.Text != marker+" 0" {
		t.Errorf("the server has %+v", got)
	}
	s.awaitMessage(m.ID, "sent")
	for i, want := range []string{"delivered", "read"} {
		if err := p.Ack(m.ID, i+2); err != nil {
			t.Fatal(err)
		}
		s.awaitMessage(m.ID, want)
	}
	for ctx := within(t); !slices.Equal(events(m.ID), []string{"sending", "sent", "delivered", "read"}); {
		if err := harness.Pause(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("the events were %v", events(m.ID))
		}
	}
}

// typed has texts sent by a page that has lost a function for that. One that was being typed when
// Chrome was killed is never typed again, and is in no other's way.
func typed(t *testing.T, s *service, p *phone) {
	t.Helper()
	p.misbehave(t, "modules=missing:WAWebSendTextMsgChatAction")
	if err := p.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	s.awaitLog("WAWebSendTextMsgChatAction.") // what is sent before may be lost with the document, and is not typed then
	arrived := func(text string) (all []simulator.Sent) {
		return slices.DeleteFunc(p.Sent(), func(m simulator.Sent) bool { return m.Text != text })
	}
	first, cut, last := marker+" typed", marker+" typed, cut", marker+" typed last"
	m, _ := s.submit("typed-1", ada, first)
	s.awaitMessage(m.ID, "sent")
	if all := arrived(first); len(all) != 1 || all[0].ID == m.ID {
		t.Fatalf("the server has %+v, which the page has named itself", all)
	} else if err := p.Ack(all[0].ID, 3); err != nil {
		t.Fatal(err)
	}
	s.awaitMessage(m.ID, "read")
	v := s.session()
	_ = syscall.Kill(v.Browser.PID, syscall.SIGSTOP) // so that typing takes its time
	m, _ = s.submit("typed-2", ada, cut)
	s.awaitMessage(m.ID, "sending")
	_ = harness.Pause(within(t), 500*time.Millisecond) // it begins once that is on disk
	_ = syscall.Kill(v.Worker.PID, syscall.SIGKILL)
	_ = syscall.Kill(v.Browser.PID, syscall.SIGKILL)
	got := s.awaitMessage(m.ID, "unknown")
	for ctx := within(t); got.Attempts < 2; got = s.message(m.ID) { // then it was looked for
		if harness.Pause(ctx, 100*time.Millisecond) != nil {
			t.Fatalf("got %+v; session: %s", got, s.describe())
		}
	}
	next, _ := s.submit("typed-3", ada, last)
	s.awaitMessage(next.ID, "sent")
	got = s.message(m.ID)
	if n := len(arrived(cut)); n > 0 || got.Status != "unknown" {
		t.Errorf("the server has %d of what was cut, and its status is %s", n, got.Status)
	}
	if n := len(arrived(last)); n != 1 {
		t.Errorf("the server has %d of the last one", n)
	}
	p.ClearFaults()
}

// answersWhenSent asks about the message that was read, and about what can be sent.
func answersWhenSent(t *testing.T, s *service) {
	t.Helper()
	again, status := s.submit("first", "15550101001@c.us", marker+" 0")
	if status != http.StatusOK || again.Status != "read" {
		t.Errorf("repeated: %d %+v", status, again)
	}
	if _, status := s.submit("first", ada, marker+" another"); status != http.StatusUnprocessableEntity {
		t.Errorf("another body: %d", status)
	}
	if a := s.ask(http.MethodDelete, "/messages/"+again.ID, ""); a.Code != http.StatusConflict {
		t.Errorf("too late: %d %s", a.Code, a.Body)
	}
	if body := s.get("/session").Body; !strings.Contains(body, `"possible": true`) {
		t.Errorf("got %s", body)
	}
	if a := s.get("/contacts/" + ada); a.Code != http.StatusOK || !strings.Contains(a.Body, `"on_whatsapp": true`) {
		t.Errorf("got %d %s", a.Code, a.Body)
	}
}

// hold reports secrets of messages in content.
func hold(t *testing.T, where string, content []byte, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(string(content), secret) {
			t.Errorf("%s has a text or a number", where)
		}
	}
}

// answersHold looks for secrets in what may be read without the scope of senders.
func answersHold(t *testing.T, s *service, secrets ...string) {
	t.Helper()
	for _, path := range []string{"/session", "/metrics", "/status", "/crashes", "/"} {
		hold(t, "GET "+path, []byte(s.get(path).Body), secrets)
	}
}

// processesHold looks for secrets in what other users may see of the processes.
func processesHold(t *testing.T, s *service, secrets ...string) {
	t.Helper()
	for _, pid := range append(processes(t, s), s.PID()) {
		for _, name := range []string{"cmdline", "environ"} {
			content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)) // it may have exited
			hold(t, name, content, secrets)
		}
	}
}

// filesHold looks for secrets in everything but the profile and the outbox, reports of
// crashes included.
func filesHold(t *testing.T, tokens string, secrets ...string) {
	t.Helper()
	err := filepath.WalkDir(tokens, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "admin" || d.Name() == "admin.backups" || d.Name() == "admin.media"):
			return fs.SkipDir
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "admin.outbox") || strings.HasPrefix(d.Name(), "admin.inbox"):
			return nil
		}
		content, err := os.ReadFile(path)
		hold(t, path, content, secrets)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
