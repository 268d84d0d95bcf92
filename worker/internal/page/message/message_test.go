package message

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/target"
)

const (
	id     = rpc.MessageID("3EB00123456789ABCDEF01")
	phone  = rpc.Secret("4915112345678@c.us")
	secret = "the words of the message"
)

func TestInvalidMessagesReachNoPage(t *testing.T) {
	good := rpc.Message{ID: id, To: phone, Text: secret, ReplyTo: "AC12", Mentions: []rpc.Secret{"1@lid"}}
	for name, change := range map[string]func(*rpc.Message){
		"good":            func(*rpc.Message) {},
		"id":              func(m *rpc.Message) { m.ID = "BAE5" },
		"recipient":       func(m *rpc.Message) { m.To = "status@broadcast" },
		"nothing to send": func(m *rpc.Message) { m.Text = " \n" },
		"long":            func(m *rpc.Message) { m.Text = rpc.Secret(strings.Repeat("x", rpc.MaxMessageText+1)) },
		"mention":         func(m *rpc.Message) { m.Mentions = []rpc.Secret{"everybody"} },
		"mentions":        func(m *rpc.Message) { m.Mentions = make([]rpc.Secret, rpc.MaxMentions+1) },
		"reply":           func(m *rpc.Message) { m.ReplyTo = "true_1@c.us_AC12" },
	} {
		m := good
		change(&m)
		err := validate(m)
		if (err == nil) != (name == "good") || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
		want := map[string]rpc.SendCode{"good": "", "reply": rpc.SendReplyNotFound}
		if e, ok := errors.AsType[*rpc.SendError](err); ok && e.Code != cmp.Or(want[name], rpc.SendInvalid) || !ok && name != "good" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatesOfThePageAreValidated(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_000).UTC()
	for name, tc := range map[string]struct {
		page state
		want rpc.MessageState
	}{
		"none":  {state{ID: string(id), Ack: 3, Pending: true}, rpc.MessageState{ID: id}},
		"whole": {state{ID: string(id), Stored: true, Phone: string(phone), LID: "1@lid", Ack: 1, Seconds: 1_790_000_000}, rpc.MessageState{ID: id, Stored: true, Chat: rpc.Chat{Phone: phone, LID: "1@lid"}, Ack: 1, At: at}},
		"wild": {state{ID: string(id), Stored: true, Phone: secret, Group: secret, Ack: math.Inf(1), Refusal: math.NaN(), Seconds: math.Inf(1)},
			rpc.MessageState{ID: id, Stored: true, Ack: 4}},
		"negative": {state{ID: string(id), Stored: true, Ack: -6, Refusal: 1e300, Seconds: -1}, rpc.MessageState{ID: id, Stored: true, Ack: -1, Refusal: mostRefusal}},
	} {
		if got := tc.page.state(); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCodesOfThePageBecomeErrors(t *testing.T) {
	scripts, err := target.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	page := &target.Target{}
	page.Scripts.Store(scripts)
	m := New(Options{Target: page})
	for code, want := range map[string]rpc.SendCode{
		"page_path_gone": rpc.SendPagePathGone, "lookup_failed": rpc.SendLookupFailed, "late": rpc.SendLookupFailed,
		"new_chats_restricted": rpc.SendNewChatsRestricted, "not_on_whatsapp": rpc.SendNotOnWhatsApp, "unknown": "", secret: "",
	} {
		for name, function := range map[string]string{"send": "WAWebSendMsgChatAction.addAndSendMsgToChat", "key": "WAWebMsgKey ", secret: "modules", "": "modules"} {
			err := m.Explain(Stopped{Code: code, Last: name, Until: 1_790_000_000_000})
			e, ok := errors.AsType[*rpc.SendError](err)
			if !ok {
				e = new(rpc.SendError)
			}
			if err == nil || e.Code != want || strings.Contains(err.Error(), secret) || e.Until.IsZero() == (code == "new_chats_restricted") {
				t.Errorf("%s: %v until %v", code, err, e.Until)
			}
			if code == "page_path_gone" && !strings.Contains(e.Detail, function) {
				t.Errorf("the detail is %q", e.Detail)
			}
		}
	}
	if err := m.Explain(Stopped{}); err != nil {
		t.Error(err)
	}
}

func TestUnreadableMessagesGetTimeAndThenAReload(t *testing.T) {
	t0 := time.Unix(1_790_000_000, 0)
	type attempt struct {
		answers     bool
		began, took time.Duration
	}
	bad := func(began, took time.Duration) attempt { return attempt{false, began, took} }
	var forHours []attempt
	for n := range 8 * 60 * 6 {
		forHours = append(forHours, bad(time.Duration(n)*10*time.Second, 0))
	}
	for name, tt := range map[string]struct {
		attempts []attempt
		patience time.Duration
		reloads  int
	}{
		"at first":                    {nil, 4 * time.Second, 0},
		"late once":                   {[]attempt{bad(0, 4*time.Second)}, 8 * time.Second, 0},
		"late, then in time":          {[]attempt{bad(0, 4*time.Second), {true, 6 * time.Second, 7 * time.Second}}, 4 * time.Second, 0},
		"ever later":                  {[]attempt{bad(0, 4*time.Second), bad(6*time.Second, 8*time.Second), bad(16*time.Second, 16*time.Second)}, 4 * time.Second, 1},
		"fails at once, for a while":  {slices.Repeat([]attempt{bad(0, 0)}, 9), 25 * time.Second, 0},
		"fails at once, for too long": {[]attempt{bad(0, 0), bad(19*time.Second, 0), bad(21*time.Second, 0), bad(23*time.Second, 0), bad(42*time.Second, 0)}, 16 * time.Second, 1},
		"reloaded ever more rarely":   {forHours, 25 * time.Second, 10},
		"reloaded, then in time":      {append(slices.Clone(forHours), attempt{true, 9 * time.Hour, 0}, bad(10*time.Hour, 20*time.Second)), 4 * time.Second, 11},
	} {
		var u unreadable
		reloads := 0
		for _, a := range tt.attempts {
			var reload bool
			if u, reload = u.next(a.answers, 20*time.Second, t0.Add(a.began), t0.Add(a.began+a.took)); reload {
				reloads++
				u = u.in(false)
			}
		}
		if got := u.patience(4*time.Second, 25*time.Second); got != tt.patience || reloads != tt.reloads {
			t.Errorf("%s: %s, %d reloads", name, got, reloads)
		}
	}
}
