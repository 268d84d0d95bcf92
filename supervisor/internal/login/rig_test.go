package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/profile/profiletest"
	"session-manager/supervisor/internal/worker"
)

func TestMain(m *testing.M) {
	profiletest.Private()
	goleak.VerifyTestMain(m)
}

// loginFile is what stands for the login in a profile.
const loginFile = "Default/Local Storage/leveldb/000003.log"

// rig is a Manager with a real tokens folder, and Workers that only record calls.
type rig struct {
	*Manager
	t        *testing.T
	tokens   string
	folder   *profile.Profile
	now      time.Time
	requests chan worker.RestartRequest
	logOut   error
	// verified are the contents of the backups that were to be verified. "bad" ones
	// don't open; for "odd" ones that can't be found out.
	verified []string
	// erased is how often the messages were.
	erased int
	// hold stops LogOut halfway, if it is set.
	hold chan struct{}

	mu     sync.Mutex
	status Status // the published one; guarded by mu
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, tokens: filepath.Join(t.TempDir(), "tokens"), now: t0, requests: make(chan worker.RestartRequest, 10)}
	r.start()
	return r
}

// start starts a supervisor on the folder, up to its first worker instance.
func (r *rig) start() {
	r.t.Helper()
	if r.folder != nil {
		_ = r.folder.Close()
	}
	folder, err := profile.Open(r.tokens)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = folder.Close() })
	r.folder = folder
	r.Manager = New(r, Options{
		Limits: defaultLimits(), Logger: slog.New(slog.DiscardHandler),
		Now:           func() time.Time { return r.now },
		EraseMessages: func(context.Context) error { r.erased++; return nil },
		Publish: func(s Status) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.status = s
		},
	})
	r.spawn()
}

// RequestRestart implements Workers.
func (r *rig) RequestRestart(_ context.Context, w worker.RestartRequest) (time.Time, error) {
	r.requests <- w
	return time.Time{}, nil
}

// LogOut implements Workers.
func (r *rig) LogOut(context.Context) error {
	if r.hold != nil {
		r.hold <- struct{}{}
		<-r.hold
	}
	return r.logOut
}

// VerifyBackup implements Workers.
func (r *rig) VerifyBackup(_ context.Context, folder string) error {
	held, err := os.ReadFile(filepath.Join(folder, loginFile))
	r.verified = append(r.verified, string(held))
	switch {
	case strings.Contains(string(held), "bad"):
		return fmt.Errorf("%w: it lacks the login", worker.ErrBackupRejected)
	case strings.Contains(string(held), "odd"):
		return errors.New("no memory")
	}
	return err
}

func (r *rig) published() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *rig) wantReplacing(want bool) {
	r.t.Helper()
	if got := r.published().Replacing; got != want {
		r.t.Errorf("the profile is about to be replaced: %v", got)
	}
}

func (r *rig) spawn() {
	r.t.Helper()
	if err := r.BeforeStart(r.t.Context(), r.folder, worker.Start{ChromeVersion: "156.0.1.2"}); err != nil {
		r.t.Fatal(err)
	}
	r.Notice(worker.Spawning{Generation: 1})
}

// see lets time pass, and then the worker observe the page.
func (r *rig) see(after time.Duration, o rpc.PageObserved) {
	r.now = r.now.Add(after)
	r.Notice(worker.FromWorker{Event: rpc.Event{Generation: 1, Body: o}})
}

func (r *rig) beat(after time.Duration) {
	r.now = r.now.Add(after)
	r.Notice(worker.FromWorker{Event: rpc.Event{Generation: 1, Body: rpc.Heartbeat{}}})
}

// startsWithQR starts an instance whose page asks for a phone, for long enough that a
// login that should be there counts as lost.
func (r *rig) startsWithQR() {
	r.t.Helper()
	r.start()
	r.see(time.Second, qrShown)
	r.beat(6 * time.Second)
}

func (r *rig) end(why reason.Code, clean bool) {
	r.AfterStop(r.t.Context(), r.folder, worker.Closing{Reason: why, Clean: clean, ChromeVersion: "156.0.1.2"})
}

// link puts a login into the profile, up to READY.
func (r *rig) link() {
	r.t.Helper()
	r.put("login")
	r.see(time.Second, rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
}

func (r *rig) path() string { return filepath.Join(r.folder.Dir(), loginFile) }

func (r *rig) put(content string) {
	r.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.path()), 0o700), os.WriteFile(r.path(), []byte(content), 0o600)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) holds(want string) {
	r.t.Helper()
	got, err := os.ReadFile(r.path())
	if string(got) != want || (err != nil) != (want == "") {
		r.t.Errorf("the profile holds %q, %v, want %q", got, err, want)
	}
}

func (r *rig) wantRequest(urgency worker.Urgency) {
	r.t.Helper()
	select {
	case w := <-r.requests:
		if w.Reason != reason.Maintenance || w.Detail == "" || w.Urgency != urgency {
			r.t.Errorf("requested %+v", w)
		}
	default:
		r.t.Fatal("no restart was requested")
	}
}

func (r *rig) wantNoRequest() {
	r.t.Helper()
	select {
	case w := <-r.requests:
		r.t.Errorf("requested %+v", w)
	default:
	}
}
