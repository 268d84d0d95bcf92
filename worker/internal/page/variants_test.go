package page

import (
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser/browsertest"
)

func TestEveryVariantOfThePageIsRead(t *testing.T) {
	t.Parallel()
	for _, tc := range first([]struct{ profile, reader string }{
		{"2024", ""},
		{"closed-shadow", "modules"},
		{"image-only", ""}, // from the image, or from a screenshot when that was drawn too late
		{"2022", "dom"},
		{"2026-04", "dom"},
		{"ar", "dom"},
		{"no-data-ref", "modules"},
		{"empty-data-ref", "modules"},
		{"sixth-field", "dom"},
		{"two-canvases", "dom"},
	}, 3) {
		t.Run(tc.profile, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Profile: tc.profile, Speed: 5}, eager, func(o *Options) {
				if tc.reader != "" {
					o.Timings.Classify.Silence = 0 // the default: images are not searched before the cheap readers had their time
				}
			})
			shown, _ := r.awaitCode(0)
			err := r.sim.Await(r.context(), func(s simulator.Screen) bool { return s.Offered == string(shown.Payload) })
			if err != nil {
				t.Fatal(err)
			}
			if tc.reader != "" && shown.Reader != tc.reader {
				t.Errorf("it was read by %s, want %s", shown.Reader, tc.reader)
			}
		})
	}
}

func TestEveryFailureBeforeTheScanHasItsReason(t *testing.T) {
	t.Parallel()
	type failure struct {
		profile, fault string
		condition      rpc.Condition
		reason         reason.Code
	}
	for _, tc := range first([]failure{
		{"", "socket=proxyblock", rpc.PageBlocked, reason.ProxyBlocked},
		{"", "503", rpc.PageLoading, reason.ServiceUnavailable},
		{"", "autologout=iframe", rpc.PageUnlinked, reason.QRUnreadable},
		{"", "mutex=other-tab", rpc.PageLoading, reason.Conflict},
		{"", "offline=now", rpc.PageUnlinked, reason.NetworkUnreachable},
		{"", "quota", rpc.PageUnlinked, reason.StorageFailed},
		{"unsupported", "", rpc.PageBlocked, reason.UnsupportedBrowser},
		{"", "tos", rpc.PageBlocked, reason.TermsRequired},
		{"", "socket=never", rpc.PageUnlinked, reason.NetworkUnreachable},
		{"2022", "503", rpc.PageLoading, reason.ServiceUnavailable},
		{"2022", "offline=now", rpc.PageUnlinked, reason.NetworkUnreachable},
		{"", "splash=hang", rpc.PageLoading, reason.PageLoadFailed},
		{"", "assets=404", rpc.PageLoading, reason.PageLoadFailed},
		{"", "outdated", rpc.PageLoading, reason.PageOutdated},
		{"extra-field", "", rpc.PageUnlinked, reason.QRUnreadable},
		{"captive-portal", "", rpc.PageBlocked, reason.PageUnrecognised},
	}, 4) {
		t.Run(tc.profile+" "+tc.fault, func(t *testing.T) {
			t.Parallel()
			o := simulator.Options{Profile: tc.profile, Speed: 20}
			if tc.fault != "" {
				o.Faults = []string{tc.fault}
			}
			r := open(t, o, hasty)
			r.await(0, string(tc.reason), func(b rpc.EventBody) bool {
				if _, ok := b.(rpc.QRShown); ok {
					t.Error("a code was reported")
				}
				o, ok := b.(rpc.PageObserved)
				return ok && o.Condition == tc.condition && o.Reason == tc.reason
			})
		})
	}
}

func TestEveryFailureAfterTheScanHasItsReason(t *testing.T) {
	t.Parallel()
	type failure struct {
		profile, fault string
		condition      rpc.Condition
		reason         reason.Code
	}
	for _, tc := range first([]failure{
		{"", "ban=temp", rpc.PageBlocked, reason.Banned},
		{"", "ban=perm", rpc.PageLoggedOut, reason.LoggedOut},
		{"", "logout=mid-sync", rpc.PageLoggedOut, reason.LoggedOut},
		{"2022", "logout=phone", rpc.PageLoggedOut, reason.LoggedOut},
		{"", "conflict=now", rpc.PageDisconnected, reason.Conflict},
		{"", "logout=reason:2", rpc.PageLoggedOut, reason.LoggedOut},
		{"", "sync=timeout", rpc.PageLoggedOut, reason.LoggedOut},
		{"2022", "conflict=now", rpc.PageDisconnected, reason.Conflict},
		{"2022", "", rpc.PageReady, ""},
		{"", "passkey=gate", rpc.PageBlocked, reason.PasskeyRequired},
		{"", "modules=missing:WAWebSocketModel", rpc.PageReady, ""},
	}, 3) {
		t.Run(tc.profile+" "+tc.fault, func(t *testing.T) {
			t.Parallel()
			o := simulator.Options{Profile: tc.profile, Speed: 40}
			if tc.fault != "" {
				o.Faults = []string{tc.fault}
			}
			r := open(t, o, hasty)
			_, mark := r.awaitCode(0)
			r.scan()
			r.await(mark, string(tc.reason), func(b rpc.EventBody) bool {
				o, ok := b.(rpc.PageObserved)
				return ok && o.Condition == tc.condition && o.Reason == tc.reason
			})
		})
	}
}

func TestWhatOnlyDelaysTheCodeDelaysItOnly(t *testing.T) {
	t.Parallel()
	type delay struct {
		fault string
		speed float64
		pace  func(*Options)
	}
	for _, tc := range first([]delay{
		{"modules=throw-not-initialized:1500", 20, hasty},
		{"socket=flap", 2, eager},
		{"reload=random", 2, eager},
		{"csp=strict", 20, hasty},
		{"mutex=other-tab", 20, hasty},
		{"modules=late:1500", 20, hasty},
		{"debug=absent", 20, hasty},
		{"view=phone", 20, hasty},
	}, 2) {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: tc.speed, Faults: []string{tc.fault}}, tc.pace)
			if tc.fault == "reload=random" { // A busy machine might never get to a code before the next one.
				r.awaitScreen(func(s simulator.Screen) bool { return s.Load > 3 })
				r.sim.ClearFaults()
			}
			r.awaitCode(0)
		})
	}
}

func TestStuckSyncAndReplacedConnectionAreReloaded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault string
		want  reason.Code
	}{
		{"sync=stuck:50", reason.SyncStuck},
		{"socket=replaced", reason.Conflict},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 20, Faults: []string{tc.fault}}, hasty, func(o *Options) {
				o.Timings.Classify.Pace, o.Timings.Classify.TakeOver = 50, time.Second
			})
			r.awaitCode(0)
			r.scan()
			_, mark := r.awaitReason(0, tc.want)
			r.awaitScreen(func(s simulator.Screen) bool { return s.Load >= 2 })
			r.sim.ClearFaults()
			r.awaitCondition(mark, rpc.PageReady)
		})
	}
}

// named calls the simulator by a name: an address can be no party to a passkey.
func named(o *Options) { o.URL = strings.Replace(o.URL, "127.0.0.1", "localhost", 1) }

func TestPasskeyIsReportedWithoutItsScreen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  string
		change func(k *selectors.Set)
	}{
		"by the page's link method": {"passkey=gate", withoutPasskeyEvents},
		"by its event":              {"passkey=gate", func(k *selectors.Set) { k.Words.LinkMethods = nil }},
		"by its request to the browser": {"passkey=eager", func(k *selectors.Set) {
			k.Words.LinkMethods = nil
			withoutPasskeyEvents(k)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.fault == "passkey=eager" {
				browsertest.InChrome(t)
			}
			r := open(t, simulator.Options{Speed: 5, Faults: []string{tc.fault}}, withSelectors(t, func(k *selectors.Set) {
				for i := range k.Screens {
					if k.Screens[i].Name == selectors.ScreenPasskey {
						k.Screens[i].Selectors, k.Screens[i].Texts = []string{"#nowhere"}, nil
					}
				}
				k.Passkey.Prompt = "#nowhere"
				k.Buttons["passkey_continue"] = selectors.Button{Selectors: []string{"#nowhere"}}
				tc.change(k)
			}), named)
			if tc.fault == "passkey=eager" && chrome.EngineOf(r.browser.Info().Product) == chrome.HeadlessShell {
				t.Skip("chrome-headless-shell refuses such a request at once")
			}
			_, mark := r.awaitCode(0)
			r.scan()
			r.awaitReason(mark, reason.PasskeyRequired)
			if tc.fault == "passkey=gate" && r.mustPasskey(rpc.PasskeyBegin, "").Options == "" {
				t.Error("there is nothing to sign")
			}
		})
	}
}

// withoutPasskeyEvents makes those of linking by a passkey unknown.
func withoutPasskeyEvents(k *selectors.Set) {
	k.Events = slices.DeleteFunc(slices.Clone(k.Events), func(e selectors.Event) bool { return e.Passkey != "" })
}

// TestPasskeyIsReportedBehindAHiddenCode: the screen for the passkey never loads,
// and the payload stays in the document.
func TestPasskeyIsReportedBehindAHiddenCode(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Speed: 20, Faults: []string{"passkey=unloaded"}})
	_, mark := r.awaitCode(0)
	r.scan()
	mark = r.awaitScanned(mark)
	_, mark = r.awaitReason(mark, reason.PasskeyRequired)
	events, _ := r.events.all()
	for _, e := range events[mark:] {
		if _, ok := e.body.(rpc.QRShown); ok {
			t.Error("a code is reported again")
		}
	}
}

// TestOfflineButtonIsNeverPressed lets the codes run out under both buttons.
func TestOfflineButtonIsNeverPressed(t *testing.T) {
	t.Parallel()
	r := open(t, simulator.Options{Faults: []string{"overlay=wrong-button"}})
	_, mark := r.awaitCode(0)
	if err := r.sim.ExpireNow(); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(mark, "offline")
}

// TestPasskeyCardsAreKnownByTestID has the page show each card of linking by a passkey,
// and recognises it by one of its elements alone.
func TestPasskeyCardsAreKnownByTestID(t *testing.T) {
	t.Parallel()
	for _, tc := range first([]struct{ fault, id string }{
		{"passkey=gate", "shortcake_passkey_prompt_card"},
		{"passkey=code", "shortcake_verification_code_display"},
		{"passkey=gate", "shortcake_passkey_continue_button"},
		{"passkey=gate", "shortcake_cancel_button"},
		{"passkey=waiting", "shortcake_waiting_for_phone_card"},
		{"passkey=code", "shortcake_code_confirm_button"},
	}, 2) {
		t.Run(tc.id, func(t *testing.T) {
			t.Parallel()
			r := open(t, simulator.Options{Speed: 5, Faults: []string{tc.fault}}, withSelectors(t, func(k *selectors.Set) {
				k.Words.LinkMethods = nil
				for i, s := range k.Screens {
					if s.Name != selectors.ScreenPasskey {
						continue
					}
					only := `[data-testid="` + tc.id + `"]`
					if !slices.Contains(s.Selectors, only) {
						t.Errorf("the selectors do not name %s", tc.id)
					}
					k.Screens[i].Selectors, k.Screens[i].Texts = []string{only}, nil
				}
			}))
			_, mark := r.awaitCode(0)
			r.scan()
			r.awaitReason(mark, reason.PasskeyRequired)
		})
	}
}
