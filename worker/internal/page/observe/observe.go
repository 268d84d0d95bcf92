// Package observe evaluates observe.js in the page and translates what it returns
// for package classify.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/script"
	"session-manager/worker/internal/page/target"
)

// Observer observes one page. It is not safe for concurrent use.
type Observer struct {
	target  *target.Target
	scripts *atomic.Pointer[script.Set]
	log     *slog.Logger
	url     string // the page's own address

	current  installed
	passkey  passkey
	words    words
	refusals map[selectors.Reader]string // why each reader's text was last refused
}

// installed is the observer's object in one document, and the scripts it is from.
type installed struct {
	document int
	scripts  *script.Set
	object   *target.Object
}

// New returns the Observer of a page whose own address is url: the storage of
// other sites does not count.
func New(t *target.Target, scripts *atomic.Pointer[script.Set], log *slog.Logger, url string) *Observer {
	return &Observer{target: t, scripts: scripts, log: log, url: url, refusals: map[selectors.Reader]string{}}
}

// Result is one observation.
type Result struct {
	classify.Observation
	// Address is the document's, Uncaught are the errors of its scripts.
	Address  string
	Uncaught []string
	// Scripts are those that were used.
	Scripts *script.Set
}

// Observe observes the document with this number. The error is target.ErrStale
// when it has gone away.
func (o *Observer) Observe(ctx context.Context, document int) (Result, error) {
	set := o.scripts.Load()
	if o.current.object == nil || o.current.document != document || o.current.scripts != set {
		o.Forget()
		object, err := o.install(ctx, set)
		if err != nil {
			return Result{}, err
		}
		o.current = installed{document, set, object}
	}
	var a answer
	if err := o.current.object.Invoke(ctx, &a, "observe"); err != nil {
		if errors.Is(err, target.ErrStale) {
			o.Forget()
		}
		return Result{}, err
	}
	o.note(a.Modules, a.Document.Visible)
	return Result{Observation: o.translate(a, document, time.Now()), Address: a.Document.URL, Uncaught: a.Document.Uncaught, Scripts: set}, nil
}

// Forget makes the next observation install its script again.
func (o *Observer) Forget() { o.current = installed{} }

// install puts the observer and the hints into the current document.
func (o *Observer) install(ctx context.Context, set *script.Set) (*target.Object, error) {
	object, err := o.target.New(ctx, set.Observe)
	if err != nil {
		return nil, fmt.Errorf("cannot install observer: %w", err)
	}
	if err := o.target.Bind(ctx, script.Binding); err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", err)
	}
	if err := o.target.Isolated(ctx, new(any), set.Hint); err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", err)
	}
	return object, nil
}
