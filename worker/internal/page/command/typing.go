package command

import (
	"context"
	"errors"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/observe"
)

// Names of what typing.js finds.
const (
	newChat  = "new_chat"
	search   = "search"
	composer = "composer"
	sendIt   = "send"
	closeIt  = "close"
)

const (
	// chatOpens is how long a chat may take to open, with the question to WhatsApp whether
	// there is an account, and rowAppears how long a message may take to appear in it.
	chatOpens, rowAppears = 15 * time.Second, 10 * time.Second
)

// errTyped means that it is not known whether a message was sent by typing.
var errTyped = errors.New("it is not known whether what was typed was sent")

// desk is what typing.js sees.
type desk struct {
	Open, Dialog, Composer, Busy bool
	Words                        string
}

// row is an own message on the screen.
type row struct{ ID, Level string }

// Type writes a text in its chat and presses Send once, as a person does, or only looks
// for it if it may have been sent before. A *rpc.SendError means that nothing was pressed.
func Type(ctx context.Context, c *Commands, m rpc.Message) (rpc.MessageState, error) {
	if !isPlain(m) {
		return rpc.MessageState{}, &rpc.SendError{Code: rpc.SendPagePathGone, Detail: "only plain texts to phone numbers can be typed"}
	}
	var sent *row
	pressed := m.Again
	err := c.do(ctx, func(ctx context.Context, v observe.View) error {
		if v.Reported.Condition != rpc.PageReady {
			return errNotReady
		}
		return reachBy(ctx, c, c.target.Scripts.Load().Typing, func(in *input) (err error) {
			sent, err = in.write(ctx, m, &pressed)
			return err
		})
	})
	_, definite := errors.AsType[*rpc.SendError](err)
	switch {
	case err == nil && sent != nil:
		return typed(m, *sent), nil
	case pressed:
		return rpc.MessageState{}, errTyped
	case definite:
		return rpc.MessageState{}, err
	}
	return rpc.MessageState{}, errNotReady
}

// isPlain reports whether m is nothing but a text to a phone number.
func isPlain(m rpc.Message) bool {
	return m.Act == "" && m.Media == (rpc.Media{}) && m.ReplyTo == "" && len(m.Mentions) == 0 && rpc.ChatAt(m.To).Phone != ""
}

var errNotReady = &rpc.SendError{Code: rpc.SendNotReady, Detail: "nothing can be typed now"}

// cannotType is the answer where the page lacks what a person would use.
func cannotType(what string) error {
	return &rpc.SendError{Code: rpc.SendPagePathGone, Detail: "nothing can be typed: " + what}
}

// typed is the state of a message by its row.
func typed(m rpc.Message, r row) rpc.MessageState {
	s := rpc.MessageState{ID: m.ID, Chat: rpc.ChatAt(m.To), Stored: true, Ack: map[string]int{"sent": 1, "delivered": 2, "read": 3}[r.Level]}
	if id := rpc.MessageID(r.ID); id.Valid() {
		s.Row = id
	}
	s.Pending = s.Ack == 0
	return s
}

// write does what Type is for. pressed is set before Send is.
func (i *input) write(ctx context.Context, m rpc.Message, pressed *bool) (*row, error) {
	if err := i.open(ctx, m.To); err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(m.Text))
	if m.Again {
		return i.row(ctx, "earlier", string(m.To), text, m.Typed.Unix(), rowAppears.Milliseconds())
	}
	if err := i.vacant(ctx, m.To, text); err != nil {
		return nil, err
	}
	var last string
	if err := i.object.Invoke(ctx, &last, "last"); err != nil {
		return nil, err
	}
	err := i.fill(ctx, composer, text)
	if err == nil {
		err = i.ready(ctx, m.To, text)
	}
	if err != nil {
		return nil, errors.Join(err, i.fill(ctx, composer, ""))
	}
	*pressed = true
	if err := i.press(ctx, sendIt); err != nil {
		if *pressed = !errors.Is(err, errNothingToPress); !*pressed {
			return nil, errors.Join(cannotType("the button that sends is covered"), i.fill(ctx, composer, ""))
		}
		return nil, err
	}
	return i.row(ctx, "sent", text, last, rowAppears.Milliseconds())
}

// vacant returns an error if the field is missing, or in use: what was left of this text is ours.
func (i *input) vacant(ctx context.Context, to rpc.Secret, text string) error {
	var now desk
	if err := i.object.Invoke(ctx, &now, "desk", string(to)); err != nil {
		return err
	}
	switch {
	case !now.Composer:
		return cannotType("the chat has no field to write in")
	case now.Dialog, now.Busy, now.Words != "" && now.Words != text:
		return &rpc.SendError{Code: rpc.SendNotReady, Detail: "the page's field for messages is in use"}
	}
	return nil
}

// ready returns an error unless the button sends this text, in this chat.
func (i *input) ready(ctx context.Context, to rpc.Secret, text string) error {
	there, err := i.appears(ctx, sendIt, press)
	if err != nil {
		return err
	}
	var now desk
	if err := i.object.Invoke(ctx, &now, "desk", string(to)); err != nil {
		return err
	}
	if now.Composer = there; now != (desk{Open: true, Composer: true, Words: text}) {
		return cannotType("the button that sends is missing, or another chat was opened")
	}
	return nil
}

// row asks for an own row, nil if it is not found.
func (i *input) row(ctx context.Context, method string, args ...any) (found *row, err error) {
	err = i.object.Invoke(ctx, &found, method, args...)
	return found, err
}

// open opens the chat with a phone number, unless it is open.
func (i *input) open(ctx context.Context, to rpc.Secret) error {
	var now desk
	if err := i.object.Invoke(ctx, &now, "desk", string(to)); err != nil {
		return err
	}
	if now.Dialog {
		if err := i.press(ctx, closeIt); err != nil {
			return cannotType("a dialog is in the way")
		}
	}
	if now.Open {
		return nil
	}
	if err := i.press(ctx, newChat); err != nil {
		return cannotType("the button for a new chat is missing")
	}
	if there, err := i.appears(ctx, search, press); err != nil || !there {
		return errors.Join(cannotType("the field for a number is missing"), err)
	}
	if err := i.fill(ctx, search, "+"+strings.TrimSuffix(string(to), rpc.ServerPhone)); err != nil {
		return err
	}
	if err := i.enter(ctx); err != nil {
		return err
	}
	var became string
	if err := i.object.Invoke(ctx, &became, "opened", string(to), chatOpens.Milliseconds()); err != nil {
		return err
	}
	if became != "open" {
		_ = i.press(ctx, closeIt) // if it is a dialog, which also appears when WhatsApp was not asked
		return &rpc.SendError{Code: rpc.SendLookupFailed, Detail: "the page did not open the chat"}
	}
	return nil
}

// fill replaces what a field holds, and checks that the page has taken it as it is.
func (i *input) fill(ctx context.Context, field, text string) error {
	var got *string
	if err := i.object.Invoke(ctx, &got, "write", field, text); err != nil {
		return err
	}
	if got == nil || *got != text {
		return cannotType("the page changes what is typed")
	}
	return nil
}
