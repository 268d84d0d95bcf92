package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/simulator"
)

// machineFaults are what the machine does to the service. Those with control groups
// take the controllers of cgroup v1, of which only these can freeze a process so that
// SIGKILL does not end it, as a process that waits for a dead disk.
func machineFaults() []fault {
	return []fault{
		{name: "clock set an hour ahead, and back", expect: nothing, hold: 15 * time.Second, everywhere: true,
			inject: func(_ context.Context, r *rig, _ target) error { return r.advanceClock(time.Hour) },
			mend:   func(_ context.Context, r *rig, _ target) error { return r.restoreClock() }},
		{name: "no space in the runtime folder", expect: blocked, reasons: []string{"runtime_unwritable"}, hold: time.Second,
			inject: func(ctx context.Context, r *rig, t target) error { return andKill(r.fillRuntime())(ctx, r, t) },
			mend: func(_ context.Context, r *rig, _ target) error {
				return unix.Unmount(r.places.runtime, unix.MNT_DETACH)
			}},
		{name: "no memory left on the machine", expect: blocked, reasons: []string{"resources_exhausted"}, hold: time.Second, everywhere: true,
			clear:  func(_ context.Context, r *rig) error { return r.tellMemory() },
			inject: func(ctx context.Context, r *rig, t target) error { return andKill(r.hideMemory())(ctx, r, t) },
			mend:   func(_ context.Context, r *rig, _ target) error { return r.tellMemory() }},
		inGroup("memory", fault{name: "no memory left for the page", expect: cured, reasons: []string{"page_crashed"},
			inject: func(ctx context.Context, r *rig, t target) error {
				// What they had before is not counted.
				const more = "300M"
				if err := r.group.add(append(t.tree.pids(), r.service.PID())...); err != nil {
					return err
				}
				return errors.Join(r.group.set("memory.limit_in_bytes", more), onPage((*simulator.Server).Hoard)(ctx, r, t))
			}}),
		inGroup("pids", fault{name: "no threads left for Chrome", expect: blocked, reasons: []string{"crash_loop"}, hold: time.Second,
			inject: func(ctx context.Context, r *rig, t target) error {
				// The worker needs some, and Chrome more than a hundred.
				const more = "60"
				return andKill(errors.Join(r.group.add(r.service.PID()), r.group.set("pids.max", more)))(ctx, r, t)
			},
			mend: func(ctx context.Context, r *rig, _ target) error {
				return errors.Join(r.group.set("pids.max", "max"), r.service.Restart(ctx))
			}}),
		inGroup("freezer", fault{name: "Chrome can't be ended", expect: blocked, reasons: []string{"profile_in_use"}, hold: time.Second,
			inject: func(_ context.Context, r *rig, t target) error {
				return errors.Join(r.group.add(t.view.Browser.PID), r.group.set("freezer.state", "FROZEN"))
			},
			mend: func(_ context.Context, r *rig, _ target) error { return r.group.set("freezer.state", "THAWED") }}),
	}
}

// inGroup lets f have a control group.
func inGroup(controller string, f fault) fault {
	f.prepare = func(_ context.Context, r *rig) (err error) {
		r.group, err = newGroup(controller)
		return err
	}
	f.clear = func(_ context.Context, r *rig) error { return r.group.remove() }
	return f
}

// group is the folder of a control group.
type group string

// newGroup makes one below this process's own.
func newGroup(controller string) (group, error) {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot find control group: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		_, own, ok := strings.Cut(strings.TrimSpace(line), ":"+controller+":")
		if !ok {
			continue
		}
		g := group(filepath.Join("/sys/fs/cgroup", controller, own, fmt.Sprintf("chaos%d", os.Getpid())))
		if err := os.Mkdir(string(g), 0o700); err != nil {
			return "", fmt.Errorf("%w: cannot make control group: %w", errSkipped, err)
		}
		return g, nil
	}
	return "", fmt.Errorf("%w: there is no %s controller of cgroup v1", errSkipped, controller)
}

func (g group) set(file, value string) error {
	if err := os.WriteFile(filepath.Join(string(g), file), []byte(value), 0o600); err != nil {
		return fmt.Errorf("cannot set up control group: %w", err)
	}
	return nil
}

// add moves processes into the group; those that have ended don't count.
func (g group) add(pids ...int) error {
	for _, pid := range pids {
		if err := g.set("cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// remove moves what is left in the group to the one above.
func (g group) remove() error {
	if g == "" {
		return nil
	}
	left, err := os.ReadFile(filepath.Join(string(g), "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("cannot remove control group: %w", err)
	}
	above := group(filepath.Dir(string(g)))
	for pid := range strings.FieldsSeq(string(left)) {
		err = errors.Join(err, above.set("cgroup.procs", pid))
	}
	return errors.Join(err, os.Remove(string(g)))
}

// advanceClock sets the machine's clock ahead.
func (r *rig) advanceClock(by time.Duration) error {
	r.rightly = time.Now()
	return setClock(r.rightly.Add(by))
}

// restoreClock undoes advanceClock: the monotonic clock has gone on.
func (r *rig) restoreClock() error {
	return setClock(r.rightly.Round(0).Add(time.Since(r.rightly)))
}

func setClock(now time.Time) error {
	ts := unix.NsecToTimespec(now.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("%w: cannot set the clock: %w", errSkipped, err)
	}
	return nil
}

const memoryInfo = "/proc/meminfo"

// hideMemory makes the machine tell that it has none left: to take a big one's memory
// away would hit all that runs on it.
func (r *rig) hideMemory() error {
	told := filepath.Join(r.places.root, "meminfo")
	if err := os.WriteFile(told, []byte("MemTotal: 1000000 kB\nMemAvailable: 100000 kB\nSwapFree: 0 kB\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write file: %w", err)
	}
	if err := unix.Mount(told, memoryInfo, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	return nil
}

// tellMemory undoes hideMemory; it may be called again.
func (r *rig) tellMemory() error {
	if err := unix.Unmount(memoryInfo, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cannot unmount: %w", err)
	}
	return nil
}

// fillRuntime puts a file system with no space over the runtime folder.
func (r *rig) fillRuntime() error {
	if err := unix.Mount("none", r.places.runtime, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		return fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	return os.WriteFile(filepath.Join(r.places.runtime, "filler"), make([]byte, 64<<10), 0o600)
}
