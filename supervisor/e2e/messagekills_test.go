package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// people are known to the account, so that they can be written to at once.
var people = []string{ada, "+15550101002", "+15550101003"}

// mailer sends messages through a service that is killed again and again.
type mailer struct {
	killer
	// ids are those of the accepted messages, by their texts.
	ids map[string]string
	// texts are the accepted ones for each person, in order.
	texts map[string][]string
	// recent are the texts of messages without files.
	recent []string
	// acts are what was accepted to be done to each message, in order: the act and its text.
	acts map[string][][2]string
	// done are the ids of these.
	done []string
}

// submitThrough has a message accepted although the service may die meanwhile: strike, if it
// is not nil, is called once the request is under way.
func (m *mailer) submitThrough(to, text string, strike func()) {
	m.t.Helper()
	m.ids[text] = m.postThrough(text, func(ctx context.Context, s *service, key string) (message, int, error) {
		return m.try(ctx, s, key, to, text)
	}, strike)
	m.texts[to] = append(m.texts[to], text)
}

// actThrough does something to a message that was accepted, unless it is deleted.
func (m *mailer) actThrough(text string, strike func()) {
	m.t.Helper()
	target := m.ids[text]
	acts := m.acts[target]
	if n := len(acts); n > 0 && acts[n-1][0] == "revoke" {
		return
	}
	kind := []string{"edit", "edit", "reaction", "revoke"}[m.random.IntN(4)]
	words := fmt.Sprintf("%s, edit %d", text, len(acts))
	body := fmt.Sprintf(`{"text":%q}`, words)
	switch kind {
	case "reaction":
		words = []string{"👍", "🎉", ""}[m.random.IntN(3)]
		body = fmt.Sprintf(`{"emoji":%q}`, words)
	case "revoke":
		words, body = "", "{}"
	}
	m.acts[target] = append(acts, [2]string{kind, words})
	post := func(ctx context.Context, s *service, key string) (message, int, error) {
		return s.tryPost(ctx, "/messages/"+target+"/"+kind, key, "application/json", strings.NewReader(body))
	}
	m.done = append(m.done, m.postThrough(fmt.Sprint(text, " act ", len(acts)), post, strike))
}

// postThrough has a request accepted, and returns the id.
func (m *mailer) postThrough(name string, post func(ctx context.Context, s *service, key string) (message, int, error), strike func()) string {
	m.t.Helper()
	type result struct {
		message
		status int
		err    error
	}
	key := strings.ReplaceAll(name, " ", "-")
	first, service := make(chan result, 1), m.s
	ctx := within(m.t)
	go func() {
		var r result
		r.message, r.status, r.err = post(ctx, service, key)
		first <- r
	}()
	if strike != nil {
		strike()
	}
	r := <-first
	for known := r.ID; r.status != http.StatusAccepted && r.status != http.StatusOK; {
		if harness.Pause(ctx, 50*time.Millisecond) != nil {
			m.t.Fatalf("not accepted: %d %v %+v", r.status, r.err, r.message)
		}
		r.message, r.status, r.err = post(ctx, m.s, key)
		if known != "" && r.ID != known {
			m.t.Errorf("repeated, %s is %s", known, r.ID)
		}
	}
	return r.ID
}

// fileWords are how the captions of messages with files begin.
const fileWords = "file"

// try sends a text or, with such a caption, a document.
func (m *mailer) try(ctx context.Context, s *service, key, to, text string) (message, int, error) {
	if strings.HasPrefix(text, fileWords) {
		return s.trySubmitFile(ctx, key, to, aFile(m.t, 0, text))
	}
	return s.trySubmit(ctx, key, to, text)
}

// faultsInSends are those of the page and its server that strike while a message is sent.
var faultsInSends = []string{
	"reload=in-send:built", "reload=in-send:stored", "reload=in-send:written", "reload=in-send:acked",
	"crash=in-send:built", "crash=in-send:stored", "crash=in-send:written", "crash=in-send:acked",
	"socket=drop-after-write", "socket=drop-before-write", "ack=late:500",
	"upload=lost", "upload=slow:700",
}

// disturb does to the page, its connection or its processes what may happen to them.
func (m *mailer) disturb() {
	m.t.Helper()
	m.p.ClearFaults()
	if m.s.session().Worker.PID == 0 || *thorough && m.random.IntN(2) == 0 {
		m.ready() // what died often is not started again for long, and every other time messages are being sent
	}
	m.pause(700 * time.Millisecond)
	switch n := m.random.IntN(6); n {
	case 0:
		m.t.Log("the connection is closed")
		m.p.Disconnect()
	case 1, 2:
		fault := faultsInSends[m.random.IntN(len(faultsInSends))]
		m.t.Log(fault)
		m.p.misbehave(m.t, fault)
	default:
		m.t.Log("something is killed")
		m.strike()
	}
}

// TestEachAcceptedMessageArrivesOnceInOrder is the property that everything else serves.
func TestEachAcceptedMessageArrivesOnceInOrder(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	messages, disturbances := 12, 4
	if *thorough {
		messages, disturbances = 500, 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p, tokens := newPhone(t, simulator.Options{}), t.TempDir()
	hook := newReceiver(t)
	args := slices.Concat(eager, []string{"--webhook", hook.URL})
	m := &mailer{
		killer: killer{t: t, p: p, tokens: tokens, random: rand.New(rand.NewPCG(seed, 0)), args: args},
		ids:    map[string]string{}, texts: map[string][]string{}, acts: map[string][][2]string{},
	}
	m.s = linked(t, p, tokens, args...)
	for i := range messages {
		var strike func()
		if (i+1)*disturbances/messages > i*disturbances/messages {
			strike = m.disturb
		}
		if i%5 == 4 { // one in five is an act on one of the others
			m.actThrough(m.recent[len(m.recent)-1-m.random.IntN(min(len(m.recent), 4))], strike)
			continue
		}
		words := "text"
		if i%4 == 3 {
			words = fileWords
		}
		text := fmt.Sprint(words, " ", i)
		m.submitThrough(people[m.random.IntN(len(people))], text, strike)
		if words == "text" {
			m.recent = append(m.recent, text)
		}
	}
	p.ClearFaults()
	m.awaitArrival()
	m.checkArrived()
	m.checkActs()
	want := m.acknowledge()
	// The page reports what becomes of those messages that it has in memory; the others are
	// looked up when it is ready again.
	m.s.command("/session/restart?now=true")
	if !m.ready() {
		t.Fatal("a scan is asked for")
	}
	m.awaitAgreement(want)
	m.awaitReports(hook)
}

// receiver is a webhook's, and fails now and then.
type receiver struct {
	*httptest.Server
	mu sync.Mutex
	// statuses are what came about each message, in the order in which it first did.
	statuses map[string][]string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{statuses: map[string][]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var event struct {
			Type string
			Data message
		}
		if json.NewDecoder(req.Body).Decode(&event) != nil || rand.IntN(5) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if id, status := event.Data.ID, event.Data.Status; event.Type == "message.status" && !slices.Contains(r.statuses[id], status) {
			r.statuses[id] = append(r.statuses[id], status)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// awaitReports waits until the webhook's receiver knows each status that a message had, and
// checks the order.
func (m *mailer) awaitReports(hook *receiver) {
	m.t.Helper()
	order := []string{"sending", "unknown", "sent", "delivered", "read"}
	ctx, cancel := m.patiently() // each event that the receiver fails to take waits
	defer cancel()
	for {
		missing := map[string][]string{}
		for _, id := range m.ids {
			hook.mu.Lock()
			got := slices.Clone(hook.statuses[id])
			hook.mu.Unlock()
			for status := range m.s.message(id).Times {
				if status != "queued" && !slices.Contains(got, status) {
					missing[id] = append(missing[id], status)
				}
			}
			if !slices.IsSortedFunc(got, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) {
				m.t.Errorf("the webhook was sent %q about %s", got, id)
			}
		}
		if len(missing) == 0 || m.t.Failed() {
			return
		}
		if harness.Pause(ctx, 500*time.Millisecond) != nil {
			m.t.Fatalf("the webhook was not sent %v", missing)
		}
	}
}

// patiently bounds a wait for all messages.
func (m *mailer) patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(m.t.Context(), 2*patience+time.Duration(len(m.ids))*time.Second)
}

// awaitArrival waits for all messages.
func (m *mailer) awaitArrival() {
	m.t.Helper()
	ctx, cancel := m.patiently()
	defer cancel()
	arrived := func(all []simulator.Sent) bool { return len(all) >= len(m.ids) }
	for m.p.awaitFor(ctx, 2*time.Second, arrived) != nil {
		if ctx.Err() != nil {
			m.t.Fatalf("the server has %d of %d messages; session: %s", len(m.p.Sent()), len(m.ids), m.s.describe())
		}
		m.ready()
	}
}

// checkArrived compares what has arrived with what was accepted.
func (m *mailer) checkArrived() {
	m.t.Helper()
	repeated, got := 0, map[string][]string{}
	for _, one := range m.p.Sent() {
		if m.ids[one.Text] != one.ID || one.Altered {
			m.t.Errorf("%q arrived as %s, and was accepted as %s; altered: %v", one.Text, one.ID, m.ids[one.Text], one.Altered)
		}
		if f := aFile(m.t, 0, one.Text); strings.HasPrefix(one.Text, fileWords) && !f.arrivedAs(one) {
			m.t.Errorf("%s arrived as %+v", one.Text, one.Media)
		}
		repeated += len(one.Times) - 1
		got[one.Chat] = append(got[one.Chat], one.Text)
	}
	for _, to := range people {
		if texts := got[to[1:]+"@c.us"]; !slices.Equal(texts, m.texts[to]) {
			m.t.Errorf("the order in a chat is %v, not %v", texts, m.texts[to])
		}
	}
	m.t.Logf("%d messages, %d stanzas were repeated", len(m.ids), repeated)
}

// checkActs waits until all acts were done, and compares what the server has got of them with what was accepted.
func (m *mailer) checkActs() {
	m.t.Helper()
	for _, id := range m.done {
		if got := m.s.awaitMessage(id, "sent", "failed"); got.Status != "sent" {
			m.t.Errorf("an act: %+v", got)
		}
	}
	got, repeated := map[string][][2]string{}, 0
	for _, a := range m.p.Acts() {
		repeated += len(a.Times) - 1
		act := [2]string{a.Kind, a.Text}
		if all := got[a.Target]; len(all) > 0 && all[len(all)-1] == act {
			repeated++ // under another id, without a further effect
			continue
		}
		got[a.Target] = append(got[a.Target], act)
	}
	for target, want := range m.acts {
		if want = slices.Compact(slices.Clone(want)); !slices.Equal(got[target], want) {
			m.t.Errorf("%v was done to a message, not %v", got[target], want)
		}
	}
	m.t.Logf("%d acts, %d were repeated", len(m.done), repeated)
}

// acknowledge has recipients' phones report some messages as delivered or read, and returns
// the status that each should have.
func (m *mailer) acknowledge() map[string]string {
	m.t.Helper()
	want := map[string]string{}
	for _, one := range m.p.Sent() {
		if one.Revoked {
			continue // the page no longer has it under its id
		}
		level := 1 + m.random.IntN(3)
		want[one.ID] = []string{"sent", "delivered", "read"}[level-1]
		if level == 1 {
			continue
		}
		if err := m.p.Ack(one.ID, level); err != nil {
			m.t.Error(err)
		}
	}
	return want
}

// awaitAgreement waits until the messages have the statuses that the server knows.
func (m *mailer) awaitAgreement(want map[string]string) {
	m.t.Helper()
	for ctx := within(m.t); ; {
		differ := map[string]string{}
		for id, status := range want {
			if got := m.s.message(id); got.Status != status {
				differ[id] = fmt.Sprintf("%s, not %s: %+v", got.Status, status, got)
			}
		}
		if len(differ) == 0 {
			return
		}
		if harness.Pause(ctx, 500*time.Millisecond) != nil {
			m.t.Fatalf("of these the server has another status: %v; it has %+v", differ, m.p.Sent())
		}
	}
}

// awaitFor is AwaitSent for a while.
func (p *phone) awaitFor(ctx context.Context, d time.Duration, want func([]simulator.Sent) bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return p.AwaitSent(ctx, want)
}
