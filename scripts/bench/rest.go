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
	"session-manager/scripts/simulator"
)

// settle is how long a start goes on working after the code is there.
const settle = 10 * time.Second

// measureRest compares memory and CPU of a service that shows a code with those
// of the floor's Chrome.
func (b *bench) measureRest(ctx context.Context) error {
	p, err := openSimulator(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	folder, err := b.fresh()
	if err != nil {
		return err
	}
	f, err := startFloor(ctx, b.browser, folder, b.userAgent)
	if err != nil {
		return err
	}
	tab, err := f.openPage(p.url)
	if err == nil {
		_, err = f.await(tab, attribute)
	}
	var floor usage
	if err == nil {
		floor, err = b.watch(ctx, f.cmd.Process.Pid)
	}
	f.close()
	if err != nil {
		return err
	}
	ours, chrome, err := b.oursAtRest(ctx, p)
	if err != nil {
		return err
	}
	b.table.Rows = append(b.table.Rows,
		row{Name: "memory at rest (PSS), whole tree", Unit: "MB", Ours: ours.megabytes, Floor: floor.megabytes,
			Judged: ours.megabytes - floor.megabytes, Limit: 45},
		absolute("memory of supervisor and worker", "MB", ours.megabytes-chrome, 0),
		row{Name: "CPU at rest, whole tree", Unit: "% of a core", Ours: ours.percent, Floor: floor.percent,
			Judged: ours.percent - floor.percent, Limit: 0.5},
		row{Name: "disk written at rest, whole tree", Unit: "MB/h", Ours: ours.written, Floor: floor.written,
			Judged: ours.written, Limit: mostWritten})
	return nil
}

func (b *bench) oursAtRest(ctx context.Context, p *page) (all usage, chrome float64, err error) {
	folder, err := b.fresh()
	if err != nil {
		return usage{}, 0, err
	}
	s, err := b.start(ctx, p, folder)
	if err != nil {
		return usage{}, 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return usage{}, 0, err
	}
	if all, err = b.watch(ctx, s.PID()); err != nil {
		return usage{}, 0, err
	}
	v, err := s.View(ctx)
	if err != nil || v.Browser == nil {
		return usage{}, 0, fmt.Errorf("no browser on /session: %w", err)
	}
	chrome, err = memoryBelow(v.Browser.PID)
	return all, chrome, err
}

// usage is what a process and all below it use.
type usage struct {
	megabytes float64
	percent   float64 // of a core, while it was watched
	written   float64 // MB an hour to disk, over the whole watch
}

// mostWritten is in MB an hour. A profile that is written to all day wears cheap
// flash out; at this rate a card of 16 GB is rewritten once in two weeks.
const mostWritten = 50

// codesLive is how long the CPU is watched at most: a page that nobody touches runs
// out of codes, and does less then.
const codesLive = 2 * time.Minute

// watch lets the tree come to rest, and then takes its CPU for a while and its
// memory at the end.
func (b *bench) watch(ctx context.Context, pid int) (usage, error) {
	if err := command.Pause(ctx, settle); err != nil {
		return usage{}, err
	}
	early, err := tree(pid)
	if err != nil {
		return usage{}, err
	}
	begun, wrote := time.Now(), writtenBy(early)
	before, err := ranOf(early)
	if err != nil {
		return usage{}, err
	}
	busy := min(b.rest, codesLive)
	if err := command.Pause(ctx, busy); err != nil {
		return usage{}, err
	}
	late, err := tree(pid)
	if err != nil {
		return usage{}, err
	}
	after, err := ranOf(late)
	if err != nil {
		return usage{}, err
	}
	if err := command.Pause(ctx, b.rest-busy); err != nil {
		return usage{}, err
	}
	if late, err = tree(pid); err != nil {
		return usage{}, err
	}
	u := usage{written: (writtenBy(late) - wrote) / time.Since(begun).Hours()}
	u.megabytes, err = memoryOf(late)
	for thread, ran := range after {
		u.percent += 100 * (ran - before[thread]).Seconds() / busy.Seconds()
	}
	return u, err
}

// tree is the processes at and below root.
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

// ranOf is how long each thread of the processes has run so far, by the scheduler's own
// clock. The times in stat are samples, of which work that begins with a timer gets
// too many.
func ranOf(pids []int) (map[string]time.Duration, error) {
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
