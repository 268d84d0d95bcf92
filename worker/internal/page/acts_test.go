package page

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
)

// act does something to a message, as often as it takes until the outcome is known.
func (r *rig) act(m rpc.Message) (rpc.MessageState, error) {
	r.t.Helper()
	m.To = ada
	for deadline := time.Now().Add(patience); ; {
		s, err := r.sendWhole(m)
		e, definite := errors.AsType[*rpc.SendError](err)
		waiting := definite && (e.Code == rpc.SendNotReady || e.Code == rpc.SendLookupFailed) || err == nil && s.Pending
		if !waiting || time.Now().After(deadline) {
			return s, err
		}
		r.pause()
	}
}

func (r *rig) mustAct(m rpc.Message) {
	r.t.Helper()
	if s, err := r.act(m); err != nil || s.ID != m.ID || s.Ack != 1 || s.Pending {
		r.t.Fatalf("%s of %s: %+v, %v", m.Act, m.Target, s, err)
	}
}

func (r *rig) refusesAct(m rpc.Message, want rpc.SendCode) {
	r.t.Helper()
	if s, err := r.act(m); sendCode(err) != want {
		r.t.Errorf("%s: %+v, %v; want %s", m.Act, s, err, want)
	}
	if slices.ContainsFunc(r.sim.Acts(), func(a simulator.Act) bool { return a.Target == m.Target && a.Kind == string(m.Act) }) {
		r.t.Errorf("the server has it all the same: %+v", r.sim.Acts())
	}
}

// target sends a message that something can be done to.
func (r *rig) target(n int) string {
	r.t.Helper()
	r.mustSend(ourID(n), ada)
	r.arrived(ourID(n), 1)
	for r.lookup(ourID(n), ada).Ack < 1 {
		r.pause()
	}
	return string(ourID(n))
}

// effect returns what the server has of a message.
func (r *rig) effect(id string) simulator.Sent {
	for _, s := range r.sim.Sent() {
		if s.ID == id {
			return s
		}
	}
	return simulator.Sent{}
}

func TestActsAreDoneRefusedAndRepeated(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	one := r.target(1)
	r.mustAct(rpc.Message{ID: ourID(2), Act: rpc.ActEdit, Target: one, Text: "first"})
	r.mustAct(rpc.Message{ID: ourID(3), Act: rpc.ActEdit, Target: one, Text: "second"})
	r.mustAct(rpc.Message{ID: ourID(3), Act: rpc.ActEdit, Target: one, Text: "second", Again: true})
	if got := r.effect(one); got.Edited != "second" || len(r.sim.Acts()) != 2 {
		t.Errorf("the server has %+v of %+v", got, r.sim.Acts())
	}
	theirs := r.sim.Receive("15550101001", "a question")
	for r.lookupReply(theirs) != nil {
		r.pause()
	}
	r.mustAct(rpc.Message{ID: ourID(4), Act: rpc.ActReaction, Target: theirs, Text: "👍"})
	r.mustAct(rpc.Message{ID: ourID(5), Act: rpc.ActReaction, Target: theirs})
	if acts := r.sim.Acts()[2:]; len(acts) != 2 || acts[0].Text != "👍" || acts[1].Text != "" || acts[1].Target != theirs {
		t.Errorf("the server has %+v", acts)
	}
	r.mustAct(rpc.Message{ID: ourID(6), Act: rpc.ActRevoke, Target: one})
	if got := r.effect(one); !got.Revoked {
		t.Errorf("the server has %+v", got)
	}
	before := len(r.sim.Acts())
	r.mustAct(rpc.Message{ID: ourID(7), Act: rpc.ActRevoke, Target: one, Again: true})
	if s, err := r.act(rpc.Message{ID: ourID(8), Act: rpc.ActRevoke, Target: one}); sendCode(err) != rpc.SendMessageNotFound {
		t.Errorf("of what is gone: %+v, %v", s, err)
	}
	if len(r.sim.Acts()) != before {
		t.Errorf("the server has %+v", r.sim.Acts())
	}
	r.refusesAct(rpc.Message{ID: ourID(9), Act: rpc.ActReaction, Target: "3A0000", Text: "👍"}, rpc.SendMessageNotFound)
	r.refusesAct(rpc.Message{ID: ourID(10), Act: rpc.ActEdit, Target: theirs, Text: "mine"}, rpc.SendNotEditable)
	r.refusesAct(rpc.Message{ID: ourID(11), Act: rpc.ActRevoke, Target: theirs}, rpc.SendNotRevocable)
	if _, err := r.page.Send(r.context(), rpc.Message{ID: ourID(12), To: ada, Act: "report", Target: theirs, Text: "x"}); err == nil {
		t.Error("an unknown act is done")
	}
	if n := r.sim.Traps(); n > 0 {
		t.Errorf("the page has noticed %d foreign scripts", n)
	}
	r.areRefusedOrRepeated(t)
}

// lookupReply returns why a message of somebody else can't be replied to yet.
func (r *rig) lookupReply(id string) error {
	_, err := r.page.Send(r.context(), rpc.Message{ID: ourID(0xAAAA), To: ada, Text: secret, ReplyTo: id})
	return err
}

// areRefusedOrRepeated does each in pages with faults.
func (r *rig) areRefusedOrRepeated(t *testing.T) {
	for i, tc := range first([]struct {
		fault        string
		edit, revoke rpc.SendCode // empty where they are done after a reload
	}{
		{"acts=late", rpc.SendEditTooLate, rpc.SendRevokeTooLate},
		{"modules=missing:WAWebSendMessageEditAction", rpc.SendPagePathGone, ""},
		{"reload=in-send:stored", "", ""},
		{"acts=forbidden", rpc.SendNotEditable, rpc.SendNotRevocable},
		{"signature=changed:WAWebChatSendMessages", "", rpc.SendPagePathGone},
		{"crash=in-send:stored", "", ""},
		{"socket=drop-after-write", "", ""},
		{"ack=refuse:479", "", ""},
		{"reload=in-send:acked", "", ""},
		{"reload=in-send:built", "", ""},
		{"reload=in-send:written", "", ""},
	}, 3) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			if tc.fault == "acts=late" {
				r.again(true, tc.fault)
			} else {
				r.again(true)
			}
			target, another := r.target(100*i+100), r.target(100*i+101)
			r.again(true, tc.fault)
			edit := rpc.Message{ID: ourID(100*i + 102), Act: rpc.ActEdit, Target: target, Text: "edited"}
			revoke := rpc.Message{ID: ourID(100*i + 103), Act: rpc.ActRevoke, Target: another}
			for _, step := range []struct {
				m    rpc.Message
				want rpc.SendCode
			}{{edit, tc.edit}, {revoke, tc.revoke}} {
				if step.want != "" {
					r.refusesAct(step.m, step.want)
					continue
				}
				ctx, cancel := context.WithTimeout(r.context(), 5*time.Second)
				step.m.To = ada
				if s, err := r.page.Send(ctx, step.m); sendCode(err) != "" && sendCode(err) != rpc.SendNotReady && sendCode(err) != rpc.SendLookupFailed {
					t.Errorf("%s: %+v, %v", step.m.Act, s, err)
				}
				cancel()
				r.again(true)
				step.m.Again = true
				r.mustAct(step.m)
				if step.m.Act == rpc.ActRevoke {
					r.again(true, tc.fault)
				}
			}
			if got := r.effect(target).Edited; (got == "edited") != (tc.edit == "") {
				t.Errorf("the text is now %q", got)
			}
			if got := r.effect(another).Revoked; got != (tc.revoke == "") {
				t.Errorf("revoked: %v", got)
			}
		})
	}
}
