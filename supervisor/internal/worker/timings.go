package worker

import (
	"time"

	"session-manager/shared/rpc"
)

// Timings limit everything that the Manager waits for.
type Timings struct {
	Start StartTimings
	Run   RunTimings
	Stop  StopTimings
}

// StartTimings are those of a start.
type StartTimings struct {
	// Handshake is how long a worker may take from its start to the handshake
	// and the connection. Measured: 24 ms.
	Handshake time.Duration
	// Browser is how long it may take from there until Chrome responds. The
	// worker's own limit is 30 s; this one is for a worker that forgot it.
	Browser time.Duration
	// Lease is how long a Chrome that a predecessor left may take to close.
	Lease time.Duration
	// Retry is the pause between two looks at what keeps a worker from being
	// started.
	Retry time.Duration
	// RetrySpace is the same for a disk that is full, and for limits of the machine.
	RetrySpace time.Duration
	// VerifyBackup is how long it may take to open a backup in a Chrome. Measured:
	// 1.7 s of work, and 4 to 9 s on two processors that have six times as much to
	// do. It is a part of some restarts.
	VerifyBackup time.Duration
}

// RunTimings are those of a worker that runs.
type RunTimings struct {
	// Silence is the longest pause between two events; a heartbeat is due every
	// three seconds.
	Silence time.Duration
	// Starved is the same for a worker that hardly gets a processor, also for its handshake.
	Starved time.Duration
	// Check is how often the instance is checked for silence, among other things.
	Check time.Duration
	// Lock is how long Chrome's lock may be missing from our profile while it
	// runs. A Chrome that closes ends within 0.45 s, measured.
	Lock time.Duration
	// Memory is how long the worker and Chrome must hold more memory than they may
	// before they are restarted, and MemoryPause the least time between two such
	// restarts. A page that loads holds more for a moment.
	Memory, MemoryPause time.Duration
}

// StopTimings are those of a shutdown.
type StopTimings struct {
	// Close is how long a clean close of Chrome may take. Measured: 0.11 to
	// 0.45 s; the disk limits it.
	Close time.Duration
	// LastEvents is how long the events of a worker that has exited may take to
	// arrive.
	LastEvents time.Duration
	// Exit is how long a worker that has sent its last event may take to exit.
	Exit time.Duration
	// Dump is how long a hung worker gets to write its goroutines to stderr.
	Dump time.Duration
	// Drain is how long Chrome may take to close after its worker was killed, which
	// closes the pipe to it. Measured: 0.11 to 0.45 s.
	Drain time.Duration
	// Helpers is the same for Chrome's helpers when its main process has exited.
	// Measured: 30 to 70 ms, 370 ms with a script in an endless loop.
	Helpers time.Duration
	// Kill is how long a tree may take to die of SIGKILL. Measured: 11 to 50 ms.
	Kill time.Duration
	// Stuck is the pause between two attempts to kill what did not die.
	Stuck time.Duration
	// Cleanup is how long go-plugin may take to free what it holds. Measured: up
	// to 0.2 s.
	Cleanup time.Duration
}

// DefaultTimings are those of the product.
func DefaultTimings() Timings {
	return Timings{
		Start: StartTimings{
			Handshake: 10 * time.Second, Browser: 45 * time.Second, Lease: 3 * time.Second,
			Retry: 15 * time.Second, RetrySpace: 3 * time.Second, VerifyBackup: 20 * time.Second,
		},
		Run: RunTimings{
			Silence: 10 * time.Second, Starved: 40 * time.Second, Check: time.Second, Lock: 3 * time.Second,
			Memory: 30 * time.Second, MemoryPause: 10 * time.Minute,
		},
		Stop: StopTimings{
			Close: 8 * time.Second, LastEvents: 500 * time.Millisecond, Exit: 100 * time.Millisecond,
			Dump: 300 * time.Millisecond, Drain: 3 * time.Second, Helpers: 500 * time.Millisecond,
			Kill: 5 * time.Second, Stuck: 5 * time.Second, Cleanup: 5 * time.Second,
		},
	}
}

// stretched gives the worker and Chrome more time to respond.
func (t Timings) stretched(by rpc.DeadlineFactor) Timings {
	by.Stretch(&t.Start.Handshake, &t.Start.Browser, &t.Start.VerifyBackup, &t.Run.Silence, &t.Run.Starved, &t.Run.Lock)
	return t
}
