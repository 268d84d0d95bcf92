package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// catalogue returns every fault, in the order of the deterministic part.
func catalogue() []fault {
	return slices.Concat(workerFaults(), chromeFaults(), helperFaults(), pageFaults(), binaryFaults(), saboteurFaults(),
		diskFaults(), startFaults(), machineFaults(), logFaults(), clientFaults(), supervisorFaults(), successorFaults())
}

func one(code string) []string { return []string{code} }

func toWorker(sig syscall.Signal) action {
	return simply(func(h *hit) error { return harness.SignalAll(sig, h.before.Worker.PID) })
}

func toChrome(sig syscall.Signal) action {
	return simply(func(h *hit) error { return harness.SignalAll(sig, h.before.Browser.PID) })
}

// toHelpers signals all of Chrome's helpers of a kind.
func toHelpers(kind string, sig syscall.Signal) action {
	return simply(func(h *hit) error {
		pids := h.tree.Of(kind)
		if kind == "storage" && len(pids) == 0 {
			return fmt.Errorf("%w: chrome-headless-shell stores in its main process", errSkipped)
		}
		return harness.SignalAll(sig, pids...)
	})
}

// killed adds to an action that Chrome is killed after it: many faults are met by the
// next start only.
func killed(steps ...action) action { return all(append(steps, toChrome(syscall.SIGKILL))...) }

// onPage commands the page, once it listens.
func onPage(order simulator.Order) action {
	return func(ctx context.Context, h *hit) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := h.phone.Await(ctx, func(c simulator.Screen) bool { return c.Load != 0 }); err != nil {
			return err
		}
		return h.phone.Order(order)
	}
}

// onNetwork is an action of the simulator's network.
func onNetwork(do func(*simulator.Server)) action {
	return simply(func(h *hit) error {
		do(h.phone.Server)
		return nil
	})
}

// restartNow cuts short the pause after many failures, as a person would.
func restartNow(ctx context.Context, h *hit) error { return h.service.Restart(ctx) }

func workerFaults() []fault {
	crashed, hung := one("worker_crashed"), one("worker_hung")
	return []fault{
		{name: "worker killed", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGKILL)},
		{name: "worker crashes, with stacks", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGQUIT)},
		{name: "worker segfaults", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGSEGV)},
		{name: "worker terminated by somebody", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGTERM)},
		{name: "worker stopped", expect: restarts, reasons: hung, freezes: true, random: true, inject: toWorker(syscall.SIGSTOP)},
		{name: "worker stopped for a moment", expect: nothing, freezes: true, hold: 5 * time.Second, random: true, inject: toWorker(syscall.SIGSTOP), fix: toWorker(syscall.SIGCONT)},
	}
}

func chromeFaults() []fault {
	crashed, hung := one("browser_crashed"), one("browser_hung")
	return []fault{
		{name: "Chrome killed", expect: restarts, reasons: crashed, random: true, inject: killed()},
		{name: "Chrome segfaults", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGSEGV)},
		{name: "Chrome terminated by somebody", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGTERM)},
		{name: "Chrome closed by somebody", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGINT)},
		{name: "Chrome stopped", expect: restarts, reasons: hung, freezes: true, random: true, inject: toChrome(syscall.SIGSTOP)},
		{name: "worker and Chrome stopped", expect: restarts, reasons: one("worker_hung"), freezes: true, random: true,
			inject: simply(func(h *hit) error { return harness.SignalAll(syscall.SIGSTOP, h.tree.PIDs()...) })},
		{name: "crash handler stopped, Chrome killed", expect: restarts, reasons: crashed, random: true,
			inject: killed(simply(func(h *hit) error {
				_ = harness.SignalAll(syscall.SIGSTOP, h.tree.Of("chrome_crashpad")...) // Chrome may run without one
				return nil
			}))},
		{name: "worker and Chrome killed at once", expect: restarts, reasons: []string{"worker_crashed", "browser_crashed"}, random: true,
			inject: simply(func(h *hit) error {
				return harness.SignalAll(syscall.SIGKILL, h.before.Worker.PID, h.before.Browser.PID)
			})},
	}
}

func helperFaults() []fault {
	const recovery = 6 * time.Second
	return []fault{
		{name: "GPU process killed", expect: nothing, hold: recovery, random: true, inject: toHelpers("gpu-process", syscall.SIGKILL)},
		{name: "network process killed", expect: nothing, hold: recovery, random: true, inject: toHelpers("network", syscall.SIGKILL)},
		{name: "storage process killed", expect: nothing, hold: recovery, random: true, inject: toHelpers("storage", syscall.SIGKILL)},
		{name: "zygotes killed", expect: nothing, hold: recovery, random: true, inject: toHelpers("zygote", syscall.SIGKILL)},
		{name: "renderer killed", expect: cured, reasons: one("page_crashed"), random: true, inject: toHelpers("renderer", syscall.SIGKILL)},
		{name: "renderer stopped", expect: restarts, reasons: one("page_hung"), freezes: true, inject: toHelpers("renderer", syscall.SIGSTOP)},
		{name: "GPU process stopped", expect: restarts, reasons: one("painting_hung"), freezes: true, inject: toHelpers("gpu-process", syscall.SIGSTOP)},
		{name: "network process stopped", expect: restarts, reasons: one("network_hung"), freezes: true, inject: toHelpers("network", syscall.SIGSTOP)},
		{name: "network process stopped for a moment", expect: nothing, freezes: true, hold: 5 * time.Second, random: true,
			inject: toHelpers("network", syscall.SIGSTOP), fix: toHelpers("network", syscall.SIGCONT)},
		{name: "storage process stopped", expect: restarts, reasons: one("browser_hung"), freezes: true, inject: toHelpers("storage", syscall.SIGSTOP)},
	}
}

func pageFaults() []fault {
	offline, restore := []string{"network_unreachable", "reconnecting"}, onNetwork((*simulator.Server).RestoreNetwork)
	return []fault{
		{name: "page in an endless loop", expect: cured, reasons: one("page_hung"), freezes: true, inject: onPage(simulator.Hang)},
		{name: "page crashes", expect: cured, reasons: one("page_crashed"), random: true, inject: onPage(simulator.Crash)},
		{name: "page reloads itself", expect: nothing, hold: 3 * time.Second, random: true, inject: onPage(simulator.Reload)},
		{name: "page asks a question", expect: nothing, hold: 6 * time.Second, random: true, inject: onPage(simulator.Ask)},
		{name: "page downloads without end", expect: nothing, hold: 8 * time.Second, random: true, inject: onPage(simulator.Download), fix: scratchIsSmall},
		{name: "page fills Chrome's folder", expect: restarts, reasons: one("scratch_full"), random: true, inject: simply(fillScratch)},
		{name: "page flips between login and QR", expect: rolls, reasons: one("maintenance"), prepare: simply(forgetQuarantine), inject: flip, fix: simply(keptOnce)},
		{name: "page floods the console", expect: nothing, hold: 8 * time.Second, random: true, inject: onPage(simulator.Chatter)},
		{name: "page unreachable when Chrome starts", expect: waits, reasons: []string{"network_unreachable", "http_error"}, hold: 15 * time.Second,
			inject: killed(onNetwork((*simulator.Server).DropNetwork)), fix: restore},
		{name: "network lost", expect: waits, reasons: offline, hold: 8 * time.Second, inject: onNetwork((*simulator.Server).DropNetwork), fix: restore},
		{name: "network silent", expect: waits, reasons: offline, hold: 8 * time.Second, inject: onNetwork((*simulator.Server).StallNetwork), fix: restore},
	}
}

// forgetQuarantine makes the quarantine empty, and the next move to it come first.
func forgetQuarantine(h *hit) error {
	return errors.Join(os.RemoveAll(h.files.quarantine()), os.RemoveAll(h.files.login()))
}

// mark is a file by which a profile is recognised.
const mark = "mark"

// flip links and unlinks the phone again and again, and leaves it as it was. Each time the
// page asks for a phone for long enough to look logged out.
func flip(ctx context.Context, h *hit) error {
	const flips, asks = 10, 3 * time.Second
	err := os.WriteFile(filepath.Join(h.files.profile(), mark), nil, 0o600)
	linked := h.linked
	for n := 0; n < flips && err == nil; n++ {
		if !linked {
			err = h.phone.Link(ctx, h.service)
		} else if err = h.phone.LogOut(); err == nil {
			err = all(until("a QR", func(v harness.Session) bool { return v.Settled(false) }),
				func(ctx context.Context, _ *hit) error { return harness.Pause(ctx, asks) },
				until("a QR", func(v harness.Session) bool { return v.Settled(false) }))(ctx, h)
		}
		linked = !linked
	}
	return err
}

// keptOnce wants one profile in quarantine, the one that was READY first.
func keptOnce(h *hit) error {
	all, err := filepath.Glob(h.files.quarantine() + "/*")
	kept, _ := filepath.Glob(h.files.quarantine() + "/*/" + mark)
	if err == nil && (len(all) != 1 || len(kept) != 1) {
		err = fmt.Errorf("%d profiles are in quarantine, %d of them are the first", len(all), len(kept))
	}
	return err
}

// scratchLimit is what a worker's folder may hold, in bytes.
const scratchLimit = 128 << 20

// scratchIsSmall wants nothing to have been downloaded.
func scratchIsSmall(_ context.Context, h *hit) error {
	var size int64
	err := filepath.WalkDir(h.files.runtime, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just been removed
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	if err == nil && size > scratchLimit/2 {
		err = fmt.Errorf("the runtime folder holds %d MiB", size>>20)
	}
	return err
}

// fillScratch writes more to Chrome's folder for temporary files than it may hold.
func fillScratch(h *hit) error {
	folder := filepath.Join(h.files.runtime, fmt.Sprintf("g%d", h.before.Worker.Generation), "c")
	f, err := os.OpenFile(filepath.Join(folder, "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Fallocate(int(f.Fd()), 0, 0, scratchLimit+1<<20)
}

// binaryFaults replace the worker's or Chrome's binary while it runs.
func binaryFaults() []fault {
	return []fault{
		{name: "worker binary replaced", expect: rolls, reasons: one("worker_replaced"), random: true, inject: replaceWorker(nil)},
		brokenWorker("half of one", func(whole []byte) []byte { return whole[:len(whole)/2] }),
		brokenWorker("one for another machine", func(whole []byte) []byte {
			const machine = 18 // where an ELF file names it
			whole[machine] ^= 0xff
			return whole
		}),
		brokenWorker("one that says nothing", program("exec sleep 1000")),
		brokenWorker("one that exits at once", program("exit 7")),
		brokenWorker("one of another version", program("echo '1|99|unix|/no/where|grpc|'; exec sleep 1000")),
		brokenWorker("one that floods what it should answer on", program("exec yes")),
		brokenWorker("one whose log is hostile", program(`while echo '{"@message":5}' >&2; do :; done`)),
		{name: "Chrome replaced by another", expect: rolls, reasons: one("browser_replaced"),
			inject: all(wrapChrome(""), undoReplacedChrome)},
		{name: "worker binary gone, worker killed", expect: restarts, reasons: one("worker_crashed"),
			inject: all(
				simply(func(h *hit) error {
					h.afterwards(func() error { return h.files.replaceWorker(nil) })
					return os.Remove(h.files.worker)
				}),
				toWorker(syscall.SIGKILL))},
	}
}

func replaceWorker(change func([]byte) []byte) action {
	return simply(func(h *hit) error { return h.files.replaceWorker(change) })
}

// brokenWorker is a fault in which the worker's binary is replaced by a broken one,
// and then by a whole one. The one that runs must not mind the first.
func brokenWorker(what string, change func([]byte) []byte) fault {
	return fault{
		name: "worker binary replaced by " + what + ", and then by a whole one", expect: rolls, reasons: one("worker_replaced"),
		hold: 3 * time.Second, random: true, inject: replaceWorker(change),
		fix: func(ctx context.Context, h *hit) error {
			v, err := h.service.Session(ctx)
			if err == nil && v.Worker.Generation != h.before.Worker.Generation {
				err = errors.New("the broken worker was used")
			}
			return errors.Join(err, h.files.replaceWorker(nil))
		},
	}
}

// program is a script in the place of a binary.
func program(body string) func([]byte) []byte {
	return func([]byte) []byte { return []byte("#!/bin/sh\n" + body + "\n") }
}

// supervisorFaults hit the supervisor itself, or start another one.
func supervisorFaults() []fault {
	return []fault{
		{name: "everything suspended for 15 s", expect: nothing, excused: true, hold: 20 * time.Second,
			inject: func(ctx context.Context, h *hit) error { return h.suspend(ctx, 15*time.Second, h.tree.PIDs()...) }},
		{name: "supervisor stopped for 3 s", expect: nothing, excused: true, hold: 8 * time.Second,
			inject: func(ctx context.Context, h *hit) error { return h.suspend(ctx, 3*time.Second) }},
		{name: "supervisor hung up 300 times", expect: rolls, reasons: one("restart_requested"), hold: 20 * time.Second,
			inject: hangUp(300), fix: restartedAtMost(2)},
		{name: "a second supervisor on the same profile", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, h *hit) error { return h.rival(ctx, "127.0.0.1:0", h.files.tokens) }},
		{name: "eight supervisors at once on the same profile", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, h *hit) error {
				const rivals = 8
				exited := make(chan error, rivals)
				for range rivals {
					go func() { exited <- h.rival(ctx, "127.0.0.1:0", h.files.tokens) }()
				}
				var err error
				for range rivals {
					err = errors.Join(err, <-exited)
				}
				return err
			}},
		{name: "a second supervisor on the same port", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, h *hit) error { return h.rival(ctx, h.address, h.files.root+"/second") }},
	}
}

// hangUp sends SIGHUP again and again.
func hangUp(times int) action {
	return func(ctx context.Context, h *hit) error {
		for range times {
			if err := errors.Join(h.service.Signal(syscall.SIGHUP), harness.Pause(ctx, 10*time.Millisecond)); err != nil {
				return err
			}
		}
		return nil
	}
}

func restartedAtMost(times uint64) action {
	return func(ctx context.Context, h *hit) error {
		v, err := h.service.Session(ctx)
		if restarts := v.Worker.Generation - h.before.Worker.Generation; err == nil && restarts > times {
			err = fmt.Errorf("%d restarts", restarts)
		}
		return err
	}
}

// suspend stops the service and the processes for d, as a machine that sleeps does.
func (h *hit) suspend(ctx context.Context, d time.Duration, pids ...int) error {
	pids = append(pids, h.service.PID())
	if err := harness.SignalAll(syscall.SIGSTOP, pids...); err != nil {
		return err
	}
	_ = harness.Pause(ctx, d) // they continue even if it is cut short
	return harness.SignalAll(syscall.SIGCONT, pids...)
}

// rival starts another supervisor, which must give up.
func (h *hit) rival(ctx context.Context, address, tokens string) error {
	folder, err := os.MkdirTemp(h.files.root, "r")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	s, err := harness.Launch(ctx, harness.Options{
		Supervisor: h.o.Supervisor, Folder: folder, Tokens: tokens, Listen: address, URL: h.phone.URL,
		Args: []string{"--worker", h.files.worker, "--chrome", h.files.chrome},
	})
	if err != nil {
		return err
	}
	defer s.Kill()
	if !s.HasExited(15*time.Second) || s.ExitCode() == 0 {
		return fmt.Errorf("the second supervisor did not give up: %s", s.Log())
	}
	return nil
}
