package page

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/target"
)

// health counts what goes wrong with the page itself.
type health struct {
	misses         int // observations in a row that were not answered
	hangs, crashes cures
	relapse        bool // a hang was cured, and the page has not been observed since
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
		return reason.Wrap(code, errors.New("cannot get the page to answer: it failed to again after it was reloaded"))
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
	ctx, cancel := context.WithTimeout(ctx, p.t.Navigate)
	defer cancel()
	if fresh {
		if err := p.target.ClearCache(ctx, p.o.URL); err != nil {
			p.log.Warn(logid.CacheClearFailed, logging.KeyError, err)
		}
	}
	return p.navigate(ctx)
}

// navigate goes to the page's address, and notes why that can't be reached.
func (p *Page) navigate(ctx context.Context) error {
	failure, err := p.target.Navigate(ctx, p.o.URL)
	if err != nil {
		p.failure = ""
		return err
	}
	p.failure = reasonOf(failure)
	if failure != "" {
		p.log.Warn(logid.NavigationFailed, logging.KeyReason, string(p.failure), logging.KeyDetail, failure)
	}
	return nil
}

// reasonOf maps Chrome's network errors.
func reasonOf(failure string) reason.Code {
	isAny := func(parts ...string) bool { return target.ContainsAny(failure, parts) }
	switch {
	case failure == "":
		return ""
	case isAny("ERR_CERT_", "ERR_SSL_"):
		return reason.CertificateInvalid
	case isAny("ERR_HTTP_RESPONSE_CODE_FAILURE", "ERR_INVALID_RESPONSE", "ERR_EMPTY_RESPONSE", "ERR_TOO_MANY_REDIRECTS"):
		return reason.HTTPError
	case isAny("ERR_ABORTED", "ERR_BLOCKED_BY_"):
		return reason.PageLoadFailed
	default:
		return reason.NetworkUnreachable
	}
}
