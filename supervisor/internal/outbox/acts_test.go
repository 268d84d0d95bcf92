package outbox

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

// do has something done to a message.
func (r *rig) do(kind rpc.Act, target rpc.MessageID, text string) Message {
	r.t.Helper()
	return accept(r.t, r.Outbox, Request{Message: rpc.Message{Act: kind, Target: string(target), Text: rpc.Secret(text)}})
}

func TestActsFollowTheirMessage(t *testing.T) {
	inBubble(t, func(r *rig) {
		var mu sync.Mutex // a lookup and what is done next can overlap
		var done []rpc.Message
		refusals := map[rpc.Secret]error{"late": &rpc.SendError{Code: rpc.SendEditTooLate}, "gone": &rpc.SendError{Code: rpc.SendPagePathGone}}
		r.before = func(_ context.Context, m rpc.Message) error {
			mu.Lock()
			defer mu.Unlock()
			done = append(done, m)
			return refusals[m.Text]
		}
		r.looking = func(refs []rpc.MessageRef) error {
			mu.Lock()
			defer mu.Unlock()
			for _, ref := range refs {
				if slices.ContainsFunc(done, func(m rpc.Message) bool { return m.ID == ref.ID && m.Act != "" }) {
					t.Errorf("an act is looked up")
				}
			}
			return nil
		}
		m := r.to("5491111@c.us", "secret")
		first, second := r.do(rpc.ActEdit, m.ID, "first secret"), r.do(rpc.ActEdit, m.ID, "second secret")
		late, gone, reaction := r.do(rpc.ActEdit, m.ID, "late"), r.do(rpc.ActEdit, m.ID, "gone"), r.do(rpc.ActReaction, m.ID, "+")
		revoke := r.do(rpc.ActRevoke, m.ID, "")
		other := r.to("5491112@c.us", "other secret")
		if first.To != m.To || first.Act != rpc.ActEdit || first.Target != string(m.ID) || first.Ended() {
			t.Errorf("accepted %+v", first)
		}
		r.ready(me)
		r.after(2*time.Minute, revoke.ID, Sent)
		r.after(0, other.ID, Sent)
		for id, code := range map[rpc.MessageID]Code{late.ID: "edit_too_late", gone.ID: "page_path_gone"} {
			if m := r.after(0, id, Failed); m.Code != code || m.Attempts != 1 {
				t.Errorf("got %+v", m)
			}
		}
		if m := r.after(0, second.ID, Sent); !m.Ended() {
			t.Error("a done act does not end")
		}
		r.after(3*roundPause, reaction.ID, Sent)
		doneOnce(t, done, m.To, []rpc.MessageID{m.ID, first.ID, second.ID, late.ID, gone.ID, reaction.ID, revoke.ID})
		r.gone()
		r.refusesActs(revoke.ID)
	})
}

// doneOnce checks what was sent to a chat.
func doneOnce(t *testing.T, done []rpc.Message, to rpc.Secret, want []rpc.MessageID) {
	t.Helper()
	var order []rpc.MessageID
	for _, d := range done {
		if d.To == to {
			order = append(order, d.ID)
		}
		if d.Again {
			t.Errorf("%s was done before", d.ID)
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

// refusesActs checks what nothing can be done to.
func (r *rig) refusesActs(act rpc.MessageID) {
	r.t.Helper()
	cancelled := r.to("9@g.us", "never")
	if _, err := r.Cancel(r.t.Context(), cancelled.ID); err != nil {
		r.t.Fatal(err)
	}
	for _, tt := range []struct {
		target string
		to     rpc.Secret
		want   error
	}{
		{string(act), "", ErrNotSent},
		{string(cancelled.ID), "", ErrNotSent},
		{"3A0000", "", ErrUnknownMessage},
		{"3A0000", "x", ErrInvalid},
		{"3A0000", "5491111@c.us", nil},
	} {
		_, _, err := r.Accept(r.t.Context(), Request{Message: rpc.Message{Act: rpc.ActReaction, Target: tt.target, To: tt.to, Text: "+"}})
		if !errors.Is(err, tt.want) {
			r.t.Errorf("%s in %s: got %v, want %v", tt.target, tt.to, err, tt.want)
		}
	}
}

func TestActInDoubtIsDoneAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		var again []bool
		r.before = func(_ context.Context, m rpc.Message) error {
			if m.Act == "" {
				return nil
			}
			again = append(again, m.Again)
			if len(again) == 1 {
				return rpc.ErrWorkerGone
			}
			return nil
		}
		m := r.to("5491111@c.us", "secret")
		a := r.do(rpc.ActRevoke, m.ID, "")
		r.ready(me)
		r.after(4*time.Second, a.ID, Unknown)
		r.gone()
		r.ready(me)
		r.after(time.Minute, a.ID, Sent)
		if !slices.Equal(again, []bool{false, true}) {
			t.Errorf("got %v", again)
		}
	})
}

func TestStaleRefusalIsTriedOnceMore(t *testing.T) {
	inBubble(t, func(r *rig) {
		tries := map[string]int{}
		r.before = func(_ context.Context, m rpc.Message) error {
			if tries[string(m.Text)]++; m.Text == "cured" && tries["cured"] == 2 {
				r.set(m.ID, func(s *rpc.MessageState) { s.Ack, s.Refusal = 1, 0 })
			}
			return nil
		}
		r.mute = true
		cured, lost := r.to("1@c.us", "cured"), r.to("2@c.us", "lost")
		r.ready(me)
		time.Sleep(5 * time.Second)
		for _, id := range []rpc.MessageID{cured.ID, lost.ID} {
			r.set(id, func(s *rpc.MessageState) { s.Ack, s.Refusal, s.Pending = -1, staleContact, false })
			r.event(rpc.MessageChanged{ID: id, Ack: -1, Refusal: staleContact})
		}
		r.after(time.Minute, lost.ID, Failed)
		if m := r.after(0, lost.ID, Failed); m.WhatsAppCode != staleContact {
			t.Errorf("got %+v", m)
		}
		r.after(time.Minute, cured.ID, Sent)
		if tries["lost"] != 2 || tries["cured"] != 2 {
			t.Errorf("tried %v times", tries)
		}
	})
}

// A person is one line, by whichever address each message was sent, once that is known.
func TestNumberAndLIDAreOneLine(t *testing.T) {
	inBubble(t, func(r *rig) {
		person := rpc.Contact{OnWhatsApp: true, KnownChat: true, Phone: "1@c.us", LID: "77@lid"}
		r.contacts["1"], r.contacts["77@lid"] = person, person
		hang := make(chan struct{})
		r.before = func(_ context.Context, m rpc.Message) error {
			if m.Text == "a" {
				<-hang
			}
			return nil
		}
		r.to("1@c.us", "a")
		r.to("77@lid", "b")
		r.to("1@c.us", "c")
		r.to("77@lid", "d")
		r.ready(me)
		time.Sleep(40 * time.Second)
		r.server()
		close(hang)
		time.Sleep(2 * time.Minute)
		r.server("a", "b", "c", "d")
		r.contacts["66@lid"] = rpc.Contact{}
		absent := r.to("66@lid", "e")
		if m := r.after(time.Minute, absent.ID, Failed); m.Code != "not_on_whatsapp" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestQueueJoinsPeople(t *testing.T) {
	q := newQueue()
	for i, to := range []string{"1@c.us", "7@lid", "8@lid", "1@c.us", "7@lid", "3@g.us"} {
		e := queued()
		e.ID, e.To = rpc.MessageID(string(someID[:21])+string(rune('0'+i))), to
		q.put(e)
	}
	q.join("7@lid", "", "8@lid")
	q.join("8@lid", "1@c.us")
	q.join("x", "1@c.us")
	line := q.chats["1@c.us"]
	if len(q.chats) != 2 || line == nil || len(line.line) != 5 || !slices.IsSortedFunc(line.line, func(a, b *item) int { return int(a.number) - int(b.number) }) {
		t.Fatalf("got %+v", q.chats)
	}
	for _, it := range slices.Clone(line.line) {
		if it.chat != line {
			t.Errorf("%s is in another chat", it.entry().To)
		}
		q.remove(it)
	}
	if len(q.chats) != 1 || q.person("7@lid") != "1@c.us" || q.person("8@lid") != "1@c.us" || q.person("1@c.us") != "1@c.us" {
		t.Errorf("got %+v, %v", q.chats, q.same)
	}
}

func TestPeopleAreKnownAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.outbox")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, sender: newSender(), log: nil}
		b, stop := start(t, Options{Path: path, Sender: r.sender})
		m := accept(t, b, request("", "text"))
		if err := b.store.ask(t.Context(), job{write: updater(m.ID, func(e entry) entry {
			return e.acked(rpc.MessageState{ID: e.ID, Stored: true, Ack: 1, Chat: rpc.Chat{Phone: rpc.Secret(e.To), LID: "77@lid"}}, time.Now())
		})}); err != nil {
			t.Fatal(err)
		}
		stop()
		db, err := database.Open(path, format)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if people, err := (messages{db}).people(); err != nil || len(people) != 1 || people[0][2] != "77@lid" {
			t.Errorf("got %v, %v", people, err)
		}
	})
}

func TestOnlyItsOwnChangesWakeAWaiter(t *testing.T) {
	b, _ := start(t, Options{Path: filepath.Join(t.TempDir(), "admin.outbox")})
	other, mine := accept(t, b, request("", "a")), Message{}
	for mine.ID == "" || b.waits.place(mine.ID) == b.waits.place(other.ID) {
		mine = accept(t, b, request("", "b"))
	}
	_, changed, err := b.Changed(mine.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cancel(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("woken by another message")
	default:
	}
	if _, err := b.Cancel(t.Context(), mine.ID); err != nil {
		t.Fatal(err)
	}
	<-changed
}

func TestImportedMessageStaysWithoutItsKey(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "admin.outbox"), filepath.Join(t.TempDir(), "admin.outbox")
	b, stop := start(t, Options{Path: from})
	same, imported := accept(t, b, request("key-1", "one")), accept(t, b, request("key-2", "two"))
	stop()
	exported := filepath.Join(t.TempDir(), "exported")
	if _, err := Export(from, exported); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(exported, to); err != nil {
		t.Fatal(err)
	}
	b, stop = start(t, Options{Path: to})
	if err := b.store.ask(t.Context(), job{write: func(tx *transaction) error {
		return tx.Exec("DELETE FROM message WHERE id = ?", string(imported.ID))
	}}); err != nil {
		t.Fatal(err)
	}
	kept := accept(t, b, request("key-2", "another"))
	stop()
	if n, err := Import(exported, to); err != nil || n != (Imported{Keyless: 1}) {
		t.Fatalf("%+v, %v", n, err)
	}
	b, _ = start(t, Options{Path: to})
	for _, id := range []rpc.MessageID{same.ID, imported.ID, kept.ID} {
		if m, err := b.Message(id); err != nil || m.Status != Queued {
			t.Errorf("got %+v, %v", m, err)
		}
	}
	if m := accept(t, b, request("key-2", "another")); m.ID != kept.ID {
		t.Error("the key is another message's")
	}
}
