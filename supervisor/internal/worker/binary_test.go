package worker

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/watch"
)

// proves lets a worker's binary count as one that works at once.
func proves(o *Options) { o.Timings.Prove = time.Nanosecond }

// awaitProof waits until the generation's binary counts as one that works.
func awaitProof(r *rig) {
	r.t.Helper()
	awaitEvent[rpc.PageObserved](r)
	// Beats and heartbeats are of the same order; the proof comes with a beat.
	for range 3 {
		awaitEvent[rpc.Heartbeat](r)
	}
}

// replaced puts content in the worker's place, as an installer does.
func replaced(r *rig, content []byte) {
	r.t.Helper()
	must(r.t, os.WriteFile(r.path("worker.new"), content, 0o700))
	must(r.t, os.Rename(r.path("worker.new"), r.path("worker")))
}

func workerBinary(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(fakeWorker)
	must(t, err)
	return content
}

func TestAReplacedWorkerTakesOverAndChromeIsClosedCleanly(t *testing.T) {
	r := newRig(t, "runs", proves).start()
	first := await[WorkerStarted](r)
	awaitProof(r)
	replaced(r, workerBinary(t))
	end := await[Exited](r)
	if end.Reason != reason.WorkerReplaced || end.Class != restart.Planned || end.Delay != 0 || end.Failures != 0 {
		t.Errorf("Ended: %+v", end)
	}
	if exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("Chrome was not closed cleanly")
	}
	if next := await[WorkerStarted](r); next.PID == first.PID {
		t.Errorf("WorkerStarted: %+v", next)
	}
	awaitEvent[rpc.PageObserved](r)
	if refused := r.log.lines(t, "worker_rejected"); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

func TestAFileThatIsNoWorkerCostsNothing(t *testing.T) {
	whole := workerBinary(t)
	tests := map[string]struct {
		content []byte
		mode    string
		says    string
	}{
		"a text":               {[]byte("not a program"), "runs", "exec format error"},
		"half a binary":        {whole[:len(whole)/2], "runs", ""},
		"a program":            {[]byte("#!/bin/sh\necho hello\n"), "runs", "no worker of this service"},
		"one that dies":        {whole, "exit7", "ended before the handshake"},
		"of another version":   {whole, "other version", "protocol version"},
		"one that says nought": {whole, "silent", "said nothing within"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "runs", proves, func(o *Options) {
				if tt.mode == "silent" {
					o.Timings.Handshake = time.Second
				}
			}).start()
			awaitProof(r)
			r.mode(tt.mode)
			replaced(r, tt.content)
			if n := await[WorkerBinary](r); !strings.Contains(n.Refused, tt.says) || n.Refused == "" {
				t.Errorf("told: %+v", n)
			}
			if lines := r.log.lines(t, "worker_rejected"); len(lines) != 1 {
				t.Errorf("logged: %v", lines)
			}
			if _, err := r.Screenshot(t.Context()); err != nil {
				t.Errorf("the worker that runs was disturbed: %v", err)
			}
			// The one that works goes on to be used, and a good file takes over.
			r.mode("runs")
			replaced(r, whole)
			if end := await[Exited](r); end.Reason != reason.WorkerReplaced {
				t.Errorf("Ended: %+v", end)
			}
			if n := await[WorkerBinary](r); n.Refused != "" {
				t.Errorf("told: %+v", n)
			}
			awaitEvent[rpc.PageObserved](r)
		})
	}
}

func TestANewWorkerThatDiesIsRolledBackUntilARestartIsAskedFor(t *testing.T) {
	r := newRig(t, "runs", proves).start()
	awaitProof(r)
	replaced(r, append(workerBinary(t), "new"...))
	if end := await[Exited](r); end.Reason != reason.WorkerReplaced {
		t.Fatalf("Ended: %+v", end)
	}
	started := await[WorkerStarted](r)
	kill(t, started.PID, syscall.SIGKILL)
	end := await[Exited](r)
	if end.Reason != reason.WorkerCrashed || end.Delay != 0 {
		t.Errorf("Ended: %+v", end)
	}
	if n := await[WorkerBinary](r); !strings.Contains(n.Refused, "last one that worked") {
		t.Errorf("told: %+v", n)
	}
	awaitEvent[rpc.PageObserved](r)
	must(t, restarted(r))
	if n := await[WorkerBinary](r); n.Refused != "" {
		t.Errorf("told: %+v", n)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestOnlyWhatCanBeTheNewWorkersFaultSpeaksAgainstIt(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	must(t, err)
	info, err := self.Stat()
	must(t, err)
	good, fresh := watch.SignatureOf(info), watch.Sign(t.TempDir())
	tests := map[string]struct {
		end  result
		ends int // after which it is refused; 0 for never
	}{
		"it can't be used":       {result{cause: cause{reason: reason.WorkerUnusable}}, 1},
		"it dies":                {result{cause: cause{reason: reason.WorkerCrashed}}, 1},
		"it hangs":               {result{cause: cause{reason: reason.WorkerHung}}, 1},
		"its Chrome dies":        {result{cause: cause{reason: reason.BrowserCrashed}}, 2},
		"its Chrome can't start": {result{cause: cause{reason: reason.BrowserStartFailed}}, 2},
		"the disk is full":       {result{cause: cause{reason: reason.DiskFull}}, 0},
		"a restart":              {result{cause: cause{reason: reason.RestartRequested}}, 0},
		"it had worked":          {result{cause: cause{reason: reason.WorkerCrashed}, proven: true}, 0},
		"it is the other one":    {result{cause: cause{reason: reason.WorkerCrashed}, program: program{kept: true}}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := binaries{good: self, goodFile: good}
			tt.end.program.file = fresh
			for n := 1; n <= 3; n++ {
				if got := b.accuses(tt.end); got != (tt.ends != 0 && n >= tt.ends) {
					t.Errorf("end %d: %v", n, got)
				}
			}
			if (&binaries{}).accuses(tt.end) {
				t.Error("refused, though there is no other one")
			}
		})
	}
	must(t, self.Close())
}

func TestAWorkerThatVanishesIsReplacedByTheOneThatWorked(t *testing.T) {
	r := newRig(t, "runs", proves).start()
	started := await[WorkerStarted](r)
	awaitProof(r)
	must(t, os.Remove(r.path("worker")))
	kill(t, started.PID, syscall.SIGKILL)
	if n := await[WorkerBinary](r); !strings.Contains(n.Refused, "no such file") {
		t.Errorf("told: %+v", n)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestAReplacedChromeTakesOverWhenItsFileHasSettled(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	r.program("chrome", "echo Chromium 157.0.1.2")
	if end := await[Exited](r); end.Reason != reason.BrowserReplaced || end.Class != restart.Planned {
		t.Errorf("Ended: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestTooMuchMemoryForTooLongIsAPlannedEnd(t *testing.T) {
	m := memory{limit: 100}
	timings := DefaultTimings()
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		held  uint64
		want  bool
	}{
		{0, 101, false},
		{29 * time.Second, 101, false},
		{30 * time.Second, 100, false}, // a pause
		{31 * time.Second, 101, false},
		{61 * time.Second, 101, true},
		{62 * time.Second, 101, false},
		{3 * time.Minute, 101, false}, // too soon after the last
		{12 * time.Minute, 101, true},
	} {
		if wish, got := m.sample(timings, step.held, now.Add(step.after)); got != step.want || got && restart.Classify(wish.Reason) != restart.Planned {
			t.Errorf("after %s: %+v, %v", step.after, wish, got)
		}
	}
	if _, got := (&memory{}).sample(timings, 1<<60, now); got {
		t.Error("a limit that is not set was passed")
	}
}

func TestAWorkerThatHoldsTooMuchIsStartedAnew(t *testing.T) {
	r := newRig(t, "bloated", func(o *Options) {
		o.MemoryLimit = 1 << 20
		o.Timings.Bloat = 100 * time.Millisecond
	}).start()
	end := await[Exited](r)
	if end.Reason != reason.MemoryLimit || end.Class != restart.Planned || !strings.Contains(end.Detail, "1024 MiB") {
		t.Errorf("Ended: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}
