// Package view holds what the page's loop knows, for those who wait for it.
package view

import (
	"context"
	"sync"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// View is what the latest observation found.
type View struct {
	// Observed is false before the first observation.
	Observed bool
	Document int
	Reported rpc.PageObserved
	Socket   selectors.Socket
	Address  string
	// Uncaught are errors of the page's scripts.
	Uncaught []string
	// Readers is what each reader has found, in words, without the payload.
	Readers map[selectors.Reader]string
}

// Latest keeps the latest view, and wakes those who wait for another. It is safe
// for concurrent use.
type Latest struct {
	mu      sync.Mutex
	view    View
	changed chan struct{}
}

// New returns a Latest without a view.
func New() *Latest { return &Latest{changed: make(chan struct{})} }

// Set replaces the view.
func (l *Latest) Set(v View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = v
	close(l.changed)
	l.changed = make(chan struct{})
}

// Get returns the view.
func (l *Latest) Get() View {
	v, _ := l.get()
	return v
}

func (l *Latest) get() (View, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view, l.changed
}

// Await returns the first view that want accepts, or the latest with ctx's error.
func (l *Latest) Await(ctx context.Context, want func(View) bool) (View, error) {
	for {
		v, changed := l.get()
		if want(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}
