package worker

import (
	"fmt"
	"log/slog"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/worker/process"
)

// trialNumber is for the folder of a trial and of a verification, which are not
// instances and never run at the same time.
const trialNumber = 0

// trial is a new binary that is asked for its handshake, next to the worker that runs:
// a file that is still being written, or was built for another version, must not cost a
// restart. The instance owns it.
type trial struct {
	child *child // nil if none is under way
	file  watch.Signature
	// result holds what run returns; nil if none is under way.
	result chan error
}

// tryReplacement begins a trial when the worker's file has become another one.
func (i *instance) tryReplacement() {
	file := watch.Sign(i.m.o.Worker)
	if file == i.plan.Worker.File {
		i.warn(&i.warnings.binary, reason.Warning{})
	}
	if i.trial.child != nil || file == i.plan.Worker.File || file == (watch.Signature{}) {
		return
	}
	dir, err := i.m.checker.RuntimeDir.Make(trialNumber)
	if err != nil {
		i.warnOfBinary(err.Error())
		return
	}
	t := trial{file: file, result: make(chan error, 1), child: i.m.newChild(i.m.o.Worker, dir, nil, i.tree, i.log.With("trial", true))}
	i.trial = t
	i.tasks.Go(func() { t.result <- t.run(i.timings.Start.Handshake) })
}

// run returns nil if the binary shakes hands within limit. Nothing of it is left then.
func (t trial) run(limit time.Duration) error {
	defer t.child.release()
	defer t.child.process.Kill()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case c := <-t.child.connected:
		if c.err != nil && reason.Of(c.err, "") == "" {
			t.child.process.Kill()
			<-t.child.process.Exited()
			return fmt.Errorf("it exited before the handshake: %s", t.child.process.Record().Exit)
		}
		return c.err
	case <-timer.C:
		return fmt.Errorf("it did not complete the handshake within %s", limit)
	}
}

// trialEnded requests a restart if the new binary has shaken hands.
func (i *instance) trialEnded(err error) *cause {
	file := i.trial.file
	i.trial = trial{}
	i.m.removeDirs(i.log, trialNumber)
	if watch.Sign(i.m.o.Worker) != file {
		i.tryReplacement() // it has changed meanwhile
		return nil
	}
	if err != nil {
		i.reject(file, err)
		return nil
	}
	i.m.checker.Accept()
	return i.requested(RestartRequest{Reason: reason.WorkerReplaced, Detail: "its file is a new one, which responds"}, time.Now())
}

// reject keeps a new binary from being used, and the present one in use.
func (i *instance) reject(file watch.Signature, err error) {
	if !process.Exhausted(err) {
		i.m.checker.Reject(file, err.Error())
	}
	i.warnOfBinary(err.Error())
}

func (i *instance) warnOfBinary(why string) {
	i.warnings.binary = reason.Warning{} // another binary is another warning
	i.warn(&i.warnings.binary, reason.Warning{
		Code: reason.WorkerUnusable, Detail: "the last worker binary that worked stays in use: " + logging.Redact(why),
	})
}

// removeDirs removes the folders of workers that have exited.
func (m *Manager) removeDirs(log *slog.Logger, numbers ...uint64) {
	for _, number := range numbers {
		if err := m.checker.RuntimeDir.Remove(number); err != nil {
			log.Warn(logid.FolderRemoveFailed, logging.KeyError, err)
		}
	}
}
