package browser

import "time"

const (
	// StartTimeout is from exec to Chrome's first answer. Measured: 0.2 to
	// 0.6 s warm, up to 2.6 s on a contended disk.
	StartTimeout = 30 * time.Second
	// writeLimit is how long one command may wait for Chrome to take it from the
	// pipe. A Chrome that reads nothing for so long is frozen.
	writeLimit = 5 * time.Second
	// callLimit bounds every protocol call that brings no deadline.
	callLimit = 90 * time.Second
	// These three together are the 8 s that a stop may take. They are far longer
	// than measured, for a kill can cost the login, and a machine can be slow.

	// closeAsk is how long Browser.close may take to be accepted. Measured: 1 ms.
	closeAsk = 2 * time.Second
	// closeExit is from the accepted close to the exit. Measured: 0.11 to 0.45 s,
	// and never when the network service is frozen.
	closeExit = 4 * time.Second
	// pipeExit is from the closed pipe to the exit. Measured: 0.11 to 0.45 s.
	pipeExit = 2 * time.Second
	// killExit is from SIGKILL to the reaped process; longer means a task in an
	// uninterruptible wait.
	killExit = 5 * time.Second
	// helperExit is how long Chrome's helpers may outlive it. Measured: 30 to
	// 70 ms, 370 ms with a script in an endless loop.
	helperExit = 1 * time.Second
)
