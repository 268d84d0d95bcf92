package worker

import (
	"time"

	"session-manager/shared/rpc"
)

// Timings bounds everything that the Manager waits for.
type Timings struct {
	// Handshake is how long a worker may take from its start to the handshake
	// and the connection. Measured: 24 ms.
	Handshake time.Duration
	// BrowserStart is how long it may take from there until Chrome answers. The
	// worker's own bound is 30 s; this one is for a worker that forgot it.
	BrowserStart time.Duration
	// Verify is how long Chrome's lock may be missing from our profile while it
	// runs. A Chrome that closes ends within 0.45 s, measured.
	Verify time.Duration
	// Silence is the longest pause between two events; a heartbeat is due every
	// three seconds.
	Silence time.Duration
	// Beat is how often silence is looked for and adopted children are reaped.
	Beat time.Duration
	// Health is the time between two checks of the worker's RPC server, and Answer
	// what one may take. Two misses take 10 s at most.
	Health, Answer time.Duration
	// LastWords is how long the events of a worker that has ended may take to
	// arrive.
	LastWords time.Duration
	// Stop is how long a clean close of Chrome may take. Measured: 0.11 to
	// 0.45 s; the disk bounds it.
	Stop time.Duration
	// Dump is how long a hung worker gets to write its goroutines to stderr.
	Dump time.Duration
	// Drain is how long Chrome may take to close by itself after its worker was
	// killed, which closes the pipe to it. Measured: 0.11 to 0.45 s.
	Drain time.Duration
	// Helpers is the same for Chrome's helpers when its main process has ended.
	// Measured: 30 to 70 ms, 370 ms with a script in an endless loop.
	Helpers time.Duration
	// Kill is how long a tree may take to die of SIGKILL. Measured: 11 to 50 ms.
	Kill time.Duration
	// Stuck is the pause between two attempts to end what did not die.
	Stuck time.Duration
	// Tidy is how long go-plugin may take to free what it holds. Measured: up
	// to 0.2 s.
	Tidy time.Duration
	// Lease is how long a Chrome that a predecessor left may take to close.
	Lease time.Duration
	// Probe is the pause between two looks at what keeps a generation from
	// being started.
	Probe time.Duration
	// Space is the same for a disk that is full, and for limits of the machine.
	Space time.Duration
	// Prove is how long a worker must have had a page before its binary counts as
	// one that works.
	Prove time.Duration
	// VerifyBackup is how long it may take to open a copy of the login in a Chrome.
	// Measured: 1.7 s of work, and 4 to 9 s on two processors that have six times
	// as much to do.
	VerifyCopy time.Duration
	// Bloat is how long the worker and Chrome must hold more memory than they may
	// before they are started anew, and BloatPause the least time between two such
	// starts. A page that loads holds more for a moment.
	Bloat, BloatPause time.Duration
	// Settle is the pause after a change in a folder before it is looked at:
	// programs are installed in many steps.
	Settle time.Duration
}

// homeMisses is for how many beats the profile must be another one: a folder may
// be put back.
const homeMisses = 2

// defaultVerifyCopy bounds what is a part of some restarts.
const defaultVerifyCopy = 20 * time.Second

// healthMisses is how many checks in a row may fail.
const healthMisses = 2

// farewell is how long a worker that has nothing more to say may take to exit by
// itself.
const farewell = 100 * time.Millisecond

// leasePoll is the pause between two looks at a held lease. A flock tells
// nobody that it is free, but those who block on it.
const leasePoll = 50 * time.Millisecond

// DefaultTimings are those of the product.
func DefaultTimings() Timings {
	return Timings{
		Handshake:    10 * time.Second,
		BrowserStart: 45 * time.Second,
		Verify:       3 * time.Second,
		Silence:      10 * time.Second,
		Beat:         time.Second,
		Health:       4 * time.Second,
		Answer:       2 * time.Second,
		LastWords:    500 * time.Millisecond,
		Stop:         8 * time.Second,
		Dump:         300 * time.Millisecond,
		Drain:        3 * time.Second,
		Helpers:      500 * time.Millisecond,
		Kill:         5 * time.Second,
		Stuck:        5 * time.Second,
		Tidy:         5 * time.Second,
		Lease:        3 * time.Second,
		Probe:        15 * time.Second,
		Space:        3 * time.Second,
		Prove:        time.Minute,
		Bloat:        30 * time.Second,
		BloatPause:   10 * time.Minute,
		VerifyCopy:   defaultVerifyCopy,
		Settle:       100 * time.Millisecond,
	}
}

// stretched gives the worker and Chrome more time to answer.
func (t Timings) stretched(by rpc.DeadlineFactor) Timings {
	by.Stretch(&t.Handshake, &t.BrowserStart, &t.Verify, &t.Silence, &t.Answer, &t.VerifyCopy)
	return t
}
