// Package worker runs the worker, one instance after the other. The Manager makes
// sure that an instance can be started, starts it, watches it, shuts it down so that
// nothing is left of it and the login is not harmed, and starts the next one when the
// restart policy allows it. It knows nothing of the session's state.
//
// # The life of an instance
//
// Preflight (package preflight). Chrome is found and its version known, the worker's
// binary exists, the profile is writable with space left, no lease is held, Chrome's
// lock is free or stale, and the machine has 150 MB of memory left. What fails here is
// environmental: the state is ERROR with a reason, and the check is repeated every 15 s
// and whenever a file involved changes. Nothing is spawned meanwhile.
//
// Start (package process). The worker gets pipes of its own, an allow-listed
// environment, its own process group and a parent-death signal. The kernel is advised to
// kill the worker and Chrome first when memory runs out. In a cgroup v2 that systemd has
// delegated they are in a group of their own and die at once; elsewhere they are found
// by their parents. The log event containment_selected reports which.
//
// Run. The instance ends when its stream or its process ends, when no event has arrived
// for 10 s (40 s if the worker waits for a processor most of the time, as the kernel counts), when a part of Chrome hangs, or when a restart was requested. Parts hang
// independently, so each has a probe and a reason: the browser process (browser_hung,
// within 16 s), the page's main thread (page_hung, which is fixed in place first),
// painting (painting_hung) and the network process (network_hung, both within 40 s).
// A process of Chrome that is stopped (SIGSTOP) is found by its state, within 15 s.
// --deadline-factor stretches these limits. Requested restarts wait for a quiet moment:
// a replaced worker binary that answers the handshake (worker_replaced), a replaced
// Chrome (browser_replaced), more memory than --memory-limit for 30 s (memory_limit).
// More than 128 MB or 10,000 files in Chrome's folder for temporary files, and a history or
// cache of more than 320 MB, are a failure (scratch_full), as a page can write them again. Downloads are denied by CDP, but Chrome
// writes their first part there before it refuses them. No process writes a core dump.
// While the worker's file is missing, or is one that does not answer the handshake, the
// last binary that worked stays in use, which is a warning.
//
// Shutdown. Events of the instance are no longer accepted. Chrome is asked to close, if
// it responds; the worker is killed, which closes Chrome's pipe; Chrome gets 3 s to
// close, unless it is stopped or gone; and what is left is killed, until nothing is left.
// Chrome never gets SIGTERM: it would lose the last cookies.
//
// Decision (package restart). The first failure after proven health restarts at once,
// further ones with backoff and jitter. More than five failures within five minutes open
// the circuit. The policy's state survives a restart of the supervisor (admin.restarts).
//
// Between two instances the hooks look after the login. Each abnormal end is reported to
// the observers, and from there to tokens/crashes.
//
// # What the machine can do
//
// These causes are injected by make chaos and by this package's tests.
//
//   - No file descriptors, processes or memory: resources_exhausted, retried every 3 s,
//     while the API keeps answering. The same when less than 150 MB are left at a start.
//   - No memory left while Chrome runs: the kernel kills the page first, which is reloaded.
//   - No threads left for Chrome: browser_crashed, with backoff.
//   - A process that can't be killed (frozen, or waiting for a dead disk): profile_in_use
//     with its number. No other Chrome is started next to it; retried every 5 s.
//   - No space for the profile or for temporary files: disk_full, runtime_unwritable,
//     cleared within 3 s after there is space again.
//   - The supervisor was suspended, or the clock was set: a heartbeat that is late because
//     of that is not held against the worker; waits use the monotonic clock.
//   - Chrome needs more than 30 s to respond: browser_start_failed, with backoff.
//   - A worker that floods or garbles its output: it is read at full speed, 100 lines a
//     second are logged and the rest is counted. Output that is not a handshake is
//     worker_unusable.
//   - A crash loop: the circuit opens after six failures.
//
// # What guards the profile
//
// admin.lock is a flock of the supervisor, one for each folder. admin.lease is a flock
// that Chrome inherits, held exactly as long as a Chrome of this service lives. Chrome's
// own SingletonLock is removed only if it is proven to be stale; after a start it must
// name the Chrome that was started.
package worker
