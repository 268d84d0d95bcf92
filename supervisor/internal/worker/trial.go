package worker

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/watch"
)

// trialFolder is the folder of a trial, which is no generation.
const trialFolder = "g0"

// trial is a new worker's binary that is asked, beside the worker that runs,
// whether it is one: a file that is still being written, or was built for another
// version, must not cost a restart. The generation owns it.
type trial struct {
	process *process
	file    watch.Signature
	// done holds what it came to.
	done chan error
}

// replacement begins a trial when the worker's file has become another one.
func (g *instance) replacement() {
	file := watch.Sign(g.s.o.Worker)
	if g.trial != nil || file == g.plan.program.file || file == g.s.binaries.bad || file == (watch.Signature{}) {
		return
	}
	t, err := g.try(file)
	if err != nil {
		g.refused(file, err)
		return
	}
	g.trial = t
}

// try starts the binary and lets it say its first line.
func (g *instance) try(file watch.Signature) (*trial, error) {
	if err := checkWorker(g.s.o.Worker); err != nil {
		return nil, err
	}
	folder, err := makeFolders(g.s.o.RuntimeDir, trialFolder)
	if err != nil {
		return nil, err
	}
	handshake := rpc.Handshake()
	home := filepath.Join(folder, workerFolder)
	t := &trial{file: file, done: make(chan error, 1), process: newProcess(program{path: g.s.o.Worker}, append(environ(),
		"HOME="+home, "TMPDIR="+home, "PLUGIN_UNIX_SOCKET_DIR="+home,
		"PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(rpc.ProtocolVersion),
		handshake.MagicCookieKey+"="+handshake.MagicCookieValue), g.log.With("trial", true))}
	t.process.group = g.s.group
	if err := t.process.Start(noContext); err != nil {
		return nil, err
	}
	g.tree().Spare(t.process.pid())
	g.tasks.Go(func() { t.done <- t.listen(g.timings.Handshake) })
	return t, nil
}

// listen waits for the first line, and ends the process.
func (t *trial) listen(limit time.Duration) error {
	defer t.process.pipes.Wait()
	defer t.process.kill()
	said := make(chan error, 1)
	t.process.pipes.Go(func() {
		line, err := bufio.NewReader(t.process.stdout.handshake).ReadString('\n')
		if refusal := t.process.stdout.refusal(); refusal != nil {
			err = refusal
		} else if err != nil {
			err = fmt.Errorf("it ended before the handshake, after %d bytes", len(line))
		}
		said <- err
		_ = t.process.stdout.handshake.Close()
	})
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-said:
		return err
	case <-timer.C:
		return fmt.Errorf("it said nothing within %s", limit)
	}
}

// tried takes in the result of a trial.
func (g *instance) tried(err error) (cause, bool) {
	file := g.trial.file
	g.trial = nil
	if removeErr := remove(g.s.o.RuntimeDir, trialFolder); removeErr != nil {
		g.log.Warn(logid.FolderRemoveFailed, logging.KeyError, removeErr)
	}
	if watch.Sign(g.s.o.Worker) != file {
		g.replacement() // it has changed meanwhile
		return cause{}, false
	}
	if err != nil {
		g.refused(file, err)
		return cause{}, false
	}
	return g.wished(RestartRequest{Reason: reason.WorkerReplaced, Detail: "its file is a new one, which answers"}, time.Now())
}

// refused notes that a new binary is none, and goes on with the present one.
func (g *instance) refused(file watch.Signature, err error) {
	if errors.Is(err, errEnded) {
		return
	}
	g.s.binaries.refuse(file, "the new worker binary is not used: "+err.Error())
	g.s.tellBinary()
}

// results is where a trial's result comes from; nil while there is none.
func (g *instance) results() <-chan error {
	if g.trial == nil {
		return nil
	}
	return g.trial.done
}
