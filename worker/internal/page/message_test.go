package page

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page/observe"
)

// ownAccount is that of the simulator's phone.
var ownAccount = rpc.Account{Phone: "15550100042@c.us", LID: "20000000000042@lid"}

const (
	ada      = rpc.Secret("15550101001@c.us")   // has written to us
	stranger = rpc.Secret("5491122223333@c.us") // has not
	secret   = "the words of the message"
)

// ourID is the n-th id of a message.
func ourID(n int) rpc.MessageID { return rpc.MessageID(fmt.Sprintf("3EB0%018X", n)) }

// unhurried keeps the loop from loading a page again because a test keeps it from reading its messages.
func unhurried(o *Options) {
	o.Timings.Interval, o.Timings.Settle = 500*time.Millisecond, time.Millisecond
	o.Timings.Unreadable = time.Hour
}

// openSender opens a page that is linked and can send.
func openSender(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := open(t, simulator.Options{Speed: 20}, append([]func(*Options){unhurried}, change...)...)
	r.awaitSending(r.link()-1, true)
	return r
}

// awaitSending waits until it is reported that the page can, or can't, send.
func (r *rig) awaitSending(mark int, possible bool) (rpc.SendingObserved, int) {
	r.t.Helper()
	e, next := r.await(mark, fmt.Sprintf("sending possible: %t", possible), func(b rpc.EventBody) bool {
		o, ok := b.(rpc.SendingObserved)
		return ok && o.Possible == possible && !slices.Contains([]string{"the page is not ready", "the page does not answer", "the page is still loading"}, o.Why)
	})
	return e.body.(rpc.SendingObserved), next
}

// again loads the page with other switches, and waits until it is ready.
func (r *rig) again(possible bool, faults ...string) rpc.SendingObserved {
	r.t.Helper()
	r.sim.ClearFaults()
	for _, fault := range faults {
		if err := r.sim.SetFault(fault); err != nil {
			r.t.Fatal(err)
		}
	}
	seen, _ := r.awaitSending(r.load(), possible)
	return seen
}

// send sends a message once the page is ready, which it may cease to be at any time.
func (r *rig) send(id rpc.MessageID, to rpc.Secret) (rpc.MessageState, error) {
	r.t.Helper()
	return r.sendWhole(rpc.Message{ID: id, To: to, Text: secret})
}

func (r *rig) sendWhole(m rpc.Message) (s rpc.MessageState, err error) {
	r.t.Helper()
	err = r.whenReady(func(ctx context.Context) error {
		s, err = r.page.Send(ctx, m)
		return err
	})
	return s, err
}

// whenReady makes a call again for as long as the page could not be asked just then.
func (r *rig) whenReady(call func(context.Context) error) error {
	for ctx := r.context(); ; {
		if _, err := r.page.views.Await(ctx, observe.View.Ready); err != nil {
			return err
		}
		if err := call(ctx); !notNow(err) || ctx.Err() != nil {
			return err
		}
		r.pause()
	}
}

// notNow reports whether a call has reached no page, which may be loading or connecting again at any time.
func notNow(err error) bool {
	e, ok := errors.AsType[*rpc.SendError](err)
	return ok && e.Code == rpc.SendNotReady && slices.ContainsFunc(
		[]string{"the page is not ready", "the document was replaced", "nothing can be typed now"},
		func(why string) bool { return strings.HasPrefix(e.Detail, why) })
}

// read is Page.Receive once the page is ready.
func (r *rig) read(q rpc.ReceiveQuery) (got rpc.Reception, err error) {
	err = r.whenReady(func(ctx context.Context) error {
		got, err = r.page.Receive(ctx, q)
		return err
	})
	return got, err
}

func (r *rig) mustSend(id rpc.MessageID, to rpc.Secret) rpc.MessageState {
	r.t.Helper()
	s, err := r.send(id, to)
	if err != nil || s.ID != id || !s.Stored {
		r.t.Fatalf("Send() = %+v, %v", s, err)
	}
	return s
}

// sendsNothing checks that a message was not sent, for this reason, without its words.
func (r *rig) sendsNothing(id rpc.MessageID, to rpc.Secret, want rpc.SendCode) rpc.SendError {
	r.t.Helper()
	s, err := r.send(id, to)
	e, ok := errors.AsType[*rpc.SendError](err)
	if !ok || e.Code != want || s.Stored {
		r.t.Errorf("Send() = %+v, %v; want %s", s, err, want)
		return rpc.SendError{}
	}
	r.keeps(err)
	r.never(id)
	return *e
}

// keeps checks that an error has nothing of the message.
func (r *rig) keeps(err error) {
	r.t.Helper()
	if err != nil && strings.Contains(err.Error(), secret) {
		r.t.Error("the error has the message's words")
	}
}

func (r *rig) never(id rpc.MessageID) {
	r.t.Helper()
	if slices.ContainsFunc(r.sim.Sent(), func(s simulator.Sent) bool { return s.ID == string(id) }) {
		r.t.Errorf("the server has %s", id)
	}
}

// sendCode returns the code of a SendError, and nothing for other errors.
func sendCode(err error) rpc.SendCode {
	if e, ok := errors.AsType[*rpc.SendError](err); ok {
		return e.Code
	}
	return ""
}

// arrived waits until the server has a message with this ack, and returns it.
func (r *rig) arrived(id rpc.MessageID, ack int) (one simulator.Sent) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	err := r.sim.AwaitSent(ctx, func(all []simulator.Sent) bool {
		i := slices.IndexFunc(all, func(s simulator.Sent) bool { return s.ID == string(id) && s.Ack >= ack })
		if i >= 0 {
			one = all[i]
		}
		return i >= 0
	})
	if err != nil || one.Altered || one.Text != secret {
		r.t.Fatalf("the server has %+v, %v", one, err)
	}
	return one
}

// awaitAck waits for the news, after the mark, that a message has this ack.
func (r *rig) awaitAck(mark int, id rpc.MessageID, ack int) rpc.MessageChanged {
	r.t.Helper()
	e, _ := r.await(mark, fmt.Sprintf("ack %d of %s", ack, id), func(b rpc.EventBody) bool {
		c, ok := b.(rpc.MessageChanged)
		return ok && c.ID == id && c.Ack == ack
	})
	return e.body.(rpc.MessageChanged)
}

// lookup returns the state of one message.
func (r *rig) lookup(id rpc.MessageID, to rpc.Secret) rpc.MessageState {
	r.t.Helper()
	var states []rpc.MessageState
	err := r.whenReady(func(ctx context.Context) (err error) {
		states, err = r.page.Lookup(ctx, []rpc.MessageRef{{ID: ourID(0xFFFF), Chat: rpc.ChatAt(to)}, {ID: id, Chat: rpc.ChatAt(to)}})
		return err
	})
	if err != nil || len(states) != 2 || states[0] != (rpc.MessageState{ID: ourID(0xFFFF)}) || states[1].ID != id {
		r.t.Fatalf("Lookup() = %+v, %v", states, err)
	}
	return states[1]
}

func TestMessageIsSentOnceAndFollowed(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := openSender(t)
	if seen, _ := r.awaitSending(0, true); seen != (rpc.SendingObserved{Possible: true, Account: ownAccount}) {
		t.Errorf("reported %+v", seen)
	}
	id := ourID(1)
	s := r.mustSend(id, ada)
	if s.Ack > 1 || s.Chat.Phone != ada || s.Chat.LID == "" || s.Chat.Group != "" {
		t.Errorf("after: %+v", s)
	}
	r.awaitAck(0, id, 1)
	if err := r.sim.Ack(string(id), 3); err != nil {
		t.Fatal(err)
	}
	if c := r.awaitAck(0, id, 3); time.Since(c.At) > patience || c.Refusal != 0 {
		t.Errorf("changed: %+v", c)
	}
	for _, address := range []rpc.Secret{ada, s.Chat.LID} {
		want := rpc.MessageState{ID: id, Chat: s.Chat, Stored: true, Ack: 3}
		if again, looked := r.mustSend(id, address), r.lookup(id, address); again != want || looked != want {
			t.Errorf("sent again: %+v, looked up: %+v", again, looked)
		}
	}
	if one := r.arrived(id, 3); len(one.Times) != 1 {
		t.Errorf("the server got it %d times", len(one.Times))
	}
	r.checkAddresses()
	r.checkReplies()
	r.checkTraces()
}

// checkTraces checks that listeners are put back, and that the page has noticed nobody.
func (r *rig) checkTraces() {
	r.t.Helper()
	r.spoil(`m("WAWebCollections").Msg.forget()`) // as some builds lose their listeners
	r.mustSend(ourID(30), ada)
	r.awaitAck(0, ourID(30), 1)
	if n := r.sim.Traps(); n > 0 {
		r.t.Errorf("the page has noticed %d foreign scripts", n)
	}
}

// lidOf is the LID that the simulator makes up for a number.
func lidOf(phone string) rpc.Secret {
	digits := []byte(phone)
	slices.Reverse(digits)
	return rpc.Secret("88" + string(digits) + rpc.ServerLID)
}

// checkAddresses sends to people whom the page does not know, and to groups.
func (r *rig) checkAddresses() {
	r.t.Helper()
	r.sim.SetPerson(simulator.Person{Phone: "15550009999", Absent: true})
	r.sendsNothing(ourID(10), "15550009999@c.us", rpc.SendNotOnWhatsApp)
	r.sendsNothing(ourID(11), "120363999999999999@g.us", rpc.SendGroupNotWritable)
	r.checkContacts()
	if s := r.mustSend(ourID(12), "5542987654321@c.us"); s.Chat.Phone != "554287654321@c.us" {
		r.t.Error("the chat does not have the server's spelling of the number")
	}
	r.sendsNothing(ourID(14), lidOf("15550009999"), rpc.SendNotOnWhatsApp)
	if s := r.mustSend(ourID(13), simulator.Group); s.Chat != (rpc.Chat{Group: simulator.Group}) {
		r.t.Errorf("to a group: %+v", s)
	}
	r.arrived(ourID(13), 1)
}

// checkContacts asks for somebody without an account, for a stranger and for somebody known.
func (r *rig) checkContacts() {
	r.t.Helper()
	for whom, want := range map[rpc.Secret]rpc.Contact{
		"15550009999":        {},
		"5542987654321":      {OnWhatsApp: true, Phone: "554287654321@c.us", LID: lidOf("554287654321")},
		"15550101001":        {OnWhatsApp: true, KnownChat: true, Phone: ada, LID: lidOf("15550101001")},
		lidOf("15550101001"): {OnWhatsApp: true, KnownChat: true, Phone: ada, LID: lidOf("15550101001")},
	} {
		var c rpc.Contact
		err := r.whenReady(func(ctx context.Context) (err error) {
			c, err = r.page.Contact(ctx, whom)
			return err
		})
		if err != nil || c != want {
			r.t.Errorf("Contact() = %+v, %v, want %+v", c, err, want)
		}
	}
}

func (r *rig) checkReplies() {
	r.t.Helper()
	theirs := r.sim.Receive("15550101001", "a question")
	m := rpc.Message{ID: ourID(20), To: ada, Text: secret, ReplyTo: theirs, Mentions: []rpc.Secret{"15550101002@c.us"}, Preview: true}
	for deadline := time.Now().Add(patience); ; {
		_, err := r.sendWhole(m)
		e, waiting := errors.AsType[*rpc.SendError](err)
		if err == nil {
			break
		}
		if !waiting || e.Code != rpc.SendReplyNotFound || time.Now().After(deadline) {
			r.t.Fatal(err)
		}
		r.pause()
	}
	if one := r.arrived(m.ID, 1); one.Quoted != theirs || !slices.Equal(one.Mentions, []string{"15550101002@c.us"}) {
		r.t.Errorf("the server has %+v", one)
	}
}

// TestMessageSurvivesFaultsAndRefusals sends with each fault, and then again, as the
// supervisor does after a doubt.
func TestMessageSurvivesFaultsAndRefusals(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	cases := []string{
		"reload=in-send:stored", "store=duplicate", "store=fail", "ack=never", "socket=drop-after-write", "socket=drop-before-write",
		"reload=in-send:built", "reload=in-send:written", "reload=in-send:acked", "crash=in-send:stored", "crash=in-send:written",
	}
	for i, fault := range first(cases, 3) {
		t.Run(fault, func(t *testing.T) {
			r.t = t
			r.again(true, fault)
			id := ourID(i)
			s, err := r.send(id, ada)
			if _, certain := errors.AsType[*rpc.SendError](err); certain || s.ID != "" && s.ID != id {
				t.Errorf("Send() = %+v, %v", s, err)
			}
			r.again(true)
			looked := r.lookup(id, ada)
			if looked.Pending || looked.Stored && looked.Ack < 0 {
				t.Errorf("after a reload: %+v", looked)
			}
			r.mustSend(id, ada)
			r.arrived(id, 1)
			for r.lookup(id, ada).Ack < 1 {
				r.pause()
			}
			if all := r.sim.Sent(); len(all) != i+1 {
				t.Errorf("the server has %d messages, want %d", len(all), i+1)
			}
		})
	}
	r.t = t
	r.repeatsRefused(t)
}

// repeatsRefused sends each message twice, as the supervisor does after
// a refusal that may pass.
func (r *rig) repeatsRefused(t *testing.T) {
	before := len(r.sim.Sent())
	for i, tc := range []struct {
		faults     []string
		to         rpc.Secret
		code, want int // of the first refusal, and the ack after the second call
		times      int
	}{
		{[]string{"ack=stale:463"}, ada, 463, 1, 2},
		{[]string{"ack=stale:421"}, simulator.Group, 421, 1, 2},
		{[]string{"ack=refuse:463"}, ada, 463, -1, 2},
		{[]string{"ack=refuse:463", "timelock=account:5"}, ada, 463, -1, 1},
		{[]string{"ack=refuse:479"}, ada, 479, -1, 1},
	} {
		t.Run(tc.faults[0], func(t *testing.T) {
			r.t = t
			r.again(true, tc.faults...)
			id := ourID(400 + i)
			r.mustSend(id, tc.to)
			for deadline := time.Now().Add(patience); r.lookup(id, tc.to).Refusal != tc.code; {
				if time.Now().After(deadline) {
					t.Fatalf("got %+v", r.lookup(id, tc.to))
				}
				r.pause()
			}
			for range 3 {
				s := r.mustSend(id, tc.to)
				for s.Pending {
					r.pause()
					s = r.lookup(id, tc.to)
				}
				if s.Ack != tc.want || tc.want < 0 && s.Refusal != tc.code {
					t.Errorf("sent again: %+v", s)
				}
			}
			if n := len(r.sim.Sent()[before+i].Times); n != tc.times {
				t.Errorf("the server got it %d times", n)
			}
		})
	}
	r.t = t
	r.again(true, "ack=refuse:475")
	events, _ := r.events.all()
	if s := r.mustSend(ourID(404), ada); s.Ack > 0 {
		t.Errorf("sent again after a reload: %+v", s)
	}
	r.awaitAck(len(events), ourID(404), -1)
	if s := r.mustSend(ourID(404), ada); s.Ack != -1 || s.Refusal != 475 {
		t.Errorf("the second time: %+v", s)
	}
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	t.Parallel()
	r := openSender(t)
	r.receivesNothing()
	r.isForbidden(t)
	r.lacksFunctions(t)
}

// isForbidden sends what the account may not send.
func (r *rig) isForbidden(t *testing.T) {
	cases := []struct {
		fault string
		to    rpc.Secret
		want  rpc.SendCode
	}{
		{"timelock=account:5", stranger, rpc.SendNewChatsRestricted},
		{"capping=capped", stranger, rpc.SendNewChatsCapped},
		{"chat=readonly", simulator.Group, rpc.SendGroupNotWritable},
		{"exists=error", stranger, rpc.SendLookupFailed},
		{"chat=blocked", ada, rpc.SendBlockedContact},
		{"exists=none", stranger, rpc.SendNotOnWhatsApp},
		{"lid=missing", stranger, rpc.SendLookupFailed},
	}
	for i, tc := range first(cases, 3) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			seen := r.again(true, tc.fault)
			e := r.sendsNothing(ourID(100+i), tc.to, tc.want)
			switch tc.want {
			case rpc.SendNewChatsRestricted:
				if !seen.NewChats.Restricted || e.Until.Before(time.Now()) || !e.Until.Equal(seen.NewChats.RestrictedUntil) {
					t.Errorf("until %v, reported %+v", e.Until, seen)
				}
				r.mustSend(ourID(200+i), ada)
			case rpc.SendNewChatsCapped:
				if n := seen.NewChats; !n.Capped || n.Used != 100 || n.Quota != 100 || !e.Until.Equal(n.CappedUntil) || e.Until.IsZero() {
					t.Errorf("until %v, reported %+v", e.Until, seen)
				}
				r.mustSend(ourID(200+i), ada)
			}
		})
	}
}

// lacksFunctions sends in pages whose functions are gone.
func (r *rig) lacksFunctions(t *testing.T) {
	cases := []struct {
		fault    string
		possible bool
	}{
		{"modules=missing:WAWebSendTextMsgChatAction", false},
		{"signature=changed:WAWebSendTextMsgChatAction", true},
		{"modules=missing:WAWebReachoutTimelockUtils", true},
		{"signature=changed:WAWebSendMsgChatAction", true},
		{"signature=changed:WAWebWidFactory", false},
		{"modules=missing:WAWebMsgKey", false},
		{"modules=missing:WAWebCollections", true}, // others have the collections, too
	}
	for i, tc := range first(cases, 3) {
		t.Run(tc.fault, func(t *testing.T) {
			r.t = t
			seen := r.again(tc.possible, tc.fault)
			_, module, _ := strings.Cut(tc.fault, ":")
			switch module {
			case "WAWebCollections":
				r.mustSend(ourID(i), ada)
				return
			case "WAWebReachoutTimelockUtils":
				r.mustSend(ourID(300+i), ada)
			}
			const late = "WAWebWidFactory.createWid" // which a page that has only just been loaded lacks
			e := r.sendsNothing(ourID(i), stranger, rpc.SendPagePathGone)
			for ctx := r.context(); ctx.Err() == nil && !strings.Contains(e.Detail, module) && strings.Contains(e.Detail, late); {
				r.pause()
				e = r.sendsNothing(ourID(i), stranger, rpc.SendPagePathGone)
			}
			if !strings.Contains(e.Detail, module) {
				t.Errorf("the detail is %q", e.Detail)
			}
			if !tc.possible && module != "WAWebWidFactory" && !strings.Contains(seen.Why, module) && !strings.Contains(seen.Why, late) {
				t.Errorf("reported %+v", seen)
			}
		})
	}
}

// spoil runs a script in the page's own world, and makes the worker resolve the page's
// functions again.
func (r *rig) spoil(script string) {
	r.t.Helper()
	e := proto.RuntimeEvaluate{Expression: `{ const m = (name) => require("__debug").modulesMap[name].exports;` + script + "}"}
	if res, err := e.Call(r.page.target.Page.Context(r.context())); err != nil || res.ExceptionDetails != nil {
		r.t.Fatal(err, res)
	}
	before, _ := r.events.all()
	if err := r.page.SetSelectors(r.context(), nil); err != nil {
		r.t.Fatal(err)
	}
	r.await(len(before), "what the page can do", func(b rpc.EventBody) bool { _, ok := b.(rpc.SendingObserved); return ok })
}

// A page that is slow gets the time that it needs, and one whose database was closed another life.
func TestUnreadableMessagesAreReadAgain(t *testing.T) {
	t.Parallel()
	r := openSender(t, func(o *Options) { o.Timings.Call, o.Timings.Unreadable = 2*time.Second, 10*time.Second })
	before, _ := r.events.all()
	document := r.page.views.Get().Document
	r.spoil(`const u = m("WAWebDBMsgUtils"), rows = u.getMsgsByMsgIdsAndChatId;
		u.getMsgsByMsgIdsAndChatId = async (...args) => { await new Promise((done) => setTimeout(done, 1500)); return rows(...args); }`)
	_, mark := r.awaitSending(len(before), false)
	r.awaitSending(mark, true)
	if r.page.views.Get().Document != document {
		t.Error("a slow page was loaded again")
	}
	r.spoil(`indexedDB.deleteDatabase("model-storage")`)
	_, mark = r.awaitSending(mark, false)
	r.awaitSending(mark, true)
}

func TestHostilePageHoldsUpNoCommand(t *testing.T) {
	t.Parallel()
	r := openSender(t, func(o *Options) {
		o.Timings.Answer = time.Second
	})
	cases := []struct {
		name, script string
		want         rpc.SendCode // empty where the message may be sent, or nothing is known
	}{
		{"no answer of the server", `m("WAWebQueryExistsJob").queryWidExists = () => new Promise(() => {})`, rpc.SendLookupFailed},
		{"promises that never settle", `m("WAWebSendMsgChatAction").addAndSendMsgToChat = () => [new Promise(() => {}), new Promise(() => {})]`, ""},
		{"getters that throw", `m("WAWebDBMsgUtils").getMsgsByMsgIdsAndChatId = async () =>
			[new Proxy({}, { get() { throw new RangeError("` + secret + `") } })]`, rpc.SendLookupFailed},
		{"huge texts", `const huge = "x".repeat(3e6); m("WAWebWidFactory").createWid = () => ({ _serialized: huge, toString: () => huge })`, rpc.SendLookupFailed},
		{"endless lists", `m("WAWebDBMsgUtils").getMsgsByMsgIdsAndChatId = async () => Array.from({ length: 1e6 }, () => ({ id: "x", ack: 1 }))`, ""},
		{"rows of everything", `m("WAWebDBMsgUtils").getMsgsByMsgIdsAndChatId = async (ids) =>
			ids.map((id) => ({ id: "true_1@c.us_" + id, ack: Infinity, errorCode: {} }))`, ""},
		{"messages on their way", `m("WAWebBackendEventBus").BackendEventBus.isOfflineDeliveryEnd = false`, rpc.SendNotReady},
		{"answers of another kind", `m("WAWebQueryExistsJob").queryWidExists = async () => "yes"`, rpc.SendLookupFailed},
		{"errors that are no errors", `m("WAWebFindChatAction").findOrCreateLatestChat = () => { throw { toString() { throw 1 } } }`, rpc.SendLookupFailed},
	}
	for i, tc := range first(cases, 3) {
		t.Run(tc.name, func(t *testing.T) {
			r.t = t
			r.again(true)
			r.spoil(tc.script)
			begun := time.Now()
			to := rpc.Secret(fmt.Sprintf("54911222233%02d@c.us", i))
			s, err := r.send(ourID(i), to)
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if !isAnswer(err, tc.want) || s.Ack < 0 || s.Ack > 4 || s.Refusal != 0 {
				t.Errorf("Send() = %+v, %v", s, err)
			}
			r.keeps(err)
			if age := r.page.MainThreadAge(); age < 0 || age > inTime {
				t.Errorf("the page was last observed %v ago", age)
			}
			if _, again := r.send(ourID(i), to); err != nil && again == nil {
				t.Error("what was never finished was begun again")
			}
		})
	}
	r.t = t
	r.failsLate()
	r.hidesItsNumber()
}

// isAnswer reports whether a call ended as it should, or was too slow: then nothing is known, or the page
// was not asked to send.
func isAnswer(err error, want rpc.SendCode) bool {
	code := sendCode(err)
	return code == want || err != nil && (code == "" || want == "" && code == rpc.SendLookupFailed)
}

// failsLate has the page fail to store a message after its time, which must not keep it from
// being sent later.
func (r *rig) failsLate() {
	r.t.Helper()
	r.again(true)
	r.spoil(`const o = m("WAWebSendMsgChatAction"), send = o.addAndSendMsgToChat; let n = 0; o.addAndSendMsgToChat = (...a) =>
		n++ ? send(...a) : [new Promise((_, fail) => setTimeout(fail, 1500, new RangeError())), new Promise(() => {})]`)
	_, err := r.send(ourID(50), ada)
	for deadline := time.Now().Add(patience); err != nil; _, err = r.send(ourID(50), ada) {
		if sendCode(err) != "" || time.Now().After(deadline) {
			r.t.Fatal(err)
		}
		r.pause()
	}
	r.arrived(ourID(50), 1)
}

// hidesItsNumber has the page lose the account's number: its LID would look like another account.
func (r *rig) hidesItsNumber() {
	r.t.Helper()
	before, _ := r.events.all()
	r.spoil(`m("WAWebUserPrefsMeUser").getMaybeMePnUser = () => { throw new Error() }`)
	if seen, _ := r.awaitSending(len(before), false); seen.Account != (rpc.Account{}) {
		r.t.Errorf("reported %+v", seen)
	}
}
