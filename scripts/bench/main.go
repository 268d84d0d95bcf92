// Command bench measures the built service with a real Chrome against the simulator,
// next to the least that the same task costs on this machine in the same run: a bare
// Chrome, a bare HTTP handler. Times of one machine mean nothing on another; ratios do.
// It prints one table, writes it as JSON, and compares it with that of the last run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	only := flags.String("only", "", "parts to measure, separated by commas: start (and recovery), readers, load, rest, growth; all when empty")
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
	v, err := s.Session(ctx)
	if err == nil && v.Browser == nil {
		err = errors.New("no browser on /session")
	}
	if err != nil {
		return 0, err
	}
	return v.Browser.PID, nil
}
