package worker

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
)

// Notice is one of Spawning, WorkerStarted, FromWorker, Warned, Exiting, Exited and
// Blocked. The notices of an instance come between its Spawning and its Exited. A
// generation is the number of an instance, counted from 1, and a detail is for people
// and holds no secret.
type Notice interface{ notice() }

// Spawning means that a new instance begins: everything it needs was there a
// moment ago.
type Spawning struct{ Generation uint64 }

// WorkerStarted means that the worker's process runs. It has sent nothing yet.
type WorkerStarted struct {
	Generation uint64
	PID        int
}

// FromWorker carries an event of the live instance.
type FromWorker struct{ Event rpc.Event }

// Warned has everything that is wrong around the live instance, which keeps running. A
// person should fix it. It is over when the instance has exited, too.
type Warned struct{ Warnings []reason.Warning }

// Exiting means that an instance is over, before anything of it is killed or cleaned
// up: what it showed, its QR above all, is no longer true. It comes as soon as the
// cause is known, for every instance, planned restarts included; Exited follows when
// nothing is left. No FromWorker of this instance comes after it.
type Exiting struct {
	Generation uint64
	Reason     reason.Code
	Detail     string
}

// Exited means that nothing of an instance is left, and what follows.
type Exited struct {
	Generation uint64
	Reason     reason.Code
	Detail     string
	Class      restart.Class
	// Uptime is the time since Spawning.
	Uptime time.Duration
	// WorkerExit is how the worker's process exited, such as "exit 70", "signal
	// killed", or "signal killed, by the supervisor"; empty when there never was
	// one, or its work had ended before.
	WorkerExit string
	// ChromeExit is the same for Chrome; empty when it is not known.
	ChromeExit string
	// Delay is how long the next instance has to wait.
	Delay time.Duration
	// Failures counts the failures in the restart policy's window.
	Failures int
	// Phase is what the instance was busy with: "spawn", "handshake", or one
	// of rpc.Phase.
	Phase string
	// WorkerStderr holds the first 200 lines of a panic's or a hang's stacks, or
	// else the last 200 lines of the worker's stderr; ChromeStderr the last
	// lines of Chrome's. Both are cut and redacted.
	WorkerStderr, ChromeStderr []string
}

// Blocked means that no instance can be started, and none runs. It is tried again
// at RetryAt, and earlier when one of the files concerned changes.
type Blocked struct {
	Reason reason.Code
	Detail string
	// Tried means that an instance ended for it. Otherwise it was found before a start.
	Tried   bool
	RetryAt time.Time
}

func (Spawning) notice()      {}
func (WorkerStarted) notice() {}
func (FromWorker) notice()    {}
func (Warned) notice()        {}
func (Exiting) notice()       {}
func (Exited) notice()        {}
func (Blocked) notice()       {}
