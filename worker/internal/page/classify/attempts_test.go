package classify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

func TestPageReturnsToQRWhenPairingCodeEnds(t *testing.T) {
	screen := func(change ...func(*Observation)) Observation {
		return observed(append([]func(*Observation){on(selectors.ScreenPhoneCode), socket(selectors.SocketUnpaired)}, change...)...)
	}
	opening := screen(codeUntil(180))
	opening.Modules.Socket = selectors.SocketOpening
	busy := screen(codeUntil(10))
	busy.Busy = true
	form := observed(on(selectors.ScreenPhoneEntry), socket(selectors.SocketUnpaired))
	for _, tc := range []struct {
		name  string
		steps []moment
	}{
		{"when its life has ended", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {10, screen(codeUntil(100)), "page_changed"}, {105, screen(codeUntil(100)), "return"}, {106, mod(shows(selectors.ReaderDOM, "b/1")), "b/1 by dom #2 61s r0"},
		}},
		{"and is loaded when that brings nothing", []moment{
			{0, screen(codeUntil(0)), ""}, {5, screen(codeUntil(0)), "return"}, {19, screen(codeUntil(0)), ""}, {20, screen(codeUntil(0)), "reload"},
		}},
		{"when its connection was lost", []moment{
			{0, screen(codeUntil(180)), ""}, {10, opening, ""}, {12, screen(codeUntil(180)), "return"},
		}},
		{"but not a code that was given after a vain attempt", []moment{
			{0, screen(codeUntil(0)), ""}, {5, screen(codeUntil(0)), "return"}, {10, screen(codeUntil(190)), ""}, {195, screen(codeUntil(190)), "reload"},
		}},
		{"when the request was refused", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {10, mod(shows(selectors.ReaderDOM, "a/1"), asked, atWork), "page_changed"},
			{30, mod(shows(selectors.ReaderDOM, "a/1"), asked), "return"}, {45, mod(shows(selectors.ReaderDOM, "a/1"), asked), "reload"},
			{46, mod(shows(selectors.ReaderDOM, "b/1")), "b/1 by dom #2 61s r0"},
		}},
		{"not while a command is at work", []moment{{0, busy, ""}, {100, busy, ""}, {101, screen(codeUntil(10)), "return"}}},
		{"and not because new codes were asked for before", []moment{
			{0, mod(shows(selectors.ReaderDOM, "a/1")), "a/1 by dom #1 61s r0"}, {5, mod(shows(selectors.ReaderDOM, "a/1"), socket(selectors.SocketIdle), buttons(ButtonReload)), "idle, press"},
			{6, screen(codeUntil(180)), ""}, {185, screen(codeUntil(180)), "return"},
		}},
		{"also one that nobody asked us for", []moment{{0, screen(), ""}, {200, screen(), "return"}}},
		{"and so is a form that was left open", []moment{{0, form, ""}, {45, form, "return"}, {60, form, "reload"}}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}

func TestConflictIsTakenOverThreeTimesAnHour(t *testing.T) {
	conflict := observed(registered, socket(selectors.SocketConflict))
	ready := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	play(t, []moment{
		{0, ready, ""}, {10, conflict, ""}, {70, conflict, "use here"}, {72, ready, ""}, {100, conflict, ""},
		{160, conflict, "use here"}, {220, conflict, "use here"}, {1000, conflict, ""}, {3600, conflict, ""}, {3670, conflict, "use here"},
	})
}

func TestConflictDetailExplainsTakeovers(t *testing.T) {
	c, h := New(Timings{TakeOver: 2 * time.Second}), History{}
	var reports []string
	var due []time.Duration
	for i := range 12 {
		now := epoch.Add(time.Duration(i) * time.Second)
		var v Decision
		h, v = c.Next(h, observed(registered, socket(selectors.SocketConflict)), now)
		for _, e := range v.Events {
			if o, ok := e.(rpc.PageObserved); ok && o.Reason == reason.Conflict {
				reports, due = append(reports, o.Detail), append(due, o.RetryAt.Sub(epoch))
			}
		}
	}
	want := []string{
		"the session is taken over after 2s", "the session was taken over 1 of at most 3 times within the hour",
		"the session was taken over 2 of at most 3 times within the hour", "the session was taken over 3 times within the hour, and is now left alone",
	}
	if strings.Join(reports, "\n") != strings.Join(want, "\n") {
		t.Fatalf("reported %q", reports)
	}
	if want := []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second, time.Time{}.Sub(epoch)}; !slices.Equal(due, want) {
		t.Errorf("to be taken over after %v", due)
	}
}

func TestOtherTabIsTakenOverThenReloaded(t *testing.T) {
	tab := observed(byText(selectors.ScreenOtherTab))
	play(t, []moment{{0, tab, ""}, {3, tab, "use here"}, {9, tab, "reload"}, {21, tab, "reload"}})
}

func TestSilentConnectionIsReloadedEverMoreSlowly(t *testing.T) {
	ready := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	silent := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, quiet(76*time.Second))
	play(t, []moment{
		{0, ready, ""}, {100, silent, ""}, {105, silent, "reload"}, {110, ready, ""},
		{200, silent, ""}, {206, silent, ""}, {210, silent, "reload"}, {215, ready, ""},
		{3000, silent, ""}, {3005, silent, "reload"},
	})
}

func TestOnlyAStuckSyncIsReloaded(t *testing.T) {
	at := func(percent int) Observation {
		return observed(registered, socket(selectors.SocketConnected), notSynced, func(o *Observation) { o.Drawn.Progress = percent })
	}
	play(t, []moment{
		{0, at(1), ""}, {180, at(2), ""}, {360, at(3), ""}, {549, at(3), ""}, {550, at(3), "reload"}, {920, at(3), ""}, {930, at(3), "reload"},
		{940, at(4), ""},
	})
}

func TestRemainsOfALoginAreReportedAsLogout(t *testing.T) {
	c := New(Timings{})
	qr := observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), func(o *Observation) { o.Storage.Remains = true })
	h, v := c.Next(History{}, qr, epoch)
	first, ok := v.Events[0].(rpc.PageObserved)
	if !ok || first.Condition != rpc.PageLoggedOut || first.Detail == "" {
		t.Fatalf("reported %+v", v.Events)
	}
	_, v = c.Next(h, qr, epoch.Add(20*time.Second))
	for _, e := range v.Events {
		if o, ok := e.(rpc.PageObserved); ok && o.Condition == rpc.PageLoggedOut {
			t.Fatalf("reported twice: %+v", o)
		}
	}
}
