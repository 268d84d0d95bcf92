package worker

import (
	"sync"
	"time"

	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
)

// policy holds the restart policy's state for Run's goroutine and for Report.
type policy struct {
	limits restart.Limits
	random func() float64

	mu    sync.Mutex
	state restart.State // guarded by mu
}

func newPolicy(limits restart.Limits, random func() float64) *policy {
	return &policy{limits: limits, random: random}
}

func (p *policy) ended(class restart.Class, now time.Time) restart.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, d := p.state.Ended(p.limits, class, now, p.random())
	p.state = next
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

// save keeps the state beside the profile, so that a crash of the supervisor
// grants no new burst of restarts.
func (p *policy) save(to *profile.Profile) error {
	p.mu.Lock()
	state := p.state
	p.mu.Unlock()
	return to.Restarts.Save(state)
}

// load takes up what a predecessor saved, but for its health.
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
