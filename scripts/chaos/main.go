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
