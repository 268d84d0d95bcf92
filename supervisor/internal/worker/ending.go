package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/restart"
)

// result is the record of a generation that has ended.
type result struct {
	generation uint64
	cause      cause
	phase      string
	uptime     time.Duration
	workerPID  int
	workerExit string
	chromePID  int
	chromeExit string
	// killed counts the processes that did not end by themselves, the worker
	// apart.
	killed int
	// workerKilled says that the worker did not end by itself, but by us.
	workerKilled bool
	// program is what the worker ran, and proven says that it works.
	program program
	proven  bool
	// closed says that Chrome has closed when it was asked to.
	closed bool
	// version is Chrome's.
	version string
	// took is how long the end lasted.
	took time.Duration
	// leftover says that processes could not be ended.
	leftover     error
	stdoutBytes  int64
	workerStderr []string
	chromeStderr []string
}

// The record of an end is one log line, and journald splits at 48 kB: it holds the
// first lines of a death, or the last lines otherwise.
const (
	stderrInRecord      = 20
	stderrBytesInRecord = 12 << 10
)

// end takes the generation apart: fence it, ask Chrome to close, drop its life
// line, kill what is left, prove that nothing is, tidy. The order is what keeps
// the login: Chrome must have written it before anything is killed.
func (g *instance) end(ctx context.Context, c cause) result {
	began := time.Now()
	g.s.live.Store(nil)
	if g.trial != nil {
		g.trial.process.kill()
	}
	// A helper that somebody has stopped holds up the end of Chrome, which waits for
	// it. Chrome itself and the worker have been judged as they are.
	if g.process != nil {
		if err := g.tree().Continue(g.chromePID, g.process.pid()); err != nil {
			g.log.Debug(logid.ProcessResumeFailed, logging.KeyError, err)
		}
	}
	if c.ask && g.worker != nil {
		g.ask()
	}
	if g.process != nil {
		g.endWorker(c)
	}
	// From here on no worker can be started any more, so its pid is known.
	tree := g.tree()
	var leftover error
	if !g.drained(tree, c) {
		leftover = g.endTree(ctx, tree)
	}
	g.cancel()
	g.tidy()
	return g.record(c, tree, leftover, time.Since(began))
}

// ask closes Chrome through the worker, and takes what it says meanwhile.
func (g *instance) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), g.timings.Stop)
	defer cancel()
	stopped := make(chan error, 1)
	g.tasks.Go(func() { stopped <- g.worker.Stop(ctx) })
	for {
		select {
		case e := <-g.events:
			g.remember(e)
		case err := <-stopped:
			if g.closed = err == nil; !g.closed {
				g.log.Warn(logid.ChromeCloseFailed, logging.KeyError, err)
			}
			return
		case <-g.process.exited:
			return
		}
	}
}

// endWorker kills the worker's process, which closes the pipe to Chrome, and
// waits for its end.
func (g *instance) endWorker(c cause) {
	if c.dump {
		g.process.dump()
		g.awaitExit(g.timings.Dump)
	}
	if c.exiting {
		// It may still be tidying up, and how it exits belongs into the record.
		g.lastWords(false)
		g.awaitExit(farewell)
	}
	g.process.kill()
	if g.process.pid() != 0 {
		g.awaitExit(g.timings.Kill)
	}
}

// awaitExit waits for the process to end, and takes what the worker still says.
// It returns false when the process is still there after d.
func (g *instance) awaitExit(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-g.process.exited:
			return true
		case e := <-g.events:
			g.remember(e)
		case <-timer.C:
			return false
		}
	}
}

// drainLook is how often Chrome is looked at while its tree empties.
const drainLook = 100 * time.Millisecond

// drained gives the tree time to empty by itself, as long as that is of use, and
// reports whether it has. Chrome may be there before the worker is connected.
func (g *instance) drained(tree *proctree.Tree, c cause) bool {
	if c.frozen || g.process == nil {
		return false
	}
	deadline := time.Now().Add(g.timings.Drain)
	seen := byte(0)
	for {
		if g.chromePID != 0 {
			if state := stateOf(g.chromePID); state != seen {
				seen = state
				if limit := time.Now().Add(drainOf(g.timings, state)); limit.Before(deadline) {
					deadline = limit
				}
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), min(drainLook, time.Until(deadline)))
		err := tree.Wait(ctx)
		cancel()
		if err == nil || !time.Now().Before(deadline) {
			return err == nil
		}
	}
}

// stateOf is the state of a process as /proc knows it, proctree.Zombie when it is
// gone.
func stateOf(pid int) byte {
	p, err := proctree.Look(pid)
	if errors.Is(err, os.ErrNotExist) {
		return proctree.Zombie
	}
	return p.State
}

// drainOf is the same by the state of Chrome's main process: one that runs closes
// by itself, one that has ended leaves only helpers behind, and one that somebody
// has stopped hears nothing.
func drainOf(t Timings, state byte) time.Duration {
	switch state {
	case proctree.Stopped:
		return 0
	case proctree.Zombie:
		return min(t.Helpers, t.Drain)
	default:
		return t.Drain
	}
}

// endTree kills what is below this process, and returns when nothing is left.
// Something that can't be killed, such as a process in
// uninterruptible sleep, is tried again and again: no other Chrome may be started
// on the profile before. It gives up only when ctx ends.
func (g *instance) endTree(ctx context.Context, tree *proctree.Tree) error {
	for {
		killCtx, cancel := context.WithTimeout(context.Background(), g.timings.Kill)
		err := tree.Kill(killCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		b := Blocked{
			Reason: reason.ProfileInUse, Detail: "what was started can't be ended: " + err.Error(),
			RetryAt: time.Now().Add(g.timings.Stuck),
		}
		if exhausted(err) {
			b.Reason = reason.ResourcesExhausted // whether something is left can't even be seen
		}
		g.s.logBlocked(b)
		g.s.notify(b)
		// A restart request only shortens the pause here, and the end of ctx
		// allows one last attempt.
		_ = g.s.wait(ctx, g.timings.Stuck, nil)
	}
}

// tidy frees what go-plugin holds and removes the folders. go-plugin's Kill has
// no bound of its own.
func (g *instance) tidy() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.tasks.Wait()
		if g.client != nil {
			g.client.Kill()
		}
		if g.process != nil {
			g.process.pipes.Wait()
		}
	}()
	timer := time.NewTimer(g.timings.Tidy)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.log.Error(logid.GenerationCleanupFailed, logging.Millis("after_ms", g.timings.Tidy))
	}
	for _, folder := range []string{folderOf(g.number), trialFolder} {
		if err := remove(g.s.o.RuntimeDir, folder); err != nil {
			g.log.Warn(logid.FolderRemoveFailed, logging.KeyError, err)
		}
	}
}

func (g *instance) record(c cause, tree *proctree.Tree, leftover error, took time.Duration) result {
	r := result{
		generation: g.number, cause: c, phase: g.phase, uptime: time.Since(g.began), took: took,
		chromePID: g.chromePID, killed: tree.Killed(), leftover: leftover,
		closed: g.closed && leftover == nil, version: g.plan.version,
		program: g.plan.program, proven: g.proven,
	}
	if g.process != nil {
		r.workerPID, r.workerExit, r.workerKilled = g.process.pid(), g.process.exit(), g.process.wasKilled()
		if r.workerKilled && r.workerExit != "" {
			r.workerExit += killedByUs
		}
		r.stdoutBytes = g.process.stdout.dropped.Load()
		r.workerStderr = g.process.stderr.record()
	}
	if g.failure != nil {
		r.chromeExit, r.chromeStderr = chromeExit(*g.failure), presentable(g.failure.ChromeStderr)
	}
	if status, ok := tree.Exit(g.chromePID); ok && r.chromeExit == "" {
		r.chromeExit = describe(status)
	}
	if c.reason == reason.WorkerCrashed && c.detail == "" && r.workerExit != "" {
		r.cause.detail = "the worker's process ended: " + r.workerExit
	}
	return r
}

// presentable cuts and redacts lines that the worker has sent. It has done the
// same, if it is well.
func presentable(lines []string) []string {
	lines = slices.Clone(lines[max(0, len(lines)-keptLines):])
	for i, line := range lines {
		lines[i] = logging.Redact(cut(line))
	}
	return lines
}

// killedByUs follows the exit of a worker that did not end by itself: a planned
// end must not look like a crash.
const killedByUs = ", by the supervisor"

func chromeExit(f rpc.Failure) string {
	switch {
	case f.ChromeSignal != "":
		return "signal " + f.ChromeSignal
	case f.ChromeExitCode >= 0:
		return "exit " + strconv.Itoa(f.ChromeExitCode)
	default:
		return ""
	}
}

// closing is what the keeper of the login needs to know.
func (r result) closing(ctx context.Context) Closing {
	return Closing{Reason: r.cause.reason, Clean: r.closed, ChromeVersion: r.version, Stopping: ctx.Err() != nil}
}

// summary is one sentence on the end, for people.
func (r result) summary() string {
	if r.cause.detail != "" {
		return r.cause.detail
	}
	return reason.Describe(r.cause.reason).Message
}

// logTo writes the one event that tells all about the end.
func (r result) logTo(log *slog.Logger, class restart.Class, d restart.Decision) {
	level := slog.LevelError
	if class == restart.Planned {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.Uint64(logging.KeyGeneration, r.generation),
		slog.String(logging.KeyReason, string(r.cause.reason)),
		slog.String(logging.KeyDetail, r.cause.detail),
		slog.String("class", string(class)),
		slog.String(logging.KeyPhase, r.phase),
		logging.Millis("uptime_ms", r.uptime),
		slog.Int(logging.KeyPID, r.workerPID),
		slog.String("worker_exit", r.workerExit),
		slog.Bool("worker_killed_by_us", r.workerKilled),
		slog.Int("chrome_pid", r.chromePID),
		slog.String("chrome_exit", r.chromeExit),
		slog.Int("killed", r.killed),
		logging.Millis("end_ms", r.took),
		logging.Millis("delay_ms", d.Delay),
		slog.Int("failures", d.Failures),
		slog.String("circuit", string(d.Circuit)),
	}
	if r.leftover != nil {
		attrs = append(attrs, slog.String("leftover", r.leftover.Error()))
	}
	if r.stdoutBytes > 0 {
		attrs = append(attrs, slog.Int64("stdout_bytes_dropped", r.stdoutBytes))
	}
	if class != restart.Planned {
		attrs = append(attrs, slog.Any("worker_stderr", excerpt(r.workerStderr)), slog.Any("chrome_stderr", excerpt(r.chromeStderr)))
	}
	log.LogAttrs(noContext, level, logid.WorkerExited, attrs...)
}

// excerpt cuts lines down to what a log line may hold.
func excerpt(lines []string) []string {
	if len(lines) > 0 && startsDying(lines[0]) {
		lines = lines[:min(len(lines), 3*stderrInRecord)]
	} else {
		lines = lines[max(0, len(lines)-stderrInRecord):]
	}
	size := 0
	for i, line := range lines {
		if size += len(line); size > stderrBytesInRecord {
			return lines[:i]
		}
	}
	return lines
}
