package page

import (
	"context"
	"errors"
	"fmt"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
)

// LogOut ends the link through the page, and returns when the page has wiped its
// login. It is bounded by ctx, and safe for concurrent use. Errors are those of
// rpc.Worker; after any other one the link may or may not have ended.
func (p *Page) LogOut(ctx context.Context) error {
	err := p.command(ctx, func(ctx context.Context) error {
		v, err := p.settled(ctx)
		if err != nil {
			return err
		}
		if !v.shown.Registered {
			return rpc.ErrNotLinked
		}
		if err := p.logOutByModules(ctx); err != nil {
			p.log.Info(logid.ModulesBypassed, logging.KeyDetail, err.Error())
			return p.logOutByHand(ctx)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot log out: %w", err)
	}
	return nil
}

// wiped waits until the login has left the page's storage.
func (p *Page) wiped(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := p.views.await(ctx, func(v view) bool { return !v.shown.Registered })
	return err
}

// logOutByModules makes the calls of the selectors. The page goes away while
// they are under way.
func (p *Page) logOutByModules(ctx context.Context) error {
	h, err := p.reach(ctx)
	if err != nil {
		return err
	}
	defer h.release()
	if len(h.k.LogOut.Calls) == 0 {
		return errors.New("there is no module for it")
	}
	var made invoked
	err = h.ask(ctx, &made, "invoke", h.k.LogOut.Calls, "", p.t.Answer.Milliseconds())
	switch {
	case err != nil && !errors.Is(err, errStale):
		return err
	case made.Missing:
		return errors.New("the page's modules are missing")
	case made.Failed:
		return errors.New("the page's modules failed")
	}
	if err := p.wiped(ctx, p.t.Answer); err != nil {
		return fmt.Errorf("the page's modules had no effect: %w", err)
	}
	return nil
}

// logOutByHand presses what leads there, until it has.
func (p *Page) logOutByHand(ctx context.Context) error {
	for {
		if err := p.pressTowardsLogOut(ctx); err != nil && !errors.Is(err, errStale) && !errors.Is(err, errNothingToPress) {
			return err
		}
		// What was pressed opens a menu, or a dialog, or ends the link.
		err := p.wiped(ctx, p.t.Press)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pressTowardsLogOut presses the button that logs out, in a dialog first, or the
// menu that holds it.
func (p *Page) pressTowardsLogOut(ctx context.Context) error {
	h, err := p.reach(ctx)
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.press(ctx, toLogOut); !errors.Is(err, errNothingToPress) {
		return err
	}
	return h.press(ctx, toMenu)
}
