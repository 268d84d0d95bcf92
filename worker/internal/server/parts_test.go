package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/page"
)

// newPartsRig makes a worker that opens a page and asks Chrome nothing. The page has
// been painted once: until then Chrome's main process may wait for the part that paints.
func newPartsRig(t *testing.T) (r *rig, stopped <-chan func() bool) {
	t.Helper()
	r = newRig(t, nil)
	r.timings.PartPeriod, r.timings.ProbeDeadline = time.Minute, 10*time.Second
	opened := make(chan func() bool, 1)
	r.openPage = func(ctx context.Context, o page.Options) (Page, error) {
		p, err := o.Browser.Context(ctx).Page(proto.TargetCreateTarget{URL: "about:blank"})
		if err == nil {
			_, err = p.Eval("() => new Promise(requestAnimationFrame)")
		}
		opened <- o.Stopped
		return &fakePage{}, err
	}
	return r, opened
}

func TestStoppedPartOfChromeIsNamed(t *testing.T) {
	for kind, want := range map[string]reason.Code{
		"--type=renderer":              reason.PageHung,
		"--type=gpu-process":           reason.PaintingHung,
		"network.mojom.NetworkService": reason.NetworkHung,
		"storage.mojom.StorageService": reason.BrowserHung,
		"--type=zygote":                reason.BrowserHung,
		"":                             reason.BrowserHung, // the main process
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r, opened := newPartsRig(t)
			r.start(t.Context())
			pids := []int{await[rpc.BrowserStarted](r).PID}
			<-opened
			if kind != "" {
				pids = browsertest.Helpers(t, pids[0], kind)
			}
			if err := unix.Kill(pids[0], unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if f := await[rpc.Failure](r); f.Reason != want || !strings.Contains(f.Detail, "is stopped") {
				t.Errorf("%+v", f)
			}
			r.mustFail()
			r.mustBeGone()
		})
	}
}

func TestPartThatContinuesCostsNoRestart(t *testing.T) {
	r, opened := newPartsRig(t)
	r.timings.ProbePeriod = time.Minute
	r.start(t.Context())
	pid := browsertest.Helpers(t, await[rpc.BrowserStarted](r).PID, "network.mojom.NetworkService")[0]
	stopped := <-opened
	for _, step := range []struct {
		signal unix.Signal
		want   bool
	}{{unix.SIGSTOP, true}, {unix.SIGCONT, false}} {
		if err := unix.Kill(pid, step.signal); err != nil {
			t.Fatal(err)
		}
		for stopped() != step.want {
			await[rpc.Heartbeat](r)
		}
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("events: %v", err)
	}
}
