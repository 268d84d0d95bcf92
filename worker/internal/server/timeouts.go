package server

import "time"

const (
	// probeMisses in a row prove a hung browser. With the default period and
	// deadline that takes 16 s at most.
	probeMisses = 2
	// exitAfterGone is how long a lost connection may precede the exit. Measured:
	// 15 ms, and up to a second until the helpers are gone.
	exitAfterGone = 3 * time.Second
	// exitAfterPage is how long the page may precede a Chrome that somebody else
	// closes. Measured: 0.2 s.
	exitAfterPage = 2 * time.Second
	// memoryBeats is how many heartbeats share one reading of the memory, which
	// costs a worker at rest more than anything else does.
	memoryBeats = 5
)

// Timings are the durations that tests shorten. A zero field means the default.
type Timings struct {
	// ProbePeriod is the pause between probes of Chrome: 5 s.
	ProbePeriod time.Duration
	// ProbeDeadline is what one probe may take: 3 s. A browser under load answers
	// in milliseconds.
	ProbeDeadline time.Duration
	// PartPeriod and PartDeadline are the same for the parts of Chrome that paint,
	// and that load: 15 s, and 5 s. With two misses that takes 40 s at most.
	PartPeriod, PartDeadline time.Duration
	// Heartbeat is the period of heartbeats: 3 s. The supervisor waits for 10 s.
	Heartbeat time.Duration
	// Close bounds the clean end of Chrome: 8 s.
	Close time.Duration
}

func (t Timings) withDefaults() Timings {
	for _, f := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.ProbePeriod, 5 * time.Second},
		{&t.ProbeDeadline, 3 * time.Second},
		{&t.PartPeriod, 15 * time.Second},
		{&t.PartDeadline, 5 * time.Second},
		{&t.Heartbeat, 3 * time.Second},
		{&t.Close, 8 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	return t
}
