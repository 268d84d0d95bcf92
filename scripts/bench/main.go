// Command bench measures the built service with real browsers, Chrome and
// chrome-headless-shell, against the simulator, next to the least that the same task costs
// on this machine in the same run: the bare browser, a bare HTTP handler; and next to other
// programs that read the page, when npm has installed them (scripts/peers). Times of one
// machine mean nothing on another; ratios do. It prints one table, writes it as JSON, and
// compares it with that of the last run.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

func main() { harness.Main("bench", run) }

// bench is one run, and in a part of it one browser.
type bench struct {
	engine
	supervisor string
	rounds     int
	rest       time.Duration
	growth     float64
	folder     string
	table      table
}

// engine is a browser.
type engine struct {
	browser   string // its path
	userAgent string // a plain Chrome's
}

// parts are what can be measured, in this order: with the first browser, or with each of
// them, at once or one after the other.
var parts = []struct {
	name         string
	measure      func(context.Context, *bench) error
	each, atOnce bool
}{
	{name: "start", measure: measureStart, each: true},
	{name: "peers", measure: measurePeers},
	{name: "link", measure: measureLink},
	{name: "readers", measure: measureReaders},
	{name: "load", measure: measureLoad},
	{name: "sending", measure: measureSending},
	{name: "mailboxes", measure: measureMailboxes},
	{name: "rest", measure: measureRest, each: true, atOnce: true},
	{name: "growth", measure: measureGrowth},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	installed, err := harness.Installed()
	if err != nil {
		return err
	}
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.supervisor, "supervisor", installed.Supervisor, "binary of the service")
	flags.IntVar(&b.rounds, "rounds", 3, "repetitions of each start")
	// By then the page's codes have been renewed, after 160 s, and the GPU process has given back
	// the 10 MB that painting all of it takes for a minute (measured).
	flags.DurationVar(&b.rest, "rest", 220*time.Second, "how long both are watched at rest; their CPU for two minutes at most")
	flags.Float64Var(&b.growth, "growth", 1, "factor of the counts of growth: 100 codes, 12 restarts, 20000 requests")
	only := flags.String("only", "", "parts to measure, separated by commas: start (and recovery), peers, link, readers, load, sending, mailboxes, rest, growth; all when empty")
	names := flags.String("engines", "", "browsers, separated by commas; Chrome and chrome-headless-shell, where installed, when empty")
	markdown := flags.Bool("markdown", false, "print the table as README.md has it")
	file := flags.String("json", "scripts/bench/results/last.json", "file for the table")
	bare := flags.String("bare", "", "serve the file at this path and nothing else, as the floor of the load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *bare != "" {
		return serveBare(ctx, *bare, out)
	}
	engines, err := findEngines(ctx, *names)
	if err != nil {
		return err
	}
	if b.folder, err = os.MkdirTemp("/tmp", "bench"); err != nil { // short, as sockets are made below it
		return fmt.Errorf("cannot make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(b.folder) }()
	for _, part := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		begun := time.Now()
		if part.each {
			err = b.each(ctx, engines, part.measure, part.atOnce)
		} else {
			err = b.with(ctx, engines[0], part.measure)
		}
		if err != nil {
			err = fmt.Errorf("cannot measure %s: %w", part.name, err)
			break
		}
		fmt.Fprintf(os.Stderr, "%s took %v\n", part.name, time.Since(begun).Round(time.Second))
	}
	return errors.Join(err, b.table.finish(out, *file, *markdown)) // what was measured is reported anyway
}

// each measures with every browser.
func (b *bench) each(ctx context.Context, engines []engine, measure func(context.Context, *bench) error, atOnce bool) error {
	runs, errs := make([]bench, len(engines)), make([]error, len(engines))
	var running sync.WaitGroup
	for i, e := range engines {
		runs[i] = *b
		runs[i].table = table{}
		running.Go(func() { errs[i] = runs[i].with(ctx, e, measure) })
		if !atOnce {
			running.Wait()
		}
	}
	running.Wait()
	for i, e := range engines {
		for _, r := range runs[i].table.Rows {
			r.Name += ", " + filepath.Base(e.browser)
			b.table.add(r)
		}
	}
	return errors.Join(errs...)
}

// with measures with one browser.
func (b *bench) with(ctx context.Context, e engine, measure func(context.Context, *bench) error) error {
	b.engine = e
	return measure(ctx, b)
}

// findEngines finds the browsers that names lists, or those that the service would find.
func findEngines(ctx context.Context, names string) (engines []engine, err error) {
	wanted := strings.Split(names, ",")
	if shell, err := exec.LookPath("chromium-headless-shell"); err == nil && names == "" {
		wanted = append(wanted, shell)
	}
	for _, name := range wanted {
		browser, err := chrome.Find(name)
		if err != nil {
			return nil, err
		}
		version, err := new(chrome.Versions).Of(ctx, browser)
		if err != nil {
			return nil, fmt.Errorf("cannot ask Chrome for its version: %w", err)
		}
		engines = append(engines, engine{browser.Path, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
			"Chrome/" + chrome.Major(version) + ".0.0.0 Safari/537.36"})
	}
	return slices.Compact(engines), nil
}

// fresh names a new folder below the run's.
func (b *bench) fresh() string { return filepath.Join(b.folder, rand.Text()[:8]) }

// start runs the service in a folder, on the page.
func (b *bench) start(ctx context.Context, p *harness.Phone, folder string, args ...string) (*harness.Service, error) {
	return harness.Start(ctx, harness.Options{Supervisor: b.supervisor, URL: p.URL, Folder: folder, Args: append(args, "--chrome", b.browser)})
}

// side is a service with a simulator of its own.
type side struct {
	*harness.Service
	phone *harness.Phone
}

// serve runs the service on a simulator of its own, in a fresh folder, until end.
func (b *bench) serve(ctx context.Context, o simulator.Options, args ...string) (*side, error) {
	p, err := harness.NewPhone(o)
	if err != nil {
		return nil, err
	}
	s, err := b.start(ctx, p, b.fresh(), args...)
	if err != nil {
		p.Close()
		return nil, err
	}
	return &side{s, p}, nil
}

// end adds the error of the stop to err.
func (s *side) end(err *error) {
	*err = errors.Join(*err, s.Stop())
	s.phone.Close()
}

// chromeOf is the process of the service's Chrome.
func chromeOf(ctx context.Context, s *harness.Service) (pid int, err error) {
	v, err := s.Await(ctx, "Chrome", func(v harness.Session) bool { return v.Browser != nil })
	if err != nil {
		return 0, err
	}
	return v.Browser.PID, nil
}

// row is one result.
type row struct {
	Name string `json:"name"`
	// Ours and Floor are in Unit. Without a floor, Floor is 0.
	Ours  float64 `json:"ours"`
	Floor float64 `json:"floor,omitempty"`
	Unit  string  `json:"unit"`
	// Result is what the limit is for: the ratio of the two, or ours.
	Result float64 `json:"result"`
	// Limit is the most, or with AtLeast the least, that Result may be; 0
	// without a limit.
	Limit   float64 `json:"limit,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
}

func (r row) ok() bool {
	switch {
	case r.Limit == 0:
		return true
	case r.AtLeast:
		return r.Result >= r.Limit
	default:
		return r.Result <= r.Limit
	}
}

// ratio makes a row whose result is ours in terms of the floor.
func ratio(name, unit string, ours, floor, limit float64) row {
	return row{Name: name, Ours: ours, Floor: floor, Unit: unit, Result: ours / floor, Limit: limit}
}

// absolute makes a row without a floor.
func absolute(name, unit string, ours, limit float64) row {
	return row{Name: name, Ours: ours, Unit: unit, Result: ours, Limit: limit}
}

type table struct {
	At   time.Time `json:"at"`
	Rows []row     `json:"rows"`
}

func (t *table) add(rows ...row) { t.Rows = append(t.Rows, rows...) }

// errMissed means that a limit was not kept; the table shows which.
var errMissed = errors.New("a limit was missed")

// finish prints the table next to that of the last run, or for README.md, and writes it to
// file.
func (t *table) finish(out io.Writer, file string, markdown bool) error {
	var last table // empty when there is no readable one
	if content, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(content, &last)
	}
	lines := []string{"what\tours\tcompared with\tratio\tlimit\t\tlast run"}
	if markdown {
		lines = []string{"| what | ours | compared with | ratio |", "| --- | --- | --- | --- |"}
	}
	missed := false
	for _, r := range t.Rows {
		line := r.line(last)
		if markdown {
			line = "| " + strings.Join(strings.Split(line, "\t")[:4], " | ") + " |"
		}
		lines = append(lines, line)
		missed = missed || !r.ok()
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n"))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot print the table: %w", err)
	}
	t.At = time.Now().UTC()
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the table: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // results are for everybody
		return fmt.Errorf("cannot make folder: %w", err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o644); err != nil { //nolint:gosec // as above
		return fmt.Errorf("cannot write the table: %w", err)
	}
	if missed {
		return errMissed
	}
	return nil
}

func (r row) line(last table) string {
	floor, quotient, limit, mark, before := "", "", "", "", ""
	if r.Floor != 0 {
		floor, quotient = fmt.Sprintf("%.4g %s", r.Floor, r.Unit), fmt.Sprintf("%.2f", r.Ours/r.Floor)
	}
	if r.Limit != 0 {
		sign := "<="
		if r.AtLeast {
			sign = ">="
		}
		limit, mark = fmt.Sprintf("%s %.4g", sign, r.Limit), "ok"
		if !r.ok() {
			mark = "MISSED"
		}
	}
	if i := slices.IndexFunc(last.Rows, func(old row) bool { return old.Name == r.Name }); i >= 0 {
		before = fmt.Sprintf("%.4g", last.Rows[i].Result)
	}
	return fmt.Sprintf("%s\t%.4g %s\t%s\t%s\t%s\t%s\t%s", r.Name, r.Ours, r.Unit, floor, quotient, limit, mark, before)
}

// median of durations, in milliseconds. It sorts its argument.
func median(list []time.Duration) float64 { return milliseconds(quantile(list, 0.5)) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile sorts its argument.
func quantile[T cmp.Ordered](list []T, part float64) (value T) {
	if len(list) == 0 {
		return value
	}
	slices.Sort(list)
	return list[int(part*float64(len(list)))]
}
