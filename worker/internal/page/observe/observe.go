// Package observe evaluates observe.js in the page and translates what it returns
// for package classify.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/target"
)

// Observer observes one page. It is not safe for concurrent use.
type Observer struct {
	target *target.Target
	log    *slog.Logger
	url    string // the page's own address

	current  installed
	passkey  passkey
	words    words
	refusals map[selectors.Reader]string // why each reader's text was last refused
}

// installed is the observer's object in one document, and the scripts it is from.
type installed struct {
	document int
	scripts  *target.Scripts
	object   *target.Object
}

// New returns the Observer of a page whose own address is url: the storage of
// other sites does not count.
func New(t *target.Target, log *slog.Logger, url string) *Observer {
	return &Observer{target: t, log: log, url: url, refusals: map[selectors.Reader]string{}}
}

// Result is one observation.
type Result struct {
	classify.Observation
	// Address is the document's, Uncaught are the errors of its scripts.
	Address  string
	Uncaught []string
	// Scripts are those that were used.
	Scripts *target.Scripts
}

// View is the latest result, and what was made of it.
type View struct {
	Result
	// Observed is false before the first observation.
	Observed bool
	Reported rpc.PageObserved
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

// NewLatest returns a Latest without a view.
func NewLatest() *Latest { return &Latest{changed: make(chan struct{})} }

// Set replaces the view.
func (l *Latest) Set(v View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = v
	close(l.changed)
	l.changed = make(chan struct{})
}

// Get returns the view, and what is closed when there is another.
func (l *Latest) Get() (View, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view, l.changed
}

// Await returns the first view that want accepts, or the latest with ctx's error.
func (l *Latest) Await(ctx context.Context, want func(View) bool) (View, error) {
	for {
		v, changed := l.Get()
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

// Observe observes the document with this number. The error is target.ErrStale
// when it has gone away.
func (o *Observer) Observe(ctx context.Context, document int) (Result, error) {
	set := o.target.Scripts.Load()
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
func (o *Observer) install(ctx context.Context, set *target.Scripts) (*target.Object, error) {
	object, err := o.target.New(ctx, set.Observe)
	if err != nil {
		return nil, fmt.Errorf("cannot install observer: %w", err)
	}
	if err := o.target.Bind(ctx, target.Binding); err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", err)
	}
	if err := o.target.Isolated(ctx, new(any), set.Hint); err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", err)
	}
	return object, nil
}

// pendingScript reports whether the page waits for a passkey. Chrome has no event
// for a page's navigator.credentials.get, and turning on its WebAuthn domain
// replaces the authenticators that the page sees. But while a tab's first request
// waits, Chrome refuses a second one with an OperationError, before it looks at
// anything else; otherwise it refuses this one with a SecurityError, since its
// relying party is impossible (Chromium's authenticator_common_impl.cc). So the
// script starts nothing, and leaves no trace on any object of the page.
const pendingScript = `(async () => {
	if (!navigator.credentials) return false;
	const asked = navigator.credentials.get({ publicKey: { challenge: new Uint8Array(32), rpId: "" } })
		.then(() => false, (e) => e.name === "OperationError");
	return Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 500, false))]);
})()`

// passkeyInterval is the least time between two runs of the target.
const passkeyInterval = 2 * time.Second

// passkey is what is known of the page's requests for a passkey.
type passkey struct {
	offered  bool // there was a code once, and it may have been scanned
	document int
	at       time.Time // when the script last ran
	asked    bool
}

// PasskeyAsked reports whether the page waits for a passkey. It asks only where a
// scan could have come before.
func (o *Observer) PasskeyAsked(ctx context.Context, seen classify.Observation) (bool, error) {
	k, drawn := &o.passkey, false
	for _, r := range seen.Readings {
		k.offered = k.offered || r.Found
		drawn = drawn || r.Found && r.Reader != selectors.ReaderModules
	}
	if !k.offered || drawn || seen.Storage.Registered == nil || *seen.Storage.Registered {
		return false, nil
	}
	if k.document == seen.Document && time.Since(k.at) < passkeyInterval {
		return k.asked, nil
	}
	var asked bool
	if err := o.target.Isolated(ctx, &asked, pendingScript); err != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", err)
	}
	k.document, k.at, k.asked = seen.Document, time.Now(), asked
	return asked, nil
}
