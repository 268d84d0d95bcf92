// Command worker drives one headless Chrome for bin/supervisor, which starts it
// and talks to it through package rpc.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/server"
)

// version is set by the linker (see the Makefile).
var version = "devel"

// Exit codes, after sysexits.h.
const (
	exitClean    = 0
	exitUsage    = 64
	exitSoftware = 70 // the session failed; the supervisor knows why
)

const (
	// stopLimit is how long Chrome may take to close, and a little more.
	stopLimit = 10 * time.Second
	// farewell is how long the supervisor may take to fetch the last events.
	farewell = 2 * time.Second
	// flushTimeout is how long the supervisor may take to read the last log lines.
	flushTimeout = 500 * time.Millisecond
)

func main() {
	// Made before Serve, which replaces os.Stderr by a pipe.
	stderr := logging.Stderr("worker", logid.LogLinesDropped)
	code := run(stderr)
	stderr.Flush(flushTimeout)
	os.Exit(code)
}

func run(stderr io.Writer) int {
	if !rpc.StartedAsWorker() {
		_, _ = fmt.Fprintln(stderr, "worker: bin/supervisor starts this program; run bin/supervisor instead")
		return exitUsage
	}
	// Inherited from the supervisor, unless another program has started this one.
	_ = proctree.DenyCoreDumps()
	// As in the supervisor: half the cost at rest, and the other cores are Chrome's.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(proctree.GCPercent)
	go proctree.KeepTrimmed(context.Background())
	// All levels are written, since the supervisor decides what is logged.
	log := logging.New(stderr, "worker", slog.LevelDebug)
	log.Debug(logid.WorkerStarted, slog.Int(logging.KeyPID, os.Getpid()), slog.String("version", version))
	// Interrupts are for the supervisor. They are caught rather than ignored: an
	// ignored signal would stay ignored in Chrome.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)

	w := server.New(log)
	served := make(chan struct{})
	go func() {
		defer close(served)
		rpc.Serve(w)
	}()
	go begin(w, log) // the last to start runs first: Chrome needs longer than the handshake
	select {
	case <-served: // the supervisor has ended the connection, or is gone
	case <-w.Idle():
	case s := <-terminate:
		log.Info(logid.StopRequested, slog.String("signal", s.String()))
	}
	return end(w, log, served, terminate)
}

// begin starts what the request on standard input asks for. It does not return while
// standard input stays open.
func begin(w *server.Worker, log *slog.Logger) {
	req, err := rpc.ReceiveRequest(os.Stdin)
	if err != nil {
		log.Warn(logid.RequestReadFailed, slog.Any(logging.KeyError, err))
		w.Refuse(err)
		return
	}
	w.Begin(req)
}

// end closes Chrome, lets the supervisor fetch the last events, and returns the exit
// code.
func end(w *server.Worker, log *slog.Logger, served <-chan struct{}, terminate <-chan os.Signal) int {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		log.Warn(logid.StopFailed, slog.Any(logging.KeyError, err))
	}
	last := time.NewTimer(farewell)
	defer last.Stop()
	select {
	case <-served:
	case <-last.C:
	case <-terminate: // a second one: now
	}
	if err := w.Err(); err != nil && !errors.Is(err, rpc.ErrNoRequest) {
		return exitSoftware
	}
	return exitClean
}
