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
	"slices"
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

// fresh is a new folder below the run's.
func (b *bench) fresh() (string, error) {
	dir, err := os.MkdirTemp(b.folder, "")
	if err != nil {
		return "", fmt.Errorf("cannot make folder: %w", err)
	}
	return dir, nil
}

// start runs the service in a folder, on the page.
func (b *bench) start(ctx context.Context, p *harness.Phone, folder string, args ...string) (*harness.Service, error) {
	return harness.Start(ctx, harness.Options{Supervisor: b.supervisor, URL: p.URL, Folder: folder, Args: args})
}

// side is a service with a simulator of its own.
type side struct {
	*harness.Service
	phone *harness.Phone
	// folder is the service's.
	folder string
}

// serve runs the service on a simulator of its own, in a fresh folder. args may need
// the folder; they may be nil.
func (b *bench) serve(ctx context.Context, o simulator.Options, args func(folder string) ([]string, error)) (*side, error) {
	s := &side{}
	var flags []string
	var err error
	if s.folder, err = b.fresh(); err != nil {
		return nil, err
	}
	if args != nil {
		if flags, err = args(s.folder); err != nil {
			return nil, err
		}
	}
	if s.phone, err = harness.NewPhone(ctx, o); err != nil {
		return nil, err
	}
	if s.Service, err = b.start(ctx, s.phone, s.folder, flags...); err != nil {
		s.phone.Close()
		return nil, err
	}
	return s, nil
}

// end adds the error of the stop to err.
func (s *side) end(err *error) {
	*err = errors.Join(*err, s.Stop())
	s.phone.Close()
}

// chrome is the process of the service's Chrome.
func (s *side) chrome(ctx context.Context) (pid int, err error) {
	v, err := s.Session(ctx)
	if err == nil && v.Browser == nil {
		err = errors.New("no browser on /session")
	}
	if err != nil {
		return 0, err
	}
	return v.Browser.PID, nil
}
