// Package observe evaluates observe.js in the page and translates what it returns
// for package classify.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/qrpayload"
	"session-manager/worker/internal/page/target"
)

// Observer observes one page. It is not safe for concurrent use.
type Observer struct {
	target *target.Target
	log    *slog.Logger

	current  installed
	passkey  passkey
	words    words
	refusals map[selectors.Reader]string // why each reader's text was last refused
	warned   time.Time                   // when a warning was last logged
}

// installed is the observer's object in one document, and the scripts it is from.
type installed struct {
	number   int
	document *target.Document
	scripts  *target.Scripts
	object   *target.Object
}

// New returns the Observer of a page.
func New(t *target.Target, log *slog.Logger) *Observer {
	return &Observer{target: t, log: log, refusals: map[selectors.Reader]string{}}
}

// Result is one observation.
type Result struct {
	classify.Observation
	// Page is the document; nil when it is not of the page's origin.
	Page *target.Document
	// Address is the document's, Uncaught are the errors of its scripts.
	Address  string
	Uncaught []string
	// Look changes with the picture of the document's code, and with what decides
	// about whether it can be scanned.
	Look string
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
	// since is when the document became ready, if it is.
	since time.Time
}

// Ready reports whether the page can be asked.
func (v View) Ready() bool {
	return v.Observed && v.Page != nil && v.Reported.Condition == rpc.PageReady
}

// Latest keeps the latest view, and wakes those who wait for another. It is safe
// for concurrent use.
type Latest struct {
	current atomic.Pointer[kept]
	settle  time.Duration
}

// kept is a view, and what is closed when there is another.
type kept struct {
	View
	changed chan struct{}
}

// NewLatest returns a Latest without a view. What a document lacks that has been ready for less
// than settle proves nothing: some of its modules come late.
func NewLatest(settle time.Duration) *Latest {
	l := &Latest{settle: settle}
	l.current.Store(&kept{changed: make(chan struct{})})
	return l
}

// Set replaces the view.
func (l *Latest) Set(v View) {
	if before := l.Get(); before.Ready() && before.Document == v.Document {
		v.since = before.since
	} else {
		v.since = time.Now()
	}
	close(l.current.Swap(&kept{v, make(chan struct{})}).changed)
}

// Get returns the view.
func (l *Latest) Get() View { return l.current.Load().View }

// Still reports whether the document of a view is still there, and has been ready for some time. Otherwise
// what it lacks proves nothing: a document that is loading, or goes away, lacks names without having lost them.
func (l *Latest) Still(ctx context.Context, v View) bool {
	now := l.Get()
	return now.Ready() && now.Document == v.Document && time.Since(now.since) >= l.settle && v.Page.Check(ctx) == nil
}

// Confirm returns err, unless it means that the document of a view lacks something, and that
// proves nothing.
func (l *Latest) Confirm(ctx context.Context, v View, err error) error {
	if e, ok := errors.AsType[*rpc.SendError](err); !ok || e.Code != rpc.SendPagePathGone || l.Still(ctx, v) {
		return err
	}
	return &rpc.SendError{Code: rpc.SendNotReady, Detail: "the document was replaced, or is still loading"}
}

// Await returns the first view that want accepts, or the latest with ctx's error.
func (l *Latest) Await(ctx context.Context, want func(View) bool) (View, error) {
	for {
		now := l.current.Load()
		if want(now.View) {
			return now.View, nil
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return now.View, ctx.Err()
		}
	}
}

// Observe observes the document with this number. Of one that is not of the page's
// origin it returns no more than whose it is. The error is target.ErrStale when the
// document has gone away.
func (o *Observer) Observe(ctx context.Context, number int) (Result, error) {
	set := o.target.Scripts.Load()
	if o.current.object == nil || o.current.number != number || o.current.scripts != set {
		o.Forget()
		document, object, err := o.install(ctx, set)
		if other, ok := errors.AsType[*target.ElsewhereError](err); ok {
			return Elsewhere(other.Identity, number, set), nil
		}
		if err != nil {
			return Result{}, err
		}
		o.current = installed{number, document, set, object}
	}
	var a answer
	if err := o.current.object.Invoke(ctx, &a, "observe"); err != nil {
		if errors.Is(err, target.ErrStale) {
			o.Forget()
		}
		return Result{}, err
	}
	o.note(a.Modules, a.Document.Visible)
	return Result{
		Observation: o.translate(a, number, time.Now()), Page: o.current.document,
		Address: a.Document.URL, Uncaught: a.Document.Uncaught, Look: a.Document.Look, Scripts: set,
	}, nil
}

// Elsewhere is the observation of a document that is not of the page's origin.
func Elsewhere(who target.Identity, number int, set *target.Scripts) Result {
	seen := classify.Observation{
		Document: number, Online: who.Online,
		Navigation: classify.Navigation{ErrorPage: who.ErrorPage()},
		Drawn:      classify.Drawn{Progress: -1, Opacity: 1},
	}
	if !who.ErrorPage() && !who.Blank() {
		seen.Navigation.Elsewhere = who.Site()
	}
	return Result{Observation: seen, Address: who.Address, Scripts: set}
}

// Forget makes the next observation install its script again.
func (o *Observer) Forget() { o.current = installed{} }

// install puts the observer and the hints into the current document.
func (o *Observer) install(ctx context.Context, set *target.Scripts) (*target.Document, *target.Object, error) {
	document, err := o.target.Document(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot identify document: %w", err)
	}
	object, err := document.New(ctx, set.Observe)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot install observer: %w", err)
	}
	if err := document.Bind(ctx, target.Binding); err != nil {
		return nil, nil, fmt.Errorf("cannot install hints: %w", err)
	}
	if err := document.Isolated(ctx, new(any), set.Hint); err != nil {
		return nil, nil, fmt.Errorf("cannot install hints: %w", err)
	}
	return document, object, nil
}

// answer is what observe.js returns, decoded by the names of the fields.
type answer struct {
	Document struct {
		classify.Drawn
		classify.Storage
		URL      string
		Status   int
		Visible  bool
		Online   bool
		Shown    string
		Hidden   string
		Look     string
		Progress float64
		Uncaught []string
	}
	Modules  modulesAnswer
	Repeated bool
}

// modulesAnswer is what the page's modules answer, in their own words.
type modulesAnswer struct {
	classify.Modules
	Socket        string
	Stream        string
	Mode          string
	LinkMethod    string
	NetworkOnline *bool
	RefTTL        float64
	Assembled     string
}

// translate makes an observation of an answer.
func (o *Observer) translate(a answer, document int, now time.Time) classify.Observation {
	d, m, set := a.Document, a.Modules, o.current.scripts
	seen := classify.Observation{
		Document: document,
		Navigation: classify.Navigation{
			UnsupportedURL: target.ContainsAny(d.URL, set.URLs.Unsupported),
			Status:         d.Status,
		},
		Drawn: d.Drawn, Modules: m.Modules, Storage: d.Storage,
		Online: d.Online && (m.NetworkOnline == nil || *m.NetworkOnline), Repeated: a.Repeated,
	}
	seen.Drawn.Progress = percent(d.Progress)
	seen.Modules.Socket, seen.Modules.Stream = set.Words.SocketStates[m.Socket], set.Words.SocketStreams[m.Stream]
	seen.Modules.Method = set.Words.LinkMethods[m.LinkMethod]
	seen.Modules.RefTTL = time.Duration(m.RefTTL * float64(time.Millisecond))
	dom := o.reading(selectors.ReaderDOM, d.Shown, now)
	if dom.Found && d.Hidden != "" {
		dom = dom.Unseen(d.Hidden)
	}
	if errors.Is(dom.Err, qrpayload.ErrMalformed) && set.Uses(selectors.ReaderDOM) && m.Ref != "" && strings.Contains(d.Shown, string(m.Ref)) {
		// The page shows a code of a form that is new to us. Assembled in the old
		// form it would not be what is on the screen.
		m.Assembled = ""
	}
	seen.Readings = []classify.Reading{dom, o.reading(selectors.ReaderModules, m.Assembled, now)}
	return seen
}

// reading parses what a reader found. What no phone would accept does not count.
func (o *Observer) reading(reader selectors.Reader, found string, now time.Time) classify.Reading {
	r := classify.Reading{Reader: reader, At: now}
	if found == "" || !o.current.scripts.Uses(reader) {
		return r
	}
	code, err := o.current.scripts.Parse(found)
	if err != nil {
		if o.refusals[reader] != err.Error() && o.mayWarn() {
			o.refusals[reader] = err.Error()
			o.log.Warn(logid.QRPayloadRejected, logging.KeyReader, string(reader), logging.KeyError, err)
		}
		r.Err = err
		return r
	}
	r.Found, r.Code = true, code
	return r
}

// words are what the page's modules call their states.
type words struct {
	socket, stream, mode string
	visible              bool
}

// mayWarn reports whether a warning may be logged, and counts it as one. A page that
// gives cause for one all the time gets one in each pause.
func (o *Observer) mayWarn() bool {
	const pause = 5 * time.Second
	if time.Since(o.warned) < pause {
		return false
	}
	o.warned = time.Now()
	return true
}

// note logs the page's own words for its state when they change.
func (o *Observer) note(m modulesAnswer, visible bool) {
	now := words{m.Socket, m.Stream, m.Mode, visible}
	if now == o.words {
		return
	}
	_, socketKnown := o.current.scripts.Words.SocketStates[m.Socket]
	_, streamKnown := o.current.scripts.Words.SocketStreams[m.Stream]
	level := slog.LevelDebug
	if m.Socket != "" && !socketKnown || m.Stream != "" && !streamKnown || !visible {
		if !o.mayWarn() {
			return
		}
		level = slog.LevelWarn // It will be misunderstood, or it will be slow.
	}
	o.words = now
	o.log.Log(o.target.Life, level, logid.PageStateChanged, slog.String(logging.KeyState, m.Socket),
		slog.String("stream", m.Stream), slog.String("mode", m.Mode), slog.Bool("visible", visible))
}

func percent(f float64) int {
	if math.IsNaN(f) || f < 0 {
		return -1
	}
	return int(math.Min(math.Round(f), 100))
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
func (o *Observer) PasskeyAsked(ctx context.Context, seen Result) (bool, error) {
	k, drawn := &o.passkey, false
	for _, r := range seen.Readings {
		k.offered = k.offered || r.Found
		drawn = drawn || r.Found && r.Reader != selectors.ReaderModules
	}
	if seen.Page == nil || !k.offered || drawn || seen.Storage.Registered == nil || *seen.Storage.Registered {
		return false, nil
	}
	if k.document == seen.Document && time.Since(k.at) < passkeyInterval {
		return k.asked, nil
	}
	var asked bool
	if err := seen.Page.Isolated(ctx, &asked, pendingScript); err != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", err)
	}
	k.document, k.at, k.asked = seen.Document, time.Now(), asked
	return asked, nil
}
