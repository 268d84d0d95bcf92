package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
)

// fakeHooks hold the login while they are to, and take notes.
type fakeHooks struct {
	held   atomic.Bool
	before atomic.Int32
	after  chan Closing
	fails  atomic.Bool
}

func (k *fakeHooks) Hold(u Urgency) time.Time {
	if u == WhenIdle && k.held.Load() {
		return time.Now().Add(time.Hour)
	}
	return time.Time{}
}

func (k *fakeHooks) BeforeStart(_ context.Context, p *profile.Profile, s Start) error {
	k.before.Add(1)
	if k.fails.Load() {
		return reason.Wrap(reason.DiskFull, errors.New("no room"))
	}
	if p.Dir() == "" || s.Chrome == "" || s.ChromeVersion != "156.0.8078.79" {
		return errors.New("what is the instance started with?")
	}
	return nil
}

func (k *fakeHooks) AfterStop(_ context.Context, _ *profile.Profile, end Closing) { k.after <- end }

func kept(t *testing.T, mode string) (*rig, *fakeHooks) {
	t.Helper()
	k := &fakeHooks{after: make(chan Closing, 100)}
	r := newRig(t, mode)
	r.hooks = k
	return r, k
}

func TestRestartWaitsForTheLogin(t *testing.T) {
	r, k := kept(t, "runs")
	k.held.Store(true)
	r.start()
	awaitEvent[rpc.PageObserved](r)
	until, err := r.Restart(t.Context(), WhenIdle)
	if err != nil || until.IsZero() {
		t.Fatalf("Restart() = %v, %v", until, err)
	}
	awaitEvent[rpc.Heartbeat](r)
	awaitEvent[rpc.Heartbeat](r)
	if len(k.after) > 0 {
		t.Fatal("the instance was ended")
	}
	k.held.Store(false)
	if e := await[Exited](r); e.Reason != reason.RestartRequested || e.Class != restart.Planned {
		t.Errorf("got %+v", e)
	}
	if c := <-k.after; !c.Clean || c.Stopping || c.ChromeVersion != "156.0.8078.79" {
		t.Errorf("told the hooks %+v", c)
	}
	await[Spawning](r)
}

func TestUrgentRequestOvertakesOneThatWaits(t *testing.T) {
	r, k := kept(t, "runs")
	k.held.Store(true)
	r.start()
	awaitEvent[rpc.PageObserved](r)
	if _, err := r.Restart(t.Context(), WhenIdle); err != nil {
		t.Fatal(err)
	}
	awaitEvent[rpc.Heartbeat](r)
	until, err := r.RequestRestart(t.Context(), RestartRequest{Reason: reason.Maintenance, Detail: "why", Urgency: Immediately})
	if err != nil || !until.IsZero() {
		t.Errorf("RequestRestart() = %v, %v", until, err)
	}
	if e := await[Exited](r); e.Reason != reason.Maintenance || e.Detail != "why" || e.Delay != 0 {
		t.Errorf("got %+v", e)
	}
}

func TestHooksLearnHowChromeExited(t *testing.T) {
	r, k := kept(t, "runs")
	r.start()
	pid := await[WorkerStarted](r).PID
	awaitEvent[rpc.PageObserved](r)
	kill(t, pid, syscall.SIGKILL)
	if c := <-k.after; c.Clean || c.Stopping || c.Reason != reason.WorkerCrashed {
		t.Errorf("after a crash: %+v", c)
	}
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if c := <-k.after; !c.Clean || !c.Stopping || c.Reason != reason.Stopping {
		t.Errorf("at the stop: %+v", c)
	}
}

func TestHooksCanPreventAStart(t *testing.T) {
	r, k := kept(t, "runs")
	k.fails.Store(true)
	r.start()
	if b := await[Blocked](r); b.Reason != reason.DiskFull {
		t.Errorf("got %+v", b)
	}
	k.fails.Store(false)
	must(t, restarted(r))
	await[Spawning](r)
	if n := k.before.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestLostProfileRestartsChrome(t *testing.T) {
	for name, take := range map[string]func(admin string) error{
		"removed": os.RemoveAll,
		"emptied": func(admin string) error { return os.RemoveAll(filepath.Join(admin, "Default")) },
		"replaced": func(admin string) error {
			return errors.Join(os.Rename(admin, admin+".old"), os.MkdirAll(filepath.Join(admin, "Default"), 0o700))
		},
		"with its folder": func(admin string) error { return os.RemoveAll(filepath.Dir(admin)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "runs")
			admin := r.path("tokens/admin")
			must(t, os.MkdirAll(filepath.Join(admin, "Default"), 0o700))
			r.start()
			awaitEvent[rpc.PageObserved](r)
			awaitEvent[rpc.Heartbeat](r)
			awaitEvent[rpc.Heartbeat](r)
			must(t, take(admin))
			if e := await[Exited](r); e.Reason != reason.ProfileReplaced || e.Class != restart.Planned || e.Delay != 0 {
				t.Errorf("got %+v", e)
			}
			awaitEvent[rpc.PageObserved](r)
			if !exists(admin) {
				t.Error("there is no profile")
			}
		})
	}
}
