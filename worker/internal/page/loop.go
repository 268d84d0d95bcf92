package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/qrpayload"
)

// shortest is the least time between two looks that no hint asked for.
const shortest = 10 * time.Millisecond

// staleRetry is how soon to look again after the document went away, unless its
// successor hints earlier.
const staleRetry = 50 * time.Millisecond

// loop is what one Run remembers.
type loop struct {
	*Page
	history  classify.History
	observer *observer
	misses   int
	hangs    cures
	crashes  cures
	relapse  bool // cured of a hang, and not looked at since
	seeker   *seeker
	through  *compiled // of the look in flight
	passkeys passkeys
	words    words
	refusals map[selectors.Reader]string // why each reader's string was last not served
	saw      map[selectors.Reader]string // what each has seen, in words
	address  string                      // of the document
	uncaught []string                    // errors of its scripts
}

// Run looks at the page, tells what it shows and mends it, until ctx ends. It
// then returns ctx's error. It returns another error, with a reason, for what
// only a new browser can mend. It must be called once.
func (p *Page) Run(ctx context.Context) error {
	defer p.close()
	l := &loop{Page: p, seeker: newSeeker(p), refusals: map[selectors.Reader]string{}, saw: map[selectors.Reader]string{}}
	p.wg.Go(l.seeker.run)
	p.o.Emit(rpc.PhaseChanged{Phase: rpc.PhaseRecognise})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-p.signals.lost:
			return reason.Wrap(reason.PageCrashed, err)
		case <-p.signals.hint:
		case <-timer.C:
		}
		wake, err := l.step(ctx)
		if err != nil {
			return err
		}
		timer.Reset(max(shortest, time.Until(wake)))
	}
}

// step looks once and acts on it. It returns when to look again at the latest.
func (l *loop) step(ctx context.Context) (time.Time, error) {
	start := time.Now()
	look, err := l.look(ctx)
	now := time.Now()
	switch {
	case err == nil:
		l.misses, l.relapse = 0, false
		l.lastGood.Store(int64(time.Since(l.base)))
		return l.act(ctx, look, now)
	case ctx.Err() != nil:
		return now, ctx.Err()
	case isLost(err):
		return now, reason.Wrap(reason.PageCrashed, err)
	case errors.Is(err, errCrashed):
		return now, l.cureCrash(ctx)
	}
	l.tell(l.history.Expired)
	if errors.Is(err, errStale) {
		return now.Add(staleRetry), nil
	}
	// When we were stopped ourselves, it proves nothing about the page.
	if now.Sub(start) < 2*l.t.LookDeadline {
		l.misses++
	}
	l.log.Warn(logid.ObservationFailed, slog.Any(logging.KeyError, err), slog.Int("misses", l.misses))
	if l.misses >= l.t.Misses {
		code := reason.PageHung
		if errors.Is(err, errScript) {
			code = reason.PageUnrecognised
		}
		return now, l.cureHang(ctx, code)
	}
	return now, nil
}

// look evaluates the observer, within its deadline.
func (l *loop) look(ctx context.Context) (classify.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, l.t.LookDeadline)
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	document, crashed := l.begin(interrupt)
	defer l.begin(nil)
	if crashed {
		return classify.Observation{}, errCrashed
	}
	var r record
	err := l.observe(ctx, document, &r)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errCrashed) || errors.Is(cause, errGone) {
			err = cause
		}
		return classify.Observation{}, err
	}
	l.note(r)
	l.address, l.uncaught = r.URL, r.Uncaught
	look := l.lookOf(r, document, time.Now())
	look.Navigation.LoggedOut = l.takeLogout()
	look.Readings = append(look.Readings, l.seeker.take(document, time.Now())...)
	look.PasskeyAsked, err = l.passkeys.look(ctx, l.Page, look)
	return look, err
}

// begin registers the look in flight; nil ends it.
func (p *Page) begin(interrupt context.CancelCauseFunc) (document int, crashed bool) {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	p.signals.interrupt = interrupt
	return p.signals.document, p.signals.crashed
}

func (p *Page) takeLogout() *classify.Logout {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	ended := p.signals.loggedOut
	p.signals.loggedOut = nil
	return ended
}

func (l *loop) observe(ctx context.Context, document int, r *record) error {
	l.through = l.lens.Load()
	if l.observer == nil || l.observer.document != document || l.observer.lens != l.through {
		o, err := l.install(ctx, document, l.through)
		if err != nil {
			l.observer = nil
			return err
		}
		l.observer = o
	}
	err := l.call(ctx, l.observer, "look", r)
	if errors.Is(err, errStale) {
		l.observer = nil
	}
	return err
}

// act has the look judged, and does what follows.
func (l *loop) act(ctx context.Context, look classify.Observation, now time.Time) (time.Time, error) {
	h, v := l.judge.Next(l.history, look, now)
	l.history = h
	l.publish(look, v)
	l.emit(v.Events)
	if v.Disagree != "" {
		l.log.Warn(logid.ReaderContradicted,
			logging.KeyReader, string(v.Disagree), logging.KeyDetail, "not believed")
	}
	wake := now.Add(l.t.Interval)
	if v.Rest {
		wake = now.Add(max(l.t.Interval, l.t.Rest))
	}
	if !v.Wake.IsZero() && v.Wake.Before(wake) {
		wake = v.Wake
	}
	if v.Search {
		if next := l.seeker.ask(look.Document, now); next.Before(wake) {
			wake = next
		}
	}
	switch v.Action {
	case classify.GiveUp:
		return wake, reason.Wrap(v.Why, fmt.Errorf("cannot get the page to load: %s", reason.Describe(v.Why).Message))
	case classify.Press:
		if err := l.press(ctx, toReload); err != nil {
			l.log.Warn(logid.QRRenewFailed, logging.KeyError, err)
			l.history = l.history.PressFailed()
			return now.Add(staleRetry), ctx.Err()
		}
		l.log.Info(logid.QRRenewed)
	case classify.Reload, classify.ReloadFresh:
		l.log.Info(logid.PageReloaded, logging.KeyReason, string(v.Why))
		return l.loadAgain(ctx, v.Action == classify.ReloadFresh, now)
	case classify.Return, classify.UseHere:
		return l.pressOrReload(ctx, v, now)
	case classify.Stay:
	}
	return wake, nil
}

// pressOrReload presses a button that changes the screen; loading the page again
// comes to the same.
func (l *loop) pressOrReload(ctx context.Context, v classify.Decision, now time.Time) (time.Time, error) {
	var err error
	if v.Action == classify.Return {
		l.log.Info(logid.PageReturned)
		err = l.goBack(ctx)
	} else {
		l.log.Info(logid.SessionClaimed, logging.KeyReason, string(v.Why))
		err = l.press(ctx, toUseHere)
	}
	if err == nil || ctx.Err() != nil {
		return now.Add(staleRetry), ctx.Err()
	}
	l.log.Warn(logid.ButtonPressFailed, logging.KeyError, err)
	return l.loadAgain(ctx, false, now)
}

// loadAgain navigates to the page's address.
func (l *loop) loadAgain(ctx context.Context, fresh bool, now time.Time) (time.Time, error) {
	l.tell(func(time.Time) (classify.History, []rpc.EventBody) { return l.history.Navigated() })
	if err := l.reload(ctx, fresh); err != nil {
		l.log.Warn(logid.PageReloadFailed, logging.KeyError, err)
	}
	return now.Add(staleRetry), ctx.Err()
}

// publish tells the commands what the look and the verdict on it say.
func (l *loop) publish(look classify.Observation, v classify.Decision) {
	for _, r := range look.Readings {
		l.saw[r.Reader] = l.sight(r, v.Cause)
	}
	l.views.set(view{
		looked: true, document: look.Document, shown: l.history.Reported(), socket: look.Modules.Socket,
		address: l.address, uncaught: l.uncaught, saw: maps.Clone(l.saw),
	})
}

// sight says in words what a reader has seen; never the string.
func (l *loop) sight(r classify.Reading, cause string) string {
	switch {
	case !l.through.uses(r.Reader):
		return "not asked: the selectors file leaves it out"
	case r.Found && cause == "":
		return "a fresh login string"
	case r.Found:
		return "a login string that can't be scanned now: " + cause
	case r.Err != nil && errors.Is(r.Err, qrpayload.ErrMalformed):
		return "a string that no phone would accept: " + r.Err.Error()
	case r.Err != nil:
		return "an error: " + logging.Redact(truncate(r.Err.Error(), 200))
	}
	return "nothing"
}

func (l *loop) emit(events []rpc.EventBody) {
	for _, e := range events {
		if shown, ok := e.(rpc.PageObserved); ok {
			l.log.Debug(logid.PageObserved, logging.KeyState, string(shown.Condition), logging.KeyReason, string(shown.Reason))
		}
		l.o.Emit(e)
	}
}

// tell applies a change of history and emits what it brings.
func (l *loop) tell(change func(now time.Time) (classify.History, []rpc.EventBody)) {
	h, events := change(time.Now())
	l.history = h
	l.emit(events)
}
