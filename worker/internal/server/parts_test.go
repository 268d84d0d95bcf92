package server

import (
	"context"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
	"golang.org/x/sys/unix"

	"session-manager/shared/proctree"
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
	browsertest.InChrome(t)
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
			f := await[rpc.Failure](r)
			if want == reason.PaintingHung && f.Reason == reason.BrowserHung {
				want = f.Reason // the browser had to wait for what paints, too
			}
			if f.Reason != want || !strings.Contains(f.Detail, "is stopped") {
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

// TestProcessThatReplacesAnotherIsFound starts it only after the search that the end of the other led to.
func TestProcessThatReplacesAnotherIsFound(t *testing.T) {
	main := exec.CommandContext(t.Context(), "sh", "-c", "sleep 100 & wait; read -r _; sleep 100 & wait")
	main.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	input, err := main.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := main.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-main.Process.Pid, unix.SIGKILL)
		_ = main.Wait()
	})
	var p parts
	p.chrome.Store(int64(main.Process.Pid))
	helpers := func(n int) []proctree.Process {
		for {
			found, err := proctree.Descendants(main.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == n {
				return found
			}
			time.Sleep(time.Millisecond)
		}
	}
	first := helpers(1)[0].PID
	p.find()
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	helpers(0)
	p.memory()
	if _, err := io.WriteString(input, "\n"); err != nil {
		t.Fatal(err)
	}
	second := helpers(1)[0].PID
	p.memory()
	t.Cleanup(func() { p.replace(nil) })
	if found := p.pids(); !slices.Contains(found, second) {
		t.Errorf("found were %v", found)
	}
}
