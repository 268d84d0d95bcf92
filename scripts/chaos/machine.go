package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// diskFaults take away files and folders that the service needs.
func diskFaults() []fault {
	crashed := one("browser_crashed")
	return []fault{
		{name: "Chrome gone from the disk", expect: blocked, reasons: one("browser_missing"), hold: time.Second,
			inject: killed(simply(func(h *hit) error { return os.Remove(h.files.chrome) })), fix: restoreChrome},
		{name: "runtime folder wiped", expect: restarts, reasons: crashed,
			inject: killed(simply(func(h *hit) error { return os.RemoveAll(h.files.runtime) }))},
		{name: "crash folder unusable", expect: restarts, reasons: crashed, prepare: simply(blockCrashFolder), inject: killed()},
		{name: "disk full", expect: blocked, reasons: one("disk_full"), hold: time.Second,
			prepare: mountSmall, inject: killed(simply(fillDisk)), fix: simply(emptyDisk)},
		{name: "disk nearly full for a while", expect: nothing, hold: time.Second,
			prepare: mountSmall, inject: all(simply(fillDisk), awaitWarnings("disk_full"), simply(emptyDisk), awaitWarnings())},
		{name: "no file descriptors left", expect: restarts, reasons: one("worker_crashed"), hold: 3 * time.Second,
			inject: all(limitFiles(2), toWorker(syscall.SIGKILL)), fix: limitFiles(1000)},
	}
}

func blockCrashFolder(h *hit) error {
	path := filepath.Join(h.files.tokens, "crashes")
	h.afterwards(func() error { return os.Remove(path) })
	return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600))
}

// awaitWarnings waits until there are exactly these warnings.
func awaitWarnings(codes ...string) action {
	return until(fmt.Sprintf("warnings %q", codes), func(v harness.Session) bool { return v.Warned(codes...) })
}

// limitFiles lets the service open no more than spare files from now on.
func limitFiles(spare int) action {
	return simply(func(h *hit) error {
		now, err := harness.SizeOf(h.service.PID())
		var old unix.Rlimit
		if err := errors.Join(err, unix.Prlimit(h.service.PID(), unix.RLIMIT_NOFILE, nil, &old)); err != nil {
			return err
		}
		limit := unix.Rlimit{Cur: min(uint64(now.Files+spare), old.Max), Max: old.Max}
		return unix.Prlimit(h.service.PID(), unix.RLIMIT_NOFILE, &limit, nil)
	})
}

// smallDisk is the size of the file system of the tokens in faults of the disk. The
// service wants 256 MiB to be free.
const smallDisk = "size=500m,mode=0700"

// mountSmall puts a small file system over the tokens folder, with the same content.
func mountSmall(ctx context.Context, h *hit) error {
	tokens, aside := h.files.tokens, h.files.tokens+".aside"
	h.afterwards(func() error { return os.RemoveAll(aside) })
	if err := cp(ctx, tokens, aside); err != nil {
		return err
	}
	if err := mount("none", tokens, "tmpfs", 0, smallDisk); err != nil {
		return err
	}
	h.afterwards(func() error { return unix.Unmount(tokens, unix.MNT_DETACH) })
	return cp(ctx, aside+"/.", tokens)
}

func cp(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot copy: %w: %s", err, out)
	}
	return nil
}

func filler(h *hit) string   { return filepath.Join(h.files.tokens, "filler") }
func emptyDisk(h *hit) error { return os.Remove(filler(h)) }

// fillDisk leaves less than the service wants, and more than Chrome needs to run on for
// a moment.
func fillDisk(h *hit) error {
	var st unix.Statfs_t
	if err := unix.Statfs(h.files.tokens, &st); err != nil {
		return err
	}
	f, err := os.OpenFile(filler(h), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const left = 8 << 20
	return unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left)
}

// machineFaults are what the machine does to the service; a clock that is set and memory
// that is gone hit all that runs on it. Those with control groups
// take the controllers of cgroup v1, of which only these can freeze a process so that
// SIGKILL does not end it, as a process that waits for a dead disk.
func machineFaults() []fault {
	var clockSetAt time.Time
	return []fault{
		{name: "clock set an hour ahead, and back", expect: nothing, hold: 15 * time.Second,
			inject: simply(func(*hit) error {
				clockSetAt = time.Now()
				return setClock(clockSetAt.Add(time.Hour))
			}),
			// The monotonic clock was not set.
			fix: simply(func(*hit) error { return setClock(clockSetAt.Round(0).Add(time.Since(clockSetAt))) })},
		{name: "no space in the runtime folder", expect: blocked, reasons: one("runtime_unwritable"), hold: time.Second,
			inject: killed(simply(fillRuntime)),
			fix:    simply(func(h *hit) error { return unix.Unmount(h.files.runtime, unix.MNT_DETACH) })},
		{name: "no memory left on the machine", expect: blocked, reasons: one("resources_exhausted"), hold: time.Second,
			inject: killed(simply(hideMemory)), fix: simply(func(*hit) error { return showMemory() })},
		inGroup("memory", fault{name: "no memory left for the page", expect: cured, reasons: one("page_crashed")},
			func(h *hit, g group) action {
				// What they had before does not count.
				return all(g.add(append(h.tree.PIDs(), h.service.PID())...), g.set("memory.limit_in_bytes", "300M"), onPage(simulator.Hoard))
			}, nil),
		// The worker needs some threads, and Chrome more than a hundred.
		inGroup("pids", fault{name: "no threads left for Chrome", expect: blocked, reasons: one("crash_loop"), hold: time.Second},
			func(h *hit, g group) action { return killed(g.add(h.service.PID()), g.set("pids.max", "60")) },
			func(g group) action { return all(g.set("pids.max", "max"), restartNow) }),
		inGroup("freezer", fault{name: "Chrome can't be ended", expect: blocked, reasons: one("profile_in_use"), hold: time.Second},
			func(h *hit, g group) action {
				return all(g.add(h.before.Browser.PID), g.set("freezer.state", "FROZEN"))
			},
			func(g group) action { return g.set("freezer.state", "THAWED") }),
	}
}

// inGroup completes a fault that needs a control group.
func inGroup(controller string, f fault, inject func(*hit, group) action, fix func(group) action) fault {
	var g group
	f.prepare = simply(func(h *hit) (err error) {
		if g, err = newGroup(controller); err == nil {
			h.afterwards(g.remove)
		}
		return err
	})
	f.inject = func(ctx context.Context, h *hit) error { return inject(h, g)(ctx, h) }
	if fix != nil {
		f.fix = func(ctx context.Context, h *hit) error { return fix(g)(ctx, h) }
	}
	return f
}

// group is the folder of a control group.
type group string

// newGroup makes one below this process's own.
func newGroup(controller string) (group, error) {
	self, err := procfs.Self()
	if err != nil {
		return "", err
	}
	groups, err := self.Cgroups()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(groups, func(g procfs.Cgroup) bool { return slices.Contains(g.Controllers, controller) })
	if i < 0 {
		return "", fmt.Errorf("%w: there is no %s controller of cgroup v1", errSkipped, controller)
	}
	g := group(filepath.Join("/sys/fs/cgroup", controller, groups[i].Path, fmt.Sprintf("chaos%d", os.Getpid())))
	if err := os.Mkdir(string(g), 0o700); err != nil {
		return "", fmt.Errorf("%w: cannot make control group: %w", errSkipped, err)
	}
	return g, nil
}

func (g group) write(file, value string) error {
	return os.WriteFile(filepath.Join(string(g), file), []byte(value), 0o600)
}

func (g group) set(file, value string) action {
	return simply(func(*hit) error { return g.write(file, value) })
}

// add moves processes into the group; those that have ended don't count.
func (g group) add(pids ...int) action {
	return simply(func(*hit) error {
		for _, pid := range pids {
			if err := g.write("cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		return nil
	})
}

// remove moves what is left in the group to the one above.
func (g group) remove() error {
	left, err := os.ReadFile(filepath.Join(string(g), "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("cannot remove control group: %w", err)
	}
	above := group(filepath.Dir(string(g)))
	for pid := range strings.FieldsSeq(string(left)) {
		err = errors.Join(err, above.write("cgroup.procs", pid))
	}
	return errors.Join(err, os.Remove(string(g)))
}

func setClock(now time.Time) error {
	ts := unix.NsecToTimespec(now.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("%w: cannot set the clock: %w", errSkipped, err)
	}
	return nil
}

const memoryInfo = "/proc/meminfo"

// hideMemory makes the machine report that it has none left: to take a big one's
// memory away would hit all that runs on it.
func hideMemory(h *hit) error {
	fake := filepath.Join(h.files.root, "meminfo")
	if err := os.WriteFile(fake, []byte("MemTotal: 1000000 kB\nMemAvailable: 100000 kB\nSwapFree: 0 kB\n"), 0o600); err != nil {
		return err
	}
	h.afterwards(showMemory)
	return mount(fake, memoryInfo, "", unix.MS_BIND, "")
}

// showMemory undoes hideMemory; it may be called again.
func showMemory() error {
	if err := unix.Unmount(memoryInfo, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cannot unmount: %w", err)
	}
	return nil
}

// fillRuntime puts a file system with no space over the runtime folder.
func fillRuntime(h *hit) error {
	if err := mount("none", h.files.runtime, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.files.runtime, "filler"), make([]byte, 64<<10), 0o600)
}
