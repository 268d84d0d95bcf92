package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// outlet collects what one of the ways out of the service has given, in order.
type outlet struct {
	mu      sync.Mutex
	reports []report
}

func (o *outlet) take(data []byte) {
	var r report
	if json.Unmarshal(data, &r) != nil || r.Event == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, r)
}

// texts returns what came of each chat, without repetitions, and the id of each text. One that
// had two ids is reported.
func (o *outlet) texts(t *testing.T) (byChat map[string][]string, ids map[string]string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	byChat, ids = map[string][]string{}, map[string]string{}
	for _, r := range o.reports {
		chat := r.Chat.Group + r.Chat.Phone
		if known, ok := ids[r.Text]; !ok {
			byChat[chat] = append(byChat[chat], r.Text)
		} else if known != r.EventID {
			t.Errorf("%q has the ids %s and %s", r.Text, known, r.EventID)
		}
		ids[r.Text] = r.EventID
	}
	return byChat, ids
}

// webhookReceiver is one that is down at times, fails, or never answers.
type webhookReceiver struct {
	outlet
	address string
	server  *http.Server
	// refuses and hangs are what it does with requests; asked receives when it does so.
	refuses, hangs bool // guarded by mu
	asked          chan struct{}
}

func newWebhookReceiver(t *testing.T) *webhookReceiver {
	t.Helper()
	w := &webhookReceiver{address: "127.0.0.1:0", asked: make(chan struct{}, 1)}
	w.up(t)
	t.Cleanup(func() { w.down() })
	return w
}

func (w *webhookReceiver) up(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	w.address = listener.Addr().String()
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: patience}
	go func(s *http.Server) { _ = s.Serve(listener) }(w.server) // it ends by down
}

func (w *webhookReceiver) down() { _ = w.server.Close() }

// does makes it refuse or hang from now on.
func (w *webhookReceiver) does(refuses, hangs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses, w.hangs = refuses, hangs
	select {
	case <-w.asked: // before
	default:
	}
}

func (w *webhookReceiver) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	refuses, hangs := w.refuses, w.hangs
	w.mu.Unlock()
	var event struct {
		Type string
		Data json.RawMessage
	}
	if json.NewDecoder(r.Body).Decode(&event) != nil || event.Type != "message" {
		return
	}
	if refuses || hangs {
		select {
		case w.asked <- struct{}{}:
		default:
		}
	}
	switch {
	case refuses:
		answer.WriteHeader(http.StatusInternalServerError)
	case hangs:
		<-r.Context().Done()
	default:
		w.take(event.Data)
	}
}

func (w *webhookReceiver) awaitAsked(t *testing.T) {
	t.Helper()
	select {
	case <-w.asked:
	case <-within(t).Done():
		t.Fatal("the webhook's receiver was not asked")
	}
}

// follow reads /events after an id until the connection ends or stop is called. last returns the
// last id by then.
func (o *outlet) follow(t *testing.T, s *service, after string) (stop func() (last string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+"/events?types=message,state", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	resp, err := http.DefaultClient.Do(r) //nolint:bodyclose // it is closed below
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = resp.Body.Close() }()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				after = id
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				o.take([]byte(data))
			}
		}
	}()
	return func() string {
		cancel()
		<-done
		return after
	}
}

// TestEachOutletHasEachMessageThoughAllDie has messages arrive while the webhook's receiver is down,
// fails or hangs, the service is killed, and a listener is away.
func TestEachOutletHasEachMessageThoughAllDie(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p, tokens, hook := newPhone(t, simulator.Options{}), t.TempDir(), newWebhookReceiver(t)
	args := slices.Concat(receiving, []string{"--webhook", "http://" + hook.address})
	s := linked(t, p, tokens, args...)
	written := map[string][]string{}
	arrive := func(text string) {
		for chat, in := range map[string]simulator.Incoming{
			ada: {From: ada[1:], Text: text}, simulator.Group: {From: people[1][1:], Group: simulator.Group, Text: text + " in a group"},
		} {
			p.Deliver(in)
			written[chat] = append(written[chat], in.Text)
		}
	}
	listed, listener := &outlet{}, &outlet{}
	cursor := ""
	list := func() {
		all, next, err := s.tryList(within(t), cursor, "&wait=1s")
		if err != nil {
			return // the service is down
		}
		listed.reports, cursor = append(listed.reports, all...), next
	}
	await := func(what string, outlets ...*outlet) {
		t.Helper()
		for ctx := within(t); ; {
			list()
			missing := false
			for _, o := range outlets {
				byChat, _ := o.texts(t)
				missing = missing || !maps.EqualFunc(byChat, written, slices.Equal)
			}
			if !missing {
				return
			}
			if harness.Pause(ctx, 20*time.Millisecond) != nil {
				for _, o := range outlets {
					byChat, _ := o.texts(t)
					t.Errorf("%s: got %v, not %v", what, byChat, written)
				}
				t.Fatalf("session: %s", s.describe())
			}
		}
	}

	leave := listener.follow(t, s, "")
	arrive("to begin with")
	await("all are there", listed, listener, &hook.outlet)
	last := leave()

	hook.down()
	arrive("while it was down")
	await("without a receiver", listed)
	hook.up(t)
	await("up again", &hook.outlet)

	hook.does(true, false)
	arrive("while it failed")
	hook.awaitAsked(t)
	hook.does(false, true)
	hook.awaitAsked(t)
	arrive("while it hung")
	await("before the death", listed)
	s.signal(syscall.SIGKILL)
	s.Kill()
	arrive("while nobody was there")
	s = start(t, p.URL, tokens, args...)
	leave = listener.follow(t, s, last)
	hook.does(false, false)
	await("after the death", listed, listener, &hook.outlet)
	leave()

	_, want := listed.texts(t)
	for name, o := range map[string]*outlet{"listener": listener, "webhook": &hook.outlet} {
		if _, ids := o.texts(t); !maps.Equal(ids, want) {
			t.Errorf("%s: the ids are %v, and were listed as %v", name, ids, want)
		}
	}
}
