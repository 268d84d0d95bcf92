package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/restart"
)

func TestSlowMachineGetsLongerDeadlines(t *testing.T) {
	r := newRig(t, "silent", func(o *Options) {
		o.Timings.Start.Handshake, o.Timings.Run.Starved, o.DeadlineFactor = 100*time.Millisecond, 0, 3
	}).start()
	if end := await[Exited](r); !strings.Contains(end.Detail, "handshake within 300ms") {
		t.Errorf("Exited: %+v", end)
	}
}

func TestClosingChromeIsNotOnAnotherProfile(t *testing.T) {
	r := newRig(t, "closes early").start()
	if end := await[Exited](r); end.Reason != reason.BrowserCrashed || end.Class != restart.Transient {
		t.Errorf("Exited: %+v", end)
	}
}

func TestFailedStartsHaveTheirReasons(t *testing.T) {
	short := func(o *Options) { o.Timings.Start.Handshake, o.Timings.Run.Starved = 500*time.Millisecond, 0 }
	tests := map[string]struct {
		change func(*Options)
		reason reason.Code
		exit   string
		says   string
	}{
		// Without a connection there is nothing to wait for.
		"exit7":           {func(o *Options) { o.Timings.Stop.LastEvents = 2 * patience }, reason.WorkerCrashed, "exit 7", "exit 7"},
		"panic":           {nil, reason.WorkerCrashed, "exit 2", "exit 2"},
		"exit3":           {nil, reason.WorkerCrashed, "exit 3", "exit 3"},
		"dies connecting": {nil, reason.WorkerCrashed, "exit 9", "exit 9"},
		"leaves":          {nil, reason.WorkerCrashed, "signal killed, by the supervisor", "without being asked"},
		"silent":          {short, reason.WorkerHung, "", "handshake within 500ms"},
		"frozen socket":   {short, reason.WorkerHung, "", "handshake within 500ms"},
		"deaf":            {nil, reason.WorkerHung, "", "connection to the worker was lost"},
		"garbage":         {nil, reason.WorkerUnusable, "signal killed, by the supervisor", "not a worker of this service"},
		"endless line":    {nil, reason.WorkerUnusable, "signal killed, by the supervisor", "not a worker of this service"},
		"other version": {nil, reason.WorkerUnusable, "signal killed, by the supervisor",
			fmt.Sprintf("protocol version %d, the supervisor %d", rpc.ProtocolVersion+1, rpc.ProtocolVersion)},
		"no browser": {func(o *Options) { o.Timings.Start.Browser = 300 * time.Millisecond },
			reason.BrowserStartFailed, "signal killed, by the supervisor", "Chrome did not respond"},
		"other profile": {nil, reason.ProfileInUse, "", "has not locked our profile"},
		"sandbox":       {nil, reason.SandboxRefused, "", "no usable sandbox"},
	}
	for mode, tt := range tests {
		t.Run(mode, func(t *testing.T) {
			var changes []func(*Options)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			r := newRig(t, mode, changes...).start()
			await[WorkerStarted](r)
			end := await[Exited](r)
			if end.Reason != tt.reason || end.Class != restart.Classify(tt.reason) ||
				tt.exit != "" && end.WorkerExit != tt.exit || !strings.Contains(end.Detail, tt.says) {
				t.Errorf("Exited: %+v", end)
			}
			if end.Class != restart.Environmental {
				await[Spawning](r)
				return
			}
			if b := await[Blocked](r); b.Reason != tt.reason || time.Until(b.RetryAt) < 5*time.Second {
				t.Errorf("Blocked: %+v", b)
			}
		})
	}
}

func TestChromeClosesCleanlyWhenTheHandshakeFails(t *testing.T) {
	r := newRig(t, "starts Chrome at once", func(o *Options) { o.Timings.Start.Handshake = 2 * time.Second }).start()
	end := await[Exited](r)
	if end.Reason != reason.WorkerHung || !exists(r.path("tokens/admin/begun")) {
		t.Errorf("Exited: %+v", end)
	}
	if line := r.exitLine(); line["killed"] != float64(0) {
		t.Errorf("Chrome was killed: %v", line)
	}
	if exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("its lock is left")
	}
}
