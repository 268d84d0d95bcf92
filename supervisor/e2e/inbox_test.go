package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// receiving are the settings of a service that also reports messages that arrive.
var receiving = append([]string{"--messages", "both"}, eager...)

// report is an event about a message that arrived.
type report struct {
	Event   string
	EventID string `json:"event_id"`
	Cursor  string
	ID      string
	Type    string
	Text    string
	FromMe  bool `json:"from_me"`
	Source  string
	Late    bool
	Reason  string
	Emoji   *string
	Status  string
	From    struct{ Phone, LID, Name string }
	Chat    struct{ Phone, LID, Group string }
	Media   struct {
		ID, MIME, Name string
		Size           int
	}
}

// tryList returns what GET /messages lists after a cursor.
func (s *service) tryList(ctx context.Context, cursor string, query ...string) (list []report, next string, err error) {
	body, err := s.Get(ctx, "/messages?direction=in&after="+url.QueryEscape(cursor)+strings.Join(query, ""))
	if err != nil {
		return nil, "", err
	}
	var answer struct {
		Messages []report
		Next     string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Next == "" {
		return nil, "", fmt.Errorf("%w: %.200s", err, body)
	}
	return answer.Messages, answer.Next, nil
}

// awaitReports lists what follows a cursor until there are n events.
func (s *service) awaitReports(cursor string, n int) (all []report, next string) {
	s.t.Helper()
	for ctx := within(s.t); ; {
		list, next, err := s.tryList(ctx, cursor, "&wait=5s")
		if err != nil {
			s.t.Fatalf("%v after %d of %d events; session: %s", err, len(all), n, s.describe())
		}
		all, cursor = append(all, list...), next
		if len(all) >= n {
			if len(all) > n {
				s.t.Errorf("%d events, not %d: %+v", len(all), n, all)
			}
			return all, cursor
		}
	}
}

// TestReceivedMessagesAreReportedAsTheyAre follows one service.
func TestReceivedMessagesAreReportedAsTheyAre(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p, tokens := newPhone(t, simulator.Options{}), t.TempDir()
	s := linked(t, p, tokens, receiving...)
	id := p.Receive(ada[1:], marker)
	cursor := s.checkFirst(id)
	cursor = s.checkPlaces(p, id, cursor)
	s.checkRestart(p, id, cursor)
	if a := s.get("/messages?after=nonsense"); a.Code != http.StatusBadRequest {
		t.Errorf("no cursor: %d %s", a.Code, a.Body)
	}
	if a := s.command("/messages/" + id + "/read"); a.Code != http.StatusOK {
		t.Errorf("marked as read: %d %s", a.Code, a.Body)
	}
	if a := s.command("/messages/3A00/read"); a.Code != http.StatusNotFound {
		t.Errorf("no message is marked: %d %s", a.Code, a.Body)
	}
	asked := func(done string) bool { return strings.HasPrefix(done, "resend ") } // where the restart has taken long
	if done := slices.DeleteFunc(p.Errands(), asked); len(done) != 1 || !strings.HasPrefix(done[0], "seen "+ada[1:]) {
		t.Errorf("the page has done %v", done)
	}
	answersHold(t, s, marker, ada[1:], "Ada")
	processesHold(t, s, marker, ada[1:])
	t.Run("documented consumers", func(t *testing.T) { consumersAnswerOnce(t, s, p) })
	s.stop()
	filesHold(t, tokens, marker, ada[1:])
	if log := s.Log(); strings.Contains(log, marker) || strings.Contains(log, ada[1:]) || strings.Contains(log, "in a group") {
		t.Error("a text or a number is in the log")
	}
}

// checkFirst checks all that is reported of the first message.
func (s *service) checkFirst(id string) (cursor string) {
	s.t.Helper()
	all, cursor := s.awaitReports("", 1)
	if m := all[0]; m.Event != "message" || m.ID != id || m.Text != marker || m.From.Phone != ada || m.From.LID == "" || m.From.Name != "Ada" ||
		m.Chat.Phone != ada || m.FromMe || m.Type != "text" || m.EventID == "" {
		s.t.Errorf("got %+v", m)
	}
	return cursor
}

// checkPlaces has messages of a group, of a status and of the account's phone, and an edit.
func (s *service) checkPlaces(p *phone, id, cursor string) (next string) {
	s.t.Helper()
	ids := make([]string, 4)
	for i, in := range []simulator.Incoming{
		{From: ada[1:], Group: simulator.Group, Text: "in a group"},
		{From: ada[1:], Group: "status@broadcast", Text: "a status"},
		{From: ada[1:], Own: true, Text: "by the phone"},
		{From: ada[1:], Changes: id, Text: "edited"},
	} {
		ids[i] = p.Deliver(in)
	}
	const hers = "in a chat with " + ada + ", lid"
	next = s.awaitWords(cursor, map[string]string{
		ids[0]: "message: in a group from " + ada + ", lid in " + simulator.Group,
		ids[2]: "message: by the phone from elsewhere " + hers,
		id:     "message.edited: edited from " + ada + ", lid " + hers,
	})
	if err := p.Ack(ids[2], 3); err != nil {
		s.t.Error(err)
	}
	next = s.awaitWords(next, map[string]string{ids[2]: "message.acknowledged: read from elsewhere " + hers})
	p.Deliver(simulator.Incoming{From: people[1][1:], Group: simulator.Group, Text: "👍", Reacts: ids[0]})
	next = s.awaitWords(next, map[string]string{ids[0]: "message.reaction: 👍 from " + people[1] + ", lid in " + simulator.Group})
	var v struct {
		Receiving struct{ Possible, Reactions bool }
	}
	if body := s.get("/session").Body; json.Unmarshal([]byte(body), &v) != nil || !v.Receiving.Possible || !v.Receiving.Reactions {
		s.t.Errorf("what can be received: %s", body)
	}
	return next
}

// inWords is what is reported, without ids, and whether there are LIDs.
func (r report) inWords() string {
	words := r.Event + ": " + r.Text + r.Status
	if r.Late {
		words += ", late,"
	}
	if r.Emoji != nil {
		words += *r.Emoji
	}
	person := func(phone, lid string) string {
		if lid == "" {
			return phone
		}
		return phone + ", lid"
	}
	words += " from " + r.Source + person(r.From.Phone, r.From.LID)
	if r.Chat.Group != "" {
		return words + " in " + r.Chat.Group
	}
	return words + " in a chat with " + person(r.Chat.Phone, r.Chat.LID)
}

// awaitWords awaits an event about each of these messages.
func (s *service) awaitWords(cursor string, want map[string]string) (next string) {
	s.t.Helper()
	all, next := s.awaitReports(cursor, len(want))
	got := map[string]string{}
	for _, r := range all {
		got[r.ID] = r.inWords()
	}
	if !maps.Equal(got, want) {
		s.t.Errorf("got %v, not %v", got, want)
	}
	return next
}

// checkRestart has a message, a deletion, a reaction and a text that could not be decrypted before while the
// page starts, which are reported, unlike what is sent here.
func (s *service) checkRestart(p *phone, id, cursor string) {
	s.t.Helper()
	answer, _ := s.submit("answer", ada, "an answer")
	s.awaitMessage(answer.ID, "sent")
	const hers = " from " + ada + ", lid in a chat with " + ada + ", lid"
	waiting, next := p.Deliver(simulator.Incoming{From: ada[1:], Kind: "ciphertext"}), p.Receive(ada[1:], "after it")
	cursor = s.awaitWords(cursor, map[string]string{waiting: "message.undecrypted: " + hers, next: "message: after it" + hers})
	before := s.session()
	s.command("/session/restart?now=true")
	s.awaitSession("another instance", func(v harness.Session) bool { return v.Worker.Generation != before.Worker.Generation })
	p.Deliver(simulator.Incoming{From: ada[1:], Changes: id, Kind: "revoked"})
	last := p.Receive(ada[1:], "while it starts")
	p.Deliver(simulator.Incoming{From: ada[1:], Text: "👎", Reacts: answer.ID})
	p.Deliver(simulator.Incoming{From: ada[1:], Changes: waiting, Text: "at last"})
	s.awaitWords(cursor, map[string]string{
		last: "message: while it starts" + hers, id: "message.revoked: " + hers, answer.ID: "message.reaction: 👎" + hers,
		waiting: "message: at last, late," + hers,
	})
	all, _, err := s.tryList(within(s.t), "")
	if err != nil {
		s.t.Fatal(err)
	}
	var order []string
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.EventID] {
			s.t.Errorf("the id of %+v was used before", r)
		}
		if seen[r.EventID] = true; r.ID == waiting || r.ID == next {
			order = append(order, r.inWords())
		}
	}
	if want := []string{"message.undecrypted: " + hers, "message: after it" + hers, "message: at last, late," + hers}; !slices.Equal(order, want) {
		s.t.Errorf("got %q, not %q", order, want)
	}
}

// consumer asks for messages, and forgets at random what it was answered last.
type consumer struct {
	killer
	cursor  string
	reports []report
	// felt are the last reactions, by message and person.
	felt map[string]string
}

// consume asks once, if anybody answers.
func (c *consumer) consume() {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	list, next, err := c.s.tryList(ctx, c.cursor)
	if err != nil {
		return
	}
	c.reports = append(c.reports, list...)
	if c.random.IntN(4) > 0 {
		c.cursor = next
	}
}

// TestEachReceivedMessageIsReportedInOrder is the property that everything else serves.
func TestEachReceivedMessageIsReportedInOrder(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	messages, disturbances := 30, 3
	if *thorough {
		messages, disturbances = 1000, 150
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p, tokens := newPhone(t, simulator.Options{}), t.TempDir()
	c := &consumer{killer: killer{t: t, p: p, tokens: tokens, random: rand.New(rand.NewPCG(seed, 0)), args: receiving}, felt: map[string]string{}}
	c.s = linked(t, p, tokens, receiving...)
	var arrived []reactable
	written := map[string][]string{} // by chat
	for i := range messages {
		in := simulator.Incoming{From: people[c.random.IntN(len(people))][1:], Text: fmt.Sprintf("text %d", i)}
		chat := "+" + in.From
		if c.random.IntN(4) == 0 {
			in.Group, chat = simulator.Group, simulator.Group
		}
		arrived = append(arrived, reactable{p.Deliver(in), in.From, in.Group})
		written[chat] = append(written[chat], in.Text)
		if c.random.IntN(3) == 0 {
			c.react(arrived[len(arrived)-1-c.random.IntN(min(len(arrived), 10))], i)
		}
		if (i+1)*disturbances/messages > i*disturbances/messages {
			c.pause(700 * time.Millisecond)
			switch c.random.IntN(5) {
			case 0:
				p.Disconnect()
			case 1:
				_ = p.Order(simulator.Reload) // there may be no page
			default:
				c.strike()
			}
		}
		if c.random.IntN(3) == 0 {
			c.consume()
		}
	}
	c.awaitAll(messages)
	c.check(written)
	c.s.command("/session/restart?now=true") // the page announces only some reactions
	c.awaitReactions()
}

// reactable is a message that has arrived.
type reactable struct{ id, from, group string }

// react has its author, or somebody of its group, react to a message.
func (c *consumer) react(m reactable, n int) {
	if m.group != "" {
		m.from = people[c.random.IntN(len(people))][1:]
	}
	emoji := fmt.Sprintf("reaction %04d", n)
	c.p.Deliver(simulator.Incoming{From: m.from, Group: m.group, Reacts: m.id, Text: emoji})
	c.felt[m.id+" +"+m.from] = emoji
}

// awaitReactions consumes until the last reaction of each person to each message was reported, and
// checks that they came in order.
func (c *consumer) awaitReactions() {
	c.t.Helper()
	for ctx := within(c.t); ; {
		c.ready()
		c.consume()
		got := map[string]string{}
		seen := map[string]bool{}
		for _, r := range c.reports {
			if r.Event != "message.reaction" || seen[r.EventID] {
				continue
			}
			seen[r.EventID] = true
			who := r.ID + " " + r.From.Phone
			if *r.Emoji <= got[who] {
				c.t.Errorf("%q was reported after %q", *r.Emoji, got[who])
			}
			got[who] = *r.Emoji
		}
		if maps.Equal(got, c.felt) {
			c.t.Logf("%d reactions to messages, %d reports", len(got), len(seen))
			return
		}
		if harness.Pause(ctx, 200*time.Millisecond) != nil {
			c.t.Fatalf("the reactions are %v, not %v; session: %s", got, c.felt, c.s.describe())
		}
	}
}

// awaitAll consumes until each message was reported.
func (c *consumer) awaitAll(n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience+time.Duration(n)*time.Second)
	defer cancel()
	for {
		ids := map[string]bool{}
		for _, r := range c.reports {
			if r.Event != "message.reaction" {
				ids[r.EventID] = true
			}
		}
		if len(ids) >= n {
			return
		}
		if harness.Pause(ctx, 200*time.Millisecond) != nil {
			c.t.Fatalf("%d of %d messages were reported; %d stanzas are undelivered; session: %s", len(ids), n, c.p.Undelivered(), c.s.describe())
		}
		c.ready()
		c.consume()
	}
}

// check compares what was reported with what was written.
func (c *consumer) check(written map[string][]string) {
	c.t.Helper()
	got, seen, repeated := map[string][]string{}, map[string]report{}, 0
	for _, r := range c.reports {
		if r.Event == "message.reaction" {
			continue
		}
		if before, known := seen[r.EventID]; known {
			repeated++
			if before != r {
				c.t.Errorf("repeated, %+v is %+v", before, r)
			}
			continue
		}
		seen[r.EventID] = r
		chat := r.Chat.Group
		if chat == "" {
			chat = r.Chat.Phone
		}
		if r.Event != "message" {
			c.t.Errorf("got %+v", r)
		}
		got[chat] = append(got[chat], r.Text)
	}
	for chat, texts := range written {
		if !slices.Equal(got[chat], texts) {
			c.t.Errorf("of %s were reported %v, not %v", chat, got[chat], texts)
		}
	}
	c.t.Logf("%d messages, %d were listed again", len(seen), repeated)
}

// spoiler passes requests on to the service, and spoils the first ones: what followed the cursor is
// lost, an answer is cut, empty or lost, or the service is busy.
func (s *service) spoiler() string {
	base, err := url.Parse(s.Base)
	if err != nil {
		s.t.Fatal(err)
	}
	var reads, sends atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy := httputil.NewSingleHostReverseProxy(base)
		if r.Method == http.MethodPost && sends.Add(1)%3 == 1 && sends.Load() < 8 {
			proxy.ModifyResponse = func(*http.Response) error { panic(http.ErrAbortHandler) }
		} else if r.Method == http.MethodGet {
			switch reads.Add(1) {
			case 1:
				r.URL.RawQuery += "lost-0"
			case 2:
				proxy.ModifyResponse = func(a *http.Response) error {
					a.Body = struct {
						io.Reader
						io.Closer
					}{io.LimitReader(a.Body, 100), a.Body}
					return nil
				}
			case 3:
				return
			case 4:
				http.Error(w, `{"code":"busy"}`, http.StatusServiceUnavailable)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	s.t.Cleanup(server.Close)
	return server.URL
}

// consumersAnswerOnce runs the consumers of the documents, which are killed and forget where
// they were. The first message of each can't be answered.
func consumersAnswerOnce(t *testing.T, s *service, p *phone) {
	document, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, program := range map[string][]string{"sh": {"sh", "-c"}, "python": {"python3", "-c"}} {
		if _, err := exec.LookPath(program[0]); err != nil {
			t.Skip(err)
		}
		_, code, _ := strings.Cut(string(document), "```"+language+"\n")
		code, _, _ = strings.Cut(code, "```")
		code = strings.NewReplacer("http://localhost:3001", s.spoiler(), "sleep 1;", "sleep .1;", "sleep(1)", "sleep(.1)").Replace(code)
		p.Receive("12345", "from a number that nobody can write to")
		want := map[string]int{}
		for _, text := range []string{"in " + language + "\n\t\"'\\ 👍 $(touch pwned) `touch pwned`", `{"code":"cursor_lost"} 410`} {
			want[p.Receive(people[1][1:], text)] = 1
			want[p.Deliver(simulator.Incoming{From: people[1][1:], Group: simulator.Group, Text: text})] = 1
		}
		folder := t.TempDir()
		for _, run := range []struct {
			folder string
			killed bool
		}{{folder, true}, {folder, false}, {t.TempDir(), false}} {
			consumer := exec.Command(program[0], program[1], code)
			consumer.Dir = run.folder
			consumer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := consumer.Start(); err != nil {
				t.Fatal(err)
			}
			if run.killed {
				_ = harness.Pause(t.Context(), rand.N(time.Second))
			} else {
				s.awaitCursor(filepath.Join(run.folder, "cursor"))
			}
			_ = syscall.Kill(-consumer.Process.Pid, syscall.SIGKILL)
			_ = consumer.Wait()
		}
		for ctx := within(t); ; {
			got := map[string]int{}
			for _, m := range p.Sent() {
				if _, asked := want[m.Quoted]; asked {
					got[m.Quoted]++
				}
			}
			if maps.Equal(got, want) {
				break
			}
			if harness.Pause(ctx, 50*time.Millisecond) != nil {
				t.Fatalf("%s: the numbers of answers are %v", language, got)
			}
		}
	}
}

// awaitCursor waits until a consumer has dealt with all messages.
func (s *service) awaitCursor(file string) {
	s.t.Helper()
	for ctx := within(s.t); ; {
		cursor, err := os.ReadFile(file)
		if err == nil && len(cursor) > 0 {
			if left, _, err := s.tryList(ctx, strings.TrimSpace(string(cursor))); err == nil && len(left) == 0 {
				return
			}
		}
		if harness.Pause(ctx, 50*time.Millisecond) != nil {
			s.t.Fatalf("the cursor stays at %q, %v", cursor, err)
		}
	}
}
