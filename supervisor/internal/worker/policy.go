package worker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
)

// policy holds the restart policy's state for Run's goroutine and for Report.
type policy struct {
	limits restart.Limits

	mu    sync.Mutex
	state restart.State // guarded by mu
}

func (p *policy) ended(class restart.Class, now time.Time) (d restart.Decision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, d = p.state.Ended(p.limits, class, now, rand.Float64()) //nolint:gosec // it spreads restarts
	return d
}

func (p *policy) attempted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.state.Attempt()
}

func (p *policy) report(healthy bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.state.Health(p.limits, healthy, now)
}

// save keeps the state next to the profile, so that a crash of the supervisor
// grants no new burst of restarts.
func (p *policy) save(to *profile.Profile) error {
	p.mu.Lock()
	state := p.state
	p.mu.Unlock()
	return to.Restarts.Save(state)
}

// load restores what a predecessor saved, except for its health.
func (p *policy) load(from *profile.Profile) error {
	var state restart.State
	if err := from.Restarts.Load(&state); err != nil {
		return err
	}
	state.HealthySince = time.Time{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
	return nil
}

// memory follows what the worker and its Chrome hold, over all instances. Run's
// goroutine owns it.
type memory struct {
	// limit in bytes; 0 means none.
	limit uint64
	// since is the start of the time that the present instance has been over the limit
	// without a pause; zero while it is not.
	since time.Time
	// last is when an instance was last restarted for it.
	last time.Time
}

// sample notes a heartbeat's number. It returns a request when the limit has been
// exceeded for long, and none was returned lately: a limit that is too low must not
// restart every instance.
func (m *memory) sample(t RunTimings, held uint64, now time.Time) *RestartRequest {
	switch {
	case m.limit == 0 || held <= m.limit:
		m.since = time.Time{}
		return nil
	case m.since.IsZero():
		m.since = now
		return nil
	case now.Sub(m.since) < t.Memory || !m.last.IsZero() && now.Sub(m.last) < t.MemoryPause:
		return nil
	}
	m.since, m.last = time.Time{}, now
	return &RestartRequest{
		Reason: reason.MemoryLimit,
		Detail: fmt.Sprintf("the worker and Chrome hold %d MiB, the limit is %d MiB", held>>20, m.limit>>20),
	}
}
