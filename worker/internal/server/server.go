// Package server is the worker: it implements the contract of shared/rpc on one
// Chrome (package browser) and one page in it (package page). It decides what
// counts as a failure of either, and knows nothing of what the page shows.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page"
)

// Page is the open page, as the server needs it.
type Page interface {
	// Run observes the page until ctx ends, or until the page can't be recovered;
	// its error carries a reason then.
	Run(ctx context.Context) error
	// Screenshot returns a PNG.
	Screenshot(ctx context.Context) ([]byte, error)
	// The following are those of rpc.Worker.
	Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error)
	LogOut(ctx context.Context) error
	SetSelectors(ctx context.Context, file []byte) error
	Diagnose(ctx context.Context) (rpc.Diagnosis, error)
	Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error)
	Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error)
	Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error)
	Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error)
	Passkey(ctx context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error)
	// MainThreadAge is how old the main thread's last answer is, -1 for none.
	MainThreadAge() time.Duration
}

// Worker implements rpc.Worker. Its methods may be called concurrently.
type Worker struct {
	log     *slog.Logger
	timings Timings
	// openPage returns a nil Page with every error.
	openPage func(context.Context, page.Options) (Page, error)

	// stopped ends the work that is under way, or keeps it from starting.
	stopped context.Context
	stop    context.CancelFunc
	// begun is closed by Begin or Refuse.
	begun chan struct{}
	// idle is closed when there is no Chrome and will not be one.
	idle chan struct{}
	// selectors is the file in force, nil until it is known.
	selectors atomic.Pointer[[]byte]

	mu      sync.Mutex
	started bool  // guarded by mu; Begin, Refuse or Stop was called
	work    *work // guarded by mu; nil until begun, and when Events has taken it
	page    Page  // guarded by mu; nil until opened, and after its end
	// pending is a selectors file that came before the page was open.
	pending *[]byte // guarded by mu; nil while there is no such file
	closed  error   // guarded by mu; how closing Chrome went; valid when idle is closed
	failed  error   // guarded by mu; why the session ended; valid when idle is closed
}

var _ rpc.Worker = (*Worker)(nil)

// New returns a worker that has not begun. The logger must not write to the
// descriptors that go-plugin replaces.
func New(log *slog.Logger) *Worker {
	w := &Worker{log: log, timings: defaultTimings(), openPage: openPage, begun: make(chan struct{}), idle: make(chan struct{})}
	w.stopped, w.stop = context.WithCancel(context.Background())
	return w
}

func openPage(ctx context.Context, o page.Options) (Page, error) {
	p, err := page.Open(ctx, o)
	if err != nil {
		return nil, err // not p: a nil *page.Page in an interface is not nil
	}
	return p, nil
}

// Idle is closed when Chrome has exited, or Stop was called before Begin. Only the
// last events are left to be delivered then.
func (w *Worker) Idle() <-chan struct{} { return w.idle }

// work is what Begin has begun and Events reports.
type work struct {
	generation uint64
	events     *queue
	cancel     context.CancelCauseFunc
	// cause is why it was cancelled, nil while it is not.
	cause func() error
	// taken is closed by Events. Work that has ended before waits for it.
	taken chan struct{}
	// result holds why the work failed, nil if it was stopped.
	result chan error
}

// Begin does what req asks for. What happens is kept for Events. It does nothing
// after Stop, or when it is called again.
func (w *Worker) Begin(req rpc.RunRequest) {
	log := w.log.With(slog.Uint64(logging.KeyGeneration, req.Generation))
	w.begin(req.Generation, func(ctx context.Context, events *queue) (closed, failed error) {
		s := newSession(w, req, events, log)
		err := guard(log, func() error { return s.run(ctx) })
		s.report(ctx, err)
		if !s.reported {
			err = nil // it was stopped
		}
		return s.closed, err
	})
}

// Refuse makes Events fail with err. It is called in Begin's place when there is
// no valid request.
func (w *Worker) Refuse(err error) {
	w.begin(0, func(context.Context, *queue) (closed, failed error) { return nil, err })
}

func (w *Worker) begin(generation uint64, do func(context.Context, *queue) (closed, failed error)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	k := &work{
		generation: generation, events: newQueue(), cancel: cancel, cause: func() error { return context.Cause(ctx) },
		taken: make(chan struct{}), result: make(chan error, 1),
	}
	if !w.first(k) {
		cancel(nil)
		return
	}
	close(w.begun)
	release := context.AfterFunc(w.stopped, func() { cancel(errStopped) })
	go func() {
		defer cancel(nil)
		defer release()
		closed, failed := do(ctx, k.events)
		k.events.close()
		select {
		case <-k.taken:
		case <-w.stopped.Done():
		}
		w.finish(closed, failed)
		k.result <- failed
	}()
}

// Events implements rpc.Worker. It waits for Begin.
func (w *Worker) Events(ctx context.Context, emit func(rpc.Event) error) error {
	select {
	case <-w.begun:
	case <-w.stopped.Done():
	case <-ctx.Done():
		_ = w.Stop(ctx) // which does not wait
		return ctx.Err()
	}
	w.mu.Lock()
	k := w.work
	w.work = nil // it is streamed once
	w.mu.Unlock()
	if k == nil {
		if w.stopped.Err() != nil {
			return nil
		}
		return rpc.ErrAlreadyStreaming
	}
	release := context.AfterFunc(ctx, func() { k.cancel(context.Cause(ctx)) })
	defer release()
	close(k.taken)
	if err := k.events.deliver(ctx, k.generation, emit); err != nil {
		k.cancel(err)
	}
	if err := <-k.result; err != nil {
		return err
	}
	if cause := k.cause(); !errors.Is(cause, errStopped) {
		return cause
	}
	return nil
}

// errStopped is the cause of the work's end by Stop.
var errStopped = errors.New("stop was asked for")

// Stop implements rpc.Worker. It fails if Chrome did not close cleanly, or not in
// time.
func (w *Worker) Stop(ctx context.Context) error {
	w.stop()
	if w.first(nil) {
		w.finish(nil, nil)
	}
	select {
	case <-w.idle:
	case <-ctx.Done():
		return fmt.Errorf("cannot stop in time: %w", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// Screenshot implements rpc.Worker.
func (w *Worker) Screenshot(ctx context.Context) (png []byte, err error) {
	return ask(w, func(p Page) ([]byte, error) { return p.Screenshot(ctx) })
}

// Pair implements rpc.Worker.
func (w *Worker) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	return ask(w, func(p Page) (rpc.Pairing, error) { return p.Pair(ctx, phone) })
}

// LogOut implements rpc.Worker.
func (w *Worker) LogOut(ctx context.Context) error {
	_, err := ask(w, func(p Page) (struct{}, error) { return struct{}{}, p.LogOut(ctx) })
	return err
}

// SetSelectors implements rpc.Worker. A file that comes before the page is kept for
// it.
func (w *Worker) SetSelectors(ctx context.Context, file []byte) error {
	if _, err := selectors.Read(file); err != nil {
		return fmt.Errorf("%w: %w", rpc.ErrSelectors, err)
	}
	w.selectors.Store(&file)
	w.mu.Lock()
	p := w.page
	if p == nil {
		w.pending = &file
	}
	w.mu.Unlock()
	if p == nil {
		return nil
	}
	return guard(w.log, func() error { return p.SetSelectors(ctx, file) })
}

// Diagnose implements rpc.Worker.
func (w *Worker) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	return ask(w, func(p Page) (rpc.Diagnosis, error) { return p.Diagnose(ctx) })
}

// Send implements rpc.Worker.
func (w *Worker) Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error) {
	return ask(w, func(p Page) (rpc.MessageState, error) { return p.Send(ctx, m) })
}

// Lookup implements rpc.Worker.
func (w *Worker) Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error) {
	return ask(w, func(p Page) ([]rpc.MessageState, error) { return p.Lookup(ctx, refs) })
}

// Contact implements rpc.Worker.
func (w *Worker) Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error) {
	return ask(w, func(p Page) (rpc.Contact, error) { return p.Contact(ctx, phone) })
}

// Receive implements rpc.Worker.
func (w *Worker) Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	return ask(w, func(p Page) (rpc.Reception, error) { return p.Receive(ctx, r) })
}

// Passkey implements rpc.Worker.
func (w *Worker) Passkey(ctx context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	return ask(w, func(p Page) (rpc.PasskeyCall, error) { return p.Passkey(ctx, c) })
}

// ask calls f with the page, if there is one.
func ask[T any](w *Worker, f func(Page) (T, error)) (answer T, err error) {
	w.mu.Lock()
	p := w.page
	w.mu.Unlock()
	if p == nil {
		return answer, rpc.ErrNoPage
	}
	err = guard(w.log, func() error {
		answer, err = f(p)
		return err
	})
	return answer, err
}

// Err returns the failure that ended the session, nil if it was stopped. It is valid
// once Idle is closed.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// first reports whether the caller is the first to start or stop the worker, and
// leaves k for Events then.
func (w *Worker) first(k *work) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return false
	}
	w.started, w.work = true, k
	return true
}

// setPage stores the open page, and returns the pending selectors file.
func (w *Worker) setPage(p Page) *[]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page = p
	return w.pending
}

func (w *Worker) finish(closed, failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page, w.closed, w.failed = nil, closed, failed
	close(w.idle)
}

// guard turns a panic of f into an error, so that one bad page or message becomes a
// reported failure. Goroutines that f starts are not covered.
func guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error(logid.PanicRecovered, slog.Any(logging.KeyError, fmt.Errorf("%v", r)),
				slog.String("stack", string(debug.Stack())))
			err = reason.Wrap(reason.WorkerCrashed, fmt.Errorf("internal error: panic: %v", r))
		}
	}()
	return f()
}

// failureOf describes a failed session for the supervisor. b is nil if Chrome did not
// start.
func failureOf(err error, b *browser.Browser) rpc.Failure {
	f := rpc.Failure{Reason: reason.Of(err, reason.WorkerCrashed), Detail: logging.Redact(err.Error())}
	if b == nil {
		return f
	}
	f.ChromeStderr = b.Stderr()
	return f
}
