// Package command carries out in the page what a person asks for: a pairing code,
// or the end of the link. It first asks the page's modules, and where they are
// missing it does what a person would. The classifier only watches meanwhile.
//
// From the request for a pairing code until that code has expired no QR of the page
// can be used, as its secret was dropped; the reasons are pairing_requested and
// pairing_code_shown. When the code has expired, its connection is lost or the request
// is refused, the page is led back to its QR, by its button or by loading it again. A
// code that has not expired is returned again to the same phone.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

// total bounds a whole command, however much time the caller gives.
const total = 90 * time.Second

// press is how long what follows a press may take.
const press = 1500 * time.Millisecond

// Commands carries out commands in one page, one at a time. It is safe for
// concurrent use.
type Commands struct {
	answer time.Duration
	call   time.Duration
	target *target.Target
	views  *observe.Latest
	log    *slog.Logger
	hint   func()

	turn chan struct{} // holds one token, of the command under way
	busy atomic.Bool

	pairing atomic.Pointer[pairing]
}

// New returns the Commands of a page. The page may take as long as answer for what it
// was asked, with its server. Each call of Chrome, and each wait for a page that is
// loading, may take as long as call. Hint makes the loop observe the page soon.
func New(t *target.Target, views *observe.Latest, hint func(), log *slog.Logger, answer, call time.Duration) *Commands {
	c := &Commands{answer: answer, call: call, target: t, views: views, hint: hint, log: log, turn: make(chan struct{}, 1)}
	c.pairing.Store(&pairing{})
	return c
}

// Busy reports whether a command is under way. Meanwhile nobody else may touch
// the page.
func (c *Commands) Busy() bool { return c.busy.Load() }

// do carries out one command within ctx, total and the page's life.
func (c *Commands) do(ctx context.Context, command func(context.Context, observe.View) error) error {
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	defer context.AfterFunc(c.target.Life, cancel)()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return c.target.Explain(ctx.Err())
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	v, err := c.settled(ctx)
	if err == nil {
		err = c.here(ctx)
	}
	if err == nil {
		err = command(ctx, v)
	}
	return c.target.Explain(err)
}

// settled waits until the page is no longer loading, and returns its view.
func (c *Commands) settled(ctx context.Context) (observe.View, error) {
	short, cancel := context.WithTimeout(ctx, c.call)
	defer cancel()
	v, err := c.views.Await(short, func(v observe.View) bool { return v.Observed && v.Reported.Condition != rpc.PageLoading })
	switch {
	case err == nil:
		return v, nil
	case ctx.Err() != nil:
		return v, ctx.Err()
	case !v.Observed:
		return v, rpc.ErrNoPage
	}
	return v, nil
}

// here returns an error unless the page is on its own origin.
func (c *Commands) here(ctx context.Context) error {
	document, err := c.target.Document(ctx)
	if err == nil {
		document.Release(ctx)
	}
	return err
}

// Press presses one button, for the loop, when it has appeared: the modules know
// of a screen before it is drawn.
func (c *Commands) Press(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, c.call)
	defer cancel()
	return c.reach(ctx, func(in *input) error {
		if _, err := in.appears(ctx, name, press); err != nil {
			return err
		}
		return in.press(ctx, name)
	})
}

// Return leads the page from a pairing code, or a refused one, to its QR, for the loop.
func (c *Commands) Return(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.call)
	defer cancel()
	err := c.reach(ctx, func(in *input) error {
		if err := in.closeDialogs(ctx); err != nil {
			return err
		}
		if _, err := in.appears(ctx, byQR, press); err != nil {
			return err
		}
		return in.press(ctx, byQR)
	})
	if err != nil {
		return err
	}
	c.pairing.Store(&pairing{})
	return nil
}

// reach acts in the current document, if that is the page's. What follows when it is
// left fails with target.ErrStale.
func (c *Commands) reach(ctx context.Context, act func(*input) error) error {
	document, err := c.target.Document(ctx)
	if err != nil {
		return fmt.Errorf("cannot reach into page: %w", err)
	}
	defer release(c, document.Release)
	return reachBy(ctx, c, document, c.target.Scripts.Load().Act, act)
}

// reachBy is reach with the object that another script makes in a document.
func reachBy(ctx context.Context, c *Commands, document *target.Document, script string, act func(*input) error) error {
	object, err := document.New(ctx, script)
	if err != nil {
		return fmt.Errorf("cannot reach into page: %w", err)
	}
	defer release(c, object.Release)
	return act(&input{document, object})
}

// release lets go of something in the page.
func release(c *Commands, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(c.target.Life, c.call)
	defer cancel()
	f(ctx)
}

// LogOut ends the link through the page, and returns when the page has wiped its
// login. It is bounded by ctx. Errors are those of rpc.Worker; after any other one
// the link may or may not have ended.
func (c *Commands) LogOut(ctx context.Context) error {
	err := c.do(ctx, func(ctx context.Context, v observe.View) error {
		if !v.Reported.Registered {
			return rpc.ErrNotLinked
		}
		if err := c.logOutByModules(ctx); err != nil {
			c.log.Info(logid.ModulesBypassed, logging.KeyDetail, err.Error())
			return c.logOutByHand(ctx)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot log out: %w", err)
	}
	return nil
}

// wiped waits until the login has left the page's storage.
func (c *Commands) wiped(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := c.views.Await(ctx, func(v observe.View) bool { return !v.Reported.Registered })
	return err
}

// logOutByModules makes the calls of the selectors. The page goes away while
// they are under way.
func (c *Commands) logOutByModules(ctx context.Context) error {
	calls := c.target.Scripts.Load().LogOut.Calls
	if len(calls) == 0 {
		return errors.New("there is no module for it")
	}
	return c.reach(ctx, func(in *input) error {
		made, err := in.invoke(ctx, calls, "", c.answer)
		switch {
		case err != nil && !errors.Is(err, target.ErrStale):
			return err
		case made.Missing:
			return errors.New("the page's modules are missing")
		case made.Failed:
			return errors.New("the page's modules failed")
		}
		if err := c.wiped(ctx, c.answer); err != nil {
			return fmt.Errorf("the page's modules had no effect: %w", err)
		}
		return nil
	})
}

// logOutByHand presses the button that logs out, in a dialog first, or the menu
// that holds it, until the link has ended.
func (c *Commands) logOutByHand(ctx context.Context) error {
	for {
		err := c.reach(ctx, func(in *input) error {
			if err := in.press(ctx, logOut); !errors.Is(err, errNothingToPress) {
				return err
			}
			return in.press(ctx, menu)
		})
		if err != nil && !errors.Is(err, target.ErrStale) && !errors.Is(err, errNothingToPress) {
			return err
		}
		// What was pressed opens a menu, or a dialog, or ends the link.
		if c.wiped(ctx, press) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

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
	dismiss = "dismiss"
)

// input presses and types in one document as a person would, since the page checks
// who calls its functions. It also makes those calls of the page's modules that a
// command stands for.
type input struct {
	document *target.Document
	object   *target.Object
}

// press presses a button, for which args are conditions; the error is errNothingToPress if it can't be.
func (i *input) press(ctx context.Context, name string, args ...any) error {
	var at *struct {
		X, Y    float64
		Covered bool // It has the keyboard's focus then.
	}
	if err := i.object.Invoke(ctx, &at, "where", append([]any{name}, args...)...); err != nil {
		return err
	}
	if at == nil {
		return fmt.Errorf("cannot press %q: %w", name, errNothingToPress)
	}
	if at.Covered {
		return i.enter(ctx)
	}
	mouse := func(kind proto.InputDispatchMouseEventType, button proto.InputMouseButton, clicks int) proto.Request {
		return proto.InputDispatchMouseEvent{Type: kind, X: at.X, Y: at.Y, Button: button, ClickCount: clicks}
	}
	return i.document.Send(ctx,
		mouse(proto.InputDispatchMouseEventTypeMouseMoved, "", 0),
		mouse(proto.InputDispatchMouseEventTypeMousePressed, proto.InputMouseButtonLeft, 1),
		mouse(proto.InputDispatchMouseEventTypeMouseReleased, proto.InputMouseButtonLeft, 1),
	)
}

// enter presses the key.
func (i *input) enter(ctx context.Context) error {
	return i.document.Send(ctx, stroke(proto.InputDispatchKeyEvent{Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13})...)
}

// stroke presses a key and lets it go.
func stroke(down proto.InputDispatchKeyEvent) []proto.Request {
	up := down
	down.Type, up.Type, up.Text = proto.InputDispatchKeyEventTypeKeyDown, proto.InputDispatchKeyEventTypeKeyUp, ""
	if down.Text == "" {
		down.Type = proto.InputDispatchKeyEventTypeRawKeyDown
	}
	return []proto.Request{down, up}
}

// appears waits until a button is there, and reports whether it is.
func (i *input) appears(ctx context.Context, name string, within time.Duration) (bool, error) {
	var there bool
	err := i.object.Invoke(ctx, &there, "appears", name, within.Milliseconds())
	return there, err
}

// mostDialogs bounds how many dialogs are closed one after the other.
const mostDialogs = 20

// closeDialogs closes the dialogs that explain refused codes: they stay, and cover the
// page. It gives up at one that doesn't close.
func (i *input) closeDialogs(ctx context.Context) error {
	for range mostDialogs {
		if err := i.press(ctx, dismiss); err != nil {
			if errors.Is(err, errNothingToPress) {
				return nil
			}
			return err
		}
		var left bool
		if err := i.object.Invoke(ctx, &left, "leaves", press.Milliseconds()); err != nil || !left {
			return err
		}
	}
	return nil
}

// typeOver replaces what a field holds. Keys could arrive in the next document, so
// the text is entered by the document itself, in one go.
func (i *input) typeOver(ctx context.Context, name, text string) error {
	var entered bool
	if err := i.object.Invoke(ctx, &entered, "enter", name, text); err != nil {
		return err
	}
	if !entered {
		return fmt.Errorf("cannot type into %q: it takes no text", name)
	}
	return nil
}

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
