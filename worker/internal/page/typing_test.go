package page

import (
	"slices"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
)

// typeText has a text typed, as the supervisor does where a function of sending is gone.
func (r *rig) typeText(m rpc.Message) (rpc.MessageState, error) {
	r.t.Helper()
	if m.Typed.IsZero() {
		m.Typed = time.Now()
	}
	return r.page.Send(r.context(), m)
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

func TestTextIsTypedWhereFunctionsAreGone(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	if seen := r.again(false, "modules=missing:WAWebSendTextMsgChatAction"); !seen.Typing || seen.Account == "" {
		t.Errorf("reported %+v", seen)
	}
	r.sendsNothing(ourID(1), stranger, rpc.SendPagePathGone)
	began := time.Now()
	for i, tc := range []struct {
		to   rpc.Secret
		text string
	}{{stranger, secret}, {stranger, "two\nlines"}, {ada, secret + " again"}} {
		s, err := r.typeText(rpc.Message{ID: ourID(2 + i), To: tc.to, Text: rpc.Secret(tc.text)})
		if err != nil || s.ID != ourID(2+i) || !s.Row.Valid() || !s.Stored {
			t.Fatalf("typed: %+v, %v", s, err)
		}
		sent := r.sim.Sent()
		if last := sent[len(sent)-1]; last.ID != string(s.Row) || last.Text != tc.text || last.Chat != string(tc.to) || r.received(tc.text) != 1 {
			t.Errorf("the server has %+v", last)
		}
	}
	// A repetition only looks.
	if s, err := r.typeText(rpc.Message{ID: ourID(2), To: stranger, Text: secret, Typed: began, Again: true}); err != nil || r.received(secret) != 1 || !s.Row.Valid() {
		t.Errorf("looked for: %+v, %v", s, err)
	}
	r.again(false, "modules=missing:WAWebSendTextMsgChatAction")
	if s, err := r.typeText(rpc.Message{ID: ourID(2), To: stranger, Text: secret, Typed: began, Again: true}); err != nil || r.received(secret) != 1 {
		t.Errorf("looked for after a reload: %+v, %v", s, err)
	}
	for _, m := range []rpc.Message{
		{ID: ourID(9), To: stranger, Text: "never sent", Typed: began, Again: true},
		{ID: ourID(2), To: stranger, Text: secret, Typed: time.Now().Add(time.Minute), Again: true},
	} {
		if s, err := r.typeText(m); err == nil || sendCode(err) != "" || r.received("never sent") != 0 {
			t.Errorf("looked for in vain: %+v, %v", s, err)
		}
	}
}

func TestNothingIsTypedWhereThatIsNotSure(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	plain := rpc.Message{ID: ourID(1), To: stranger, Text: secret}
	group, reply := plain, plain
	group.To, reply.ReplyTo = simulator.Group, "3A00"
	for _, tc := range first([]struct {
		fault string
		m     rpc.Message
		want  rpc.SendCode
	}{
		{"composer=changes", plain, rpc.SendPagePathGone},
		{"composer=restricted", plain, rpc.SendPagePathGone},
		{"exists=none", plain, rpc.SendLookupFailed},
		{"composer=draft", plain, rpc.SendNotReady},
		{"dataid=bare", group, rpc.SendPagePathGone},
		{"dataid=bare", reply, rpc.SendPagePathGone},
		{"exists=error", plain, rpc.SendLookupFailed},
	}, 5) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			r.again(true, tc.fault)
			before := len(r.sim.Sent())
			if s, err := r.typeText(tc.m); sendCode(err) != tc.want {
				t.Errorf("%+v, %v", s, err)
			}
			if slices.ContainsFunc(r.sim.Sent(), func(s simulator.Sent) bool { return s.Text == secret }) || len(r.sim.Sent()) != before {
				t.Error("something was sent")
			}
		})
	}
}
