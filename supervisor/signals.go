package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"session-manager/supervisor/internal/hangup"
)

const (
	// commandTimeout is how long a command, or the start of the service, may take to end
	// after a signal: a write to standard output can't be interrupted.
	commandTimeout = 5 * time.Second
	// exitSignal plus the number of a signal is the exit code of a command that it ended.
	exitSignal = 128
)

// signals are the requests to the process. Its handlers stay until the process ends.
type signals struct {
	// ctx ends with the first SIGTERM or SIGINT. The second one ends the process at once;
	// the kernel and the pipe to Chrome then end the rest.
	ctx   context.Context
	stops chan os.Signal
	// hangups holds a token after one or several SIGHUPs. It stays empty when the process
	// was started with SIGHUP ignored, as by nohup(1).
	hangups chan os.Signal
	// serving: the service limits the time of its stop itself.
	serving atomic.Bool
}

// stopError is the cause with which the context of signals ends.
type stopError struct{ signal syscall.Signal }

// Error implements error.
func (e stopError) Error() string { return fmt.Sprintf("%s signal received", e.signal) }

// catchSignals must be called first of all.
func catchSignals() *signals {
	s := &signals{stops: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1)}
	signal.Notify(s.stops, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(s.hangups, syscall.SIGHUP)
	}
	hangup.Handle()
	ctx, cancel := context.WithCancelCause(context.Background())
	s.ctx = ctx
	go s.stop(cancel)
	return s
}

// stopOnHangup makes SIGHUP end a command, as the end of its terminal.
func (s *signals) stopOnHangup() {
	if signal.Ignored(syscall.SIGHUP) {
		return
	}
	signal.Notify(s.stops, syscall.SIGHUP)
	select {
	case early := <-s.hangups:
		s.stops <- early
	default:
	}
}

func (s *signals) stop(cancel context.CancelCauseFunc) {
	first := number(<-s.stops)
	cancel(stopError{first})
	timer := time.AfterFunc(commandTimeout, func() {
		if !s.serving.Load() {
			os.Exit(exitSignal + int(first))
		}
	})
	defer timer.Stop()
	endBy(number(<-s.stops))
}

// endBy ends the process by a signal, so that its parent sees that it was one.
func endBy(sig syscall.Signal) {
	signal.Reset(sig)
	_ = syscall.Kill(os.Getpid(), sig)
	time.Sleep(time.Second) // the signal is about to arrive
	os.Exit(exitSignal + int(sig))
}

func number(sig os.Signal) syscall.Signal {
	n, _ := sig.(syscall.Signal) // the only kind on this system
	return n
}

// interrupted returns the error of a command that a signal has ended, and err otherwise.
func (s *signals) interrupted(err error) error {
	if err == nil || s.ctx.Err() == nil {
		return err
	}
	cause := context.Cause(s.ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}
