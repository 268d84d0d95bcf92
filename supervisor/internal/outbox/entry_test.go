package outbox

import (
	"errors"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

var t0 = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

const someID = rpc.MessageID("3EB0000102030405060708")

// queued is a message that was just accepted.
func queued() entry {
	e := entry{ID: someID, Status: Queued, holder: holder{Account: "1@c.us"}, To: "2@c.us", Expires: millis(t0.Add(day))}
	e.Times[0] = millis(t0)
	return e
}

// through is a message that has reached these statuses, a second apart.
func through(all ...Status) entry {
	e := queued()
	for i, s := range all {
		now := t0.Add(time.Duration(i+1) * time.Second)
		if s == Sending {
			e = e.attempt(now)
			continue
		}
		e = e.reach(s, now)
	}
	return e
}

// act is an act that has reached these statuses.
func act(all ...Status) entry {
	e := through(all...)
	e.Act, e.Target = rpc.ActEdit, "3A00"
	return e
}

// acked has WhatsApp's server acknowledge a message, a minute after t0.
func acked(ack, refusal int) func(entry) entry {
	return func(e entry) entry {
		return e.acked(rpc.MessageState{ID: e.ID, Stored: true, Ack: ack, Refusal: refusal}, t0.Add(time.Minute))
	}
}

func TestStatusOnlyMovesForward(t *testing.T) {
	later := t0.Add(time.Minute)
	cancel := func(e entry) entry { return e.cancel(later) }
	expire := func(e entry) entry { return e.expire(later) }
	doubt := func(e entry) entry { return e.doubt(later) }
	attempt := func(e entry) entry { return e.attempt(later) }
	claim := func(account string) func(entry) entry {
		return func(e entry) entry { return e.claim(link{holder: holder{Account: account}}, later) }
	}
	for _, tt := range []struct {
		name   string
		before entry
		change func(entry) entry
		want   Status
		code   Code
	}{
		{"attempt", queued(), attempt, Sending, ""},
		{"cancelled while queued", queued(), cancel, Cancelled, ""},
		{"expired while queued", queued(), expire, Expired, ""},
		{"expired with the reason for which it waited", queued().wait(CodePaced, later), expire, Expired, CodePaced},
		{"nothing to doubt", queued(), doubt, Queued, ""},
		{"doubt", through(Sending), doubt, Unknown, ""},
		{"too late to cancel", through(Sending), cancel, Sending, ""},
		{"expired in doubt", through(Sending, Unknown), expire, Failed, CodeUnconfirmed},
		{"tried again in doubt", through(Sending, Unknown), attempt, Unknown, ""},
		{"sent", through(Sending), acked(1, 0), Sent, ""},
		{"sent after all", through(Sending, Unknown), acked(1, 0), Sent, ""},
		{"another device has acknowledged it first", queued(), acked(2, 0), Delivered, ""},
		{"steps skipped", through(Sending), acked(3, 0), Read, ""},
		{"played", through(Sending, Sent), acked(4, 0), Played, ""},
		{"an ack from the future of the protocol", through(Sending), acked(9, 0), Played, ""},
		{"late ack", through(Sending, Sent, Read), acked(1, 0), Read, ""},
		{"doubt when sent", through(Sending, Sent), doubt, Sent, ""},
		{"no ack", through(Sending), acked(0, 0), Sending, ""},
		{"refused", through(Sending), acked(-1, 479), Failed, CodeRefused},
		{"refused for what the page may know wrongly", through(Sending), acked(-1, 463), Sending, ""},
		{"the same in a group", through(Sending), acked(-1, 421), Sending, ""},
		{"refused when sent", through(Sending, Sent), acked(-1, 463), Sent, ""},
		{"given up by the page", through(Sending), acked(-1, 0), Sending, ""},
		{"nothing after an end", through(Cancelled), attempt, Cancelled, ""},
		{"no ack after an end", through(Cancelled), acked(1, 0), Cancelled, ""},
		{"same account", queued(), claim("1@c.us"), Queued, ""},
		{"other account", queued(), claim("3@c.us"), Failed, CodeAccountChanged},
		{"other account while sending", through(Sending), claim("3@c.us"), Failed, CodeAccountChanged},
		{"other account when sent", through(Sending, Sent), claim("3@c.us"), Sent, ""},
	} {
		got := tt.change(tt.before)
		if got.Status != tt.want || got.Code != tt.code {
			t.Errorf("%s: got %s %q, want %s %q", tt.name, got.Status, got.Code, tt.want, tt.code)
		}
		if got.Status != tt.before.Status && got.at(got.Status) != later {
			t.Errorf("%s: reached at %v", tt.name, got.at(got.Status))
		}
		if got.Times[0] != tt.before.Times[0] {
			t.Errorf("%s: it was accepted at another time", tt.name)
		}
	}
	unclaimed := queued()
	unclaimed.Account = ""
	if got := claim("3@c.us")(unclaimed); got.Status != Queued || got.Account != "3@c.us" {
		t.Errorf("accepted before the account was known: got %+v", got)
	}
	if got := acked(1, 0)(through(Sending, Unknown)).message().Times; len(got) != 4 {
		t.Errorf("got times %v", got)
	}
}

func TestSecondRefusalIsFinal(t *testing.T) {
	retried := through(Sending)
	retried.Retried = true
	if got := acked(-1, 0)(retried); got.Status != Failed || got.Code != CodeRefused {
		t.Errorf("given up twice: got %s %q", got.Status, got.Code)
	}
	for _, code := range []int{0, 421, 463} {
		if got := acked(-1, code)(retried); got.Status != Failed || got.WhatsAppCode != code {
			t.Errorf("refused twice with %d: got %s %d", code, got.Status, got.WhatsAppCode)
		}
	}
	if got := acked(-1, 475)(through(Sending)); got.WhatsAppCode != 475 {
		t.Errorf("got code %d", got.WhatsAppCode)
	}
}

// What the page knows of a message decides, as messaging.md 1.5 has it.
func TestNextStep(t *testing.T) {
	now := t0.Add(time.Hour)
	ready := page{readySince: t0, possible: true}
	fresh := page{readySince: now.Add(-time.Second), possible: true}
	row := func(ack int, pending bool, age, seen time.Duration) sight {
		s := sight{}.look(rpc.MessageState{Stored: true, Ack: ack, Pending: pending}, now.Add(-age))
		return s.look(rpc.MessageState{Stored: true, Ack: ack, Pending: pending}, now.Add(-seen))
	}
	old := through(Sending, Unknown)
	old.Times[Sending.rank()] = millis(now.Add(-recoverable))
	expired := queued()
	expired.Expires = millis(now)
	for _, tt := range []struct {
		name  string
		entry entry
		sight sight
		page  page
		want  step
		at    time.Duration // from now; -1 for never
	}{
		{"queued", queued(), sight{}, ready, send, 0},
		{"not ready", queued(), sight{}, page{possible: true}, idle, 23 * time.Hour},
		{"not able to send", queued(), sight{}, page{readySince: t0}, idle, 23 * time.Hour},
		{"expired", expired, sight{}, ready, giveUp, 0},
		{"expired and not ready", expired, sight{}, page{}, giveUp, 0},
		{"unknown, not ready", through(Sending, Unknown), sight{}, page{}, idle, recoverable - time.Hour + time.Second},
		{"unknown", through(Sending, Unknown), sight{}, ready, lookUp, 0},
		{"unknown, sending impossible", through(Sending, Unknown), sight{}, page{readySince: t0}, lookUp, 0},
		{"no row", through(Sending, Unknown), sight{}.look(rpc.MessageState{}, now), ready, send, 0},
		{"no row, sending impossible", through(Sending, Unknown), sight{}.look(rpc.MessageState{}, now), page{readySince: t0}, idle, recoverable - time.Hour + time.Second},
		{"left over", through(Sending, Unknown), row(0, false, 0, 0), ready, send, 0},
		{"given up by the page", through(Sending), row(-1, false, 0, 0), ready, send, 0},
		{"pending", through(Sending), row(0, true, 5*time.Second, 5*time.Second), ready, idle, 15 * time.Second},
		{"pending, not seen lately", through(Sending), row(0, true, 20*time.Second, 20*time.Second), ready, lookUp, 0},
		{"pending for a minute", through(Sending), row(0, true, time.Minute, time.Second), ready, restart, 0},
		{"pending for a minute, not seen lately", through(Sending), row(0, true, time.Minute, 30*time.Second), ready, lookUp, 0},
		{"pending, connected again", through(Sending), row(0, true, time.Minute, time.Second), fresh, idle, 19 * time.Second},
		{"sent", through(Sending, Sent), row(0, true, time.Minute, time.Second), ready, idle, -1},
		{"unknown for a week", old, sight{}, ready, giveUp, 0},
		{"unknown for a week, not ready", old, sight{}, page{}, giveUp, 0},
		{"act in doubt", act(Sending, Unknown), sight{}, ready, send, 0},
		{"act in doubt, sending impossible", act(Sending, Unknown), sight{}, page{readySince: t0}, idle, recoverable - time.Hour + time.Second},
		{"act pending", act(Sending), row(0, true, 5*time.Second, 5*time.Second), ready, idle, 15 * time.Second},
		{"act pending, not seen lately", act(Sending), row(0, true, 20*time.Second, 20*time.Second), ready, send, 0},
		{"act pending for a minute", act(Sending), row(0, true, time.Minute, time.Second), ready, restart, 0},
		{"act done", act(Sending, Sent), sight{}, ready, idle, -1},
	} {
		got, at := next(tt.entry, tt.sight, tt.page, now)
		want := now.Add(tt.at)
		if tt.at < 0 {
			want = time.Time{}
		}
		if got != tt.want || !at.Equal(want) {
			t.Errorf("%s: got step %d at %v, want %d at %v", tt.name, got, at, tt.want, want)
		}
	}
}

func TestOutcomeOfAnAttempt(t *testing.T) {
	now, soon, late := t0.Add(time.Hour), t0.Add(2*time.Hour), t0.Add(2*day)
	refusal := func(c rpc.SendCode, until time.Time) error { return &rpc.SendError{Code: c, Until: until} }
	for _, tt := range []struct {
		name        string
		err         error
		failures    int
		want        Status
		code        Code
		touched     bool
		retry       time.Duration
		noStrangers time.Time
	}{
		{"worker gone", rpc.ErrWorkerGone, 0, Unknown, "", true, firstPause, time.Time{}},
		{"no answer", errors.New("x"), 1, Unknown, "", true, 2 * firstPause, time.Time{}},
		{"many failures", errors.New("x"), 99, Unknown, "", true, maxPause, time.Time{}},
		{"no worker", worker.ErrNoWorker, 0, Sending, "", false, firstPause, time.Time{}},
		{"not ready", refusal(rpc.SendNotReady, time.Time{}), 0, Sending, "", false, firstPause, time.Time{}},
		{"lookup failed", refusal(rpc.SendLookupFailed, time.Time{}), 0, Sending, "lookup_failed", false, firstPause, time.Time{}},
		{"lookup failed again and again", refusal(rpc.SendLookupFailed, time.Time{}), maxLookups - 1, Failed, "lookup_failed", false, maxPause, time.Time{}},
		{"page path gone", refusal(rpc.SendPagePathGone, time.Time{}), 0, Sending, "page_path_gone", false, maxPause, time.Time{}},
		{"not on WhatsApp", refusal(rpc.SendNotOnWhatsApp, time.Time{}), 0, Failed, "not_on_whatsapp", false, firstPause, time.Time{}},
		{"blocked", refusal(rpc.SendBlockedContact, time.Time{}), 0, Failed, "blocked_contact", false, firstPause, time.Time{}},
		{"group", refusal(rpc.SendGroupNotWritable, time.Time{}), 0, Failed, "group_not_writable", false, firstPause, time.Time{}},
		{"reply", refusal(rpc.SendReplyNotFound, time.Time{}), 0, Failed, "reply_not_found", false, firstPause, time.Time{}},
		{"a code that is not known", refusal("x", time.Time{}), 0, Failed, "x", false, firstPause, time.Time{}},
		{"restricted for an hour", refusal(rpc.SendNewChatsRestricted, soon), 0, Sending, "new_chats_restricted", false, firstPause, soon},
		{"restricted, nobody knows for how long", refusal(rpc.SendNewChatsRestricted, time.Time{}), 0, Sending, "new_chats_restricted", false, firstPause, now.Add(unknownRestriction)},
		{"capped until it expires", refusal(rpc.SendNewChatsCapped, late), 0, Failed, "new_chats_capped", false, firstPause, late},
	} {
		v := outcome(through(Sending), false, tt.err, tt.failures, now)
		if v.entry.Status != tt.want || v.entry.Code != tt.code || v.entry.Touched != tt.touched || v.retry != tt.retry || !v.noStrangers.Equal(tt.noStrangers) {
			t.Errorf("%s: got %+v", tt.name, v)
		}
		if v.impossible != (tt.code == "page_path_gone") {
			t.Errorf("%s: impossible is %v", tt.name, v.impossible)
		}
	}
	if v := outcome(act(Sending), false, refusal(rpc.SendPagePathGone, time.Time{}), 0, now); v.impossible || v.entry.Status != Failed {
		t.Errorf("an act that is impossible: %+v", v)
	}
	if v := outcome(through(Sending, Unknown), true, refusal(rpc.SendNotReady, time.Time{}), 0, now); !v.entry.Touched || v.entry.Status != Unknown {
		t.Errorf("an earlier attempt is forgotten: %+v", v.entry)
	}
	if v := outcome(through(Sending, Unknown), true, refusal(rpc.SendLookupFailed, time.Time{}), 99, now); v.entry.Status != Unknown {
		t.Errorf("a doubt ends before the table was asked: %+v", v.entry)
	}
}
