package page

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
)

// reader reads what a page has received, from where it is.
type reader struct {
	*rig
	marks []rpc.Mark
	since time.Time
}

func openReceiver(t *testing.T) *reader {
	t.Helper()
	return &reader{rig: openSender(t, func(o *Options) { o.Receive = true })}
}

// receive reads once.
func (r *reader) receive(limit int) rpc.Reception {
	r.t.Helper()
	got, err := r.read(rpc.ReceiveQuery{After: r.marks, Since: r.since, Limit: limit})
	if err != nil {
		r.t.Fatal(err)
	}
	r.keeps(err)
	if len(got.Marks) > 0 {
		r.marks = got.Marks
	}
	return got
}

// next reads until there are n more messages, and that is all.
func (r *reader) next(n int) (all []rpc.Received) {
	r.t.Helper()
	for ctx := r.context(); ; {
		got := r.receive(2)
		all = append(all, got.Messages...)
		switch {
		case len(all) > n || ctx.Err() != nil:
			r.t.Fatalf("%d messages, not %d: %+v", len(all), n, all)
		case len(all) == n && !got.More && r.sim.Undelivered() == 0:
			return append(all, r.receive(2).Messages...)
		case len(got.Messages) == 0:
			r.pause()
		}
	}
}

// changes reads until n messages have changed.
func (r *reader) changes(n int) (all []rpc.Received) {
	r.t.Helper()
	for ctx := r.context(); len(all) < n; {
		if ctx.Err() != nil {
			r.t.Fatalf("%d have changed, not %d", len(all), n)
		}
		if all = append(all, r.receive(10).Changed...); len(all) < n {
			r.pause()
		}
	}
	return all
}

func (r *reader) awaitArrival(mark int) {
	r.t.Helper()
	r.await(mark, "messages that arrived", func(b rpc.EventBody) bool { return b == rpc.MessagesArrived{} })
}

func texts(all []rpc.Received) (list []string) {
	for _, m := range all {
		list = append(list, string(m.Text))
	}
	return list
}

const phoneOfAda = "15550101001"

// TestReceivedMessagesAreReadByCursor follows one page.
func TestReceivedMessagesAreReadByCursor(t *testing.T) {
	t.Parallel()
	r := openReceiver(t)
	if got := r.receive(10); got.Known || len(got.Messages) > 0 || got.Account != ownAccount {
		t.Errorf("of a page that has only the history: %+v", got)
	}
	all := r.checkTexts()
	r.checkPlaces()
	r.checkReactions(all[2])
	r.checkChanges(all)
	r.checkLate()
	r.checkAwayAndLost()
	r.checkHour()
	r.checkErrands()
	r.checkPoison(all[2].Key)
	r.checkUnreadableReactions()
	if n := r.sim.Traps(); n > 0 {
		t.Errorf("the page has noticed %d foreign scripts", n)
	}
	if sent := r.sim.Sent(); len(sent) > 0 {
		t.Errorf("reading has sent %+v", sent)
	}
}

// checkTexts has messages of a chat, which are announced.
func (r *reader) checkTexts() (all []rpc.Received) {
	r.t.Helper()
	before, _ := r.events.all()
	for _, text := range []string{"one", "two", "three"} {
		r.sim.Receive(phoneOfAda, text)
	}
	r.awaitArrival(len(before))
	all = r.next(3)
	if got := texts(all); !slices.Equal(got, []string{"one", "two", "three"}) {
		r.t.Errorf("got %v", got)
	}
	if m := all[0]; m.Chat.Phone != ada || m.Chat.LID == "" || m.From != m.Chat || m.Name != "Ada" || m.FromMe || m.Type != rpc.TypeText ||
		time.Since(m.At) > time.Hour || m.Key == "" || m.ID == "" {
		r.t.Errorf("got %+v", m)
	}
	return all
}

// checkPlaces has messages of a group, of the account's phone and of no chat.
func (r *reader) checkPlaces() {
	r.t.Helper()
	for _, in := range []simulator.Incoming{
		{From: phoneOfAda, Group: "status@broadcast", Text: "of a status"},
		{From: phoneOfAda, Group: "120363000000000001@newsletter", Text: "of a channel"},
		{From: phoneOfAda, Kind: "e2e_notification", Text: "of the system"},
		{From: phoneOfAda, Group: simulator.Group, Text: "in a group"},
		{From: phoneOfAda, Own: true, Text: "by the phone"},
		{From: phoneOfAda, Kind: "of next year", Text: "unknown"},
	} {
		r.sim.Deliver(in)
	}
	all := r.next(3)
	if m := all[0]; m.Chat != (rpc.Chat{Group: simulator.Group}) || m.From.Phone != ada || m.From.LID == "" || m.Text != "in a group" {
		r.t.Errorf("in a group: %+v", m)
	}
	if m := all[1]; !m.FromMe || m.Chat.Phone != ada || m.From != (rpc.Chat{}) || m.Text != "by the phone" || m.Ack != 1 {
		r.t.Errorf("by the phone: %+v", m)
	}
	if m := all[2]; m.Type != "unknown" || m.Text != "" {
		r.t.Errorf("unknown: %+v", m)
	}
}

// reactions reads those to some messages.
func (r *reader) reactions(keys ...rpc.Secret) []rpc.Reaction {
	r.t.Helper()
	got, err := r.read(rpc.ReceiveQuery{Keys: keys, Errand: rpc.ReadReactions, Since: r.since})
	if err != nil || got.More {
		r.t.Fatalf("%+v, %v", got, err)
	}
	r.keeps(err)
	return got.Reactions
}

// react has a reaction delivered, and waits until the page has noticed it or, if it does not do
// that, has it.
func (r *reader) react(in simulator.Incoming, to rpc.Secret, notices bool) []rpc.Reaction {
	r.t.Helper()
	in.Reacts = strings.Split(string(to), "_")[2]
	r.sim.Deliver(in)
	for ctx := r.context(); ; {
		got := r.receive(10)
		if slices.Contains(got.Reacted, to) || !notices && r.sim.Undelivered() == 0 {
			return r.reactions(to)
		}
		if ctx.Err() != nil {
			r.t.Fatalf("%+v was not noticed", in)
		}
		r.pause()
	}
}

// feels compares reactions to a message with what they are in words.
func (r *reader) feels(all []rpc.Reaction, to rpc.Received, want string) {
	r.t.Helper()
	got := ""
	for _, one := range all {
		if one.Message != to.Key || one.ID != to.ID || one.Chat != to.Chat || one.Reaction == "" || time.Since(one.At) > time.Hour {
			r.t.Errorf("to %s: %+v", to.ID, one)
		}
		who := string(one.From.Phone)
		if one.From.LID != "" {
			who += ", lid"
		}
		if one.FromMe {
			who += "me"
		}
		got += string(one.Emoji) + " by " + who + " "
	}
	if got != want {
		r.t.Errorf("to %s: %q, not %q", to.ID, got, want)
	}
}

// checkReactions has people react to messages of the account's own, of which the page loads the
// reactions, and to one of others.
func (r *reader) checkReactions(theirs rpc.Received) {
	r.t.Helper()
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Own: true, Text: "what do you think?"})
	mine := r.next(1)[0]
	hers := " by " + string(ada) + ", lid "
	for _, emoji := range []string{"👍", "👎", ""} {
		r.feels(r.react(simulator.Incoming{From: phoneOfAda, Text: emoji}, mine.Key, true), mine, emoji+hers)
	}
	r.feels(r.react(simulator.Incoming{From: phoneOfAda, Text: "🎉"}, theirs.Key, true), theirs, "🎉"+hers)
	r.feels(r.react(simulator.Incoming{From: phoneOfAda, Own: true, Text: "🙂"}, theirs.Key, false), theirs, "🎉"+hers+"🙂 by me ")
	status := r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Group: "status@broadcast", Text: "a status"})
	r.sim.Deliver(simulator.Incoming{From: "15550101002", Group: "status@broadcast", Text: "👍", Reacts: status})
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Group: simulator.Group, Text: "to all"})
	grouped := r.next(1)[0]
	r.feels(r.react(simulator.Incoming{From: "15550101002", Group: simulator.Group, Text: "👍"}, grouped.Key, true), grouped, "👍 by 15550101002@c.us, lid ")
	other := rpc.Secret(strings.Replace(string(theirs.Key), string(theirs.Chat.Phone), string(theirs.Chat.LID), 1))
	if all := r.reactions("no key", other); other == theirs.Key || len(all) != 2 || all[0].Message != other || all[0].ID != theirs.ID {
		r.t.Errorf("by the chat's other address: %+v", all)
	}
	r.since = time.Now().Add(time.Hour)
	if all := r.reactions(mine.Key, theirs.Key); len(all) > 0 {
		r.t.Errorf("since later: %+v", all)
	}
	r.since = time.Time{}
}

// checkChanges has messages edited, deleted and read again.
func (r *reader) checkChanges(all []rpc.Received) {
	r.t.Helper()
	r.receive(10) // what the phone has reported of its own message
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Changes: all[0].ID, Text: "another"})
	if m := r.changes(1)[0]; m.Key != all[0].Key || m.Text != "another" || m.Edit == "" {
		r.t.Errorf("edited: %+v", m)
	}
	r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Changes: all[1].ID, Kind: "revoked"})
	if m := r.changes(1)[0]; m.Key != all[1].Key || m.Text != "" || m.Type != rpc.TypeRevoked {
		r.t.Errorf("deleted: %+v", m)
	}
	got, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{"false_1@c.us_3A", all[2].Key, all[0].Key}})
	if err != nil || !slices.Equal(texts(got.Messages), []string{"three", "another"}) || got.More {
		r.t.Errorf("read again: %+v, %v", got, err)
	}
	r.evaluate(`require("__debug").modulesMap["WAWebCollections"].exports.Msg.get("` + string(all[0].Key) + `").set({ body: "in memory" })`)
	r.changes(1)
	if got, err = r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{all[0].Key}}); err != nil || !slices.Equal(texts(got.Messages), []string{"in memory"}) {
		r.t.Errorf("whose row is late: %+v, %v", got, err)
	}
}

// checkLate has a message that is decrypted late.
func (r *reader) checkLate() {
	r.t.Helper()
	r.again(true, "cipher=late:5000")
	r.sim.Receive(phoneOfAda, "late")
	if m := r.next(1)[0]; m.Type != rpc.TypeUndecrypted || m.Text != "" {
		r.t.Errorf("undecrypted: %+v", m)
	}
	if m := r.changes(1)[0]; m.Type != rpc.TypeText || m.Text != "late" {
		r.t.Errorf("decrypted: %+v", m)
	}
}

// checkAwayAndLost has messages arrive while the page starts, and a cursor of another table.
func (r *reader) checkAwayAndLost() {
	r.t.Helper()
	r.again(true, "offline=queue:5")
	all := r.next(5)
	if got := texts(all); got[0] != "while you were away 1" || got[4] != "while you were away 5" {
		r.t.Errorf("got %v", got)
	}
	kept := slices.Clone(r.marks)
	for n, change := range []func(*rpc.Mark){func(m *rpc.Mark) { m.Sum += "x" }, func(m *rpc.Mark) { m.Row += 1000 }} {
		r.marks = slices.Clone(kept)
		change(&r.marks[0])
		if got := r.receive(1); !got.Known && n == 0 && len(kept) > 1 {
			r.t.Errorf("an older mark is not believed: %+v", got)
		}
		r.marks = []rpc.Mark{r.marks[0]}
		change(&r.marks[0])
		r.since = time.Now().Add(time.Hour)
		if got := r.receive(1); got.Known || len(got.Messages) > 0 {
			r.t.Errorf("a mark of another table: %+v", got)
		}
		r.since = time.Time{}
	}
	r.marks = kept
	r.next(0)
}

// errand runs one, and returns how it failed.
func (r *reader) errand(which rpc.Errand, keys ...rpc.Secret) (rpc.Reception, rpc.SendCode) {
	r.t.Helper()
	got, err := r.read(rpc.ReceiveQuery{Keys: keys, Errand: which})
	e, ok := errors.AsType[*rpc.SendError](err)
	if !ok && err == nil {
		return got, ""
	}
	if !ok {
		r.t.Fatal(err)
	}
	return got, e.Code
}

// checkHour has messages arrive for as long as the service compares 60 times, or 20 without -thorough, in a page
// that is not in use: the server notices nothing of it.
func (r *reader) checkHour() {
	r.t.Helper()
	r.again(true, "seen=away")
	minutes, got := 20, 0
	if *thorough {
		minutes = 60
	}
	for minute := range minutes {
		r.sim.Receive(phoneOfAda, "in an hour")
		for _, m := range r.receive(10).Messages {
			got++
			r.reactions(m.Key)
			if _, code := r.errand("", m.Key); code != "" {
				r.t.Errorf("read again: %s", code)
			}
		}
		if minute%10 == 0 { // it listens again
			if err := r.page.SetSelectors(r.context(), nil); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	r.next(minutes - got)
	if done := r.sim.Errands(); len(done) > 0 {
		r.t.Errorf("reading has done %v", done)
	}
}

// checkErrands marks as read and asks the phone, in a page that is in use, that is not, and
// that never answers.
func (r *reader) checkErrands() {
	r.t.Helper()
	if before := r.sim.Errands(); len(before) > 0 {
		r.t.Errorf("reading has done %v", before)
	}
	r.again(true, "cipher=asked")
	r.sim.Receive(phoneOfAda, "only with the phone")
	key := r.next(1)[0].Key
	got, code := r.errand(rpc.AskPhone, key)
	if code != "" || len(got.Messages) != 1 || got.Messages[0].Text != "only with the phone" {
		r.t.Errorf("the phone was asked: %+v, %s", got, code)
	}
	if _, code := r.errand(rpc.MarkRead, key); code != "" {
		r.t.Errorf("in use: %s", code)
	}
	if _, code := r.errand(rpc.MarkRead, "false_1@c.us_3A"); code != rpc.SendMessageNotFound {
		r.t.Errorf("no message: %s", code)
	}
	r.again(true, "seen=away")
	if _, code := r.errand(rpc.MarkRead, key); code != "" {
		r.t.Errorf("not in use: %s", code)
	}
	id := string(key[strings.LastIndex(string(key), "_")+1:])
	want := []string{"resend " + id, "seen " + string(ada), "presence available", "seen " + string(ada), "presence unavailable"}
	for ctx := r.context(); !slices.Equal(r.sim.Errands(), want); { // the page waits for no answer to its presence
		if ctx.Err() != nil {
			r.t.Fatalf("the server has %v, not %v", r.sim.Errands(), want)
		}
		r.pause()
		r.receive(1)
	}
	for _, fault := range []string{"seen=hangs", "seen=throws"} {
		r.again(true, fault)
		_, code := r.errand(rpc.MarkRead, key)
		if want := map[string]rpc.SendCode{"seen=hangs": rpc.SendLookupFailed, "seen=throws": rpc.SendPagePathGone}[fault]; code != want {
			r.t.Errorf("%s: %s, not %s", fault, code, want)
		}
	}
	if _, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{key}, Errand: "another"}); err == nil {
		r.t.Error("an unknown errand was run")
	}
}

// checkPoison has a message that can't be read, and then a page where none can. One that was read before is passed over there.
func (r *reader) checkPoison(before rpc.Secret) {
	r.t.Helper()
	r.spoil(`const d = m("WAWebDBMessageSerialization"), f = d.messageFromDbRow;
		d.messageFromDbRow = async (row) => { const data = await f(row); if (data.body === "poison") throw new TypeError("poison"); return data; }`)
	r.sim.Receive(phoneOfAda, "poison")
	if m := r.next(1)[0]; m.Type != "unknown" || m.Text != "" || m.Chat.Phone != ada {
		r.t.Errorf("poison: %+v", m)
	}
	r.spoil(`m("WAWebDBMessageSerialization").messageFromDbRow = async () => { throw new TypeError("gone"); }`)
	r.sim.Receive(phoneOfAda, secret)
	for ctx := r.context(); ; {
		got, err := r.read(rpc.ReceiveQuery{After: r.marks, Limit: 10})
		e, ok := errors.AsType[*rpc.SendError](err)
		if ok && e.Code == rpc.SendPagePathGone {
			break
		}
		if len(got.Messages) > 0 || ctx.Err() != nil {
			r.t.Fatalf("where nothing can be read: %+v, %v", got, err)
		}
		r.pause()
	}
	if got, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{before}}); err != nil || len(got.Messages) > 0 {
		r.t.Errorf("read again where nothing can be read: %+v, %v", got, err)
	}
	r.again(true)
	if m := r.next(1)[0]; m.Text != secret {
		r.t.Errorf("after that: %+v", m)
	}
}

// checkUnreadableReactions has pages without what reactions are read by, and one that never gives them.
func (r *reader) checkUnreadableReactions() {
	r.t.Helper()
	for _, tt := range []struct {
		fault string
		want  rpc.ReceivingObserved
	}{
		{"modules=missing:WAWebSchemaReactions", rpc.ReceivingObserved{
			Possible: true, Why: "reactions can't be read: the page's WAWebSchemaReactions.getReactionsTable is missing",
		}},
		{"", rpc.ReceivingObserved{Possible: true, Reactions: true}}, // the last, as what follows needs the module
	} {
		fault, want := tt.fault, tt.want
		before, _ := r.events.all()
		r.again(true, strings.Fields(fault)...)
		r.await(len(before), fmt.Sprintf("%+v", want), func(b rpc.EventBody) bool { return b == want })
		r.sim.Receive(phoneOfAda, "a text"+fault)
		key := r.next(1)[0].Key
		if _, code := r.errand(rpc.ReadReactions, key); (code == "") != want.Reactions {
			r.t.Errorf("%s: %s", fault, code)
		}
	}
	for name, answer := range map[string]string{"never": `new Promise(() => {})`, "no list": `null`, "nonsense": `[{ parentMsgKey: keys[0], msgKey: 1, timestamp: {} }]`} {
		r.spoil(`m("WAWebSchemaReactions").getReactionsTable = () => ({ anyOf: async (_, keys) => ` + answer + ` })`)
		r.sim.Deliver(simulator.Incoming{From: phoneOfAda, Text: "👍", Reacts: r.sim.Receive(phoneOfAda, name)})
		key := r.next(1)[0].Key
		err := r.whenReady(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, r.page.t.Call/2+30*time.Second) // half is the page's to answer
			defer cancel()
			_, err := r.page.Receive(ctx, rpc.ReceiveQuery{Keys: []rpc.Secret{key}, Errand: rpc.ReadReactions})
			return err
		})
		if _, ok := errors.AsType[*rpc.SendError](err); !ok {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	r.spoil(`m("WAWebSchemaReactions").getReactionsTable = () => ({
		anyOf: async (_, keys) => keys.flatMap((key) => Array.from({ length: 20_000 }, (_, i) =>
			({ parentMsgKey: key, msgKey: key + i, senderUserJid: "1@c.us", reactionText: "x".repeat(10_000), timestamp: i }))),
	})`)
	key := rpc.Secret("false_" + string(ada) + "_3A")
	got, _ := r.errand(rpc.ReadReactions, key, key+"1")
	if n := len(got.Reactions); n != rpc.MaxReactions || !got.More || got.Reactions[n-1].Reaction != "3A19999" || len(got.Reactions[0].Emoji) > 64 {
		r.t.Errorf("of a flood were read %d", n)
	}
}

// receivesNothing has messages arrive in a page of which nobody wants to know.
func (r *rig) receivesNothing() {
	r.t.Helper()
	r.sim.Receive(phoneOfAda, secret)
	for r.sim.Undelivered() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if got, err := r.read(rpc.ReceiveQuery{Limit: 1}); !errors.Is(err, rpc.ErrNotReceiving) || len(got.Messages) > 0 {
		r.t.Errorf("Receive() = %+v, %v", got, err)
	}
	if _, err := r.read(rpc.ReceiveQuery{Keys: []rpc.Secret{"false_1@c.us_3A"}}); !errors.Is(err, rpc.ErrNotReceiving) {
		r.t.Errorf("by a key: %v", err)
	}
	events, _ := r.events.all()
	if slices.ContainsFunc(events, func(e event) bool { return e.body == rpc.MessagesArrived{} }) {
		r.t.Error("it was reported that messages have arrived")
	}
}
