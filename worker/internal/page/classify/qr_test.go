package classify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// moment is an observation at a time, and what must follow from it: codes and their ends
// as summary prints them, and "press", "reload", "reload fresh", "give up",
// "return", "use here".
type moment struct {
	at   float64 // seconds
	seen Observation
	want string
}

func summary(v Decision) string {
	var parts []string
	for _, e := range v.Events {
		switch e := e.(type) {
		case rpc.QRShown:
			parts = append(parts, fmt.Sprintf("%s by %s #%d %.0fs r%d", string(e.Payload), e.Reader, e.Seq, e.TTL.Seconds(), e.Renewals))
		case rpc.QRGone:
			parts = append(parts, e.Cause)
		}
	}
	switch v.Action {
	case Press:
		parts = append(parts, "press")
	case Reload:
		parts = append(parts, "reload")
	case ReloadFresh:
		parts = append(parts, "reload fresh")
	case GiveUp:
		parts = append(parts, "give up")
	case Return:
		parts = append(parts, "return")
	case UseHere:
		parts = append(parts, "use here")
	case Stay:
	}
	return strings.Join(parts, ", ")
}

// play runs the moments and compares. Between them it observes the same when it is
// asked to, and every two seconds, and nothing must follow from that.
func play(t *testing.T, steps []moment) History {
	t.Helper()
	c, h := New(Timings{}), History{}
	var got, want []string
	next := 0.0
	play := func(seconds float64, l Observation) string {
		now := epoch.Add(time.Duration(seconds * float64(time.Second)))
		var v Decision
		h, v = c.Next(h, at(l, now), now)
		next = seconds + 2
		if wake := v.Wake.Sub(epoch).Seconds(); !v.Wake.IsZero() && wake > seconds {
			next = min(next, wake)
		}
		return summary(v)
	}
	for i, s := range steps {
		if i > 0 {
			for between := next; between < s.at; between = next {
				if said := play(between, steps[i-1].seen); said != "" {
					got = append(got, fmt.Sprintf("%v: %s", between, said))
				}
			}
		}
		got = append(got, fmt.Sprintf("%v: %s", s.at, play(s.at, s.seen)))
		want = append(want, fmt.Sprintf("%v: %s", s.at, s.want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("want -, got +\n%s", d)
	}
	return h
}

func buttons(kinds ...string) func(*Observation) {
	return func(o *Observation) { o.Drawn.Buttons = kinds }
}

func faded(o *Observation) { o.Drawn.Opacity = 0.04 }

// dom and mod are a QR page without and with modules.
func dom(change ...func(*Observation)) Observation {
	return observed(append([]func(*Observation){on(selectors.ScreenQR), noModules}, change...)...)
}

func mod(change ...func(*Observation)) Observation {
	return observed(append([]func(*Observation){on(selectors.ScreenQR), socket(selectors.SocketUnpaired)}, change...)...)
}

var (
	domA  = dom(shows(selectors.ReaderDOM, "a/1"))
	domB  = dom(shows(selectors.ReaderDOM, "b/1"))
	empty = dom(nothing(selectors.ReaderDOM))
)

func TestCodeIsOfferedWhileItCanBeScanned(t *testing.T) {
	opening := observed(on(selectors.ScreenQR), socket(selectors.SocketOpening))
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"rotation, without modules", []moment{
			{0, empty, ""}, {1, domA, "a/1 by dom #1 61s r0"}, {31, domA, ""}, {61, domB, "b/1 by dom #2 21s r0"}, {81, domB, ""}, {82, domB, "expired"}, {83, domB, ""},
		}},
		{"the first lives for a minute, without modules", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {60, domA, ""}, {61, domA, "expired"},
		}},
		{"the modules know the time to live", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), "a/1 by dom #1 21s r0"}, {20, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), ""}, {21, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), "expired"},
		}},
		{"the modules know it later", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), "a/1 by dom #1 16s r0"},
		}},
		{"the same reference is issued again", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 60*time.Second)), "a/1 by dom #1 61s r0"}, {60, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), "a/1 by dom #1 21s r0"}, {81, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second)), "expired"},
		}},
		{"a new secret under the same reference", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 60*time.Second)), "a/1 by dom #1 61s r0"}, {20, mod(shows(selectors.ReaderDOM, "a/2"), ttl("a", 60*time.Second)), "a/2 by dom #2 41s r0"}, {61, mod(shows(selectors.ReaderDOM, "a/2"), ttl("a", 60*time.Second)), "expired"},
		}},
		{"scanned", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, mod(shows(selectors.ReaderDOM, "a/1"), registered), "scanned"}, {6, observed(registered, socket(selectors.SocketConnected), notSynced), ""},
		}},
		{"scanned, and a passkey is asked for", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, observed(on(selectors.ScreenPasskey), socket(selectors.SocketPairing)), "scanned"},
		}},
		{"the connection is lost", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, opening, "page_changed"}, {9, mod(shows(selectors.ReaderDOM, "b/2")), "b/2 by dom #2 61s r0"},
		}},
		{"a string that stays in place while connecting", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketOpening)), ""},
		}},
		{"offline and back", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {10, mod(shows(selectors.ReaderDOM, "a/1"), offline), "offline"}, {20, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 41s r0"},
		}},
		{"offline overlay, without modules", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {10, dom(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonOffline), faded), "offline"}, {90, dom(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonOffline), faded), ""},
		}},
		{"the page is loaded again", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {5, observed(noModules, func(o *Observation) { o.Document, o.Drawn.Splash = 1, true }), "navigated"},
		}},
		{"a string that comes back is not young again", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {10, empty, "page_changed"}, {20, domA, "a/1 by dom #1 41s r0"}, {61, domA, "expired"},
		}},
		{"it is in another document", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {10, dom(shows(selectors.ReaderDOM, "a/1"), func(o *Observation) { o.Document = 1 }), "a/1 by dom #1 61s r0"},
		}},
		{"by phone number: the modules' string is not on the screen", []moment{
			{0, observed(on(selectors.ScreenPhoneEntry), socket(selectors.SocketUnpaired), nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "a/1")), ""},
		}},
		{"auto-logout: neither is the frame's", []moment{
			{0, mod(nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "a/1"), shows(selectors.ReaderImage, "z/1"), func(o *Observation) { o.Drawn.AutoLogoutFrame = true }), ""},
		}},
		{"a harmless button next to the code", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonOther)), "a/1 by dom #1 61s r0"},
		}},
		{"a cover of which nothing is known", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonOther), faded), ""},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

func TestNewestPayloadIsServed(t *testing.T) {
	both := func(d, m string) Observation {
		return mod(shows(selectors.ReaderDOM, d), shows(selectors.ReaderModules, m))
	}
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"the DOM, when both are new", []moment{{0, both("a/1", "a/2"), "a/1 by dom #1 61s r0"}}},
		{"the modules go ahead", []moment{
			{0, both("a/1", "a/1"), "a/1 by dom #1 61s r0"}, {1, both("a/1", "b/1"), ""}, {1.02, both("b/1", "b/1"), "b/1 by dom #2 21s r0"},
		}},
		{"the DOM on the screen, although the modules are ahead", []moment{
			{0, both("a/1", "a/1"), "a/1 by dom #1 61s r0"}, {1, both("a/1", "b/1"), ""}, {10, both("a/1", "b/1"), ""},
		}},
		{"the DOM goes ahead", []moment{
			{0, both("a/1", "a/1"), "a/1 by dom #1 61s r0"}, {1, both("b/1", "a/1"), "b/1 by dom #2 21s r0"},
		}},
		{"the modules alone", []moment{
			{0, mod(nothing(selectors.ReaderDOM), pending(selectors.ReaderModules, "a/1")), ""}, {0.3, mod(nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "a/1")), "a/1 by modules #1 61s r0"},
			{5, mod(nothing(selectors.ReaderDOM), pending(selectors.ReaderModules, "b/1")), ""},
			{5.5, mod(nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "b/1")), "b/1 by modules #2 20s r0"},
		}},
		{"nothing that only the modules know", []moment{
			{0, mod(nothing(selectors.ReaderDOM), pending(selectors.ReaderModules, "a/1")), ""}, {10, mod(nothing(selectors.ReaderDOM), pending(selectors.ReaderModules, "a/1")), ""},
		}},
		{"the last one, until its successor was seen", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {10, dom(pending(selectors.ReaderDOM, "b/1")), ""}, {10.5, domB, "b/1 by dom #2 20s r0"},
		}},
		{"the last one, for a second", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {10, dom(pending(selectors.ReaderDOM, "b/1")), ""}, {11, dom(pending(selectors.ReaderDOM, "b/1")), "page_changed"},
		}},
		{"nothing that is hidden", []moment{
			{0, dom(unseen("a/1")), ""}, {5, domA, "a/1 by dom #1 56s r0"}, {10, dom(unseen("a/1")), "page_changed"}, {12, domA, "a/1 by dom #1 49s r0"}, {15, dom(unseen("b/1")), "page_changed"},
		}},
		{"an image, when what the page holds is hidden", []moment{
			{0, dom(unseen("a/1")), ""}, {5, dom(unseen("a/1"), shows(selectors.ReaderImage, "b/1")), "b/1 by image #1 61s r0"},
		}},
		{"the modules, idle", []moment{
			{0, mod(nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "a/1"), socket(selectors.SocketIdle)), ""},
			{2, mod(nothing(selectors.ReaderDOM), shows(selectors.ReaderModules, "a/1"), socket(selectors.SocketIdle)), "reload"},
		}},
		{"an image, when the others have nothing", []moment{
			{0, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules), shows(selectors.ReaderImage, "a/1")), "a/1 by image #1 61s r0"},
			{5, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules)), ""},
			{10, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules), shows(selectors.ReaderImage, "a/1")), ""},
			{61, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules), shows(selectors.ReaderImage, "a/1")), "expired"},
			{70, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules), shows(selectors.ReaderImage, "a/1")), ""},
			{71, dom(nothing(selectors.ReaderDOM), nothing(selectors.ReaderModules), shows(selectors.ReaderImage, "b/1")), "b/1 by image #2 21s r0"},
		}},
		{"the DOM before any image", []moment{
			{0, dom(nothing(selectors.ReaderDOM), shows(selectors.ReaderScreenshot, "a/1")), "a/1 by screenshot #1 61s r0"}, {2, dom(shows(selectors.ReaderDOM, "b/1"), shows(selectors.ReaderScreenshot, "a/1")), "b/1 by dom #2 21s r0"},
		}},
		{"a screenshot counts for a while", []moment{
			{0, dom(shows(selectors.ReaderScreenshot, "a/1")), "a/1 by screenshot #1 61s r0"}, {1, dom(), ""}, {10, dom(), ""}, {11, dom(), "page_changed"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

func TestLastingDisagreementIsReportedOnce(t *testing.T) {
	c, h := New(Timings{}), History{}
	var said []string
	for i := range 40 {
		now := epoch.Add(time.Duration(i) * 250 * time.Millisecond)
		o := mod(shows(selectors.ReaderDOM, "a/1"), shows(selectors.ReaderModules, "a/2"))
		if i < 2 {
			o = mod(shows(selectors.ReaderDOM, "a/1"), shows(selectors.ReaderModules, "a/1"))
		}
		var v Decision
		h, v = c.Next(h, at(o, now), now)
		if v.Disagree != "" {
			said = append(said, fmt.Sprintf("%d %s", i, v.Disagree))
		}
	}
	if !slices.Equal(said, []string{"7 modules"}) {
		t.Fatalf("got %v", said)
	}
}

func TestRenewal(t *testing.T) {
	idle := mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload), faded)
	opening := observed(on(selectors.ScreenQR), socket(selectors.SocketOpening))
	domIdle := dom(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonReload))
	strange := dom(shows(selectors.ReaderDOM, "a/1"), buttons(ButtonOther), faded)
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"pressed once, and a new code comes", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {50, idle, "idle, press"}, {50.1, idle, ""}, {51, opening, ""}, {53, mod(shows(selectors.ReaderDOM, "b/2")), "b/2 by dom #2 61s r1"},
		}},
		{"pressed without effect, so reloaded, ever more slowly", []moment{
			{0, idle, "press"}, {14, idle, ""}, {15, idle, "reload"}, {15.5, idle, ""}, {16, idle, "press"}, {31, idle, "reload"}, {32, idle, ""}, {33, idle, "press"}, {48, idle, "reload"}, {51, idle, ""}, {52, idle, "press"},
		}},
		{"pressed, and no code comes", []moment{
			{0, idle, "press"}, {1, opening, ""}, {14, opening, ""}, {15, opening, "reload"},
		}},
		{"the same reference comes back alive", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {61, idle, "idle, press"}, {62, opening, ""}, {63, mod(nothing(selectors.ReaderDOM)), ""}, {64, mod(shows(selectors.ReaderDOM, "a/2")), "a/2 by dom #2 61s r1"},
		}},
		{"without modules, by its text", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {30, domIdle, "idle, press"}, {31, empty, ""}, {33, domB, "b/1 by dom #2 61s r1"},
		}},
		{"without modules, in no language we know: covered when the code's life was over", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {60, domA, ""}, {61, domA, "expired"}, {61.5, strange, "press"},
		}},
		{"covered before: it is the other button", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {30, strange, "offline"}, {100, strange, ""}, {200, strange, ""},
		}},
		{"never while offline", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonOffline)), ""},
			{1, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonOffline, ButtonReload)), ""},
			{2, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload), offline), ""},
			{90, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload), offline), ""},
		}},
		{"no button is drawn", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle)), ""}, {1, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle)), ""}, {2, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle)), "reload"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

func TestFailedPressReloadsAtOnce(t *testing.T) {
	c := New(Timings{})
	idle := mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload))
	h, v := c.Next(History{}, at(idle, epoch), epoch)
	if v.Action != Press {
		t.Fatalf("got %v", v.Action)
	}
	h = h.PressFailed()
	_, v = c.Next(h, at(idle, epoch.Add(time.Second)), epoch.Add(time.Second))
	if v.Action != Reload {
		t.Fatalf("got %v", v.Action)
	}
}

func TestCures(t *testing.T) {
	splash := observed(noModules, func(o *Observation) { o.Drawn.Splash, o.Drawn.Mount = true, false })
	failed := observed(noModules, func(o *Observation) { o.Navigation.ErrorPage, o.Storage.Registered = true, nil })
	unsupported := observed(noModules, byText(selectors.ScreenUnsupported), func(o *Observation) { o.Drawn.Mount = false })
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"a splash that hangs is loaded again, and given up at last", []moment{
			{0, splash, ""}, {59, splash, ""}, {60, splash, "reload"}, {90, splash, ""}, {179, splash, ""}, {180, splash, "reload"}, {210, splash, ""}, {300, splash, "reload"}, {330, splash, ""}, {420, splash, "give up"},
		}},
		{"a page that can't be reached is tried ever more slowly", []moment{
			{0, failed, ""}, {2, failed, "reload"}, {5, failed, ""}, {6, failed, "reload"}, {14, failed, "reload"}, {29, failed, ""}, {30, failed, "reload"}, {60, failed, "reload"}, {89, failed, ""}, {90, failed, "reload"},
		}},
		{"an unsupported browser is tried past the cache", []moment{
			{0, unsupported, ""}, {5, unsupported, "reload fresh"}, {14, unsupported, ""}, {15, unsupported, "reload fresh"},
		}},
		{"another origin is left, with growing patience", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {1, elsewhere(), "navigated"}, {2, elsewhere(), ""}, {3, elsewhere(), "reload"},
			{4, splash, ""}, {6, elsewhere(), ""}, {7, elsewhere(), "reload"}, {14, elsewhere(), ""}, {15, elsewhere(), "reload"},
		}},
		{"no code for long", []moment{
			{0, mod(), ""}, {20, mod(), ""}, {44, mod(), ""}, {45, mod(), "reload"}, {46, splash, ""}, {50, mod(), ""}, {134, mod(), ""}, {135, mod(), "reload"},
		}},
		{"offline is waited for", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), offline), ""}, {20, mod(offline), ""}, {400, mod(offline), ""},
		}},
		{"ready resets the patience", []moment{
			{0, failed, ""}, {2, failed, "reload"}, {6, failed, "reload"}, {8, observed(registered, on(selectors.ScreenMain), noModules), ""}, {20, failed, ""}, {22, failed, "reload"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

func TestCodeExpiresWithoutObservations(t *testing.T) {
	h := play(t, []moment{{0, domA, "a/1 by dom #1 61s r0"}})
	document := domA.Document
	if _, events := h.Unobserved(document, epoch.Add(60*time.Second)); len(events) != 0 {
		t.Fatalf("too early: %v", events)
	}
	if _, events := h.Unobserved(document+1, epoch.Add(time.Second)); len(events) != 1 || events[0] != (rpc.QRGone{Cause: "navigated"}) {
		t.Fatalf("in the next document: %v", events)
	}
	h, events := h.Unobserved(document, epoch.Add(61*time.Second))
	if len(events) != 1 || events[0] != (rpc.QRGone{Cause: "expired"}) {
		t.Fatalf("got %v", events)
	}
	if _, again := h.Unobserved(document, epoch.Add(62*time.Second)); len(again) != 0 {
		t.Fatalf("reported twice: %v", again)
	}
}

func TestNextLeavesItsArgumentUnchanged(t *testing.T) {
	c := New(Timings{})
	h := play(t, []moment{{0, domA, "a/1 by dom #1 61s r0"}})
	before := fmt.Sprintf("%#v", h)
	_, _ = c.Next(h, at(domB, epoch.Add(time.Second)), epoch.Add(time.Second))
	_, _ = h.Navigated()
	_, _ = h.Failing("page_hung", epoch)
	if after := fmt.Sprintf("%#v", h); after != before {
		t.Fatal("the history was changed")
	}
}

// However a page's hints come, the reports that its code is shown are never further
// apart than the supervisor was promised, and a page that hints without pause does not
// flood it.
func TestShownCodeIsProvenAgainInTime(t *testing.T) {
	c := New(Timings{})
	for _, hint := range []time.Duration{0, 10 * time.Millisecond, 700 * time.Millisecond, 990 * time.Millisecond, 3900 * time.Millisecond} {
		h, now, reported, reports := History{}, epoch, epoch, 0
		for now.Sub(epoch) < 50*time.Second {
			var d Decision
			h, d = c.Next(h, at(domA, now), now)
			if slices.ContainsFunc(d.Events, func(e rpc.EventBody) bool { _, ok := e.(rpc.PageObserved); return ok }) {
				if late := now.Sub(reported) - rpc.QREvidence; late > 0 {
					t.Errorf("with hints each %v: %v late", hint, late)
				}
				reported = now
				reports++
			}
			next := now.Add(rpc.QREvidence)
			if !d.Wake.IsZero() && d.Wake.Before(next) {
				next = d.Wake
			}
			if hinted := now.Add(hint); hint > 0 && hinted.Before(next) {
				next = hinted
			}
			now = next
		}
		if reports < 12 || reports > 60 {
			t.Errorf("with hints each %v: %d reports in 50 s", hint, reports)
		}
	}
}

// TestCodeFollowsTheObservationItBelongsTo looks at the order of what is reported when a
// code appears, and when it goes.
func TestCodeFollowsTheObservationItBelongsTo(t *testing.T) {
	c, h := New(Timings{}), History{}
	order := func(o Observation, after time.Duration) (list []string) {
		var d Decision
		now := epoch.Add(after)
		h, d = c.Next(h, at(o, now), now)
		for _, e := range d.Events {
			switch e := e.(type) {
			case rpc.PageObserved:
				list = append(list, "observed "+e.Detail)
			case rpc.QRShown:
				list = append(list, "shown")
			case rpc.QRGone:
				list = append(list, "gone")
			}
		}
		return list
	}
	spinner := observed(on(selectors.ScreenQR), socket(selectors.SocketOpening))
	for i, want := range []struct {
		seen Observation
		list []string
	}{
		{spinner, []string{"observed the page is connecting to its server"}},
		{domA, []string{"observed ", "shown"}},
		{spinner, []string{"gone", "observed the page is connecting to its server"}},
	} {
		if got := order(want.seen, time.Duration(i)*time.Second); !slices.Equal(got, want.list) {
			t.Errorf("step %d: got %q", i, got)
		}
	}
}
