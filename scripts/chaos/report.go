package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
)

// row is what came of one fault.
type row struct {
	fault   fault
	linked  bool
	cold    time.Duration // the cold start to compare with; 0 for none
	tally   harness.Tally
	reasons []string // that /session gave
	// detected counts from the fault; back from the detection, the end of the generation or
	// the moment at which the cause was removed, whichever was last; delay is the backoff
	// that the service stated. Each is zero where there is nothing to measure.
	detected, back, delay time.Duration
	left                  []string
	loginLost             bool
	err                   string
	skipped               string // why
}

const (
	// slowest is the longest that an answer may take.
	slowest = 250 * time.Millisecond
	// backFactor bounds the recovery, in cold starts.
	backFactor = 1.3
)

// missed returns the goals that a row missed.
func (r row) missed() []string {
	if r.skipped != "" {
		return nil
	}
	var missed []string
	miss := func(is bool, format string, args ...any) {
		if is {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	wanted, excused := r.fault.reasons, r.fault.excused
	named := slices.ContainsFunc(wanted, func(code string) bool { return slices.Contains(r.reasons, code) })
	bound := time.Duration(backFactor*float64(r.cold)) + r.delay
	miss(r.err != "", "%s", r.err)
	miss(!excused && r.tally.Failed > 0, "%d requests failed: %s", r.tally.Failed, r.tally.First)
	miss(!excused && r.tally.Longest > slowest, "an answer took %s", r.tally.Longest.Round(time.Millisecond))
	miss(len(wanted) > 0 && !named, "the cause was not named %s", strings.Join(wanted, " or "))
	miss(r.bounded() && r.back > bound, "back after %s, the bound is %s", r.back.Round(time.Millisecond), bound.Round(time.Millisecond))
	miss(len(r.left) > 0, "left: %s", strings.Join(r.left, ", "))
	miss(r.loginLost, "the login was lost")
	return missed
}

// bounded reports whether the time to recover is the service's own: a page that is
// cured, or waits for its network, takes the page's time.
func (r row) bounded() bool {
	return r.cold > 0 && (r.fault.expect == restarts || r.fault.expect == rolls || r.fault.expect == blocked)
}

// report is what came of a run. Its times mean little on a machine that has other work.
type report struct {
	seed   uint64
	cold   []time.Duration
	rows   []row
	atEnd  []string // what was left
	growth growth
}

func (r report) missed() int {
	n := len(r.atEnd)
	for _, row := range r.rows {
		if len(row.missed()) > 0 {
			n++
		}
	}
	if r.growth.excess() != "" {
		n++
	}
	return n
}

func (r report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "fault\twhen\texpected\tasked\tfailed\tlongest ms\tdetected ms\tback ms\tdelay ms\treasons\tmissed")
	for _, row := range r.rows {
		when := "QR"
		if row.linked {
			when = "READY"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", row.fault.name, when, row.fault.expect, row.tally.Asked,
			row.tally.Failed, row.tally.Longest.Milliseconds(), row.detected.Milliseconds(), row.back.Milliseconds(), row.delay.Milliseconds(),
			strings.Join(row.reasons, ","), strings.Join(row.missed(), "; ")+row.skipped)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\ncold starts: %v; seed %d; %s\n", r.cold, r.seed, r.growth)
	if len(r.atEnd) > 0 {
		_, _ = fmt.Fprintf(out, "left at the end: %s\n", strings.Join(r.atEnd, ", "))
	}
	if n := r.missed(); n > 0 {
		_, _ = fmt.Fprintf(out, "%d of %d faults missed a goal\n", n, len(r.rows))
		return
	}
	_, _ = fmt.Fprintln(out, "every goal was reached")
}

// growth compares two moments in the life of one supervisor, in the same state.
type growth struct{ from, to harness.Size }

// sample measures the second moment, and the first unless it was measured.
func (g *growth) sample(ctx context.Context, s *stage) (err error) {
	g.to, err = s.service.Size(ctx)
	if g.from == (harness.Size{}) {
		g.from = g.to
	}
	return err
}

// excess describes what has grown too much; it is empty when nothing has.
func (g growth) excess() string {
	var found []string
	more := func(n, limit, unit int64, what string) {
		if n > limit {
			found = append(found, fmt.Sprintf("%d %s more", n/unit, what))
		}
	}
	more(int64(g.to.Goroutines-g.from.Goroutines), harness.MoreGoroutines, 1, "goroutines")
	more(int64(g.to.Files-g.from.Files), harness.MoreFiles, 1, "files")
	more(g.to.Memory-g.from.Memory, harness.MoreMemory, 1<<20, "MiB")
	return strings.Join(found, ", ")
}

// String implements fmt.Stringer.
func (g growth) String() string {
	if g == (growth{}) {
		return "growth not measured"
	}
	return fmt.Sprintf("supervisor: %.1f to %.1f MiB, %d to %d goroutines, %d to %d files",
		float64(g.from.Memory)/(1<<20), float64(g.to.Memory)/(1<<20), g.from.Goroutines, g.to.Goroutines, g.from.Files, g.to.Files)
}
