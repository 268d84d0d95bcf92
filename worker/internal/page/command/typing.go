package command

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-rod/rod/lib/proto"

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
		if !v.Ready() {
			return errNotReady
		}
		err := reachBy(ctx, c, v.Page, c.target.Scripts.Load().Typing, func(in *input) (err error) {
			sent, err = in.write(ctx, m, &pressed)
			return err
		})
		return c.views.Confirm(ctx, v, err)
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

// mostLines bounds how long it takes to type a text.
const mostLines = 200

// isPlain reports whether m is nothing but a text to a phone number, of a length that can be typed.
func isPlain(m rpc.Message) bool {
	return strings.Count(string(m.Text), "\n") < mostLines && m.Act == "" && m.Media == (rpc.Media{}) && m.ReplyTo == "" && len(m.Mentions) == 0 && rpc.ChatAt(m.To).Phone != ""
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
		return i.find(ctx, m, text, "earlier", string(m.To), text, m.Typed.Unix(), rowAppears.Milliseconds())
	}
	if err := i.vacant(ctx, m.To, text); err != nil {
		return nil, err
	}
	var last string
	if err := i.sendTyped(ctx, m.To, text, &last, pressed); err != nil {
		if *pressed {
			return nil, err
		}
		return nil, errors.Join(err, i.clear(ctx, m.To, text, true))
	}
	return i.find(ctx, m, text, "sent", string(m.To), text, last, m.Typed.Unix(), rowAppears.Milliseconds())
}

// sendTyped types a text, and presses Send once if that sends this text in this chat. Just before
// that, last becomes the name of the last own row.
func (i *input) sendTyped(ctx context.Context, to rpc.Secret, text string, last *string, pressed *bool) error {
	if err := i.fill(ctx, composer, text); err != nil {
		return err
	}
	if err := i.object.Invoke(ctx, last, "last"); err != nil {
		return err
	}
	if _, err := i.appears(ctx, sendIt, press); err != nil {
		return err
	}
	*pressed = true
	err := i.press(ctx, sendIt, string(to), text)
	if errors.Is(err, errNothingToPress) {
		*pressed = false
		return cannotType("the button that sends is missing, or covered, or another chat was opened")
	}
	return err
}

// clear empties the field for messages if it holds something of a text or, in this chat, anything.
func (i *input) clear(ctx context.Context, to rpc.Secret, text string, anything bool) error {
	var left bool
	if err := i.object.Invoke(ctx, &left, "left", string(to), text, anything); err != nil || !left {
		return err
	}
	return i.fill(ctx, composer, "")
}

// vacant returns an error if the field is missing, or in use: the beginning of this text is what we have left.
func (i *input) vacant(ctx context.Context, to rpc.Secret, text string) error {
	var now desk
	if err := i.object.Invoke(ctx, &now, "desk", string(to)); err != nil {
		return err
	}
	switch {
	case !now.Composer:
		return cannotType("the chat has no field to write in")
	case now.Dialog, now.Busy, !strings.HasPrefix(text, now.Words):
		return &rpc.SendError{Code: rpc.SendNotReady, Detail: "the page's field for messages is in use"}
	}
	return nil
}

// find asks for an own row, nil if it is not found: then its text may still be in the field.
func (i *input) find(ctx context.Context, m rpc.Message, text, method string, args ...any) (found *row, err error) {
	err = i.object.Invoke(ctx, &found, method, args...)
	if err == nil && found == nil {
		err = i.clear(ctx, m.To, text, false)
	}
	return found, err
}

// open opens the chat with a phone number, unless it is open.
func (i *input) open(ctx context.Context, to rpc.Secret) error {
	var now desk
	if err := i.object.Invoke(ctx, &now, "desk", string(to)); err != nil {
		return err
	}
	switch {
	case now.Dialog: // what it asks is for a person to answer
		return &rpc.SendError{Code: rpc.SendNotReady, Detail: "a dialog of the page is in the way"}
	case now.Open:
		return nil
	}
	if err := i.enterNumber(ctx, to); err != nil {
		return err
	}
	var became string
	if err := i.object.Invoke(ctx, &became, "opened", string(to), chatOpens.Milliseconds()); err != nil {
		return err
	}
	switch became {
	case "open":
		return nil
	case "other":
		return cannotType("the chat that is open is perhaps another one")
	case "refused": // also when WhatsApp could not be asked
		_ = i.press(ctx, closeIt)
	}
	return &rpc.SendError{Code: rpc.SendLookupFailed, Detail: "the page did not open the chat"}
}

// enterNumber asks the page for the chat with a phone number, as a person does.
func (i *input) enterNumber(ctx context.Context, to rpc.Secret) error {
	if err := i.press(ctx, newChat); err != nil && !errors.Is(err, errNothingToPress) {
		return err
	}
	if there, err := i.appears(ctx, search, press); err != nil || !there {
		return errors.Join(cannotType("the field for a number is missing"), err)
	}
	if err := i.fill(ctx, search, "+"+strings.TrimSuffix(string(to), rpc.ServerPhone)); err != nil {
		return err
	}
	return i.enter(ctx)
}

// fill replaces what a field holds, by the keyboard, and checks that the page has taken it as it is.
func (i *input) fill(ctx context.Context, field, text string) error {
	var held *string
	if err := i.object.Invoke(ctx, &held, "focus", field); err != nil {
		return err
	}
	if held == nil {
		return cannotType("a field takes no text")
	}
	var keys []proto.Request
	if *held != "" {
		keys = stroke(proto.InputDispatchKeyEvent{Key: "Backspace", Code: "Backspace", WindowsVirtualKeyCode: 8})
	}
	for n, line := range strings.Split(text, "\n") {
		if n > 0 {
			keys = append(keys, stroke(proto.InputDispatchKeyEvent{Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13, Modifiers: shift})...)
		}
		if line != "" {
			keys = append(keys, proto.InputInsertText{Text: line})
		}
	}
	if err := i.document.Send(ctx, keys...); err != nil {
		return err
	}
	var taken bool
	if err := i.object.Invoke(ctx, &taken, "holds", field, text); err != nil {
		return err
	}
	if !taken {
		return cannotType("the page changes what is typed")
	}
	return nil
}

// shift is the key's bit among CDP's modifiers. Enter alone would send the message.
const shift = 8
