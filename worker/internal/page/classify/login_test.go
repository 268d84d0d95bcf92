package classify

import (
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// claims is a linked page that looks ready, but is not logged in.
func claims(change ...func(*Observation)) Observation {
	return observed(append([]func(*Observation){
		registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, stream(selectors.StreamLoggedOut),
	}, change...)...)
}

// sockets is the latest of so many connections; two addresses are tried for each.
func sockets(n int, open bool) func(*Observation) {
	return func(o *Observation) {
		o.Connection.Attempts, o.Connection.Openings, o.Connection.Open = 2*n, n, open
	}
}

func document(n int) func(*Observation) { return func(o *Observation) { o.Document = n } }

// reloaded is a page that replaced its document at these seconds.
func reloaded(seconds ...float64) func(*Observation) {
	return func(o *Observation) {
		o.Document = len(seconds)
		for _, s := range seconds {
			o.Reloads = o.Reloads.With(epoch.Add(time.Duration(s * float64(time.Second))))
		}
	}
}

// reports are what was reported, in words, of one moment after the other; each is also
// observed until the next, when that is asked for.
func reports(c Classifier, h History, moments []moment) (all []string, end History) {
	note := func(v Decision) {
		for _, e := range v.Events {
			if o, ok := e.(rpc.PageObserved); ok {
				word := strings.TrimSuffix(string(o.Condition)+" "+string(o.Reason), " ")
				if len(all) == 0 || all[len(all)-1] != word {
					all = append(all, word)
				}
			}
		}
	}
	for i, m := range moments {
		until := m.at
		if i+1 < len(moments) {
			until = moments[i+1].at
		}
		for seconds := m.at; ; {
			now := epoch.Add(time.Duration(seconds * float64(time.Second)))
			var v Decision
			h, v = c.Next(h, at(m.seen, now), now)
			note(v)
			next := now.Add(2 * time.Second)
			if !v.Wake.IsZero() && v.Wake.After(now) && v.Wake.Before(next) {
				next = v.Wake
			}
			if seconds = next.Sub(epoch).Seconds(); seconds >= until {
				break
			}
		}
	}
	return all, h
}

func TestOnlyAnAcceptedLoginIsReady(t *testing.T) {
	const loggedIn = selectors.StreamLoggedIn
	noStream := stream("")
	for _, tc := range []struct {
		name string
		seen Observation
		want string
	}{
		{"accepted", claims(stream(loggedIn)), "ready"},
		{"accepted, and fetching chats", claims(stream(loggedIn), notSynced), "syncing syncing"},
		{"not accepted, though it looks ready", claims(), "loading reconnecting"},
		{"not accepted, though it looks like fetching chats", claims(notSynced), "loading reconnecting"},
		{"not accepted, with an open connection", claims(sockets(1, true)), "loading reconnecting"},
		{"accepted, though it is opening", claims(socket(selectors.SocketOpening), stream(loggedIn)), "loading reconnecting"},
		{"without the stream: the chats", claims(noStream), "ready"},
		{"without the stream: no chats", observed(registered, socket(selectors.SocketConnected), noStream, synced), "loading reconnecting"},
		{"without the stream: chats that are not there yet", claims(noStream, notSynced), "syncing syncing"},
		{"without the stream: chats, with an open connection", claims(noStream, sockets(1, true)), "ready"},
		{"without the stream: chats, with a closed connection", claims(noStream, sockets(1, false)), "loading reconnecting"},
		{"without modules: chats", claims(noModules), "ready"},
		{"without modules: chats, with a closed connection", claims(noModules, sockets(1, false)), "loading reconnecting"},
		{"in a service worker's connection", claims(stream(loggedIn), sockets(1, false)), "ready"},
		{"no login in storage", claims(stream(loggedIn), func(o *Observation) { o.Storage.Registered = no }), "loading reconnecting"},
		{"a stream that lies about a page that asks for a phone", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), stream(loggedIn), shows(selectors.ReaderDOM, "a/1")), "unlinked scan_qr"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := reports(New(Timings{}), History{}, []moment{{0, tc.seen, ""}, {1, tc.seen, ""}})
			if last := got[len(got)-1]; last != tc.want || tc.want != "ready" && len(got) > 2 {
				t.Errorf("reported %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLostLoginIsExplained(t *testing.T) {
	ready := claims(stream(selectors.StreamLoggedIn), sockets(1, true))
	opening := func(handshakes int) Observation {
		return claims(socket(selectors.SocketOpening), sockets(handshakes, false))
	}
	refused := func(handshakes int, open bool) Observation { return claims(sockets(handshakes, open)) }
	unseen := claims(stream(selectors.StreamLoggedIn))
	for _, tc := range []struct {
		name    string
		moments []moment
		want    string
	}{
		{"replaced", []moment{{0, ready, ""}, {10, claims(sockets(1, false)), ""}, {20, claims(sockets(1, false)), ""}},
			"loading reconnecting, ready, disconnected reconnecting, disconnected conflict"},
		{"replaced, and it looks the same for hours", []moment{{0, ready, ""}, {10, claims(sockets(1, false)), ""}, {12.4, claims(sockets(1, false)), ""}},
			"loading reconnecting, ready, disconnected reconnecting"},
		{"replaced before it was seen to be logged in", []moment{{0, claims(sockets(1, true)), ""}, {1, claims(sockets(1, false)), ""}, {7, claims(sockets(1, false)), ""}},
			"loading reconnecting, disconnected conflict"},
		{"replaced, and its connection is not closed", []moment{{0, ready, ""}, {10, claims(sockets(1, true)), ""}, {15, claims(sockets(1, true)), ""}},
			"loading reconnecting, ready, disconnected reconnecting, disconnected conflict"},
		{"a server that takes its time", []moment{{0, ready, ""}, {10, claims(sockets(2, true)), ""}, {40, claims(sockets(2, true)), ""}},
			"loading reconnecting, ready, disconnected reconnecting"},
		{"replaced, in a service worker", []moment{{0, unseen, ""}, {10, claims(), ""}, {15, claims(), ""}},
			"loading reconnecting, ready, disconnected reconnecting, disconnected conflict"},
		{"replaced, without modules", []moment{{0, claims(noModules, sockets(1, true)), ""}, {10, claims(noModules, sockets(1, false)), ""}, {31, claims(noModules, sockets(1, false)), ""}},
			"loading reconnecting, ready, disconnected reconnecting, disconnected conflict"},
		{"a connection that is made again", []moment{{0, ready, ""}, {10, claims(sockets(1, false)), ""}, {11, opening(1), ""}, {15, refused(2, true), ""}, {15.1, claims(stream(selectors.StreamLoggedIn), sockets(2, true)), ""}, {16, ready, ""}},
			"loading reconnecting, ready, disconnected reconnecting, ready"},
		{"refused again and again", []moment{
			{0, ready, ""}, {10, opening(1), ""}, {11, refused(2, true), ""}, {12, refused(2, false), ""}, {13, refused(3, true), ""}, {14, refused(3, false), ""},
			{15, opening(3), ""}, {16, refused(4, true), ""}, {17, refused(4, false), ""}, {27, refused(5, true), ""}, {28, opening(5), ""}, {60, refused(5, false), ""},
		}, "loading reconnecting, ready, disconnected reconnecting, disconnected login_refused"},
		{"refused, and accepted at last", []moment{
			{0, ready, ""}, {10, opening(1), ""}, {12, refused(4, false), ""}, {13, claims(stream(selectors.StreamLoggedIn), sockets(5, true)), ""}, {14, claims(stream(selectors.StreamLoggedIn), sockets(5, true)), ""},
		}, "loading reconnecting, ready, disconnected reconnecting, disconnected login_refused, ready"},
		{"refused, in a service worker", []moment{
			{0, unseen, ""}, {10, claims(socket(selectors.SocketOpening)), ""}, {11, claims(), ""}, {12, claims(socket(selectors.SocketOpening)), ""}, {13, claims(), ""},
			{14, claims(socket(selectors.SocketOpening)), ""}, {15, claims(), ""}, {16, claims(socket(selectors.SocketOpening)), ""}, {17, claims(), ""},
		}, "loading reconnecting, ready, disconnected reconnecting, disconnected login_refused"},
		{"refused, over our reload", []moment{
			{0, claims(sockets(4, false)), ""}, {1, claims(document(1), sockets(1, true)), ""}, {2, claims(document(1), sockets(1, false)), ""},
		}, "disconnected login_refused"},
		{"refused, but not over a reload of its own", []moment{
			{0, claims(sockets(4, false)), ""}, {1, claims(reloaded(1), sockets(1, true)), ""}, {2, claims(reloaded(1), sockets(1, false)), ""},
		}, "disconnected login_refused, loading reconnecting"},
		{"refused, without a network", []moment{{0, claims(sockets(4, false), offline), ""}, {1, claims(sockets(4, false), offline), ""}}, "disconnected network_unreachable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all, _ := reports(New(Timings{}), History{}, tc.moments)
			if got := strings.Join(all, ", "); got != tc.want {
				t.Errorf("reported %q, want %q", got, tc.want)
			}
		})
	}
}

// TestReplacedSessionIsTakenBackByReloading also checks the limit of an hour.
func TestReplacedSessionIsTakenBackByReloading(t *testing.T) {
	in := func(doc int) Observation {
		return claims(stream(selectors.StreamLoggedIn), sockets(1, true), document(doc))
	}
	replaced := func(doc int) Observation { return claims(sockets(1, false), document(doc)) }
	play(t, []moment{
		{0, in(0), ""}, {10, replaced(0), ""}, {72.5, replaced(0), "reload"}, {73, in(1), ""},
		{80, replaced(1), ""}, {142.5, replaced(1), "reload"}, {143, in(2), ""},
		{150, replaced(2), ""}, {212.5, replaced(2), "reload"}, {213, in(3), ""},
		{220, replaced(3), ""}, {3672, replaced(3), ""}, {3672.5, replaced(3), "reload"},
	})
}

func TestErraticPageIsNotReady(t *testing.T) {
	in, out := claims(stream(selectors.StreamLoggedIn)), claims()
	c, h := New(Timings{}), History{}
	reported, ready := 0, 0
	watch := func(o Observation, now time.Time) {
		var v Decision
		h, v = c.Next(h, at(o, now), now)
		for _, e := range v.Events {
			reported++
			if e, ok := e.(rpc.PageObserved); ok && e.Condition == rpc.PageReady {
				ready++
			}
		}
	}
	now := epoch
	for i := range 6000 { // a minute of a hundred changes a second
		now = epoch.Add(time.Duration(i) * 10 * time.Millisecond)
		watch([]Observation{in, out}[i%2], now)
	}
	if ready > 0 || reported > 30 {
		t.Errorf("%d reports, %d of ready", reported, ready)
	}
	// Ten seconds of the truth are enough.
	for range 100 {
		now = now.Add(110 * time.Millisecond)
		watch(in, now)
	}
	if ready == 0 {
		t.Error("it is never believed again")
	}
}

// On a busy machine the page may be observed again and again before anything in it can change.
func TestRepeatedObservationsProveNoLogin(t *testing.T) {
	c, in := New(Timings{}), observed(registered, socket(selectors.SocketConnected), on(selectors.ScreenMain))
	repeated := in
	repeated.Repeated = true
	now := epoch.Add(time.Minute)
	h := steadily(c, History{}, repeated, now)
	if h, _ = c.Next(h, at(repeated, now), now); h.reported.Condition == rpc.PageReady {
		t.Error("one observation is enough")
	}
	now = now.Add(steadyFor)
	h = steadily(c, h, in, now)
	if h, _ = c.Next(h, at(in, now), now); h.reported.Condition != rpc.PageReady {
		t.Errorf("got %s (%s)", h.reported.Condition, h.reported.Reason)
	}
}

func TestChangesAtSpeedAreReportedSlowly(t *testing.T) {
	c, h := New(Timings{}), History{}
	states := []Observation{
		observed(registered, socket(selectors.SocketConflict)), observed(registered, socket(selectors.SocketLocked)),
		observed(registered, socket(selectors.SocketTerms)), observed(registered, socket(selectors.SocketOpening), offline),
	}
	reported := 0
	var v Decision
	for i := range 6000 {
		now := epoch.Add(time.Duration(i) * 10 * time.Millisecond)
		o := states[i%len(states)]
		o.Drawn.Progress = i % 100
		h, v = c.Next(h, at(o, now), now)
		reported += len(v.Events)
	}
	if reported > 75 {
		t.Errorf("%d reports in a minute", reported)
	}
	// What it is in the end is reported within a second.
	end := epoch.Add(time.Hour)
	h, _ = c.Next(h, at(states[0], end), end)
	h, _ = c.Next(h, at(states[1], end), end)
	if h.reported.Reason != reason.ScreenLocked {
		t.Errorf("reported %+v", h.reported)
	}
}

func TestRestlessPageIsReportedAsReloading(t *testing.T) {
	boot := func(seconds ...float64) Observation {
		return observed(registered, reloaded(seconds...), func(o *Observation) { o.Drawn.Splash = true }, noModules)
	}
	in := func(seconds ...float64) Observation {
		return claims(stream(selectors.StreamLoggedIn), reloaded(seconds...))
	}
	asks := func(seconds ...float64) Observation {
		return observed(on(selectors.ScreenQR), socket(selectors.SocketOpening), reloaded(seconds...))
	}
	shown := func(seconds ...float64) Observation {
		return observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), reloaded(seconds...))
	}
	for _, tc := range []struct {
		name    string
		moments []moment
		want    string
	}{
		{"refused as too old, linked", []moment{{0, boot(), ""}, {2.5, boot(2.5), ""}, {5, boot(2.5, 5), ""}, {7.5, boot(2.5, 5, 7.5), ""}, {10, boot(5, 7.5, 10), ""}},
			"loading page_loading, disconnected page_reloading"},
		{"refused as too old, unlinked", []moment{{0, asks(), ""}, {10, asks(10), ""}, {20, asks(10, 20), ""}, {30, asks(10, 20, 30), ""}, {40, asks(20, 30, 40), ""}, {59, asks(20, 30, 40), ""}},
			"unlinked scan_qr, unlinked page_reloading"},
		{"with a code in between", []moment{{0, shown(), ""}, {3, shown(3), ""}, {6, shown(3, 6), ""}, {9, shown(3, 6, 9), ""}, {11, asks(3, 6, 9), ""}, {12, shown(6, 9, 12), ""}},
			"unlinked scan_qr, unlinked page_reloading"},
		{"ready in between", []moment{{0, in(), ""}, {3, in(3), ""}, {6, in(3, 6), ""}, {9, in(3, 6, 9), ""}, {10, in(3, 6, 9), ""}, {12, in(6, 9, 12), ""}},
			"loading reconnecting, ready, loading reconnecting, ready, loading reconnecting, ready, disconnected page_reloading"},
		{"and at rest again", []moment{{0, boot(), ""}, {2.5, boot(2.5), ""}, {5, boot(2.5, 5), ""}, {7.5, boot(2.5, 5, 7.5), ""}, {8, in(2.5, 5, 7.5), ""}, {15, in(2.5, 5, 7.5), ""}},
			"loading page_loading, disconnected page_reloading, ready"},
		{"seldom", []moment{{0, in(), ""}, {31, in(31), ""}, {62, in(31, 62), ""}, {93, in(31, 62, 93), ""}, {95, in(31, 62, 93), ""}},
			"loading reconnecting, ready, loading reconnecting, ready, loading reconnecting, ready, loading reconnecting, ready"},
		{"but banned", []moment{{0, observed(registered, byText(selectors.ScreenBanned), reloaded(-3, -2, -1)), ""}, {1, observed(registered, byText(selectors.ScreenBanned), reloaded(-3, -2, -1)), ""}}, "blocked banned"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all, _ := reports(New(Timings{}), History{}, tc.moments)
			if got := strings.Join(all, ", "); got != tc.want {
				t.Errorf("reported %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRestlessPageIsLoadedPastTheCacheSeldom(t *testing.T) {
	c, h := New(Timings{}), History{}
	var loads []int
	var r Reloads
	for i := range 4 * 3600 { // an hour of four documents a second, none of which can be observed
		now := epoch.Add(time.Duration(i) * time.Second / 4)
		r = r.With(now)
		var v Decision
		h, v, _ = c.Restless(h, r, now)
		if v.Action == ReloadFresh {
			loads = append(loads, i/4)
		} else if v.Action != Stay {
			t.Fatalf("action %d", v.Action)
		}
	}
	if h.reported.Condition != rpc.PageBlocked || h.reported.Reason != reason.PageReloading {
		t.Errorf("reported %+v", h.reported)
	}
	if len(loads) < 5 || len(loads) > 12 || loads[0] < 10 {
		t.Errorf("loaded after %v s", loads)
	}
}
