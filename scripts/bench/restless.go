package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"session-manager/scripts/command"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// restless is a worker without a Chrome, whose account is opened elsewhere and taken
// back as fast as the supervisor takes it in: a real page needs hours for as many
// changes. The bench itself runs as that worker.
type restless struct {
	rpc.Worker // whatever is not below is never called
	self       string
	told       chan os.Signal
	stop       chan struct{}
	count      int
}

// playWorker serves as the worker until the supervisor ends it.
func playWorker() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	w := &restless{self: self, told: make(chan os.Signal, 1), stop: make(chan struct{})}
	signal.Notify(w.told, syscall.SIGUSR1)
	rpc.Serve(w, slog.New(slog.DiscardHandler))
	return nil
}

// goal is the file that says how many changes there shall have been; SIGUSR1 makes the
// worker look at it.
func goal(worker string) string { return worker + ".goal" }

// Run implements rpc.Worker.
func (w *restless) Run(ctx context.Context, req rpc.RunRequest, emit func(rpc.Event) error) error {
	var seq uint64
	say := func(body rpc.EventBody) error {
		seq++
		return emit(rpc.Event{Generation: req.Generation, Seq: seq, Body: body})
	}
	if err := w.change(say, 1); err != nil {
		return err
	}
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.stop:
			return nil
		case <-beat.C:
			err = say(rpc.Heartbeat{Goroutines: 1})
		case <-w.told:
			var content []byte
			if content, err = os.ReadFile(goal(w.self)); err == nil {
				var count int
				if count, err = strconv.Atoi(string(content)); err == nil {
					err = w.change(say, count)
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// change goes on until the state has changed so often.
func (w *restless) change(say func(rpc.EventBody) error, count int) error {
	for ; w.count < count; w.count++ {
		observed := rpc.PageObserved{
			Condition: rpc.PageReady, Registered: true, Persisted: true, Progress: -1, PageVersion: strconv.Itoa(w.count + 1),
		}
		if w.count%2 == 1 {
			observed.Condition, observed.Reason = rpc.PageDisconnected, reason.Conflict
		}
		if err := say(observed); err != nil {
			return err
		}
	}
	return nil
}

// Stop implements rpc.Worker.
func (w *restless) Stop(context.Context) error {
	close(w.stop)
	return nil
}

// change lets the worker make the changes, and waits until the supervisor has taken
// them in.
func change(worker string) func(context.Context, *growing, int) error {
	return func(ctx context.Context, g *growing, count int) error {
		if err := os.WriteFile(goal(worker), []byte(strconv.Itoa(count)), 0o600); err != nil {
			return fmt.Errorf("cannot tell the worker: %w", err)
		}
		told := 0 // the worker's PID, once it has made a change by itself and was told
		for {
			v, err := g.View(ctx)
			switch {
			case err != nil:
				return err
			case told != 0 && v.Worker.PID != told:
				return fmt.Errorf("the worker has ended: %s (%s)", v.Reason.Code, v.Reason.Detail)
			case v.Page.Version == strconv.Itoa(count):
				g.done = count
				return verify(ctx, g)
			case told == 0 && v.Page.Version != "":
				told = v.Worker.PID
				if err := syscall.Kill(told, syscall.SIGUSR1); err != nil {
					return fmt.Errorf("cannot tell the worker: %w", err)
				}
			}
			if err := command.Pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// verify compares what was done with how often the state has changed, as the service
// counts it.
func verify(ctx context.Context, g *growing) error {
	metrics, err := g.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	counted := 0
	for line := range strings.Lines(string(metrics)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.Contains(name, "session_transitions_total{") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("cannot read metric %s: %w", name, err)
		}
		counted += n
	}
	if counted < g.done {
		return fmt.Errorf("the state changed %d times, not %d", counted, g.done)
	}
	return nil
}
