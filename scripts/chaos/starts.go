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
)

// startFaults are met by a start of Chrome: each kills the one that runs.
func startFaults() []fault {
	failed := []string{"browser_start_failed"}
	return []fault{
		chromeReplaced("Chrome is a folder", []string{"browser_missing"}, func(path string) error { return os.Mkdir(path, 0o700) }),
		chromeReplaced("Chrome must not be executed", []string{"browser_missing"}, func(path string) error { return os.WriteFile(path, nil, 0o600) }),
		chromeReplaced("Chrome ends at once", failed, script("exit 1")),
		chromeReplaced("Chrome ends at once, as if its profile was in use", failed, script("exit 21")),
		chromeReplaced("Chrome aborts at once", failed, script("kill -ABRT $$")),
		afterItsDeadline(chromeReplaced("Chrome never answers", failed, script("echo 'DevTools listening on ws://127.0.0.1:1/' >&2; exec sleep 1000"))),
		chromeReplaced("Chrome has no usable sandbox", []string{"sandbox_refused"}, script("echo 'FATAL: No usable sandbox!' >&2; kill -ABRT $$")),
		chromeWrapped("Chrome may open few files", failed, "ulimit -n 64"),
		chromeWrapped("Chrome dies 2 s after each start", []string{"crash_loop"}, "{ sleep 2; kill -KILL $$; } &"),
		{name: "Chrome killed whenever all is well again", expect: blocked, reasons: []string{"crash_loop"}, hold: time.Second,
			inject: func(ctx context.Context, r *rig, t target) error { return r.killUntilStorm(ctx, t.view) },
			mend:   func(ctx context.Context, r *rig, _ target) error { return r.service.Restart(ctx) }},
		profileOccupied("a foreign Chrome has the profile", func(*rig) error { return nil }),
		profileOccupied("a foreign Chrome has the profile, and hides its socket", func(r *rig) error {
			return os.Remove(filepath.Join(r.places.profile(), "SingletonSocket"))
		}),
		profileReplaced("the profile is a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }),
		profileReplaced("the profile is a link to nowhere", func(path string) error { return os.Symlink("/no/where", path) }),
		{name: "the profile is read-only", expect: blocked, reasons: []string{"profile_unwritable"}, hold: time.Second,
			inject: func(ctx context.Context, r *rig, t target) error { return andKill(r.mountReadOnly())(ctx, r, t) },
			mend: func(_ context.Context, r *rig, _ target) error {
				return unix.Unmount(r.places.profile(), unix.MNT_DETACH)
			}},
		{name: "ports of other tools are taken", expect: restarts, reasons: []string{"browser_crashed"},
			prepare: func(ctx context.Context, r *rig) error { return r.listen(ctx, "127.0.0.1:9222", "127.0.0.1:2978") },
			clear:   func(_ context.Context, r *rig) error { return r.unlisten() },
			inject:  toChrome(syscall.SIGKILL)},
		inTemp("temporary folder missing", func(r *rig) (string, error) { return filepath.Join(r.places.root, "none"), nil }),
		inTemp("temporary folder with a long name", func(r *rig) (string, error) {
			long := filepath.Join(r.places.root, strings.Repeat("t", 100)) // a socket's address holds 108 bytes
			return long, os.MkdirAll(long, 0o700)
		}),
		inTemp("temporary folder full", (*rig).fullTemp),
		{name: "a helper of Chrome's has forked away", expect: restarts, reasons: []string{"browser_crashed"},
			prepare: func(_ context.Context, r *rig) error { return r.wrapChrome(`setsid sh -c 'sleep 1000 &'`) },
			clear:   func(_ context.Context, r *rig) error { return r.restoreChrome() },
			inject: func(ctx context.Context, r *rig, t target) error {
				if len(t.tree.of("sleep")) == 0 {
					return fmt.Errorf("%w: nothing has forked away", errSkipped)
				}
				return toChrome(syscall.SIGKILL)(ctx, r, t)
			}},
	}
}

// killUntilStorm kills each Chrome as soon as it works. That it worked must not make
// the service forget how often that was.
func (r *rig) killUntilStorm(ctx context.Context, v view) error {
	const storm, most = "crash_loop", 10
	for range most {
		killed := v.Worker.Generation
		err := signalAll([]int{v.Browser.PID}, syscall.SIGKILL)
		if err == nil {
			v, err = r.await(ctx, "a good state, or an open circuit", func(v view) bool {
				return v.Reason.Code == storm || v.settled(r.linked) && v.Worker.Generation > killed
			})
		}
		if err != nil || v.Reason.Code == storm {
			return err
		}
	}
	return fmt.Errorf("it was started anew %d times", most)
}

// inTemp is a fault in which the service has no use for its TMPDIR.
func inTemp(name string, folder func(*rig) (string, error)) fault {
	return fault{
		name: name, expect: restarts, reasons: []string{"browser_crashed"}, inject: toChrome(syscall.SIGKILL),
		prepare: func(_ context.Context, r *rig) error {
			path, err := folder(r)
			r.env = []string{"TMPDIR=" + path}
			return err
		},
		clear: func(_ context.Context, r *rig) error {
			path := strings.TrimPrefix(r.env[0], "TMPDIR=")
			r.env = nil
			_ = unix.Unmount(path, unix.MNT_DETACH) // EINVAL: none was mounted
			return os.RemoveAll(path)
		},
	}
}

// fullTemp is a folder on a file system with no space.
func (r *rig) fullTemp() (string, error) {
	path := filepath.Join(r.places.root, "full")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return path, err
	}
	if err := unix.Mount("none", path, "tmpfs", 0, "size=4k,nr_inodes=1,mode=0700"); err != nil {
		return path, fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	return path, nil
}

// profileOccupied is a fault in which a Chrome of somebody else's runs on the profile.
func profileOccupied(name string, then func(*rig) error) fault {
	return fault{
		name: name, expect: blocked, reasons: []string{"profile_in_use"}, hold: time.Second,
		inject: func(ctx context.Context, r *rig, t target) error {
			if err := r.occupy(ctx, t); err != nil {
				return err
			}
			return then(r)
		},
		mend: func(_ context.Context, r *rig, _ target) error {
			r.foreign.kill()
			return nil
		},
	}
}

// profileReplaced is a fault in which something else lies in the profile's place.
func profileReplaced(name string, put func(path string) error) fault {
	return fault{
		name: name, expect: blocked, reasons: []string{"profile_unwritable"}, hold: time.Second,
		inject: func(ctx context.Context, r *rig, t target) error {
			profile := r.places.profile()
			if err := os.Rename(profile, profile+".away"); err != nil {
				return err
			}
			return andKill(put(profile))(ctx, r, t)
		},
		mend: func(_ context.Context, r *rig, _ target) error {
			profile := r.places.profile()
			if err := os.Remove(profile); err != nil {
				return err
			}
			return os.Rename(profile+".away", profile)
		},
	}
}

// chromeReplaced is a fault in which something else lies in Chrome's place.
func chromeReplaced(name string, reasons []string, put func(path string) error) fault {
	return fault{
		name: name, expect: blocked, reasons: reasons, hold: time.Second,
		inject: func(ctx context.Context, r *rig, t target) error { return andKill(r.replaceChrome(put))(ctx, r, t) },
		// The pause after many failures is long; a person would not wait for it.
		mend: func(ctx context.Context, r *rig, _ target) error {
			return errors.Join(r.restoreChrome(), r.service.Restart(ctx))
		},
	}
}

// chromeWrapped is the same with a Chrome that does something first.
func chromeWrapped(name string, reasons []string, first string) fault {
	f := chromeReplaced(name, reasons, nil)
	f.inject = func(ctx context.Context, r *rig, t target) error { return andKill(r.wrapChrome(first))(ctx, r, t) }
	return f
}

// afterItsDeadline lets f last until a start has been given up once, which is no
// error yet.
func afterItsDeadline(f fault) fault {
	f.expect, f.hold = restarts, 20*time.Second
	f.mend = func(ctx context.Context, r *rig, _ target) error {
		_, err := r.await(ctx, "the end of a start", func(v view) bool {
			return v.Reason.Code == "browser_start_failed" && v.Phase.Name == "backoff"
		})
		return errors.Join(err, r.restoreChrome())
	}
	return f
}

func script(body string) func(path string) error {
	return func(path string) error {
		const version = `[ "$1" = --version ] && { echo 'Chromium 156.0.1.2'; exit 0; }` + "\n"
		return os.WriteFile(path, []byte("#!/bin/sh\n"+version+body+"\n"), 0o700) //nolint:gosec // a program must be executable
	}
}

// wrapChrome puts a script in Chrome's place that does something first. What it
// leaves running has all of Chrome's open files.
func (r *rig) wrapChrome(first string) error {
	browser, err := os.Readlink(r.places.chrome)
	if err != nil {
		return err
	}
	return r.replaceChrome(script(first + "\nexec " + browser + ` "$@"`))
}

// replaceChrome puts something else in Chrome's place, until restoreChrome.
func (r *rig) replaceChrome(put func(path string) error) error {
	if err := os.Rename(r.places.chrome, r.places.chrome+".away"); err != nil {
		return err
	}
	return put(r.places.chrome)
}

func (r *rig) restoreChrome() error {
	if err := os.RemoveAll(r.places.chrome); err != nil {
		return err
	}
	return os.Rename(r.places.chrome+".away", r.places.chrome)
}

// occupy ends Chrome, and starts one on its profile that is none of the service's.
func (r *rig) occupy(ctx context.Context, t target) error {
	browser, err := os.Readlink(r.places.chrome)
	if err != nil {
		return err
	}
	// Meanwhile the service can't start its own.
	if err := os.Rename(r.places.chrome, r.places.chrome+".away"); err != nil {
		return err
	}
	if err := toChrome(syscall.SIGKILL)(ctx, r, t); err != nil {
		return err
	}
	if _, err := r.await(ctx, "an error", func(v view) bool { return v.Status == "ERROR" }); err != nil {
		return err
	}
	if r.foreign, err = startForeign(ctx, browser, r.places.profile()); err != nil {
		return err
	}
	if err := r.restoreChrome(); err != nil {
		return err
	}
	_, err = r.await(ctx, "profile_in_use", func(v view) bool { return v.Reason.Code == "profile_in_use" })
	return err
}

// foreign is a Chrome that was not started by the service.
type foreign struct {
	pid   int
	ended chan struct{}
}

// startForeign starts a Chrome on a profile, and returns when it has it.
func startForeign(ctx context.Context, browser, profile string) (*foreign, error) {
	args := []string{"--headless=new", "--no-first-run", "--user-data-dir=" + profile, "about:blank"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), browser, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a foreign Chrome: %w", err)
	}
	f := &foreign{pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !f.over(); time.Sleep(pollEvery) {
		lock, err := os.Readlink(filepath.Join(profile, "SingletonLock"))
		if err == nil && strings.HasSuffix(lock, fmt.Sprintf("-%d", f.pid)) {
			return f, nil
		}
	}
	f.kill()
	return nil, errors.New("the foreign Chrome did not take the profile")
}

// over says whether it has ended.
func (f *foreign) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// kill ends it with its helpers. It may be called again.
func (f *foreign) kill() {
	if !f.over() {
		_ = syscall.Kill(-f.pid, syscall.SIGKILL)
		<-f.ended
	}
}

// mountReadOnly lets nobody write into the profile who has no file of it open.
func (r *rig) mountReadOnly() error {
	profile := r.places.profile()
	if err := unix.Mount(profile, profile, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%w: cannot mount: %w", errSkipped, err)
	}
	if err := unix.Mount("", profile, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("cannot mount read-only: %w", err), unix.Unmount(profile, unix.MNT_DETACH))
	}
	return nil
}

func (r *rig) listen(ctx context.Context, addresses ...string) error {
	for _, address := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("%w: %w", errSkipped, err)
		}
		r.listeners = append(r.listeners, l)
	}
	return nil
}

func (r *rig) unlisten() error {
	for _, l := range r.listeners {
		_ = l.Close()
	}
	r.listeners = nil
	return nil
}
