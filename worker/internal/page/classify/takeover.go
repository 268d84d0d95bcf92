package classify

import (
	"fmt"
	"time"

	"session-manager/shared/reason"
)

// takeoverWindow is the time in which a session is taken over no more often
// than takeovers has room for: two services with one account would otherwise
// take it from each other for ever.
const takeoverWindow = time.Hour

// takeovers are the times of the latest attempts, newest last.
type takeovers [3]time.Time

// within counts those of the last window.
func (t takeovers) within(now time.Time) int {
	n := 0
	for _, at := range t {
		if !at.IsZero() && now.Sub(at) < takeoverWindow {
			n++
		}
	}
	return n
}

// with returns t with one more attempt.
func (t takeovers) with(now time.Time) takeovers {
	copy(t[:], t[1:])
	t[len(t)-1] = now
	return t
}

// detail says, for people, what will be done about the conflict.
func (t takeovers) detail(now time.Time, after time.Duration) string {
	switch n := t.within(now); n {
	case 0:
		return fmt.Sprintf("it is taken over after %v", after)
	case len(t):
		return fmt.Sprintf("it was taken over %d times within the hour, and is left alone now", n)
	default:
		return fmt.Sprintf("it was taken over %d of at most %d times within the hour", n, len(t))
	}
}

// takeOver ends a conflict in favour of this page, when it has lasted.
func (j Classifier) takeOver(h History, v Decision, now time.Time) (History, Decision) {
	if h.takeovers.within(now) == len(h.takeovers) {
		return h, v
	}
	due := h.spans[kindConflict].since.Add(j.t.TakeOver)
	if again := h.takeovers[len(h.takeovers)-1].Add(j.t.TakeOver); again.After(due) {
		due = again
	}
	if now.Before(due) {
		v.Wake = earlier(v.Wake, due)
		return h, v
	}
	h.takeovers = h.takeovers.with(now)
	v.Action, v.Why = UseHere, reason.Conflict
	return h, v
}
