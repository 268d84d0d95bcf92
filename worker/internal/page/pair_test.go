package page

import (
	"encoding/json"
	"errors"
	"slices"
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
	file := fileOfSelectors(t, change)
	return func(o *Options) { o.Scripts = Compile(file, o.Logger) }
}

// fileOfSelectors is a changed file.
func fileOfSelectors(t *testing.T, change func(*selectors.Set)) []byte {
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
	return file
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

// TestPairingCodeIsReusedReplacedRefusedAndLinks asks one page for codes, by its modules and by hand.
func TestPairingCodeIsReusedReplacedRefusedAndLinks(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"debug=absent", byHand} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5, Faults: []string{way}}, fast)
			r.awaitCode(0)
			first, err := r.page.Pair(r.context(), somePhone)
			check(t, err)
			_, mark := r.awaitReason(0, reason.PairingCodeShown)
			again, err := r.page.Pair(r.context(), somePhone)
			if err != nil || again.Code != first.Code || again.TTL > first.TTL {
				t.Fatalf("got %v", err)
			}
			other, err := r.page.Pair(r.context(), anotherPhone)
			if err != nil || other.Code == first.Code {
				t.Fatalf("got %v", err)
			}
			r.refusedRequest(mark, other.Code)
			check(t, r.sim.SetFault(way))
			events, _ := r.events.all()
			made, err := r.page.Pair(r.context(), somePhone)
			if err != nil || made.Code == other.Code {
				t.Fatalf("the dead code is given again: %v", err)
			}
			r.enter(len(events), made)
		})
	}
}

// refusedRequest has another phone's request refused, which ends the code before it.
func (r *rig) refusedRequest(mark int, dead rpc.Secret) {
	r.t.Helper()
	check(r.t, r.sim.SetFault("code=429"))
	if _, err := r.page.Pair(r.context(), somePhone); !errors.Is(err, rpc.ErrTooManyAttempts) {
		r.t.Fatalf("got %v", err)
	}
	if err := r.sim.EnterCode(r.context(), string(dead)); !errors.Is(err, simulator.ErrExpired) {
		r.t.Errorf("the first code still links: %v", err)
	}
	refused, _ := r.events.all()
	_, end := r.awaitCode(mark)
	events, _ := r.events.all()
	for _, e := range events[len(refused):max(len(refused), end)] {
		if o, ok := e.body.(rpc.PageObserved); ok && o.Reason == reason.PairingCodeShown {
			r.t.Error("a dead code is reported")
		}
	}
	r.sim.ClearFaults()
}

// pair links by a pairing code, and returns the mark behind READY.
func (r *rig) pair() int {
	r.t.Helper()
	_, mark := r.awaitCode(0)
	made, err := r.page.Pair(r.context(), somePhone)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.enter(r.awaitGone(mark), made)
}

// enter is a phone that is given a code, which is reported after the mark. It returns the mark behind READY.
func (r *rig) enter(mark int, made rpc.Pairing) int {
	r.t.Helper()
	r.awaitScreen(func(s simulator.Screen) bool { return s.Code == string(made.Code) && s.Code != "" })
	if made.TTL < 120*time.Second || made.TTL > 180*time.Second {
		r.t.Errorf("the code's life is %v", made.TTL)
	}
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
// nothing but what a person would press; the menu of the first is known by its icon alone.
func TestButtonsAreFoundInEveryLanguage(t *testing.T) {
	t.Parallel()
	const icon = `header [data-icon="ic-more-vert"]`
	for i, profile := range first([]string{"2026-04", "ar", "de", "es", "pt"}, 2) {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			without := withSelectors(t, func(k *selectors.Set) {
				k.Pairing.Calls, k.LogOut.Calls = nil, nil
				if i > 0 {
					return
				}
				// The page of April has no test ids.
				if !slices.Contains(k.Buttons["menu"].Selectors, icon) {
					t.Errorf("the selectors do not name %s", icon)
				}
				k.Buttons["menu"] = selectors.Button{Selectors: []string{icon}}
			})
			r := open(t, simulator.Options{Profile: profile, Speed: 20}, without, func(o *Options) { o.Timings.Classify.TakeOver = 2 * time.Second })
			link := r.pair
			if i > 0 && !*thorough { // TestDialogIsClosedBeforeTheNextRequest uses that form in each of these.
				link = r.link
			}
			mark := link()
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
	const byModules = "debug=absent"
	type refusals struct {
		way    string
		faults map[string]error
	}
	for _, tc := range first([]refusals{
		{byModules, map[string]error{
			"code=400": rpc.ErrPhoneRefused, "code=403": rpc.ErrPairingForbidden, "code=452": rpc.ErrPairingUnavailable,
			"code=500": rpc.ErrPairingFailed, "code=never": rpc.ErrPairingTimeout,
		}},
		// The page shows the same dialog for all but two.
		{byHand, map[string]error{"code=452": rpc.ErrPairingUnavailable, "code=400": rpc.ErrPairingFailed, "code=never": rpc.ErrPairingTimeout}},
		{byModules, map[string]error{"code=429": rpc.ErrTooManyAttempts, "code=501": rpc.ErrPairingFailed, "code=503": rpc.ErrPairingFailed, "code=599": rpc.ErrPairingFailed}},
		{byHand, map[string]error{"code=429": rpc.ErrTooManyAttempts, "code=403": rpc.ErrPairingFailed, "code=503": rpc.ErrPairingFailed}},
	}, 2) {
		t.Run(tc.way, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5, Faults: []string{tc.way}}, fast, func(o *Options) { o.Timings.Answer = 15 * time.Second })
			_, mark := r.awaitCode(0)
			for fault, want := range tc.faults {
				before := r.sim.CodeRequests()
				if err := r.sim.SetFault(fault); err != nil {
					t.Fatal(err)
				}
				if _, err := r.page.Pair(r.context(), somePhone); !errors.Is(err, want) {
					t.Fatalf("%s: got %v", fault, err)
				}
				if n := r.sim.CodeRequests() - before; n != 1 {
					t.Errorf("%s: the server was asked %d times", fault, n)
				}
				_, mark = r.awaitReason(mark, reason.PairingRequested)
				_, mark = r.awaitCode(mark)
				r.awaitScreen(func(s simulator.Screen) bool { return s.Visible })
			}
		})
	}
}

// TestImpossibleNumberIsRefusedByTheForm asks for a number of no country, which the
// page does not send to its server.
func TestImpossibleNumberIsRefusedByTheForm(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Profile: "2026-04", Speed: 5, Faults: []string{byHand}}, fast)
	r.awaitCode(0)
	if _, err := r.page.Pair(r.context(), "99900000000"); !errors.Is(err, rpc.ErrPhoneRefused) {
		t.Errorf("got %v", err)
	}
	if n := r.sim.CodeRequests(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// TestFormIsNotTakenForAnOutdatedPage leaves the form open, which has a banner about
// the phone's application.
func TestFormIsNotTakenForAnOutdatedPage(t *testing.T) {
	t.Parallel()
	for _, profile := range first([]string{"2026-08", "2026-04", "es", "pt", "de", "ar"}, 1) {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Profile: profile, Speed: 5, Faults: []string{"view=phone"}})
			r.await(0, "the form", func(b rpc.EventBody) bool {
				o, ok := b.(rpc.PageObserved)
				if ok && o.Reason == reason.PageOutdated {
					t.Error("the page is called outdated")
				}
				return ok && o.Detail == "the page shows its form for a phone number"
			})
		})
	}
}

// TestDialogIsClosedBeforeTheNextRequest leaves the dialog of a refusal open, in
// every language.
func TestDialogIsClosedBeforeTheNextRequest(t *testing.T) {
	t.Parallel()
	for i, profile := range first([]string{"es", "ar", "2026-04", "pt", "de"}, 2) {
		faults := []string{"code=429", "code=452", "code=500"}
		if !*thorough { // The dialogs differ in their text only.
			faults = faults[i%3:][:1]
		}
		for _, fault := range faults {
			t.Run(profile+" "+fault, func(t *testing.T) {
				t.Parallel()
				// The loop is too slow to close it.
				r := open(t, simulator.Options{Profile: profile, Speed: 5, Faults: []string{byHand, fault}}, func(o *Options) { o.Timings.Classify.Pace = 0.01 })
				r.awaitCode(0)
				if _, err := r.page.Pair(r.context(), somePhone); err == nil {
					t.Fatal("no refusal")
				}
				for _, o := range r.conditions(0) {
					if o.Reason == reason.PageOutdated {
						t.Error("the form is called an outdated page")
					}
				}
				if open := r.count("[role=dialog]"); open != 1 {
					t.Fatalf("%d dialogs are open", open)
				}
				r.sim.ClearFaults()
				if err := r.sim.SetFault(byHand); err != nil {
					t.Fatal(err)
				}
				made, err := r.page.Pair(r.context(), somePhone)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.sim.EnterCode(r.context(), string(made.Code)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// count returns how many elements of the document match.
func (r *rig) count(selector string) int {
	r.t.Helper()
	found, err := r.page.target.Page.Context(r.context()).Eval(`(s) => document.querySelectorAll(s).length`, selector)
	if err != nil {
		r.t.Fatal(err)
	}
	return found.Value.Int()
}

// TestQRReturnsAfterAPairingCode lets one page's codes end in each way.
func TestQRReturnsAfterAPairingCode(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 5}, fast, withSelectors(t, func(k *selectors.Set) { k.Pairing.CodeSeconds = 5 }))
	_, mark := r.awaitCode(0)
	for _, tc := range []struct {
		name   string
		change func(k *selectors.Set)
		end    func()
		loads  int // of the page, meanwhile, at least; 0 for none, -1 for any
	}{
		{"it expires", nil, nil, 0},
		{"the connection is lost", func(*selectors.Set) {}, func() {
			r.sim.DropNetwork()
			r.awaitScreen(func(s simulator.Screen) bool { return !s.Online || s.State == "OPENING" })
			r.sim.RestoreNetwork()
		}, -1},
		{"it expires, and there is no button", func(k *selectors.Set) { k.Pairing.CodeSeconds, k.Buttons["with_qr"] = 5, selectors.Button{} }, nil, 1},
	} {
		if tc.change != nil {
			check(t, r.page.SetSelectors(t.Context(), fileOfSelectors(t, tc.change)))
		}
		before := r.sim.OnScreen().Load
		if _, err := r.page.Pair(r.context(), somePhone); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		_, mark = r.awaitReason(mark, reason.PairingCodeShown)
		if tc.end != nil {
			tc.end()
		}
		_, mark = r.awaitCode(mark)
		if loads := r.sim.OnScreen().Load - before; tc.loads == 0 && loads > 0 || loads < tc.loads {
			t.Errorf("%s: the page was loaded %d times again, not %d", tc.name, loads, tc.loads)
		}
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
			}), func(o *Options) { o.Timings.Answer = patience / 2 })
			r.awaitCode(0)
			first, err := r.page.Pair(r.context(), somePhone)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.sim.SetFault("slow=700"); err != nil {
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

func TestLinkedPageRefusesPairingAndLogsOut(t *testing.T) {
	t.Parallel()
	for _, tc := range first([]struct{ profile, fault string }{
		{"", "modules=missing:WAWebSocketModel"}, {"2022", "debug=absent"}, {"", "debug=absent"},
	}, 2) {
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
