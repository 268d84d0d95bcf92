package worker

import (
	"fmt"
	"os"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// inTime bounds a stop that has nothing to wait for: more than a busy machine takes, and
// less than a stop that waits for patience.
const inTime = 15 * time.Second

// TestStopEndsEveryPhaseInTime stops in each phase that a supervisor can be in.
func TestStopEndsEveryPhaseInTime(t *testing.T) {
	brief := func(o *Options) {
		o.Timings.Stop.Close, o.Timings.Stop.Drain = 300*time.Millisecond, 300*time.Millisecond
	}
	tests := map[string]struct {
		mode   string
		change func(*Options)
		reach  func(*rig)
	}{
		"before anything": {mode: "runs", reach: func(*rig) {}},
		"asking for the version": {mode: "runs", reach: func(r *rig) {
			awaitFile(r, "asked")
		}, change: func(o *Options) { o.Chrome += "-slow" }},
		"blocked":           {mode: "runs", change: func(o *Options) { o.Worker += "-missing" }, reach: func(r *rig) { await[Blocked](r) }},
		"spawning":          {mode: "runs", reach: func(r *rig) { await[Spawning](r) }},
		"handshake":         {mode: "silent", reach: func(r *rig) { await[WorkerStarted](r) }},
		"connecting, deaf":  {mode: "deaf", reach: func(r *rig) { await[WorkerStarted](r) }},
		"browser start":     {mode: "no browser", reach: func(r *rig) { awaitEvent[rpc.PhaseChanged](r) }},
		"running":           {mode: "runs", reach: func(r *rig) { awaitEvent[rpc.PageObserved](r) }},
		"running, hung":     {mode: "never stops", change: brief, reach: func(r *rig) { awaitEvent[rpc.PageObserved](r) }},
		"running, stubborn": {mode: "stubborn", change: brief, reach: func(r *rig) { awaitEvent[rpc.PageObserved](r) }},
		"ending": {mode: "stubborn", change: func(o *Options) { o.Timings.Stop.Drain = 500 * time.Millisecond }, reach: func(r *rig) {
			awaitEvent[rpc.PageObserved](r)
			if err := restarted(r); err != nil {
				r.t.Error(err)
			}
			await[Exiting](r)
		}},
		"backing off": {mode: "exit7", change: func(o *Options) { o.Limits.FirstDelay = time.Minute }, reach: func(r *rig) {
			await[Exited](r)
			await[Exited](r)
		}},
		"circuit open": {mode: "exit7", change: func(o *Options) { o.Limits.Burst = 0 }, reach: func(r *rig) { await[Blocked](r) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.mode)
			if tt.change != nil {
				tt.change(&r.o)
			}
			r.program("chrome-slow", fmt.Sprintf("echo > %s; exec sleep 600", r.path("asked")))
			r.start()
			tt.reach(r)
			if took := r.stop(); took > inTime {
				t.Errorf("stop took %v", took)
			}
			r.drain()
			if last := r.order; len(last) > 0 && last[len(last)-1] != "Exited" && last[len(last)-1] != "Blocked" {
				t.Errorf("told: %v", last)
			}
		})
	}
}

// TestStopAtAnyMomentLeavesNothing stops a little later in each round.
func TestStopAtAnyMomentLeavesNothing(t *testing.T) {
	rounds, pause := 10, 10*time.Millisecond
	if *thorough {
		rounds, pause = 50, 2*time.Millisecond
	}
	for i := range rounds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := newRig(t, "runs").start()
			timer := time.NewTimer(time.Duration(i) * pause)
			<-timer.C
			if took := r.stop(); took > inTime {
				t.Errorf("stop took %v", took)
			}
		})
	}
}

func TestStopThatChromeIgnoresIsLimited(t *testing.T) {
	r := newRig(t, "never stops").start()
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	r.drain()
	end := r.exitLine()
	if end["reason"] != string(reason.Stopping) || len(r.log.lines(t, "chrome_close_failed")) != 1 {
		t.Errorf("worker_exited: %v", end)
	}
	if exists(r.path("tokens/admin/SingletonLock")) {
		t.Error("Chrome got no chance to close by the pipe")
	}
}

// awaitFile polls for a file that a script makes.
func awaitFile(r *rig, name string) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		if _, err := os.Stat(r.path(name)); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			r.t.Fatalf("%s was not made", name)
		}
	}
}
