package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/outbox"
)

// actBody is what POST /messages/{id}/reaction, edit and revoke take.
type actBody struct {
	Emoji *string `json:"emoji,omitempty"` // of a reaction
	Text  *string `json:"text,omitempty"`  // of an edit
	// Chat is where a message is that this outbox does not have, such as a received one.
	Chat      string `json:"chat,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// act answers the three routes that do something to a message, as accept does.
func (m *messages) act(kind rpc.Act) func(*http.Request) http.Handler {
	return func(r *http.Request) http.Handler {
		key, bad := m.begin(r)
		if bad != nil {
			return bad
		}
		var body actBody
		if bad := largeInput(r, maxMessageBody, m.bodies, &body); bad != nil {
			return bad
		}
		target := mux.Vars(r)["id"]
		if !rpc.ValidTarget(target) {
			return m.failed(outbox.ErrUnknownMessage)
		}
		request, bad := body.request(kind, target)
		if bad != nil {
			return bad
		}
		request.IdempotencyKey = key
		return m.keep(r, request)
	}
}

// request checks a body, and returns what is put into the outbox.
func (b actBody) request(kind rpc.Act, target string) (outbox.Request, *problem) {
	text, bad := b.content(kind)
	if bad != nil {
		return outbox.Request{}, bad
	}
	var chat rpc.Secret
	if b.Chat != "" {
		var ok bool
		if chat, ok = parseRecipient(b.Chat); !ok {
			return outbox.Request{}, invalidRecipient("chat", b.Chat)
		}
	}
	if bad := (messageBody{Reference: b.Reference}).checkNames(); bad != nil {
		return outbox.Request{}, bad
	}
	canonical, _ := json.Marshal([]string{string(kind), target, string(chat), text, b.Reference}) // it has a JSON form
	return outbox.Request{
		Hash: sha256.Sum256(canonical), Reference: b.Reference,
		Message: rpc.Message{Act: kind, Target: target, To: chat, Text: rpc.Secret(text)},
	}, nil
}

// content returns the emoji or the text, of which there must be what the act takes.
func (b actBody) content(kind rpc.Act) (string, *problem) {
	switch {
	case b.Emoji != nil && kind != rpc.ActReaction:
		return "", invalidField("emoji", "only a reaction has one")
	case b.Text != nil && kind != rpc.ActEdit:
		return "", invalidField("text", "only an edit has one")
	case kind == rpc.ActRevoke:
		return "", nil
	case kind == rpc.ActReaction:
		if b.Emoji == nil || !rpc.ValidReaction(rpc.Secret(*b.Emoji)) {
			return "", invalidField("emoji", "it is not an emoji, or an empty text, which takes the reaction back")
		}
		return *b.Emoji, nil
	case b.Text == nil || strings.TrimSpace(*b.Text) == "":
		return "", invalidField("text", "it is missing or blank")
	}
	return *b.Text, checkWords("text", *b.Text)
}

var (
	notSent = problem{
		Status: http.StatusConflict, Code: "not_sent",
		Detail: "Nothing can be done to this message: it was not sent, or is itself a reaction, an edit or a deletion.",
		Hint:   "GET /messages/{id} shows its status.",
	}
	noSuchMessage = problem{
		Status: http.StatusNotFound, Code: "no_such_message", Detail: "There is no message with this id, or no longer.",
		Hint: fmt.Sprintf("To react to a message that was received, or sent from elsewhere, name its chat, such as %s.", `{"emoji":"👍","chat":"+5491123456789"}`),
	}
)
