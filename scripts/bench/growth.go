package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// moreLatency is how many times as long an answer may take at the end, in those of a bare
// handler, which what else the machine does hits as well.
const moreLatency = 1.5

// warmUp is the part of a count after which the first size is taken.
const warmUp = 0.02

// asked is how many requests make one latency.
const asked = 500

// grower repeats one thing on a service of its own.
type grower struct {
	name  string
	count int // in full
	speed float64
	// until repeats until count are done since the service began.
	until func(ctx context.Context, g *growing, count int) error
}

// growing is a grower's service in the making of its count.
type growing struct {
	*harness.Service
	bare string // address of a bare handler
	body string // last code
	done int
}

var growers = []grower{
	{name: "rotations", count: 1_000, speed: 360, until: rotate},
	{name: "restarts", count: 100, speed: 1, until: restart},
	{name: "requests", count: 100_000, speed: 1, until: request},
}

// measureGrowth repeats what a service does all its life, and compares what the
// supervisor and, where it lives on, the worker hold with what they held early.
// Both sizes are taken while a code is shown, where there is a page.
func (b *bench) measureGrowth(ctx context.Context) error {
	for _, g := range growers {
		if err := b.grow(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

func (b *bench) grow(ctx context.Context, g grower) (err error) {
	s, end, err := b.serve(ctx, simulator.Options{Speed: g.speed})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	bare, endBare, err := b.serveBare(ctx, `{"status":"QR_REQUIRED"}`)
	if err != nil {
		return err
	}
	defer endBare()
	now := &growing{Service: s, bare: bare}
	count := max(2, int(float64(g.count)*b.growth))
	early, err := now.after(ctx, g, max(1, int(float64(count)*warmUp)))
	if err != nil {
		return err
	}
	late, err := now.after(ctx, g, count)
	if err != nil {
		return err
	}
	b.table.Rows = append(b.table.Rows, grown(fmt.Sprintf("%d %s: ", now.done, g.name), early, late)...)
	return nil
}

// holding is what is compared.
type holding struct {
	harness.Size
	worker     int // PID
	workerRSS  int64
	workerFile int
	latency    float64 // median, in those of the bare handler
}

// after repeats until so many are done, and takes the sizes beside a fresh code.
func (g *growing) after(ctx context.Context, what grower, count int) (holding, error) {
	var h holding
	err := what.until(ctx, g, count)
	if err != nil {
		return h, err
	}
	if g.body, _, err = g.NextQR(ctx, ""); err != nil {
		return h, err
	}
	if h.latency, err = g.latency(ctx); err != nil {
		return h, err
	}
	if h.Size, err = g.Size(ctx); err != nil {
		return h, err
	}
	v, err := g.View(ctx)
	if err != nil {
		return h, err
	}
	h.worker = v.Worker.PID
	if h.workerRSS, err = harness.RSS(h.worker); err != nil {
		return h, err
	}
	h.workerFile, err = harness.OpenFiles(h.worker)
	return h, err
}

// latency asks both by turns.
func (g *growing) latency(ctx context.Context) (float64, error) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var took [2][]time.Duration
	for range asked {
		for i, url := range []string{g.Base + "/status", g.bare} {
			begun := time.Now()
			if err := askOnce(ctx, client, url); err != nil {
				return 0, err
			}
			took[i] = append(took[i], time.Since(begun))
		}
	}
	return median(took[0]) / median(took[1]), nil
}

func grown(name string, early, late holding) []row {
	more := func(what, unit string, from, to, limit float64) row {
		return row{Name: name + what, Unit: unit, Ours: to, Floor: from, Judged: to - from, Limit: limit}
	}
	megabytes := func(n int64) float64 { return float64(n) / (1 << 20) }
	rows := []row{
		more("supervisor's memory", "MB", megabytes(early.RSS), megabytes(late.RSS), megabytes(harness.MoreRSS)),
		more("supervisor's goroutines", "", float64(early.Goroutines), float64(late.Goroutines), harness.MoreGoroutines),
		more("supervisor's files", "", float64(early.Files), float64(late.Files), harness.MoreFiles),
		ratio(name+"/status, in answers of a bare handler", "", late.latency, early.latency, moreLatency),
	}
	if early.worker == late.worker {
		rows = append(rows,
			more("worker's memory", "MB", megabytes(early.workerRSS), megabytes(late.workerRSS), megabytes(harness.MoreRSS)),
			more("worker's files", "", float64(early.workerFile), float64(late.workerFile), harness.MoreFiles))
	}
	return rows
}

// rotate waits for other codes.
func rotate(ctx context.Context, g *growing, count int) error {
	for ; g.done < count; g.done++ {
		var err error
		if g.body, _, err = g.NextQR(ctx, g.body); err != nil {
			return err
		}
	}
	return nil
}

// restart asks for the next generation as soon as the last has a Chrome.
func restart(ctx context.Context, g *growing, count int) error {
	tick := time.NewTicker(10 * time.Millisecond) // /session has no event for Chrome's PID
	defer tick.Stop()
	for asked := uint64(0); g.done < count; {
		v, err := g.View(ctx)
		if err != nil {
			return err
		}
		g.done = max(g.done, int(v.Worker.Generation)-1)
		if g.done >= count {
			return nil
		}
		if v.Browser != nil && v.Worker.Generation > asked {
			asked = v.Worker.Generation
			if err := g.HangUp(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// request asks on many connections that are kept, each for /status and /qr by
// turns.
func request(ctx context.Context, g *growing, count int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var begun, failed atomic.Int64
	begun.Store(int64(g.done))
	var askers sync.WaitGroup
	for range connections {
		askers.Go(func() {
			for n := begun.Add(1); n <= int64(count) && ctx.Err() == nil; n = begun.Add(1) {
				path := "/status"
				if n%2 == 0 {
					path = "/qr"
				}
				if askOnce(ctx, client, g.Base+path) != nil {
					failed.Add(1)
				}
			}
		})
	}
	askers.Wait()
	if n := failed.Load(); n > 0 && ctx.Err() == nil {
		return fmt.Errorf("%d requests failed", n)
	}
	g.done = count
	return ctx.Err()
}
