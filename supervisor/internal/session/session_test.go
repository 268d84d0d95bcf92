package session

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker"
)

const payload = "https://wa.me/settings/linked_devices#2@abcdefghijkl,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=," +
	"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=,CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC=,1"

// rig is a session whose loop runs in the bubble of a test.
type rig struct {
	*Session
	log      *bytes.Buffer
	health   []bool // each change of it
	observed []*Snapshot
}

func inBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{log: &bytes.Buffer{}}
		r.Session = New(DefaultLimits(15*time.Second), logging.New(r.log, "supervisor", slog.LevelDebug))
		r.Subscribe(func(s *Snapshot) {
			if s.Healthy != (len(r.health)%2 == 1) {
				r.health = append(r.health, s.Healthy)
			}
			r.observed = append(r.observed, s)
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		test(t, r)
		cancel()
		<-done
	})
}

func (r *rig) worker(body rpc.EventBody) {
	r.workerOf(1, body)
}

func (r *rig) workerOf(generation uint64, body rpc.EventBody) {
	r.Notify(worker.FromWorker{Event: rpc.Event{Generation: generation, Body: body}})
	synctest.Wait()
}

func (r *rig) showQR() {
	r.Notify(worker.Spawning{Generation: 1})
	r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1})
	r.worker(rpc.QRShown{Payload: payload, Reader: "dom", Seq: 1, TTL: 20 * time.Second})
}

func TestQRIsServedUntilItExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		shown := time.Now()
		q := r.Snapshot().FreshQR(shown)
		drawn, err := qr.Draw(payload)
		if err != nil {
			t.Fatal(err)
		}
		if q == nil || !bytes.Equal(q.Code.JSON, drawn.JSON) || q.Reader != "dom" || q.Generation != 1 {
			t.Fatalf("got %+v", q)
		}
		if r.Snapshot().FreshQR(shown.Add(20*time.Second)) != nil {
			t.Error("a late reader gets it")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if r.Snapshot().QR != nil {
			t.Error("it stays in the snapshot")
		}
	})
}

func TestSuspendedTimeCountsForTheQR(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		q := r.Snapshot().QR
		q.asleep -= 15 * time.Second // since it was shown
		if r.Snapshot().FreshQR(time.Now()) == nil {
			t.Error("it is not served before it expires")
		}
		r.worker(rpc.QRShown{Payload: payload, Reader: "dom", Seq: 1, TTL: 20 * time.Second}) // to the page no time has passed
		if got := r.Snapshot().QR; got.asleep != q.asleep {
			t.Error("the suspension was forgotten")
		}
		q = r.Snapshot().QR
		q.asleep -= 5 * time.Second
		if r.Snapshot().FreshQR(time.Now()) != nil {
			t.Error("it is served although it has expired on the server")
		}
		r.worker(rpc.QRShown{Payload: payload + "x", Reader: "dom", Seq: 2, TTL: 20 * time.Second})
		if r.Snapshot().FreshQR(time.Now()) == nil {
			t.Error("the next one is not served")
		}
	})
}

func TestQRIsDroppedAtOnce(t *testing.T) {
	for name, drop := range map[string]func(*rig){
		"when the page drops it":      func(r *rig) { r.worker(rpc.QRGone{Cause: "idle"}) },
		"when the account was linked": func(r *rig) { r.worker(rpc.PageObserved{Condition: rpc.PageSyncing}) },
		"when the service stops":      func(r *rig) { r.Stopping() },
		"when the worker exits": func(r *rig) {
			r.Notify(worker.Exiting{Generation: 1, Reason: reason.WorkerCrashed})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.showQR()
				drop(r)
				synctest.Wait()
				if r.Snapshot().FreshQR(time.Now()) != nil {
					t.Error("it is still served")
				}
			})
		})
	}
}

func TestEventsOfAnExitedWorkerChangeNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		r.Notify(worker.Exited{Generation: 1, Reason: reason.WorkerCrashed, Class: restart.Transient})
		r.Notify(worker.Spawning{Generation: 2})
		r.workerOf(1, rpc.PageObserved{Condition: rpc.PageReady})
		r.workerOf(1, rpc.QRShown{Payload: payload, Seq: 2, TTL: time.Minute})
		s := r.Snapshot()
		if s.State != Init || s.QR != nil || s.Worker.AbnormalExits != 1 {
			t.Errorf("got %s, QR %v, %d exits", s.State, s.QR, s.Worker.AbnormalExits)
		}
	})
}

func TestPayloadThatCantBeDrawnEndsItsPredecessor(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		unlinked := rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.ScanQR, Progress: -1}
		tooLong := rpc.QRShown{Payload: rpc.QRPayload(strings.Repeat("x", rpc.MaxQRPayload+1)), Seq: 2, TTL: time.Minute}
		mustBe := func(when string, want reason.Code, served bool) {
			t.Helper()
			s := r.Snapshot()
			if got := s.FreshQR(time.Now()); s.Reason.Code != want || (got != nil) != served {
				t.Errorf("%s: %s, a QR is served: %v", when, s.Reason.Code, got != nil)
			}
		}
		r.showQR()
		r.worker(tooLong)
		mustBe("at once", reason.QRUnreadable, false)
		if !strings.Contains(r.log.String(), "qr_draw_failed") {
			t.Error("nothing in the log")
		}
		r.worker(unlinked)
		mustBe("after the next observation", reason.QRUnreadable, false)
		r.worker(rpc.QRShown{Payload: payload, Seq: 3, TTL: time.Minute})
		mustBe("with its successor", reason.ScanQR, true)

		r.Notify(worker.Spawning{Generation: 2})
		r.workerOf(1, tooLong)
		mustBe("of an exited worker", reason.Starting, false)
		r.workerOf(2, tooLong)
		r.workerOf(2, unlinked)
		mustBe("before the first observation", reason.QRUnreadable, false)
		r.Stopping()
		r.workerOf(2, tooLong)
		mustBe("while stopping", reason.Stopping, false)
	})
}

func TestWaitersAreWokenByTheNextSnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		before, changed := r.Changed()
		r.Notify(worker.Spawning{Generation: 1})
		<-changed
		if after := r.Snapshot(); after.Version <= before.Version {
			t.Errorf("version %d after %d", after.Version, before.Version)
		}
	})
}

func TestObserversGetEverySnapshotInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		for i, s := range r.observed {
			if s.Version != uint64(i+1) {
				t.Fatalf("snapshot %d has version %d", i, s.Version)
			}
		}
		if last := r.observed[len(r.observed)-1]; last != r.Snapshot() {
			t.Errorf("version %d was observed last, version %d is the present", last.Version, r.Snapshot().Version)
		}
	})
}

func TestHealthIsReportedWhenItChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		r.worker(rpc.Heartbeat{})
		r.worker(rpc.QRGone{Cause: "idle"})
		if len(r.health) != 2 || !r.health[0] || r.health[1] {
			t.Errorf("got %v", r.health)
		}
	})
}

func TestLogHasEveryTransitionAndNoSecret(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		r.worker(rpc.PageObserved{Condition: rpc.PageSyncing, Detail: "for +54 9 11 5555 1234, code ABCD-1234, " + payload})
		log := r.log.String()
		for _, want := range []string{`"from":"INIT","to":"QR_REQUIRED"`, `"from":"QR_REQUIRED","to":"AUTHENTICATED"`, `"event":"page_syncing"`} {
			if !strings.Contains(log, want) {
				t.Errorf("no %s in %s", want, log)
			}
		}
		for _, secret := range []string{"2@", "AAAAAA", "5555 1234", "ABCD-1234"} {
			if strings.Contains(log, secret) {
				t.Errorf("the log holds %q: %s", secret, log)
			}
		}
	})
}

func TestShownQREndsTheDetailOfItsAbsence(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.Notify(worker.Spawning{Generation: 1})
		r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: reason.ScanQR, Detail: "no code is shown yet", Progress: -1})
		r.worker(rpc.QRShown{Payload: payload, Reader: "dom", Seq: 1, TTL: time.Minute})
		shown := 0
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, `"event":"qr_shown"`) {
				shown++
				if strings.Contains(line, "no code is shown yet") {
					t.Errorf("got %s", line)
				}
			}
		}
		if now := r.Snapshot(); shown != 1 || now.Reason.Detail != "" || now.QR == nil {
			t.Errorf("logged %d times, the reason is %+v", shown, now.Reason)
		}
	})
}

func TestPairingEndsWithItsCode(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		observed := func(c reason.Code) {
			r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Reason: c, Progress: -1})
		}
		pair := func() {
			observed(reason.PairingRequested)
			observed(reason.PairingCodeShown)
			r.Paired(time.Now().Add(time.Minute))
			observed(reason.PairingCodeShown)
			if r.Snapshot().Pairing == nil {
				t.Fatal("the code is not reported")
			}
		}
		r.showQR()
		for name, end := range map[string]func(){
			"another request":         func() { observed(reason.PairingRequested) },
			"the QR is back":          func() { observed(reason.ScanQR) },
			"no network":              func() { observed(reason.NetworkUnreachable) },
			"a refusal by the worker": func() { r.Paired(time.Time{}) },
		} {
			pair()
			end()
			if r.Snapshot().Pairing != nil {
				t.Errorf("%s: the code is still reported", name)
			}
		}
	})
}

func (r *rig) warnings() (codes []reason.Code) {
	synctest.Wait()
	for _, w := range r.Snapshot().Warnings {
		codes = append(codes, w.Code)
	}
	return codes
}

func instanceWarns(code reason.Code) worker.Warned {
	return worker.Warned{Warnings: []reason.Warning{{Code: code}}}
}

func TestEachWarningIsShownUntilItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		shows := func(when string, want ...reason.Code) {
			t.Helper()
			if d := cmp.Diff(want, r.warnings()); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		keys, secret := reason.Warning{Code: reason.KeysUnusable, Detail: "x"}, reason.Warning{Code: reason.SecretFileExposed, Detail: "y"}
		r.showQR()
		shows("at the start")
		r.Warn(keys, secret)
		shows("of the service", reason.KeysUnusable, reason.SecretFileExposed)
		since := r.Snapshot().Warnings[1].Since
		time.Sleep(time.Second)
		r.Notify(instanceWarns(reason.DiskFull))
		shows("of both", reason.DiskFull, reason.KeysUnusable, reason.SecretFileExposed)
		if first := r.Snapshot().Warning; first == nil || first.Code != reason.DiskFull {
			t.Errorf("the first is %+v", first)
		}
		r.Warn(secret)
		shows("one has ended", reason.DiskFull, reason.SecretFileExposed)
		if got := r.Snapshot().Warnings[1].Since; got != since {
			t.Errorf("it began at %s, not at %s", got, since)
		}
		r.Notify(worker.Exited{Generation: 1})
		shows("after an exit", reason.SecretFileExposed)
		r.Warn()
		shows("after the end")
		if s := r.Snapshot(); s.Warning != nil {
			t.Errorf("after the end: %+v", s.Warning)
		}
		log := r.log.String()
		if raised, cleared := strings.Count(log, "warning_raised"), strings.Count(log, "warning_cleared"); raised != 3 || cleared != 3 {
			t.Errorf("%d were logged, and the end of %d: %s", raised, cleared, log)
		}
	})
}

func TestWhatMayBeSentOutlivesNoLink(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		until := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		r.Notify(worker.Spawning{Generation: 1})
		r.worker(rpc.SendingObserved{Possible: true, NewChats: rpc.NewChats{Restricted: true, RestrictedUntil: until, Quota: 5, Used: 2}})
		r.worker(rpc.ReceivingObserved{Possible: true, Why: "w"})
		if got := r.Snapshot().Receiving; got == nil || *got != (Receiving{Possible: true, Why: "w"}) {
			t.Errorf("receiving: %+v", got)
		}
		want := &Sending{Possible: true, NewChats: NewChats{Restricted: true, RestrictedUntil: Moment{until}, Quota: 5, Used: 2}}
		if diff := cmp.Diff(want, r.Snapshot().Sending); diff != "" {
			t.Error(diff)
		}
		if w := r.Snapshot().Warning; w == nil || w.Code != reason.NewChatsRestricted || w.Detail != "until 2026-12-01T00:00:00Z" {
			t.Errorf("the warning is %+v", w)
		}
		r.Notify(worker.Exited{Generation: 1})
		synctest.Wait()
		if s := r.Snapshot(); s.Sending != nil || s.Receiving != nil || len(s.Warnings) != 1 {
			t.Errorf("after an exit: %+v, %v", s.Sending, s.Warnings)
		}
		r.showQR()
		if s := r.Snapshot(); len(s.Warnings) != 0 {
			t.Errorf("without a link: %v", s.Warnings)
		}
		r.worker(rpc.SendingObserved{NewChats: rpc.NewChats{Capped: true, Challenge: true}, Why: "it is not linked"})
		if got := r.Snapshot().Sending; got.Possible || got.Why != "it is not linked" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestLoginIsKnownBeforeTheLoopRuns(t *testing.T) {
	s, at := New(DefaultLimits(15*time.Second), slog.New(slog.DiscardHandler)), time.Now()
	s.Begin(login.Status{Record: login.Record{LinkedAt: at}})
	if got := s.Snapshot(); !got.Login.LinkedAt.Equal(at) || got.State != Init {
		t.Errorf("got %+v", got)
	}
}

func TestSlowlySavedLoginIsShownAndLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.Notify(worker.Spawning{Generation: 1})
		for range 4 {
			r.worker(rpc.PageObserved{Condition: rpc.PageReady, Registered: true})
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		slow := []reason.Code{reason.SavingSlow}
		if got := r.warnings(); r.Snapshot().State != Authenticated || !slices.Equal(got, slow) || !strings.Contains(r.log.String(), "warning_raised") {
			t.Errorf("got %s with the warnings %q; log %s", r.Snapshot().State, got, r.log)
		}
		r.Notify(instanceWarns(reason.DiskFull)) // which may be the cause
		if got := r.warnings(); !slices.Equal(got, []reason.Code{reason.DiskFull, reason.SavingSlow}) {
			t.Errorf("got the warnings %q", got)
		}
		r.Notify(worker.Warned{})
		if got := r.warnings(); !slices.Equal(got, slow) {
			t.Errorf("got the warnings %q", got)
		}
		r.worker(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true})
		if got := r.warnings(); r.Snapshot().State != Ready || got != nil || !strings.Contains(r.log.String(), "warning_cleared") {
			t.Errorf("got %s with the warnings %q", r.Snapshot().State, got)
		}
	})
}

func TestWithheldQRComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		shown := r.Snapshot().QR
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := r.Snapshot(); s.QR != nil || s.FreshQR(time.Now()) != nil || s.State != QRRequired {
			t.Errorf("in %s it is served without an observation", s.State)
		}
		r.worker(rpc.Heartbeat{}) // which proves nothing about the page
		if r.Snapshot().QR != nil {
			t.Error("a heartbeat brings it back")
		}
		r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1})
		if s := r.Snapshot(); s.QR != shown || s.FreshQR(time.Now()) != shown {
			t.Errorf("got %+v", s.QR)
		}
		time.Sleep(3 * time.Second)
		r.worker(rpc.QRGone{Cause: "idle"})
		r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1})
		if r.Snapshot().QR != nil {
			t.Error("one that is gone comes back")
		}
	})
}

func TestQRIsWithheldBeforeAReplacement(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.showQR()
		r.SetLogin(login.Status{Replacing: true})
		synctest.Wait()
		r.worker(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1})
		if s := r.Snapshot(); s.QR != nil || s.Healthy || s.State != QRRequired {
			t.Errorf("got %+v in %s", s.QR, s.State)
		}
		r.worker(rpc.QRShown{Payload: payload, Reader: "dom", Seq: 2, TTL: 20 * time.Second})
		if r.Snapshot().QR != nil {
			t.Error("the page's next one is served")
		}
		r.SetLogin(login.Status{}) // somebody asks for a pairing code, so it stays
		synctest.Wait()
		if s := r.Snapshot(); s.QR == nil || s.QR.Seq != 2 || !s.Healthy {
			t.Errorf("got %+v", s.QR)
		}
	})
}
