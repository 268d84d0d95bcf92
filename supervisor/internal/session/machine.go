package session

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// Limits are the session's own deadlines. Those of a worker's start belong to
// package supervise and to the worker.
type Limits struct {
	// PageLoading is how long a page may load, or load again, before it is
	// overdue.
	PageLoading time.Duration
	// Evidence is how old the last word about the page may be. The worker
	// repeats itself every ten seconds.
	Evidence time.Duration
	// FirstQR is how long the page may ask for a phone without a scannable QR
	// before that is an incident.
	FirstQR time.Duration
	// Flapping is how long a page that was ready may be without its connection,
	// or fetch chats again, before the session is not READY any more. WhatsApp's
	// page opens its connection anew many times a day, within a second or two.
	Flapping time.Duration
}

// DefaultLimits returns the limits in force when none are set.
func DefaultLimits() Limits {
	return Limits{PageLoading: 90 * time.Second, Evidence: 30 * time.Second, FirstQR: 15 * time.Second, Flapping: 3 * time.Second}
}

// machine is everything that decides about the state. It is a value: step
// returns the next one, and neither reads a clock nor has an effect.
type machine struct {
	limits Limits

	state State
	since time.Time

	reason reason.Code
	detail string
	// reasonSince is when this reason was first given.
	reasonSince time.Time

	// Only events of this generation count.
	generation uint64
	phase      string
	phaseSince time.Time

	// running says that a worker of this generation lives.
	running bool
	// evidence is when the page was last heard of; zero while it wasn't.
	evidence time.Time
	// loadingSince is when the page began to load; zero while it doesn't.
	loadingSince time.Time
	registered   bool
	// persistedAt is when the present login was first seen on disk; zero while
	// it wasn't.
	persistedAt time.Time
	progress    int
	pageVersion string

	// loggedOut says that the last link was ended, and none has followed.
	loggedOut bool
	// waveringSince is since when a READY page has not been ready; zero while it
	// is. flapping is the last thing that was heard of it.
	flappingSince time.Time
	flapping      event

	// qrExpires is zero while there is no QR.
	qrExpires time.Time
	// noQRSince is since when the page has asked for a phone without a QR.
	noQRSince time.Time
}

// event is what happened. Only the fields that its kind needs are set.
type event struct {
	kind       Kind
	generation uint64
	reason     reason.Code
	detail     string
	page       rpc.PageObserved
}

func newMachine(limits Limits, now time.Time) machine {
	return machine{
		limits: limits, state: Init, since: now, reason: reason.Starting, reasonSince: now,
		phase: phaseSpawn, phaseSince: now, progress: -1,
	}
}

// Phases of the supervisor's own, before and after those of the worker.
const (
	phaseSpawn     = "spawn"
	phaseHandshake = "handshake"
	phaseBackoff   = "backoff"
	phaseBlocked   = "blocked"
	phaseStopping  = "stopping"
)

// step is the pure transition function.
func (m machine) step(e event, now time.Time) machine {
	stale := e.generation != 0 && e.kind != Spawning && e.generation != m.generation
	if stale || m.phase == phaseStopping {
		return m
	}
	if m.flaps(e, now) {
		return m.flap(e, now)
	}
	from := m.state
	linked := from == Authenticated || from == Ready || from == Disconnected
	m.state = Next(from, e.kind)
	if m.state != from {
		m.since = now
	}
	if m.state != Ready || e.kind == PageReady {
		m.flappingSince, m.flapping = time.Time{}, event{}
	}
	switch e.kind {
	case Spawning:
		m.generation, m.running = e.generation, true
		m = m.withoutPage().withPhase(phaseHandshake, now)
		if m.reason == "" || from == Error || from == QRRequired {
			m = m.withReason(reason.Starting, "", now)
		}
	case WorkerEnded:
		m.running = false
		m = m.withoutPage().withPhase(phaseBackoff, now).withReason(e.reason, e.detail, now)
	case Blocked:
		m.running = false
		m = m.withoutPage().withPhase(phaseBlocked, now).withReason(e.reason, e.detail, now)
	case Stopping:
		m.running = false
		m = m.withoutPage().withPhase(phaseStopping, now).withReason(reason.Stopping, "", now)
	case PageOverdue:
		m.loadingSince = time.Time{}
		m = m.withReason(overdueReason(m.state, m.reason), m.detail, now)
	case EvidenceStale:
		m.evidence = time.Time{}
		m = m.withReason(reason.PageHung, "", now)
	default:
		m = m.observed(e, linked, now)
	}
	return m.withQRClock(now)
}

// wavers says whether e, of a page that is READY, does not count yet. That it was
// opened elsewhere is certain at once.
func (m machine) flaps(e event, now time.Time) bool {
	if m.state != Ready || e.kind != PageDisconnected && e.kind != PageSyncing || e.page.Reason == reason.Conflict {
		return false
	}
	return m.flappingSince.IsZero() || now.Before(m.flappingSince.Add(m.limits.Flapping))
}

// waver notes e, and that the page was heard of, and leaves the rest.
func (m machine) flap(e event, now time.Time) machine {
	if m.flappingSince.IsZero() {
		m.flappingSince = now
	}
	m.flapping, m.evidence, m.loadingSince = e, now, time.Time{}
	m.state = Next(m.state, PageFlapping)
	return m
}

// observed takes in what the worker said about the page.
func (m machine) observed(e event, wasLinked bool, now time.Time) machine {
	m.evidence = now
	m.registered, m.progress, m.pageVersion = e.page.Registered, e.page.Progress, e.page.PageVersion
	switch {
	case !e.page.Persisted:
		m.persistedAt = time.Time{}
	case m.persistedAt.IsZero():
		m.persistedAt = now
	}
	if e.kind != PageLoading {
		m.loadingSince = time.Time{}
	} else if m.loadingSince.IsZero() {
		m.loadingSince = now
	}
	code := e.page.Reason
	if code == "" {
		code = defaultReason[e.kind]
	}
	switch {
	case e.kind == PageUnlinked && code == reason.ScanQR && (wasLinked || m.loggedOut):
		code = reason.LoggedOut
	case code == reason.ScanQR && m.reason == reason.QRUnreadable && m.qrExpires.IsZero():
		code = reason.QRUnreadable
	case e.kind == PageLoading && m.state != Init && code != reason.PageCrashed && code != reason.PageHung:
		// What was known stays true until the page says otherwise. A page that is
		// loaded again because it died is no page that loads again by itself.
		code = m.reason
	}
	switch {
	case code == reason.LoggedOut:
		m.loggedOut = true
	case e.kind == PageSyncing, e.kind == PageReady:
		m.loggedOut = false
	}
	return m.withReason(code, e.page.Detail, now)
}

// unlessUnsaved keeps a page that is ready from being called so while its login
// is not on disk: a crash could still take it away.
func unlessUnsaved(k Kind, p rpc.PageObserved) (Kind, rpc.PageObserved) {
	if k != PageReady || p.Persisted {
		return k, p
	}
	p.Reason = reason.SavingLogin
	return PageSyncing, p
}

// overdueReason is why a page that has loaded for too long does so: the page's
// own word where it gave one.
func overdueReason(s State, given reason.Code) reason.Code {
	switch given {
	case reason.NetworkUnreachable, reason.CertificateInvalid, reason.HTTPError, reason.PageUnrecognised:
		return given
	}
	if s == Error {
		return reason.PageLoadFailed
	}
	return reason.PageLoading
}

var defaultReason = map[Kind]reason.Code{
	PageLoading:      reason.PageLoading,
	PageUnlinked:     reason.ScanQR,
	PageSyncing:      reason.Syncing,
	PageDisconnected: reason.Reconnecting,
	PageLoggedOut:    reason.LoggedOut,
	PageBlocked:      reason.PageUnrecognised,
}

// withQRClock starts or stops the clock of the first QR.
func (m machine) withQRClock(now time.Time) machine {
	waiting := m.state == QRRequired && m.qrExpires.IsZero()
	switch {
	case !waiting:
		m.noQRSince = time.Time{}
	case m.noQRSince.IsZero():
		m.noQRSince = now
	}
	return m
}

func (m machine) withReason(c reason.Code, detail string, now time.Time) machine {
	if c != m.reason {
		m.reason, m.reasonSince = c, now
	}
	m.detail = detail
	return m
}

func (m machine) withPhase(p string, now time.Time) machine {
	if p != m.phase {
		m.phase, m.phaseSince = p, now
	}
	return m
}

// withoutPage forgets what was true of a page that is no more.
func (m machine) withoutPage() machine {
	m.evidence, m.loadingSince, m.qrExpires = time.Time{}, time.Time{}, time.Time{}
	m.progress = -1
	return m
}

// withQR says that a QR is on the screen until it expires; a zero time says that
// there is none any more.
func (m machine) withQR(expires, now time.Time) machine {
	if m.phase == phaseStopping {
		return m
	}
	m.qrExpires = expires
	if !expires.IsZero() && m.reason == reason.QRUnreadable {
		m = m.withReason(reason.ScanQR, "", now)
	}
	return m.withQRClock(now)
}

// deadline is when tick must be called next; zero when nothing is due.
func (m machine) deadline() time.Time {
	var next time.Time
	consider := func(base time.Time, d time.Duration) {
		if t := base.Add(d); !base.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if m.running {
		consider(m.evidence, m.limits.Evidence)
		consider(m.loadingSince, m.limits.PageLoading)
		consider(m.flappingSince, m.limits.Flapping)
		if m.qrExpected() {
			consider(m.noQRSince, m.limits.FirstQR)
		}
	}
	consider(m.qrExpires, 0)
	return next
}

// tick applies every deadline that has passed.
func (m machine) tick(now time.Time) machine {
	passed := func(base time.Time, d time.Duration) bool {
		return !base.IsZero() && !now.Before(base.Add(d))
	}
	if passed(m.qrExpires, 0) {
		m = m.withQR(time.Time{}, now)
	}
	if !m.running {
		return m
	}
	if passed(m.evidence, m.limits.Evidence) {
		return m.step(event{kind: EvidenceStale, generation: m.generation}, now)
	}
	if passed(m.flappingSince, m.limits.Flapping) {
		return m.step(m.flapping, now)
	}
	if passed(m.loadingSince, m.limits.PageLoading) {
		return m.step(event{kind: PageOverdue, generation: m.generation}, now)
	}
	if m.qrExpected() && passed(m.noQRSince, m.limits.FirstQR) {
		m = m.withReason(reason.QRUnreadable, "", now)
	}
	return m
}

// qrExpected says whether a missing QR has no other explanation yet.
func (m machine) qrExpected() bool {
	return m.reason == reason.ScanQR || m.reason == reason.LoggedOut
}

// healthy says whether the page was heard of lately and does what it should, as
// the restart policy understands it.
func (m machine) healthy() bool {
	switch m.state {
	case Ready, Authenticated:
		return !m.evidence.IsZero()
	case QRRequired:
		return !m.qrExpires.IsZero()
	default:
		return false
	}
}
