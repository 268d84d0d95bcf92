package page

import (
	"context"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/observe"
)

// A document lacks names while it is loading and while it goes away. What is asked of the one before
// it, which was ready, must not be answered by those.
func TestMissingNameOfAnotherDocumentProvesNothing(t *testing.T) {
	t.Parallel()
	r := openSender(t, func(o *Options) { o.Receive, o.Timings.Settle = true, time.Hour })
	ready := r.page.views.Get()
	before, _ := r.events.all()
	if err := r.sim.SetFault("modules=late:600000"); err != nil {
		t.Fatal(err)
	}
	r.load()
	if _, err := r.page.views.Await(r.context(), func(v observe.View) bool { return v.Document != ready.Document && v.Page != nil }); err != nil {
		t.Fatal(err)
	}
	text := rpc.Message{ID: ourID(1), To: ada, Text: secret}
	file := fileOf(t, ourID(2), rpc.MediaDocument, "text/plain", []byte("a file"))
	typed, act := text, text
	typed.Typed, act.Act, act.Target = time.Now(), rpc.ActReaction, "3A00"
	act.Text = "👍"
	send := func(m rpc.Message) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.page.Send(ctx, m)
			return err
		}
	}
	for name, call := range map[string]func(context.Context) error{
		"send": send(text), "upload": send(file), "type": send(typed), "act": send(act),
		"lookup": func(ctx context.Context) error {
			_, err := r.page.Lookup(ctx, []rpc.MessageRef{{ID: text.ID, Chat: rpc.ChatAt(ada)}})
			return err
		},
		"contact": func(ctx context.Context) error {
			_, err := r.page.Contact(ctx, phoneOfAda)
			return err
		},
		"receive": func(ctx context.Context) error {
			_, err := r.page.Receive(ctx, rpc.ReceiveQuery{Limit: 1})
			return err
		},
		"mark read": func(ctx context.Context) error {
			_, err := r.page.Receive(ctx, rpc.ReceiveQuery{Keys: []rpc.Secret{"false_1@c.us_3A00"}, Errand: rpc.MarkRead})
			return err
		},
	} {
		if err := r.asked(ready, call); sendCode(err) != rpc.SendNotReady {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.probes(ready)
	after, _ := r.events.all()
	for _, e := range after[len(before):] {
		if o, ok := e.body.(rpc.SendingObserved); ok && o.Typing {
			t.Errorf("reported %+v", o)
		}
		if o, ok := e.body.(rpc.ReceivingObserved); ok && strings.HasSuffix(o.Why, "is missing") {
			t.Errorf("reported %+v", o)
		}
	}
	r.never(text.ID)
	r.never(file.ID)
}

// asked makes a call while the page was last observed as it was before, and returns its error.
func (r *rig) asked(before observe.View, call func(context.Context) error) (err error) {
	for ctx := r.context(); ctx.Err() == nil; {
		r.page.views.Set(before)
		err = call(ctx)
		if e, ok := err.(*rpc.SendError); !ok || e.Detail != "the page is not ready" { //nolint:errorlint // it is what was returned
			return err
		}
	}
	return err
}

// probes has the page asked what it can do while it was last observed as it was before.
func (r *rig) probes(before observe.View) {
	from, _ := r.events.all()
	answered := func(all []event) (sending, receiving bool) {
		for _, e := range all {
			s, ok := e.body.(rpc.SendingObserved)
			sending = sending || ok && s.Why == "the page is still loading"
			r, ok := e.body.(rpc.ReceivingObserved)
			receiving = receiving || ok && !r.Possible
		}
		return sending, receiving
	}
	for ctx := r.context(); ctx.Err() == nil; {
		r.page.views.Set(before)
		r.page.messages.Observed()
		r.page.inbox.Observed()
		all, changed := r.events.all()
		if sending, receiving := answered(all[len(from):]); sending && receiving {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // the page was observed meanwhile
		}
	}
	r.t.Error("nobody has asked the page")
}
