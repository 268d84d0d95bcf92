// Command chaos starts the real supervisor, worker and Chrome on the simulator,
// brings one fault after the other upon them while a client asks for /status and
// /qr without pause, and measures what that costs. It ends with an error when a
// goal is missed:
//
//   - no request fails, and none takes longer than 250 ms, whatever dies below the
//     supervisor;
//   - the cause is named by its own reason on /session;
//   - all is well again within 1.3 cold starts, the slowest of five in the same run (and of the
//     one that what a fault prepared has a part in), and the backoff that the service states;
//   - nothing is left: no process, no lock, no socket, no temporary file;
//   - a linked account stays linked.
//
// First comes every fault of the catalogue once, each on a service that was
// started anew: while a code is shown, and then while an account is linked. Then
// faults are drawn at random for a while, on one service. Two that can't be brought about
// from outside are tests of the packages concerned: 10,000 races for Chrome's lock
// (profile), and the end of the supervisor's threads (supervise). "chaos soak" kills
// Chrome and the worker in turns and looks at what the supervisor holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"session-manager/scripts/command"
	"session-manager/scripts/harness"
	"session-manager/shared/rpc"
)

func main() { command.Main("chaos", run) }

// options are the flags.
type options struct {
	supervisor, worker, chrome string
	json                       string
	only                       string
	seed                       uint64
	random                     time.Duration
	speed                      float64
	cycles                     int
	when                       string
	keep, list                 bool
	// pause is between an answer and the client's next request, and soon how long a
	// stop may take. They are no flags: only a test is milder.
	pause, soon time.Duration
}

func parse(args []string) (options, error) {
	o := options{soon: 3 * time.Second} // what an operator waits for
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("cannot find the binaries: %w", err)
	}
	bin := filepath.Dir(self)
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.StringVar(&o.supervisor, "supervisor", filepath.Join(bin, "supervisor"), "binary of the supervisor")
	flags.StringVar(&o.worker, "worker", filepath.Join(bin, "worker"), "binary of the worker")
	flags.StringVar(&o.chrome, "chrome", "", "binary of Chrome; by default it is looked for on the PATH")
	flags.StringVar(&o.json, "json", filepath.Join(bin, "chaos.json"), "file for the measurements; empty for none")
	flags.StringVar(&o.only, "only", "", "do only the faults whose names contain one of these, separated by commas")
	flags.StringVar(&o.when, "when", "", "QR or READY: bring the faults about in this state only")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the random part")
	flags.DurationVar(&o.random, "for", 0, "how long to go on with faults drawn at random")
	flags.Float64Var(&o.speed, "speed", 4, "speed of the simulator's clock")
	flags.IntVar(&o.cycles, "cycles", 500, "soak: how often something is killed")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder of the run, with the log")
	flags.BoolVar(&o.list, "list", false, "list the faults, and end")
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
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	if o.keep {
		_, _ = fmt.Fprintln(out, "everything of the run is in", r.places.root)
	}
	if soaking {
		return r.soak(ctx, out)
	}
	return r.chaos(ctx, out)
}

// chaos is the whole run but for the soak.
func (r *rig) chaos(ctx context.Context, out io.Writer) error {
	rep := report{Seed: r.o.seed, Chrome: r.places.chrome, At: time.Now().UTC()}
	err := r.everything(ctx, out, &rep)
	rep.Seconds = time.Since(rep.At).Seconds()
	rep.Load = loadAverage()
	if r.service != nil {
		rep.AtEnd = r.atTheEnd()
	}
	if writeErr := rep.write(out, r.o.json); err == nil {
		err = writeErr
	}
	if err == nil && rep.missed() > 0 {
		err = errors.New("goals were missed")
	}
	return err
}

func (r *rig) everything(ctx context.Context, out io.Writer, rep *report) error {
	for _, linked := range []bool{false, true} {
		if linked && r.o.when == "QR" {
			break
		}
		if err := r.ready(ctx); err != nil {
			return err
		}
		if linked {
			if err := r.link(ctx); err != nil {
				return err
			}
		} else if r.o.when == "READY" {
			continue
		}
		if err := r.measureCold(ctx, rep); err != nil {
			return err
		}
		for _, f := range catalogue() {
			if !f.named(r.o.only) {
				continue
			}
			if err := r.round(ctx, out, f, rep, true); err != nil {
				return err
			}
		}
	}
	if r.o.random == 0 {
		return nil
	}
	return r.randomly(ctx, out, rep)
}

func (f fault) named(only string) bool {
	for part := range strings.SplitSeq(only, ",") {
		if strings.Contains(f.name, strings.TrimSpace(part)) {
			return true
		}
	}
	return false
}

// randomly goes on with faults drawn at random, on one service.
func (r *rig) randomly(ctx context.Context, out io.Writer, rep *report) error {
	if _, err := r.fresh(ctx, nil); err != nil {
		return err
	}
	var some []fault
	for _, f := range catalogue() {
		if f.random && f.named(r.o.only) {
			some = append(some, f)
		}
	}
	if len(some) == 0 {
		return errors.New("none of the faults named by --only may be drawn at random")
	}
	r.hurried = true
	random := rand.New(rand.NewPCG(r.o.seed, 0)) //nolint:gosec // to be repeated, not to be secret
	var err error
	for until := time.Now().Add(r.o.random); time.Now().Before(until); {
		if err := r.round(ctx, out, some[random.IntN(len(some))], rep, false); err != nil {
			return err
		}
		if rep.Growth.From == (harness.Size{}) {
			if rep.Growth.From, err = r.service.Size(ctx); err != nil {
				return err
			}
		}
	}
	rep.Growth.To, err = r.service.Size(ctx)
	return err
}
