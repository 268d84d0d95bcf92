package session

import (
	"context"
	"log/slog"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker"
)

// loop is what Run's goroutine owns: the machine, and the next snapshot as far
// as it is not derived from the machine.
type loop struct {
	s       *Session
	m       machine
	next    Snapshot
	healthy bool
}

func (l *loop) handle(in input, now time.Time) {
	switch n := in.notice.(type) {
	case nil:
		l.told(in, now)
	case worker.Spawning:
		l.next.Worker = Worker{Generation: n.Generation, StartedAt: now, Ends: l.next.Worker.Ends, Refused: l.next.Worker.Refused}
		l.next.Browser, l.next.RetryAt = Browser{}, time.Time{}
		l.step(event{kind: Spawning, generation: n.Generation}, now)
	case worker.WorkerStarted:
		l.next.Worker.PID = n.PID
		l.update("worker_started", l.m.withPhase(phaseHandshake, now))
	case worker.FromWorker:
		if n.Event.Generation == l.m.generation {
			l.fromWorker(n.Event.Body, in, now)
		}
	case worker.Warned:
		l.next.Strain, l.next.StrainDetail, l.next.StrainSince = n.Reason, n.Detail, now
		l.update("strained", l.m)
	case worker.Exiting:
		l.step(event{kind: WorkerEnded, generation: n.Generation, reason: n.Reason, detail: n.Detail}, now)
	case worker.Exited:
		l.ended(n, now)
	case worker.WorkerBinary:
		l.next.Worker.Refused = n.Refused
		l.update("worker_binary", l.m)
	case worker.Blocked:
		l.next.RetryAt = n.RetryAt
		l.step(event{kind: Blocked, reason: n.Reason, detail: n.Detail}, now)
	}
}

// told takes in what does not come from the supervisor of the workers.
func (l *loop) told(in input, now time.Time) {
	switch {
	case in.turned != nil:
		close(in.turned)
	case in.login != nil:
		l.next.Login = *in.login
		l.update("login", l.m)
	case !in.paired.IsZero():
		l.next.PairingExpires = in.paired
		l.update("paired", l.m)
		close(in.published)
	default:
		l.step(event{kind: Stopping}, now)
	}
}

func (l *loop) ended(n worker.Exited, now time.Time) {
	l.next.Worker.PID, l.next.Browser = 0, Browser{}
	l.next.Strain, l.next.StrainDetail = "", ""
	if n.Class != restart.Planned {
		l.next.Worker.Ends++
	}
	l.next.LastEnd = &End{
		Generation: n.Generation, At: now, Reason: n.Reason, Detail: n.Detail, Class: string(n.Class),
		WorkerExit: n.WorkerExit, ChromeExit: n.ChromeExit, Uptime: n.Uptime, Delay: n.Delay, Failures: n.Failures,
	}
	l.next.RetryAt = now.Add(n.Delay)
	l.step(event{kind: WorkerEnded, generation: n.Generation, reason: n.Reason, detail: n.Detail}, now)
}

func (l *loop) fromWorker(body rpc.EventBody, in input, now time.Time) {
	switch b := body.(type) {
	case rpc.PhaseChanged:
		l.update("phase", l.m.withPhase(string(b.Phase), now))
	case rpc.BrowserStarted:
		l.next.Browser = Browser{PID: b.PID, Product: b.Product, UserAgent: b.UserAgent, Sandbox: b.Sandbox}
		l.update("browser_started", l.m)
	case rpc.PageObserved:
		if k, ok := kindOf[b.Condition]; ok {
			k, b = unlessUnsaved(k, b)
			l.step(event{kind: k, generation: l.m.generation, page: b}, now)
		} else {
			l.s.log.Warn(logid.ConditionIgnored, "condition", string(b.Condition))
		}
	case rpc.QRShown:
		l.qrShown(b, in.code, now)
	case rpc.QRGone:
		l.update("qr_gone", l.m.withQR(time.Time{}, now))
	case rpc.Heartbeat:
		l.next.Worker.ResidentBytes, l.next.Worker.HeartbeatAt = b.ResidentBytes, now
		l.update("heartbeat", l.m)
	case rpc.Failure:
		// The end of the generation that follows says the same, and more.
	}
}

// qrShown takes in a new string, or the news that the present one lives on.
func (l *loop) qrShown(b rpc.QRShown, code *qr.Code, now time.Time) {
	next := &QR{
		Code: code, Generation: l.m.generation, Seq: b.Seq, Reader: b.Reader,
		IssuedAt: now, ExpiresAt: now.Add(b.TTL), Renewals: b.Renewals,
		timed: true, asleep: asleep(),
	}
	if old := l.next.QR; old != nil && old.Generation == next.Generation && old.Seq == next.Seq {
		next.IssuedAt, next.asleep = old.IssuedAt, old.asleep
	}
	l.next.QR = next
	l.update("qr_shown", l.m.withQR(next.ExpiresAt, now))
}

func (l *loop) step(e event, now time.Time) { l.update(string(e.kind), l.m.step(e, now)) }

// update makes to the present machine, logs what changed, and publishes.
func (l *loop) update(cause string, to machine) {
	from := l.m
	l.m = to
	if to.qrExpires.IsZero() {
		l.next.QR = nil
	}
	if to.state != QRRequired {
		l.next.PairingExpires = time.Time{}
	}
	l.logChange(cause, from, to)
	to.fill(&l.next)
	l.next.Version++
	l.s.publish(l.next)
	if h := to.healthy(); h != l.healthy {
		l.healthy = h
		l.s.health(h)
	}
}

func (l *loop) logChange(cause string, from, to machine) {
	attrs := []any{
		logging.KeyGeneration, to.generation, logging.KeyEvent, cause,
		logging.KeyFrom, string(from.state), logging.KeyTo, string(to.state),
		logging.KeyReason, string(to.reason), logging.KeyPhase, to.phase,
	}
	if to.detail != "" {
		attrs = append(attrs, logging.KeyDetail, to.detail)
	}
	switch {
	case from.state != to.state:
		level := slog.LevelInfo
		if to.state == Error {
			level = slog.LevelError
		}
		attrs = append(attrs, logging.Millis("after_ms", to.since.Sub(from.since)))
		l.s.log.Log(context.Background(), level, logid.StateChanged, attrs...)
	case from.reason != to.reason:
		l.s.log.Info(logid.ReasonChanged, attrs...)
	case from.qrExpires.IsZero() != to.qrExpires.IsZero():
		l.s.log.Info(logid.QRChanged, append(attrs, "available", !to.qrExpires.IsZero())...)
	case from.phase != to.phase:
		l.s.log.Debug(logid.PhaseChanged, attrs...)
	}
}
