// Package session is the one WhatsApp session that the service exists for: its
// state machine, the loop that owns it, and immutable snapshots for readers. It
// knows neither HTTP nor processes.
package session

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker"
)

// Session owns the state. Run is its loop; Notify feeds it; Snapshot and Changed
// serve any number of readers at any time.
type Session struct {
	limits    Limits
	log       *slog.Logger
	observers []func(*Snapshot)
	// inbox holds what the loop is to do next.
	inbox chan func(*loop, time.Time)
	done  chan struct{}

	snapshot atomic.Pointer[published]
}

// published is a snapshot with the channel that is closed when it is replaced.
type published struct {
	snapshot *Snapshot
	replaced chan struct{}
}

// New returns a Session in INIT. It does nothing until Run.
func New(limits Limits, log *slog.Logger) *Session {
	s := &Session{
		limits: limits, log: log,
		inbox: make(chan func(*loop, time.Time)), done: make(chan struct{}),
	}
	first := &Snapshot{}
	newMachine(limits, time.Now()).fill(first)
	s.snapshot.Store(&published{snapshot: first, replaced: make(chan struct{})})
	return s
}

// Begin sets what is known of the login before anything runs. It must be called before
// Subscribe.
func (s *Session) Begin(status login.Status) {
	first := *s.Snapshot()
	first.Login = loginOf(status)
	s.snapshot.Store(&published{snapshot: &first, replaced: make(chan struct{})})
}

// Subscribe has each observer called with every new snapshot, in order; a reader
// of Changed may miss some. Observers are called from the loop and must not block.
// Subscribe must be called before Run.
func (s *Session) Subscribe(observers ...func(*Snapshot)) {
	s.observers = append(s.observers, observers...)
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
// here, in the caller's goroutine, to keep the loop free. One that can't be drawn
// ends its predecessor, which the page no longer shows. After Run has returned
// notices are dropped.
func (s *Session) Notify(n worker.Notice) {
	var code *qr.Code
	w, _ := n.(worker.FromWorker)
	if shown, ok := w.Event.Body.(rpc.QRShown); ok {
		var err error
		if code, err = qr.Draw(shown.Payload); err != nil {
			s.log.Error(logid.QRDrawFailed, logging.KeyReader, shown.Reader, logging.KeyError, err)
		}
	}
	s.post(func(l *loop, now time.Time) { l.handle(n, code, now) })
}

// SetLogin updates what is known of the login.
func (s *Session) SetLogin(status login.Status) {
	s.post(func(l *loop, _ time.Time) {
		l.next.Login = loginOf(status)
		m := l.m
		m.qr.replacing = status.Replacing
		l.update("login", m)
	})
}

// Warn shows what is wrong around the service and leaves the state alone, in place of
// what was shown before.
func (s *Session) Warn(all ...reason.Warning) {
	s.post(func(l *loop, now time.Time) {
		l.warnings.service = warned(l.warnings.service, all, now)
		l.update("warned", l.m)
	})
}

// Paired records when the code to link a phone expires; the zero time means that there
// is no code. When it returns, the snapshot shows it.
func (s *Session) Paired(expires time.Time) {
	_ = s.do(context.Background(), func(l *loop) {
		l.next.Pairing = nil
		if !expires.IsZero() {
			l.next.Pairing = &Pairing{Moment{expires}}
		}
		l.update("paired", l.m)
	})
}

// PasskeyCancelled records that somebody has declined the request for a passkey. When it
// returns, the snapshot shows it.
func (s *Session) PasskeyCancelled() {
	_ = s.do(context.Background(), func(l *loop) {
		l.passkey(passkeyEvent{cancelled: true}, time.Now())
		l.update("passkey", l.m)
	})
}

// Stopping records that the service stops. From then on no QR is served.
func (s *Session) Stopping() {
	s.post(func(l *loop, now time.Time) { l.step(event{kind: Stopping}, now) })
}

// post returns when the loop has accepted f, or has ended.
func (s *Session) post(f func(*loop, time.Time)) {
	select {
	case s.inbox <- f:
	case <-s.done:
	}
}

// Alive returns nil when the loop responds, and the error of ctx if it does not
// before ctx ends. A loop that has ended as it should counts as alive.
func (s *Session) Alive(ctx context.Context) error { return s.do(ctx, func(*loop) {}) }

// do returns when the loop has done f, or has ended, or else the error of ctx.
func (s *Session) do(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	select {
	case s.inbox <- func(l *loop, _ time.Time) { f(l); close(done) }:
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
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
		case f := <-s.inbox:
			f(l, time.Now())
		case <-timer.C:
			l.update("deadline", l.m.tick(time.Now()))
		}
	}
}

// loop is what Run's goroutine owns: the machine, and the next snapshot as far
// as it is not derived from the machine.
type loop struct {
	s    *Session
	m    machine
	next Snapshot
	qr   *QR // that was shown last; it is in next while it is served
	// warnings come with notices and from around the service; the machine has others.
	warnings warnings
}

// warnings are what is wrong around the live instance, with what it may send, and around
// the service.
type warnings struct{ instance, sending, service Reasons }

// handle applies a notice; code is the drawn QR if it brings one.
func (l *loop) handle(n worker.Notice, code *qr.Code, now time.Time) {
	switch n := n.(type) {
	case worker.Spawning:
		l.next.Worker = Worker{Generation: n.Generation, StartedAt: Moment{now}, AbnormalExits: l.next.Worker.AbnormalExits}
		l.next.Browser, l.next.RetryAt, l.next.Messaging = nil, Moment{}, Messaging{}
		l.step(event{kind: Spawning, generation: n.Generation}, now)
	case worker.WorkerStarted:
		l.next.Worker.PID = n.PID
		l.update("worker_started", l.m.withPhase(phaseHandshake, now))
	case worker.FromWorker:
		if n.Event.Generation == l.m.generation {
			l.fromWorker(n.Event.Body, code, now)
		}
	case worker.Warned:
		l.warnings.instance = warned(l.warnings.instance, n.Warnings, now)
		l.update("warned", l.m)
	case worker.Exiting:
		l.step(event{kind: WorkerExited, generation: n.Generation, reason: n.Reason, detail: n.Detail}, now)
	case worker.Exited:
		l.next.Worker.PID, l.next.Browser, l.next.Messaging, l.warnings.instance = 0, nil, Messaging{}, nil
		if n.Class != restart.Planned {
			l.next.Worker.AbnormalExits++
		}
		l.passkey(passkeyEvent{exited: true}, now)
		l.next.LastExit, l.next.RetryAt = new(NewExit(n, now)), Moment{now.Add(n.Delay)}
		l.step(event{kind: WorkerExited, generation: n.Generation, reason: n.Reason, detail: n.Detail}, now)
	case worker.Blocked:
		l.next.RetryAt = Moment{n.RetryAt}
		l.step(event{kind: Blocked, reason: n.Reason, detail: n.Detail, tried: n.Tried}, now)
	}
}

func (l *loop) fromWorker(body rpc.EventBody, code *qr.Code, now time.Time) {
	switch b := body.(type) {
	case rpc.PhaseChanged:
		l.update("phase", l.m.withPhase(string(b.Phase), now))
	case rpc.BrowserStarted:
		l.next.Browser = &Browser{PID: b.PID, Engine: chrome.EngineOf(b.Product), Product: b.Product, UserAgent: b.UserAgent, Sandbox: b.Sandbox}
		l.update("browser_started", l.m)
	case rpc.PageObserved:
		l.passkey(passkeyEvent{observed: &b.Registered}, now)
		if k, ok := kindOf[b.Condition]; ok {
			k, b = unlessUnsaved(k, b)
			l.next.RetryAt = Moment{b.RetryAt}
			l.step(event{kind: k, generation: l.m.generation, page: b}, now)
		} else {
			l.s.log.Warn(logid.ConditionIgnored, "condition", string(b.Condition))
		}
	case rpc.QRShown:
		if code == nil {
			l.update("qr_unreadable", l.m.withUnreadableQR(now))
			return
		}
		l.qrShown(b, code, now)
	case rpc.QRGone:
		l.update("qr_gone", l.m.withQR(time.Time{}, now))
	case rpc.Heartbeat:
		l.next.Worker.ResidentBytes, l.next.Worker.HeartbeatAt = b.ResidentBytes, Moment{now}
		l.update("heartbeat", l.m)
	case rpc.SendingObserved, rpc.ReceivingObserved:
		l.messaging(b, now)
	case rpc.PasskeyChanged:
		l.passkey(passkeyEvent{changed: &b}, now)
		l.update("passkey", l.m)
	case rpc.Failure, rpc.BrowserExited:
		// The exit of the generation follows, and reports more.
	}
}

// messaging applies what the page can do with messages.
func (l *loop) messaging(body rpc.EventBody, now time.Time) {
	switch b := body.(type) {
	case rpc.ReceivingObserved:
		l.next.Receiving = new(Receiving(b))
		l.update("receiving", l.m)
	case rpc.SendingObserved:
		l.next.Sending = sendingOf(b)
		if b.Possible {
			l.passkey(passkeyEvent{challenged: &b.NewChats.ChallengePasskey}, now)
		}
		l.warnings.sending = warned(l.warnings.sending, l.next.Sending.warnings(), now)
		l.update("sending", l.m)
	}
}

// passkey applies e, and logs what it changes.
func (l *loop) passkey(e passkeyEvent, now time.Time) {
	before := l.next.Passkey
	l.next.Passkey = before.next(e, now)
	if p := l.next.Passkey; p.Status != before.Status {
		l.s.log.Info(logid.PasskeyChanged, logging.KeyGeneration, l.m.generation, "status", p.Status,
			"purpose", string(p.Purpose), logging.KeyReason, string(p.Reason))
	}
}

// qrShown applies a new payload, or a longer life of the present one.
func (l *loop) qrShown(b rpc.QRShown, code *qr.Code, now time.Time) {
	next := &QR{
		Code: code, Generation: l.m.generation, Seq: b.Seq, Reader: b.Reader,
		IssuedAt: Moment{now}, ExpiresAt: Moment{now.Add(b.TTL)}, Renewals: b.Renewals,
		timed: true, asleep: asleep(),
	}
	if old := l.qr; old != nil && old.Same(next) {
		next.IssuedAt, next.asleep = old.IssuedAt, old.asleep
	}
	l.qr = next
	l.update("qr_shown", l.m.withQR(next.ExpiresAt.Time, now))
}

func (l *loop) step(e event, now time.Time) { l.update(string(e.kind), l.m.step(e, now)) }

// update makes to the present machine, logs what changed, and publishes.
func (l *loop) update(cause string, to machine) {
	from := l.m
	l.m = to
	l.next.QR = nil
	if to.qr.served() {
		l.next.QR = l.qr
	}
	if to.state != QRRequired || from.reason.Code == reason.PairingCodeShown && to.reason.Code != reason.PairingCodeShown {
		l.next.Pairing = nil
	}
	if to.state == QRRequired {
		l.warnings.sending = nil // it was another link's
	}
	l.warn(to)
	l.logChange(cause, from, to)
	to.fill(&l.next)
	l.next.Version++
	next := l.next
	old := l.s.snapshot.Swap(&published{snapshot: &next, replaced: make(chan struct{})})
	close(old.replaced) // wakes the readers that wait
	for _, observe := range l.s.observers {
		observe(&next)
	}
}

// warn collects all warnings, and logs those that are new or gone.
func (l *loop) warn(m machine) {
	before := l.next.Warnings
	l.next.Warnings, l.next.Warning = slices.Concat(l.warnings.instance, m.warnings(), l.warnings.sending, l.warnings.service), nil
	if len(l.next.Warnings) > 0 {
		l.next.Warning = &l.next.Warnings[0]
	}
	has := func(all Reasons, w Reason) bool {
		return slices.ContainsFunc(all, func(r Reason) bool { return r.Code == w.Code && r.Detail == w.Detail })
	}
	for _, w := range l.next.Warnings {
		if !has(before, w) {
			l.s.log.Error(logid.WarningRaised, logging.KeyGeneration, m.generation, logging.KeyReason, string(w.Code), logging.KeyDetail, w.Detail)
		}
	}
	for _, w := range before {
		if !has(l.next.Warnings, w) {
			l.s.log.Info(logid.WarningCleared, logging.KeyGeneration, m.generation, logging.KeyReason, string(w.Code))
		}
	}
}

func (l *loop) logChange(cause string, from, to machine) {
	attrs := []any{
		logging.KeyGeneration, to.generation, logging.KeyEvent, cause,
		logging.KeyFrom, string(from.state), logging.KeyTo, string(to.state),
		logging.KeyReason, string(to.reason.Code), logging.KeyPhase, to.phase.Name,
	}
	if to.reason.Detail != "" {
		attrs = append(attrs, logging.KeyDetail, to.reason.Detail)
	}
	switch {
	case from.state != to.state:
		level := slog.LevelInfo
		switch {
		case to.state == Error:
			level = slog.LevelError
		case from.state == Ready && to.phase.Name != phaseStopping:
			level = slog.LevelWarn
		}
		attrs = append(attrs, logging.Millis("after_ms", to.since.Sub(from.since)))
		l.s.log.Log(context.Background(), level, logid.StateChanged, attrs...)
	case from.reason.Code != to.reason.Code:
		l.s.log.Info(logid.ReasonChanged, attrs...)
	case from.qr.served() != to.qr.served():
		l.s.log.Info(logid.QRChanged, append(attrs, "available", to.qr.served(), "withheld", !to.qr.expires.IsZero() && !to.qr.served())...)
	case from.phase.Name != to.phase.Name:
		l.s.log.Debug(logid.PhaseChanged, attrs...)
	}
}
