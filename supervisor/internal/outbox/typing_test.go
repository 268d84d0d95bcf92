package outbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// typist is a page that has lost a function of sending. Texts that are typed come to be known by rows of their own.
type typist struct {
	pressed map[string]int
	// answer is the page's for a text, once it is typed or looked for.
	answer map[string]error
	typed  []rpc.Message
}

func (p *typist) send(_ context.Context, m rpc.Message) error {
	if m.Typed.IsZero() {
		return &rpc.SendError{Code: rpc.SendPagePathGone}
	}
	p.typed = append(p.typed, m)
	if !m.Again {
		p.pressed[string(m.Text)]++
	}
	return p.answer[string(m.Text)]
}

// canOnlyType has the page ready, and unable to send but by typing.
func (r *rig) canOnlyType() {
	r.Notice(worker.Spawning{})
	r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.event(rpc.SendingObserved{Typing: true, Why: "x is missing", Account: by(me)})
}

func TestTextsAreTypedOnceWhereFunctionsAreGone(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.o.Typing = true
		p := &typist{pressed: map[string]int{}, answer: map[string]error{
			"lost": rpc.ErrWorkerGone, "refused": &rpc.SendError{Code: rpc.SendNotReady, Detail: "the page's field for messages is in use"},
		}}
		r.before = p.send
		sent, lost, next := r.to("1@c.us", "typed"), r.to("2@c.us", "lost"), r.to("2@c.us", "next")
		refused, group := r.to("3@c.us", "refused"), r.to("9@g.us", "group")
		r.canOnlyType()
		r.after(30*time.Minute, sent.ID, Sent)
		r.after(0, lost.ID, Unknown)
		r.after(0, next.ID, Sent)
		r.after(0, refused.ID, Sending)
		r.after(0, group.ID, Queued)
		if p.pressed["typed"] != 1 || p.pressed["lost"] != 1 || p.pressed["next"] != 1 || p.pressed["refused"] < 2 {
			t.Errorf("typed %v", p.pressed)
		}
		looks := len(p.typed)
		r.gone()
		r.canOnlyType()
		r.after(time.Hour, lost.ID, Unknown)
		again := 0
		for _, m := range p.typed[looks:] {
			if m.Text == "lost" {
				again++
				if !m.Again {
					t.Error("typed again")
				}
			}
		}
		if again != 1 || p.pressed["lost"] != 1 {
			t.Errorf("looked for %d times, typed %d times", again, p.pressed["lost"])
		}
		delete(p.answer, "lost")
		r.gone()
		r.canOnlyType()
		r.after(time.Minute, lost.ID, Sent)
		if len(r.restarted()) != 0 {
			t.Error("the page was restarted")
		}
	})
}

// TestRowOfAnotherMessageIsNotTaken has the page find a message by its text that is another one's.
func TestRowOfAnotherMessageIsNotTaken(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.o.Typing = true
		rows := []rpc.MessageID{"3EB0FFFFFFFFFFFFFFFFF1", "3EB0FFFFFFFFFFFFFFFFF1", "3EB0FFFFFFFFFFFFFFFFF2"}
		var names []rpc.MessageID
		r.typed = func(m rpc.Message) rpc.MessageID {
			names = append(names, m.ID)
			row := rows[0]
			rows = rows[1:]
			return row
		}
		one, other := r.to("1@c.us", "alike"), r.to("1@c.us", "alike")
		r.canOnlyType()
		r.after(10*time.Minute, one.ID, Sent)
		r.after(0, other.ID, Unknown)
		r.gone()
		r.canOnlyType()
		r.after(time.Minute, other.ID, Sent)
		if !slices.Equal(names, []rpc.MessageID{one.ID, other.ID, other.ID}) {
			t.Errorf("typed %v", names)
		}
		// The page reports on what it knows, and so does what is done to it.
		r.event(rpc.MessageChanged{ID: "3EB0FFFFFFFFFFFFFFFFF2", Ack: 3, At: time.Now()})
		r.event(rpc.MessageChanged{ID: "3EB0FFFFFFFFFFFFFFFFF3", Ack: 3, At: time.Now()})
		r.after(0, other.ID, Read)
		r.after(0, one.ID, Sent)
		if err := r.store.ask(context.Background(), job{read: func(db messages) error {
			got, err := db.named(string(other.ID))
			if got != "3EB0FFFFFFFFFFFFFFFFF2" {
				t.Errorf("named %q", got)
			}
			return err
		}}); err != nil {
			t.Error(err)
		}
	})
}

// The page may have lost what says whose it is.
func TestRestartWaitsForWhatIsTyped(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.o.Typing = true
		typing := make(chan struct{})
		r.before = func(context.Context, rpc.Message) error { <-typing; return nil }
		r.ready(me)
		r.gone()
		r.Notice(worker.Spawning{})
		r.event(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
		r.event(rpc.SendingObserved{Typing: true, Why: "x is missing"})
		m := r.to("1@c.us", "secret")
		r.after(time.Second, m.ID, Sending)
		if r.Hold().IsZero() {
			t.Error("a restart would not wait for it")
		}
		close(typing)
		r.after(time.Second, m.ID, Sent)
	})
}

// What the page has given an id is sent again by that, once its functions are there.
func TestTypedRowIsRepeatedByItsOwnID(t *testing.T) {
	e := typedAt(typeable(through(Sending)))
	e.Row = "3EB0FFFFFFFFFFFFFFFFFF"
	for _, tt := range []struct {
		name string
		p    page
		want step
	}{
		{"by typing alone", page{readySince: t0, typing: true}, idle},
		{"by functions", page{readySince: t0, possible: true}, send},
	} {
		if got, _ := next(e, sight{at: t0}, tt.p, t0); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestNothingIsTypedUnlessAllowed(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := &typist{pressed: map[string]int{}}
		r.before = p.send
		m := r.to("1@c.us", "a")
		r.canOnlyType()
		r.after(time.Hour, m.ID, Queued)
		r.event(rpc.SendingObserved{Possible: true, Account: by(me)}) // until it turns out that it can't
		r.after(time.Hour, m.ID, Sending)
		if len(p.typed) != 0 {
			t.Errorf("typed %v", p.pressed)
		}
	})
}

// What may have been sent by the page's functions is never typed.
func TestMessageInDoubtIsNotTyped(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    entry
		want bool
	}{
		{"queued", queued(), false},
		{"a text", typeable(queued()), true},
		{"in doubt", typeable(through(Sending, Unknown)), false},
		{"typed in doubt", typedAt(typeable(through(Sending, Unknown))), true},
	} {
		p := page{readySince: t0, typing: true}
		if p.maySend(tt.e) != tt.want {
			t.Errorf("%s: %v", tt.name, !tt.want)
		}
	}
	if v := outcome(typedAt(typeable(through(Sending))), false, &rpc.SendError{Code: rpc.SendPagePathGone}, 0, t0); v.entry.Typed != 0 || v.entry.Touched {
		t.Errorf("what was not pressed counts as typed: %+v", v.entry)
	}
	left := typedAt(typeable(through(Sending, Unknown)))
	if got := left.acked(rpc.MessageState{ID: left.ID, Row: "3EB0FFFFFFFFFFFFFFFFFF", Stored: true, Ack: 1}, t0); got.Status != Sent || got.ref().ID != got.Row {
		t.Errorf("got %+v", got)
	}
}

func typeable(e entry) entry { e.Typeable = true; return e }

func typedAt(e entry) entry { e.Typed = millis(t0); return e }
