package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

const (
	connections = 64
	// burst is how long each side is asked at a time; they take turns, so that
	// what else the machine does hits both.
	burst  = time.Second
	bursts = 4
	// leastLoad is the part of a bare handler's throughput. The service keeps its heap so small that it
	// collects four times as often.
	leastLoad = 0.6
)

// measureLoad compares requests a second with a bare net/http handler that writes the
// same bytes, and takes the median of /status while Chrome starts.
func measureLoad(ctx context.Context, b *bench) (err error) {
	s, err := b.serve(ctx, simulator.Options{Speed: 0.1})
	if err != nil {
		return err
	}
	defer s.end(&err)
	starting, err := latencies(ctx, s)
	if err != nil {
		return err
	}
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return err
	}
	for path, content := range map[string]string{"/status": `{"status":"QR_REQUIRED"}`, "/qr": body} {
		ours, floor, err := compare(ctx, b, s.Base+path, content)
		if err != nil {
			return err
		}
		b.table.add(row{
			Name: fmt.Sprintf("%s, %d connections", path, connections), Unit: "1/s",
			Ours: ours, Floor: floor, Result: ours / floor, Limit: leastLoad, AtLeast: true,
		})
	}
	b.table.add(absolute("/status while Chrome starts, median", "ms", median(starting), 1))
	return nil
}

// latencies asks /status, one request after the other, until there is a QR.
func latencies(ctx context.Context, s *side) ([]time.Duration, error) {
	var took []time.Duration
	for {
		begun := time.Now()
		body, err := s.Get(ctx, "/status")
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		if !strings.Contains(body, "INIT") {
			return took, nil
		}
		if err := harness.Pause(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// compare returns how many answers a second both give.
func compare(ctx context.Context, b *bench, url, content string) (ours, floor float64, err error) {
	bare, err := startBare(ctx, b, content)
	if err != nil {
		return 0, 0, err
	}
	defer bare.KillGroup()
	for range bursts {
		for url, sum := range map[string]*float64{url: &ours, bare.url: &floor} {
			timed, cancel := context.WithTimeout(ctx, burst)
			begun := time.Now()
			answers, err := askMany(timed, math.MaxInt64, url)
			cancel()
			if err == nil && answers == 0 {
				err = fmt.Errorf("%s gave no answer in %s", url, burst)
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return 0, 0, err
			}
			*sum += float64(answers) / time.Since(begun).Seconds() / bursts
		}
	}
	return ours, floor, nil
}

// askMany asks the URLs in turn, on many connections that are kept, until count
// requests were made or ctx ends.
func askMany(ctx context.Context, count int64, urls ...string) (answers int64, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var begun, answered, failed atomic.Int64
	var askers sync.WaitGroup
	for range connections {
		askers.Go(func() {
			for n := begun.Add(1); n <= count && ctx.Err() == nil; n = begun.Add(1) {
				if harness.Fetch(ctx, client, urls[n%int64(len(urls))]) == nil {
					answered.Add(1)
				} else if ctx.Err() == nil {
					failed.Add(1)
				}
			}
		})
	}
	askers.Wait()
	if n := failed.Load(); n > 0 {
		return 0, fmt.Errorf("%d requests to %v failed", n, urls)
	}
	return answered.Load(), nil
}

// bareHandler is the least that an HTTP server has to do, in a process of its own as
// the service is: this program, with --bare.
type bareHandler struct {
	*harness.Child
	url string
}

// startBare lets a bare handler answer with content.
func startBare(ctx context.Context, b *bench, content string) (*bareHandler, error) {
	file := filepath.Join(b.folder, "content")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return nil, fmt.Errorf("cannot write content: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "--bare", file)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // as the service has
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start the floor: %w", err)
	}
	h := &bareHandler{}
	if h.Child, err = harness.Spawn(cmd); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscanln(out, &h.url); err != nil {
		h.KillGroup()
		return nil, fmt.Errorf("cannot start the floor: %w", err)
	}
	return h, nil
}

// serveBare answers every request with the file's content.
func serveBare(ctx context.Context, file string, out io.Writer) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read content: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	if _, err := fmt.Fprintf(out, "http://%s/\n", l.Addr()); err != nil {
		return fmt.Errorf("cannot report the address: %w", err)
	}
	site := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(content)
	})}
	return site.Serve(l) // until this process is killed
}

const (
	// moreLatency is how many times as long an answer may take at the end, in those of a
	// bare handler, which what else the machine does hits as well.
	moreLatency = 1.5
	// warmUp is the part of a count after which the first size is taken.
	warmUp = 0.02
	// asked is how many requests make one latency.
	asked = 500
)

// growing is a service in the middle of a count.
type growing struct {
	*side
	grower
	bare   *bareHandler
	worker int    // its PID, once measured
	body   string // of /qr
	done   int
}

// repetition repeats something until count are done.
type repetition func(ctx context.Context, g *growing, count int) error

// growers are what a service does all its life, each repeated on a service of its own
// until count are done since it began.
var growers = []grower{
	{name: "rotations", count: 100, speed: 360, repeat: rotate},
	{name: "restarts", count: 12, speed: 1, repeat: restart, restarts: true},
	{name: "requests", count: 20_000, speed: 1, repeat: request},
}

type grower struct {
	name     string
	count    int // in full
	speed    float64
	repeat   repetition
	restarts bool // the worker
}

// measureGrowth compares what the supervisor and, where it lives on, the worker hold at
// the end of each count with what they held early. Both sizes are taken while a QR is
// shown.
func measureGrowth(ctx context.Context, b *bench) error {
	for _, what := range growers {
		count := max(2, int(float64(what.count)*b.growth))
		early, late, err := grow(ctx, b, what, count)
		if err != nil {
			return fmt.Errorf("%s: %w", what.name, err)
		}
		b.table.add(what.grown(count, early, late)...)
	}
	return nil
}

func grow(ctx context.Context, b *bench, what grower, count int) (early, late holding, err error) {
	g := &growing{grower: what}
	if g.side, err = b.serve(ctx, simulator.Options{Speed: what.speed}); err != nil {
		return early, late, err
	}
	defer g.end(&err)
	if g.bare, err = startBare(ctx, b, `{"status":"QR_REQUIRED"}`); err != nil {
		return early, late, err
	}
	defer g.bare.KillGroup()
	if early, err = g.after(ctx, max(1, int(float64(count)*warmUp))); err != nil {
		return early, late, err
	}
	if late, err = g.after(ctx, count); err != nil {
		return early, late, err
	}
	return early, late, g.awaitTrim(ctx, early, &late)
}

// awaitTrim waits until late is of no more memory than it may be after early, but not longer than
// a process waits for its next trim. Until that, what was used lately looks as if it was held.
func (g *growing) awaitTrim(ctx context.Context, early holding, late *holding) error {
	for begun := time.Now(); g.exceeds(early, *late) && time.Since(begun) < proctree.TrimAnyway+proctree.TrimPeriod; {
		if err := harness.Pause(ctx, time.Second); err != nil {
			return err
		}
		now, err := g.measure(ctx)
		if err != nil {
			return err
		}
		late.supervisor.Memory = min(late.supervisor.Memory, now.supervisor.Memory)
		late.worker.Memory = min(late.worker.Memory, now.worker.Memory)
	}
	return nil
}

// holding is what is compared.
type holding struct {
	supervisor, worker harness.Size
	latency            float64 // median, in those of the bare handler
}

// exceeds reports whether late is of more memory than it may be after early.
func (g *growing) exceeds(early, late holding) bool {
	return late.supervisor.Memory-early.supervisor.Memory > harness.MoreMemory ||
		!g.restarts && late.worker.Memory-early.worker.Memory > harness.MoreMemory
}

// after repeats until count are done, waits for a QR, and takes the sizes.
func (g *growing) after(ctx context.Context, count int) (h holding, err error) {
	if err := g.repeat(ctx, g, count); err != nil {
		return h, err
	}
	if g.body, _, err = g.NextQR(ctx, ""); err != nil {
		return h, err
	}
	latency, err := compareAnswers(ctx, g.Base+"/status", g.bare.url)
	if err != nil {
		return h, err
	}
	h, err = g.measure(ctx)
	h.latency = latency
	return h, err
}

// measure takes the sizes. A worker that was replaced is an error, unless that is what is repeated.
func (g *growing) measure(ctx context.Context) (h holding, err error) {
	if h.supervisor, err = g.Size(ctx); err != nil {
		return h, err
	}
	v, err := g.Session(ctx)
	if err != nil {
		return h, err
	}
	if g.worker != 0 && g.worker != v.Worker.PID && !g.restarts {
		return h, errors.New("the worker was replaced")
	}
	g.worker = v.Worker.PID
	h.worker, err = harness.SizeOf(g.worker)
	return h, err
}

// compareAnswers returns how long an answer of one address takes, in those of another, which are
// asked in turns.
func compareAnswers(ctx context.Context, one, other string) (float64, error) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var took [2][]time.Duration
	for range asked {
		for i, url := range []string{one, other} {
			begun := time.Now()
			if err := harness.Fetch(ctx, client, url); err != nil {
				return 0, err
			}
			took[i] = append(took[i], time.Since(begun))
		}
	}
	return median(took[0]) / median(took[1]), nil
}

func (w grower) grown(count int, early, late holding) []row {
	name := fmt.Sprintf("%d %s: ", count, w.name)
	more := func(what, unit string, from, to, limit float64) row {
		return row{Name: name + what, Unit: unit, Ours: to, Floor: from, Result: to - from, Limit: limit}
	}
	sizes := func(whose string, from, to harness.Size) []row {
		return []row{
			more(whose+" memory", "MB", megabytes(from.Memory), megabytes(to.Memory), megabytes(int64(harness.MoreMemory))),
			more(whose+" files", "", float64(from.Files), float64(to.Files), harness.MoreFiles),
		}
	}
	rows := append(sizes("supervisor's", early.supervisor, late.supervisor),
		more("supervisor's goroutines", "", float64(early.supervisor.Goroutines), float64(late.supervisor.Goroutines), harness.MoreGoroutines),
		ratio(name+"/status, in answers of a bare handler", "", late.latency, early.latency, moreLatency))
	if !w.restarts {
		rows = append(rows, sizes("worker's", early.worker, late.worker)...)
	}
	return rows
}

// rotate waits for other QRs.
func rotate(ctx context.Context, g *growing, count int) error {
	for ; g.done < count; g.done++ {
		var err error
		if g.body, _, err = g.NextQR(ctx, g.body); err != nil {
			return err
		}
	}
	return nil
}

// commandPause is how often a command is accepted (openapi.yaml, limits).
const commandPause = 2 * time.Second

// restart asks for the next generation as soon as the last has a Chrome.
func restart(ctx context.Context, g *growing, count int) error {
	for ; g.done < count; g.done++ {
		v, err := g.Await(ctx, "the next generation", func(v harness.Session) bool {
			return v.Browser != nil && v.Worker.Generation > uint64(g.done)
		})
		if err != nil {
			return err
		}
		g.done = int(v.Worker.Generation) - 1
		if err := errors.Join(g.Restart(ctx), harness.Pause(ctx, commandPause)); err != nil {
			return err
		}
	}
	_, err := g.Await(ctx, "the last generation", func(v harness.Session) bool { return v.Worker.Generation > uint64(count) })
	return err
}

func request(ctx context.Context, g *growing, count int) error {
	_, err := askMany(ctx, int64(count-g.done), g.Base+"/status", g.Base+"/qr")
	g.done = count
	return err
}
