package classify

import (
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// begun is a connection that the document has begun to open for the first time, open
// one whose handshake was answered at a time, as the n-th, and shut one that was lost.
func begun(o *Observation) { o.Connection = Connection{Attempts: 1} }

func open(n int, seconds float64) func(*Observation) {
	return func(o *Observation) {
		o.Connection = Connection{Attempts: n, Openings: n, Open: true, OpenedAt: epoch.Add(time.Duration(seconds * float64(time.Second)))}
	}
}

func shut(n int, seconds float64) func(*Observation) {
	return func(o *Observation) {
		open(n, seconds)(o)
		o.Connection.Attempts, o.Connection.Open = n+1, false
	}
}

func TestOnlyCodesOfTheOpenConnectionAreOffered(t *testing.T) {
	opening := observed(on(selectors.ScreenQR), socket(selectors.SocketOpening))
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"dead codes are drawn after the connection was lost", []moment{
			{0, mod(begun), ""}, {1, mod(open(1, 1)), ""}, {2, mod(shows(selectors.ReaderDOM, "a/1"), open(1, 1)), "a/1 by dom #1 61s r0"},
			{10, mod(shows(selectors.ReaderDOM, "a/1"), shut(1, 1)), "disconnected"}, {11, mod(shows(selectors.ReaderDOM, "b/1"), shut(1, 1)), ""},
			{12, mod(shows(selectors.ReaderDOM, "b/1"), open(2, 12)), ""}, {13, mod(shows(selectors.ReaderDOM, "c/1"), open(2, 12)), ""},
			{14, mod(shows(selectors.ReaderDOM, "d/2"), open(2, 12)), "d/2 by dom #2 61s r0"},
			{15, mod(shows(selectors.ReaderDOM, "c/1"), open(2, 12)), "disconnected"},
		}},
		{"so by the modules", []moment{
			{0, mod(pending(selectors.ReaderModules, "a/1"), open(1, 0)), ""}, {0.3, mod(shows(selectors.ReaderModules, "a/1"), open(1, 0)), "a/1 by modules #1 61s r0"},
			{2, mod(shows(selectors.ReaderModules, "a/1"), shut(1, 0)), "disconnected"}, {4, mod(shows(selectors.ReaderModules, "b/1"), shut(1, 0)), ""},
			{6, mod(shows(selectors.ReaderModules, "b/1"), open(2, 6)), ""}, {7, mod(pending(selectors.ReaderModules, "c/2"), open(2, 6)), ""},
			{7.01, mod(shows(selectors.ReaderModules, "c/2"), open(2, 6)), "c/2 by modules #2 61s r0"},
		}},
		{"so in an image, without modules", []moment{
			{0, dom(shows(selectors.ReaderImage, "a/1"), open(1, 0)), "a/1 by image #1 61s r0"}, {3, dom(shut(1, 0)), "disconnected"},
			{6, dom(shows(selectors.ReaderScreenshot, "b/1"), shut(1, 0)), ""}, {8, dom(shows(selectors.ReaderImage, "b/1"), open(2, 7)), ""},
			{9, dom(shows(selectors.ReaderImage, "c/2"), open(2, 7)), "c/2 by image #2 61s r0"},
		}},
		{"the connection was lost and came back between two observations", []moment{
			{0, domA, "a/1 by dom #1 61s r0"}, {1, dom(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), ""},
			{2, dom(shows(selectors.ReaderDOM, "b/1"), open(2, 1.5)), "disconnected"}, {3, dom(shows(selectors.ReaderDOM, "c/2"), open(2, 1.5)), "c/2 by dom #2 61s r0"},
		}},
		{"a code drawn before the first handshake is not believed yet", []moment{
			{0, dom(shows(selectors.ReaderDOM, "a/1"), begun), ""}, {1, dom(shows(selectors.ReaderDOM, "a/1"), open(1, 0.9)), ""}, {2, dom(shows(selectors.ReaderDOM, "b/2"), open(1, 0.9)), "b/2 by dom #1 61s r0"},
		}},
		{"unless the worker heard of the handshake a little late", []moment{
			{1, dom(shows(selectors.ReaderDOM, "a/1"), begun), ""}, {1.1, dom(shows(selectors.ReaderDOM, "a/1"), open(1, 1.1)), "a/1 by dom #1 61s r0"},
			{2, dom(shows(selectors.ReaderDOM, "a/1"), open(2, 1.2)), "disconnected"},
		}},
		{"no connection of the document: the page has lost its own", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, opening, "page_changed"}, {7, mod(shows(selectors.ReaderDOM, "b/1")), ""},
			{9, mod(shows(selectors.ReaderDOM, "c/2")), "c/2 by dom #2 61s r0"},
		}},
		{"the page has lost it, although it seems open", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), "a/1 by dom #1 61s r0"}, {1, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketOpening), open(1, 0)), "page_changed"},
			{2, mod(shows(selectors.ReaderDOM, "b/1"), open(1, 0)), ""},
		}},
		{"a new secret under the same connection", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), "a/1 by dom #1 61s r0"}, {1, mod(shows(selectors.ReaderDOM, "a/2"), open(1, 0)), "a/2 by dom #2 60s r0"},
		}},
		{"another document has another list", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), "a/1 by dom #1 61s r0"}, {1, mod(shows(selectors.ReaderDOM, "a/1"), shut(1, 0)), "disconnected"},
			{5, mod(shows(selectors.ReaderDOM, "b/1"), open(1, 4), func(o *Observation) { o.Document = 1 }), "b/1 by dom #2 61s r0"},
		}},
		{"an idle page is renewed, with a connection and without", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload), shut(1, 0)), "press"},
			{15, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload), shut(1, 0)), "reload"},
		}},
		{"a dead code that stays is cured by a reload", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), "a/1 by dom #1 61s r0"}, {1, mod(shows(selectors.ReaderDOM, "a/1"), shut(1, 0)), "disconnected"},
			{2, mod(shows(selectors.ReaderDOM, "a/1"), open(2, 2)), ""}, {46, mod(shows(selectors.ReaderDOM, "a/1"), open(2, 2)), "reload"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

// TestReferenceStandsInForTheSecret is about payloads of a form that has no secret.
func TestReferenceStandsInForTheSecret(t *testing.T) {
	play(t, []moment{
		{0, dom(shows(selectors.ReaderDOM, "a"), open(1, 0)), "a by dom #1 61s r0"}, {1, dom(shows(selectors.ReaderDOM, "a"), shut(1, 0)), "disconnected"},
		{2, dom(shows(selectors.ReaderDOM, "a"), open(2, 2)), ""}, {3, dom(shows(selectors.ReaderDOM, "b"), open(2, 2)), "b by dom #2 61s r0"},
	})
}

func TestStoppedClockIsCuredWithTheNetworkBack(t *testing.T) {
	stopped := mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second), open(1, 0))
	away := mod(shows(selectors.ReaderDOM, "a/1"), ttl("a", 20*time.Second), open(1, 0), offline)
	play(t, []moment{
		{0, stopped, "a/1 by dom #1 21s r0"}, {10, away, "offline"}, {19.2, stopped, ""}, {21.2, stopped, "reload"},
	})
	play(t, []moment{
		{0, stopped, "a/1 by dom #1 21s r0"}, {10, away, "offline"}, {100, away, ""}, {101, stopped, ""}, {103, stopped, "reload"},
		{104, observed(noModules, func(o *Observation) { o.Document, o.Drawn.Splash = 1, true }), ""},
	})
}

func TestReportExplainsWhyNoCodeIsServed(t *testing.T) {
	c := New(Timings{})
	for _, tc := range []struct {
		seen Observation
		want string
	}{
		{mod(shows(selectors.ReaderDOM, "a/1"), shut(1, 0)), "the page shows a code that is not served: its connection to the server is closed"},
		{mod(shows(selectors.ReaderDOM, "a/1"), open(2, 2)), "the page shows a code that is not served: it is from before its connection to the server was lost"},
		{mod(nothing(selectors.ReaderDOM), shut(1, 0)), "the page is connecting to its server"},
		{mod(shows(selectors.ReaderDOM, "a/1")), "the page shows a code that is not served: the page itself has lost its connection to the server since"},
	} {
		before := mod(shows(selectors.ReaderDOM, "a/1"), open(1, 0))
		if !tc.seen.Connection.Seen() {
			before = mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketOpening))
		}
		h, _ := c.Next(History{}, at(before, epoch), epoch)
		now := epoch.Add(3 * time.Second)
		h, _ = c.Next(h, at(tc.seen, now), now)
		r := h.Reported()
		if r.Detail != tc.want || r.Reason != reason.ScanQR || r.Condition != rpc.PageUnlinked {
			t.Errorf("got %+v, want %q", r, tc.want)
		}
	}
}

func TestCodeEndsWithItsConnectionUnobserved(t *testing.T) {
	offered := play(t, []moment{{0, dom(shows(selectors.ReaderDOM, "a/1"), open(1, 0)), "a/1 by dom #1 61s r0"}})
	state := func(change func(*Observation)) Connection {
		o := dom(change)
		return o.Connection
	}
	for _, tc := range []struct {
		name     string
		document int
		now      Connection
		want     string
	}{
		{"unchanged", 0, state(open(1, 0)), ""},
		{"closed", 0, state(shut(1, 0)), "disconnected"},
		{"closed and open again", 0, state(open(2, 1)), "disconnected"},
		{"another document", 1, Connection{}, "navigated"},
	} {
		got := ""
		h, events := offered.Outdated(tc.document, tc.now)
		for _, e := range events {
			got += e.(rpc.QRGone).Cause
		}
		if got != tc.want || h.Offers() != (tc.want == "") {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		if _, again := h.Outdated(tc.document, tc.now); len(again) != 0 {
			t.Errorf("%s: reported twice", tc.name)
		}
	}
}
