package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is what one fault came to.
type row struct {
	Fault   string   `json:"fault"`
	Linked  bool     `json:"linked"`
	Expect  effect   `json:"expect"`
	Seconds float64  `json:"seconds"`
	Tally   tally    `json:"requests"`
	Reasons []string `json:"reasons"`
	// Detected counts from the fault; Back from the detection, the end of the
	// generation or the moment at which the cause was taken away, whichever was
	// last. Both are zero where there is none.
	Detected time.Duration `json:"detected"`
	Back     time.Duration `json:"back"`
	// Delay is the backoff that the service stated.
	Delay time.Duration `json:"delay"`
	Left  []string      `json:"left"`
	// Relogin says that a linked account had to be linked again.
	Relogin bool   `json:"relogin"`
	Error   string `json:"error,omitempty"`
	Skipped string `json:"skipped,omitempty"`
	// Missed are the goals that were missed.
	Missed []string `json:"missed"`

	wanted  []string // the codes of which one must be among Reasons
	excused bool
	cold    time.Duration
}

// The goals.
const (
	// slowest is the longest that an answer may take.
	slowest = 250 * time.Millisecond
	// backFactor bounds the recovery, in cold starts.
	backFactor = 1.3
)

// judge says which goals a row missed.
func (r row) judge() []string {
	var missed []string
	miss := func(format string, args ...any) { missed = append(missed, fmt.Sprintf(format, args...)) }
	if r.Skipped != "" {
		return nil
	}
	if r.Error != "" {
		miss("%s", r.Error)
	}
	if !r.excused && r.Tally.Failed > 0 {
		miss("%d requests failed: %s", r.Tally.Failed, r.Tally.First)
	}
	if !r.excused && r.Tally.Longest > slowest {
		miss("an answer took %s", r.Tally.Longest.Round(time.Millisecond))
	}
	if len(r.wanted) > 0 && !slices.ContainsFunc(r.wanted, func(code string) bool { return slices.Contains(r.Reasons, code) }) {
		miss("the cause was not named %s", strings.Join(r.wanted, " or "))
	}
	if bound := time.Duration(backFactor*float64(r.cold)) + r.Delay; r.bounded() && r.Back > bound {
		miss("back after %s, the bound is %s", r.Back.Round(time.Millisecond), bound.Round(time.Millisecond))
	}
	if len(r.Left) > 0 {
		miss("left: %s", strings.Join(r.Left, ", "))
	}
	if r.Relogin {
		miss("the login was lost")
	}
	return missed
}

// bounded says whether the time to recover is the service's own: a page that is
// cured, or waits for its network, takes the page's time.
func (r row) bounded() bool {
	return r.cold > 0 && (r.Expect == restarts || r.Expect == rolls || r.Expect == blocked)
}

// report is everything that a run came to.
type report struct {
	Seed   uint64    `json:"seed"`
	Chrome string    `json:"chrome"`
	At     time.Time `json:"at"`
	// Load is the machine's load average when the run ended: times mean little
	// on a machine that has other work.
	Load    string          `json:"load_average"`
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
	if r.Growth.tooMuch() != "" {
		n++
	}
	return n
}

// write puts the report into a file, and the table to out.
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
		when := "QR"
		if row.Linked {
			when = "READY"
		}
		verdict := strings.Join(row.Missed, "; ")
		if row.Skipped != "" {
			verdict = row.Skipped
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", row.Fault, when, row.Expect, row.Tally.Asked,
			row.Tally.Failed, row.Tally.Longest.Milliseconds(), millis(row.Detected), millis(row.Back), millis(row.Delay),
			strings.Join(row.Reasons, ","), verdict)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\ncold starts: %v; load average %s; seed %d; %s\n", r.Cold, r.Load, r.Seed, r.Growth)
	if len(r.AtEnd) > 0 {
		_, _ = fmt.Fprintf(out, "left at the end: %s\n", strings.Join(r.AtEnd, ", "))
	}
	if n := r.missed(); n > 0 {
		_, _ = fmt.Fprintf(out, "%d of %d faults missed a goal\n", n, len(r.Rows))
		return
	}
	_, _ = fmt.Fprintln(out, "every goal was reached")
}

func millis(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprint(d.Milliseconds())
}
