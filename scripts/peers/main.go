// Command peers is the acceptance test of the simulator: it runs programs that read the
// QR of the real WhatsApp Web, unmodified from npm, and this project's own binaries, on
// the simulator, and compares what they report to their callers with what their sources
// predict for the real page. If they behave differently, the simulator is wrong.
//
// It ends with an error when a prediction fails. Chrome finds the simulator
// under the name web.whatsapp.com; no other name leads anywhere.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
)

func main() { harness.Main("peers", run) }

// options are the flags.
type options struct {
	chrome, modules, driver, supervisor string
	only                                string
	limit                               time.Duration
	verbose                             bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.StringVar(&o.chrome, "chrome", "/usr/bin/chromium", "binary of Chrome")
	flags.StringVar(&o.modules, "modules", "scripts/peers/.cache/node_modules", "where npm has put the programs")
	flags.StringVar(&o.driver, "driver", "scripts/peers/drive.cjs", "script that runs one of them")
	flags.StringVar(&o.supervisor, "supervisor", "bin/supervisor", "binary of this project's supervisor")
	flags.StringVar(&o.only, "only", "", "run only those whose name contains this")
	flags.DurationVar(&o.limit, "limit", 150*time.Second, "how long one program may take")
	flags.BoolVar(&o.verbose, "verbose", false, "show what the programs write")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for _, path := range []*string{&o.modules, &o.driver, &o.supervisor} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return o, fmt.Errorf("cannot find %s: %w", *path, err)
		}
		*path = absolute
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	missed := 0
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "PROGRAM\tPAGE\tPREDICTION\tOBSERVED\t\t")
	for _, c := range cases() {
		if !strings.Contains(c.program, o.only) {
			continue
		}
		findings, err := c.observe(ctx, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			findings = append(findings, finding{predicted: "it runs", observed: err.Error()})
		}
		for _, f := range findings {
			verdict := "ok"
			if !f.holds {
				verdict = "MISSED"
				missed++
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.program, c.profile, f.predicted, f.observed, verdict)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("cannot write the table: %w", err)
	}
	if missed > 0 {
		return fmt.Errorf("%d predictions missed", missed)
	}
	return nil
}
