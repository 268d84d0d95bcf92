// Command bench measures the built service with a real Chrome against the
// simulator, beside the least that the same task costs on this machine in the
// same run: a bare Chrome, a bare HTTP handler. Times of one machine mean nothing
// on another; ratios do. It prints one table, writes it as JSON, and compares it
// with that of the last run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"session-manager/scripts/command"
)

func main() { command.Main("bench", run) }

// bench is one run.
type bench struct {
	out        io.Writer
	supervisor string
	browser    string
	userAgent  string
	rounds     int
	rest       time.Duration
	growth     float64
	folder     string
	table      table
}

// parts are what can be measured, in this order.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) error
}{
	{"start", (*bench).measureStart},
	{"qr", (*bench).measureReaders},
	{"load", (*bench).measureLoad},
	{"rest", (*bench).measureRest},
	{"growth", (*bench).measureGrowth},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the binaries: %w", err)
	}
	b := &bench{out: out}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.supervisor, "supervisor", filepath.Join(filepath.Dir(self), "supervisor"), "binary of the service")
	flags.IntVar(&b.rounds, "rounds", 7, "repetitions of each start")
	flags.DurationVar(&b.rest, "rest", 5*time.Minute, "age at which memory at rest is taken; CPU is watched for two minutes at most")
	only := flags.String("only", "", "parts to measure, separated by commas: start, qr, load, rest, growth; all when empty")
	flags.Float64Var(&b.growth, "growth", 1, "factor of the counts of growth: 1000 codes, 100 restarts, 100000 requests")
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
	// What has been measured is told, whatever becomes of the rest.
	return errors.Join(b.measure(ctx, *only), b.table.finish(out, *file))
}

// measure takes the parts that are named in only, or all of them.
func (b *bench) measure(ctx context.Context, only string) error {
	for _, part := range parts {
		if only != "" && !slices.Contains(strings.Split(only, ","), part.name) {
			continue
		}
		if err := part.measure(b, ctx); err != nil {
			return fmt.Errorf("cannot measure %s: %w", part.name, err)
		}
	}
	return nil
}

// prepare makes the folder and finds the browser.
func (b *bench) prepare(ctx context.Context) error {
	for _, name := range []string{"google-chrome-stable", "google-chrome", "chromium", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			b.browser = path
			break
		}
	}
	if b.browser == "" {
		return errors.New("no browser on the PATH: apt-get install chromium")
	}
	version, err := exec.CommandContext(ctx, b.browser, "--version").Output()
	if err != nil {
		return fmt.Errorf("cannot ask Chrome for its version: %w", err)
	}
	major := "150"
	for word := range strings.FieldsSeq(string(version)) {
		if first, _, ok := strings.Cut(word, "."); ok {
			major = first
			break
		}
	}
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
