package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/outbox"
)

// TestActsAreAcceptedAsMessages asks for acts, and for what can't be done.
func TestActsAreAcceptedAsMessages(t *testing.T) {
	box := newFakeOutbox()
	s := messaging(t, box, nil)
	for _, tt := range []struct {
		path, body string
		status     int
		want       string // the code, or a field of a problem
		text       rpc.Secret
		to         rpc.Secret
	}{
		{someID + "/reaction", `{"emoji":"👍"}`, 202, "", "👍", ""},
		{someID + "/reaction", `{"emoji":"👩🏽‍❤️‍💋‍👨🏿"}`, 202, "", "👩🏽‍❤️‍💋‍👨🏿", ""},
		{"3A00/reaction", `{"emoji":"","chat":"+5491123456789"}`, 202, "", "", "5491123456789@c.us"},
		{someID + "/reaction", `{}`, 400, `"field":"emoji"`, "", ""},
		{someID + "/reaction", ``, 400, `"field":"emoji"`, "", ""},
		{someID + "/reaction", `{"emoji":"ok"}`, 400, `"field":"emoji"`, "", ""},
		{someID + "/reaction", `{"emoji":"` + strings.Repeat("👍", 17) + `"}`, 400, `"field":"emoji"`, "", ""},
		{someID + "/reaction", `{"emoji":"👍","text":"x"}`, 400, `"field":"text"`, "", ""},
		{someID + "/reaction", `{"emoji":"👍","chat":"x"}`, 400, "invalid_recipient", "", ""},
		{someID + "/reaction", `{"emoji":"👍","to":"x"}`, 400, "bad_body", "", ""},
		{someID + "/edit", `{"text":" new "}`, 202, "", " new ", ""},
		{someID + "/edit", `{"text":" "}`, 400, `"field":"text"`, "", ""},
		{someID + "/edit", `{}`, 400, `"field":"text"`, "", ""},
		{someID + "/edit", `{"text":"` + strings.Repeat("x", rpc.MaxMessageText+1) + `"}`, 413, "text_too_long", "", ""},
		{someID + "/revoke", ``, 202, "", "", ""},
		{someID + "/revoke", `{"reference":"order 1"}`, 202, "", "", ""},
		{someID + "/revoke", `{"emoji":"👍"}`, 400, `"field":"emoji"`, "", ""},
		{"a_b/revoke", ``, 404, "no_such_message", "", ""},
		{strings.Repeat("A", 65) + "/revoke", ``, 404, "no_such_message", "", ""},
	} {
		box.accepted = nil
		got := ask(t, s, http.MethodPost, "/messages/"+tt.path, post(tt.body))
		if got.status != tt.status || !strings.Contains(got.body, tt.want) {
			t.Errorf("%s %.80s: got %d %s", tt.path, tt.body, got.status, got.body)
			continue
		}
		if tt.status != 202 {
			continue
		}
		target, kind, _ := strings.Cut(tt.path, "/")
		want := rpc.Message{Act: rpc.Act(kind), Target: target, To: tt.to, Text: tt.text}
		if len(box.accepted) != 1 || fmt.Sprint(box.accepted[0].Message) != fmt.Sprint(want) || box.accepted[0].Message.Text != tt.text || got.header.Get("Location") == "" {
			t.Errorf("%s %s: accepted %+v", tt.path, tt.body, box.accepted)
		}
	}
	if got := ask(t, s, http.MethodGet, "/messages/"+someID+"/edit", nil); got.status != 405 {
		t.Errorf("got %d", got.status)
	}
	for err, want := range map[error]int{outbox.ErrNotSent: 409, outbox.ErrUnknownMessage: 404, outbox.ErrConflict: 422} {
		box.set(outbox.Queued, err)
		if got := ask(t, s, http.MethodPost, "/messages/"+someID+"/revoke", nil); got.status != want {
			t.Errorf("%v: got %d %s", err, got.status, got.body)
		}
	}
}

func TestActsThatDifferAreOtherRequests(t *testing.T) {
	emoji, text, none := "👍", "👍", ""
	seen := map[[32]byte]bool{}
	for _, tt := range []struct {
		kind   rpc.Act
		target string
		body   actBody
	}{
		{rpc.ActReaction, "A", actBody{Emoji: &emoji}},
		{rpc.ActReaction, "A", actBody{Emoji: &none}},
		{rpc.ActReaction, "B", actBody{Emoji: &emoji}},
		{rpc.ActReaction, "A", actBody{Emoji: &emoji, Chat: "1@lid"}},
		{rpc.ActEdit, "A", actBody{Text: &text}},
		{rpc.ActRevoke, "A", actBody{}},
		{rpc.ActRevoke, "A", actBody{Reference: "x"}},
	} {
		r, bad := tt.body.request(tt.kind, tt.target)
		if bad != nil || seen[r.Hash] {
			t.Errorf("%+v: %v, or it is as another one", tt, bad)
		}
		seen[r.Hash] = true
	}
}
