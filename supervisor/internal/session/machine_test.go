package session

import (
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// wanted is written out by hand and shares nothing with the table under test.
var wanted = map[Kind]map[State]State{
	Spawning:         {Init: Init, QRRequired: Init, Authenticated: Init, Ready: Init, Disconnected: Init, Error: Init},
	PageLoading:      {Init: Init, QRRequired: QRRequired, Authenticated: Authenticated, Ready: Ready, Disconnected: Disconnected, Error: Error},
	PageUnlinked:     {Init: QRRequired, QRRequired: QRRequired, Authenticated: QRRequired, Ready: QRRequired, Disconnected: QRRequired, Error: QRRequired},
	PageSyncing:      {Init: Authenticated, QRRequired: Authenticated, Authenticated: Authenticated, Ready: Authenticated, Disconnected: Authenticated, Error: Authenticated},
	PageReady:        {Init: Ready, QRRequired: Ready, Authenticated: Ready, Ready: Ready, Disconnected: Ready, Error: Ready},
	PageDisconnected: {Init: Disconnected, QRRequired: Disconnected, Authenticated: Disconnected, Ready: Disconnected, Disconnected: Disconnected, Error: Disconnected},
	PageFlapping:     {Init: Init, QRRequired: QRRequired, Authenticated: Authenticated, Ready: Ready, Disconnected: Disconnected, Error: Error},
	PageLoggedOut:    {Init: Disconnected, QRRequired: QRRequired, Authenticated: Disconnected, Ready: Disconnected, Disconnected: Disconnected, Error: Disconnected},
	PageBlocked:      {Init: Error, QRRequired: Error, Authenticated: Error, Ready: Error, Disconnected: Error, Error: Error},
	PageOverdue:      {Init: Error, QRRequired: Error, Authenticated: Disconnected, Ready: Disconnected, Disconnected: Disconnected, Error: Error},
	EvidenceStale:    {Init: Init, QRRequired: Init, Authenticated: Init, Ready: Init, Disconnected: Init, Error: Error},
	WorkerExited:     {Init: Init, QRRequired: Init, Authenticated: Init, Ready: Init, Disconnected: Init, Error: Init},
	Retried:          {Init: Init, QRRequired: QRRequired, Authenticated: Authenticated, Ready: Ready, Disconnected: Disconnected, Error: Error},
	Blocked:          {Init: Error, QRRequired: Error, Authenticated: Error, Ready: Error, Disconnected: Error, Error: Error},
	Stopping:         {Init: Init, QRRequired: Init, Authenticated: Init, Ready: Init, Disconnected: Init, Error: Init},
}

func TestNextForEveryStateAndEvent(t *testing.T) {
	if len(wanted) != len(kinds()) || len(wanted) != len(transitions) {
		t.Fatalf("%d kinds wanted, %d listed, %d in the table", len(wanted), len(kinds()), len(transitions))
	}
	for _, k := range kinds() {
		for _, s := range States() {
			if got := Next(s, k); got != wanted[k][s] {
				t.Errorf("%s in %s gives %s, want %s", k, s, got, wanted[k][s])
			}
		}
	}
}

func TestNextLeavesTheStateAtUnknownNames(t *testing.T) {
	if got := Next(Ready, "no_such_kind"); got != Ready {
		t.Errorf("got %s", got)
	}
	if got := Next("NO_SUCH_STATE", Blocked); got != "NO_SUCH_STATE" {
		t.Errorf("got %s", got)
	}
}

var t0 = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// started is a machine whose first worker runs.
func started() machine {
	return newMachine(DefaultLimits(15*time.Second), t0).step(event{kind: Spawning, generation: 1}, t0)
}

func page(c rpc.Condition, code reason.Code) event {
	return event{kind: kindOf[c], generation: 1, page: rpc.PageObserved{Condition: c, Reason: code, Progress: -1}}
}

func at(d time.Duration) time.Time { return t0.Add(d) }

func expect(t *testing.T, m machine, s State, code reason.Code) {
	t.Helper()
	if m.state != s || m.reason.Code != code {
		t.Fatalf("got %s (%s), want %s (%s)", m.state, m.reason.Code, s, code)
	}
}

func TestEventsOfAnotherGenerationChangeNothing(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(1))
	late := page(rpc.PageUnlinked, "")
	late.generation = 99
	if got := m.step(late, at(2)); got != m {
		t.Errorf("got %+v", got)
	}
}

func TestScanGoesThroughAuthenticatedToReady(t *testing.T) {
	m := started().step(page(rpc.PageLoading, ""), at(1))
	expect(t, m, Init, reason.PageLoading)
	m = m.step(page(rpc.PageUnlinked, ""), at(2))
	expect(t, m, QRRequired, reason.ScanQR)
	m = m.step(page(rpc.PageLoading, ""), at(3))
	expect(t, m, QRRequired, reason.ScanQR)
	m = m.step(page(rpc.PageSyncing, ""), at(4))
	expect(t, m, Authenticated, reason.Syncing)
	m = m.step(page(rpc.PageReady, ""), at(5))
	expect(t, m, Ready, "")
}

func TestSinceIsWhenTheStateWasEntered(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(time.Second))
	m = m.step(page(rpc.PageReady, ""), at(time.Minute))
	if !m.since.Equal(at(time.Second)) || !m.page.EvidenceAt.Equal(at(time.Minute)) {
		t.Errorf("since %v, evidence %v", m.since, m.page.EvidenceAt)
	}
}

func TestLoggedOutIsTheNewQRsReason(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(1))
	m = m.step(page(rpc.PageLoggedOut, ""), at(2))
	expect(t, m, Disconnected, reason.LoggedOut)
	m = m.step(page(rpc.PageUnlinked, ""), at(3))
	expect(t, m, QRRequired, reason.LoggedOut)
	m = m.step(page(rpc.PageUnlinked, ""), at(4))
	expect(t, m, QRRequired, reason.LoggedOut)
}

func TestUnlinkedPageIsNeverLoggedOutByConflict(t *testing.T) {
	for _, code := range []reason.Code{reason.Conflict, reason.NetworkUnreachable, reason.Reconnecting} {
		m := started().step(page(rpc.PageUnlinked, reason.ScanQR), at(1)).step(page(rpc.PageDisconnected, code), at(2))
		m = m.step(page(rpc.PageUnlinked, reason.ScanQR), at(3))
		expect(t, m, QRRequired, reason.ScanQR)

		linked := page(rpc.PageDisconnected, code)
		linked.page.Registered = true
		m = started().step(linked, at(2)).step(page(rpc.PageUnlinked, reason.ScanQR), at(3))
		expect(t, m, QRRequired, reason.LoggedOut)
	}
}

func TestCrashIsInitWithReasonWithoutQR(t *testing.T) {
	m := started().step(page(rpc.PageUnlinked, ""), at(1)).withQR(at(time.Minute), at(1))
	m = m.step(event{kind: WorkerExited, generation: 1, reason: reason.WorkerCrashed}, at(2))
	expect(t, m, Init, reason.WorkerCrashed)
	if !m.qr.expires.IsZero() {
		t.Error("the dead page's QR is still there")
	}
	m = m.step(event{kind: Spawning, generation: 2}, at(3))
	expect(t, m, Init, reason.WorkerCrashed)
}

func TestCrashedOrHungPageStaysTheReason(t *testing.T) {
	for _, code := range []reason.Code{reason.PageCrashed, reason.PageHung} {
		m := started().step(page(rpc.PageUnlinked, ""), at(1))
		m = m.step(page(rpc.PageLoading, code), at(2))
		expect(t, m, QRRequired, code)
		m = m.step(page(rpc.PageLoading, ""), at(3))
		expect(t, m, QRRequired, code)
		m = m.step(page(rpc.PageUnlinked, ""), at(4))
		expect(t, m, QRRequired, reason.ScanQR)
	}
}

func TestQRExpires(t *testing.T) {
	m := started().step(page(rpc.PageUnlinked, ""), at(0)).withQR(at(20*time.Second), at(0))
	m = m.step(page(rpc.PageUnlinked, ""), at(18*time.Second))
	if !m.deadline().Equal(at(20 * time.Second)) {
		t.Fatalf("deadline %v", m.deadline())
	}
	if m = m.tick(at(19 * time.Second)); !m.qr.served() {
		t.Fatal("dropped too early")
	}
	if m = m.tick(at(20 * time.Second)); !m.qr.expires.IsZero() {
		t.Fatal("served past its time to live")
	}
}

func TestQRIsWithheldWithoutFreshEvidence(t *testing.T) {
	late := rpc.QREvidence + DefaultLimits(0).QRLate
	if late >= 5*time.Second {
		t.Errorf("a frozen page's QR is served for %v", late)
	}
	m := started().step(page(rpc.PageUnlinked, ""), at(0)).withQR(at(time.Minute), at(0))
	for _, s := range []time.Duration{rpc.QREvidence, 2 * rpc.QREvidence} { // no later than promised
		if m = m.tick(at(s)); !m.qr.served() || !m.healthy() {
			t.Fatalf("withheld after %v", s)
		}
		m = m.step(page(rpc.PageUnlinked, ""), at(s))
	}
	frozen := m.tick(at(2*rpc.QREvidence + late))
	if frozen.qr.served() || frozen.healthy() {
		t.Fatal("it is served")
	}
	expect(t, frozen, QRRequired, reason.ScanQR)
	if back := frozen.step(page(rpc.PageUnlinked, ""), at(30*time.Second)); !back.qr.served() {
		t.Error("it does not come back")
	}
	if next := frozen.withQR(at(50*time.Second), at(30*time.Second)); next.qr.served() {
		t.Error("one that the worker had sent before is served without an observation")
	}
	if gone := frozen.tick(at(time.Minute)); !gone.qr.expires.IsZero() {
		t.Error("it does not expire")
	}
	again := frozen.step(event{kind: WorkerExited, generation: 1, reason: reason.WorkerHung}, at(time.Minute))
	again = again.step(event{kind: Spawning, generation: 2}, at(61*time.Second))
	next := page(rpc.PageUnlinked, "")
	next.generation = 2
	if again = again.withQR(at(2*time.Minute), at(62*time.Second)).step(next, at(62*time.Second)); !again.qr.served() {
		t.Error("the next worker's is not served")
	}
}

func TestSlowlySavedLoginIsAWarning(t *testing.T) {
	unsaved, saved := page(rpc.PageSyncing, reason.SavingLogin), page(rpc.PageReady, "")
	m := started().step(page(rpc.PageSyncing, ""), at(0)).step(unsaved, at(time.Second))
	limit := m.limits.Saving
	for s := 10 * time.Second; s <= limit; s += 10 * time.Second {
		m = m.step(unsaved, at(s)).tick(at(s))
		if m.warnings() != nil {
			t.Fatalf("a warning after %v", s)
		}
	}
	m = m.tick(at(limit + time.Second))
	if w := m.warnings(); len(w) != 1 || w[0].Code != reason.SavingSlow || !w[0].Since.Equal(at(limit+time.Second)) {
		t.Fatalf("got %+v", w)
	}
	for s := limit; s < time.Hour; s += 10 * time.Second {
		m = m.step(unsaved, at(s)).tick(at(s))
	}
	expect(t, m, Authenticated, reason.SavingLogin)
	if w := m.warnings(); len(w) != 1 || !w[0].Since.Equal(at(limit+time.Second)) {
		t.Errorf("after an hour: %+v", w)
	}
	m = m.step(saved, at(time.Hour))
	expect(t, m, Ready, "")
	if m.warnings() != nil {
		t.Error("it does not end when the login is saved")
	}
	for _, end := range []event{page(rpc.PageUnlinked, ""), page(rpc.PageDisconnected, ""), {kind: WorkerExited, generation: 1, reason: reason.WorkerCrashed}} {
		m := started().step(unsaved, at(0)).step(unsaved, at(limit)).tick(at(limit))
		if m.warnings() == nil || m.step(end, at(limit)).warnings() != nil {
			t.Errorf("%s does not end it", end.kind)
		}
	}
}

func TestMissingQRIsAnIncident(t *testing.T) {
	m := started().step(page(rpc.PageUnlinked, ""), at(0))
	m = m.tick(at(14 * time.Second))
	expect(t, m, QRRequired, reason.ScanQR)
	m = m.tick(at(15 * time.Second))
	expect(t, m, QRRequired, reason.QRUnreadable)
	m = m.step(page(rpc.PageUnlinked, ""), at(16*time.Second))
	expect(t, m, QRRequired, reason.QRUnreadable)
	m = m.withQR(at(60*time.Second), at(17*time.Second))
	expect(t, m, QRRequired, reason.ScanQR)
}

func TestExplainedMissingQRIsNotAnIncident(t *testing.T) {
	m := started().step(page(rpc.PageUnlinked, reason.PasskeyRequired), at(0))
	m = m.tick(at(16 * time.Second))
	expect(t, m, QRRequired, reason.PasskeyRequired)
}

func TestOverduePageIsAnErrorWithItsReason(t *testing.T) {
	for given, want := range map[reason.Code]reason.Code{
		"":                      reason.PageLoadFailed,
		reason.PageUnrecognised: reason.PageUnrecognised,
		reason.PageOutdated:     reason.PageOutdated,
	} {
		m := started().step(page(rpc.PageLoading, given), at(0))
		for s := 10 * time.Second; s < 90*time.Second; s += 10 * time.Second {
			m = m.step(page(rpc.PageLoading, given), at(s)).tick(at(s))
		}
		expect(t, m, Init, orElse(given, reason.PageLoading))
		m = m.tick(at(90 * time.Second))
		expect(t, m, Error, want)
	}
}

func orElse(c, otherwise reason.Code) reason.Code {
	if c == "" {
		return otherwise
	}
	return c
}

func TestReloadKeepsReadyUntilItIsOverdue(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(0))
	for s := time.Second; s < 30*time.Second; s += 10 * time.Second {
		m = m.step(page(rpc.PageLoading, ""), at(s)).tick(at(s))
		expect(t, m, Ready, "")
	}
	m = m.step(page(rpc.PageLoading, ""), at(30*time.Second)).tick(at(31 * time.Second))
	expect(t, m, Disconnected, reason.PageLoading)
	for s := 40 * time.Second; s < 2*time.Minute; s += 10 * time.Second {
		m = m.step(page(rpc.PageLoading, ""), at(s)).tick(at(s))
		expect(t, m, Disconnected, reason.PageLoading)
	}
	m = m.step(page(rpc.PageLoading, ""), at(130*time.Second)).tick(at(131 * time.Second))
	expect(t, m, Disconnected, reason.PageLoading)
}

func TestReadyNeedsFreshEvidence(t *testing.T) {
	m := started().step(page(rpc.PageReady, ""), at(0))
	if m = m.tick(at(29 * time.Second)); m.state != Ready {
		t.Fatalf("got %s", m.state)
	}
	m = m.tick(at(30 * time.Second))
	expect(t, m, Init, reason.PageHung)
	if !m.deadline().IsZero() {
		t.Errorf("a deadline at %v with nothing to wait for", m.deadline())
	}
}

func TestBlockedHasItsReasonUntilSpawning(t *testing.T) {
	m := newMachine(DefaultLimits(15*time.Second), t0).step(event{kind: Blocked, reason: reason.BrowserMissing}, at(1))
	expect(t, m, Error, reason.BrowserMissing)
	m = m.step(event{kind: Spawning, generation: 1}, at(2))
	expect(t, m, Init, reason.Starting)
}

func TestNothingMovesAStoppingSession(t *testing.T) {
	m := started().step(page(rpc.PageUnlinked, ""), at(0)).step(event{kind: Stopping}, at(1))
	expect(t, m, Init, reason.Stopping)
	m = m.step(page(rpc.PageUnlinked, ""), at(2)).withQR(at(time.Minute), at(2))
	expect(t, m, Init, reason.Stopping)
	if !m.qr.expires.IsZero() || !m.deadline().IsZero() {
		t.Error("a stopping session has a QR or a deadline")
	}
}

func TestHealthyNeedsEvidenceOrAQR(t *testing.T) {
	m := started()
	if m.healthy() {
		t.Error("a starting session is healthy")
	}
	m = m.step(page(rpc.PageUnlinked, ""), at(1))
	if m.healthy() {
		t.Error("healthy without a QR")
	}
	if !m.withQR(at(time.Minute), at(1)).healthy() {
		t.Error("not healthy with a QR")
	}
	if !m.step(page(rpc.PageReady, ""), at(2)).healthy() {
		t.Error("not healthy when ready")
	}
}

func TestReadyNeedsTheLoginOnDisk(t *testing.T) {
	said := rpc.PageObserved{Condition: rpc.PageReady, Registered: true}
	if k, p := unlessUnsaved(PageReady, said); k != PageSyncing || p.Reason != reason.SavingLogin {
		t.Errorf("unsaved: got %s (%s)", k, p.Reason)
	}
	said.Persisted = true
	if k, p := unlessUnsaved(PageReady, said); k != PageReady || p.Reason != "" {
		t.Errorf("saved: got %s (%s)", k, p.Reason)
	}
	if k, _ := unlessUnsaved(PageUnlinked, rpc.PageObserved{}); k != PageUnlinked {
		t.Errorf("unlinked: got %s", k)
	}
}

func TestPersistedAtIsTheFirstSightOnDisk(t *testing.T) {
	saved := page(rpc.PageReady, "")
	saved.page.Persisted = true
	m := started().step(page(rpc.PageSyncing, ""), at(1))
	if !m.page.PersistedAt.IsZero() {
		t.Fatal("persisted before it was seen on disk")
	}
	m = m.step(saved, at(2)).step(saved, at(3))
	if !m.page.PersistedAt.Equal(at(2)) {
		t.Errorf("got %v", m.page.PersistedAt)
	}
	if m = m.step(page(rpc.PageUnlinked, ""), at(4)); !m.page.PersistedAt.IsZero() {
		t.Error("still persisted after the account was unlinked")
	}
}
