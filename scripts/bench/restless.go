package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"session-manager/scripts/simulator"
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

// startedAsWorker says that the supervisor runs this process as its worker.
func startedAsWorker() bool {
	handshake := rpc.Handshake()
	return os.Getenv(handshake.MagicCookieKey) == handshake.MagicCookieValue
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

// changes lets the worker make them, and waits until the supervisor has taken them in.
func changes(worker string) func(context.Context, *growing, int) error {
	return func(ctx context.Context, g *growing, count int) error {
		if err := os.WriteFile(goal(worker), []byte(strconv.Itoa(count)), 0o600); err != nil {
			return fmt.Errorf("cannot tell the worker: %w", err)
		}
		v, err := g.View(ctx)
		for ; err == nil && v.Page.Version == ""; v, err = g.View(ctx) {
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		worker := v.Worker.PID
		if err := syscall.Kill(worker, syscall.SIGUSR1); err != nil {
			return fmt.Errorf("cannot tell the worker: %w", err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for v.Page.Version != strconv.Itoa(count) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if v, err = g.View(ctx); err != nil {
				return err
			}
			if v.Worker.PID != worker {
				return fmt.Errorf("the worker has ended: %s (%s)", v.Reason.Code, v.Reason.Detail)
			}
		}
		counted, err := transitions(ctx, g)
		if err == nil && counted < count {
			err = fmt.Errorf("the state changed %d times, not %d", counted, count)
		}
		g.done = count
		return err
	}
}

// transitions is how often the state has changed, as the service counts it.
func transitions(ctx context.Context, g *growing) (int, error) {
	metrics, err := g.Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(string(metrics)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.Contains(name, "session_transitions_total{") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("cannot read metric %s: %w", name, err)
		}
		sum += n
	}
	return sum, nil
}

// growByChanges compares what the supervisor holds before and after 10,000 changes of
// the state.
func (b *bench) growByChanges(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	folder, err := b.fresh()
	if err != nil {
		return err
	}
	worker := filepath.Join(folder, "worker")
	program, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(worker, program, 0o700) //nolint:gosec // a program must be executable
	}
	if err != nil {
		return fmt.Errorf("cannot place the worker: %w", err)
	}
	p, err := openSimulator(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	s, err := b.start(ctx, p, folder, "--worker", worker)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	return b.growOn(ctx, s, grower{name: "changes of the state", count: 10_000, standIn: true, until: changes(worker)})
}
