package session

import (
	"cmp"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// Limits are the session's own deadlines. Those of a worker's start belong to
// package worker and to the worker.
type Limits struct {
	// PageLoading is how long a page may load, or load again, before it is
	// overdue. Unreachable is the same for one that Chrome can't get: it was tried three
	// times by then. Reloading is the same for a page that was ready: the session is READY
	// meanwhile, though nobody is logged in.
	PageLoading, Unreachable, Reloading time.Duration
	// Evidence is how old the last observation of the page may be. The worker
	// repeats it every ten seconds.
	Evidence time.Duration
	// QRLate is how much later than rpc.QREvidence the next observation may come before
	// the QR is withheld: a worker, browser or page that no longer answers can't link a
	// phone. An observation takes 5 ms, and is made twice as often when it takes long.
	QRLate time.Duration
	// Saving is how long Chrome may take to write the login to disk before that is a
	// warning. Measured: 1 to 2 s, and up to a minute with a Chrome that does not know
	// --enable-aggressive-domstorage-flushing.
	Saving time.Duration
	// FirstQR is how long the page may ask for a phone without a scannable QR
	// before that is an incident.
	FirstQR time.Duration
	// Flapping is how long a page that was ready may be without its connection,
	// or fetch chats again, before the session is no longer READY. WhatsApp's
	// page reopens its connection many times a day, within a second or two.
	Flapping time.Duration
}

// DefaultLimits returns the usual limits; firstQR is a setting.
func DefaultLimits(firstQR time.Duration) Limits {
	return Limits{
		PageLoading: 90 * time.Second, Unreachable: 15 * time.Second, Reloading: 30 * time.Second,
		Evidence: 30 * time.Second, QRLate: 800 * time.Millisecond,
		Saving: 30 * time.Second, FirstQR: firstQR, Flapping: 3 * time.Second,
	}
}

// machine is everything that decides about the state. It is a value: step
// returns the next one, and neither reads a clock nor has an effect.
type machine struct {
	limits Limits
	state  State
	since  time.Time
	reason Reason
	phase  Phase

	// Only events of this generation count.
	generation uint64
	// running reports whether a worker of this generation lives.
	running bool
	page    pageState
	flap    flap
	qr      qrClock
	// loggedOut reports whether the last link was ended, and none has followed.
	loggedOut bool
	// foreseen reports whether the error is one that was found before a start.
	foreseen bool
	// slowSince is when the login had not been written for too long; zero while it has.
	slowSince time.Time
}

// pageState is what is known of the page. Observations change it, and the end of
// its worker.
type pageState struct {
	Evidence
	version string
	// loadingSince is when the page began to load; zero while it doesn't.
	loadingSince time.Time
	// failure is why it has not loaded, as observed last; empty while that is not known.
	failure reason.Code
}

// observed returns what is known after an observation.
func (p pageState) observed(e event, now time.Time) pageState {
	p.EvidenceAt, p.Registered, p.Progress = Moment{now}, e.page.Registered, Percent(e.page.Progress)
	p.version = e.page.PageVersion
	p.failure = ""
	if e.kind == PageLoading && loadFailures[e.page.Reason] {
		p.failure = e.page.Reason
	}
	switch {
	case !e.page.Persisted:
		p.PersistedAt = Moment{}
	case p.PersistedAt.IsZero():
		p.PersistedAt = Moment{now}
	}
	switch {
	case e.kind != PageLoading:
		p.loadingSince = time.Time{}
	case p.loadingSince.IsZero():
		p.loadingSince = now
	}
	return p
}

// flap is a READY page that reconnects or syncs, perhaps for a moment only.
type flap struct {
	// since is zero while the page does not flap.
	since time.Time
	// last is what was observed last; it counts once the limit has passed.
	last event
}

// hides reports whether e, of a page that is READY, does not count yet. A page that
// was opened elsewhere, or went to another site, does not come back of its own accord,
// so that counts at once.
func (f flap) hides(e event, limit time.Duration, now time.Time) bool {
	if e.kind != PageDisconnected && e.kind != PageSyncing || e.page.Reason == reason.Conflict || e.page.Reason == reason.WrongOrigin {
		return false
	}
	return f.since.IsZero() || now.Before(f.since.Add(limit))
}

// qrClock has the times of the QR.
type qrClock struct {
	// expires is zero while there is no QR.
	expires time.Time
	// withheld means that the page has not been observed lately; its QR is served again
	// when it is.
	withheld bool
	// replacing is login.Status's: a phone that is linked now might lose its link.
	replacing bool
	// missingSince is when the page began to ask for a phone without a QR.
	missingSince time.Time
	// unreadable is true while the page's payload is one that can't be drawn.
	unreadable bool
}

// served reports whether there is a QR that may be served until it expires.
func (q qrClock) served() bool { return !q.expires.IsZero() && !q.withheld && !q.replacing }

// wanted starts the clock of a missing QR, or stops it.
func (q qrClock) wanted(wanted bool, now time.Time) qrClock {
	switch {
	case !wanted || !q.expires.IsZero():
		q.missingSince = time.Time{}
	case q.missingSince.IsZero():
		q.missingSince = now
	}
	return q
}

// event is what happened. Only the fields that its kind needs are set.
type event struct {
	kind       Kind
	generation uint64
	reason     reason.Code
	detail     string
	page       rpc.PageObserved
	// tried: it was found by running an instance, so that only another one can find it
	// gone.
	tried bool
}

// Phases of the supervisor's own, before and after those of the worker.
const (
	phaseSpawn     = "spawn"
	phaseHandshake = "handshake"
	phaseBackoff   = "backoff"
	phaseBlocked   = "blocked"
	phaseStopping  = "stopping"
)

func newMachine(limits Limits, now time.Time) machine {
	return machine{
		limits: limits, state: Init, since: now, reason: NewReason(reason.Starting, "", now),
		phase: Phase{phaseSpawn, Moment{now}}, page: pageState{Evidence: Evidence{Progress: -1}},
	}
}

// fill copies into s what the machine decides.
func (m machine) fill(s *Snapshot) {
	s.State, s.Since, s.Reason, s.Phase = m.state, Moment{m.since}, m.reason, m.phase
	s.Evidence, s.Page, s.Healthy = m.page.Evidence, Page{m.page.version}, m.healthy()
}

// step is the pure transition function.
func (m machine) step(e event, now time.Time) machine {
	if m.phase.Name == phaseStopping || m.stale(e) {
		return m
	}
	if m.state == Ready && m.flap.hides(e, m.limits.Flapping, now) {
		m.flap = flap{cmp.Or(m.flap.since, now), e}
		m.page.EvidenceAt, m.page.loadingSince = Moment{now}, time.Time{}
		m.state = Next(m.state, PageFlapping)
		return m
	}
	from, retried := m.state, m.retries(e)
	m.state = Next(from, e.kind)
	if retried {
		m.state = Next(from, Retried)
	}
	if m.state != from {
		m.since = now
	}
	if m.state != Ready || e.kind == PageReady {
		m.flap = flap{}
	}
	switch e.kind {
	case Spawning:
		m = m.spawned(e.generation, from, now)
	case WorkerExited, Blocked, Stopping:
		m = m.ended(e, retried, now)
	case PageOverdue:
		m.page.loadingSince = time.Time{}
		m = m.withReason(m.page.overdueReason(m.state), m.reason.Detail, now)
	case EvidenceStale:
		m.page.EvidenceAt = Moment{}
		m = m.withReason(reason.PageHung, "", now)
	default:
		m = m.observed(e, from, now)
	}
	m.qr = m.qr.wanted(m.state == QRRequired, now)
	return m
}

// stale reports whether e is of another generation than the present one.
func (m machine) stale(e event) bool {
	return e.generation != 0 && e.kind != Spawning && e.generation != m.generation
}

// retries reports whether e is no more than another try to get over the error that there
// is. A restart that a person asked for is more.
func (m machine) retries(e event) bool {
	switch {
	case m.state != Error:
		return false
	case e.kind == Spawning:
		return !m.foreseen
	default:
		return e.kind == WorkerExited && e.reason != reason.RestartRequested
	}
}

// ended means that there is no instance.
func (m machine) ended(e event, retried bool, now time.Time) machine {
	m.running, m.foreseen = false, e.kind == Blocked && !e.tried
	m = m.withoutPage().withPhase(phaseAfter[e.kind], now)
	if retried {
		return m
	}
	return m.withReason(cmp.Or(e.reason, defaultReason[e.kind]), e.detail, now)
}

func (m machine) spawned(generation uint64, from State, now time.Time) machine {
	m.generation, m.running = generation, true
	m = m.withoutPage().withPhase(phaseHandshake, now)
	if m.state == Error {
		return m
	}
	if m.reason.Code == "" || from == Error || from == QRRequired {
		m = m.withReason(reason.Starting, "", now)
	}
	return m
}

var phaseAfter = map[Kind]string{WorkerExited: phaseBackoff, Blocked: phaseBlocked, Stopping: phaseStopping}

// observed applies what the worker observed of the page.
func (m machine) observed(e event, from State, now time.Time) machine {
	// A page can lose its connection, or meet a conflict, before it was ever linked.
	linked := from == Authenticated || from == Ready || from == Disconnected && m.page.Registered
	m.page = m.page.observed(e, now)
	m.qr.withheld, m.foreseen = false, false
	code := m.explain(e, linked)
	switch {
	case code == reason.LoggedOut:
		m.loggedOut = true
	case e.kind == PageSyncing, e.kind == PageReady:
		m.loggedOut = false
	}
	detail := e.page.Detail
	if m.state == Error && code != e.page.Reason && code == m.reason.Code {
		detail = m.reason.Detail // it explains what was known
	}
	return m.withReason(code, detail, now)
}

// explain returns the reason for an observation: the page's own, unless more is known,
// such as that the page was linked before.
func (m machine) explain(e event, linked bool) reason.Code {
	code := cmp.Or(e.page.Reason, defaultReason[e.kind])
	switch code {
	case reason.ScanQR:
		if m.qr.unreadable || m.reason.Code == reason.QRUnreadable && m.qr.expires.IsZero() {
			return reason.QRUnreadable
		}
		if linked || m.loggedOut {
			return reason.LoggedOut
		}
	case reason.PageCrashed, reason.PageHung:
		// Such a page does not reload of its own accord.
	default:
		// While a page reloads, what was known stays true.
		if e.kind == PageLoading && m.state != Init && (m.state != Error || m.page.failure == "") {
			return m.reason.Code
		}
	}
	return code
}

// unlessUnsaved keeps a page from being called ready while its login is not on
// disk: a crash could still lose it.
func unlessUnsaved(k Kind, p rpc.PageObserved) (Kind, rpc.PageObserved) {
	if k != PageReady || p.Persisted {
		return k, p
	}
	p.Reason = reason.SavingLogin
	return PageSyncing, p
}

// loadFailures are the reasons by which a page explains that it has not loaded.
var loadFailures = map[reason.Code]bool{
	reason.NetworkUnreachable: true, reason.CertificateInvalid: true, reason.HTTPError: true, reason.ProxyFailed: true,
	reason.PageUnrecognised: true, reason.PageOutdated: true, reason.ServiceUnavailable: true,
}

// unreached are those of them with which nothing has come from the server.
var unreached = map[reason.Code]bool{
	reason.NetworkUnreachable: true, reason.CertificateInvalid: true, reason.HTTPError: true, reason.ProxyFailed: true,
}

// overdueReason is why a page has been loading for too long: the page's own
// reason where it gave one.
func (p pageState) overdueReason(s State) reason.Code {
	switch {
	case p.failure != "":
		return p.failure
	case s == Error:
		return reason.PageLoadFailed
	default:
		return reason.PageLoading
	}
}

var kindOf = map[rpc.Condition]Kind{
	rpc.PageLoading:      PageLoading,
	rpc.PageUnlinked:     PageUnlinked,
	rpc.PageSyncing:      PageSyncing,
	rpc.PageReady:        PageReady,
	rpc.PageDisconnected: PageDisconnected,
	rpc.PageLoggedOut:    PageLoggedOut,
	rpc.PageBlocked:      PageBlocked,
}

var defaultReason = map[Kind]reason.Code{
	PageLoading:      reason.PageLoading,
	PageUnlinked:     reason.ScanQR,
	PageSyncing:      reason.Syncing,
	PageDisconnected: reason.Reconnecting,
	PageLoggedOut:    reason.LoggedOut,
	PageBlocked:      reason.PageUnrecognised,
	Stopping:         reason.Stopping,
}

func (m machine) withReason(c reason.Code, detail string, now time.Time) machine {
	since := now
	if c != reason.SavingLogin {
		m.slowSince = time.Time{}
	}
	if c == m.reason.Code {
		since = m.reason.Since.Time
	}
	m.reason = NewReason(c, detail, since)
	return m
}

func (m machine) withPhase(name string, now time.Time) machine {
	if name != m.phase.Name {
		m.phase = Phase{name, Moment{now}}
	}
	return m
}

// withoutPage forgets what was true of a page that no longer exists.
func (m machine) withoutPage() machine {
	m.page.EvidenceAt, m.page.loadingSince, m.page.Progress, m.page.failure = Moment{}, time.Time{}, -1, ""
	m.qr.expires, m.qr.unreadable = time.Time{}, false
	return m
}

// withQR means that a QR is on the screen until it expires; with a zero time, that
// it is gone.
func (m machine) withQR(expires, now time.Time) machine {
	if m.phase.Name == phaseStopping {
		return m
	}
	m.qr.expires, m.qr.unreadable = expires, false
	// The detail explained why there was none.
	if !expires.IsZero() && (m.reason.Code == reason.QRUnreadable || m.reason.Code == reason.ScanQR) {
		m = m.withReason(reason.ScanQR, "", now)
	}
	m.qr = m.qr.wanted(m.state == QRRequired, now)
	return m
}

// withUnreadableQR means that the page shows a payload that can't be drawn.
func (m machine) withUnreadableQR(now time.Time) machine {
	m = m.withQR(time.Time{}, now)
	if m.phase.Name == phaseStopping {
		return m
	}
	m.qr.unreadable = true
	if m.state == QRRequired {
		m = m.withReason(reason.QRUnreadable, "", now)
	}
	return m
}

// withholdQR means that nothing proves any longer that the QR is alive.
func (m machine) withholdQR(time.Time) machine {
	m.qr.withheld = true
	return m
}

// savingSlowly means that the login should be on disk by now.
func (m machine) savingSlowly(now time.Time) machine {
	m.slowSince = now
	return m
}

// warnings are what the machine itself warns of.
func (m machine) warnings() Reasons {
	if m.slowSince.IsZero() {
		return nil
	}
	return Reasons{NewReason(reason.SavingSlow, "", m.slowSince)}
}

// due is what happens at a time unless an event comes first.
type due struct {
	at   time.Time
	then func(m machine, now time.Time) machine
}

// deadlines returns what is due, the most important first.
func (m machine) deadlines() []due {
	var list []due
	add := func(base time.Time, after time.Duration, then func(m machine, now time.Time) machine) {
		if !base.IsZero() {
			list = append(list, due{base.Add(after), then})
		}
	}
	step := func(e event) func(machine, time.Time) machine {
		return func(m machine, now time.Time) machine { return m.step(e, now) }
	}
	add(m.qr.expires, 0, func(m machine, now time.Time) machine { return m.withQR(time.Time{}, now) })
	if !m.running {
		return list
	}
	if !m.qr.expires.IsZero() && !m.qr.withheld {
		add(m.page.EvidenceAt.Time, rpc.QREvidence+m.limits.QRLate, machine.withholdQR)
	}
	add(m.page.EvidenceAt.Time, m.limits.Evidence, step(event{kind: EvidenceStale, generation: m.generation}))
	add(m.flap.since, m.limits.Flapping, step(m.flap.last))
	loading := m.limits.PageLoading
	switch {
	case m.state == Ready:
		loading = m.limits.Reloading
	case unreached[m.page.failure]:
		loading = m.limits.Unreachable
	}
	add(m.page.loadingSince, loading, step(event{kind: PageOverdue, generation: m.generation}))
	if m.reason.Code == reason.SavingLogin && m.slowSince.IsZero() {
		add(m.reason.Since.Time, m.limits.Saving, machine.savingSlowly)
	}
	// A missing QR may have another explanation already.
	if m.reason.Code == reason.ScanQR || m.reason.Code == reason.LoggedOut {
		add(m.qr.missingSince, m.limits.FirstQR, func(m machine, now time.Time) machine {
			return m.withReason(reason.QRUnreadable, "", now)
		})
	}
	return list
}

// deadline is when tick must be called next; zero when nothing is due.
func (m machine) deadline() time.Time {
	var next time.Time
	for _, d := range m.deadlines() {
		if next.IsZero() || d.at.Before(next) {
			next = d.at
		}
	}
	return next
}

// tick applies the most important deadline that has passed.
func (m machine) tick(now time.Time) machine {
	for _, d := range m.deadlines() {
		if !now.Before(d.at) {
			return d.then(m, now)
		}
	}
	return m
}

func (m machine) healthy() bool {
	switch m.state {
	case Ready, Authenticated:
		return !m.page.EvidenceAt.IsZero()
	case QRRequired:
		return m.qr.served()
	default:
		return false
	}
}
