// Package session is the one WhatsApp login that the service exists for: its
// state machine, the loop that owns it, and immutable snapshots for readers. It
// knows neither HTTP nor processes.
package session

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/worker"
)

// Options of a Session.
type Options struct {
	// Limits; the zero value means DefaultLimits.
	Limits Limits
	Logger *slog.Logger
	// Health is told whenever the session becomes healthy or stops being so. It
	// may be nil. It is called from the loop and must not block.
	Health func(healthy bool)
	// Observe is told of every snapshot, in their order; a reader of Changed may
	// miss some. It may be nil. It is called from the loop and must not block.
	Observe func(*Snapshot)
}

// Session owns the state. Run is its loop; Notify feeds it; Snapshot and Changed
// serve any number of readers at any time.
type Session struct {
	limits  Limits
	log     *slog.Logger
	health  func(bool)
	observe func(*Snapshot)
	inbox   chan input
	done    chan struct{}

	snapshot atomic.Pointer[published]
}

// published is a snapshot with the channel that is closed when it is replaced.
type published struct {
	snapshot *Snapshot
	replaced chan struct{}
}

// input is a notice, with its QR already drawn where it has one, or one of the
// other things that the loop is told. An empty one says that the service stops.
type input struct {
	notice worker.Notice
	code   *qr.Code
	login  *login.Status
	// paired is until when a pairing code is good; published is closed when that
	// can be read.
	paired    time.Time
	published chan struct{}
	// turned is closed when the loop gets to it.
	turned chan struct{}
}

// New returns a Session in INIT. It does nothing until Run.
func New(o Options) *Session {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Health == nil {
		o.Health = func(bool) {}
	}
	if o.Observe == nil {
		o.Observe = func(*Snapshot) {}
	}
	s := &Session{
		limits: o.Limits, log: o.Logger, health: o.Health, observe: o.Observe,
		inbox: make(chan input), done: make(chan struct{}),
	}
	first := &Snapshot{}
	newMachine(o.Limits, time.Now()).fill(first)
	s.snapshot.Store(&published{snapshot: first, replaced: make(chan struct{})})
	return s
}

// Snapshot returns the session as it is now. It never blocks.
func (s *Session) Snapshot() *Snapshot { return s.snapshot.Load().snapshot }

// Changed returns the present snapshot, and a channel that is closed when there
// is a newer one.
func (s *Session) Changed() (*Snapshot, <-chan struct{}) {
	p := s.snapshot.Load()
	return p.snapshot, p.replaced
}

// Notify hands a notice to the loop, in the order of the calls. A QR is drawn
// here, in the caller's goroutine, to keep the loop free. After Run has returned
// notices are dropped.
func (s *Session) Notify(n worker.Notice) {
	in := input{notice: n}
	if shown, ok := qrOf(n); ok {
		code, err := qr.Draw(shown.Payload)
		if err != nil {
			s.log.Error(logid.QRDrawFailed, logging.KeyReader, shown.Reader, logging.KeyError, err)
			return
		}
		in.code = code
	}
	s.put(in)
}

// SetLogin takes in what is known of the login.
func (s *Session) SetLogin(status login.Status) { s.put(input{login: &status}) }

// Paired takes in that a code was given out by which a phone can be linked. When it
// returns, the snapshot tells.
func (s *Session) Paired(expires time.Time) {
	in := input{paired: expires, published: make(chan struct{})}
	s.put(in)
	select {
	case <-in.published:
	case <-s.done:
	}
}

// Stopping tells the session that the service stops. From then on no QR is
// served.
func (s *Session) Stopping() { s.put(input{}) }

// Alive returns nil when the loop has turned, and the error of ctx when it ends
// before. A loop that has ended as it should counts as alive.
func (s *Session) Alive(ctx context.Context) error {
	in := input{turned: make(chan struct{})}
	select {
	case s.inbox <- in:
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-in.turned:
		return nil
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) put(in input) {
	select {
	case s.inbox <- in:
	case <-s.done:
	}
}

func qrOf(n worker.Notice) (rpc.QRShown, bool) {
	w, ok := n.(worker.FromWorker)
	if !ok {
		return rpc.QRShown{}, false
	}
	shown, ok := w.Event.Body.(rpc.QRShown)
	return shown, ok
}

// Run is the loop. It returns when ctx ends.
func (s *Session) Run(ctx context.Context) {
	defer close(s.done)
	l := &loop{s: s, m: newMachine(s.limits, time.Now()), next: *s.Snapshot()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if d := l.m.deadline(); d.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(d))
		}
		select {
		case <-ctx.Done():
			return
		case in := <-s.inbox:
			l.handle(in, time.Now())
		case <-timer.C:
			l.update("deadline", l.m.tick(time.Now()))
		}
	}
}

// publish replaces the snapshot that readers see and wakes those who wait.
func (s *Session) publish(next Snapshot) {
	old := s.snapshot.Swap(&published{snapshot: &next, replaced: make(chan struct{})})
	close(old.replaced)
	s.observe(&next)
}
