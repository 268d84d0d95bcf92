package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/target"
)

// errNothingToPress means that a button is not there, or is covered.
var errNothingToPress = errors.New("there is nothing to press, or it is covered")

// Names of what act.js finds.
const (
	Reload  = "reload"
	UseHere = "use_here"
	logOut  = "log_out"
	field   = "input"
	byPhone = "with_phone"
	byQR    = "with_qr"
	next    = "next"
	menu    = "menu"
)

// input presses and types in one document as a person would, since the page checks
// who calls its functions. It also makes those calls of the page's modules that a
// command stands for.
type input struct {
	target *target.Target
	object *target.Object
}

// place is where to press something. A covered one has the keyboard's focus.
type place struct {
	X, Y    float64
	Covered bool
}

// press presses a button; the error is errNothingToPress if it can't be.
func (i *input) press(ctx context.Context, name string) error {
	var at *place
	if err := i.object.Invoke(ctx, &at, "where", name); err != nil {
		return err
	}
	if at == nil {
		return fmt.Errorf("cannot press %q: %w", name, errNothingToPress)
	}
	if at.Covered {
		return i.target.Send(ctx, stroke("Enter", "\r")...)
	}
	mouse := func(kind proto.InputDispatchMouseEventType, button proto.InputMouseButton, clicks int) proto.Request {
		return proto.InputDispatchMouseEvent{Type: kind, X: at.X, Y: at.Y, Button: button, ClickCount: clicks}
	}
	return i.target.Send(ctx,
		mouse(proto.InputDispatchMouseEventTypeMouseMoved, "", 0),
		mouse(proto.InputDispatchMouseEventTypeMousePressed, proto.InputMouseButtonLeft, 1),
		mouse(proto.InputDispatchMouseEventTypeMouseReleased, proto.InputMouseButtonLeft, 1),
	)
}

// appears waits until a button is there, and reports whether it is.
func (i *input) appears(ctx context.Context, name string, within time.Duration) (bool, error) {
	var there bool
	err := i.object.Invoke(ctx, &there, "appears", name, within.Milliseconds())
	return there, err
}

// typeOver replaces what a field holds.
func (i *input) typeOver(ctx context.Context, name, text string) error {
	if err := i.press(ctx, name); err != nil {
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
	return i.target.Send(ctx, keys...)
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

// outcome is a pairing code, the name of a refusal, or neither.
type outcome struct{ Code, Refusal string }

// invoked is what became of calls of the page's modules; Value is what the last
// one returned.
type invoked struct {
	Missing, Late, Failed bool
	Value, Refusal        string
}

// invoke makes calls of the page's modules.
func (i *input) invoke(ctx context.Context, calls []selectors.Call, phone string, within time.Duration) (made invoked, err error) {
	err = i.object.Invoke(ctx, &made, "invoke", calls, phone, within.Milliseconds())
	return made, err
}
