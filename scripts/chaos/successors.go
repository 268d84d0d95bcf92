package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"session-manager/scripts/harness"
)

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
			killed(replaceChrome(script("exit 1"))),
			awaitReason("crash_loop"),
			stop, restoreChrome, simply(func(h *hit) error { return os.Remove(h.files.restarts()) }), start)},
		{name: "supervisor killed", inject: all(kill, start)},
		{name: "supervisor killed, a lock of another host left", inject: all(killAndUnlock, lock("another-host-4242"), start)},
		{name: "supervisor killed, a lock of a dead process left", inject: all(killAndUnlock, lock(host+"-4194303"), start)},
		{name: "supervisor killed, a lock left whose number a plain process has now",
			inject: all(killAndUnlock, lock(fmt.Sprintf("%s-%d", host, os.Getpid())), start)},
		{name: "supervisor killed, a lock left that is a file", inject: all(killAndUnlock,
			simply(func(h *hit) error { return os.WriteFile(h.files.lock(), nil, 0o600) }), start, settled, quarantined)},
		{name: "supervisor killed, a lock left that is a folder", inject: all(killAndUnlock,
			simply(func(h *hit) error { return os.Mkdir(h.files.lock(), 0o700) }), start, settled, quarantined)},
		{name: "supervisor killed, a lock left whose number another Chrome has now", inject: lockOfAnother(host)},
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
