// Package input presses and types in the page as a person would, since the page
// checks who calls its functions. It also makes those calls of the page's modules
// that a person's command stands for.
package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/script"
	"session-manager/worker/internal/page/target"
)

// ErrNothingToPress means that a button is not there, or is covered.
var ErrNothingToPress = errors.New("there is nothing to press, or it is covered")

// Names of what act.js finds.
const (
	Reload  = "reload"
	LogOut  = "log_out"
	Field   = "input"
	UseHere = "use_here"
	ByPhone = "with_phone"
	ByQR    = "with_qr"
	Next    = "next"
	Menu    = "menu"
)

// Input acts in one document.
type Input struct {
	target *target.Target
	object *target.Object
}

// Reach prepares the current document. Release must be called.
func Reach(ctx context.Context, t *target.Target, set *script.Set) (*Input, error) {
	object, err := t.New(ctx, set.Act)
	if err != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", err)
	}
	return &Input{t, object}, nil
}

// Release lets go of the document.
func (i *Input) Release(ctx context.Context) { i.object.Release(ctx) }

// place is where to press something. A covered one has the keyboard's focus.
type place struct {
	X, Y    float64
	Covered bool
}

// Press presses a button; the error is ErrNothingToPress if it can't be pressed.
func (i *Input) Press(ctx context.Context, name string) error {
	var at *place
	if err := i.object.Invoke(ctx, &at, "where", name); err != nil {
		return err
	}
	if at == nil {
		return fmt.Errorf("cannot press %q: %w", name, ErrNothingToPress)
	}
	if at.Covered {
		return i.send(ctx, stroke("Enter", "\r"))
	}
	mouse := func(kind proto.InputDispatchMouseEventType, button proto.InputMouseButton, clicks int) proto.Request {
		return proto.InputDispatchMouseEvent{Type: kind, X: at.X, Y: at.Y, Button: button, ClickCount: clicks}
	}
	return i.send(ctx, []proto.Request{
		mouse(proto.InputDispatchMouseEventTypeMouseMoved, "", 0),
		mouse(proto.InputDispatchMouseEventTypeMousePressed, proto.InputMouseButtonLeft, 1),
		mouse(proto.InputDispatchMouseEventTypeMouseReleased, proto.InputMouseButtonLeft, 1),
	})
}

// Appears waits until a button is there, and reports whether it is.
func (i *Input) Appears(ctx context.Context, name string, within time.Duration) (bool, error) {
	var there bool
	err := i.object.Invoke(ctx, &there, "appears", name, within.Milliseconds())
	return there, err
}

// TypeOver replaces what a field holds.
func (i *Input) TypeOver(ctx context.Context, name, text string) error {
	if err := i.Press(ctx, name); err != nil {
		return err
	}
	const control = 2
	keys := []proto.Request{
		proto.InputDispatchKeyEvent{
			Type: proto.InputDispatchKeyEventTypeRawKeyDown, Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 'A',
			Modifiers: control, Commands: []string{"selectAll"},
		},
		proto.InputDispatchKeyEvent{Type: proto.InputDispatchKeyEventTypeKeyUp, Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 'A', Modifiers: control},
	}
	for _, r := range text {
		keys = append(keys, stroke(string(r), string(r))...)
	}
	return i.send(ctx, keys)
}

func (i *Input) send(ctx context.Context, requests []proto.Request) error {
	if err := i.target.Send(ctx, requests...); err != nil {
		return fmt.Errorf("cannot press: %w", err)
	}
	return nil
}

// stroke is one key, pressed and released. Digits and Enter have the codes that a
// keyboard would send.
func stroke(key, text string) []proto.Request {
	code, virtual := "", 0
	switch {
	case key == "Enter":
		const enter = 13
		code, virtual = key, enter
	case len(key) == 1 && key[0] >= '0' && key[0] <= '9':
		code, virtual = "Digit"+key, int(key[0])
	}
	return []proto.Request{
		proto.InputDispatchKeyEvent{Type: proto.InputDispatchKeyEventTypeKeyDown, Key: key, Code: code, Text: text, WindowsVirtualKeyCode: virtual},
		proto.InputDispatchKeyEvent{Type: proto.InputDispatchKeyEventTypeKeyUp, Key: key, Code: code, WindowsVirtualKeyCode: virtual},
	}
}

// Typed returns the digits in the field.
func (i *Input) Typed(ctx context.Context) (digits string, err error) {
	err = i.object.Invoke(ctx, &digits, "typed")
	return digits, err
}

// Codes returns the texts on the screen that look like a pairing code.
func (i *Input) Codes(ctx context.Context) (codes []string, err error) {
	err = i.object.Invoke(ctx, &codes, "codes")
	return codes, err
}

// Outcome is a pairing code, the name of a refusal, or neither.
type Outcome struct{ Code, Refusal string }

// Outcome waits for a pairing code that is not among before, or for a refusal.
func (i *Input) Outcome(ctx context.Context, before []string, within time.Duration) (o Outcome, err error) {
	err = i.object.Invoke(ctx, &o, "outcome", before, within.Milliseconds())
	return o, err
}

// Invoked is what became of calls of the page's modules.
type Invoked struct {
	Missing, Late, Failed bool
	Value, Refusal        string
}

// Invoke makes calls of the page's modules, and returns the last one's value.
func (i *Input) Invoke(ctx context.Context, calls []selectors.Call, phone string, within time.Duration) (made Invoked, err error) {
	err = i.object.Invoke(ctx, &made, "invoke", calls, phone, within.Milliseconds())
	return made, err
}
