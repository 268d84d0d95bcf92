package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
)

// row is what came of one fault.
type row struct {
	Fault   string        `json:"fault"`
	Linked  bool          `json:"linked"`
	Expect  effect        `json:"expect"`
	Seconds float64       `json:"seconds"`
	Tally   harness.Tally `json:"requests"`
	Reasons []string      `json:"reasons"`
	times
	Left []string `json:"left"`
	// Relogin: a linked account had to be linked again.
	Relogin bool   `json:"relogin"`
	Error   string `json:"error,omitempty"`
	Skipped string `json:"skipped,omitempty"`
	// Missed are the goals that were missed.
	Missed []string `json:"missed"`

	goals goals
}

// times are how long a fault took. Each is zero where there is nothing to measure.
type times struct {
	// Detected counts from the fault; Back from the detection, the end of the generation
	// or the moment at which the cause was removed, whichever was last.
	Detected time.Duration `json:"detected"`
	Back     time.Duration `json:"back"`
	// Delay is the backoff that the service stated.
	Delay time.Duration `json:"delay"`
}

// goals are what a row is judged by.
type goals struct {
	reasons []string // the codes of which one must be among Reasons
	excused bool
	cold    time.Duration
}

const (
	// slowest is the longest that an answer may take.
	slowest = 250 * time.Millisecond
	// backFactor bounds the recovery, in cold starts.
	backFactor = 1.3
)

// judge returns the goals that a row missed.
func (r row) judge() []string {
	var missed []string
	miss := func(is bool, format string, args ...any) {
		if is {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	if r.Skipped != "" {
		return nil
	}
	named := func(code string) bool { return slices.Contains(r.Reasons, code) }
	bound := time.Duration(backFactor*float64(r.goals.cold)) + r.Delay
	miss(r.Error != "", "%s", r.Error)
	miss(!r.goals.excused && r.Tally.Failed > 0, "%d requests failed: %s", r.Tally.Failed, r.Tally.First)
	miss(!r.goals.excused && r.Tally.Longest > slowest, "an answer took %s", r.Tally.Longest.Round(time.Millisecond))
	miss(len(r.goals.reasons) > 0 && !slices.ContainsFunc(r.goals.reasons, named), "the cause was not named %s", strings.Join(r.goals.reasons, " or "))
	miss(r.bounded() && r.Back > bound, "back after %s, the bound is %s", r.Back.Round(time.Millisecond), bound.Round(time.Millisecond))
	miss(len(r.Left) > 0, "left: %s", strings.Join(r.Left, ", "))
	miss(r.Relogin, "the login was lost")
	return missed
}

// bounded reports whether the time to recover is the service's own: a page that is
// cured, or waits for its network, takes the page's time.
func (r row) bounded() bool {
	return r.goals.cold > 0 && (r.Expect == restarts || r.Expect == rolls || r.Expect == blocked)
}

// report is what came of a run. Its times mean little on a machine that has other work.
type report struct {
	Seed    uint64          `json:"seed"`
	At      time.Time       `json:"at"`
	Cold    []time.Duration `json:"cold_starts"`
	Rows    []row           `json:"rows"`
	AtEnd   []string        `json:"left_at_the_end"`
	Growth  growth          `json:"growth"`
	Seconds float64         `json:"seconds"`
}

func (r report) missed() int {
	n := len(r.AtEnd)
	for _, row := range r.Rows {
		if len(row.Missed) > 0 {
			n++
		}
	}
	if r.Growth.excess() != "" {
		n++
	}
	return n
}

// write writes the report to a file, and the table to out.
func (r report) write(out io.Writer, file string) error {
	r.table(out)
	if file == "" {
		return nil
	}
	content, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("cannot encode report: %w", err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write report: %w", err)
	}
	return nil
}

func (r report) table(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "fault\twhen\texpected\tasked\tfailed\tlongest ms\tdetected ms\tback ms\tdelay ms\treasons\tmissed")
	for _, row := range r.Rows {
		when, missed := "QR", strings.Join(row.Missed, "; ")+row.Skipped
		if row.Linked {
			when = "READY"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", row.Fault, when, row.Expect, row.Tally.Asked,
			row.Tally.Failed, row.Tally.Longest.Milliseconds(), row.Detected.Milliseconds(), row.Back.Milliseconds(), row.Delay.Milliseconds(),
			strings.Join(row.Reasons, ","), missed)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\ncold starts: %v; seed %d; %s\n", r.Cold, r.Seed, r.Growth)
	if len(r.AtEnd) > 0 {
		_, _ = fmt.Fprintf(out, "left at the end: %s\n", strings.Join(r.AtEnd, ", "))
	}
	if n := r.missed(); n > 0 {
		_, _ = fmt.Fprintf(out, "%d of %d faults missed a goal\n", n, len(r.Rows))
		return
	}
	_, _ = fmt.Fprintln(out, "every goal was reached")
}

// growth compares two moments in the life of one supervisor, in the same state.
type growth struct {
	From harness.Size `json:"from"`
	To   harness.Size `json:"to"`
}

// excess describes what has grown too much; it is empty when nothing has.
func (g growth) excess() string {
	var found []string
	more := func(n, limit, unit int64, what string) {
		if n > limit {
			found = append(found, fmt.Sprintf("%d %s more", n/unit, what))
		}
	}
	more(int64(g.To.Goroutines-g.From.Goroutines), harness.MoreGoroutines, 1, "goroutines")
	more(int64(g.To.Files-g.From.Files), harness.MoreFiles, 1, "files")
	more(g.To.RSS-g.From.RSS, harness.MoreRSS, 1<<20, "MiB")
	return strings.Join(found, ", ")
}

// String implements fmt.Stringer.
func (g growth) String() string {
	if g == (growth{}) {
		return "growth not measured"
	}
	return fmt.Sprintf("supervisor: %.1f to %.1f MiB, %d to %d goroutines, %d to %d files",
		float64(g.From.RSS)/(1<<20), float64(g.To.RSS)/(1<<20), g.From.Goroutines, g.To.Goroutines, g.From.Files, g.To.Files)
}

const (
	// warmUp is how many cycles pass before the first measurement: heaps and pools have
	// their size then.
	warmUp = 10
	// sampleEvery is how often a line is printed.
	sampleEvery = 10
)

// soak kills Chrome and the worker in turns, as often as --cycles says, on one service
// with a linked account.
func (s *stage) soak(ctx context.Context, out io.Writer) error {
	if s.o.cycles <= warmUp {
		return fmt.Errorf("--cycles must be more than %d", warmUp)
	}
	if _, err := s.fresh(ctx, nil); err != nil {
		return err
	}
	if err := s.link(ctx); err != nil {
		return err
	}
	s.hurried = true
	victims := []fault{workerFaults()[0], chromeFaults()[0]}
	var g growth
	var all harness.Tally
	for n := 1; n <= s.o.cycles; n++ {
		w, err := s.try(ctx, victims[n%len(victims)], false)
		if err != nil {
			return fmt.Errorf("cycle %d: %w", n, err)
		}
		all.Asked, all.Longest = all.Asked+w.Tally.Asked, max(all.Longest, w.Tally.Longest)
		w.Tally.Longest = 0 // it is reported, and not judged
		if missed := w.judge(); len(missed) > 0 {
			return fmt.Errorf("cycle %d: %s", n, strings.Join(missed, "; "))
		}
		if n%sampleEvery != 0 && n != s.o.cycles {
			continue
		}
		if g.To, err = s.service.Size(ctx); err != nil {
			return err
		}
		if n == warmUp {
			g.From = g.To
		}
		_, _ = fmt.Fprintf(out, "%4d  %s\n", n, g)
	}
	_, _ = fmt.Fprintf(out, "%d cycles; %d requests, the longest took %s\n", s.o.cycles, all.Asked, all.Longest.Round(time.Millisecond))
	if left := s.stopAndInspect(); len(left) > 0 {
		return fmt.Errorf("left: %s", strings.Join(left, ", "))
	}
	if more := g.excess(); more != "" {
		return errors.New(more)
	}
	return nil
}
