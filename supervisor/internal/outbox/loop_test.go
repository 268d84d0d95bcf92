package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/worker"
)

// sender stands for the worker and the page: a table of rows, of which those of the present
// life are pending until ack is called, and what the server was sent.
type sender struct {
	mu       sync.Mutex
	rows     map[rpc.MessageID]*rpc.MessageState
	server   []string // texts, in order, once each
	at       []time.Time
	texts    map[rpc.MessageID]string
	contacts map[string]rpc.Contact
	asked    []string
	restarts []worker.RestartRequest
	// before is called with each message, outside of the lock; its error is returned. after is called
	// when the row is stored.
	before, after func(context.Context, rpc.Message) error
	// typed, if it is set, returns the row of a text that is typed.
	typed func(rpc.Message) rpc.MessageID
	// mute: the server does not acknowledge.
	mute bool
	// looking is called for each Lookup, if it is set; its error is returned.
	looking func([]rpc.MessageRef) error
}

func newSender() *sender {
	return &sender{rows: map[rpc.MessageID]*rpc.MessageState{}, texts: map[rpc.MessageID]string{}, contacts: map[string]rpc.Contact{}}
}

func (s *sender) Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error) {
	if s.before != nil {
		if err := s.before(ctx, m); err != nil {
			return rpc.MessageState{}, err
		}
	}
	if s.typed != nil && !m.Typed.IsZero() {
		return rpc.MessageState{ID: m.ID, Row: s.typed(m), Stored: true, Ack: 1}, nil
	}
	s.mu.Lock()
	row := s.rows[m.ID]
	if row == nil {
		row = &rpc.MessageState{ID: m.ID, Chat: rpc.ChatAt(m.To), Stored: true}
		s.rows[m.ID] = row
	}
	if row.Ack == 0 && !row.Pending {
		row.Pending = true
		if s.texts[m.ID] == "" {
			s.texts[m.ID] = string(m.Text)
			s.server = append(s.server, string(m.Text))
			s.at = append(s.at, time.Now())
		}
		if !s.mute {
			row.Ack, row.Pending = 1, false
		}
	}
	state := *row
	s.mu.Unlock()
	if s.after != nil {
		if err := s.after(ctx, m); err != nil {
			return rpc.MessageState{}, err
		}
	}
	return state, nil
}

func (s *sender) Lookup(ctx context.Context, refs []rpc.MessageRef) (all []rpc.MessageState, err error) {
	if s.looking != nil {
		if err := s.looking(refs); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		state := rpc.MessageState{ID: r.ID}
		if row := s.rows[r.ID]; row != nil {
			state = *row
		}
		all = append(all, state)
	}
	return all, nil
}

func (s *sender) Contact(_ context.Context, phone rpc.Secret) (rpc.Contact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, string(phone))
	if c, ok := s.contacts[string(phone)]; ok {
		return c, nil
	}
	return rpc.Contact{OnWhatsApp: true, KnownChat: true}, nil
}

func (s *sender) RequestRestart(_ context.Context, r worker.RestartRequest) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts = append(s.restarts, r)
	return time.Time{}, nil
}

// set changes a row.
func (s *sender) set(id rpc.MessageID, change func(*rpc.MessageState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.rows[id])
}

func (s *sender) sentTexts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.server)
}

// rig is an outbox with such a page.
type rig struct {
	*Outbox
	*sender
	t       *testing.T
	files   *media.Store
	stop    func()
	log     *bytes.Buffer
	changes []Message
}

// inBubble runs a test whose time is its own.
func inBubble(t *testing.T, test func(*rig)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.outbox")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, sender: newSender(), log: &bytes.Buffer{}, files: media.New(path+".media", media.DefaultLimits())}
		r.start(path)
		test(r)
		r.stop()
		ids := regexp.MustCompile(`3EB0[0-9A-F]{18}`) // which are random, and may have the digits of a number
		if s := ids.ReplaceAllString(r.log.String(), ""); strings.Contains(s, "secret") || strings.Contains(s, "54911") {
			t.Errorf("logged: %s", s)
		}
	})
}

func (r *rig) start(path string) {
	r.Outbox, r.stop = start(r.t, Options{
		Path: path, Media: r.files, Sender: r.sender, Logger: slog.New(slog.NewJSONHandler(r.log, nil)),
		Changed: func(m Message) { r.changes = append(r.changes, m) }, Random: func() float64 { return 0.5 },
	})
}

func (r *rig) event(body rpc.EventBody) {
	r.Notice(worker.FromWorker{Event: rpc.Event{Body: body}})
}

// ready has the page become ready, for an account.
func (r *rig) ready(account rpc.Secret) {
	r.Notice(worker.Spawning{})
	r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.event(rpc.SendingObserved{Possible: true, Account: by(account)})
	synctest.Wait()
}

// gone ends the instance: what was pending in the page is only left over.
func (r *rig) gone() {
	r.Notice(worker.Exiting{})
	r.sender.mu.Lock()
	for _, row := range r.rows {
		row.Pending = false
	}
	r.sender.mu.Unlock()
	synctest.Wait()
}

// restarted returns the requests to restart.
func (r *rig) restarted() []worker.RestartRequest {
	r.sender.mu.Lock()
	defer r.sender.mu.Unlock()
	return slices.Clone(r.restarts)
}

const me = rpc.Secret("15550001@c.us")

// by is the account that is known by an address.
func by(address rpc.Secret) rpc.Account { return rpc.AccountAt(string(address)) }

func (r *rig) to(address, text string) Message {
	r.t.Helper()
	return accept(r.t, r.Outbox, Request{Message: rpc.Message{To: rpc.Secret(address), Text: rpc.Secret(text)}})
}

// after lets time pass, and checks the status of a message.
func (r *rig) after(d time.Duration, id rpc.MessageID, want Status) Message {
	r.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	m, err := r.Message(id)
	if err != nil || m.Status != want {
		r.t.Errorf("got %s (%s), %v, want %s", m.Status, m.Code, err, want)
	}
	return m
}

func (r *rig) server(want ...string) {
	r.t.Helper()
	if got := r.sentTexts(); !slices.Equal(got, want) {
		r.t.Errorf("the server has %v, want %v", got, want)
	}
}

func TestMessageIsSentAndItsAcksFollowed(t *testing.T) {
	inBubble(t, func(r *rig) {
		m := r.to("5491111@c.us", "secret")
		r.after(time.Minute, m.ID, Queued)
		r.ready(me)
		r.after(time.Second, m.ID, Sent)
		r.event(rpc.MessageChanged{ID: m.ID, Ack: 2})
		synctest.Wait()
		r.event(rpc.MessageChanged{ID: m.ID, Ack: 1})
		r.event(rpc.MessageChanged{ID: "3EB0FFFFFFFFFFFFFFFFFF", Ack: 3}) // another companion's
		r.event(rpc.MessageChanged{ID: "x", Ack: 3})
		r.after(0, m.ID, Delivered)
		r.set(m.ID, func(s *rpc.MessageState) { s.Ack = 3 }) // the event gets lost
		m = r.after(roundPause, m.ID, Read)
		r.server("secret")
		var got []Status
		for _, c := range r.changes {
			got = append(got, c.Status)
		}
		if want := []Status{Queued, Sending, Sent, Delivered, Read}; !slices.Equal(got, want) {
			t.Errorf("reported %v", got)
		}
		if m.Attempts != 1 || len(m.Times) != 5 || m.Chat.Phone != "5491111@c.us" {
			t.Errorf("got %+v", m)
		}
		if _, err := r.Cancel(r.t.Context(), m.ID); !errors.Is(err, ErrNotQueued) {
			t.Errorf("cancel: %v", err)
		}
	})
}

func TestOrderIsKeptPerChat(t *testing.T) {
	inBubble(t, func(r *rig) {
		hang := make(chan struct{})
		r.before = func(ctx context.Context, m rpc.Message) error {
			if m.Text == "a1" {
				select {
				case <-hang:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		}
		first := r.to("1@c.us", "a1")
		r.to("1@c.us", "a2")
		r.to("1@c.us", "a3")
		r.ready(me)
		r.after(time.Second, first.ID, Sending)
		for i := range 3 {
			r.to("2@c.us", fmt.Sprint("b", i+1))
		}
		r.after(30*time.Second, first.ID, Sending)
		r.server("b1", "b2", "b3")
		r.after(30*time.Second, first.ID, Unknown)
		close(hang)
		r.after(time.Minute, first.ID, Sent)
		r.server("b1", "b2", "b3", "a1", "a2", "a3")
		for i, at := range r.at[1:3] {
			if gap := at.Sub(r.at[i]); gap < 3*time.Second || gap > 4*time.Second {
				t.Errorf("%v between two messages of a chat", gap)
			}
		}
	})
}

// Regardless of what happens in a send, the server gets the message once, under its id.
func TestDoubtIsResolvedByTheID(t *testing.T) {
	for name, tt := range map[string]struct{ before, after error }{
		"worker gone before":    {before: rpc.ErrWorkerGone},
		"worker gone after":     {after: rpc.ErrWorkerGone},
		"no answer":             {after: context.DeadlineExceeded},
		"page not ready":        {before: &rpc.SendError{Code: rpc.SendNotReady}},
		"lookup failed":         {before: &rpc.SendError{Code: rpc.SendLookupFailed}},
		"no worker":             {before: worker.ErrNoWorker},
		"an error of the page":  {after: errors.New("x")},
		"a duplicate was found": {after: errors.New("DuplicateMessageError")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				tries := 0
				once := func(err error) func(context.Context, rpc.Message) error {
					return func(context.Context, rpc.Message) error {
						if tries++; tries == 1 {
							return err
						}
						return nil
					}
				}
				if tt.before != nil {
					r.before = once(tt.before)
				} else {
					r.sender.after = once(tt.after)
				}
				m := r.to("5491111@c.us", "secret")
				r.ready(me)
				r.gone()
				if got, _ := r.Message(m.ID); got.Status != Sending && got.Status != Unknown && got.Status != Sent {
					t.Errorf("got %+v", got)
				}
				r.ready(me)
				r.after(time.Minute, m.ID, Sent)
				r.server("secret")
			})
		})
	}
}

func TestUnacknowledgedMessageRestartsThePage(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mute = true
		m := r.to("5491111@c.us", "secret")
		other := r.to("5492222@c.us", "secret2")
		r.ready(me)
		r.after(55*time.Second, m.ID, Sending)
		if got := r.restarted(); len(got) > 0 || !r.Hold().IsZero() && r.Hold().After(time.Now()) {
			t.Errorf("restarted %v, held until %v", got, r.Hold())
		}
		r.after(30*time.Second, m.ID, Sending)
		if got := r.restarted(); len(got) != 1 || got[0].Reason != reason.SendsStuck {
			t.Fatalf("got %+v", got)
		}
		r.gone()
		r.after(0, m.ID, Unknown)
		r.mute = false
		r.ready(me)
		r.after(10*time.Second, m.ID, Sent)
		r.after(0, other.ID, Sent)
		r.server("secret", "secret2")
		if got := r.after(0, m.ID, Sent); got.Attempts != 2 {
			t.Errorf("%d attempts", got.Attempts)
		}
	})
}

func TestRestartWaitsForWhatIsBeingSent(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mute = true
		m := r.to("5491111@c.us", "secret")
		if !r.Hold().IsZero() {
			t.Error("held while nothing is sent")
		}
		r.ready(me)
		r.after(restartRoom-time.Millisecond, m.ID, Queued)
		r.after(time.Second, m.ID, Sending)
		next := r.to("5492222@c.us", "another secret")
		if left := time.Until(r.Hold()); left < 20*time.Second || left > holdTime {
			t.Errorf("held for %v", left)
		}
		for range 10 { // as long as the restart wants to begin
			r.after(time.Second, next.ID, Queued)
			r.Hold()
		}
		r.event(rpc.MessageChanged{ID: m.ID, Ack: 1})
		r.after(time.Second, m.ID, Sent)
		if !r.Hold().IsZero() {
			t.Errorf("held until %v", r.Hold())
		}
		r.after(restartRoom+time.Second, next.ID, Sending)
	})
}

func TestRestartWaitsForNothingOfAnEndedLink(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mute = true
		m := r.to("5491111@c.us", "secret")
		r.ready(me)
		r.after(time.Second, m.ID, Sending)
		if r.Hold().IsZero() {
			t.Error("not held while it is sent")
		}
		r.event(rpc.PageObserved{Condition: rpc.PageLoggedOut})
		synctest.Wait()
		if !r.Hold().IsZero() {
			t.Errorf("held until %v", r.Hold())
		}
	})
}

func TestFailuresAreFinal(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.contacts["1"] = rpc.Contact{}
		r.before = func(_ context.Context, m rpc.Message) error {
			if m.To == "2@g.us" {
				return &rpc.SendError{Code: rpc.SendGroupNotWritable}
			}
			return nil
		}
		r.mute = true
		nobody, group, refused, silent := r.to("1@c.us", "a"), r.to("2@g.us", "b"), r.to("3@c.us", "c"), r.to("4@c.us", "d")
		r.ready(me)
		time.Sleep(10 * time.Second)
		r.event(rpc.MessageChanged{ID: refused.ID, Ack: -1, Refusal: 479})
		r.set(silent.ID, func(s *rpc.MessageState) { s.Ack, s.Pending = -1, false })
		for id, want := range map[rpc.MessageID]Code{
			nobody.ID: "not_on_whatsapp", group.ID: "group_not_writable", refused.ID: CodeRefused, silent.ID: CodeRefused,
		} {
			if m := r.after(time.Minute, id, Failed); m.Code != want {
				t.Errorf("got %s, want %s", m.Code, want)
			}
		}
		if m := r.after(0, refused.ID, Failed); m.WhatsAppCode != 479 {
			t.Errorf("got %+v", m)
		}
		if m := r.after(0, silent.ID, Failed); m.Attempts != 2 {
			t.Errorf("what the page gave up was tried %d times", m.Attempts)
		}
		r.server("c", "d")
	})
}

func TestWaitingMessageExpiresOrIsCancelled(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.ready(me)
		r.event(rpc.SendingObserved{Account: by(me)})
		cancelled, expired := r.to("1@c.us", "a"), r.to("1@c.us", "b")
		if m, err := r.Cancel(r.t.Context(), cancelled.ID); err != nil || m.Status != Cancelled {
			t.Errorf("got %+v, %v", m, err)
		}
		r.after(DefaultExpiry-time.Minute, expired.ID, Queued)
		r.after(time.Minute, expired.ID, Expired)
		r.event(rpc.SendingObserved{Account: by(me), Possible: true})
		r.after(time.Minute, cancelled.ID, Cancelled)
		r.server()
	})
}

func TestOnlyTheAccountsOwnMessagesAreSent(t *testing.T) {
	inBubble(t, func(r *rig) {
		early := r.to("1@c.us", "early")
		r.ready(me)
		r.after(time.Minute, early.ID, Sent)
		r.gone()
		waiting := r.to("1@c.us", "waiting")
		r.ready(me) // the same number was linked again
		r.after(time.Minute, waiting.ID, Sent)
		r.gone()
		lost := r.to("1@c.us", "lost")
		r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
		synctest.Wait()
		fresh := r.to("1@c.us", "fresh")
		r.ready("15550002@c.us")
		if m := r.after(time.Minute, lost.ID, Failed); m.Code != CodeAccountChanged {
			t.Errorf("got %s", m.Code)
		}
		r.after(0, fresh.ID, Sent)
		r.server("early", "waiting", "fresh")
	})
}

func TestStrangersArePacedAndRestrictionsHeeded(t *testing.T) {
	inBubble(t, func(r *rig) {
		for i := range 23 {
			r.contacts[fmt.Sprint("54911", i)] = rpc.Contact{OnWhatsApp: true}
		}
		r.ready(me)
		restricted := rpc.NewChats{Restricted: true, RestrictedUntil: time.Now().Add(time.Hour)}
		r.event(rpc.SendingObserved{Possible: true, Account: by(me), NewChats: restricted})
		var ids []rpc.MessageID
		for i := range 23 {
			ids = append(ids, r.to(fmt.Sprint("54911", i, "@c.us"), fmt.Sprint(i)).ID)
		}
		known := r.to("7@c.us", "known").ID
		if m := r.after(10*time.Minute, ids[0], Queued); m.Code != "new_chats_restricted" || !m.Until.Equal(restricted.RestrictedUntil.Truncate(time.Millisecond)) {
			t.Errorf("got %+v", m)
		}
		r.after(0, known, Sent)
		time.Sleep(time.Hour)
		r.event(rpc.SendingObserved{Possible: true, Account: by(me)})
		if m := r.after(10*time.Minute, ids[22], Queued); m.Code != CodePaced {
			t.Errorf("got %+v", m)
		}
		if got := len(r.sentTexts()); got != 21 {
			t.Errorf("%d were sent on the first day", got)
		}
		for i := 2; i < len(r.at); i++ {
			if gap := r.at[i].Sub(r.at[i-1]); gap < 45*time.Second {
				t.Errorf("%v between two strangers", gap)
			}
		}
		// A restart does not forget who was written to.
		path := r.o.Path
		r.stop()
		r.start(path)
		r.ready(me)
		r.after(time.Hour, ids[22], Queued)
	})
}

func TestRestrictionOfThePageStopsFirstContacts(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.contacts["1"], r.contacts["2"] = rpc.Contact{OnWhatsApp: true}, rpc.Contact{OnWhatsApp: true}
		until := time.Now().Add(30 * time.Minute)
		r.before = func(_ context.Context, m rpc.Message) error {
			if time.Now().Before(until) && m.To != "3@c.us" {
				return &rpc.SendError{Code: rpc.SendNewChatsCapped, Until: until}
			}
			return nil
		}
		a := r.to("1@c.us", "a")
		r.ready(me)
		r.after(10*time.Second, a.ID, Sending)
		b, c := r.to("2@c.us", "b"), r.to("3@c.us", "c") // either of two chats may be tried first
		r.after(10*time.Second, c.ID, Sent)
		if m := r.after(time.Minute, b.ID, Queued); m.Code != "new_chats_capped" {
			t.Errorf("got %+v", m)
		}
		r.after(time.Hour, a.ID, Sent)
		r.after(0, b.ID, Sent)
		r.server("c", "a", "b")
	})
}

func TestStopKeepsWhatAMessageBecame(t *testing.T) {
	inBubble(t, func(r *rig) {
		release := make(chan struct{})
		r.sender.after = func(context.Context, rpc.Message) error { <-release; return nil }
		m := r.to("1@c.us", "a")
		r.ready(me)
		r.after(time.Second, m.ID, Sending)
		path := r.o.Path
		go func() { time.Sleep(3 * time.Second); close(release) }()
		r.stop()
		r.start(path)
		r.after(0, m.ID, Sent)
	})
}

func TestPurgeWhileMessagesAreSent(t *testing.T) {
	inBubble(t, func(r *rig) {
		release := make(chan struct{})
		r.sender.after = func(context.Context, rpc.Message) error { <-release; return nil }
		m := r.to("1@c.us", "a")
		r.to("1@c.us", "b")
		r.ready(me)
		r.after(time.Second, m.ID, Sending)
		if err := r.Purge(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		close(release)
		next := r.to("1@c.us", "c")
		r.after(time.Minute, next.ID, Sent)
		if _, err := r.Message(m.ID); !errors.Is(err, ErrUnknownMessage) {
			t.Errorf("got %v", err)
		}
		r.server("a", "c")
	})
}

// Faults at random, of the page, the worker and the supervisor: the server gets each message
// once, in the order of its chat, and it is known to be sent.
func TestRandomFaultsLeaveEachMessageSentOnce(t *testing.T) {
	seeds := uint64(5)
	if *thorough {
		seeds = 500
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(r *rig) { surviveFaults(r, rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func surviveFaults(r *rig, random, faults *rand.Rand) {
	var mu sync.Mutex
	calm := false
	fault := func(ctx context.Context, _ rpc.Message) error {
		mu.Lock()
		n := faults.IntN(10)
		if calm {
			n = 9
		}
		mu.Unlock()
		switch n {
		case 0:
			return rpc.ErrWorkerGone
		case 1:
			<-ctx.Done()
			return ctx.Err()
		case 2:
			time.Sleep(20 * time.Second)
		}
		return nil
	}
	r.before, r.sender.after = fault, fault
	chats := []string{"1@c.us", "2@lid", "3@g.us"}
	want := map[string][]string{}
	var ids []rpc.MessageID
	for i := range 40 {
		switch n := random.IntN(8); n {
		case 0:
			r.gone()
		case 1, 2:
			r.ready(me)
		case 3:
			path := r.o.Path
			r.stop()
			r.gone()
			r.start(path)
		case 4:
			r.sender.mu.Lock()
			r.mute = !r.mute
			r.sender.mu.Unlock()
		default:
			chat := chats[random.IntN(len(chats))]
			text := fmt.Sprint(chat, " secret ", i)
			ids = append(ids, r.to(chat, text).ID)
			want[chat] = append(want[chat], text)
		}
		time.Sleep(time.Duration(random.IntN(40_000)) * time.Millisecond)
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	r.sender.mu.Lock()
	r.mute = false
	r.sender.mu.Unlock()
	r.gone()
	r.ready(me)
	time.Sleep(time.Hour)
	for _, id := range ids {
		r.after(0, id, Sent)
	}
	got := map[string][]string{}
	for _, text := range r.sentTexts() {
		chat, _, _ := strings.Cut(text, " ")
		got[chat] = append(got[chat], text)
	}
	if d := cmp.Diff(want, got); d != "" {
		r.t.Error(d)
	}
}

// Until the page has reported whose account is linked now, nothing of the last one is sent.
func TestNothingIsSentForAnUnknownAccount(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.ready(me)
		r.event(rpc.SendingObserved{Account: by(me)})
		m := r.to("1@c.us", "a")
		r.event(rpc.PageObserved{Condition: rpc.PageLoggedOut})
		r.event(rpc.SendingObserved{Possible: true})
		r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
		r.after(30*time.Second, m.ID, Queued)
		r.event(rpc.SendingObserved{Possible: true, Account: by("15550002@c.us")})
		r.after(time.Second, m.ID, Failed)
	})
}

// That the login is on disk may be observed after the page has reported that it can send.
func TestPageThatIsPersistedLateSendsAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		m := r.to("1@c.us", "a")
		early := rpc.PageObserved{Condition: rpc.PageReady, Registered: true}
		r.event(early)
		r.event(rpc.SendingObserved{Possible: true, Account: by(me)})
		r.event(early)
		r.after(30*time.Second, m.ID, Queued)
		r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
		r.after(time.Second, m.ID, Sent)
	})
}

// A page without the function for its number reports the LID of the same account.
func TestAccountUnderAnotherAddressFailsNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.ready(me)
		m := r.to("1@c.us", "a")
		r.event(rpc.SendingObserved{Account: by("77@lid")})
		r.ready("77@lid")
		r.after(time.Second, m.ID, Sent)
		next := r.to("1@c.us", "b")
		r.ready(me)
		r.after(10*time.Second, next.ID, Sent)
	})
}

// Each name that is known at any time to be the account's is enough to know it by.
func TestAccountIsKnownByEachOfItsNames(t *testing.T) {
	const lid, number, unlinked = "77@lid", string(me), ""
	both, other := lid+" "+number, "15550002@c.us"
	for _, tc := range []struct {
		linked []string // one after the other; the message comes with the first one
		want   Status
	}{
		{[]string{lid, unlinked, both}, Sent},
		{[]string{number, unlinked, both}, Sent},
		{[]string{both, unlinked, lid}, Sent},
		{[]string{both, unlinked, number}, Sent},
		{[]string{lid, both, unlinked, number}, Sent},
		{[]string{lid, number, unlinked, number}, Sent}, // nobody has unlinked the phone in between
		{[]string{lid, unlinked, number}, Queued},       // nobody knows
		{[]string{lid, unlinked, number, both}, Sent},
		{[]string{lid, unlinked, number, "78@lid " + number}, Failed},
		{[]string{number, unlinked, lid, "77@lid " + other}, Failed},
		{[]string{both, unlinked, other}, Failed},
		{[]string{both, unlinked, "78@lid"}, Failed},
		{[]string{both, unlinked, "78@lid " + other}, Failed},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.linked, restarts), func(t *testing.T) {
				inBubble(t, func(r *rig) {
					var m Message
					for i, names := range tc.linked {
						if names == unlinked {
							r.event(rpc.PageObserved{Condition: rpc.PageUnlinked})
						} else {
							r.event(rpc.SendingObserved{Possible: i == len(tc.linked)-1, Account: rpc.AccountAt(strings.Fields(names)...)})
						}
						synctest.Wait()
						if i == 0 {
							m = r.to("1@c.us", "secret")
						}
						if restarts && i == 1 {
							r.stop()
							r.start(r.store.file.Path)
							r.event(rpc.SendingObserved{Account: rpc.AccountAt(strings.Fields(names)...)})
						}
					}
					r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
					m = r.after(time.Minute, m.ID, tc.want)
					if tc.want == Failed && m.Code != CodeAccountChanged {
						t.Errorf("it has failed: %s", m.Code)
					}
				})
			})
		}
	}
}

// stall keeps the database from doing anything until the result is called.
func (r *rig) stall() func() {
	release := make(chan struct{})
	r.store.do(job{read: func(messages) error { <-release; return nil }})
	return func() { close(release) }
}

// A caller who learns that the outbox is unavailable may send the message in another way.
func TestRequestThatWasGivenUpIsNotAccepted(t *testing.T) {
	inBubble(t, func(r *rig) {
		release := r.stall()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		if _, _, err := r.Accept(ctx, withFile(r.t, r.files, "key", "content")); !errors.Is(err, ErrUnavailable) {
			r.t.Errorf("got %v", err)
		}
		refused := 0
		for range 2 * maxAsked {
			r.store.do(job{write: func(*transaction) error { return nil }, done: func(err error) {
				if err != nil {
					refused++
				}
			}})
		}
		if refused < maxAsked {
			r.t.Errorf("%d were refused", refused)
		}
		release()
		synctest.Wait()
		if n := r.Stats().ByStatus[Queued]; n != 0 || len(names(r.t, r.files)) != 0 {
			r.t.Errorf("%d were accepted, and there are files %v", n, names(r.t, r.files))
		}
	})
}

// What was decided before the disk hung is decided again afterwards.
func TestSlowDiskSendsOnlyWhatIsStillRight(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(*rig)
		want      Status
	}{
		"expired":         {func(*rig) { time.Sleep(DefaultExpiry) }, Expired},
		"account changed": {func(r *rig) { r.event(rpc.SendingObserved{Possible: true, Account: by("15550002@c.us")}) }, Failed},
		"not ready":       {func(r *rig) { r.event(rpc.PageObserved{Condition: rpc.PageDisconnected}) }, Sending},
		"nothing":         {func(*rig) {}, Sent},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.ready(me)
				r.event(rpc.SendingObserved{Account: by(me)})
				m := r.to("5491111@g.us", "secret")
				release := r.stall()
				r.event(rpc.SendingObserved{Possible: true, Account: by(me)})
				synctest.Wait()
				tt.meanwhile(r)
				synctest.Wait()
				release()
				r.after(firstPause+time.Second, m.ID, tt.want)
				if tt.want != Sent {
					r.server()
				}
			})
		})
	}
}

// A message that lacks its text, which an imported file may bring about, concerns no other.
// A message whose text or file is damaged or lost fails, and is in no other's way.
func TestMessageWithoutItsContentFails(t *testing.T) {
	for name, damage := range map[string]string{
		"no text": "DELETE FROM content WHERE seq = 1", "garbage": "UPDATE content SET body = 'x' WHERE seq = 1",
		"too long":      `UPDATE content SET body = '{"text":"' || printf('%.70000c', 'x') || '"}' WHERE seq = 1`,
		"blank":         `UPDATE content SET body = '{"text":" "}' WHERE seq = 1`,
		"mentions":      `UPDATE content SET body = '{"text":"a","mentions":["all"]}' WHERE seq = 1`,
		"reply":         `UPDATE content SET body = '{"text":"a","reply_to":"x y"}' WHERE seq = 1`,
		"a file":        `UPDATE content SET body = '{"text":"a","file":{"kind":"image","mime":"a/b","size":3}}' WHERE seq = 1`,
		"no file":       `UPDATE content SET body = '{"text":"a","file":{"kind":"image","mime":"a/b","size":3}}' WHERE seq = 1; UPDATE message SET entry = json_set(entry, '$.file', 3) WHERE seq = 1`,
		"kind":          `UPDATE content SET body = '{"text":"a","file":{"kind":"x","mime":"a/b","size":3}}' WHERE seq = 1; UPDATE message SET entry = json_set(entry, '$.file', 3) WHERE seq = 1`,
		"nothing to do": `UPDATE message SET entry = json_set(entry, '$.act', 'dance', '$.target', 'A') WHERE seq = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bad, next, other := r.to("1@g.us", "a"), r.to("1@g.us", "b"), r.to("2@g.us", "c")
				if err := r.store.ask(r.t.Context(), job{read: func(db messages) error { return db.Exec(damage) }}); err != nil {
					t.Fatal(err)
				}
				r.stop()
				r.start(r.store.file.Path)
				r.ready(me)
				if m := r.after(10*time.Second, bad.ID, Failed); m.Code != Code(rpc.SendInvalid) || m.Attempts > 1 {
					t.Errorf("got %+v", m)
				}
				r.after(0, next.ID, Sent)
				r.after(0, other.ID, Sent)
				if strings.Contains(r.log.String(), "outbox_write_failed") || len(r.restarted()) > 0 {
					t.Errorf("it counts as a failure of others: %s", r.log.String())
				}
			})
		})
	}
}

// What the page does not get rid of costs the others ever fewer restarts.
func TestStuckMessagesRestartThePageSeldom(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mute = true
		for i := range 3 {
			r.to(fmt.Sprint(i, "@g.us"), "stuck")
		}
		r.ready(me)
		seen := 0
		for range 24 * 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := len(r.restarted()); n > seen {
				seen = n
				r.gone()
				r.ready(me)
			}
		}
		if seen < 3 || seen > 10 {
			t.Errorf("%d restarts within a day", seen)
		}
	})
}

// Another life of the page may send what this one gives no answer for.
func TestLastingDoubtRestartsThePage(t *testing.T) {
	inBubble(t, func(r *rig) {
		lives := 1
		r.before = func(context.Context, rpc.Message) error {
			if lives == 1 {
				return errors.New("the page may still store it")
			}
			return nil
		}
		m := r.to("1@c.us", "a")
		r.ready(me)
		r.after(3*time.Minute, m.ID, Unknown)
		if n := len(r.restarted()); n != 1 {
			t.Fatalf("%d restarts", n)
		}
		lives++
		r.gone()
		r.ready(me)
		r.after(3*time.Minute, m.ID, Sent)
	})
}

// A page that answers, but can't ask its server, is not restarted because of a former doubt.
func TestFailedLookupsRestartNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		tries := 0
		r.before = func(context.Context, rpc.Message) error {
			if tries++; tries == 1 {
				return errors.New("x")
			}
			return &rpc.SendError{Code: rpc.SendLookupFailed}
		}
		m := r.to("1@c.us", "a")
		r.ready(me)
		r.after(time.Hour, m.ID, Unknown)
		if n := len(r.restarted()); n > 0 {
			t.Errorf("%d restarts", n)
		}
	})
}

// A message that the page has no way for stops the others only if theirs fail, too.
func TestOneImpossibleMessageStopsNoOther(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.before = func(_ context.Context, m rpc.Message) error {
			if m.Text != "good" {
				return &rpc.SendError{Code: rpc.SendPagePathGone}
			}
			return nil
		}
		bad, good := r.to("1@c.us", "bad"), r.to("2@c.us", "good")
		r.ready(me)
		r.after(5*time.Second, good.ID, Sent)
		r.after(0, bad.ID, Sending)
		r.to("3@c.us", "bad")
		r.to("4@c.us", "bad")
		last := r.to("5@c.us", "good")
		r.after(10*time.Second, last.ID, Queued) // until the page is asked again
		for range 4 {                            // a message that is impossible may be tried first, once
			r.event(rpc.SendingObserved{Possible: true, Account: by(me)})
			time.Sleep(5 * time.Second)
		}
		r.after(0, last.ID, Sent)
	})
}

// All messages are looked up, however many there are and however slow the page is, and
// those in doubt need not wait for that.
func TestManyMessagesAreAllLookedUp(t *testing.T) {
	inBubble(t, func(r *rig) {
		var slow atomic.Bool
		r.looking = func([]rpc.MessageRef) error {
			if slow.Load() {
				time.Sleep(20 * time.Second)
			}
			return nil
		}
		var ids []rpc.MessageID
		for i := range 2*rpc.MaxLookup + 10 {
			ids = append(ids, r.to(fmt.Sprint(i, "@g.us"), fmt.Sprint(i)).ID)
		}
		r.ready(me)
		r.after(10*time.Minute, ids[len(ids)-1], Sent)
		for _, id := range ids {
			r.set(id, func(s *rpc.MessageState) { s.Ack = 3 })
		}
		slow.Store(true)
		r.after(roundPause+3*time.Minute, ids[len(ids)-1], Read)
	})
}

// Who has written to us meanwhile need not wait for the end of a restriction.
func TestAnswerEndsTheWaitForARestriction(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.contacts["1"] = rpc.Contact{OnWhatsApp: true}
		until := time.Now().Add(20 * time.Hour)
		known := false
		r.before = func(context.Context, rpc.Message) error {
			if !known {
				return &rpc.SendError{Code: rpc.SendNewChatsRestricted, Until: until}
			}
			return nil
		}
		m := r.to("1@c.us", "a")
		r.ready(me)
		r.after(time.Minute, m.ID, Sending)
		known = true
		r.sender.mu.Lock()
		r.contacts["1"] = rpc.Contact{OnWhatsApp: true, KnownChat: true}
		r.sender.mu.Unlock()
		r.after(strangerLife+maxPause, m.ID, Sent)
	})
}

// WhatsApp can end a restriction before the time that it announced.
func TestRestrictionThatIsLiftedHoldsUpNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.contacts["1"] = rpc.Contact{OnWhatsApp: true}
		until, lifted := time.Now().Add(20*time.Hour), time.Now().Add(time.Hour)
		r.before = func(context.Context, rpc.Message) error {
			if time.Now().Before(lifted) {
				return &rpc.SendError{Code: rpc.SendNewChatsRestricted, Until: until}
			}
			return nil
		}
		m := r.to("1@c.us", "a")
		r.ready(me)
		r.after(time.Minute, m.ID, Sending)
		r.event(rpc.SendingObserved{Possible: true, Account: by(me), NewChats: rpc.NewChats{Restricted: true, RestrictedUntil: until}})
		r.after(time.Hour, m.ID, Sending)
		r.event(rpc.SendingObserved{Possible: true, Account: by(me)})
		r.after(maxPause, m.ID, Sent)
	})
}

// A restart that asked before the clock was set back holds up nothing afterwards.
func TestClockSetBackHoldsUpNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.ready(me)
		r.Hold()
		r.wanted.Store(time.Now().Add(time.Hour).UnixMilli())
		m := r.to("1@c.us", "a")
		r.after(restartRoom, m.ID, Sent)
	})
}

func TestNothingRunsOnAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoop(New(Options{Path: filepath.Join(t.TempDir(), "admin.outbox")}))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ended := false
		l.post(func(l *loop) {
			l.calls.begin(func(ctx context.Context) func(*loop) {
				<-ctx.Done()
				time.Sleep(time.Second)
				ended = true
				return func(*loop) {}
			})
		})
		if l.run(ctx); !ended {
			t.Error("a call outlives the loop")
		}
	})
}

// A message that the page can't look up keeps no other from being looked up.
func TestOneFailingLookupStopsNoOther(t *testing.T) {
	inBubble(t, func(r *rig) {
		bad := r.to("1@c.us", "bad").ID
		other := r.to("2@c.us", "other").ID
		r.looking = func(refs []rpc.MessageRef) error {
			if slices.ContainsFunc(refs, func(ref rpc.MessageRef) bool { return ref.ID == bad }) {
				return &rpc.SendError{Code: rpc.SendLookupFailed}
			}
			return nil
		}
		r.before = func(context.Context, rpc.Message) error { return rpc.ErrWorkerGone }
		r.ready(me)
		r.after(10*time.Second, other, Unknown)
		r.gone()
		r.before = nil
		r.ready(me)
		r.after(10*time.Minute, other, Sent)
		r.after(0, bad, Unknown)
	})
}
