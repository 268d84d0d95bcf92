package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
)

// must fails the test on an error of its preparation.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestHindranceIsReportedAndNoticedWhenGone: the pause between two looks is a
// minute here, so that only the watch on the folders can have healed it.
func TestHindranceIsReportedAndNoticedWhenGone(t *testing.T) {
	tests := map[string]struct {
		breakIt func(t *testing.T, r *rig)
		fix     func(t *testing.T, r *rig)
		reason  reason.Code
	}{
		"Chrome is missing": {
			func(_ *testing.T, r *rig) { r.o.Chrome = r.path("no/such/chrome") },
			func(t *testing.T, r *rig) {
				must(t, os.MkdirAll(r.path("no/such"), 0o700))
				must(t, os.Rename(r.path("chrome"), r.path("no/such/chrome")))
			}, reason.BrowserMissing,
		},
		"Chrome is a folder": {
			func(t *testing.T, r *rig) { r.o.Chrome = r.path("c"); must(t, os.Mkdir(r.path("c"), 0o700)) },
			func(t *testing.T, r *rig) {
				must(t, os.Remove(r.path("c")))
				must(t, os.Rename(r.path("chrome"), r.path("c")))
			}, reason.BrowserMissing,
		},
		"Chrome is no Chrome": {
			func(_ *testing.T, r *rig) { r.program("chrome", "echo hello") },
			func(_ *testing.T, r *rig) { r.program("chrome", "echo Chromium 156.2.3.4") }, reason.BrowserMissing,
		},
		"Chrome is too old": {
			func(_ *testing.T, r *rig) { r.program("chrome", "echo Chromium 99.0.1.2") },
			func(_ *testing.T, r *rig) { r.program("chrome", "echo Chromium 156.2.3.4") }, reason.BrowserUnsupported,
		},
		"the worker is missing": {
			func(t *testing.T, r *rig) { must(t, os.Rename(r.path("worker"), r.path("away"))) },
			func(t *testing.T, r *rig) { must(t, os.Rename(r.path("away"), r.path("worker"))) }, reason.WorkerUnusable,
		},
		"the worker is not executable": {
			func(t *testing.T, r *rig) { replaceWorker(t, r, 0o600) },
			func(t *testing.T, r *rig) { must(t, os.Chmod(r.path("worker"), 0o700)) }, reason.WorkerUnusable,
		},
		"the profile is a file": {
			func(t *testing.T, r *rig) {
				must(t, os.Mkdir(r.path("tokens"), 0o700))
				must(t, os.WriteFile(r.path("tokens/admin"), nil, 0o600))
			},
			func(t *testing.T, r *rig) { must(t, os.Remove(r.path("tokens/admin"))) }, reason.ProfileUnwritable,
		},
		"tokens is a bad link": {
			func(t *testing.T, r *rig) { must(t, os.Symlink("/no/where", r.path("tokens"))) },
			func(t *testing.T, r *rig) { must(t, os.Remove(r.path("tokens"))) }, reason.ProfileUnwritable,
		},
		"a foreign Chrome has the profile": {
			func(t *testing.T, r *rig) {
				must(t, os.MkdirAll(r.path("tokens/admin"), 0o700))
				// PID 1 is older than any lock; a Chrome it is not, but it holds
				// the socket, so to say: the test listens there.
				listen(t, r)
				must(t, os.Symlink("elsewhere-1", r.path("tokens/admin/SingletonLock")))
			},
			func(t *testing.T, r *rig) {
				must(t, os.Remove(r.path("tokens/admin/SingletonSocket")))
				must(t, os.Remove(r.path("tokens/admin/SingletonLock")))
			}, reason.ProfileInUse,
		},
		"the runtime folder is a file": {
			func(t *testing.T, r *rig) { must(t, os.WriteFile(r.path("run"), nil, 0o600)) },
			func(t *testing.T, r *rig) { must(t, os.Remove(r.path("run"))) }, reason.RuntimeUnwritable,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "runs")
			tt.breakIt(t, r)
			r.start()
			b := await[Blocked](r)
			if b.Reason != tt.reason || b.Detail == "" || time.Until(b.RetryAt) < 30*time.Second && !scarce(tt.reason) {
				t.Errorf("Blocked: %+v", b)
			}
			tt.fix(t, r)
			awaitEvent[rpc.PageObserved](r)
		})
	}
}

func replaceWorker(t *testing.T, r *rig, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(r.path("worker"))
	must(t, err)
	must(t, os.Remove(r.path("worker")))
	must(t, os.WriteFile(r.path("worker"), data, mode))
}

func TestTextFileAsWorkerIsUnusable(t *testing.T) {
	r := newRig(t, "runs")
	must(t, os.Remove(r.path("worker")))
	must(t, os.WriteFile(r.path("worker"), []byte("not a program"), 0o700))
	r.start()
	if end := await[Exited](r); end.Reason != reason.WorkerUnusable || end.WorkerExit != "" {
		t.Errorf("Exited: %+v", end)
	}
	await[Blocked](r)
	r.wantOrder("Spawning Exiting Exited Blocked")
}

func TestHeldLeaseIsWaitedForThenReported(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Start.Retry = 100 * time.Millisecond })
	must(t, os.Mkdir(r.path("tokens"), 0o700))
	held, err := lease.Acquire(r.path("tokens/admin.lease"))
	must(t, err)
	r.start()
	if b := await[Blocked](r); b.Reason != reason.ProfileInUse || !strings.Contains(b.Detail, fmt.Sprintf("(pid %d) is still running", os.Getpid())) {
		t.Errorf("Blocked: %+v", b)
	}
	must(t, held.Close())
	awaitEvent[rpc.PageObserved](r)
	if got := len(r.log.lines(t, "worker_blocked")); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}
}

func TestLeaseFreedSoonDoesNotBlock(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Start.Lease = patience })
	must(t, os.Mkdir(r.path("tokens"), 0o700))
	held, err := lease.Acquire(r.path("tokens/admin.lease"))
	must(t, err)
	r.start()
	timer := time.AfterFunc(100*time.Millisecond, func() { _ = held.Close() })
	defer timer.Stop()
	awaitEvent[rpc.PageObserved](r)
	r.wantOrder("Spawning WorkerStarted PhaseChanged BrowserStarted PageObserved")
}

func TestStaleLockIsRemovedBeforeTheStart(t *testing.T) {
	r := newRig(t, "runs")
	must(t, os.MkdirAll(r.path("tokens/admin"), 0o700))
	must(t, os.Symlink("another-host-4242424", r.path("tokens/admin/SingletonLock")))
	r.start()
	awaitEvent[rpc.BrowserStarted](r)
	lines := r.log.lines(t, "lock_checked")
	if len(lines) != 1 || lines[0]["state"] != string(profile.StaleOtherHost) {
		t.Errorf("lock_checked: %v", lines)
	}
}

func TestRuntimeFolderMayVanishMeanwhile(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	must(t, os.RemoveAll(r.path("run")))
	must(t, restarted(r))
	await[Exited](r)
	awaitEvent[rpc.PageObserved](r)
}

func TestTokensFolderTakenByAnotherEndsRun(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	must(t, os.Rename(r.path("tokens"), r.path("moved")))
	other, err := profile.Open(r.path("tokens"))
	must(t, err)
	defer func() { _ = other.Close() }()
	must(t, restarted(r))
	if err := r.wait(); !errors.Is(err, profile.ErrHeld) {
		t.Errorf("Run() = %v, want ErrHeld", err)
	}
}
