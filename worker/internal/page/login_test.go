package page

import (
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// reconnect cuts the page's connection, so that it has to log in again.
func (r *rig) reconnect() {
	r.sim.DropNetwork()
	r.awaitScreen(func(s simulator.Screen) bool { return s.State == "OPENING" })
	r.sim.RestoreNetwork()
}

// conditions returns those that were reported after the mark.
func (r *rig) conditions(mark int) []rpc.PageObserved {
	events, _ := r.events.all()
	var list []rpc.PageObserved
	for _, e := range events[mark:] {
		if o, ok := e.body.(rpc.PageObserved); ok {
			list = append(list, o)
		}
	}
	return list
}

func TestRefusedLoginIsNeverReady(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, eager)
	mark := r.link()
	if err := r.sim.SetFault("500"); err != nil {
		t.Fatal(err)
	}
	r.reconnect()
	_, mark = r.awaitReason(mark, reason.LoginRefused)
	// It stays so over reloads and for more attempts than it took.
	if err := r.sim.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	for _, o := range r.conditions(mark) {
		if o.Condition != rpc.PageDisconnected && o.Condition != rpc.PageLoading || o.Condition == rpc.PageDisconnected && o.Reason != reason.LoginRefused {
			t.Errorf("reported %+v", o)
		}
	}
	events, _ := r.events.all()
	r.sim.ClearFaults()
	r.awaitCondition(len(events), rpc.PageReady)
}

func TestPageThatReloadsItselfIsReportedSo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault  string
		linked bool
		want   rpc.Condition
	}{
		{"405", false, rpc.PageUnlinked},
		{"409", false, rpc.PageUnlinked},
		{"405", true, rpc.PageDisconnected},
		{"409", true, rpc.PageDisconnected},
	} {
		t.Run(tc.fault+" "+string(tc.want), func(t *testing.T) {
			t.Parallel()
			// At the page's own pace, and at that of its first reason to look for trouble.
			r := open(t, simulator.Options{Speed: 5}, eager, func(o *Options) { o.Timings.Classify.Pace = 5 })
			_, mark := r.awaitCode(0)
			if tc.linked {
				mark = r.link()
			}
			if err := r.sim.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			if err := r.sim.Order(simulator.Reload); err != nil {
				t.Fatal(err)
			}
			o, mark := r.awaitReason(mark, reason.PageReloading)
			if o.Condition != tc.want {
				t.Errorf("reported %+v", o)
			}
			loads := r.sim.OnScreen().Load
			r.awaitScreen(func(s simulator.Screen) bool { return s.Load > loads+4 })
			for _, o := range r.conditions(mark) {
				if o.Condition != tc.want || o.Reason != reason.PageReloading {
					t.Errorf("reported %+v", o)
				}
			}
			events, _ := r.events.all()
			r.sim.ClearFaults()
			if tc.linked {
				r.awaitCondition(len(events), rpc.PageReady)
			} else {
				r.awaitCode(len(events))
			}
		})
	}
}

func TestPageThatReloadsItselfOnceStaysReady(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5, Faults: []string{"reload=canonical"}}, eager)
	mark := r.link()
	for _, o := range r.conditions(0) {
		if o.Condition == rpc.PageDisconnected || o.Reason == reason.PageReloading {
			t.Errorf("reported %+v", o)
		}
	}
	if load := r.sim.OnScreen().Load; load != 2 {
		t.Errorf("the page was loaded %d times", load)
	}
	if err := r.sim.Order(simulator.Reload); err != nil {
		t.Fatal(err)
	}
	for _, o := range r.conditions(mark) {
		if o.Condition != rpc.PageReady && o.Condition != rpc.PageLoading && o.Condition != rpc.PageSyncing {
			t.Errorf("reported %+v", o)
		}
	}
}

func TestSessionOpenedElsewhereIsAConflict(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, eager)
	mark := r.link()
	began := time.Now()
	if err := r.sim.Replace(); err != nil {
		t.Fatal(err)
	}
	r.awaitReason(mark, reason.Conflict)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
