package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker/process"
)

func TestWorkerStartsAndStopsCleanly(t *testing.T) {
	r := newRig(t, "runs").start()
	started := await[WorkerStarted](r)
	browser := awaitEvent[rpc.BrowserStarted](r)
	awaitEvent[rpc.PageObserved](r)
	png, err := r.Screenshot(t.Context())
	if err != nil || string(png) != "\x89PNG" {
		t.Errorf("Screenshot() = %q, %v", png, err)
	}
	if !exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("no lock while it runs")
	}

	if took := r.stop(); took > inTime {
		t.Errorf("stop took %v", took)
	}
	end := await[Exited](r)
	r.wantOrder("Spawning WorkerStarted PhaseChanged BrowserStarted PageObserved Exiting Exited")
	if end.Reason != reason.Stopping || end.Class != restart.Planned || end.Generation != 1 {
		t.Errorf("Exited: %+v", end)
	}
	if exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("Chrome was not closed cleanly: its lock is left")
	}
	line := r.exitLine()
	if line["pid"] != float64(started.PID) || line["chrome_pid"] != float64(browser.PID) || line["killed"] != float64(0) {
		t.Errorf("worker_exited: %v", line)
	}
	if _, err := r.Screenshot(t.Context()); !errors.Is(err, ErrNoWorker) {
		t.Errorf("Screenshot() after the end = %v", err)
	}
}

func TestPlannedEndHasChromesOwnExit(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	must(t, restarted(r))
	if end := await[Exited](r); end.Class != restart.Planned || end.WorkerExit != "" || end.ChromeExit != "exit 0" {
		t.Errorf("Exited: %+v", end)
	}
}

func TestKilledWorkerIsReplacedAfterChromeCloses(t *testing.T) {
	r := newRig(t, "runs").start()
	started := await[WorkerStarted](r)
	browser := awaitEvent[rpc.BrowserStarted](r)
	awaitEvent[rpc.PageObserved](r)
	kill(t, started.PID, syscall.SIGKILL)

	ending := await[Exiting](r)
	end := await[Exited](r)
	if ending.Generation != 1 || end.Reason != reason.WorkerCrashed || end.Class != restart.Transient ||
		end.WorkerExit != "signal killed" || end.ChromeExit != "exit 0" || end.Failures != 1 || end.Delay != 0 {
		t.Errorf("Exited: %+v", end)
	}
	if end.Detail != "the worker's process was killed (SIGKILL) by something else; see journalctl -k" {
		t.Errorf("detail %q", end.Detail)
	}
	if line := r.exitLine(); line["killed"] != float64(0) {
		t.Errorf("Chrome was killed: %v", line)
	}
	gone(t, browser.PID)
	if again := await[WorkerStarted](r); again.Generation != 2 || again.PID == started.PID {
		t.Errorf("WorkerStarted: %+v", again)
	}
	awaitEvent[rpc.PageObserved](r)
	r.wantOrder("Spawning WorkerStarted PhaseChanged BrowserStarted PageObserved Exiting Exited " +
		"Spawning WorkerStarted PhaseChanged BrowserStarted PageObserved")
}

func TestFrozenWorkerIsKilled(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Run.Silence = time.Second }).start()
	started := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	kill(t, started.PID, syscall.SIGSTOP)
	end := await[Exited](r)
	if end.Reason != reason.WorkerHung || end.WorkerExit != "signal killed, by the supervisor" || end.ChromeExit != "exit 0" {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestDeadlockedWorkerLeavesItsStacks(t *testing.T) {
	r := newRig(t, "mute", func(o *Options) {
		o.Timings.Run.Silence = 300 * time.Millisecond
		o.Timings.Stop.Dump = 5 * time.Second
	}).start()
	end := await[Exited](r)
	if end.Reason != reason.WorkerHung || end.WorkerExit != "exit 2" || !strings.Contains(end.Detail, "sent no event") {
		t.Errorf("Exited: %+v", end)
	}
	r.stop()
	if len(end.WorkerStderr) < 20 || end.WorkerStderr[0] != "SIGQUIT: quit" {
		t.Errorf("stacks: %q", end.WorkerStderr)
	}
}

func TestProcessesThatChromeLeavesAreKilled(t *testing.T) {
	r := newRig(t, "stubborn", func(o *Options) { o.Timings.Stop.Drain = 100 * time.Millisecond }).start()
	started := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	kill(t, started.PID, syscall.SIGKILL)
	end := await[Exited](r)
	if end.Reason != reason.WorkerCrashed || end.ChromeExit != "signal killed, by the supervisor" {
		t.Errorf("Exited: %+v", end)
	}
	// The shell, its sleep, and the one in a session of its own.
	if line := r.exitLine(); line["killed"] != float64(3) {
		t.Errorf("killed %v, want 3", line["killed"])
	}
}

func TestStoppedChromeIsNotWaitedFor(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Stop.Drain = 2 * patience }).start()
	started := await[WorkerStarted](r)
	browser := awaitEvent[rpc.BrowserStarted](r)
	awaitEvent[rpc.PageObserved](r)
	kill(t, browser.PID, syscall.SIGSTOP)
	kill(t, started.PID, syscall.SIGKILL)
	if end := await[Exited](r); end.Reason != reason.WorkerCrashed || end.ChromeExit != "signal killed, by the supervisor" {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestFailureExplainsTheExit(t *testing.T) {
	r := newRig(t, "fails").start()
	end := await[Exited](r)
	if end.Reason != reason.BrowserCrashed || end.Detail != "Chrome died" || end.WorkerExit != "exit 70" ||
		end.ChromeExit != "signal segmentation fault" || end.Class != restart.Transient {
		t.Errorf("Exited: %+v", end)
	}
	if end.Phase != "browser_start" || len(end.ChromeStderr) != 1 {
		t.Errorf("Exited: %+v", end)
	}
	// The worker may live long enough for the last of its events.
	r.order = slices.DeleteFunc(r.order, func(name string) bool { return name == "BrowserExited" })
	r.wantOrder("Spawning WorkerStarted PhaseChanged BrowserStarted Failure Exiting Exited")
	line := r.exitLine()
	if stderr, ok := line["chrome_stderr"].([]any); !ok || len(stderr) != 1 || stderr[0] != "last line of Chrome" {
		t.Errorf("worker_exited: %v", line)
	}
}

// TestNothingStartsWhileAProcessCannotBeKilled uses a frozen control group: a
// process in it takes no signal, like one in uninterruptible sleep.
func TestNothingStartsWhileAProcessCannotBeKilled(t *testing.T) {
	group := fmt.Sprintf("/sys/fs/cgroup/freezer/session-manager-test-%d", os.Getpid())
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Skipf("needs the freezer of cgroup v1: %v", err)
	}
	t.Cleanup(func() { must(t, os.Remove(group)) })
	r := newRig(t, "runs", func(o *Options) {
		o.Timings.Stop.Drain, o.Timings.Stop.Kill, o.Timings.Stop.Stuck = 100*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
	}).start()
	started := await[WorkerStarted](r)
	browser := awaitEvent[rpc.BrowserStarted](r)
	awaitEvent[rpc.PageObserved](r)
	must(t, os.WriteFile(group+"/tasks", fmt.Append(nil, browser.PID), 0o600))
	must(t, os.WriteFile(group+"/freezer.state", []byte("FROZEN"), 0o600))
	thaw := sync.OnceFunc(func() { must(t, os.WriteFile(group+"/freezer.state", []byte("THAWED"), 0o600)) })
	t.Cleanup(thaw)
	kill(t, started.PID, syscall.SIGKILL)

	for range 2 {
		if b := await[Blocked](r); b.Reason != reason.ProfileInUse || !strings.Contains(b.Detail, fmt.Sprint(browser.PID)) {
			t.Errorf("Blocked: %+v", b)
		}
	}
	must(t, restarted(r)) // It must not help.
	await[Blocked](r)
	thaw()
	end := await[Exited](r)
	if end.ChromeExit != "signal killed, by the supervisor" {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestPanicOfTheWorkerIsLogged(t *testing.T) {
	r := newRig(t, "panic").start()
	await[Exited](r)
	r.stop()
	lines := r.log.lines(t, "worker_exited")
	stderr, ok := lines[0]["worker_stderr"].([]any)
	if !ok || len(stderr) == 0 || !strings.HasPrefix(stderr[0].(string), "panic: the worker's programmer erred") {
		t.Errorf("worker_exited: %v", lines[0])
	}
}

func TestEventsOfAnotherGenerationAreDropped(t *testing.T) {
	r := newRig(t, "foreign").start()
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	r.drain()
	r.wantOrder("Spawning WorkerStarted PhaseChanged BrowserStarted PageObserved Exiting Exited")
	if len(r.log.lines(t, "event_ignored")) != 1 {
		t.Error("it was not logged")
	}
}

func TestRestartClosesChromeAndSkipsThePolicy(t *testing.T) {
	r := newRig(t, "runs").start()
	for generation := uint64(1); generation <= 3; generation++ {
		awaitEvent[rpc.PageObserved](r)
		if err := restarted(r); err != nil {
			t.Fatal(err)
		}
		end := await[Exited](r)
		if end.Generation != generation || end.Reason != reason.RestartRequested || end.Class != restart.Planned ||
			end.Delay != 0 || end.Failures != 0 {
			t.Errorf("Exited: %+v", end)
		}
		if exists(r.path("tokens/admin/SingletonLock")) {
			t.Error("Chrome was not closed cleanly")
		}
	}
}

func TestRestartRequestEndsACrashLoopsPause(t *testing.T) {
	r := newRig(t, "exit7").start()
	for n := 1; n <= 6; n++ {
		if end := await[Exited](r); end.Failures != n {
			t.Fatalf("end %d: %+v", n, end)
		}
	}
	b := await[Blocked](r)
	if b.Reason != reason.CrashLoop || !strings.Contains(b.Detail, "exit 7") || time.Until(b.RetryAt) < 30*time.Second {
		t.Errorf("Blocked: %+v", b)
	}
	r.mode("runs")
	if err := restarted(r); err != nil {
		t.Fatal(err)
	}
	awaitEvent[rpc.PageObserved](r)
	if took := r.stop(); took > inTime {
		t.Errorf("stop took %v", took)
	}
}

func TestFailuresOutliveTheSupervisor(t *testing.T) {
	r := newRig(t, "exit7").start()
	for range 3 {
		await[Exited](r)
	}
	r.stop()
	next := newRig(t, "exit7", func(o *Options) { o.Tokens = r.o.Tokens }).start()
	if end := await[Exited](next); end.Failures < 4 {
		t.Errorf("Exited: %+v, want the failures before it counted", end)
	}
}

func TestSecondSupervisorReturnsAtOnce(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	second := newRig(t, "runs", func(o *Options) { o.Tokens = r.o.Tokens })
	err := New(second.o).Run(t.Context(), idleHooks{})
	if !errors.Is(err, profile.ErrHeld) {
		t.Errorf("Run() = %v, want ErrHeld", err)
	}
	// The first one is undisturbed.
	if _, err := r.Screenshot(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnusableRuntimeFolderIsRefused(t *testing.T) {
	for _, path := range []string{"relative", "/" + strings.Repeat("x", process.MaxRuntimeDir)} {
		r := newRig(t, "runs", func(o *Options) { o.RuntimeDir.Path = path })
		if err := New(r.o).Run(t.Context(), idleHooks{}); err == nil {
			t.Errorf("Run() with %q succeeded", path)
		}
	}
}

func TestHealthIsReportedToThePolicy(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Limits.ResetAfter = time.Nanosecond }).start()
	for range 3 {
		started := await[WorkerStarted](r)
		awaitEvent[rpc.PageObserved](r)
		r.Report(true)
		kill(t, started.PID, syscall.SIGKILL)
		if end := await[Exited](r); end.Delay != 0 {
			t.Errorf("Exited: %+v, want no delay after health", end)
		}
	}
}

func TestLeftoversOfAKilledSupervisorAreWiped(t *testing.T) {
	r := newRig(t, "runs")
	outside := r.path("precious")
	for _, path := range []string{outside, r.path("run/g7/c/t"), r.path("run/keep")} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, r.path("run/g8")); err != nil {
		t.Fatal(err)
	}
	r.start()
	awaitEvent[rpc.PageObserved](r)
	for path, want := range map[string]bool{"run/g7": false, "run/g8": false, "run/keep": true, "precious": true, "run/g1": true} {
		if exists(r.path(path)) != want {
			t.Errorf("%s exists: %v", path, !want)
		}
	}
	r.stop()
	if err := os.Remove(r.path("run/keep")); err != nil {
		t.Fatal(err)
	}
}

func TestKilledSupervisorLeavesNoProcess(t *testing.T) {
	r := newRig(t, "runs")
	self, err := os.Executable()
	must(t, err)
	first := exec.Command(self)
	first.Env = append(os.Environ(), envRig+"="+r.dir)
	first.Stderr = os.Stderr
	stdout, err := first.StdoutPipe()
	must(t, err)
	must(t, first.Start())
	var worker, browser int
	if _, err := fmt.Fscan(stdout, &worker, &browser); err != nil {
		t.Fatal(err)
	}
	must(t, first.Process.Kill())
	_, _ = io.Copy(io.Discard, stdout)
	_ = first.Wait()

	// Its successor starts as soon as the last Chrome has closed.
	r.o.Timings.Start.Lease = patience
	r.start()
	awaitEvent[rpc.PageObserved](r)
	gone(t, worker)
	gone(t, browser)
	if blocked := r.log.lines(t, "worker_blocked"); len(blocked) > 0 {
		t.Errorf("blocked: %v", blocked)
	}
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("cannot signal %d: %v", pid, err)
	}
}

// gone accepts a zombie: a process that was adopted is reaped by and by.
func gone(t *testing.T, pid int) {
	t.Helper()
	if p, err := proctree.Find(pid); !errors.Is(err, os.ErrNotExist) && p.State != proctree.Zombie {
		t.Errorf("process %d is still there: %+v, %v", pid, p, err)
	}
}

func TestScreenshotWithoutAWorker(t *testing.T) {
	r := newRig(t, "runs")
	if _, err := New(r.o).Screenshot(t.Context()); !errors.Is(err, ErrNoWorker) {
		t.Errorf("Screenshot() = %v", err)
	}
}

func TestRestartWithAnEndedContextIsRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(newRig(t, "runs").o).Restart(ctx, Immediately); !errors.Is(err, context.Canceled) {
		t.Errorf("Restart() = %v", err)
	}
}

// The kernel sends the parent-death signal when the thread that forked ends.
func TestWorkerSurvivesTheEndOfOurThreads(t *testing.T) {
	r := newRig(t, "runs").start()
	started := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := threads()
	// More at once than there are threads, so that each idle one is taken.
	var locked, ended sync.WaitGroup
	end := make(chan struct{})
	for range 4 * before {
		locked.Add(1)
		ended.Go(func() {
			runtime.LockOSThread() // it ends with its goroutine
			locked.Done()
			<-end
		})
	}
	locked.Wait()
	most := threads()
	close(end)
	ended.Wait()
	for deadline := time.Now().Add(5 * time.Second); threads() > most-before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // the kernel notifies nobody of the end of a thread
	}
	if left := threads(); left >= most {
		t.Fatalf("%d threads, and %d after the end of %d", most, left, 4*before)
	}
	for range 3 { // the first may have been sent before
		awaitEvent[rpc.Heartbeat](r)
	}
	r.stop()
	if e := await[Exited](r); e.Reason != reason.Stopping || e.Generation != 1 {
		t.Errorf("worker %d: %+v", started.PID, e)
	}
}
