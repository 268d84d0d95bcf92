package classify

import (
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// observationFrom makes an observation of three bytes.
func observationFrom(a, b, c byte, now time.Time) Observation {
	sockets := []selectors.Socket{
		"", selectors.SocketOpening, selectors.SocketPairing, selectors.SocketUnpaired, selectors.SocketIdle,
		selectors.SocketConnected, selectors.SocketConflict, selectors.SocketLocked,
	}
	screens := []selectors.ScreenName{
		selectors.ScreenQR, selectors.ScreenMain, selectors.ScreenPhoneCode, selectors.ScreenPhoneEntry,
		selectors.ScreenConflict, selectors.ScreenOtherTab, selectors.ScreenSyncing, selectors.ScreenPasskey,
	}
	o := Observation{
		Document: int(a & 1), Online: a&2 == 0, Busy: a&16 != 0,
		Drawn:   Drawn{Mount: a&4 == 0, Opacity: 1, Progress: int(c) - 1},
		Storage: Storage{Remains: a&8 != 0},
	}
	o.Modules.Socket = sockets[b&7]
	o.Modules.Stream = []selectors.Stream{"", selectors.StreamLoggedIn, selectors.StreamLoggedOut, ""}[c>>2&3]
	o.Connection.Attempts, o.Connection.Openings, o.Connection.Open = int(c>>4), int(c>>5), c&2 != 0
	if c&8 != 0 {
		o.Reloads = Reloads{now.Add(-time.Duration(c) * time.Second), now.Add(-time.Second), now}
	}
	o.Drawn.Screens = []Sign{{Name: screens[b>>3&7], Text: b&64 != 0}}
	switch a >> 5 & 3 {
	case 1:
		o.Storage.Registered = yes
	case 2:
		o.Storage.Registered = no
	}
	names := []string{"a/1", "a/2", "b/1", "c/1"}
	if b&128 != 0 {
		shows(selectors.ReaderDOM, names[c&3])(&o)
	}
	if a&128 != 0 {
		shows(selectors.ReaderModules, names[c>>2&3])(&o)
	}
	unsee(&o, c%5)
	if c&16 != 0 {
		o.Modules.RefTTL, o.Modules.Ref = 20*time.Second, "a"
	}
	if c&32 != 0 {
		o.PairingUntil = epoch.Add(time.Minute)
	}
	if c&64 != 0 {
		o.Drawn.Buttons = []string{ButtonReload}
	}
	if n := int(c >> 4 & 3); a&8 != 0 {
		o.Connection = Connection{Attempts: n + 1, Openings: n, Open: n > 0 && b&64 == 0, OpenedAt: now.Add(-time.Duration(b) * time.Second)}
	}
	if c&128 != 0 {
		o.Connection.Quiet = 2 * time.Minute
	}
	return at(o, now)
}

// unsee makes the payloads of an observation such that are looked at (1), or that
// nobody could scan (2).
func unsee(o *Observation, how byte) {
	for i := range o.Readings {
		switch how {
		case 1:
			o.Readings[i].Seen = false
		case 2:
			o.Readings[i] = o.Readings[i].Unseen("it is too small")
		}
	}
}

// FuzzNext plays any observations in any order. A code is only reported with a
// life and while its connection is not closed, its end only after a code, and a session is taken over no more often than
// an hour allows.
func FuzzNext(f *testing.F) {
	f.Add([]byte{0, 0x83, 0, 2, 0, 0x83, 1, 30})
	f.Add([]byte{0x40, 0x06, 0, 60, 0x40, 0x06, 0, 60, 0x40, 0x06, 0, 60, 0x40, 0x06, 0, 60})
	f.Add([]byte{0x40, 0x13, 0x20, 90, 0x40, 0x13, 0x20, 90})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, h, now := New(Timings{}), History{}, epoch
		shown, presses := false, 0
		for ; len(data) >= 4; data = data[4:] {
			now = now.Add(time.Duration(data[3]) * time.Second)
			var v Decision
			seen := observationFrom(data[0], data[1], data[2], now)
			h, v = c.Next(h, seen, now)
			for _, e := range v.Events {
				shown = checkEvent(t, e, shown)
			}
			if shown && seen.Connection.closed() {
				t.Fatal("a code is reported whose connection is closed")
			}
			if shown != (v.Cause == "") {
				t.Fatalf("a code is reported: %v, but the cause is %q", shown, v.Cause)
			}
			if v.Action == UseHere && v.Why == "conflict" && now.Sub(epoch) < time.Hour {
				if presses++; presses > len(takeovers{})+1 {
					t.Fatalf("taken over %d times", presses)
				}
			}
		}
	})
}

// checkEvent checks an event, and returns whether a code is offered after it.
func checkEvent(t *testing.T, e rpc.EventBody, shown bool) bool {
	t.Helper()
	switch e := e.(type) {
	case rpc.QRShown:
		if e.TTL <= 0 || e.Payload == "" {
			t.Fatalf("reported %+v", e)
		}
		return true
	case rpc.QRGone:
		if !shown || e.Cause == "" {
			t.Fatalf("reported %+v without a code", e)
		}
		return false
	case rpc.PageObserved:
		if e.Condition == "" || e.Condition == rpc.PageReady && shown {
			t.Fatalf("reported %+v", e)
		}
	}
	return shown
}
