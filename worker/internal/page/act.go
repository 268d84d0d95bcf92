package page

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
)

// press presses a button of the page's, as a person would.
func (l *loop) press(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, l.t.Call)
	defer cancel()
	h, err := l.reach(ctx)
	if err != nil {
		return err
	}
	defer h.release()
	// The modules know of a screen before it is drawn.
	if _, err := h.appears(ctx, name, l.t.Press); err != nil {
		return err
	}
	return h.press(ctx, name)
}

// navigate goes to the page's address, and notes when that can't be reached. Unlike a
// reload it revives a crashed page.
func (p *Page) navigate(ctx context.Context) error {
	p.failure = ""
	res, err := proto.PageNavigate{URL: p.o.URL}.Call(p.rod.Context(ctx))
	if err != nil {
		return fmt.Errorf("cannot navigate: %w", err)
	}
	if res.ErrorText != "" { // such as net::ERR_NAME_NOT_RESOLVED
		p.failure = reasonOf(res.ErrorText)
		p.log.Warn(logid.NavigationFailed, logging.KeyReason, string(p.failure), logging.KeyDetail, res.ErrorText)
	}
	return nil
}

// reasonOf maps Chrome's network errors.
func reasonOf(failure string) reason.Code {
	switch {
	case strings.Contains(failure, "ERR_CERT_"), strings.Contains(failure, "ERR_SSL_"):
		return reason.CertificateInvalid
	case strings.Contains(failure, "ERR_HTTP_RESPONSE_CODE_FAILURE"), strings.Contains(failure, "ERR_INVALID_RESPONSE"),
		strings.Contains(failure, "ERR_EMPTY_RESPONSE"), strings.Contains(failure, "ERR_TOO_MANY_REDIRECTS"):
		return reason.HTTPError
	case strings.Contains(failure, "ERR_ABORTED"), strings.Contains(failure, "ERR_BLOCKED_BY_"):
		return reason.PageLoadFailed
	}
	return reason.NetworkUnreachable
}

// reload loads the page again; fresh forgets what Chrome has cached of it.
func (l *loop) reload(ctx context.Context, fresh bool) error {
	ctx, cancel := context.WithTimeout(ctx, l.t.Navigate)
	defer cancel()
	if fresh {
		if err := l.forget(ctx); err != nil {
			l.log.Warn(logid.CacheClearFailed, logging.KeyError, err)
		}
	}
	return l.navigate(ctx)
}

// forget drops the HTTP cache and the page's service worker, which can keep an
// error page alive. Everything else in storage is the login.
func (p *Page) forget(ctx context.Context) error {
	page := p.rod.Context(ctx)
	if err := (proto.NetworkClearBrowserCache{}).Call(page); err != nil {
		return err
	}
	u, err := url.Parse(p.o.URL)
	if err != nil {
		return err
	}
	return proto.StorageClearDataForOrigin{Origin: u.Scheme + "://" + u.Host, StorageTypes: "service_workers"}.Call(page)
}

// cures are the times of one kind of cure.
type cures []time.Time

// another adds a cure at now, unless limit were done within the window.
func (c cures) another(now time.Time, window time.Duration, limit int) (cures, bool) {
	recent := cures{}
	for _, at := range c {
		if now.Sub(at) < window {
			recent = append(recent, at)
		}
	}
	if len(recent) >= limit {
		return recent, false
	}
	return append(recent, now), true
}

// cureCrash revives a page whose process has died.
func (l *loop) cureCrash(ctx context.Context) error {
	l.observer = nil
	l.forgetCrash()
	var ok bool
	if l.crashes, ok = l.crashes.another(time.Now(), l.t.CureWindow, l.t.CureLimit); !ok {
		return reason.Wrap(reason.PageCrashed, fmt.Errorf("cannot keep the page alive: it died more than %d times in %v", l.t.CureLimit, l.t.CureWindow))
	}
	l.log.Warn(logid.PageCrashed, logging.KeyReason, string(reason.PageCrashed))
	l.failing(reason.PageCrashed)
	return l.revive(ctx, reason.PageCrashed)
}

// cureHang stops the script that keeps the page's main thread busy, and loads
// the page again, since the script's work was cut short.
func (l *loop) cureHang(ctx context.Context, code reason.Code) error {
	l.observer, l.misses = nil, 0
	var ok bool
	l.hangs, ok = l.hangs.another(time.Now(), l.t.CureWindow, l.t.CureLimit)
	if !ok || l.relapse {
		return reason.Wrap(code, errors.New("cannot get the page to answer: it failed to again after it was loaded anew"))
	}
	l.relapse = true
	l.log.Warn(logid.PageStalled, logging.KeyReason, string(code))
	l.failing(code)
	stop, cancel := context.WithTimeout(ctx, l.t.Call)
	defer cancel()
	if err := (proto.RuntimeTerminateExecution{}).Call(l.rod.Context(stop)); errors.Is(err, context.DeadlineExceeded) {
		// Not the script hangs but its process, and the page would get the same
		// one again.
		return reason.Wrap(code, errors.New("cannot get the page to answer: its process is frozen"))
	} else if err != nil {
		l.log.Warn(logid.ScriptStopFailed, logging.KeyError, err)
	}
	return l.revive(ctx, code)
}

func (l *loop) failing(code reason.Code) {
	l.tell(func(now time.Time) (classify.History, []rpc.EventBody) { return l.history.Failing(code, now) })
}

// revive navigates, which is what a crashed or hung page still reacts to.
func (l *loop) revive(ctx context.Context, code reason.Code) error {
	err := l.reload(ctx, false)
	if err != nil && ctx.Err() == nil {
		return reason.Wrap(code, fmt.Errorf("cannot revive page: %w", err))
	}
	return ctx.Err()
}
