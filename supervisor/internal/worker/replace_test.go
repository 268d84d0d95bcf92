package worker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker/process"
)

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

func TestReplacedWorkerTakesOverAfterACleanClose(t *testing.T) {
	r := newRig(t, "runs").start()
	first := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	replaced(r, workerBinary(t))
	end := await[Exited](r)
	if end.Reason != reason.WorkerReplaced || end.Class != restart.Planned || end.Delay != 0 || end.Failures != 0 {
		t.Errorf("Exited: %+v", end)
	}
	if exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("Chrome was not closed cleanly")
	}
	if next := await[WorkerStarted](r); next.PID == first.PID {
		t.Errorf("WorkerStarted: %+v", next)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestFileThatIsNotAWorkerCostsNothing(t *testing.T) {
	whole := workerBinary(t)
	tests := map[string]struct {
		content []byte
		mode    string
		says    string
	}{
		"a text":                {[]byte("not a program"), "runs", "exec format error"},
		"half a binary":         {whole[:len(whole)/2], "runs", ""},
		"a program":             {[]byte("#!/bin/sh\necho hello\n"), "runs", "not a worker of this service"},
		"one that dies":         {whole, "exit7", "exited before the handshake"},
		"of another version":    {whole, "other version", "protocol version"},
		"one that says nothing": {whole, "silent", "handshake within"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "runs", func(o *Options) {
				if tt.mode == "silent" {
					o.Timings.Start.Handshake = 5 * time.Second // the good one has to keep to it on a busy machine
				}
			}).start()
			awaitEvent[rpc.PageObserved](r)
			r.mode(tt.mode)
			replaced(r, tt.content)
			if n := await[Warned](r); !warnsOfBinary(n, tt.says) {
				t.Errorf("warned: %+v", n)
			}
			if _, err := r.Screenshot(t.Context()); err != nil {
				t.Errorf("the worker that runs was disturbed: %v", err)
			}
			// The one that works stays in use, and a good file takes over.
			r.mode("runs")
			replaced(r, whole)
			if end := await[Exited](r); end.Reason != reason.WorkerReplaced {
				t.Errorf("Exited: %+v", end)
			}
			awaitEvent[rpc.PageObserved](r)
		})
	}
}

// warnsOfBinary reports whether the only warning is that of the worker's binary, with a
// detail that has a part.
func warnsOfBinary(n Warned, part string) bool {
	return len(n.Warnings) == 1 && n.Warnings[0].Code == reason.WorkerUnusable && strings.Contains(n.Warnings[0].Detail, part)
}

func TestRejectedWorkerIsNotUsedAtARestart(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	replaced(r, []byte("not a program"))
	await[Warned](r)
	must(t, restarted(r))
	if end := await[Exited](r); end.Reason != reason.RestartRequested {
		t.Errorf("Exited: %+v", end)
	}
	if n := await[Warned](r); !warnsOfBinary(n, "") {
		t.Errorf("warned: %+v", n)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestRestartRetriesARejectedWorker(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	r.mode("exit7")
	replaced(r, workerBinary(t))
	await[Warned](r)
	r.mode("runs") // the file stays the same
	must(t, restarted(r))
	for _, want := range []reason.Code{reason.RestartRequested, reason.WorkerReplaced} {
		if end := await[Exited](r); end.Reason != want {
			t.Errorf("Exited: %+v, want %s", end, want)
		}
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestMissingWorkerIsReplacedByTheLastOne(t *testing.T) {
	r := newRig(t, "runs").start()
	started := await[WorkerStarted](r)
	awaitEvent[rpc.PageObserved](r)
	must(t, os.Remove(r.path("worker")))
	kill(t, started.PID, syscall.SIGKILL)
	if n := await[Warned](r); !warnsOfBinary(n, "no such file") {
		t.Errorf("warned: %+v", n)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestReplacedChromeTakesOver(t *testing.T) {
	r := newRig(t, "runs").start()
	awaitEvent[rpc.PageObserved](r)
	r.program("chrome", "echo Chromium 157.0.1.2")
	if end := await[Exited](r); end.Reason != reason.BrowserReplaced || end.Class != restart.Planned {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestMemoryLimitToleratesPeaks(t *testing.T) {
	m := memory{limit: 100}
	timings := DefaultTimings().Run
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
		if r := m.sample(timings, step.held, now.Add(step.after)); (r != nil) != step.want || r != nil && restart.Classify(r.Reason) != restart.Planned {
			t.Errorf("after %s: %+v", step.after, r)
		}
	}
	if r := (&memory{}).sample(timings, 1<<60, now); r != nil {
		t.Error("a limit that is not set was passed")
	}
}

func TestWorkerOverTheMemoryLimitIsRestarted(t *testing.T) {
	r := newRig(t, "bloated", func(o *Options) {
		o.MemoryLimit = 1 << 20
		o.Timings.Run.Memory = 100 * time.Millisecond
	}).start()
	end := await[Exited](r)
	if end.Reason != reason.MemoryLimit || end.Class != restart.Planned || !strings.Contains(end.Detail, "1024 MiB") {
		t.Errorf("Exited: %+v", end)
	}
	awaitEvent[rpc.PageObserved](r)
}

func TestChromeThatFillsItsScratchFolderIsRestarted(t *testing.T) {
	for name, fill := range map[string]func(*testing.T, string){
		"one file": func(t *testing.T, folder string) {
			f, err := os.Create(filepath.Join(folder, "file"))
			must(t, err)
			defer func() { _ = f.Close() }()
			must(t, unix.Fallocate(int(f.Fd()), 0, 0, process.MaxBytes+1))
		},
		"the history": func(t *testing.T, folder string) {
			history := filepath.Join(folder, "../../../tokens/admin/Default/History")
			must(t, os.MkdirAll(filepath.Dir(history), 0o700))
			must(t, os.WriteFile(history, nil, 0o600))
			must(t, os.Truncate(history, 321<<20))
		},
		"many files": func(t *testing.T, folder string) {
			full := folder + ".new" // one that is not looked at while it fills
			must(t, os.Mkdir(full, 0o700))
			must(t, os.WriteFile(full+"/file", nil, 0o600))
			for n := range 10_000 {
				must(t, os.Link(full+"/file", filepath.Join(full, strconv.Itoa(n))))
			}
			must(t, os.Rename(full, filepath.Join(folder, "full")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "runs").start()
			awaitEvent[rpc.PageObserved](r)
			fill(t, r.path("run/g1/c"))
			end := await[Exited](r)
			// Counted, as a page that does it again and again must not restart Chrome each time.
			if end.Reason != reason.ScratchFull || end.Class != restart.Transient || end.Failures != 1 || end.Delay != 0 {
				t.Errorf("Exited: %+v", end)
			}
			awaitEvent[rpc.PageObserved](r)
			if exists(r.path("run/g1")) {
				t.Error("the folder is left")
			}
		})
	}
}
