package restart

import (
	"math"
	"time"
)

// Limits of the policy. Their reasons: OTP advises short bursts over a long
// window; a recovery takes about a second, so shorter delays only heat a dying
// machine; and nobody watches a server at night, so there is no giving up.
type Limits struct {
	// FirstDelay is the base of the exponential backoff, MaxDelay its ceiling.
	FirstDelay, MaxDelay time.Duration
	// More than Burst counted failures within Window open the circuit.
	Burst  int
	Window time.Duration
	// OpenDelay is how long the circuit stays open at first, doubling to
	// MaxOpenDelay.
	OpenDelay, MaxOpenDelay time.Duration
	// ProbeDelay is how long the circuit stays open after an environmental end
	// of a generation, doubling with each further one to MaxProbeDelay: what
	// can be seen without a start has been looked at before.
	ProbeDelay, MaxProbeDelay time.Duration
	// CloseAfter is the health that closes a half-open circuit, ResetAfter what
	// forgets the backoff, ResetOpenAfter what forgets the open delay.
	CloseAfter, ResetAfter, ResetOpenAfter time.Duration
}

// DefaultLimits returns the limits in force when none are set.
func DefaultLimits() Limits {
	return Limits{
		FirstDelay: 500 * time.Millisecond, MaxDelay: time.Minute,
		Burst: 5, Window: 5 * time.Minute,
		OpenDelay: time.Minute, MaxOpenDelay: 15 * time.Minute,
		ProbeDelay: 15 * time.Second, MaxProbeDelay: 5 * time.Minute,
		CloseAfter: time.Minute, ResetAfter: 5 * time.Minute, ResetOpenAfter: 30 * time.Minute,
	}
}

// Circuit is the breaker's position.
type Circuit string

// Positions of the circuit.
const (
	Closed   Circuit = "closed"
	Open     Circuit = "open"
	HalfOpen Circuit = "half_open"
)

// State is the policy's memory. The zero value is that of a fresh service.
type State struct {
	// Failures holds the times of the counted failures in the window.
	Failures []time.Time `json:"failures,omitempty"`
	// Streak counts the failures since the last reset by health.
	Streak int `json:"streak"`
	// Opened counts how often the circuit opened since its last reset.
	Opened int `json:"opened"`
	// Environmental counts the environmental ends since health last closed the
	// circuit.
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

// Ended takes in the end of a generation at now. jitter is a random number in
// [0,1).
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

// Attempt says that the next generation starts. With an open circuit it is the
// one attempt that half-opens it.
func (s State) Attempt() State {
	if s.Circuit == Open {
		s.Circuit = HalfOpen
	}
	return s
}

// Health says whether the session is healthy from now on.
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

// Tick applies what the length of the present health entitles to. Uptime alone
// resets nothing: a frozen Chrome has an excellent one.
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

// within returns, in a slice of its own, the times that are no older than window.
func within(times []time.Time, window time.Duration, now time.Time) []time.Time {
	var kept []time.Time
	for _, t := range times {
		// A time in the future comes from a wall clock that was set back.
		if age := now.Sub(t); age >= 0 && age < window {
			kept = append(kept, t)
		}
	}
	return kept
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
