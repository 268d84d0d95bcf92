package login

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

var (
	aQR      = rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.ScanQR}
	aLogout  = rpc.PageObserved{Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut}
	afterOne = rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.LoggedOut}
)

func TestLogoutOnThePhoneMovesTheProfileAwayOnce(t *testing.T) {
	r := newRig(t)
	r.link()
	r.see(time.Minute, aLogout)
	r.see(time.Second, afterOne)
	r.noWish()
	r.beat(3 * time.Second)
	r.wish(worker.WhenIdle)
	r.beat(time.Minute)
	r.noWish()
	r.end(reason.Maintenance, true)
	r.spawn()
	r.holds("")
	s := r.told()
	if !strings.HasSuffix(s.Quarantined, "-logged_out") || !s.LinkedAt.IsZero() || !s.SnapshotAt.IsZero() {
		t.Errorf("told %+v", s)
	}
	r.see(time.Second, afterOne)
	r.beat(time.Hour)
	r.noWish()
}

func TestLogoutThatTheSupervisorDiedOverIsFinishedByTheNextOne(t *testing.T) {
	r := newRig(t)
	r.link()
	r.see(time.Minute, aLogout)
	r.start()
	r.holds("login")
	r.see(time.Second, aQR) // A page that is opened anew knows of no logout.
	r.beat(3 * time.Second)
	r.wish(worker.WhenIdle)
	r.spawn()
	r.holds("")
}

func TestLostLoginIsBroughtBackOnce(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	if s := r.told(); !s.SnapshotAt.Equal(r.now) {
		t.Fatalf("told %+v", s)
	}
	r.put("torn")
	r.start()
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	r.wish(worker.Immediately)
	r.end(reason.Maintenance, true)
	r.spawn()
	r.holds("login")
	s := r.told()
	if s.RestoredFrom == "" || !strings.HasSuffix(s.Quarantined, "-login_missing") || s.PersistedAt.IsZero() {
		t.Errorf("told %+v", s)
	}
	// It was of no use. That is the end of it.
	r.put("torn again")
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	r.noWish()
	if s := r.told(); s.LostAt.IsZero() || !s.PersistedAt.IsZero() {
		t.Errorf("told %+v", s)
	}
	r.start()
	r.see(time.Second, aQR)
	r.beat(time.Hour)
	r.noWish()
	r.holds("torn again")
}

func TestStopInTheMiddleOfARestoreDoesNotUseItUp(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("torn")
	r.start()
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.BeforeStart(stopped, r.folder, worker.Start{ChromeVersion: "156.0.1.2"}); err != nil {
		t.Fatal(err)
	}
	r.holds("torn")
	r.start()
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	r.spawn()
	r.holds("login")
}

func TestDamagedCopyIsPassedOver(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("later")
	r.now = r.now.Add(2 * time.Hour)
	r.spawn()
	r.see(time.Second, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.end(reason.RestartRequested, true)
	copies, err := r.folder.Backups.List()
	if err != nil || len(copies) != 2 {
		t.Fatalf("copies: %v, %v", copies, err)
	}
	newest := filepath.Join(r.tokens, "admin.backups", copies[0].Name, "profile", "Default", "login")
	if err := os.WriteFile(newest, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	r.spawn()
	r.holds("login")
}

func TestRemovedProfileIsNotBroughtBack(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	if err := os.RemoveAll(r.folder.Dir()); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.see(time.Second, aQR)
	r.beat(time.Minute)
	r.noWish()
	if s := r.told(); !s.LinkedAt.IsZero() || !s.LostAt.IsZero() {
		t.Errorf("told %+v", s)
	}
}

func TestOnlyAProfileThatWasClosedCleanlyAndReadyIsCopied(t *testing.T) {
	for name, scene := range map[string]func(r *rig){
		"Chrome was killed":   func(r *rig) { r.link(); r.end(reason.Stopping, false) },
		"it was never linked": func(r *rig) { r.see(0, aQR); r.end(reason.Stopping, true) },
		"it was logged out":   func(r *rig) { r.link(); r.see(0, aLogout); r.end(reason.Stopping, true) },
		"it had lost the network": func(r *rig) {
			r.link()
			r.see(0, rpc.PageObserved{Condition: rpc.PageDisconnected, Registered: true, Persisted: true})
			r.end(reason.Stopping, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			scene(r)
			if copies, err := r.folder.Backups.List(); err != nil || len(copies) > 0 {
				t.Errorf("copies: %v, %v", copies, err)
			}
		})
	}
}

func TestChromeThatDoesNotStartIsNotTheProfilesFaultUnlessProven(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "chrome")
	if err := os.WriteFile(starts, []byte("#!/bin/sh\necho '<html></html>'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ chrome, want string }{
		"it starts on an empty profile":  {starts, "login"},
		"it does not start there either": {"/bin/false", "torn"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.link()
			r.end(reason.RestartRequested, true)
			r.put("torn")
			for range startFailures {
				r.spawn()
				r.end(reason.BrowserStartFailed, false)
			}
			if err := r.BeforeStart(t.Context(), r.folder, worker.Start{Chrome: tt.chrome, ChromeVersion: "156.0.1.2"}); err != nil {
				t.Fatal(err)
			}
			r.holds(tt.want)
		})
	}
}

func TestCopyOfANewerChromeIsNotBroughtBack(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("torn")
	r.start()
	r.see(time.Second, aQR)
	r.beat(6 * time.Second)
	if err := r.BeforeStart(t.Context(), r.folder, worker.Start{ChromeVersion: "155.0.1.2"}); err != nil {
		t.Fatal(err)
	}
	r.holds("torn")
}

// command runs LogOut, and the restart that it asks for.
func (r *rig) command(purge bool) (string, error) {
	r.t.Helper()
	type outcome struct {
		name string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		name, err := r.Keeper.LogOut(r.t.Context(), purge)
		done <- outcome{name, err}
	}()
	for {
		select {
		case o := <-done:
			return o.name, o.err
		case w := <-r.asked:
			if w.Urgency != worker.Immediately {
				r.t.Errorf("asked for %+v", w)
			}
			r.end(w.Reason, true)
			r.spawn()
		}
	}
}

func TestLogOutByCommandMovesTheLoginAway(t *testing.T) {
	r := newRig(t)
	r.link()
	name, err := r.command(false)
	if err != nil || name == "" || name != r.told().Quarantined {
		t.Errorf("got %q, %v", name, err)
	}
	r.holds("")
	if copies, err := r.folder.Backups.List(); err != nil || len(copies) > 0 {
		t.Errorf("copies: %v, %v", copies, err)
	}
}

func TestLogOutWithPurgeLeavesNothing(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.spawn()
	r.link()
	if name, err := r.command(true); err != nil || name != "" {
		t.Errorf("got %q, %v", name, err)
	}
	r.holds("")
	left, err := filepath.Glob(filepath.Join(r.tokens, "admin.*"))
	if err != nil || strings.Contains(strings.Join(left, " "), "snapshots") || strings.Contains(strings.Join(left, " "), "quarantine") {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestLogOutThatThePageCannotDoChangesNothing(t *testing.T) {
	r := newRig(t)
	r.link()
	r.logOut = rpc.ErrNoPage
	if _, err := r.command(true); !errors.Is(err, rpc.ErrNoPage) {
		t.Errorf("got %v", err)
	}
	r.spawn()
	r.holds("login")
}

// A second caller asks while the worker of the first one's logout dies.
func TestLogOutWhoseWorkerDiesIsNotSaidToBeDone(t *testing.T) {
	r := newRig(t)
	r.link()
	r.hold, r.logOut = make(chan struct{}), rpc.ErrWorkerGone
	outcomes := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := r.Keeper.LogOut(t.Context(), false)
			outcomes <- err
		}()
	}
	<-r.hold // the first one has reached the worker
	r.spawn()
	r.hold <- struct{}{}
	if err := <-outcomes; !errors.Is(err, rpc.ErrWorkerGone) {
		t.Errorf("got %v", err)
	}
	// The other one waited for it, or came too late and failed by itself.
	select {
	case err := <-outcomes:
		if !errors.Is(err, rpc.ErrWorkerGone) {
			t.Errorf("the other one got %v", err)
		}
	case <-r.hold:
		r.hold <- struct{}{}
		t.Logf("the other one ended with: %v", <-outcomes)
	}
	r.holds("login")
}

func TestPurgeWithoutALinkErasesWhatIsLeft(t *testing.T) {
	r := newRig(t)
	r.put("something")
	r.logOut = rpc.ErrNotLinked
	if _, err := r.command(false); !errors.Is(err, rpc.ErrNotLinked) {
		t.Errorf("got %v", err)
	}
	r.holds("something")
	if _, err := r.command(true); err != nil {
		t.Errorf("got %v", err)
	}
	r.holds("")
}

func TestMemoryOutlivesTheSupervisor(t *testing.T) {
	r := newRig(t)
	r.link()
	before := r.told()
	r.now = r.now.Add(time.Hour)
	r.start()
	if got := r.told(); got != before {
		t.Errorf("got %+v, want %+v", got, before)
	}
}
