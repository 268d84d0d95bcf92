package login

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

// Workers is what a Keeper asks of the worker that runs, and of one for a copy.
type Workers interface {
	// RequestRestart ends the present generation.
	RequestRestart(ctx context.Context, w worker.RestartRequest) (time.Time, error)
	// LogOut ends the link through the page.
	LogOut(ctx context.Context) error
	// VerifyBackup finds out whether the copy in folder opens in a Chrome. Its error
	// matches worker.ErrCopyRefused when it does not.
	VerifyBackup(ctx context.Context, folder string) error
}

// Options of a Keeper.
type Options struct {
	// Limits; the zero value means DefaultLimits.
	Limits Limits
	Logger *slog.Logger
	// Workers returns who is asked. It is not called before Before is.
	Workers func() Workers
	// Tell is told of every change of the status, in order. It may be nil. It must
	// not call back.
	Tell func(Status)
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// Status is what others are told of the login. Times are zero while what they
// tell has not happened.
type Status struct {
	Memory
	// HeldUntil is until when planned restarts wait.
	HeldUntil time.Time
}

// Keeper looks after the login. Its methods may be called from any goroutine;
// those of worker.Hooks and Notice are called by the supervisor's.
type Keeper struct {
	o Options

	mu      sync.Mutex
	memory  Memory           // guarded by mu
	saved   Memory           // guarded by mu; what is on disk
	glimpse glimpse          // guarded by mu
	copies  bool             // guarded by mu; there are snapshots of the present login
	pending plan             // guarded by mu; what Before has to do
	why     string           // guarded by mu; why it has to
	starts  int              // guarded by mu; starts of Chrome that failed in a row
	logout  *operation       // guarded by mu; nil while none is under way
	folder  *profile.Profile // guarded by mu

	status atomic.Pointer[Status]
}

var _ worker.Hooks = (*Keeper)(nil)

// New returns a Keeper that knows nothing until Before is called.
func New(o Options) *Keeper {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Tell == nil {
		o.Tell = func(Status) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{o: o}
	k.status.Store(&Status{})
	return k
}

// Hold implements worker.Hooks.
func (k *Keeper) Hold(u worker.Urgency) time.Time {
	return k.o.Limits.hold(k.status.Load().Memory, u)
}

// Notice takes in what the supervisor tells, heartbeats too: they are the clock
// by which decisions ripen.
func (k *Keeper) Notice(n worker.Notice) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch n := n.(type) {
	case worker.Spawning:
		k.glimpse = glimpse{}
	case worker.FromWorker:
		k.event(n.Event.Body, k.o.Now())
	}
}

// event is called with mu held.
func (k *Keeper) event(body rpc.EventBody, now time.Time) {
	switch b := body.(type) {
	case rpc.BrowserStarted:
		k.starts = 0
	case rpc.PageObserved:
		before := k.memory
		k.memory, k.glimpse = observe(k.memory, k.glimpse, b, now)
		k.say(before)
		k.save()
	}
	if k.logout != nil || k.pending != leave {
		return
	}
	p, why := decide(k.o.Limits, k.memory, k.glimpse, k.copies, now)
	if p != leave {
		k.begin(p, why, now)
	}
}

// begin acts on a decision. It is called with mu held.
func (k *Keeper) begin(p plan, why string, now time.Time) {
	wish := worker.RestartRequest{Reason: reason.Maintenance}
	switch p {
	case forget:
		k.o.Logger.Error(logid.LoginLost, logging.KeyDetail, "the login is gone from the profile, though nobody logged out, and no copy of it can be brought back")
		k.memory = k.memory.without()
		k.memory.LostAt = now
		k.save()
		return
	case snapshot:
		k.memory.TriedAt = now
		wish.Detail = "a copy of the login is due"
	case restore:
		k.pending, k.why = p, why
		wish.Detail = "the login is lost, a copy of it is brought back"
		// There is none that could be disturbed, and the next scan is near.
		wish.Urgency = worker.Immediately
	default:
		k.pending, k.why = p, why
		wish.Detail = "the link was ended, the old login is moved away"
	}
	k.glimpse.asked = true
	k.save()
	k.ask(wish)
}

// ask does not block: the wish is only put down.
func (k *Keeper) ask(w worker.RestartRequest) {
	if _, err := k.o.Workers().RequestRestart(context.Background(), w); err != nil {
		k.o.Logger.Warn(logid.WorkerRestartFailed, logging.KeyError, err)
	}
}

// say logs what has happened to the login. It is called with mu held.
func (k *Keeper) say(before Memory) {
	happened := func(was, is time.Time) bool { return !is.IsZero() && !is.Equal(was) }
	if happened(before.LinkedAt, k.memory.LinkedAt) {
		k.o.Logger.Info(logid.LoginLinked)
	}
	if happened(before.PersistedAt, k.memory.PersistedAt) {
		k.o.Logger.Info(logid.LoginPersisted)
	}
	if happened(before.ReadyAt, k.memory.ReadyAt) {
		k.o.Logger.Info(logid.LoginConfirmed)
	}
	if happened(before.LoggedOutAt, k.memory.LoggedOutAt) {
		k.o.Logger.Info(logid.LoginEnded)
	}
}

// save keeps what has changed, and tells it. What can't be kept now is kept at the
// next change, or at the next start of a generation. It is called with mu held.
func (k *Keeper) save() {
	if k.memory != k.saved && k.folder != nil {
		if err := k.folder.Login.Save(k.memory); err != nil {
			k.o.Logger.Warn(logid.LoginRecordFailed, logging.KeyError, err)
		} else {
			k.saved = k.memory
		}
	}
	status := Status{Memory: k.memory, HeldUntil: k.o.Limits.hold(k.memory, worker.WhenIdle)}
	if status != *k.status.Load() {
		k.status.Store(&status)
		k.o.Tell(status)
	}
}
