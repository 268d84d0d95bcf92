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

	"session-manager/scripts/command"
	"session-manager/scripts/harness"
)

// supervisorFaults hit the supervisor itself, or stand beside it.
func supervisorFaults() []fault {
	return []fault{
		{name: "everything suspended for 15 s", expect: nothing, excused: true, hold: 20 * time.Second,
			inject: func(ctx context.Context, r *rig, t target) error { return r.suspend(ctx, t, 15*time.Second) }},
		{name: "supervisor stopped for 3 s", expect: nothing, excused: true, hold: 8 * time.Second,
			inject: func(ctx context.Context, r *rig, _ target) error { return r.suspend(ctx, target{}, 3*time.Second) }},
		{name: "a second supervisor on the same profile", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, r *rig, _ target) error {
				address, err := harness.FreeAddress(ctx)
				if err != nil {
					return err
				}
				return r.second(ctx, address, r.places.tokens)
			}},
		{name: "eight supervisors at once on the same profile", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, r *rig, _ target) error {
				const rivals = 8
				ended := make(chan error, rivals)
				for range rivals {
					go func() {
						address, err := harness.FreeAddress(ctx)
						if err == nil {
							err = r.second(ctx, address, r.places.tokens)
						}
						ended <- err
					}()
				}
				var err error
				for range rivals {
					err = errors.Join(err, <-ended)
				}
				return err
			}},
		{name: "a second supervisor on the same port", expect: nothing, hold: time.Second,
			inject: func(ctx context.Context, r *rig, _ target) error {
				return r.second(ctx, r.address, filepath.Join(r.places.root, "second"))
			}},
	}
}

// second starts another supervisor, which must give up.
func (r *rig) second(ctx context.Context, address, tokens string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.o.supervisor, "--listen", address, "--url", r.url, "--tokens", tokens,
		"--worker", r.places.worker, "--chrome", r.places.chrome)
	runtime, err := os.MkdirTemp(r.places.root, "r")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(runtime) }()
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+runtime)
	out, err := cmd.CombinedOutput()
	if exit := (&exec.ExitError{}); ctx.Err() != nil || !errors.As(err, &exit) {
		return fmt.Errorf("the second supervisor did not give up: %s", out)
	}
	return nil
}

// successorFaults end the supervisor; its successor must find its way.
func successorFaults() []fault {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	lock := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	return []fault{
		{name: "supervisor told to end", expect: succeeded, excused: true, inject: func(ctx context.Context, r *rig, _ target) error {
			if err := r.service.Stop(); err != nil {
				return err
			}
			return r.start(ctx)
		}},
		{name: "supervisor told to end at each moment of its start", expect: succeeded, excused: true,
			inject: func(ctx context.Context, r *rig, _ target) error { return r.stopEarly(ctx) }},
		{name: "supervisor told to end three times at once", expect: succeeded, excused: true,
			inject: func(ctx context.Context, r *rig, t target) error {
				for range 3 {
					if err := signalAll([]int{r.service.PID()}, syscall.SIGTERM); err != nil {
						return err
					}
				}
				if left := t.tree.left(10*time.Second, nil); len(left) > 0 {
					return fmt.Errorf("left: %v", left)
				}
				r.service.Kill() // unless it has ended
				return r.start(ctx)
			}},
		{name: "supervisor told to end while it waits to try again", expect: succeeded, excused: true,
			inject: func(ctx context.Context, r *rig, t target) error {
				if err := andKill(r.replaceChrome(script("exit 1")))(ctx, r, t); err != nil {
					return err
				}
				_, err := r.await(ctx, "an open circuit", func(v view) bool { return v.Reason.Code == "crash_loop" })
				if err == nil {
					err = r.stopSoon()
				}
				if err := errors.Join(err, r.restoreChrome()); err != nil {
					return err
				}
				if err := os.Remove(filepath.Join(r.places.tokens, "admin.restarts")); err != nil {
					return err
				}
				return r.start(ctx)
			}},
		{name: "supervisor killed", expect: succeeded, excused: true, inject: func(ctx context.Context, r *rig, _ target) error {
			r.service.Kill()
			return r.start(ctx)
		}},
		lockLeft("a lock of another host left", lock("another-host-4242")),
		lockLeft("a lock of a dead process left", lock(host+"-4194303")),
		lockLeft("a lock left whose number a plain process has now", lock(fmt.Sprintf("%s-%d", host, os.Getpid()))),
		noLockLeft("a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }),
		noLockLeft("a folder", func(path string) error { return os.Mkdir(path, 0o700) }),
		{name: "supervisor killed, a lock left whose number another Chrome has now", expect: succeeded, excused: true,
			inject: func(ctx context.Context, r *rig, t target) error {
				browser, err := os.Readlink(r.places.chrome)
				if err != nil {
					return err
				}
				profile := filepath.Join(r.places.root, "other")
				if r.foreign, err = startForeign(ctx, browser, profile); err != nil {
					return err
				}
				defer func() {
					r.foreign.kill()
					_ = os.RemoveAll(profile)
				}()
				if err := r.succeed(ctx, t, lock(fmt.Sprintf("%s-%d", host, r.foreign.pid))); err != nil {
					return err
				}
				if _, err := r.awaitSettled(ctx); err != nil {
					return err
				}
				if r.foreign.over() {
					return errors.New("the other Chrome was ended")
				}
				return nil
			}},
		{name: "supervisor killed, the restart policy's memory torn", expect: succeeded, excused: true,
			inject: func(ctx context.Context, r *rig, _ target) error {
				r.service.Kill()
				if err := os.WriteFile(filepath.Join(r.places.tokens, "admin.restarts"), []byte(`{"fail`), 0o600); err != nil {
					return err
				}
				return r.start(ctx)
			}},
	}
}

// stopSoon ends the service as systemd does, within what an operator waits for.
func (r *rig) stopSoon() error {
	begun := time.Now()
	if err := r.service.Stop(); err != nil {
		return err
	}
	if took := time.Since(begun); took > r.o.soon {
		return fmt.Errorf("it took %s to stop", took.Round(time.Millisecond))
	}
	return nil
}

// stopEarly ends the service again and again, each time a little later in its start.
func (r *rig) stopEarly(ctx context.Context) error {
	const step, steps = 75 * time.Millisecond, 12
	for i := range steps {
		if err := r.stopSoon(); err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return err
		}
		if err := command.Pause(ctx, time.Duration(i)*step); err != nil {
			return err
		}
	}
	return nil
}

// lockLeft is a fault after which Chrome's lock is something else.
func lockLeft(name string, put func(path string) error) fault {
	return fault{
		name: "supervisor killed, " + name, expect: succeeded, excused: true,
		inject: func(ctx context.Context, r *rig, t target) error { return r.succeed(ctx, t, put) },
	}
}

// noLockLeft is a fault after which something is in the lock's place that no
// Chrome puts there. It must be moved away, and kept.
func noLockLeft(what string, put func(path string) error) fault {
	return fault{
		name: "supervisor killed, a lock left that is " + what, expect: succeeded, excused: true,
		inject: func(ctx context.Context, r *rig, t target) error {
			if err := r.succeed(ctx, t, put); err != nil {
				return err
			}
			if _, err := r.awaitSettled(ctx); err != nil {
				return err
			}
			kept, err := filepath.Glob(filepath.Join(r.places.profile(), "SingletonLock.quarantine.*"))
			if err != nil {
				return err
			}
			if len(kept) != 1 {
				return fmt.Errorf("what lay there was not kept once, but %d times", len(kept))
			}
			return os.RemoveAll(kept[0])
		},
	}
}

// succeed kills the supervisor, puts something in the place of Chrome's lock, and
// starts its successor.
func (r *rig) succeed(ctx context.Context, t target, put func(path string) error) error {
	r.service.Kill()
	t.tree.left(10*time.Second, nil)
	path := filepath.Join(r.places.profile(), "SingletonLock")
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := put(path); err != nil {
		return err
	}
	return r.start(ctx)
}
