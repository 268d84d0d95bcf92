package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/shared/chrome"
)

// startFaults are met by a start of Chrome: each kills the one that runs.
func startFaults() []fault {
	crashed, failed, missing := one("browser_crashed"), one("browser_start_failed"), one("browser_missing")
	return []fault{
		badChrome("Chrome is a folder", missing, replaceChrome(func(path string) error { return os.Mkdir(path, 0o700) })),
		badChrome("Chrome must not be executed", missing, replaceChrome(func(path string) error { return os.WriteFile(path, nil, 0o600) })),
		badChrome("Chrome exits at once", failed, script("exit 1")),
		badChrome("Chrome exits at once, as if its profile was in use", failed, script("exit 21")),
		badChrome("Chrome aborts at once", failed, script("kill -ABRT $$")),
		{name: "Chrome never answers", expect: restarts, reasons: failed, hold: 20 * time.Second,
			inject: killed(script("echo 'DevTools listening on ws://127.0.0.1:1/' >&2; exec sleep 1000")),
			// That a start has reached its deadline is no error yet.
			fix: all(until("the end of a start", func(v harness.Session) bool {
				return v.Reason.Code == "browser_start_failed" && v.Phase.Name == "backoff"
			}), restoreChrome)},
		badChrome("Chrome has no usable sandbox", one("sandbox_refused"), script("echo 'FATAL: No usable sandbox!' >&2; kill -ABRT $$")),
		badChrome("Chrome may open few files", failed, wrapChrome("ulimit -n 24")),
		badChrome("Chrome dies 2 s after each start", one("crash_loop"), wrapChrome("{ sleep 2; kill -KILL $$; } &")),
		{name: "Chrome killed whenever all is well again", expect: blocked, reasons: one("crash_loop"), hold: time.Second,
			inject: killUntilGivenUp, fix: restartNow},
		foreignChrome("a foreign Chrome has the profile", func(files) error { return nil }),
		foreignChrome("a foreign Chrome has the profile, and hides its socket", func(f files) error {
			return os.Remove(filepath.Join(f.profile(), "SingletonSocket"))
		}),
		badProfile("the profile is a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }),
		badProfile("the profile is a link to nowhere", func(path string) error { return os.Symlink("/no/where", path) }),
		{name: "the profile is read-only", expect: blocked, reasons: one("profile_unwritable"), hold: time.Second,
			inject: killed(simply(mountReadOnly)),
			fix:    simply(func(h *hit) error { return unix.Unmount(h.files.profile(), unix.MNT_DETACH) })},
		{name: "ports of other tools are taken", expect: restarts, reasons: crashed, prepare: listen("127.0.0.1:9222", "127.0.0.1:2978"), inject: killed()},
		badTemp("temporary folder missing", "none", func(string) error { return nil }),
		// A socket's address holds 108 bytes.
		badTemp("temporary folder with a long name", strings.Repeat("t", 100), func(path string) error { return os.Mkdir(path, 0o700) }),
		badTemp("temporary folder full", "full", func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), mount("none", path, "tmpfs", 0, "size=4k,nr_inodes=1,mode=0700"))
		}),
		{name: "a helper of Chrome's has forked away", expect: restarts, reasons: crashed,
			prepare: all(wrapChrome(`setsid sh -c 'sleep 1000 &'`), undoReplacedChrome),
			inject: killed(simply(func(h *hit) error {
				if len(h.tree.Of("sleep")) == 0 {
					return fmt.Errorf("%w: nothing has forked away", errSkipped)
				}
				return nil
			}))},
	}
}

// badChrome is a fault in which Chrome was replaced by something that can't work.
func badChrome(name string, reasons []string, replace action) fault {
	return fault{
		name: name, expect: blocked, reasons: reasons, hold: time.Second,
		inject: killed(replace), fix: all(restoreChrome, restartNow),
	}
}

// replaceChrome puts something else in Chrome's place, until restoreChrome.
func replaceChrome(put func(path string) error) action {
	return simply(func(h *hit) error {
		if err := os.Remove(h.files.chrome); err != nil {
			return err // to write would follow the link
		}
		return put(h.files.chrome)
	})
}

func restoreChrome(_ context.Context, h *hit) error { return h.files.restoreChrome() }

// undoReplacedChrome restores Chrome when the fault is over.
func undoReplacedChrome(_ context.Context, h *hit) error {
	h.afterwards(h.files.restoreChrome)
	return nil
}

// wrapChrome puts a script in Chrome's place that does something first. What it leaves
// running has all of Chrome's open files.
func wrapChrome(first string) action {
	return func(ctx context.Context, h *hit) error {
		return script(first+"\nexec "+h.files.browser+` "$@"`)(ctx, h)
	}
}

// script puts a script in Chrome's place, whose --version is another build of that Chrome.
func script(body string) action {
	return func(ctx context.Context, h *hit) error {
		major, _, _ := strings.Cut(h.files.version, ".")
		version := `[ "$1" = --version ] && { echo 'Chromium ` + major + `.0.1.2'; exit 0; }`
		return replaceChrome(func(path string) error {
			return os.WriteFile(path, []byte("#!/bin/sh\n"+version+"\n"+body+"\n"), 0o700) //nolint:gosec // a program must be executable
		})(ctx, h)
	}
}

// killUntilGivenUp kills each Chrome as soon as it works. That it worked must not make
// the service forget how often that was.
func killUntilGivenUp(ctx context.Context, h *hit) error {
	const given, most = "crash_loop", 10
	v := h.before
	for range most {
		killed := v.Worker.Generation
		err := harness.SignalAll(syscall.SIGKILL, v.Browser.PID)
		if err == nil {
			v, err = h.await(ctx, "a good state, or an open circuit", func(v harness.Session) bool {
				return v.Reason.Code == given || v.Settled(h.linked) && v.Worker.Generation > killed
			})
		}
		if err != nil || v.Reason.Code == given {
			return err
		}
	}
	return fmt.Errorf("it was restarted %d times", most)
}

// badTemp is a fault in which the service cannot use its TMPDIR.
func badTemp(name, folder string, put func(path string) error) fault {
	return fault{
		name: name, expect: restarts, reasons: one("browser_crashed"), inject: killed(),
		prepare: simply(func(h *hit) error {
			path := filepath.Join(h.files.root, folder)
			h.env = []string{"TMPDIR=" + path}
			h.afterwards(func() error {
				_ = unix.Unmount(path, unix.MNT_DETACH) // EINVAL: none was mounted
				return os.RemoveAll(path)
			})
			return put(path)
		}),
	}
}

// badProfile is a fault in which something else is in the profile's place.
func badProfile(name string, put func(path string) error) fault {
	return fault{
		name: name, expect: blocked, reasons: one("profile_unwritable"), hold: time.Second,
		inject: killed(simply(func(h *hit) error {
			profile := h.files.profile()
			return errors.Join(os.Rename(profile, profile+".away"), put(profile))
		})),
		fix: simply(func(h *hit) error {
			profile := h.files.profile()
			return errors.Join(os.Remove(profile), os.Rename(profile+".away", profile))
		}),
	}
}

// mountReadOnly lets nobody write into the profile who has no file of it open.
func mountReadOnly(h *hit) error {
	profile := h.files.profile()
	if err := mount(profile, profile, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", profile, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("cannot mount read-only: %w", err), unix.Unmount(profile, unix.MNT_DETACH))
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	return nil
}

// listen takes ports while the fault lasts.
func listen(addresses ...string) action {
	return func(ctx context.Context, h *hit) error {
		for _, address := range addresses {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("%w: %w", errSkipped, err)
			}
			h.afterwards(l.Close)
		}
		return nil
	}
}

// foreignChrome is a fault in which a Chrome that the service did not start runs on the
// profile.
func foreignChrome(name string, then func(files) error) fault {
	var other *harness.Child
	end := func() error {
		other.KillGroup()
		return nil
	}
	return fault{
		name: name, expect: blocked, reasons: one("profile_in_use"), hold: time.Second,
		inject: all(
			locks,
			// Meanwhile the service can't start its own.
			killed(replaceChrome(func(string) error { return nil })),
			until("an error", func(v harness.Session) bool { return v.Status == "ERROR" }),
			func(ctx context.Context, h *hit) (err error) {
				if other, err = startForeign(ctx, h.files.browser, h.files.profile()); err == nil {
					h.afterwards(end)
				}
				return err
			},
			restoreChrome,
			awaitReason("profile_in_use"),
			simply(func(h *hit) error { return then(h.files) })),
		fix: simply(func(*hit) error { return end() }),
	}
}

// locks skips a fault of Chrome's lock where the engine has none.
func locks(_ context.Context, h *hit) error {
	if h.before.Browser.Engine == string(chrome.HeadlessShell) {
		return fmt.Errorf("%w: chrome-headless-shell does not lock its profile", errSkipped)
	}
	return nil
}

// startForeign starts a Chrome on a profile, and returns when it has it.
func startForeign(ctx context.Context, browser, profile string) (*harness.Child, error) {
	args := []string{"--headless=new", "--no-first-run", "--user-data-dir=" + profile, "about:blank"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	other, err := harness.Spawn(exec.CommandContext(context.WithoutCancel(ctx), browser, args...))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !other.HasExited(0) && harness.Pause(ctx, pollEvery) == nil {
		lock, err := os.Readlink(filepath.Join(profile, "SingletonLock"))
		if err == nil && strings.HasSuffix(lock, fmt.Sprintf("-%d", other.PID())) {
			return other, nil
		}
	}
	other.KillGroup()
	return nil, errors.New("the foreign Chrome did not take the profile")
}

// successorFaults end the supervisor; the next one must cope with what it finds.
func successorFaults() []fault {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	lock := func(target string) action {
		return simply(func(h *hit) error { return os.Symlink(target, h.files.lock()) })
	}
	faults := []fault{
		{name: "supervisor terminated", inject: all(simply(func(h *hit) error { return h.service.Stop() }), start)},
		{name: "supervisor terminated at each moment of its start", inject: stopEarly},
		{name: "supervisor terminated three times at once", inject: all(terminateThrice, start)},
		{name: "supervisor terminated while it waits to try again", inject: all(
			killed(script("exit 1")),
			awaitReason("crash_loop"),
			stop, restoreChrome, simply(func(h *hit) error { return os.Remove(h.files.restarts()) }), start)},
		{name: "supervisor killed", inject: all(kill, start)},
		{name: "supervisor killed, a lock of another host left", inject: all(killAndUnlock, lock("another-host-4242"), start)},
		{name: "supervisor killed, a lock of a dead process left", inject: all(killAndUnlock, lock(host+"-4194303"), start)},
		{name: "supervisor killed, a lock left whose number a plain process has now",
			inject: all(killAndUnlock, lock(fmt.Sprintf("%s-%d", host, os.Getpid())), start)},
		{name: "supervisor killed, a lock left that is a file", inject: all(locks, killAndUnlock,
			simply(func(h *hit) error { return os.WriteFile(h.files.lock(), nil, 0o600) }), start, settled, quarantined)},
		{name: "supervisor killed, a lock left that is a folder", inject: all(locks, killAndUnlock,
			simply(func(h *hit) error { return os.Mkdir(h.files.lock(), 0o700) }), start, settled, quarantined)},
		{name: "supervisor killed, a lock left whose number another Chrome has now", inject: all(locks, lockOfAnother(host))},
		{name: "supervisor killed, the restart policy's memory torn", inject: all(kill,
			simply(func(h *hit) error { return os.WriteFile(h.files.restarts(), []byte(`{"fail`), 0o600) }), start)},
	}
	for i := range faults {
		faults[i].expect, faults[i].excused = succeeded, true
	}
	return faults
}

func start(ctx context.Context, h *hit) error { return h.start(ctx) }

func settled(ctx context.Context, h *hit) error {
	_, err := h.awaitSettled(ctx)
	return err
}

func kill(_ context.Context, h *hit) error {
	h.service.Kill()
	return nil
}

// stop ends the service as systemd does, within what an operator waits for.
func stop(_ context.Context, h *hit) error {
	begun := time.Now()
	if err := h.service.Stop(); err != nil {
		return err
	}
	if took := time.Since(begun); took > h.o.stopLimit {
		return fmt.Errorf("it took %s to stop", took.Round(time.Millisecond))
	}
	return nil
}

// stopEarly ends the service again and again, each time a little later in its start.
func stopEarly(ctx context.Context, h *hit) error {
	const step, steps = 75 * time.Millisecond, 12
	for i := range steps {
		pause := func(ctx context.Context, _ *hit) error { return harness.Pause(ctx, time.Duration(i)*step) }
		if err := all(stop, start, pause)(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func terminateThrice(_ context.Context, h *hit) error {
	for range 3 {
		if err := h.service.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	if left := h.tree.Left(10 * time.Second); len(left) > 0 {
		return fmt.Errorf("left: %v", left)
	}
	h.service.Kill() // unless it has exited
	return nil
}

// killAndUnlock kills the supervisor and removes Chrome's lock.
func killAndUnlock(_ context.Context, h *hit) error {
	h.service.Kill()
	h.tree.Left(10 * time.Second)
	return os.RemoveAll(h.files.lock())
}

// quarantined wants that something which no Chrome puts in the lock's place was moved
// away, and kept.
func quarantined(_ context.Context, h *hit) error {
	kept, err := filepath.Glob(h.files.lock() + ".quarantine.*")
	if err != nil {
		return err
	}
	if len(kept) != 1 {
		return fmt.Errorf("what was there was not kept once, but %d times", len(kept))
	}
	return os.RemoveAll(kept[0])
}

// lockOfAnother leaves a lock that names a Chrome on another profile, which must live
// on.
func lockOfAnother(host string) action {
	return func(ctx context.Context, h *hit) error {
		profile := filepath.Join(h.files.root, "other")
		other, err := startForeign(ctx, h.files.browser, profile)
		if err != nil {
			return err
		}
		defer func() {
			other.KillGroup()
			_ = os.RemoveAll(profile)
		}()
		lock := simply(func(h *hit) error { return os.Symlink(fmt.Sprintf("%s-%d", host, other.PID()), h.files.lock()) })
		if err := all(killAndUnlock, lock, start, settled)(ctx, h); err != nil {
			return err
		}
		if other.HasExited(0) {
			return errors.New("the other Chrome was ended")
		}
		return nil
	}
}
