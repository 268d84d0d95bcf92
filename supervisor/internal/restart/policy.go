// Package restart decides when the next worker instance may start. It is pure: the
// time and the random number come from the caller, and the state is a value that can
// be saved.
package restart

import (
	"math"
	"slices"
	"time"

	"session-manager/shared/reason"
)

// Class is a kind of reason why a worker instance ended. It decides what follows.
type Class string

const (
	// Planned ends were requested. The next start is at once, and nothing is counted.
	Planned Class = "planned"
	// Transient ends may not happen again. They are counted and delay the next start.
	Transient Class = "transient"
	// Environmental ends have a cause that a restart can't remove. The circuit opens
	// at once, and the cause is probed cheaply.
	Environmental Class = "environmental"
)

// Classify returns the class of a reason, Transient unless listed here. Faults of the
// page are transient too: they end an instance only after the worker failed to recover
// in place. So is what a page can bring about again and again, such as a full folder.
func Classify(c reason.Code) Class {
	switch c {
	case reason.RestartRequested, reason.WorkerReplaced, reason.BrowserReplaced, reason.MemoryLimit, reason.Maintenance, reason.SendsStuck, reason.ProfileReplaced, reason.Stopping:
		return Planned
	case reason.BrowserMissing, reason.BrowserUnsupported, reason.SandboxRefused, reason.ProfileUnwritable, reason.ProfileInUse,
		reason.DiskFull, reason.RuntimeUnwritable, reason.WorkerUnusable:
		return Environmental
	default:
		return Transient
	}
}

// Limits of the policy. OTP advises short bursts over a long window; a recovery takes
// about a second, so shorter delays only heat a failing machine; and nobody watches a
// server at night, so the policy never gives up.
type Limits struct {
	// FirstDelay is the base of the exponential backoff, MaxDelay its ceiling.
	FirstDelay, MaxDelay time.Duration
	// More than Burst counted failures within Window open the circuit.
	Burst  int
	Window time.Duration
	// OpenDelay is how long the circuit stays open at first, doubling to
	// MaxOpenDelay.
	OpenDelay, MaxOpenDelay time.Duration
	// ProbeDelay is how long the circuit stays open after an environmental end,
	// doubling with each further one to MaxProbeDelay. What can be noticed without a
	// start was checked before it.
	ProbeDelay, MaxProbeDelay time.Duration
	// CloseAfter is the time in health that closes a half-open circuit, ResetAfter
	// that resets the backoff, ResetOpenAfter that resets the open delay.
	CloseAfter, ResetAfter, ResetOpenAfter time.Duration
}

// DefaultLimits returns the limits of the service.
func DefaultLimits() Limits {
	return Limits{
		FirstDelay: 500 * time.Millisecond, MaxDelay: time.Minute,
		Burst: 5, Window: 5 * time.Minute,
		OpenDelay: time.Minute, MaxOpenDelay: 15 * time.Minute,
		ProbeDelay: 15 * time.Second, MaxProbeDelay: 5 * time.Minute,
		CloseAfter: time.Minute, ResetAfter: 5 * time.Minute, ResetOpenAfter: 30 * time.Minute,
	}
}

// Circuit is the position of the circuit breaker.
type Circuit string

// Positions of the circuit.
const (
	Closed   Circuit = "closed"
	Open     Circuit = "open"
	HalfOpen Circuit = "half_open"
)

// State is what the policy remembers. The zero value is that of a new service.
type State struct {
	// Failures holds the times of the counted failures in the window.
	Failures []time.Time `json:"failures,omitempty"`
	// Streak counts the failures since the last reset by health.
	Streak int `json:"streak"`
	// Opened counts how often the circuit opened since the last reset.
	Opened int `json:"opened"`
	// Environmental counts the environmental ends since health last closed the circuit.
	Environmental int     `json:"environmental,omitempty"`
	Circuit       Circuit `json:"circuit,omitempty"`
	// HealthySince is zero while the session is not healthy.
	HealthySince time.Time `json:"healthy_since,omitzero"`
}

// Decision is what to do next.
type Decision struct {
	// Delay before the next attempt.
	Delay time.Duration
	// Circuit after the event.
	Circuit Circuit
	// Failures counted in the window.
	Failures int
}

// Ended returns the state after the end of an instance at now, and what to do next.
// jitter is a random number in [0,1).
func (s State) Ended(l Limits, class Class, now time.Time, jitter float64) (State, Decision) {
	s = s.Tick(l, now)
	s.HealthySince = time.Time{}
	switch class {
	case Planned:
		return s, s.decision(0)
	case Environmental:
		s.Circuit = Open
		delay := double(l.ProbeDelay, s.Environmental, l.MaxProbeDelay)
		s.Environmental++
		return s, s.decision(scale(delay, 0.8+0.4*jitter))
	}
	s.Failures = append(within(s.Failures, l.Window, now), now)
	if s.Circuit == HalfOpen || len(s.Failures) > l.Burst {
		s.Circuit = Open
		delay := double(l.OpenDelay, s.Opened, l.MaxOpenDelay)
		s.Opened++
		return s, s.decision(scale(delay, 0.8+0.4*jitter))
	}
	s.Circuit = Closed
	delay := time.Duration(0)
	if s.Streak > 0 {
		delay = scale(double(l.FirstDelay, s.Streak-1, l.MaxDelay), 0.5+0.5*jitter)
	}
	s.Streak++
	return s, s.decision(delay)
}

// Attempt returns the state when the next instance starts. It half-opens an open
// circuit.
func (s State) Attempt() State {
	if s.Circuit == Open {
		s.Circuit = HalfOpen
	}
	return s
}

// Health returns the state when the session is healthy, or not, from now on.
func (s State) Health(l Limits, healthy bool, now time.Time) State {
	s = s.Tick(l, now)
	switch {
	case !healthy:
		s.HealthySince = time.Time{}
	case s.HealthySince.IsZero():
		s.HealthySince = now
	}
	return s
}

// Tick resets what the present time in health allows to reset. Uptime alone resets
// nothing: a frozen Chrome has an excellent one.
func (s State) Tick(l Limits, now time.Time) State {
	s.Failures = within(s.Failures, l.Window, now)
	if s.HealthySince.IsZero() {
		return s
	}
	healthy := now.Sub(s.HealthySince)
	if healthy >= l.CloseAfter {
		s.Environmental = 0
		if s.Circuit == HalfOpen {
			s.Circuit, s.Failures = Closed, nil
		}
	}
	if healthy >= l.ResetAfter {
		s.Streak = 0
	}
	if healthy >= l.ResetOpenAfter {
		s.Opened = 0
	}
	return s
}

func (s State) decision(delay time.Duration) Decision {
	return Decision{Delay: delay, Circuit: s.Circuit, Failures: len(s.Failures)}
}

// within returns, in a new slice, the times that are not older than window.
func within(times []time.Time, window time.Duration, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool {
		age := now.Sub(t)
		return age < 0 || age >= window // in the future: from before the clock was set back
	})
}

// double is base doubled n times, at most ceiling.
func double(base time.Duration, n int, ceiling time.Duration) time.Duration {
	d := float64(base) * math.Pow(2, float64(n))
	if d > float64(ceiling) {
		return ceiling
	}
	return time.Duration(d)
}

func scale(d time.Duration, factor float64) time.Duration {
	return time.Duration(float64(d) * factor)
}
