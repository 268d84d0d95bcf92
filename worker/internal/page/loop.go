package page

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/command"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/qrpayload"
	"session-manager/worker/internal/page/search"
	"session-manager/worker/internal/page/target"
)

// shortest is the least time between two observations that no hint asked for.
const shortest = 10 * time.Millisecond

// atOnce is how soon a page answers that is not slow.
const atOnce = 100 * time.Millisecond

// errStopped means that a process of the browser does not run.
var errStopped = errors.New("a process of Chrome is stopped")

// errSilent means that a navigation took longer than Timings.Navigate.
var errSilent = errors.New("there was no answer in time")

// soon is how soon to observe again after the document went away, unless its
// successor hints earlier.
const soon = 50 * time.Millisecond

// loop is what one Run remembers.
type loop struct {
	*Page
	classifier classify.Classifier
	history    classify.History
	observer   *observe.Observer
	searcher   *search.Searcher
	checker    *search.Checker
	check      time.Time // when the checker wants another observation at the latest; zero means never
	health     health
	readers    map[selectors.Reader]string // what each has found, in words
	logged     rpc.PageObserved            // the last whose condition was logged
}

// Run observes the page, reports what it shows and cures it, until ctx ends. It
// then returns ctx's error. It returns another error, with a reason, for what
// only a new browser can cure. It must be called once.
func (p *Page) Run(ctx context.Context) error {
	defer p.close()
	l := &loop{
		Page:       p,
		classifier: classify.New(p.t.Classify),
		observer:   observe.New(p.target, p.log),
		checker:    search.NewChecker(p.target, p.log, p.signals.Hint),
		searcher:   search.New(p.target, p.log, p.t.SearchAgain, p.t.SearchAgainMax, p.signals.Hint, &p.running),
		readers:    map[selectors.Reader]string{},
	}
	p.running.Go(func() { l.checker.Run(p.target.Life) })
	p.running.Go(func() { p.messages.Run(p.target.Life) })
	p.running.Go(func() { p.inbox.Run(p.target.Life) })
	p.o.Emit(rpc.PhaseChanged{Phase: rpc.PhaseRecognise})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-p.signals.Lost:
			return reason.Wrap(reason.PageCrashed, err)
		case <-p.messages.Stuck:
			l.cureStuck(ctx)
		case <-p.signals.Hints:
		case <-timer.C:
		}
		l.guard()
		wake, err := l.step(ctx)
		if err != nil {
			return err
		}
		l.guard()
		timer.Reset(max(shortest, time.Until(wake)))
	}
}

// step observes once and acts on it. It returns when to observe again at the latest.
func (l *loop) step(ctx context.Context) (time.Time, error) {
	start := time.Now()
	seen, err := l.observe(ctx)
	now := time.Now()
	switch {
	case err == nil:
		l.health.misses, l.health.relapse = 0, false
		return l.act(ctx, seen, start, now)
	case ctx.Err() != nil:
		return now, ctx.Err()
	case target.IsLost(err):
		return now, reason.Wrap(reason.PageCrashed, err)
	case errors.Is(err, target.ErrCrashed):
		return now, l.cureCrash(ctx)
	}
	current, _ := l.signals.Begin(nil)
	l.apply(l.history.Unobserved(current, now))
	if who := l.signals.Whose(); errors.Is(err, target.ErrStale) && l.target.IsForeign(who) {
		// It may leave each document before that can be asked whose it is.
		return l.act(ctx, observe.Elsewhere(who, current, l.target.Scripts.Load()), start, now)
	}
	restless, failed := l.actUnseen(ctx, now)
	switch {
	case failed != nil:
		return now, failed
	case restless, errors.Is(err, target.ErrStale):
		return now.Add(soon), nil
	case errors.Is(err, errStopped):
		l.log.Warn(logid.ObservationFailed, logging.KeyError, err)
		return now.Add(l.t.Interval), nil
	}
	// If the worker itself was suspended, it proves nothing about the page.
	if now.Sub(start) < 2*l.t.Deadline {
		l.health.misses++
	}
	l.log.Warn(logid.ObservationFailed, logging.KeyError, err, "misses", l.health.misses)
	if l.health.misses < l.t.Misses {
		return now, nil
	}
	code := reason.PageHung
	if errors.Is(err, target.ErrScript) {
		code = reason.PageUnrecognised
	}
	return now, l.cureHang(ctx, code)
}

// guard withdraws a code whose document or connection has ended, and makes the signals
// watch over one that is offered: neither waits for what the page answers.
func (l *loop) guard() {
	l.apply(l.history.Outdated(l.signals.Guard(l.history.Offers(), time.Now())))
}

// observe makes one observation, within its deadline.
func (l *loop) observe(ctx context.Context) (observe.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.t.Deadline)
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	document, crashed := l.signals.Begin(interrupt)
	defer l.signals.Begin(nil)
	if crashed {
		return observe.Result{}, target.ErrCrashed
	}
	seen, err := l.observer.Observe(ctx, document)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, target.ErrCrashed) || errors.Is(cause, target.ErrGone) || errors.Is(cause, target.ErrStale) {
			err = cause
		}
		return seen, err
	}
	// A document that was committed meanwhile may be the one that was observed.
	if current, _ := l.signals.Begin(interrupt); current != document {
		return seen, target.ErrStale
	}
	now := time.Now()
	l.answered.Store(&now)
	if l.o.Stopped != nil && l.o.Stopped() {
		return seen, errStopped
	}
	seen.Busy = l.commands.Busy()
	if seen.Page != nil {
		seen.PairingAsked, seen.PairingUntil = l.commands.Pairing(document)
		seen.Connection = l.signals.Connection(now)
	}
	switch n := &seen.Navigation; {
	case seen.Page != nil:
		l.failure = classify.Failure{} // what is there has been reached, though late
	case l.failure != (classify.Failure{}): // what is there was there before
		n.ErrorPage, n.Elsewhere, n.Failure = true, "", l.failure
	}
	seen.Reloads = l.signals.Reloads()
	seen.Navigation.LoggedOut = l.signals.TakeLogout()
	seen.Readings = append(seen.Readings, l.searcher.Take(seen.Page, now)...)
	l.check = l.checker.Check(&seen.Observation, seen.Page, seen.Look, now)
	if seen.PasskeyAsked = l.passkeys.Open(seen.Document); !seen.PasskeyAsked {
		seen.PasskeyAsked, err = l.observer.PasskeyAsked(ctx, seen)
	}
	return seen, err
}

// act classifies the observation, which was begun at start, and does what follows.
func (l *loop) act(ctx context.Context, seen observe.Result, start, now time.Time) (time.Time, error) {
	h, d := l.classifier.Next(l.history, seen.Observation, now)
	l.history = h
	l.publish(seen, d.Cause) // first, so that whoever acts on an event finds what it is about
	l.emit(d.Events)
	l.passkeys.Observed(l.views.Get())
	if d.Disagree != "" {
		l.log.Warn(logid.ReaderContradicted,
			logging.KeyReader, string(d.Disagree), logging.KeyDetail, "not believed")
	}
	wake := now.Add(l.t.Interval)
	if d.Rest && now.Sub(start) <= atOnce {
		wake = now.Add(max(l.t.Interval, l.t.Rest))
	}
	if !d.Wake.IsZero() && d.Wake.Before(wake) {
		wake = d.Wake
	}
	if !l.check.IsZero() && l.check.Before(wake) {
		wake = l.check
	}
	if d.Search && seen.Page != nil {
		if next := l.searcher.Ask(seen.Page, now); next.Before(wake) {
			wake = next
		}
	}
	again, err := l.do(ctx, d)
	if again {
		return now.Add(soon), ctx.Err()
	}
	return wake, err
}

// actUnseen acts on a page that could not be observed because it keeps replacing its
// documents, and reports whether it does. What fails in one of them proves nothing.
func (l *loop) actUnseen(ctx context.Context, now time.Time) (restless bool, err error) {
	h, d, restless := l.classifier.Restless(l.history, l.signals.Reloads(), now)
	if restless {
		l.apply(h, d.Events)
		_, err = l.do(ctx, d)
	}
	return restless, err
}

// do carries out a decision, and reports whether to observe again soon. Where a
// button can't be pressed, reloading the page has the same effect. It fails for
// what only a new browser can cure.
func (l *loop) do(ctx context.Context, d classify.Decision) (again bool, err error) {
	switch d.Action {
	case classify.Stay:
		return false, nil
	case classify.GiveUp:
		return false, reason.Wrap(d.Why, fmt.Errorf("cannot get the page to load: %s", reason.Describe(d.Why).Message))
	case classify.Press:
		if err = l.commands.Press(ctx, command.Reload); err != nil {
			l.log.Warn(logid.QRRenewFailed, logging.KeyError, err)
			l.history = l.history.PressFailed()
			return true, nil
		}
		l.log.Info(logid.QRRenewed)
		return false, nil
	case classify.Return:
		l.log.Info(logid.PageReturned)
		err = l.commands.Return(ctx)
	case classify.UseHere:
		l.log.Info(logid.SessionClaimed, logging.KeyReason, string(d.Why))
		err = l.commands.Press(ctx, command.UseHere)
	case classify.Reload, classify.ReloadFresh:
		l.log.Info(logid.PageReloaded, logging.KeyReason, string(d.Why))
		l.loadAgain(ctx, d.Action == classify.ReloadFresh)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn(logid.ButtonPressFailed, logging.KeyError, err)
		l.loadAgain(ctx, false)
	}
	return true, nil
}

// loadAgain navigates to the page's address.
func (l *loop) loadAgain(ctx context.Context, fresh bool) {
	l.apply(l.history.Navigated())
	if err := l.reload(ctx, fresh); err != nil {
		l.log.Warn(logid.PageReloadFailed, logging.KeyError, err)
	}
}

// publish passes on what was observed, and why no code can be scanned.
func (l *loop) publish(seen observe.Result, cause string) {
	for _, r := range seen.Readings {
		l.readers[r.Reader] = describe(r, cause, seen)
	}
	l.views.Set(observe.View{Result: seen, Observed: true, Reported: l.history.Reported(), Readers: maps.Clone(l.readers)})
	l.messages.Observed()
	l.inbox.Observed()
}

// describe puts into words what a reader has found, without the payload.
func describe(r classify.Reading, cause string, seen observe.Result) string {
	switch {
	case !seen.Scripts.Uses(r.Reader):
		return "not asked: the selectors file leaves it out"
	case r.Found && cause == "" && seen.Connection.Seen():
		return "a fresh QR payload"
	case r.Found && cause == "":
		return "a fresh QR payload, by the page's own state: Chrome sees no connection of its document"
	case r.Found:
		return "a QR payload that can't be scanned now: " + classify.Explain(cause, seen.Connection)
	case errors.Is(r.Err, classify.ErrUnseen):
		return "a QR payload that nobody could scan: " + r.Err.Error()
	case errors.Is(r.Err, qrpayload.ErrMalformed):
		return "a text that no phone would accept: " + r.Err.Error()
	case r.Err != nil:
		return "an error: " + logging.Redact(logging.Truncate(r.Err.Error(), 200))
	}
	return "nothing"
}

// apply takes over a changed history and emits what it reports.
func (l *loop) apply(h classify.History, reported []rpc.EventBody) {
	l.history = h
	l.emit(reported)
}

func (l *loop) emit(list []rpc.EventBody) {
	for _, e := range list {
		if o, ok := e.(rpc.PageObserved); ok && (o.Condition != l.logged.Condition || o.Reason != l.logged.Reason) {
			l.logged = o
			l.log.Debug(logid.PageObserved, logging.KeyState, string(o.Condition), logging.KeyReason, string(o.Reason))
		}
		l.o.Emit(e)
	}
}

// health counts what goes wrong with the page itself.
type health struct {
	misses         int // observations in a row that were not answered
	hangs, crashes cures
	stuck          cures // of its messages
	relapse        bool  // a hang was cured, and the page has not been observed since
}

// cureWindow is the time in which Timings.CureLimit cures of a kind are allowed.
const cureWindow = 10 * time.Minute

// cures are the times of one kind of cure.
type cures []time.Time

// another adds a cure at now, unless limit were made within the window.
func (c *cures) another(now time.Time, limit int) bool {
	*c = slices.DeleteFunc(*c, func(at time.Time) bool { return now.Sub(at) >= cureWindow })
	if len(*c) >= limit {
		return false
	}
	*c = append(*c, now)
	return true
}

// cureCrash revives a page whose process has died.
func (l *loop) cureCrash(ctx context.Context) error {
	l.observer.Forget()
	l.signals.ForgetCrash()
	if !l.health.crashes.another(time.Now(), l.t.CureLimit) {
		return reason.Wrap(reason.PageCrashed, fmt.Errorf("cannot keep the page alive: it died more than %d times in %v", l.t.CureLimit, cureWindow))
	}
	l.log.Warn(logid.PageCrashed, logging.KeyReason, string(reason.PageCrashed))
	l.apply(l.history.Failing(reason.PageCrashed, time.Now()))
	return l.revive(ctx, reason.PageCrashed)
}

// cureHang stops the script that keeps the page's main thread busy, and loads
// the page again, since the script's work was cut short.
func (l *loop) cureHang(ctx context.Context, code reason.Code) error {
	l.observer.Forget()
	l.health.misses = 0
	if !l.health.hangs.another(time.Now(), l.t.CureLimit) || l.health.relapse {
		return reason.Wrap(code, errors.New("cannot get the page to answer: it did not respond after it was reloaded either"))
	}
	l.health.relapse = true
	l.log.Warn(logid.PageStalled, logging.KeyReason, string(code))
	l.apply(l.history.Failing(code, time.Now()))
	stop, cancel := context.WithTimeout(ctx, l.t.Call)
	defer cancel()
	if err := (proto.RuntimeTerminateExecution{}).Call(l.target.Page.Context(stop)); errors.Is(err, context.DeadlineExceeded) {
		// Not the script hangs but its process, and the page would get the same
		// one again.
		return reason.Wrap(code, errors.New("cannot get the page to answer: its process is frozen"))
	} else if err != nil {
		l.log.Warn(logid.ScriptStopFailed, logging.KeyError, err)
	}
	return l.revive(ctx, code)
}

// cureStuck loads a page again that can't read its own messages. Afterwards it may still be of use
// for everything else.
func (l *loop) cureStuck(ctx context.Context) {
	if l.health.stuck.another(time.Now(), l.t.CureLimit) {
		l.log.Info(logid.PageReloaded, logging.KeyReason, string(reason.SendsStuck))
		l.loadAgain(ctx, false)
	}
}

// revive navigates, which is what a crashed or hung page still reacts to.
func (l *loop) revive(ctx context.Context, code reason.Code) error {
	err := l.reload(ctx, false)
	if err != nil && ctx.Err() == nil {
		return reason.Wrap(code, fmt.Errorf("cannot revive page: %w", err))
	}
	return ctx.Err()
}

// reload loads the page again; fresh forgets what Chrome has cached of it.
func (p *Page) reload(ctx context.Context, fresh bool) error {
	if fresh {
		bounded, cancel := context.WithTimeout(ctx, p.t.Call)
		defer cancel()
		if err := p.target.ClearCache(bounded); err != nil {
			p.log.Warn(logid.CacheClearFailed, logging.KeyError, err)
		}
	}
	return p.navigate(ctx)
}

// navigate goes to the page's address, and notes why that can't be reached. It fails
// if Chrome or the server does not answer in time.
func (p *Page) navigate(ctx context.Context) error {
	p.signals.Navigating()
	bounded, cancel := context.WithTimeoutCause(ctx, p.t.Navigate, errSilent)
	defer cancel()
	text, err := p.target.Navigate(bounded, p.o.URL)
	if errors.Is(err, context.DeadlineExceeded) {
		<-bounded.Done() // the call's own timer may be a little early
		if errors.Is(context.Cause(bounded), errSilent) {
			text = classify.TimedOut
			err = errors.Join(err, p.stopLoading(ctx))
		}
	}
	p.failure = classify.FailureOf(text)
	if p.failure != (classify.Failure{}) {
		p.log.Warn(logid.NavigationFailed, logging.KeyReason, string(p.failure.Reason), logging.KeyDetail, p.failure.Detail)
	}
	return err
}

func (p *Page) stopLoading(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.t.Call)
	defer cancel()
	return p.target.StopLoading(ctx)
}
