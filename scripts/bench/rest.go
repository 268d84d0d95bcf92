package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/scripts/command"
	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// settle is how long a start goes on working after the code is there.
const settle = 10 * time.Second

// measureRest compares a service that shows a code with a bare Chrome that shows it.
func (b *bench) measureRest(ctx context.Context) error {
	floor, err := b.floorHolds(ctx)
	if err != nil {
		return err
	}
	ours, chrome, err := b.oursHolds(ctx)
	if err != nil {
		return err
	}
	b.table.Rows = append(b.table.Rows,
		row{Name: "memory at rest (PSS), whole tree", Unit: "MB", Ours: ours.megabytes, Floor: floor.megabytes,
			Judged: ours.megabytes - floor.megabytes, Limit: 45},
		absolute("memory of supervisor and worker", "MB", ours.megabytes-chrome, 0),
		row{Name: "disk written at rest, whole tree", Unit: "MB/h", Ours: ours.written, Floor: floor.written,
			Judged: ours.written, Limit: mostWritten})
	return b.measureCPU(ctx)
}

// showFloor lets a bare Chrome show a code until end is called.
func (b *bench) showFloor(ctx context.Context) (pid int, end func(), err error) {
	folder, err := b.fresh()
	if err != nil {
		return 0, nil, err
	}
	p, err := openSimulator(simulator.Options{})
	if err != nil {
		return 0, nil, err
	}
	f, err := startFloor(ctx, b.browser, folder, b.userAgent)
	if err != nil {
		p.close()
		return 0, nil, err
	}
	end = func() {
		f.close()
		p.close()
	}
	if _, err := f.shows(p.url, attribute); err != nil {
		end()
		return 0, nil, err
	}
	return f.cmd.Process.Pid, end, nil
}

// showOurs is the same with the service.
func (b *bench) showOurs(ctx context.Context) (s *harness.Service, end func() error, err error) {
	if s, end, err = b.serve(ctx, simulator.Options{}); err != nil {
		return nil, nil, err
	}
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return s, end, nil
}

func (b *bench) floorHolds(ctx context.Context) (holds, error) {
	pid, end, err := b.showFloor(ctx)
	if err != nil {
		return holds{}, err
	}
	defer end()
	return b.watch(ctx, pid)
}

func (b *bench) oursHolds(ctx context.Context) (all holds, chrome float64, err error) {
	s, end, err := b.showOurs(ctx)
	if err != nil {
		return holds{}, 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if all, err = b.watch(ctx, s.PID()); err != nil {
		return holds{}, 0, err
	}
	pid, err := chromeOf(ctx, s)
	if err != nil {
		return holds{}, 0, err
	}
	chrome, err = memoryBelow(pid)
	return all, chrome, err
}

// holds is what a process and all below it take at rest.
type holds struct {
	megabytes float64
	written   float64 // MB an hour to disk
}

// mostWritten is in MB an hour. A profile that is written to all day wears cheap
// flash out; at this rate a card of 16 GB is rewritten once in two weeks.
const mostWritten = 50

// watch lets the tree come to rest, and then takes what it writes for a while and its
// memory at the end.
func (b *bench) watch(ctx context.Context, pid int) (holds, error) {
	if err := command.Pause(ctx, settle); err != nil {
		return holds{}, err
	}
	pids, err := tree(pid)
	if err != nil {
		return holds{}, err
	}
	begun, wrote := time.Now(), writtenBy(pids)
	if err := command.Pause(ctx, b.rest); err != nil {
		return holds{}, err
	}
	if pids, err = tree(pid); err != nil {
		return holds{}, err
	}
	h := holds{written: (writtenBy(pids) - wrote) / time.Since(begun).Hours()}
	h.megabytes, err = memoryOf(pids)
	return h, err
}

// codesLive is how long the CPU is watched at most: a page that nobody touches runs
// out of codes, and does less then.
const codesLive = 2 * time.Minute

// measureCPU watches both at once: the same work takes a shared machine half as long
// again from one minute to the next.
func (b *bench) measureCPU(ctx context.Context) (err error) {
	floor, endFloor, err := b.showFloor(ctx)
	if err != nil {
		return err
	}
	defer endFloor()
	s, end, err := b.showOurs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	chrome, err := chromeOf(ctx, s)
	if err != nil {
		return err
	}
	if err := command.Pause(ctx, settle); err != nil {
		return err
	}
	roots := []int{floor, s.PID(), chrome}
	before := make([]map[string]time.Duration, len(roots))
	for i, root := range roots {
		if before[i], err = ranBelow(root); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := command.Pause(ctx, min(b.rest, codesLive)); err != nil {
		return err
	}
	watched := time.Since(begun)
	percent := make([]float64, len(roots))
	for i, root := range roots {
		after, err := ranBelow(root)
		if err != nil {
			return err
		}
		for thread, ran := range after {
			percent[i] += 100 * (ran - before[i][thread]).Seconds() / watched.Seconds()
		}
	}
	b.table.Rows = append(b.table.Rows,
		row{Name: "CPU at rest, whole tree", Unit: "% of a core", Ours: percent[1], Floor: percent[0],
			Judged: percent[1] - percent[0], Limit: 0.5},
		absolute("CPU of supervisor and worker", "% of a core", percent[1]-percent[2], 0))
	return nil
}

// chromeOf is the process of the service's Chrome.
func chromeOf(ctx context.Context, s *harness.Service) (pid int, err error) {
	v, err := s.View(ctx)
	if err != nil {
		return 0, err
	}
	if v.Browser == nil {
		return 0, errors.New("no browser on /session")
	}
	return v.Browser.PID, nil
}

// tree is the processes at and below root, which must be there.
func tree(root int) ([]int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	stats := map[int]procfs.ProcStat{}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil { // or it has ended
			stats[p.PID] = stat
		}
	}
	var pids []int
	for pid := range stats {
		if below(stats, pid, root) {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("process %d has ended", root)
	}
	return pids, nil
}

// memoryBelow is the memory of the processes at and below root, in MB.
func memoryBelow(root int) (float64, error) {
	pids, err := tree(root)
	if err != nil {
		return 0, err
	}
	return memoryOf(pids)
}

func memoryOf(pids []int) (megabytes float64, err error) {
	for _, pid := range pids {
		pss, err := pssOf(pid)
		if err != nil {
			return 0, err
		}
		megabytes += pss
	}
	return megabytes, nil
}

// ranBelow is how long each thread at and below root has run so far, by the scheduler's
// own clock. The times in stat are samples, of which work that begins with a timer gets
// too many.
func ranBelow(root int) (map[string]time.Duration, error) {
	pids, err := tree(root)
	if err != nil {
		return nil, err
	}
	ran := map[string]time.Duration{}
	for _, pid := range pids {
		threads, err := threadsOf(pid)
		if err != nil {
			return nil, err
		}
		maps.Copy(ran, threads)
	}
	return ran, nil
}

func threadsOf(pid int) (map[string]time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return nil, fmt.Errorf("cannot list threads: %w", err)
	}
	ran := map[string]time.Duration{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		first, _, _ := strings.Cut(string(content), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		ran[file] = time.Duration(ns)
	}
	return ran, nil
}

// writtenBy is how many MB the processes have had written to disk. What
// those wrote that have ended is lost: there are none in a tree at rest.
func writtenBy(pids []int) float64 {
	var bytes uint64
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			continue // it has ended
		}
		if io, err := p.IO(); err == nil {
			bytes += io.WriteBytes
		}
	}
	return float64(bytes) / (1 << 20)
}

func below(stats map[int]procfs.ProcStat, pid, root int) bool {
	for ; pid > 1; pid = stats[pid].PPID {
		if pid == root {
			return true
		}
	}
	return false
}

// pssOf is the proportional set size in MB: memory that is shared counts for each
// process by its share.
func pssOf(pid int) (float64, error) {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, fmt.Errorf("cannot read memory: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "Pss:" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes / 1024, err
		}
	}
	return 0, errors.New("cannot find Pss")
}
