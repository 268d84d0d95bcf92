package login

import (
	"context"
	"errors"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// operation is a logout that is under way. Those who ask meanwhile wait for it.
type operation struct {
	purge  bool // guarded by the Keeper's mu
	ended  chan struct{}
	name   string
	err    error
	closed bool // guarded by the Keeper's mu
}

// done is called with the Keeper's mu held, and may be called on nil.
func (o *operation) done(name string, err error) {
	if o == nil || o.closed {
		return
	}
	o.name, o.err, o.closed = name, err, true
	close(o.ended)
}

// LogOut ends the link through the page, closes Chrome cleanly, and moves the
// login to quarantine, or, when purge is set, erases it with everything that was
// kept of earlier ones. It returns, when that is done, the name of the folder in
// quarantine. A second caller waits for the first one's. Errors match those of
// worker.Manager's LogOut; without a link, purge erases what there is.
func (k *Keeper) LogOut(ctx context.Context, purge bool) (string, error) {
	k.mu.Lock()
	if under := k.logout; under != nil {
		under.purge = under.purge || purge
		k.mu.Unlock()
		return under.wait(ctx)
	}
	o := &operation{purge: purge, ended: make(chan struct{})}
	k.logout = o
	k.mu.Unlock()
	defer k.forget(o)

	err := k.o.Workers().LogOut(ctx)
	k.mu.Lock()
	if err != nil && (!o.purge || !errors.Is(err, rpc.ErrNotLinked)) {
		o.done("", err)
		k.mu.Unlock()
		return "", err
	}
	k.pending, k.why = retire, whyLoggedOut
	if o.purge {
		k.pending = erase
	}
	if now := k.o.Now(); !k.memory.LinkedAt.IsZero() {
		k.memory.LoggedOutAt = now
	}
	k.glimpse.asked = true
	k.save()
	k.mu.Unlock()
	k.ask(worker.RestartRequest{Reason: reason.Maintenance, Detail: "the session was logged out by command", Urgency: worker.Immediately})
	return o.wait(ctx)
}

func (k *Keeper) forget(o *operation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o.done("", context.Canceled)
	k.logout = nil
}

func (o *operation) wait(ctx context.Context) (string, error) {
	select {
	case <-o.ended:
		return o.name, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
