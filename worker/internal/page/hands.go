package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/selectors"
)

// errNothingToPress means that a button is not there, or that something lies
// over it.
var errNothingToPress = errors.New("there is nothing to press, or it is covered")

// hands is the object in one document that finds what a person would press, and
// makes the calls that a person's command stands for.
type input struct {
	page   *Page
	object proto.RuntimeRemoteObjectID
	k      *selectors.Set
}

// Names by which act.js knows more than one button.
const (
	toReload  = "reload"
	toLogOut  = "exit"
	toInput   = "input"
	toUseHere = "use_here"
	toPhone   = "with_phone"
	toQR      = "with_qr"
	toNext    = "next"
	toMenu    = "menu"
)

// reach puts hands into the current document.
func (p *Page) reach(ctx context.Context) (*input, error) {
	through := p.lens.Load()
	made, err := proto.RuntimeEvaluate{Expression: through.act}.Call(p.rod.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", stale(err))
	}
	if made.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", exception(made.ExceptionDetails))
	}
	return &input{page: p, object: made.Result.ObjectID, k: through.k}, nil
}

// release lets go of the object; it dies with its document anyway.
func (h *input) release() {
	ctx, cancel := context.WithTimeout(h.page.life, h.page.t.Call)
	defer cancel()
	_ = proto.RuntimeReleaseObject{ObjectID: h.object}.Call(h.page.rod.Context(ctx))
}

// ask runs a method of the object and decodes what it returns into v.
func (h *input) ask(ctx context.Context, v any, method string, args ...any) error {
	encoded, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		return fmt.Errorf("cannot encode arguments: %w", err)
	}
	return h.page.evaluate(ctx, h.object, fmt.Sprintf("function () { return this.%s(...%s); }", method, encoded), v)
}

// place is where to press something. A covered one has the keyboard's focus.
type place struct {
	X, Y    float64
	Covered bool
}

// press presses a button as a person would, since the page looks at who calls
// its functions.
func (h *input) press(ctx context.Context, name string) error {
	var at *place
	if err := h.ask(ctx, &at, "where", name); err != nil {
		return err
	}
	if at == nil {
		return fmt.Errorf("cannot press %q: %w", name, errNothingToPress)
	}
	input := click(*at)
	if at.Covered {
		input = stroke("Enter", "\r")
	}
	return h.send(ctx, input)
}

// appears waits until a button is there, and tells whether it is.
func (h *input) appears(ctx context.Context, name string, within time.Duration) (bool, error) {
	var there bool
	err := h.ask(ctx, &there, "appears", name, within.Milliseconds())
	return there, err
}

// typeOver replaces what an input holds.
func (h *input) typeOver(ctx context.Context, name, text string) error {
	if err := h.press(ctx, name); err != nil {
		return err
	}
	input := []proto.Request{proto.InputDispatchKeyEvent{
		Type: proto.InputDispatchKeyEventTypeRawKeyDown, Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 'A',
		Modifiers: modifierControl, Commands: []string{"selectAll"},
	}}
	input = append(input, proto.InputDispatchKeyEvent{
		Type: proto.InputDispatchKeyEventTypeKeyUp, Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 'A', Modifiers: modifierControl,
	})
	for _, r := range text {
		input = append(input, stroke(string(r), string(r))...)
	}
	return h.send(ctx, input)
}

const modifierControl = 2

func (h *input) send(ctx context.Context, input []proto.Request) error {
	page := h.page.rod.Context(ctx)
	for _, event := range input {
		if _, err := page.Call(ctx, string(page.SessionID), event.ProtoReq(), event); err != nil {
			return fmt.Errorf("cannot press: %w", err)
		}
	}
	return nil
}

func click(at place) []proto.Request {
	return []proto.Request{
		proto.InputDispatchMouseEvent{Type: proto.InputDispatchMouseEventTypeMouseMoved, X: at.X, Y: at.Y},
		proto.InputDispatchMouseEvent{Type: proto.InputDispatchMouseEventTypeMousePressed, X: at.X, Y: at.Y, Button: proto.InputMouseButtonLeft, ClickCount: 1},
		proto.InputDispatchMouseEvent{Type: proto.InputDispatchMouseEventTypeMouseReleased, X: at.X, Y: at.Y, Button: proto.InputMouseButtonLeft, ClickCount: 1},
	}
}

// stroke is one key, pressed and let go. Digits and Enter have the codes that a
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
