package server

import "time"

const (
	// probeMisses in a row prove a hang, unless an answer comes meanwhile, late or to others. With
	// the usual timings of Chrome's main process that takes 16 s at most.
	probeMisses = 2
	// stoppedLooks in a row must find a process of Chrome stopped: one that continues
	// within ten seconds costs no restart.
	stoppedLooks = 3
	// exitAfterGone is how long a lost connection may precede the exit. Measured:
	// 15 ms, and up to a second until the helpers are gone.
	exitAfterGone = 3 * time.Second
	// exitAfterPage is how long the page may precede a Chrome that somebody else
	// closes. Measured: 0.2 s.
	exitAfterPage = 2 * time.Second
	// memoryBeats is how many heartbeats share one reading of the memory, and searchBeats
	// one search for Chrome's processes, which costs 20 µs for each process of the machine.
	// There is another search when the page has been opened, and there are some when one of
	// Chrome's processes has ended.
	memoryBeats, searchBeats = 5, 100
)

// Timings are the durations that tests shorten.
type Timings struct {
	// ProbePeriod is after how long Chrome's main process is asked that has answered nobody, and the
	// pause between two such probes.
	ProbePeriod time.Duration
	// ProbeDeadline is how long one probe may take. A browser under load answers in
	// milliseconds.
	ProbeDeadline time.Duration
	// PartPeriod and PartDeadline are the same for the parts of Chrome that paint,
	// and that load. With two misses that takes 40 s at most.
	PartPeriod, PartDeadline time.Duration
	// Heartbeat is the period of heartbeats. The supervisor waits for 10 s.
	Heartbeat time.Duration
	// Close bounds the clean exit of Chrome.
	Close time.Duration
	// Unreadable is how long every look at what Chrome has written may fail before the
	// login counts as written.
	Unreadable time.Duration
}

func defaultTimings() Timings {
	return Timings{
		ProbePeriod: 5 * time.Second, ProbeDeadline: 3 * time.Second,
		PartPeriod: 15 * time.Second, PartDeadline: 5 * time.Second,
		Heartbeat: 3 * time.Second, Close: 8 * time.Second, Unreadable: 3 * time.Minute,
	}
}
