package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page"
)

func TestMain(m *testing.M) {
	// It ends a second after its database was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

const generation = 7

// fakePage is a page without a document.
type fakePage struct {
	run func(context.Context) error
}

func (p *fakePage) Run(ctx context.Context) error {
	if p.run == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return p.run(ctx)
}

func (p *fakePage) Screenshot(context.Context) ([]byte, error) { return []byte("PNG"), nil }

func (p *fakePage) Passkey(context.Context, rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	return rpc.PasskeyCall{}, nil
}

func (p *fakePage) Pair(context.Context, rpc.Secret) (rpc.Pairing, error) {
	return rpc.Pairing{Code: "ABCD1234", TTL: time.Minute}, nil
}

func (p *fakePage) LogOut(context.Context) error { return rpc.ErrNotLinked }

func (p *fakePage) SetSelectors(context.Context, []byte) error { return rpc.ErrSelectors }

func (p *fakePage) Diagnose(context.Context) (rpc.Diagnosis, error) {
	return rpc.Diagnosis{Outline: "html"}, nil
}

func (p *fakePage) Send(context.Context, rpc.Message) (rpc.MessageState, error) {
	return rpc.MessageState{}, errNotReady
}

func (p *fakePage) Lookup(context.Context, []rpc.MessageRef) ([]rpc.MessageState, error) {
	return nil, errNotReady
}

func (p *fakePage) Receive(context.Context, rpc.ReceiveQuery) (rpc.Reception, error) {
	return rpc.Reception{}, errNotReady
}

func (p *fakePage) Contact(context.Context, rpc.Secret) (rpc.Contact, error) {
	return rpc.Contact{}, errNotReady
}

var errNotReady = &rpc.SendError{Code: rpc.SendNotReady}

func (p *fakePage) MainThreadAge() time.Duration { return 42 * time.Millisecond }

// rig is a worker under test, and its events.
type rig struct {
	*Worker
	t      *testing.T
	req    rpc.RunRequest
	events chan rpc.Event
	ended  chan error
	seq    uint64
}

// newRig makes a worker on this machine's Chrome. The page does what run says;
// nil means that it stays.
func newRig(t *testing.T, run func(context.Context) error) *rig {
	o := browsertest.Options(t)
	w := New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	w.openPage = func(context.Context, page.Options) (Page, error) { return &fakePage{run: run}, nil }
	w.timings.ProbePeriod, w.timings.Heartbeat = 50*time.Millisecond, 20*time.Millisecond
	return &rig{
		Worker: w, t: t, events: make(chan rpc.Event, 1000), ended: make(chan error, 1),
		req: rpc.RunRequest{
			Generation: generation, ChromePath: o.Path, ChromeVersion: o.Version, URL: "about:blank",
			ProfileDir: o.ProfileDir, LeaseFile: o.LeaseFile, ScratchDir: o.ScratchDir,
		},
	}
}

func (r *rig) emit(e rpc.Event) error {
	r.events <- e
	return nil
}

func (r *rig) start(ctx context.Context) {
	r.Begin(r.req)
	go func() { r.ended <- r.Events(ctx, r.emit) }()
	r.t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			r.t.Logf("stop: %v", err)
		}
	})
}

// await returns the next event of type T, and checks those before it.
func await[T rpc.EventBody](r *rig) T {
	r.t.Helper()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case e := <-r.events:
			r.seq++
			if e.Seq != r.seq || e.Generation != generation {
				r.t.Errorf("event %d of generation %d, want %d of %d", e.Seq, e.Generation, r.seq, generation)
			}
			if body, ok := e.Body.(T); ok {
				return body
			}
		case <-timeout.C:
			var want T
			r.t.Fatalf("no %T", want)
		}
	}
}

// awaitPage waits until fakePage is open.
func (r *rig) awaitPage() {
	r.t.Helper()
	for err := rpc.ErrNoPage; errors.Is(err, rpc.ErrNoPage); _, err = r.Screenshot(r.t.Context()) {
		await[rpc.Heartbeat](r)
	}
}

// mustFail waits for the end of the events, and checks that the error has a reason.
func (r *rig) mustFail() {
	r.t.Helper()
	if err := <-r.ended; reason.Of(err, "") == "" {
		r.t.Errorf("events: %v, want an error with a reason", err)
	}
}

// mustBeGone checks that no Chrome is left on the profile.
func (r *rig) mustBeGone() {
	r.t.Helper()
	<-r.Idle()
	if free, err := lease.Free(r.req.LeaseFile); err != nil || !free {
		r.t.Errorf("lease free: %v, %v", free, err)
	}
}

// mustHaveClosedCleanly checks that Chrome had the time to flush the profile. The engine without
// locks shows nothing of it.
func (r *rig) mustHaveClosedCleanly() {
	r.t.Helper()
	r.mustBeGone()
	if _, err := os.Lstat(r.req.ProfileDir + "/SingletonLock"); !os.IsNotExist(err) {
		r.t.Error("Chrome's lock is left")
	}
}

// mustExitCleanly waits until Chrome has exited, and checks that it was not killed.
func (r *rig) mustExitCleanly() {
	r.t.Helper()
	if exited := await[rpc.BrowserExited](r); exited.Exit != "exit 0" {
		r.t.Errorf("%+v", exited)
	}
	r.mustBeGone()
}

func TestSessionReportsPhasesUntilStop(t *testing.T) {
	browsertest.InChrome(t)
	r := newRig(t, nil)
	r.start(t.Context())
	if got := await[rpc.PhaseChanged](r); got.Phase != rpc.PhaseBrowserStart || r.seq != 1 {
		t.Errorf("event %d is %+v", r.seq, got)
	}
	if beat := await[rpc.Heartbeat](r); beat.ResidentBytes == 0 {
		t.Errorf("heartbeat before the start: %+v", beat)
	}
	started := await[rpc.BrowserStarted](r)
	if started.PID == 0 || started.Product == "" || started.UserAgent == "" {
		t.Errorf("%+v", started)
	}
	r.awaitPage()
	r.answersUntilStopped()
	if err := <-r.ended; err != nil {
		t.Errorf("events: %v", err)
	}
	r.mustExitCleanly()
	r.mustHaveClosedCleanly()
}

// answersUntilStopped takes a screenshot before and after the end, which may be asked for twice.
func (r *rig) answersUntilStopped() {
	r.t.Helper()
	if png, err := r.Screenshot(r.t.Context()); err != nil || string(png) != "PNG" {
		r.t.Errorf("screenshot: %q, %v", png, err)
	}
	if err := r.Events(r.t.Context(), r.emit); !errors.Is(err, rpc.ErrAlreadyStreaming) {
		r.t.Errorf("second stream: %v", err)
	}
	if err := r.Stop(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	if _, err := r.Screenshot(r.t.Context()); !errors.Is(err, rpc.ErrNoPage) {
		r.t.Errorf("screenshot afterwards: %v", err)
	}
	if err := r.Stop(r.t.Context()); err != nil {
		r.t.Errorf("second stop: %v", err)
	}
}

func TestKilledChromeIsReportedWithItsExit(t *testing.T) {
	browsertest.InChrome(t)
	r := newRig(t, nil)
	r.start(t.Context())
	if err := unix.Kill(await[rpc.BrowserStarted](r).PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f := await[rpc.Failure](r)
	if f.Reason != reason.BrowserCrashed || f.Detail != "Chrome was killed (SIGKILL) by something else; see journalctl -k" {
		t.Errorf("%+v", f)
	}
	if exited := await[rpc.BrowserExited](r); exited.Exit != "signal killed" {
		t.Errorf("%+v", exited)
	}
	if err := <-r.ended; reason.Of(err, "") != reason.BrowserCrashed {
		t.Errorf("events: %v", err)
	}
	r.mustBeGone()
}

func TestPageLostWithChromeIsABrowserCrash(t *testing.T) {
	var r *rig
	r = newRig(t, func(context.Context) error {
		if err := unix.Kill(await[rpc.BrowserStarted](r).PID, unix.SIGKILL); err != nil {
			return err
		}
		return errors.New("the page's call failed")
	})
	r.start(t.Context())
	if err := <-r.ended; reason.Of(err, "") != reason.BrowserCrashed {
		t.Errorf("events: %v", err)
	}
}

func TestClosedChromeIsABrowserCrash(t *testing.T) {
	var r *rig
	r = newRig(t, func(context.Context) error {
		if err := unix.Kill(await[rpc.BrowserStarted](r).PID, unix.SIGINT); err != nil {
			return err
		}
		return reason.Wrap(reason.PageCrashed, errors.New("the page was closed"))
	})
	r.start(t.Context())
	if err := <-r.ended; reason.Of(err, "") != reason.BrowserCrashed {
		t.Errorf("events: %v", err)
	}
}

func TestFrozenChromeIsReportedAsHungAndKilled(t *testing.T) {
	r := newRig(t, nil)
	r.start(t.Context())
	if err := unix.Kill(await[rpc.BrowserStarted](r).PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if f := await[rpc.Failure](r); f.Reason != reason.BrowserHung {
		t.Errorf("%+v", f)
	}
	r.mustBeGone()
	if err := <-r.ended; reason.Of(err, "") != reason.BrowserHung {
		t.Errorf("events: %v", err)
	}
}

func TestFailedPageIsReported(t *testing.T) {
	r := newRig(t, func(context.Context) error {
		return reason.Wrap(reason.PageHung, errors.New("no cure helps"))
	})
	r.start(t.Context())
	if f := await[rpc.Failure](r); f.Reason != reason.PageHung || f.Detail != "no cure helps" {
		t.Errorf("%+v", f)
	}
	r.mustFail()
	r.mustExitCleanly()
}

func TestPanicOfThePageIsReported(t *testing.T) {
	r := newRig(t, func(context.Context) error { panic("a page nobody thought of") })
	r.start(t.Context())
	if f := await[rpc.Failure](r); f.Reason != reason.WorkerCrashed {
		t.Errorf("%+v", f)
	}
	r.mustFail()
	r.mustExitCleanly()
}

func TestPageThatCannotBeOpenedIsReported(t *testing.T) {
	r := newRig(t, nil)
	r.openPage = func(context.Context, page.Options) (Page, error) {
		return nil, reason.Wrap(reason.NetworkUnreachable, errors.New("no route"))
	}
	r.start(t.Context())
	if f := await[rpc.Failure](r); f.Reason != reason.NetworkUnreachable {
		t.Errorf("%+v", f)
	}
	r.mustFail()
	r.mustExitCleanly()
}

func TestMissingMethodIsTheReason(t *testing.T) {
	err := reason.Wrap(reason.PageCrashed, fmt.Errorf("cannot revive page: %w", browser.ErrUnsupported))
	if got := reason.Of(new(session).explain(t.Context(), err), ""); got != reason.BrowserUnsupported {
		t.Errorf("got %s", got)
	}
}

func TestChromeThatCannotBeStartedIsReported(t *testing.T) {
	r := newRig(t, nil)
	r.req.ChromePath += "-not"
	r.start(t.Context())
	if f := await[rpc.Failure](r); f.Reason != reason.BrowserMissing {
		t.Errorf("%+v", f)
	}
	if err := <-r.ended; reason.Of(err, "") != reason.BrowserMissing {
		t.Errorf("events: %v", err)
	}
	r.mustBeGone()
}

func TestChromeClosesWhenTheCallerGoesAway(t *testing.T) {
	browsertest.InChrome(t)
	tests := []struct {
		name string
		want error
		deaf bool // it refuses an event
		away func(r *rig, cancel context.CancelFunc)
	}{
		{"its context ends", context.Canceled, false, func(r *rig, cancel context.CancelFunc) {
			await[rpc.BrowserStarted](r)
			cancel()
		}},
		{"it takes no more events", errAway, true, func(*rig, context.CancelFunc) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r.Begin(r.req)
			go func() {
				r.ended <- r.Events(ctx, func(e rpc.Event) error {
					if _, ok := e.Body.(rpc.BrowserStarted); ok && tt.deaf {
						return errAway
					}
					return r.emit(e)
				})
			}()
			tt.away(r, cancel)
			if err := <-r.ended; !errors.Is(err, tt.want) {
				t.Errorf("events: %v, want %v", err, tt.want)
			}
			r.mustHaveClosedCleanly()
		})
	}
}

var errAway = errors.New("away")

func TestStopBeforeBeginKeepsChromeFromStarting(t *testing.T) {
	r := newRig(t, nil)
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-r.Idle()
	r.start(t.Context())
	if err := <-r.ended; err != nil || len(r.events) > 0 {
		t.Errorf("events: %v, with %d events", err, len(r.events))
	}
}

func TestStopWhileChromeStartsLeavesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.start(t.Context())
	await[rpc.PhaseChanged](r)
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("events: %v", err)
	}
	r.mustBeGone()
}

func TestStopFailsAfterItsDeadline(t *testing.T) {
	r := newRig(t, nil)
	r.start(t.Context())
	if err := unix.Kill(await[rpc.BrowserStarted](r).PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("events: %v", err)
	}
	r.mustBeGone()
}

func TestEventsAreStreamedFromTheFirstOne(t *testing.T) {
	opened := make(chan struct{})
	r := newRig(t, func(ctx context.Context) error {
		close(opened)
		<-ctx.Done()
		return ctx.Err()
	})
	r.Begin(r.req)
	<-opened // before anybody asks for it
	r.start(t.Context())
	if got := await[rpc.PhaseChanged](r); got.Phase != rpc.PhaseBrowserStart || r.seq != 1 {
		t.Errorf("event %d is %+v", r.seq, got)
	}
	await[rpc.BrowserStarted](r)
	r.Begin(r.req) // comes too late, and does nothing
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("events: %v", err)
	}
	r.mustHaveClosedCleanly()
}

func TestEarlyFailureWaitsForTheStream(t *testing.T) {
	r := newRig(t, nil)
	r.req.ChromePath = "/no/chrome"
	r.Begin(r.req)
	r.start(t.Context())
	if f := await[rpc.Failure](r); f.Reason != reason.BrowserMissing {
		t.Errorf("%+v", f)
	}
	r.mustFail()
	<-r.Idle()
}

func TestStopEndsASessionThatNobodyStreams(t *testing.T) {
	r := newRig(t, nil)
	r.Begin(r.req)
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	r.mustBeGone()
}

func TestWorkerWithoutARequestReportsIt(t *testing.T) {
	w := New(slog.New(slog.DiscardHandler))
	w.Refuse(rpc.ErrNoRequest)
	if err := w.Events(t.Context(), nil); !errors.Is(err, rpc.ErrNoRequest) {
		t.Errorf("events: %v", err)
	}
	<-w.Idle()
}

func TestScreenshotWithoutAPageFails(t *testing.T) {
	if _, err := New(slog.New(slog.DiscardHandler)).Screenshot(t.Context()); !errors.Is(err, rpc.ErrNoPage) {
		t.Error(err)
	}
}
