// Command chaos starts the real supervisor, worker and Chrome on the simulator,
// injects one fault after the other while a client asks for /status and /qr without
// pause, and measures what that costs. It ends with an error when a goal is missed:
//
//   - no request fails, and none takes longer than 250 ms, regardless of what dies
//     below the supervisor;
//   - /session names the cause by its own reason;
//   - all is well again within 1.3 cold starts, the slowest of five in the same run
//     (and of the one that the fault's preparation is part of), and the backoff that
//     the service states;
//   - nothing is left: no process, no lock, no socket, no temporary file;
//   - a linked account stays linked.
//
// First comes every fault of the catalogue once, each on a newly started service:
// while a QR is shown, and then while an account is linked. Then faults are drawn at
// random for a while, on one service. Two that can't be injected from outside are
// tests of the packages concerned: 10,000 races for Chrome's lock (profile), and the
// end of the supervisor's threads (worker). "chaos soak" kills Chrome and the worker
// in turns and measures what the supervisor holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"session-manager/scripts/harness"
	"session-manager/shared/rpc"
)

func main() { harness.Main("chaos", run) }

// options are the flags.
type options struct {
	harness.Binaries
	only, when string
	seed       uint64
	random     time.Duration
	speed      float64
	cycles     int
	keep, list bool
	// pause is between an answer and the client's next request, and stopLimit how
	// long a stop may take. They are not flags: only tests are more lenient.
	pause, stopLimit time.Duration
}

func parse(args []string) (options, error) {
	installed, err := harness.Installed()
	if err != nil {
		return options{}, err
	}
	o := options{Binaries: installed, stopLimit: 3 * time.Second} // what an operator waits for
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.StringVar(&o.only, "only", "", "inject only the faults whose names contain one of these, separated by commas")
	flags.StringVar(&o.when, "when", "", "QR or READY: inject faults in this state only")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the random part")
	flags.DurationVar(&o.random, "for", 0, "how long to continue with faults drawn at random")
	flags.Float64Var(&o.speed, "speed", 4, "speed of the simulator's clock")
	flags.IntVar(&o.cycles, "cycles", 500, "soak: how many processes are killed")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder of the run, with the log")
	flags.BoolVar(&o.list, "list", false, "list the faults and exit")
	return o, flags.Parse(args)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if rpc.StartedAsWorker() {
		return playWorker()
	}
	soaking := len(args) > 0 && args[0] == "soak"
	if soaking {
		args = args[1:]
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.list {
		for _, f := range catalogue() {
			_, _ = fmt.Fprintln(out, f.name)
		}
		return nil
	}
	s, err := newStage(o)
	if err != nil {
		return err
	}
	defer s.close()
	if o.keep {
		_, _ = fmt.Fprintln(out, "everything of the run is in", s.files.root)
	}
	if soaking {
		return s.soak(ctx, out)
	}
	rep := report{seed: o.seed}
	err = errors.Join(s.injectAll(ctx, out, &rep), s.injectAtRandom(ctx, out, &rep))
	if s.service != nil {
		rep.atEnd = s.stopAndInspect()
	}
	rep.print(out)
	if err == nil && rep.missed() > 0 {
		err = errors.New("goals were missed")
	}
	return err
}

// injectAll is the deterministic part.
func (s *stage) injectAll(ctx context.Context, out io.Writer, rep *report) error {
	for _, linked := range []bool{false, true} {
		if s.o.when == map[bool]string{false: "READY", true: "QR"}[linked] {
			continue // in the other state only
		}
		if s.service == nil { // the first start of all makes the profile
			if _, err := s.fresh(ctx, nil); err != nil {
				return err
			}
		}
		if linked {
			if err := s.link(ctx); err != nil {
				return err
			}
		}
		if err := s.measureCold(ctx, rep); err != nil {
			return err
		}
		for _, f := range selected(s.o.only) {
			if err := s.round(ctx, out, f, rep, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// selected returns the faults whose names contain one of the parts, which are
// separated by commas.
func selected(parts string) []fault {
	return slices.DeleteFunc(catalogue(), func(f fault) bool {
		return !slices.ContainsFunc(strings.Split(parts, ","), func(part string) bool {
			return strings.Contains(f.name, strings.TrimSpace(part))
		})
	})
}

// injectAtRandom is the random part: all on one service.
func (s *stage) injectAtRandom(ctx context.Context, out io.Writer, rep *report) error {
	if s.o.random == 0 {
		return nil
	}
	faults := slices.DeleteFunc(selected(s.o.only), func(f fault) bool { return !f.random })
	if len(faults) == 0 {
		return errors.New("none of the faults named by --only may be drawn at random")
	}
	if _, err := s.fresh(ctx, nil); err != nil {
		return err
	}
	s.hurried = true
	random := rand.New(rand.NewPCG(s.o.seed, 0)) //nolint:gosec // to be repeated, not to be secret
	for until := time.Now().Add(s.o.random); time.Now().Before(until); {
		if err := s.round(ctx, out, faults[random.IntN(len(faults))], rep, false); err != nil {
			return err
		}
		if err := rep.growth.sample(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// sampleEvery is how many cycles of the soak pass between two measurements, and before
// the first: heaps and pools have their size then.
const sampleEvery = 10

// soak kills Chrome and the worker in turns, as often as --cycles says, on one service
// with a linked account.
func (s *stage) soak(ctx context.Context, out io.Writer) error {
	if s.o.cycles <= sampleEvery {
		return fmt.Errorf("--cycles must be more than %d", sampleEvery)
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
	for n := 1; n <= s.o.cycles; n++ {
		w, err := s.try(ctx, victims[n%len(victims)], false)
		if err != nil {
			return fmt.Errorf("cycle %d: %w", n, err)
		}
		w.tally.Longest = 0 // it has no limit
		if missed := w.missed(); len(missed) > 0 {
			return fmt.Errorf("cycle %d: %s", n, strings.Join(missed, "; "))
		}
		if n%sampleEvery == 0 || n == s.o.cycles {
			if err := g.sample(ctx, s); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(out, "%4d  %s\n", n, g)
		}
	}
	if left := s.stopAndInspect(); len(left) > 0 {
		return fmt.Errorf("left: %s", strings.Join(left, ", "))
	}
	if more := g.excess(); more != "" {
		return errors.New(more)
	}
	return nil
}

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
	// frozenQR is how long the QR of something frozen may be served.
	frozenQR = 5 * time.Second
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
	miss(r.fault.freezes && !r.linked && r.cold > 0 && r.detected > frozenQR, "the QR was served for %s", r.detected.Round(time.Millisecond))
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
