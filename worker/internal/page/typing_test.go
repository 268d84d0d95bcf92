package page

import (
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
)

// typeText has a text typed, as the supervisor does where a function of sending is gone.
func (r *rig) typeText(m rpc.Message) (rpc.MessageState, error) {
	r.t.Helper()
	if m.Typed.IsZero() {
		m.Typed = time.Now()
	}
	return r.sendWhole(m)
}

// latest waits until the server has n messages, and returns the last one.
func (r *rig) latest(n int) (last simulator.Sent) {
	r.t.Helper()
	check(r.t, r.sim.AwaitSent(r.context(), func(all []simulator.Sent) bool {
		if len(all) == n {
			last = all[n-1]
		}
		return len(all) >= n
	}))
	return last
}

// received is how many messages the server has with this text.
func (r *rig) received(text string) (n int) {
	for _, s := range r.sim.Sent() {
		if s.Text == text {
			n++
		}
	}
	return n
}

// TestTextIsTypedWhereFunctionsAreGone has one Chrome for all that may happen then.
func TestTextIsTypedWhereFunctionsAreGone(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := openSender(t)
	r.isTyped()
	r.isNotTypedUnlessSure(t)
	r.isLookedForInDoubt(t)
}

func (r *rig) isTyped() {
	t := r.t
	if seen := r.again(false, "modules=missing:WAWebSendTextMsgChatAction"); !seen.Typing || seen.Account == (rpc.Account{}) {
		t.Errorf("reported %+v", seen)
	}
	r.sendsNothing(ourID(1), stranger, rpc.SendPagePathGone)
	began := time.Now()
	for i, tc := range []struct {
		to   rpc.Secret
		text string
	}{{stranger, secret}, {stranger, "two\n\nlines"}, {ada, secret + " again"}, {ada, secret + " once more"}, {ada, secret + " again"}} {
		s, err := r.typeText(rpc.Message{ID: ourID(2 + i), To: tc.to, Text: rpc.Secret(tc.text)})
		if err != nil || s.ID != ourID(2+i) || !s.Row.Valid() || !s.Stored {
			t.Fatalf("typed: %+v, %v", s, err)
		}
		if last := r.latest(i + 1); last.ID != string(s.Row) || last.Text != tc.text || last.Chat != string(tc.to) {
			t.Errorf("the server has %+v", last)
		}
	}
	last := r.latest(5).ID
	check(t, r.sim.Ack(last, 3))
	r.awaitAck(0, rpc.MessageID(last), 3)
	r.isOnlyLookedFor(began)
}

// isOnlyLookedFor checks that a repetition types nothing.
func (r *rig) isOnlyLookedFor(began time.Time) {
	t := r.t
	if s, err := r.typeText(rpc.Message{ID: ourID(2), To: stranger, Text: secret, Typed: began, Again: true}); err != nil || r.received(secret) != 1 || !s.Row.Valid() {
		t.Errorf("looked for: %+v, %v", s, err)
	}
	r.again(false, "modules=missing:WAWebSendTextMsgChatAction")
	if s, err := r.typeText(rpc.Message{ID: ourID(2), To: stranger, Text: secret, Typed: began, Again: true}); err != nil || r.received(secret) != 1 {
		t.Errorf("looked for after a reload: %+v, %v", s, err)
	}
	// Rows that are drawn later are not the one that was typed.
	s, err := r.typeText(rpc.Message{ID: ourID(8), To: ada, Text: secret + " again"})
	if last, n := r.latest(6), r.received(secret+" again"); err != nil || string(s.Row) != last.ID || n != 3 {
		t.Errorf("typed like another one: %+v, %v; the server has %+v of %d", s, err, r.sim.Sent(), n)
	}
	m := rpc.Message{ID: ourID(2), To: stranger, Text: secret, Typed: time.Now().Add(time.Minute), Again: true}
	if s, err := r.typeText(m); err == nil || sendCode(err) != "" || r.received(secret) != 1 {
		t.Errorf("looked for in vain: %+v, %v", s, err)
	}
}

func (r *rig) isNotTypedUnlessSure(t *testing.T) {
	plain := rpc.Message{ID: ourID(1), To: stranger, Text: secret}
	group, reply := plain, plain
	group.To, reply.ReplyTo = simulator.Group, "3A00"
	for _, tc := range first([]struct {
		fault string
		m     rpc.Message
		want  rpc.SendCode
	}{
		{"composer=changes", plain, rpc.SendPagePathGone},
		{"composer=elsewhere", plain, rpc.SendPagePathGone},
		{"composer=dialog", plain, rpc.SendPagePathGone},
		{"composer=voice", plain, rpc.SendPagePathGone},
		{"exists=none", plain, rpc.SendLookupFailed},
		{"composer=draft", plain, rpc.SendNotReady},
		{"composer=ignores", plain, rpc.SendPagePathGone},
		{"composer=restricted", plain, rpc.SendPagePathGone},
		{"dataid=bare", group, rpc.SendPagePathGone},
		{"dataid=bare", reply, rpc.SendPagePathGone},
		{"exists=error", plain, rpc.SendLookupFailed},
	}, 2) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			r.again(true, tc.fault)
			before := len(r.sim.Sent())
			s, err := r.typeText(tc.m)
			if sendCode(err) != tc.want {
				t.Errorf("%+v, %v", s, err)
			}
			r.keeps(err)
			if n := len(r.sim.Sent()) - before; n != 0 {
				t.Errorf("%d messages were sent", n)
			}
			if words := r.composed(); words != "" && tc.want != rpc.SendNotReady {
				t.Errorf("left %q", words)
			}
		})
	}
}

// composed is what the page's field for messages holds.
func (r *rig) composed() (words string) {
	r.t.Helper()
	field := `(document.querySelector('#main [contenteditable]') || { innerText: "" }).innerText.trim()`
	d, err := r.page.target.Document(r.context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Release(r.context())
	if err := d.Isolated(r.context(), &words, field); err != nil {
		r.t.Fatal(err)
	}
	return words
}

// isLookedForInDoubt checks that what was pressed, and not seen, is only looked for afterwards.
func (r *rig) isLookedForInDoubt(t *testing.T) {
	for i, tc := range first([]struct {
		fault string
		times int // it is sent
	}{
		{"reload=in-send:stored", 0}, {"reload=in-send:acked", 1}, {"composer=dead", 0}, {"reload=in-send:built", 0}, {"reload=in-send:written", 1}, {"crash=in-send:acked", 1},
	}, 2) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			text := secret + " " + tc.fault
			m := rpc.Message{ID: ourID(i), To: stranger, Text: rpc.Secret(text), Typed: time.Now()}
			r.again(true, tc.fault)
			if s, err := r.typeText(m); err == nil || sendCode(err) != "" {
				t.Errorf("typed: %+v, %v", s, err)
			}
			if tc.fault == "composer=dead" && r.composed() != "" {
				t.Error("the text is left in the field")
			}
			if tc.fault == "composer=dead" {
				return
			}
			r.again(true)
			m.Again = true
			s, err := r.typeText(m)
			if found := err == nil && s.Row.Valid(); found != (tc.times > 0) && tc.fault != "reload=in-send:stored" || sendCode(err) != "" {
				t.Errorf("looked for: %+v, %v", s, err)
			}
			if n := r.received(text); n != tc.times {
				t.Errorf("sent %d times, want %d", n, tc.times)
			}
		})
	}
}
