package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/command"
	"session-manager/scripts/simulator"
)

// catalogue returns every fault, in the order of the deterministic part.
func catalogue() []fault {
	var all []fault
	all = append(all, workerFaults()...)
	all = append(all, chromeFaults()...)
	all = append(all, helperFaults()...)
	all = append(all, pageFaults()...)
	all = append(all, binaryFaults()...)
	all = append(all, waywardFaults()...)
	all = append(all, surroundings()...)
	all = append(all, startFaults()...)
	all = append(all, machineFaults()...)
	all = append(all, supervisorFaults()...)
	return append(all, successorFaults()...)
}

// injection is how a fault is brought about.
type injection = func(context.Context, *rig, target) error

func toWorker(sig syscall.Signal) injection {
	return func(_ context.Context, _ *rig, t target) error { return signalAll([]int{t.view.Worker.PID}, sig) }
}

func toChrome(sig syscall.Signal) injection {
	return func(_ context.Context, _ *rig, t target) error { return signalAll([]int{t.view.Browser.PID}, sig) }
}

// toAll signals all helpers of a kind.
func toAll(kind string, sig syscall.Signal) injection {
	return func(_ context.Context, _ *rig, t target) error { return signalAll(t.tree.of(kind), sig) }
}

// onPage tells the page to do something, once it listens.
func onPage(do func(*simulator.Server) error) injection {
	return func(ctx context.Context, r *rig, _ target) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := r.sim.Await(ctx, func(c simulator.Screen) bool { return c.Load != 0 }); err != nil {
			return err
		}
		return do(r.sim)
	}
}

func workerFaults() []fault {
	crashed, hung := []string{"worker_crashed"}, []string{"worker_hung"}
	return []fault{
		{name: "worker killed", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGKILL)},
		{name: "worker crashes, with stacks", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGQUIT)},
		{name: "worker segfaults", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGSEGV)},
		{name: "worker told to end by somebody", expect: restarts, reasons: crashed, random: true, inject: toWorker(syscall.SIGTERM)},
		{name: "worker stopped", expect: restarts, reasons: hung, random: true, inject: toWorker(syscall.SIGSTOP)},
		{name: "worker stopped for a moment", expect: nothing, hold: 5 * time.Second, random: true, inject: toWorker(syscall.SIGSTOP),
			mend: func(ctx context.Context, r *rig, t target) error { return toWorker(syscall.SIGCONT)(ctx, r, t) }},
	}
}

func chromeFaults() []fault {
	crashed, hung := []string{"browser_crashed"}, []string{"browser_hung"}
	return []fault{
		{name: "Chrome killed", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGKILL)},
		{name: "Chrome segfaults", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGSEGV)},
		{name: "Chrome terminated by somebody", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGTERM)},
		{name: "Chrome closed by somebody", expect: restarts, reasons: crashed, random: true, inject: toChrome(syscall.SIGINT)},
		{name: "Chrome stopped", expect: restarts, reasons: hung, random: true, inject: toChrome(syscall.SIGSTOP)},
		{name: "worker and Chrome stopped", expect: restarts, reasons: []string{"worker_hung"}, random: true,
			inject: func(_ context.Context, _ *rig, t target) error { return signalAll(t.tree.pids(), syscall.SIGSTOP) }},
		{name: "crash handler stopped, Chrome killed", expect: restarts, reasons: crashed, random: true,
			inject: func(ctx context.Context, r *rig, t target) error {
				// Chrome may run without one.
				_ = signalAll(t.tree.of("chrome_crashpad"), syscall.SIGSTOP)
				return toChrome(syscall.SIGKILL)(ctx, r, t)
			}},
		{name: "worker and Chrome killed at once", expect: restarts, reasons: []string{"worker_crashed", "browser_crashed"}, random: true,
			inject: func(_ context.Context, _ *rig, t target) error {
				return signalAll([]int{t.view.Worker.PID, t.view.Browser.PID}, syscall.SIGKILL)
			}},
	}
}

func helperFaults() []fault {
	const heals = 6 * time.Second
	return []fault{
		{name: "GPU process killed", expect: nothing, hold: heals, random: true, inject: toAll("gpu-process", syscall.SIGKILL)},
		{name: "network process killed", expect: nothing, hold: heals, random: true, inject: toAll("network", syscall.SIGKILL)},
		{name: "storage process killed", expect: nothing, hold: heals, random: true, inject: toAll("storage", syscall.SIGKILL)},
		{name: "zygotes killed", expect: nothing, hold: heals, random: true, inject: toAll("zygote", syscall.SIGKILL)},
		{name: "renderer killed", expect: cured, reasons: []string{"page_crashed"}, random: true, inject: toAll("renderer", syscall.SIGKILL)},
		{name: "renderer stopped", expect: restarts, reasons: []string{"page_hung"}, inject: toAll("renderer", syscall.SIGSTOP)},
		{name: "GPU process stopped", expect: restarts, reasons: []string{"painting_hung"}, inject: toAll("gpu-process", syscall.SIGSTOP)},
		{name: "network process stopped", expect: restarts, reasons: []string{"network_hung"}, inject: toAll("network", syscall.SIGSTOP)},
	}
}

func pageFaults() []fault {
	return []fault{
		{name: "page in an endless loop", expect: cured, reasons: []string{"page_hung"}, inject: onPage((*simulator.Server).Hang)},
		{name: "page crashes", expect: cured, reasons: []string{"page_crashed"}, random: true, inject: onPage((*simulator.Server).Crash)},
		{name: "page loads itself again", expect: nothing, hold: 3 * time.Second, random: true, inject: onPage((*simulator.Server).Reload)},
		{name: "page asks a question", expect: nothing, hold: 6 * time.Second, random: true, inject: onPage((*simulator.Server).Ask)},
		{name: "page floods the console", expect: nothing, hold: 8 * time.Second, random: true, inject: onPage((*simulator.Server).Chatter)},
		{name: "page unreachable when Chrome starts", expect: waits, reasons: []string{"network_unreachable", "http_error"}, hold: 15 * time.Second,
			inject: func(ctx context.Context, r *rig, t target) error {
				r.sim.DropNetwork()
				return toChrome(syscall.SIGKILL)(ctx, r, t)
			},
			mend: func(_ context.Context, r *rig, _ target) error { r.sim.RestoreNetwork(); return nil }},
		{name: "network lost", expect: waits, reasons: []string{"network_unreachable", "reconnecting"}, hold: 8 * time.Second,
			inject: func(_ context.Context, r *rig, _ target) error { r.sim.DropNetwork(); return nil },
			mend:   func(_ context.Context, r *rig, _ target) error { r.sim.RestoreNetwork(); return nil }},
		{name: "network silent", expect: waits, reasons: []string{"network_unreachable", "reconnecting"}, hold: 8 * time.Second,
			inject: func(_ context.Context, r *rig, _ target) error { r.sim.StallNetwork(); return nil },
			mend:   func(_ context.Context, r *rig, _ target) error { r.sim.RestoreNetwork(); return nil }},
	}
}

// binaryFaults are what happens to the worker's binary while it runs.
func binaryFaults() []fault {
	return []fault{
		{name: "worker binary replaced", expect: rolls, reasons: []string{"worker_replaced"}, random: true,
			inject: func(_ context.Context, r *rig, _ target) error { return r.replaceWorker(nil) }},
		brokenWorker("half of one", func(whole []byte) []byte { return whole[:len(whole)/2] }),
		brokenWorker("one for another machine", func(whole []byte) []byte {
			const machine = 18 // where an ELF file names it
			whole[machine] ^= 0xff
			return whole
		}),
		brokenWorker("one that says nothing", program("exec sleep 1000")),
		brokenWorker("one that ends at once", program("exit 7")),
		brokenWorker("one of another version", program("echo '1|99|unix|/no/where|grpc|'; exec sleep 1000")),
		brokenWorker("one that floods what it should answer on", program("exec yes")),
		brokenWorker("one whose log is hostile", program(`while echo '{"@message":5}' >&2; do :; done`)),
		{name: "Chrome replaced by another", expect: rolls, reasons: []string{"browser_replaced"},
			clear: func(_ context.Context, r *rig) error { return r.restoreChrome() },
			inject: func(_ context.Context, r *rig, _ target) error {
				return r.wrapChrome("")
			}},
		{name: "worker binary gone, worker killed", expect: restarts, reasons: []string{"worker_crashed"},
			clear: func(_ context.Context, r *rig) error { return r.replaceWorker(nil) },
			inject: func(ctx context.Context, r *rig, t target) error {
				if err := command.Pause(ctx, provenAfter); err != nil {
					return err
				}
				if err := os.Remove(r.places.worker); err != nil {
					return err
				}
				return toWorker(syscall.SIGKILL)(ctx, r, t)
			}},
	}
}

// brokenWorker is a fault in which the worker's binary is replaced by a broken one,
// and then by a whole one. The one that runs must not mind the first.
func brokenWorker(what string, change func([]byte) []byte) fault {
	return fault{
		name: "worker binary replaced by " + what + ", and then by a whole one", expect: rolls, reasons: []string{"worker_replaced"},
		hold: 3 * time.Second, random: true,
		inject: func(_ context.Context, r *rig, _ target) error { return r.replaceWorker(change) },
		mend: func(ctx context.Context, r *rig, t target) error {
			v, err := viewOf(ctx, r.service)
			if err == nil && v.Worker.Generation != t.view.Worker.Generation {
				err = errors.New("the broken worker was used")
			}
			return errors.Join(err, r.replaceWorker(nil))
		},
	}
}

// program is a script in the place of a binary.
func program(body string) func([]byte) []byte {
	return func([]byte) []byte { return []byte("#!/bin/sh\n" + body + "\n") }
}

// surroundings are faults of what the service lives on. Chrome is killed as well
// where it takes a start to meet them.
func surroundings() []fault {
	return []fault{
		{name: "Chrome gone from the disk", expect: blocked, reasons: []string{"browser_missing"}, hold: time.Second,
			inject: func(ctx context.Context, r *rig, t target) error {
				return andKill(os.Rename(r.places.chrome, r.places.chrome+".away"))(ctx, r, t)
			},
			mend: func(_ context.Context, r *rig, _ target) error { return r.restoreChrome() }},
		{name: "runtime folder wiped", expect: restarts, reasons: []string{"browser_crashed"},
			inject: func(ctx context.Context, r *rig, t target) error {
				return andKill(os.RemoveAll(r.places.runtime))(ctx, r, t)
			}},
		{name: "crash folder unusable", expect: restarts, reasons: []string{"browser_crashed"},
			prepare: func(_ context.Context, r *rig) error {
				return replaceByFile(filepath.Join(r.places.tokens, "crashes"))
			},
			clear:  func(_ context.Context, r *rig) error { return os.Remove(filepath.Join(r.places.tokens, "crashes")) },
			inject: toChrome(syscall.SIGKILL)},
		{name: "disk full", expect: blocked, reasons: []string{"disk_full"}, hold: time.Second,
			prepare: mountSmall, clear: unmountSmall,
			inject: func(ctx context.Context, r *rig, t target) error { return andKill(fillDisk(r))(ctx, r, t) },
			mend:   func(_ context.Context, r *rig, _ target) error { return os.Remove(filler(r)) }},
		{name: "disk nearly full for a while", expect: nothing, hold: time.Second,
			prepare: mountSmall, clear: unmountSmall,
			inject: func(ctx context.Context, r *rig, _ target) error {
				if err := fillDisk(r); err != nil {
					return err
				}
				if _, err := r.await(ctx, "a warning", func(v view) bool { return v.Warning != nil && v.Warning.Code == "disk_full" }); err != nil {
					return errors.Join(err, os.Remove(filler(r)))
				}
				if err := os.Remove(filler(r)); err != nil {
					return err
				}
				_, err := r.await(ctx, "the end of the warning", func(v view) bool { return v.Warning == nil })
				return err
			}},
		{name: "no file descriptors left", expect: restarts, reasons: []string{"worker_crashed"}, hold: 3 * time.Second,
			inject: func(ctx context.Context, r *rig, t target) error {
				if err := r.limitFiles(2); err != nil {
					return err
				}
				return toWorker(syscall.SIGKILL)(ctx, r, t)
			},
			mend: func(_ context.Context, r *rig, _ target) error { return r.limitFiles(1000) }},
	}
}

// andKill kills Chrome, unless what went before failed.
func andKill(err error) injection {
	return func(ctx context.Context, r *rig, t target) error {
		if err != nil {
			return err
		}
		return toChrome(syscall.SIGKILL)(ctx, r, t)
	}
}

func replaceByFile(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}

// smallDisk is what the tokens folder is on for the fault "disk full". The
// service wants 256 MiB to be free.
const smallDisk = "size=500m"

// mountSmall puts a small file system over the tokens folder, with the same
// content.
func mountSmall(ctx context.Context, r *rig) error {
	aside := r.places.tokens + ".aside"
	if err := run1(ctx, "cp", "-a", r.places.tokens, aside); err != nil {
		return err
	}
	if err := unix.Mount("none", r.places.tokens, "tmpfs", 0, smallDisk+",mode=0700"); err != nil {
		return fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	return run1(ctx, "cp", "-a", aside+"/.", r.places.tokens)
}

func unmountSmall(_ context.Context, r *rig) error {
	_ = os.RemoveAll(r.places.tokens + ".aside")
	return unix.Unmount(r.places.tokens, 0)
}

func run1(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run %s: %w: %s", name, err, out)
	}
	return nil
}

func filler(r *rig) string { return filepath.Join(r.places.tokens, "filler") }

// fillDisk leaves less than the service wants, and more than Chrome needs to go
// on for a moment.
func fillDisk(r *rig) error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.places.tokens, &st); err != nil {
		return err
	}
	f, err := os.OpenFile(filler(r), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const left = 8 << 20
	return unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left)
}
