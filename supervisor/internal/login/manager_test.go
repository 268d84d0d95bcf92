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
	qrShown             = rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.ScanQR}
	logoutShown         = rpc.PageObserved{Condition: rpc.PageLoggedOut, Reason: reason.LoggedOut}
	unlinkedAfterLogout = rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.LoggedOut}
)

func TestLogoutOnThePhoneQuarantinesTheProfileOnce(t *testing.T) {
	r := newRig(t)
	r.link()
	r.see(time.Minute, logoutShown)
	r.see(time.Second, unlinkedAfterLogout)
	r.wantReplacing(true)
	r.wantNoRequest()
	r.beat(3 * time.Second)
	r.wantRequest(worker.WhenIdle)
	r.beat(time.Minute)
	r.wantNoRequest()
	r.wantReplacing(true)
	r.end(reason.Maintenance, true)
	r.spawn()
	r.holds("")
	s := r.published()
	if !strings.HasSuffix(s.Quarantined, "-logged_out") || !s.LinkedAt.IsZero() || !s.BackupAt.IsZero() {
		t.Errorf("published %+v", s)
	}
	r.wantReplacing(false)
	r.see(time.Second, unlinkedAfterLogout)
	r.beat(time.Hour)
	r.wantNoRequest()
	r.wantReplacing(false)
}

// A phone scans the QR in the moment before a restart in which the profile would be
// moved away, or replaced by a backup.
func TestPhoneLinkedBeforeAPlannedRestartStays(t *testing.T) {
	scanned := rpc.PageObserved{Condition: rpc.PageSyncing, Registered: true, Persisted: true}
	t.Run("after a logout", func(t *testing.T) {
		r := newRig(t)
		r.link()
		r.see(time.Minute, logoutShown)
		r.see(time.Second, unlinkedAfterLogout)
		r.beat(3 * time.Second)
		r.wantRequest(worker.WhenIdle)
		r.put("new")
		r.see(time.Millisecond, scanned)
		r.end(reason.Maintenance, true)
		r.spawn()
		r.holds("new")
		if s := r.published(); s.Quarantined != "" || !s.LoggedOutAt.IsZero() || !s.LinkedAt.Equal(r.now) {
			t.Errorf("published %+v", s)
		}
	})
	t.Run("after a loss", func(t *testing.T) {
		r := newRig(t)
		r.link()
		r.end(reason.RestartRequested, true)
		r.startsWithQR()
		r.wantRequest(worker.Immediately)
		r.put("new")
		r.see(time.Millisecond, scanned)
		r.end(reason.Maintenance, true)
		r.spawn()
		r.holds("new")
	})
}

// The page pretends to be linked, with a login on disk, and to be logged out, again and
// again.
func TestFlippingPageCannotPushAProfileOut(t *testing.T) {
	r := newRig(t)
	r.link()
	r.put("original")
	restarts := 0
	for range 100 {
		r.see(time.Second, logoutShown)
		r.see(time.Second, unlinkedAfterLogout)
		r.beat(3 * time.Second)
		select {
		case <-r.requests:
			restarts++
			r.end(reason.Maintenance, true)
			r.spawn()
		default:
		}
		r.put("fake")
		r.see(10*time.Minute, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	}
	folder := filepath.Join(r.tokens, "admin.quarantine")
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 10 || restarts != len(entries) {
		t.Fatalf("%d restarts, in quarantine: %v, %v", restarts, entries, err)
	}
	if got, err := os.ReadFile(filepath.Join(folder, entries[0].Name(), loginFile)); err != nil || string(got) != "original" {
		t.Errorf("the oldest is %q, %v", got, err)
	}
	// A command does not wait, names no folder, and explains why.
	if done, err := r.command(false); err != nil || done.Quarantined != "" || !strings.Contains(done.Detail, "no room") {
		t.Errorf("got %+v, %v", done, err)
	}
	if _, err := r.command(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the purge: %v", err)
	}
}

func TestInterruptedLogoutIsCompletedByTheNextSupervisor(t *testing.T) {
	r := newRig(t)
	r.link()
	r.see(time.Minute, logoutShown)
	r.start()
	r.holds("login")
	r.see(time.Second, qrShown) // A page that was loaded again does not know about the logout.
	r.beat(3 * time.Second)
	r.wantRequest(worker.WhenIdle)
	r.spawn()
	r.holds("")
}

func TestLostLoginIsRestoredOnce(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	if s := r.published(); !s.BackupAt.Equal(r.now) {
		t.Fatalf("published %+v", s)
	}
	r.put("torn")
	r.startsWithQR()
	r.wantRequest(worker.Immediately)
	r.end(reason.Maintenance, true)
	r.spawn()
	r.holds("login")
	s := r.published()
	if s.RestoredFrom == "" || !strings.HasSuffix(s.Quarantined, "-login_missing") || s.PersistedAt.IsZero() {
		t.Errorf("published %+v", s)
	}
	// That was of no use, and is not repeated.
	r.put("torn again")
	r.see(time.Second, qrShown)
	r.beat(6 * time.Second)
	r.wantNoRequest()
	if s := r.published(); s.LostAt.IsZero() || !s.PersistedAt.IsZero() {
		t.Errorf("published %+v", s)
	}
	r.start()
	r.see(time.Second, qrShown)
	r.beat(time.Hour)
	r.wantNoRequest()
	r.holds("torn again")
}

func TestInterruptedRestoreIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("torn")
	r.startsWithQR()
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.BeforeStart(stopped, r.folder, worker.Start{ChromeVersion: "156.0.1.2"}); err != nil {
		t.Fatal(err)
	}
	r.holds("torn")
	r.startsWithQR()
	r.spawn()
	r.holds("login")
}

func TestDamagedBackupIsSkipped(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("later")
	r.now = r.now.Add(2 * time.Hour)
	r.spawn()
	r.see(time.Second, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
	r.end(reason.RestartRequested, true)
	backups, err := r.folder.Backups.List()
	if err != nil || len(backups) != 2 {
		t.Fatalf("backups: %v, %v", backups, err)
	}
	newest := filepath.Join(r.tokens, "admin.backups", backups[0].Name, "profile", loginFile)
	if err := os.WriteFile(newest, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startsWithQR()
	r.spawn()
	r.holds("login")
}

func TestRemovedProfileIsNotRestored(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	if err := os.RemoveAll(r.folder.Dir()); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.see(time.Second, qrShown)
	r.beat(time.Minute)
	r.wantNoRequest()
	if s := r.published(); !s.LinkedAt.IsZero() || !s.LostAt.IsZero() {
		t.Errorf("published %+v", s)
	}
}

func TestOnlyCleanlyClosedReadyProfilesAreBackedUp(t *testing.T) {
	for name, scene := range map[string]func(r *rig){
		"Chrome was killed":   func(r *rig) { r.link(); r.end(reason.Stopping, false) },
		"it was never linked": func(r *rig) { r.see(0, qrShown); r.end(reason.Stopping, true) },
		"it was logged out":   func(r *rig) { r.link(); r.see(0, logoutShown); r.end(reason.Stopping, true) },
		"it had lost the network": func(r *rig) {
			r.link()
			r.see(0, rpc.PageObserved{Condition: rpc.PageDisconnected, Registered: true, Persisted: true})
			r.end(reason.Stopping, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			scene(r)
			if backups, err := r.folder.Backups.List(); err != nil || len(backups) > 0 {
				t.Errorf("backups: %v, %v", backups, err)
			}
		})
	}
}

func TestOnlyAProvenBadProfileIsReplaced(t *testing.T) {
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

func TestBackupOfANewerChromeIsNotRestored(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.put("torn")
	r.startsWithQR()
	if err := r.BeforeStart(t.Context(), r.folder, worker.Start{ChromeVersion: "155.0.1.2"}); err != nil {
		t.Fatal(err)
	}
	r.holds("torn")
}

// command runs LogOut, and the restart that it requests.
func (r *rig) command(purge bool) (LoggedOut, error) {
	r.t.Helper()
	type outcome struct {
		LoggedOut
		error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := r.Manager.LogOut(r.t.Context(), purge)
		done <- outcome{result, err}
	}()
	for {
		select {
		case o := <-done:
			return o.LoggedOut, o.error
		case w := <-r.requests:
			if w.Urgency != worker.Immediately {
				r.t.Errorf("requested %+v", w)
			}
			r.end(w.Reason, true)
			r.spawn()
		}
	}
}

func TestLogOutByCommandQuarantinesTheLogin(t *testing.T) {
	r := newRig(t)
	r.link()
	done, err := r.command(false)
	if err != nil || done.Quarantined == "" || done != (LoggedOut{Quarantined: r.published().Quarantined}) {
		t.Errorf("got %+v, %v", done, err)
	}
	r.holds("")
	if backups, err := r.folder.Backups.List(); err != nil || len(backups) > 0 {
		t.Errorf("backups: %v, %v", backups, err)
	}
}

func TestLogOutWithPurgeLeavesNothing(t *testing.T) {
	r := newRig(t)
	r.link()
	r.end(reason.RestartRequested, true)
	r.spawn()
	r.link()
	if done, err := r.command(true); err != nil || done != (LoggedOut{}) {
		t.Errorf("got %+v, %v", done, err)
	}
	r.holds("")
	if r.erased != 1 {
		t.Errorf("the messages were erased %d times", r.erased)
	}
	left, err := filepath.Glob(filepath.Join(r.tokens, "admin.*"))
	if err != nil || strings.Contains(strings.Join(left, " "), "backups") || strings.Contains(strings.Join(left, " "), "quarantine") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The page has logged out just when the next instance is about to begin.
func TestLogOutBetweenTwoInstancesIsCompleted(t *testing.T) {
	r := newRig(t)
	r.link()
	if err := r.planLogout(&logout{unlinked: make(chan struct{})}, nil); err != nil {
		t.Fatal(err)
	}
	r.wantReplacing(true)
	r.Notice(worker.Spawning{Generation: 2})
	r.wantRequest(worker.Immediately)
	r.spawn()
	r.wantNoRequest()
	r.holds("")
	r.wantReplacing(false)
}

func TestFailedLogOutChangesNothing(t *testing.T) {
	r := newRig(t)
	r.link()
	r.logOut = rpc.ErrNoPage
	if _, err := r.command(true); !errors.Is(err, rpc.ErrNoPage) {
		t.Errorf("got %v", err)
	}
	r.spawn()
	r.holds("login")
}

// The second caller comes while the worker of the first one's logout dies.
func TestLogOutFailsWhenItsWorkerDies(t *testing.T) {
	r := newRig(t)
	r.link()
	r.hold, r.logOut = make(chan struct{}), rpc.ErrWorkerGone
	outcomes := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := r.Manager.LogOut(t.Context(), false)
			outcomes <- err
		}()
	}
	<-r.hold // the first one has reached the worker
	r.spawn()
	r.hold <- struct{}{}
	if err := <-outcomes; !errors.Is(err, rpc.ErrWorkerGone) {
		t.Errorf("got %v", err)
	}
	// The other caller waited for it, or came too late and failed on its own.
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

func TestPurgeWithoutALinkErasesTheProfile(t *testing.T) {
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

func TestRecordOutlivesTheSupervisor(t *testing.T) {
	r := newRig(t)
	r.link()
	before := r.published()
	r.now = r.now.Add(time.Hour)
	r.start()
	if got := r.published(); got != before {
		t.Errorf("got %+v, want %+v", got, before)
	}
}
