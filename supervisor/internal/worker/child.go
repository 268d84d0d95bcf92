package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker/process"
)

// child is a worker's process with the connection to it and the events that it sends.
// An instance has one, and so have the verification of a backup and the trial of a new
// binary. One goroutine owns it.
type child struct {
	log     *slog.Logger
	timings StopTimings
	// generation is that of its events; 0 unless an instance has it.
	generation uint64
	process    *process.Process
	worker     *rpc.Client // nil until connected
	known      known

	// tasks are the goroutines below; each ends soon after the process has.
	tasks      sync.WaitGroup
	connected  chan connection
	events     chan rpc.Event
	streamEnd  chan error
	streamOver bool               // streamEnd was received
	stream     context.Context    // ends with cancel
	cancel     context.CancelFunc // ends the stream

	// tree is everything below this process.
	tree *proctree.Tree
}

// known is what the worker's events have reported so far.
type known struct {
	phase     string
	chromePID int
	engine    chrome.Engine
	browserAt time.Time // when chromePID was reported
	lastEvent time.Time
	failure   *rpc.Failure
	// chromeExit is how Chrome exited, empty while it is not known.
	chromeExit string
}

// connection is the result of connecting.
type connection struct {
	worker *rpc.Client
	err    error
}

// newChild starts a worker, which connects. It does nothing else if request is nil.
func (m *Manager) newChild(path string, dir process.Dir, request *rpc.RunRequest, tree *proctree.Tree, log *slog.Logger) *child {
	c := &child{
		log: log, timings: m.o.Timings.Stop, tree: tree, known: known{phase: "handshake"},
		process: process.New(process.Options{
			Path: path, Dir: dir, Request: request, Group: m.group, Tree: tree, Log: log,
		}),
		connected: make(chan connection, 1), events: make(chan rpc.Event), streamEnd: make(chan error, 1),
	}
	if request != nil {
		c.generation = request.Generation
	}
	c.stream, c.cancel = context.WithCancel(context.Background())
	c.tasks.Go(func() {
		worker, err := c.process.Connect()
		c.connected <- connection{worker, err}
	})
	return c
}

// run lets a connected worker begin, and receives its events.
func (c *child) run(worker *rpc.Client) {
	c.worker = worker
	c.known.phase, c.known.lastEvent = string(rpc.PhaseBrowserStart), time.Now()
	c.tasks.Go(func() { c.streamEnd <- c.worker.Events(c.stream, c.emit) })
}

// waited returns for how long the worker has waited for processors, 0 if that can't be read.
func (c *child) waited() time.Duration {
	waited, _ := proctree.Waited(c.process.PID())
	return waited
}

// emit hands an event of the stream to the owner.
func (c *child) emit(e rpc.Event) error {
	select {
	case c.events <- e:
		return nil
	case <-c.stream.Done():
		return c.stream.Err()
	}
}

// receive notes an event. It returns false if that is of another instance.
func (c *child) receive(e rpc.Event) bool {
	if e.Generation != c.generation {
		c.log.Warn(logid.EventIgnored, "event_gen", e.Generation, logging.KeySeq, e.Seq)
		return false
	}
	c.known.lastEvent = time.Now()
	switch b := e.Body.(type) {
	case rpc.PhaseChanged:
		c.known.phase = string(b.Phase)
	case rpc.BrowserStarted:
		c.known.chromePID, c.known.engine, c.known.browserAt = b.PID, chrome.EngineOf(b.Product), c.known.lastEvent
	case rpc.Failure:
		c.known.failure = &b
	case rpc.BrowserExited:
		c.known.chromeExit = logging.Redact(logging.Truncate(b.Exit, 100))
	}
	return true
}

// lastEvents passes on what a worker that has exited, or is about to, had sent before. One that was
// never connected has sent nothing.
func (c *child) lastEvents(pass func(rpc.Event)) {
	if c.worker == nil {
		return
	}
	timer := time.NewTimer(c.timings.LastEvents)
	defer timer.Stop()
	for !c.streamOver {
		select {
		case e := <-c.events:
			if c.receive(e) {
				pass(e)
			}
		case err := <-c.streamEnd:
			c.streamOver = true
			c.log.Debug(logid.EventStreamClosed, logging.KeyError, err)
		case <-timer.C:
			return
		}
	}
}

// exits reports whether the process exits within d.
func (c *child) exits(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-c.process.Exited():
			return true
		case e := <-c.events:
			c.receive(e)
		case <-timer.C:
			return false
		}
	}
}

// release frees what the child held when nothing of it runs.
func (c *child) release() {
	c.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.tasks.Wait()
		c.process.Release()
	}()
	timer := time.NewTimer(c.timings.Cleanup)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		c.log.Error(logid.InstanceCleanupFailed, logging.Millis("after_ms", c.timings.Cleanup))
	}
}
