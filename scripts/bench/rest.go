package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

const (
	// settle is how long a start works on after the QR is there.
	settle = 10 * time.Second
	// qrsLive is how long the CPU is watched at most: a page that nobody touches runs out
	// of QRs, and does less then.
	qrsLive = 2 * time.Minute
	// sharedSamples of the PSS are taken, one a sharedPeriod.
	sharedSamples, sharedPeriod = 20, 2 * time.Second
	// mostWritten is in MB an hour. A profile that is written to all day wears cheap flash
	// out; at this rate a card of 16 GB is rewritten once in two weeks.
	mostWritten = 50
	// mostOurs is in MB of PSS. Half of it are pages of the binaries.
	mostOurs = 40
	// mostShared is in MB of PSS, with chrome-headless-shell.
	mostShared = 260
	// mostCPU is in percent of a core, for supervisor and worker.
	mostCPU = 0.25
)

// measureRest compares a service that shows a QR with a bare Chrome that shows it. Both
// are watched at once: the same work takes a shared machine half as long again from one
// minute to the next.
func measureRest(ctx context.Context, b *bench) (err error) {
	p, err := harness.NewPhone(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	f, err := startFloor(ctx, b, b.fresh())
	if err != nil {
		return err
	}
	defer f.close()
	if _, err := f.shows(p.URL, qrShown); err != nil {
		return err
	}
	own, err := b.withOwnBinaries()
	if err != nil {
		return err
	}
	s, err := own.serve(ctx, simulator.Options{})
	if err != nil {
		return err
	}
	defer s.end(&err)
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return err
	}
	chrome, err := chromeOf(ctx, s.Service)
	if err != nil {
		return err
	}
	roots := []int{f.PID(), s.PID(), chrome}
	begun := time.Now().Add(settle)
	var used [3][]usage // at the start, when the CPU was watched, and at the end
	for i, after := range []time.Duration{0, min(b.rest, qrsLive), b.rest} {
		if err := harness.Pause(ctx, time.Until(begun.Add(after))); err != nil {
			return err
		}
		if used[i], err = usageOf(roots); err != nil {
			return err
		}
	}
	watched := used[1][0].at.Sub(used[0][0].at)
	var cpu, memory, written [3]float64 // in percent of a core, MB, and MB an hour
	for i := range roots {
		for thread, ran := range used[1][i].threads {
			cpu[i] += 100 * (ran - used[0][i].threads[thread]).Seconds() / watched.Seconds()
		}
		memory[i] = megabytes(used[2][i].memory)
		written[i] = (megabytes(used[2][i].written) - megabytes(used[0][i].written)) / used[2][i].at.Sub(used[0][i].at).Hours()
	}
	moreMemory, moreCPU := b.mostMore()
	b.table.add(
		row{Name: "memory at rest, whole tree", Unit: "MB", Ours: memory[1], Floor: memory[0], Result: memory[1] - memory[0], Limit: moreMemory},
		row{Name: "disk written at rest, whole tree", Unit: "MB/h", Ours: written[1], Floor: written[0], Result: written[1], Limit: mostWritten},
		row{Name: "CPU at rest, whole tree", Unit: "% of a core", Ours: cpu[1], Floor: cpu[0], Result: cpu[1] - cpu[0], Limit: moreCPU},
		absolute("CPU of supervisor and worker", "% of a core", cpu[1]-cpu[2], mostCPU))
	f.close()
	return b.measureShared(ctx, s.PID(), chrome)
}

// mostMore is how many MB of its own memory, and percent of a core, the service may need more
// than the bare browser. Its flags switch off what is only of use to a person, of which
// chrome-headless-shell has nothing: there supervisor and worker, with 22 MB and 0.22 %, come on
// top, and what Chrome does to answer them.
func (b *bench) mostMore() (memory, cpu float64) {
	if b.isShell() {
		return 30, 0.6
	}
	return 10, 0.5
}

func (b *bench) isShell() bool { return strings.HasSuffix(b.browser, "headless-shell") }

// measureShared measures the PSS of a service and of its browser, once no other runs the same
// binaries. It is a median, as each QR adds 1.5 MB until the next trim.
func (b *bench) measureShared(ctx context.Context, service, browser int) error {
	var all, ours []float64
	for range sharedSamples {
		if err := harness.Pause(ctx, sharedPeriod); err != nil {
			return err
		}
		used, err := usageOf([]int{service, browser})
		if err != nil {
			return err
		}
		all = append(all, megabytes(used[0].shared))
		ours = append(ours, megabytes(used[0].shared)-megabytes(used[1].shared))
	}
	whole := absolute("PSS at rest, whole tree", "MB", quantile(all, 0.5), mostShared)
	if !b.isShell() {
		whole.Limit = 0
	}
	b.table.add(whole, absolute("PSS at rest, supervisor and worker", "MB", quantile(ours, 0.5), mostOurs))
	return nil
}

// withOwnBinaries returns b with copies of the service's binaries: pages of files that another
// service has mapped as well would count by half.
func (b *bench) withOwnBinaries() (*bench, error) {
	own, folder := *b, b.fresh()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make folder: %w", err)
	}
	own.supervisor = filepath.Join(folder, filepath.Base(b.supervisor))
	for _, from := range []string{b.supervisor, filepath.Join(filepath.Dir(b.supervisor), "worker")} {
		if err := copyProgram(from, filepath.Join(folder, filepath.Base(from))); err != nil {
			return nil, fmt.Errorf("cannot copy program: %w", err)
		}
	}
	return &own, nil
}

// copyProgram writes a page at a time. Linux 6.18 maps all that was written at once when some of
// it is used, which an older kernel does not.
func copyProgram(from, to string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(program, os.Getpagesize()) {
		_, writeErr := f.Write(part)
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, f.Close())
}

func megabytes[T int64 | uint64](bytes T) float64 { return float64(bytes) / (1 << 20) }

// usage is what a process and all below it have used at some moment.
type usage struct {
	at time.Time
	// threads is how long each thread has run, by the scheduler's own clock: the times in
	// stat are samples, of which work that begins with a timer gets too many.
	threads map[int]time.Duration
	// memory is as in package proctree, and written what went to disk; shared is the PSS, of
	// which others have a part who run the same binaries now, as the bare Chrome does; in bytes.
	memory, shared, written uint64
}

// usageOf measures the trees of several processes, which must live. What those used
// that have ended is lost: there are none in a tree at rest.
func usageOf(roots []int) ([]usage, error) {
	var all []usage
	for _, root := range roots {
		tree, err := proctree.Descendants(root)
		if err != nil {
			return nil, err
		}
		u := usage{at: time.Now(), threads: map[int]time.Duration{}, memory: proctree.TreeMemory(root)}
		for _, p := range append(tree, proctree.Process{PID: root}) {
			if err := u.add(p.PID); err != nil {
				return nil, fmt.Errorf("cannot measure process %d: %w", p.PID, err)
			}
		}
		all = append(all, u)
	}
	return all, nil
}

func (u *usage) add(pid int) error {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return err
	}
	io, err := p.IO()
	if err != nil {
		return err
	}
	maps, err := p.ProcSMapsRollup()
	if err != nil {
		return err
	}
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return err
	}
	u.written += io.WriteBytes
	u.shared += maps.Pss
	for _, t := range threads {
		if ran, err := t.Schedstat(); err == nil { // or it has ended
			u.threads[t.PID] = time.Duration(ran.RunningNanoseconds)
		}
	}
	return nil
}
