// Package restart decides when the next worker may start. It is pure: the time
// and the random number come from the caller, and the state is a value that can
// be written to disk.
package restart

import "session-manager/shared/reason"

// Class of the cause of an end. The class decides what follows, not the count.
type Class string

// Classes.
const (
	// Planned: asked for. Restarted at once, never counted.
	Planned Class = "planned"
	// Transient: may well not happen again. Counted, with backoff.
	Transient Class = "transient"
	// Environmental: a restart can't mend it. The circuit opens at once, and
	// the cause is probed cheaply.
	Environmental Class = "environmental"
)

// Classify returns the class of a reason. A reason that the table does not know
// is transient. Faults of the page reach this package only after the worker
// failed to cure them in place, so they are transient, too.
func Classify(c reason.Code) Class {
	switch c {
	case reason.RestartRequested, reason.WorkerReplaced, reason.BrowserReplaced, reason.MemoryLimit, reason.Maintenance, reason.ProfileReplaced, reason.Stopping:
		return Planned
	case reason.BrowserMissing, reason.SandboxRefused, reason.ProfileUnwritable, reason.ProfileInUse,
		reason.DiskFull, reason.RuntimeUnwritable, reason.WorkerUnusable:
		return Environmental
	default:
		return Transient
	}
}
