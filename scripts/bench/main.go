// Command bench measures the built service with a real Chrome against the simulator,
// next to the least that the same task costs on this machine in the same run: a bare
// Chrome, a bare HTTP handler. Times of one machine mean nothing on another; ratios do.
// It prints one table, writes it as JSON, and compares it with that of the last run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

func main() { harness.Main("bench", run) }

// bench is one run.
type bench struct {
	supervisor string
	browser    string
	userAgent  string // a plain Chrome's
	rounds     int
	rest       time.Duration
	growth     float64
	folder     string
	folders    int // that were named
	table      table
}

// parts are what can be measured, in this order.
var parts = []struct {
	name    string
	measure func(context.Context, *bench) error
}{
	{"start", measureStart},
	{"link", measureLink},
	{"readers", measureReaders},
	{"load", measureLoad},
	{"rest", measureRest},
	{"growth", measureGrowth},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	installed, err := harness.Installed()
	if err != nil {
		return err
	}
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.supervisor, "supervisor", installed.Supervisor, "binary of the service")
	flags.IntVar(&b.rounds, "rounds", 7, "repetitions of each start")
	flags.DurationVar(&b.rest, "rest", 5*time.Minute, "how long both are watched at rest; their CPU for two minutes at most")
	flags.Float64Var(&b.growth, "growth", 1, "factor of the counts of growth: 1000 codes, 100 restarts, 100000 requests")
	only := flags.String("only", "", "parts to measure, separated by commas: start (and recovery), link, readers, load, rest, growth; all when empty")
	file := flags.String("json", "scripts/bench/results/last.json", "file for the table")
	bare := flags.String("bare", "", "serve the file at this path and nothing else, as the floor of the load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *bare != "" {
		return serveBare(ctx, *bare, out)
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.folder) }()
	for _, part := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		if e := part.measure(ctx, b); e != nil {
			err = fmt.Errorf("cannot measure %s: %w", part.name, e)
			break
		}
	}
	return errors.Join(err, b.table.finish(out, *file)) // what was measured is reported anyway
}

// prepare makes the folder and finds the browser.
func (b *bench) prepare(ctx context.Context) error {
	browser, err := chrome.Find("")
	if err != nil {
		return err
	}
	b.browser = browser.Path
	version, err := new(chrome.Versions).Of(ctx, browser)
	if err != nil {
		return fmt.Errorf("cannot ask Chrome for its version: %w", err)
	}
	major, _, _ := strings.Cut(version, ".")
	b.userAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/" + major + ".0.0.0 Safari/537.36"
	b.folder, err = os.MkdirTemp("/tmp", "bench") // short, as sockets are made below it
	if err != nil {
		return fmt.Errorf("cannot make folder: %w", err)
	}
	return nil
}

// fresh names a new folder below the run's.
func (b *bench) fresh() string {
	b.folders++
	return filepath.Join(b.folder, strconv.Itoa(b.folders))
}

// start runs the service in a folder, on the page.
func (b *bench) start(ctx context.Context, p *harness.Phone, folder string, args ...string) (*harness.Service, error) {
	return harness.Start(ctx, harness.Options{Supervisor: b.supervisor, URL: p.URL, Folder: folder, Args: args})
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

// finish prints the table next to that of the last run, and writes it to file.
func (t *table) finish(out io.Writer, file string) error {
	var last table // empty when there is no readable one
	if content, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(content, &last)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "what\tours\tfloor\tratio\tlimit\t\tlast run")
	missed := false
	for _, r := range t.Rows {
		_, _ = fmt.Fprintln(w, r.line(last))
		missed = missed || !r.ok()
	}
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
func median(list []time.Duration) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return float64(list[len(list)/2].Microseconds()) / 1000
}
