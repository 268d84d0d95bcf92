package page

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// SetSelectors makes the page be looked at with another selectors file from the next
// look on; an empty one stands for the one built in. It is safe for concurrent
// use.
func (p *Page) SetSelectors(_ context.Context, file []byte) error {
	l, err := parseLens(file)
	if err != nil {
		return err
	}
	p.lens.Store(l)
	p.hint()
	return nil
}

func parseLens(file []byte) (*compiled, error) {
	k, err := selectors.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rpc.ErrSelectors, err)
	}
	return newLens(k)
}

// view is what the loop knows of the page, for those who command it.
type view struct {
	// looked is false before the first look.
	looked   bool
	document int
	shown    rpc.PageObserved
	socket   selectors.Socket
	address  string
	uncaught []string
	saw      map[selectors.Reader]string
}

// views keeps the latest view, and wakes who waits for another.
type views struct {
	mu      sync.Mutex
	latest  view
	changed chan struct{}
}

func newViews() *views { return &views{changed: make(chan struct{})} }

func (v *views) set(latest view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latest = latest
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *views) get() (view, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.latest, v.changed
}

// await returns the first view that want accepts.
func (v *views) await(ctx context.Context, want func(view) bool) (view, error) {
	for {
		latest, changed := v.get()
		if want(latest) {
			return latest, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return latest, ctx.Err()
		}
	}
}

// command carries out what a person asked for, one at a time, within ctx,
// Timings.Command and the page's life. Meanwhile the loop looks, and doesn't
// touch the page.
func (p *Page) command(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.t.Command)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	select {
	case p.commands <- struct{}{}:
	case <-ctx.Done():
		return p.explain(ctx.Err())
	}
	p.busy.Store(true)
	defer func() {
		p.busy.Store(false)
		<-p.commands
		p.hint()
	}()
	return p.explain(do(ctx))
}

// explain says that there is no page instead of what follows from that.
func (p *Page) explain(err error) error {
	if err != nil && (p.life.Err() != nil || isLost(err) || errors.Is(err, errCrashed)) {
		return fmt.Errorf("%w: %w", rpc.ErrNoPage, err)
	}
	return err
}

// settled waits until the page is in anything but loading, and returns what.
func (p *Page) settled(ctx context.Context) (view, error) {
	short, cancel := context.WithTimeout(ctx, p.t.Call)
	defer cancel()
	v, err := p.views.await(short, func(v view) bool { return v.looked && v.shown.Condition != rpc.PageLoading })
	switch {
	case err == nil:
		return v, nil
	case ctx.Err() != nil:
		return v, ctx.Err()
	case !v.looked:
		return v, rpc.ErrNoPage
	}
	return v, nil
}
