package worker

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
)

// Notice is one of Spawning, WorkerStarted, FromWorker, Warned, Exiting, Exited,
// Blocked and WorkerBinary. All notices of a generation lie between its Spawning
// and its Exited.
type Notice interface{ notice() }

// Spawning says that a new generation begins: everything it needs was there a
// moment ago.
type Spawning struct{ Generation uint64 }

// WorkerStarted says that the worker's process runs. It has not said a word yet.
type WorkerStarted struct {
	Generation uint64
	PID        int
}

// FromWorker carries an event of the live generation.
type FromWorker struct{ Event rpc.Event }

// Warned says that the live generation goes on, with something wrong around it
// that a person should mend; with an empty reason, that this is over.
type Warned struct {
	Reason reason.Code
	// Detail is for people and holds no secret.
	Detail string
}

// Exiting says that a generation is over, before anything of it is killed or
// tidied: what it showed, its QR above all, is no longer true. It comes as soon
// as the cause is known, for every generation, planned ends included; Exited
// follows when nothing is left. No FromWorker of this generation comes after it.
type Exiting struct {
	Generation uint64
	Reason     reason.Code
	// Detail is for people and holds no secret.
	Detail string
}

// Exited says that nothing of a generation is left, and what follows.
type Exited struct {
	Generation uint64
	Reason     reason.Code
	// Detail is for people and holds no secret.
	Detail string
	Class  restart.Class
	// Uptime is the time since Spawning.
	Uptime time.Duration
	// WorkerExit is how the worker's process ended, such as "exit 70", "signal
	// killed", or "signal killed, by the supervisor"; empty when there never was
	// one.
	WorkerExit string
	// ChromeExit is the same for Chrome; empty when it is not known.
	ChromeExit string
	// Delay is how long the next generation has to wait.
	Delay time.Duration
	// Failures counts the failures in the restart policy's window.
	Failures int
	// Phase is what the generation was busy with: "spawn", "handshake", or one
	// of rpc.Phase.
	Phase string
	// WorkerStderr holds the first 200 lines of a panic's or a hang's stacks, or
	// else the last 200 lines of the worker's stderr; ChromeStderr the last
	// lines of Chrome's. Both are cut and redacted.
	WorkerStderr, ChromeStderr []string
}

// Blocked says that no generation can be started, and none runs. It is looked at
// again at RetryAt, and earlier when one of the folders concerned changes.
type Blocked struct {
	Reason reason.Code
	// Detail is for people and holds no secret.
	Detail  string
	RetryAt time.Time
}

// WorkerBinary says whether the file at Options.Worker is in use. It comes when
// that changes.
type WorkerBinary struct {
	// Refused is why it is not, and the last one that worked is: for people,
	// without a secret. It is empty when the file is in use.
	Refused string
}

func (WorkerBinary) notice()  {}
func (Spawning) notice()      {}
func (WorkerStarted) notice() {}
func (FromWorker) notice()    {}
func (Warned) notice()        {}
func (Exiting) notice()       {}
func (Exited) notice()        {}
func (Blocked) notice()       {}
