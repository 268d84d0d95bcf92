package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
)

// RestartRequest is an end of the present generation that somebody asks for. The next one
// starts at once.
type RestartRequest struct {
	// Reason must be of restart.Planned.
	Reason reason.Code
	// Detail is for people and holds no secret. It may be empty.
	Detail string
	// Urgency says what the wish waits for.
	Urgency Urgency
}

// Urgency says what a planned end waits for.
type Urgency int

const (
	// WhenIdle waits until a new login has settled.
	WhenIdle Urgency = iota
	// AfterPairing waits while a phone is being linked, as for an operator.
	AfterPairing
	// Now waits for nothing.
	Immediately
)

// Hooks looks after the login in the profile. Its methods are called from
// Run's goroutine, but for Hold.
type Hooks interface {
	// Hold returns until when a planned end of this urgency, which is not Now,
	// should not disturb the login; a time that has passed says that it may. It
	// is called from any goroutine and must not block.
	Hold(u Urgency) time.Time
	// Before is called when everything is ready for the next generation and
	// nothing uses the profile. An error keeps the generation from being started
	// until the next try, as any other hindrance does.
	BeforeStart(ctx context.Context, p *profile.Profile, s Start) error
	// After is called when nothing is left of a generation.
	AfterStop(ctx context.Context, p *profile.Profile, end Closing)
}

// Start is what the next generation will be started with.
type Start struct {
	// Chrome is the path of the browser, and ChromeVersion its version.
	Chrome, ChromeVersion string
}

// Older says whether this Chrome is older than version, so that it may not
// understand a profile that was written by that.
func (s Start) Older(version string) bool {
	ours, err := strconv.Atoi(major(s.ChromeVersion))
	theirs, theirErr := strconv.Atoi(major(version))
	return err == nil && theirErr == nil && ours < theirs
}

func major(version string) string {
	number, _, _ := strings.Cut(version, ".")
	return number
}

// Closing is how a generation's Chrome ended, as far as the profile is
// concerned.
type Closing struct {
	Reason reason.Code
	// Clean says that Chrome closed by itself when it was asked to, so that it
	// has written everything.
	Clean bool
	// ChromeVersion is that of the generation's browser.
	ChromeVersion string
	// Stopping says that no generation follows, and somebody waits.
	Stopping bool
}

// wishLimit is how many wishes may wait to be seen. They are one, so what is
// beyond it is dropped.
const requestLimit = 4

// RequestRestart ends the present generation, closing Chrome cleanly, and starts the next
// one at once, whatever the restart policy says. While nothing runs it cuts the
// waiting short. It returns when it has been asked for, not when it is done: until is
// when it will be at the latest, zero for at once. Wishes that come before the
// next generation begins are one.
func (s *Manager) RequestRestart(ctx context.Context, w RestartRequest) (until time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("cannot restart: %w", err)
	}
	select {
	case s.requests <- w:
	default:
	}
	if s.live.Load() == nil {
		return time.Time{}, nil
	}
	return s.until(w, time.Now()), nil
}

// until is when a wish can be granted at the latest; zero for at once.
func (s *Manager) until(w RestartRequest, now time.Time) time.Time {
	if w.Urgency == Immediately {
		return time.Time{}
	}
	if hold := s.hooks.Hold(w.Urgency); hold.After(now) {
		return hold
	}
	return time.Time{}
}

// Restart asks for a restart, for the reason that somebody wants it. See RequestRestart.
func (s *Manager) Restart(ctx context.Context, u Urgency) (until time.Time, err error) {
	return s.RequestRestart(ctx, RestartRequest{Reason: reason.RestartRequested, Urgency: u})
}

// drainWishes forgets what the generation about to begin fulfils.
func (s *Manager) drainRequests() {
	for {
		select {
		case <-s.requests:
		default:
			return
		}
	}
}

// wished takes in a wish, and grants it unless it has to wait.
func (g *instance) wished(w RestartRequest, now time.Time) (cause, bool) {
	if w.Reason == reason.RestartRequested {
		g.s.binaries.forgive()
	}
	first := g.wish == nil
	if first || w.Urgency > g.wish.Urgency {
		g.wish = &w
	}
	c, over := g.grant(now)
	if !over && first {
		g.log.Info(logid.RestartDeferred, logging.KeyReason, string(w.Reason), "until", g.s.until(w, now).UTC())
	}
	return c, over
}

// grant ends the generation when a wish waits for it, and need not any more.
func (g *instance) grant(now time.Time) (cause, bool) {
	if g.wish == nil || !g.s.until(*g.wish, now).IsZero() {
		return cause{}, false
	}
	return cause{reason: g.wish.Reason, detail: g.wish.Detail, ask: true}, true
}
