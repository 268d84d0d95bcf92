package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker/process"
)

// cause is why an instance is shut down, and what decides how.
type cause struct {
	reason reason.Code
	// detail is for people; empty means that the worker's exit explains everything.
	detail string
	// ask: the worker and Chrome are well, so Chrome is closed cleanly first.
	ask bool
	// dump: the worker does not respond; its goroutines are worth a look.
	dump bool
	// exiting: the worker has sent its last event, or its connection is gone, so
	// that its process exits at any moment.
	exiting bool
	// frozen: Chrome won't close.
	frozen bool
}

// shutdown takes a worker and its Chrome apart: ask Chrome to close, kill the worker,
// which closes the pipe to Chrome, let Chrome exit, kill what is left, and prove that
// nothing is. The order is what keeps the login: Chrome must have written it before
// anything is killed.
type shutdown struct {
	*child
	cause cause
	// stuck is called for each attempt to kill that has failed, and returns when
	// the next one may be made.
	stuck func(error)
	// closed means that Chrome has closed when it was asked to.
	closed bool
}

// run returns an error if something could not be killed before ctx ended.
func (s *shutdown) run(ctx context.Context) error {
	// A helper that somebody has stopped delays the exit of Chrome, which waits for
	// it. Chrome itself and the worker have been handled before.
	if err := s.tree.Continue(s.known.chromePID, s.process.PID()); err != nil {
		s.log.Debug(logid.ProcessResumeFailed, logging.KeyError, err)
	}
	if s.cause.ask && s.worker != nil {
		s.closeChrome()
	}
	s.killWorker()
	var err error
	if !s.drained() {
		err = s.killTree(ctx)
	}
	s.release()
	return err
}

// closeChrome closes Chrome through the worker, and receives what it reports
// meanwhile.
func (s *shutdown) closeChrome() {
	ctx, cancel := context.WithTimeout(context.Background(), s.timings.Close)
	defer cancel()
	stopped := make(chan error, 1)
	s.tasks.Go(func() { stopped <- s.worker.Stop(ctx) })
	for {
		select {
		case e := <-s.events:
			s.receive(e)
		case err := <-stopped:
			if s.closed = err == nil; !s.closed {
				s.log.Warn(logid.ChromeCloseFailed, logging.KeyError, err)
			}
			s.lastEvents(func(rpc.Event) {}) // how Chrome exited is the last one
			return
		case <-s.process.Exited():
			return
		}
	}
}

// killWorker kills the worker's process and waits for its exit.
func (s *shutdown) killWorker() {
	if s.cause.dump {
		s.process.Dump()
		s.exits(s.timings.Dump)
	}
	if s.cause.exiting {
		// It may still be cleaning up, and how it exits belongs into the record.
		s.lastEvents(func(rpc.Event) {})
		s.exits(s.timings.Exit)
	}
	s.process.Kill()
	if s.process.PID() != 0 {
		s.exits(s.timings.Kill)
	}
}

// drainPoll is how often Chrome is looked at while its tree empties.
const drainPoll = 100 * time.Millisecond

// drained gives the tree time to become empty, as long as that is of use, and
// reports whether it has. Chrome may be there before the worker is connected.
func (s *shutdown) drained() bool {
	if s.cause.frozen {
		return false
	}
	deadline := time.Now().Add(s.timings.Drain)
	seen := byte(0)
	for {
		if s.known.chromePID != 0 {
			if state := stateOf(s.known.chromePID); state != seen {
				seen = state
				if limit := time.Now().Add(drainLimit(s.timings, state)); limit.Before(deadline) {
					deadline = limit
				}
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), min(drainPoll, time.Until(deadline)))
		err := s.tree.Wait(ctx)
		cancel()
		if err == nil || !time.Now().Before(deadline) {
			return err == nil
		}
	}
}

// stateOf is the state of a process as /proc shows it, proctree.Zombie when it is
// gone.
func stateOf(pid int) byte {
	p, err := proctree.Find(pid)
	if errors.Is(err, os.ErrNotExist) {
		return proctree.Zombie
	}
	return p.State
}

// drainLimit is how long the tree may take by the state of Chrome's main process: one
// that runs closes, one that has exited leaves only helpers behind, and one that
// somebody has stopped does nothing.
func drainLimit(t StopTimings, state byte) time.Duration {
	switch state {
	case proctree.Stopped:
		return 0
	case proctree.Zombie:
		return min(t.Helpers, t.Drain)
	default:
		return t.Drain
	}
}

// killTree kills what is below this process, and returns when nothing is left.
// Something that can't be killed, such as a process in uninterruptible sleep, is tried
// again and again: no other Chrome may be started on the profile before. It gives up
// only when ctx ends.
func (s *shutdown) killTree(ctx context.Context) error {
	for {
		killCtx, cancel := context.WithTimeout(context.Background(), s.timings.Kill)
		err := s.tree.Kill(killCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.stuck(err)
	}
}

// record is what is known about an instance that has exited.
type record struct {
	Exited
	// took is how long the shutdown lasted.
	took      time.Duration
	worker    process.Record
	chromePID int
	// closed means that Chrome has closed when it was asked to.
	closed bool
	// killed counts the processes that had to be killed, without the worker.
	killed int
	// leftover means that processes could not be killed.
	leftover error
}

// How the exit of a killed process begins, and how it ends if the supervisor has killed it.
var killed, killedByUs = process.Describe(syscall.WaitStatus(syscall.SIGKILL)), ", by the supervisor"

// record collects what the child and its shutdown have left.
func (s *shutdown) record() record {
	worker := s.process.Record()
	r := record{
		Exited: Exited{
			Reason: s.cause.reason, Detail: s.cause.detail, Phase: s.known.phase,
			WorkerExit: s.workerExit(worker), WorkerStderr: worker.Stderr, ChromeExit: s.chromeExit(),
		},
		worker: worker, chromePID: s.known.chromePID, closed: s.closed, killed: s.tree.Killed(),
	}
	if f := s.known.failure; f != nil {
		r.ChromeStderr = process.Present(f.ChromeStderr)
	}
	if r.Reason == reason.WorkerCrashed && r.Detail == "" && r.WorkerExit != "" {
		r.Detail = "the worker's process exited: " + r.WorkerExit
		if r.WorkerExit == killed {
			r.Detail = reason.Killed("the worker's process")
		}
	}
	return r
}

func (s *shutdown) workerExit(worker process.Record) string {
	switch {
	case worker.Killed && (s.closed || s.known.failure != nil):
		return "" // its work had ended, and it was about to exit
	case worker.Killed && worker.Exit != "":
		return worker.Exit + killedByUs
	}
	return worker.Exit
}

// chromeExit is what the worker has reported, or what was seen of a Chrome that outlived
// it.
func (s *shutdown) chromeExit() string {
	status, byUs, ok := s.tree.Exit(s.known.chromePID)
	if s.known.chromeExit != "" || !ok {
		return s.known.chromeExit
	}
	exit := process.Describe(status)
	if byUs && exit == killed {
		exit += killedByUs
	}
	return exit
}

// log writes the one line that has everything about the end.
func (r record) log(log *slog.Logger, circuit restart.Circuit) {
	level := slog.LevelWarn // a state that needs a person is an error, which the session logs
	if r.Class == restart.Planned {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.Uint64(logging.KeyGeneration, r.Generation),
		slog.String(logging.KeyReason, string(r.Reason)),
		slog.String(logging.KeyDetail, r.Detail),
		slog.String("class", string(r.Class)),
		slog.String(logging.KeyPhase, r.Phase),
		logging.Millis("uptime_ms", r.Uptime),
		slog.Int(logging.KeyPID, r.worker.PID),
		slog.String("worker_exit", r.WorkerExit),
		slog.Bool("worker_killed_by_us", r.worker.Killed),
		slog.Int("chrome_pid", r.chromePID),
		slog.String("chrome_exit", r.ChromeExit),
		slog.Int("killed", r.killed),
		logging.Millis("end_ms", r.took),
		logging.Millis("delay_ms", r.Delay),
		slog.Int("failures", r.Failures),
		slog.String("circuit", string(circuit)),
	}
	if r.leftover != nil {
		attrs = append(attrs, slog.String("leftover", r.leftover.Error()))
	}
	if r.worker.Stdout > 0 {
		attrs = append(attrs, slog.Int64("stdout_bytes_dropped", r.worker.Stdout))
	}
	if r.Class != restart.Planned {
		attrs = append(attrs, slog.Any("worker_stderr", process.Excerpt(r.WorkerStderr)), slog.Any("chrome_stderr", process.Excerpt(r.ChromeStderr)))
	}
	log.LogAttrs(context.Background(), level, logid.WorkerExited, attrs...)
}
