package worker

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// TestNoSecretOfAWorkerIsPassedOn: the fake worker says a secret of each kind in
// every way that it has.
func TestNoSecretOfAWorkerIsPassedOn(t *testing.T) {
	r := newRig(t, "secrets").start()
	end := await[Exited](r)
	r.stop()
	places := map[string]string{"log": r.log.text(), "notice of the end": fmt.Sprintf("%+v", end)}
	for where, text := range places {
		for _, secret := range []string{
			"Zm9vYmFyYmF6cXV4", "c2VjcmV0c2Vj", "YW5vdGhlcnNl", "YWR2c2VjcmV0", "bGlua2VkbGlua2Vk", "b25lb25lb25l",
			"WXYZ-9876", "170 7654321", "491707654321",
		} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("in the %s: …%s…", where, text[max(0, i-100):min(len(text), i+100)])
			}
		}
	}
	// It has spoken at all.
	if len(end.WorkerStderr) == 0 || len(end.ChromeStderr) == 0 || !strings.Contains(places["log"], "[login]") {
		t.Errorf("Exited: %+v", end)
	}
}

// TestMissingFileDescriptorsAreNamedAndSurvived takes them from
// the whole test process, so it runs alone.
func TestMissingFileDescriptorsAreNamedAndSurvived(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Stop.Stuck = 50 * time.Millisecond }).start()
	started := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	restore := limitFiles(t)
	kill(t, started.PID, syscall.SIGKILL)
	if b := await[Blocked](r); b.Reason != reason.ResourcesExhausted {
		t.Errorf("Blocked: %+v", b)
	}
	restore()
	if end := await[Exited](r); end.Reason != reason.WorkerCrashed {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

// limitFiles lets this process open no more files.
func limitFiles(t *testing.T) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}))
	restore = func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }
	t.Cleanup(restore)
	return restore
}

func TestFullRuntimeFolderIsReported(t *testing.T) {
	r := newRig(t, "runs", func(o *Options) { o.Timings.Start.Retry = 100 * time.Millisecond })
	must(t, os.Mkdir(r.path("run"), 0o700))
	if err := unix.Mount("none", r.path("run"), "tmpfs", 0, "size=4k,mode=0700"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	unmount := func() { _ = unix.Unmount(r.path("run"), unix.MNT_DETACH) }
	t.Cleanup(unmount)
	must(t, os.WriteFile(r.path("run/filler"), make([]byte, 4096), 0o600))
	r.start()
	if b := await[Blocked](r); b.Reason != reason.RuntimeUnwritable || !strings.Contains(b.Detail, "no space left") {
		t.Errorf("Blocked: %+v", b)
	}
	must(t, os.Remove(r.path("run/filler")))
	unmount()
	awaitEvent[rpc.PageObserved](r)
}

// TestControlGroupContainsEverything needs the right to make one.
func TestControlGroupContainsEverything(t *testing.T) {
	parent := fmt.Sprintf("/sys/fs/cgroup/unified/session-manager-worker-%d", os.Getpid())
	if err := os.Mkdir(parent, 0o700); err != nil {
		parent = strings.Replace(parent, "unified/", "", 1)
		if err := os.Mkdir(parent, 0o700); err != nil {
			t.Skipf("needs the right to make a control group: %v", err)
		}
	}
	if !exists(parent + "/cgroup.kill") {
		must(t, os.Remove(parent))
		t.Skip("needs cgroup v2 of Linux 5.14")
	}
	t.Cleanup(func() { must(t, os.Remove(parent)) })
	r := newRig(t, "stubborn", func(o *Options) {
		o.ControlGroup = parent
		o.Timings.Stop.Drain = 100 * time.Millisecond
	}).start()
	started := await[WorkerStarted](r)
	browser := awaitEvent[rpc.BrowserStarted](r)
	awaitEvent[rpc.PageObserved](r)
	members, err := os.ReadFile(parent + "/worker/cgroup.procs")
	must(t, err)
	for _, pid := range []int{started.PID, browser.PID} {
		if !strings.Contains("\n"+string(members), fmt.Sprintf("\n%d\n", pid)) {
			t.Errorf("%d is not in the group: %q", pid, members)
		}
	}
	kill(t, started.PID, syscall.SIGSTOP)
	kill(t, browser.PID, syscall.SIGSTOP)
	must(t, restarted(r))
	await[Exited](r)
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if exists(parent + "/worker") {
		t.Error("the group is left")
	}
}

func TestKernelKillsChromeFirstWithoutMemory(t *testing.T) {
	r := newRig(t, "runs").start()
	started := await[WorkerStarted](r)
	for _, pid := range []int{started.PID, awaitEvent[rpc.BrowserStarted](r).PID} {
		score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		if err != nil || strings.TrimSpace(string(score)) != "300" {
			t.Errorf("oom_score_adj of %d is %q, %v", pid, score, err)
		}
	}
}
