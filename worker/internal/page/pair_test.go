package page

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

const (
	somePhone    = rpc.Secret("5491150000000")
	anotherPhone = rpc.Secret("5491150000001")
)

// byHand removes the page's module that gives codes.
const byHand = "modules=missing:WAWebAltDeviceLinkingApi"

// withSelectors opens the page with a changed file.
func withSelectors(t *testing.T, change func(*selectors.Set)) func(*Options) {
	t.Helper()
	k, err := selectors.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	change(k)
	file, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Selectors = file }
}

// awaitReason waits for an observation with a reason after the mark.
func (r *rig) awaitReason(mark int, c reason.Code) (rpc.PageObserved, int) {
	r.t.Helper()
	e, next := r.await(mark, string(c), func(b rpc.EventBody) bool {
		o, ok := b.(rpc.PageObserved)
		return ok && o.Reason == c
	})
	return e.body.(rpc.PageObserved), next
}

// awaitScreen waits until the simulator shows a screen.
func (r *rig) awaitScreen(want func(simulator.Screen) bool) {
	r.t.Helper()
	if err := r.sim.Await(r.context(), want); err != nil {
		r.t.Fatal(err)
	}
}

func TestPairingCodeLinksWithoutAScan(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"debug=absent", byHand} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 20, Faults: []string{way}})
			r.pair()
		})
	}
}

// pair links by a pairing code, and returns the mark behind READY.
func (r *rig) pair() int {
	r.t.Helper()
	_, mark := r.awaitCode(0)
	made, err := r.page.Pair(r.context(), somePhone)
	if err != nil {
		r.t.Fatal(err)
	}
	r.awaitScreen(func(s simulator.Screen) bool { return s.Code == string(made.Code) && s.Code != "" })
	if made.TTL < 175*time.Second || made.TTL > 180*time.Second {
		r.t.Errorf("the code's life is %v", made.TTL)
	}
	mark = r.awaitGone(mark, "page_changed")
	shown, mark := r.awaitReason(mark, reason.PairingCodeShown)
	if shown.Condition != rpc.PageUnlinked {
		r.t.Errorf("got %+v", shown)
	}
	if err := r.sim.EnterCode(r.context(), string(made.Code)); err != nil {
		r.t.Fatal(err)
	}
	_, mark = r.awaitCondition(mark, rpc.PageSyncing)
	_, mark = r.awaitCondition(mark, rpc.PageReady)
	return mark
}

// TestButtonsAreFoundInEveryLanguage pairs, ends a conflict and logs out by
// nothing but what a person would press.
func TestButtonsAreFoundInEveryLanguage(t *testing.T) {
	t.Parallel()
	without := withSelectors(t, func(k *selectors.Set) { k.Pairing.Calls, k.LogOut.Calls = nil, nil })
	for _, profile := range []string{"2026-04", "es", "pt", "de", "ar"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Profile: profile, Speed: 20}, without, func(o *Options) { o.Timings.Classify.TakeOver = 2 * time.Second })
			mark := r.pair()
			if err := r.sim.TakeOver(); err != nil {
				t.Fatal(err)
			}
			_, mark = r.awaitReason(mark, reason.Conflict)
			_, mark = r.awaitCondition(mark, rpc.PageReady)
			if screen := r.sim.OnScreen(); screen.Load != 1 {
				t.Error("the page was loaded again, instead of its button pressed")
			}
			if err := r.page.LogOut(r.context()); err != nil {
				t.Fatal(err)
			}
			_, mark = r.awaitCondition(mark, rpc.PageLoggedOut)
			r.awaitCode(mark)
		})
	}
}

func TestRefusedPairingCodeIsExplained(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"debug=absent", byHand} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5, Faults: []string{way}}, fast)
			_, mark := r.awaitCode(0)
			for _, tc := range []struct {
				fault string
				want  error
			}{
				{"code=rate", rpc.ErrTooManyAttempts},
				{"code=unavailable", rpc.ErrPairingUnavailable},
				{"code=bad-number", rpc.ErrPhoneRefused},
			} {
				if err := r.sim.SetFault(tc.fault); err != nil {
					t.Fatal(err)
				}
				if _, err := r.page.Pair(r.context(), somePhone); !errors.Is(err, tc.want) {
					t.Fatalf("%s: got %v", tc.fault, err)
				}
				_, mark = r.awaitCode(r.awaitGone(mark, "page_changed"))
			}
		})
	}
}

func TestQRReturnsWhenPairingCodeExpires(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, fast, withSelectors(t, func(k *selectors.Set) { k.Pairing.CodeSeconds = 2 }))
	_, mark := r.awaitCode(0)
	if _, err := r.page.Pair(r.context(), somePhone); err != nil {
		t.Fatal(err)
	}
	_, mark = r.awaitReason(mark, reason.PairingCodeShown)
	r.awaitCode(mark)
	if screen := r.sim.OnScreen(); screen.Load != 1 {
		t.Error("the page was loaded again, instead of its button pressed")
	}
}

func TestQRReturnsByReloadWithoutAButton(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, fast, withSelectors(t, func(k *selectors.Set) {
		k.Pairing.CodeSeconds, k.Buttons["with_qr"] = 2, selectors.Button{}
	}))
	_, mark := r.awaitCode(0)
	if _, err := r.page.Pair(r.context(), somePhone); err != nil {
		t.Fatal(err)
	}
	_, mark = r.awaitReason(mark, reason.PairingCodeShown)
	r.awaitCode(mark)
	if screen := r.sim.OnScreen(); screen.Load != 2 {
		t.Error("the page was not loaded again")
	}
}

func TestPairingCodeIsReusedForTheSamePhone(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"debug=absent", byHand} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5, Faults: []string{way}})
			r.awaitCode(0)
			first, err := r.page.Pair(r.context(), somePhone)
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.page.Pair(r.context(), somePhone)
			if err != nil || again.Code != first.Code || again.TTL > first.TTL {
				t.Fatalf("got %v", err)
			}
			other, err := r.page.Pair(r.context(), anotherPhone)
			if err != nil || other.Code == first.Code {
				t.Fatalf("got %v", err)
			}
			if err := r.sim.EnterCode(r.context(), string(other.Code)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPairWaitsForTheConnection has the page ignore a press on its
// button, as it does without a connection.
func TestPairWaitsForTheConnection(t *testing.T) {
	t.Parallel()
	for name, blind := range map[string]bool{"the connection is known of": false, "nothing is known of it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5}, withSelectors(t, func(k *selectors.Set) {
				k.Pairing.Calls = nil
				if blind {
					k.Facts["socket_state"] = selectors.Source{From: []selectors.Path{}}
				}
			}), func(o *Options) { o.Timings.Answer = 9 * time.Second })
			r.awaitCode(0)
			first, err := r.page.Pair(r.context(), somePhone)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.sim.SetFault("slow=2000"); err != nil {
				t.Fatal(err)
			}
			other, err := r.page.Pair(r.context(), anotherPhone)
			if err != nil || other.Code == first.Code {
				t.Fatalf("got %v", err)
			}
			r.awaitScreen(func(s simulator.Screen) bool { return s.Code == string(other.Code) })
		})
	}
}

func TestQRReturnsWhenPairingConnectionIsLost(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, fast)
	r.awaitCode(0)
	if _, err := r.page.Pair(r.context(), somePhone); err != nil {
		t.Fatal(err)
	}
	_, mark := r.awaitReason(0, reason.PairingCodeShown)
	r.sim.DropNetwork()
	r.awaitScreen(func(s simulator.Screen) bool { return !s.Online || s.State == "OPENING" })
	r.sim.RestoreNetwork()
	r.awaitCode(mark)
}

func TestLinkedPageRefusesPairingAndLogsOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ profile, fault string }{
		{"", "debug=absent"}, {"", "modules=missing:WAWebSocketModel"}, {"2022", "debug=absent"},
	} {
		t.Run(tc.profile+" "+tc.fault, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Profile: tc.profile, Speed: 20, Faults: []string{tc.fault}})
			mark := r.link()
			if _, err := r.page.Pair(r.context(), somePhone); !errors.Is(err, rpc.ErrNotUnlinked) {
				t.Errorf("Pair: %v", err)
			}
			if err := r.page.LogOut(r.context()); err != nil {
				t.Fatal(err)
			}
			_, mark = r.awaitCondition(mark, rpc.PageLoggedOut)
			r.awaitCode(mark)
			if err := r.page.LogOut(r.context()); !errors.Is(err, rpc.ErrNotLinked) {
				t.Errorf("LogOut of an unlinked page: %v", err)
			}
		})
	}
}
