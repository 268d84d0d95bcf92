package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile"
)

// Hooks are what happens to the login between two instances. Hold is called from any
// goroutine, the others from Run's.
type Hooks interface {
	// Hold returns the end of the time in which a planned restart of this urgency,
	// which is not Immediately, should not disturb the login.
	// It must not block.
	Hold(u Urgency) time.Time
	// BeforeStart is called when everything is ready for the next instance and
	// nothing uses the profile. An error keeps the instance from being started
	// until the next try, as anything else that is missing does.
	BeforeStart(ctx context.Context, p *profile.Profile, s Start) error
	// AfterStop is called when nothing is left of an instance.
	AfterStop(ctx context.Context, p *profile.Profile, end Closing)
}

// Start is what the next instance will be started with.
type Start struct {
	// Chrome is the path of the browser, and ChromeVersion its version.
	Chrome, ChromeVersion string
}

// Older reports whether this Chrome is older than version, so that it may not
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

// Closing is how an instance's Chrome exited, as far as the profile is concerned.
type Closing struct {
	Reason reason.Code
	// Clean means that Chrome closed when it was asked to, so that it has written
	// everything.
	Clean bool
	// ChromeVersion is that of the instance's browser.
	ChromeVersion string
	// Stopping means that no instance follows, and somebody waits.
	Stopping bool
}

// RestartRequest asks for the end of the present instance. The next one starts at
// once.
type RestartRequest struct {
	// Reason must be of restart.Planned.
	Reason reason.Code
	// Detail is for people and holds no secret. It may be empty.
	Detail string
	// Urgency decides what the restart waits for.
	Urgency Urgency
}

// Urgency decides what a planned restart waits for.
type Urgency int

const (
	// WhenIdle waits until a new login has settled.
	WhenIdle Urgency = iota
	// AfterPairing waits while a phone is being linked, as for an operator.
	AfterPairing
	// Immediately waits for nothing.
	Immediately
)

// requestLimit is how many requests may wait to be seen. They are one, so any
// beyond it are dropped.
const requestLimit = 4

// RequestRestart ends the present instance, closing Chrome cleanly, and starts the next
// one at once, regardless of the restart policy. While nothing runs it cuts the
// waiting short. It returns when the restart has been requested, not when it is done:
// until is when it will be at the latest, zero for at once. Requests made before the
// next instance begins are one.
func (m *Manager) RequestRestart(ctx context.Context, r RestartRequest) (until time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("cannot restart: %w", err)
	}
	select {
	case m.requests <- r:
	default:
	}
	if m.client.Load() == nil {
		return time.Time{}, nil
	}
	return r.heldUntil(m.hooks, time.Now()), nil
}

// Restart requests a restart because somebody wants it. See RequestRestart.
func (m *Manager) Restart(ctx context.Context, u Urgency) (until time.Time, err error) {
	return m.RequestRestart(ctx, RestartRequest{Reason: reason.RestartRequested, Urgency: u})
}

// heldUntil is when a request can be granted at the latest; zero for at once.
func (r RestartRequest) heldUntil(hooks Hooks, now time.Time) time.Time {
	if r.Urgency == Immediately {
		return time.Time{}
	}
	if hold := hooks.Hold(r.Urgency); hold.After(now) {
		return hold
	}
	return time.Time{}
}
