package classify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

var epoch = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// yes and no are what a *bool points to.
var yes, no = new(true), new(false)

// observed returns a document that is loaded, online and unlinked, changed by each
// of change.
func observed(change ...func(*Observation)) Observation {
	o := Observation{
		Navigation: Navigation{Status: 200},
		Drawn:      Drawn{Mount: true, Progress: -1, Opacity: 1},
		Modules:    Modules{Loader: true, Version: "2.3000.1"},
		Storage:    Storage{Registered: no},
		Online:     true,
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func on(names ...selectors.ScreenName) func(*Observation) {
	return func(o *Observation) {
		for _, n := range names {
			o.Drawn.Screens = append(o.Drawn.Screens, Sign{Name: n})
		}
	}
}

func byText(names ...selectors.ScreenName) func(*Observation) {
	return func(o *Observation) {
		for _, n := range names {
			o.Drawn.Screens = append(o.Drawn.Screens, Sign{Name: n, Text: true})
		}
	}
}

func socket(s selectors.Socket) func(*Observation) {
	return func(o *Observation) {
		o.Modules.Socket, o.Modules.Stream = s, selectors.StreamLoggedOut
		if s == selectors.SocketConnected {
			o.Modules.Stream = selectors.StreamLoggedIn
		}
	}
}

func stream(s selectors.Stream) func(*Observation) {
	return func(o *Observation) { o.Modules.Stream = s }
}

func registered(o *Observation) { o.Storage.Registered = yes }

func synced(o *Observation) { o.Modules.HasSynced = yes }

func notSynced(o *Observation) { o.Modules.HasSynced = no }

func offline(o *Observation) { o.Online = false }

// noModules is a page whose modules are not to be had.
func noModules(o *Observation) {
	o.Modules = Modules{}
}

// shows makes a reader find the code of that name, whose reference is the part
// before the slash, and whose secret the one after it.
func shows(r selectors.Reader, name string) func(*Observation) {
	return func(o *Observation) {
		o.Readings = append(o.Readings, Reading{Reader: r, Found: true, Seen: true, Code: code(name)})
	}
}

// pending shows a payload whose picture is still being looked at.
func pending(r selectors.Reader, name string) func(*Observation) {
	return func(o *Observation) {
		o.Readings = append(o.Readings, Reading{Reader: r, Found: true, Code: code(name)})
	}
}

// unseen shows a payload whose picture nobody could scan.
func unseen(name string) func(*Observation) {
	return func(o *Observation) {
		o.Readings = append(o.Readings, Reading{Reader: selectors.ReaderDOM, Code: code(name)}.Unseen("it is not rendered"))
	}
}

func code(name string) qrpayload.Code {
	ref, secret, _ := strings.Cut(name, "/")
	return qrpayload.Code{Whole: rpc.QRPayload(name), Ref: qrpayload.Ref(ref), Secret: rpc.Secret(secret)}
}

func nothing(r selectors.Reader) func(*Observation) {
	return func(o *Observation) { o.Readings = append(o.Readings, Reading{Reader: r}) }
}

func malformed(o *Observation) {
	o.Readings = append(o.Readings, Reading{Reader: selectors.ReaderDOM, Err: fmt.Errorf("%w: it is too long", qrpayload.ErrMalformed)})
}

func ttl(ref string, d time.Duration) func(*Observation) {
	return func(o *Observation) { o.Modules.Ref, o.Modules.RefTTL = qrpayload.Ref(ref), d }
}

// codeUntil is an observation after a pairing code was asked for, which lives as long.
func codeUntil(seconds float64) func(*Observation) {
	return func(o *Observation) { o.PairingUntil = epoch.Add(time.Duration(seconds * float64(time.Second))) }
}

// asked is an observation after a pairing code was asked for, without one.
func asked(o *Observation) { o.PairingAsked = true }

// atWork is an observation while a command is being carried out.
func atWork(o *Observation) { o.Busy = true }

func quiet(d time.Duration) func(*Observation) {
	return func(o *Observation) { o.Connection.Quiet = d }
}

func method(m selectors.Method) func(*Observation) {
	return func(o *Observation) { o.Modules.Method = m }
}

// elsewhere is a document of another origin.
func elsewhere() Observation {
	return Observation{
		Document: 1, Navigation: Navigation{Elsewhere: "https://other.example"}, Drawn: Drawn{Progress: -1, Opacity: 1}, Online: true,
	}
}

func TestOtherOriginIsNamed(t *testing.T) {
	c := New(Timings{})
	for _, tc := range []struct {
		name       string
		before     Observation
		condition  rpc.Condition
		registered bool
	}{
		{"unlinked", mod(), rpc.PageBlocked, false},
		{"linked", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced), rpc.PageDisconnected, true},
	} {
		h, _ := c.Next(History{}, tc.before, epoch)
		h, _ = c.Next(h, elsewhere(), epoch.Add(time.Second))
		got := h.Reported()
		if got.Condition != tc.condition || got.Reason != reason.WrongOrigin || got.Registered != tc.registered || got.Detail != "the page went to https://other.example" {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

func TestEachScreenHasItsCondition(t *testing.T) {
	for _, tc := range []struct {
		name      string
		seen      Observation
		after     time.Duration // for how long the page has been so
		condition rpc.Condition
		reason    reason.Code
	}{
		{"splash", observed(func(o *Observation) { o.Drawn.Splash, o.Drawn.Mount = true, false }), 0, rpc.PageLoading, reason.PageLoading},
		{"splash that hangs", observed(func(o *Observation) { o.Drawn.Splash, o.Drawn.Mount = true, false }), time.Minute, rpc.PageLoading, reason.PageLoadFailed},
		{"blank", observed(func(o *Observation) { o.Drawn.Mount = false }), 0, rpc.PageLoading, reason.PageLoading},
		{"an unknown page", observed(func(o *Observation) { o.Drawn.Mount = false }), time.Minute, rpc.PageBlocked, reason.PageUnrecognised},
		{"network error", observed(func(o *Observation) { o.Navigation.ErrorPage, o.Storage.Registered = true, nil }), 0, rpc.PageLoading, reason.NetworkUnreachable},
		{"server error", observed(func(o *Observation) { o.Navigation.Status, o.Drawn.Mount = 502, false }), 0, rpc.PageLoading, reason.HTTPError},
		{"unsupported browser", observed(byText(selectors.ScreenUnsupported), func(o *Observation) { o.Drawn.Mount, o.Modules.Loader = false, false }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},
		{"missing capability", observed(func(o *Observation) { o.Navigation.UnsupportedURL = true }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},

		{"code on the screen", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code, without modules", observed(on(selectors.ScreenQR), shows(selectors.ReaderDOM, "a/1"), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner", observed(on(selectors.ScreenQR), socket(selectors.SocketOpening)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner for ever", observed(on(selectors.ScreenQR), socket(selectors.SocketOpening)), 15 * time.Second, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"no code where one is due", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired)), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"hidden code", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), unseen("a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"hidden code for long", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), unseen("a/1")), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"hidden code, and the page wants a passkey", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), unseen("a/1"), func(o *Observation) { o.Modules.Method = selectors.MethodPasskey }), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"hidden code behind a screen", observed(on(selectors.ScreenQR), byText(selectors.ScreenTerms), socket(selectors.SocketUnpaired), unseen("a/1")), 0, rpc.PageBlocked, reason.TermsRequired},
		{"text that no phone accepts", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), malformed), 0, rpc.PageUnlinked, reason.QRUnreadable},
		{"no code, without modules", observed(byText(selectors.ScreenQR), noModules), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"used up codes", observed(on(selectors.ScreenQR), socket(selectors.SocketIdle), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code while offline", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), offline), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline overlay, without modules", observed(on(selectors.ScreenQR), shows(selectors.ReaderDOM, "a/1"), noModules, func(o *Observation) { o.Drawn.Buttons = []string{ButtonOffline} }), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline before login", observed(byText(selectors.ScreenOffline), noModules), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"phone number entry", observed(on(selectors.ScreenPhoneEntry), socket(selectors.SocketUnpaired)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"phone number entry, without modules", observed(byText(selectors.ScreenPhoneEntry), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"link code", observed(on(selectors.ScreenPhoneCode), socket(selectors.SocketUnpaired)), time.Minute, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that only we know of", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), codeUntil(180)), 0, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that was asked for, or refused", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), asked), time.Minute, rpc.PageUnlinked, reason.PairingRequested},
		{"link code that was asked for, and that has come", observed(on(selectors.ScreenPhoneCode), socket(selectors.SocketUnpaired), asked, codeUntil(180)), time.Minute, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that was used", observed(registered, on(selectors.ScreenPhoneCode), socket(selectors.SocketOpening), codeUntil(180)), 0, rpc.PageLoading, reason.Reconnecting},
		{"auto-logout frame", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), func(o *Observation) { o.Drawn.AutoLogoutFrame = true }), 0, rpc.PageUnlinked, reason.QRUnreadable},
		{"database failed", observed(on(selectors.ScreenQR), byText(selectors.ScreenStorageFailed)), 0, rpc.PageUnlinked, reason.StorageFailed},
		{"database failed earlier", observed(on(selectors.ScreenQR), byText(selectors.ScreenStorageFailed), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"storage keys before the scan only", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"login in storage, but a code is asked for all the same", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), registered), 12 * time.Second, rpc.PageUnlinked, reason.ScanQR},
		{"only an image of a code", observed(shows(selectors.ReaderScreenshot, "a/1"), noModules, func(o *Observation) { o.Drawn.Mount = false }), 0, rpc.PageUnlinked, reason.ScanQR},

		{"linked at an earlier start, and a code for a moment", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), registered), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting at start", observed(registered, socket(selectors.SocketOpening)), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting for long", observed(registered, socket(selectors.SocketOpening)), 45 * time.Second, rpc.PageDisconnected, reason.Reconnecting},
		{"connecting while offline", observed(registered, socket(selectors.SocketOpening), offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"connected, syncing", observed(registered, socket(selectors.SocketConnected), notSynced), 0, rpc.PageSyncing, reason.Syncing},
		{"syncing, without modules", observed(registered, byText(selectors.ScreenSyncing), noModules), 0, rpc.PageSyncing, reason.Syncing},
		{"ready", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced), 0, rpc.PageReady, ""},
		{"connected, but nothing comes", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, quiet(time.Hour)), 0, rpc.PageDisconnected, reason.ConnectionSilent},
		{"connected, and nothing has come for a moment", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, quiet(time.Minute)), 0, rpc.PageReady, ""},
		{"syncing, but stuck", observed(registered, socket(selectors.SocketConnected), notSynced), 4 * time.Minute, rpc.PageSyncing, reason.SyncStuck},
		{"ready, without modules", observed(registered, on(selectors.ScreenMain), noModules), 0, rpc.PageReady, ""},
		{"ready, without the module of the sync", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected)), 0, rpc.PageReady, ""},
		{"chats, but no login in storage", observed(on(selectors.ScreenMain), noModules), 0, rpc.PageLoading, reason.Reconnecting},
		{"connected, but no login in storage", observed(on(selectors.ScreenMain), socket(selectors.SocketConnected), synced), 0, rpc.PageLoading, reason.Reconnecting},
		{"ready, but offline", observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"ready and offline, without modules", observed(registered, on(selectors.ScreenMain), noModules, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},

		{"conflict", observed(registered, socket(selectors.SocketConflict)), 0, rpc.PageDisconnected, reason.Conflict},
		{"conflict, without modules", observed(registered, byText(selectors.ScreenConflict), noModules), 0, rpc.PageDisconnected, reason.Conflict},
		{"conflict of a page that was never linked", observed(socket(selectors.SocketConflict)), 0, rpc.PageUnlinked, reason.Conflict},
		{"conflict of a page that was never linked, without modules", observed(byText(selectors.ScreenConflict), noModules), 0, rpc.PageUnlinked, reason.Conflict},
		{"conflict where storage can't be read", observed(socket(selectors.SocketConflict), func(o *Observation) { o.Storage.Registered = nil }), 0, rpc.PageDisconnected, reason.Conflict},
		{"another tab", observed(registered, byText(selectors.ScreenOtherTab)), 0, rpc.PageLoading, reason.Conflict},
		{"proxy", observed(socket(selectors.SocketProxyBlocked)), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"proxy, without modules", observed(byText(selectors.ScreenProxyBlocked), noModules), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"terms", observed(registered, socket(selectors.SocketTerms)), 0, rpc.PageBlocked, reason.TermsRequired},
		{"banned", observed(registered, byText(selectors.ScreenBanned)), 0, rpc.PageBlocked, reason.Banned},
		{"service unavailable", observed(byText(selectors.ScreenServiceUnavailable), socket(selectors.SocketPairing)), 0, rpc.PageLoading, reason.ServiceUnavailable},
		{"service unavailable to a linked page", observed(registered, byText(selectors.ScreenServiceUnavailable)), 0, rpc.PageDisconnected, reason.ServiceUnavailable},
		{"app lock", observed(registered, socket(selectors.SocketLocked)), 0, rpc.PageBlocked, reason.ScreenLocked},
		{"passkey", observed(on(selectors.ScreenPasskey), socket(selectors.SocketUnpaired)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey, by the modules only", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), method(selectors.MethodPasskey)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey given up, and a code again", observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), method(selectors.MethodPasskey), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"too old", observed(byText(selectors.ScreenOutdated)), 0, rpc.PageLoading, reason.PageOutdated},
		{"texts around a code prove nothing", observed(on(selectors.ScreenQR), byText(selectors.ScreenOutdated, selectors.ScreenConflict), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, now := New(Timings{}), epoch
			h := steadily(c, History{}, tc.seen, now)
			for {
				h, _ = c.Next(h, at(tc.seen, now), now)
				if now.Sub(epoch) >= tc.after {
					break
				}
				now = now.Add(time.Second)
			}
			if h.reported.Condition != tc.condition || h.reported.Reason != tc.reason {
				t.Fatalf("got %s (%s), want %s (%s)", h.reported.Condition, h.reported.Reason, tc.condition, tc.reason)
			}
		})
	}
}

// steadily observes the same until now, for as long as it takes to believe it.
func steadily(c Classifier, h History, o Observation, now time.Time) History {
	for then := now.Add(-steadyFor); then.Before(now); then = then.Add(steadyFor / steadySeen) {
		h, _ = c.Next(h, at(o, then), then)
	}
	return h
}

// at stamps the readings.
func at(o Observation, now time.Time) Observation {
	readings := append([]Reading(nil), o.Readings...)
	for i := range readings {
		readings[i].At = now
	}
	o.Readings = readings
	return o
}

func TestEveryReasonIsDescribed(t *testing.T) {
	for k, tr := range traits {
		for _, c := range []reason.Code{tr.reason, tr.overdue.reason} {
			if c != "" && reason.Describe(c).Message == string(c) {
				t.Errorf("kind %d: no text for %q", k, c)
			}
		}
		if tr.condition == "" {
			t.Errorf("kind %d has no condition", k)
		}
	}
}

func TestObservationIsReportedOnChangeAndRepeated(t *testing.T) {
	ready := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	c := New(Timings{})
	h := steadily(c, History{}, ready, epoch)
	count := func(l Observation, now time.Time) int {
		var v Decision
		h, v = c.Next(h, at(l, now), now)
		n := 0
		for _, e := range v.Events {
			if _, ok := e.(rpc.PageObserved); ok {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		seen  Observation
		want  int
	}{
		{0, ready, 1},
		{2 * time.Second, ready, 0},
		{9 * time.Second, ready, 0},
		{10 * time.Second, ready, 1},
		{12 * time.Second, ready, 0},
		{13 * time.Second, observed(registered, socket(selectors.SocketOpening)), 1},
	} {
		if got := count(step.seen, epoch.Add(step.after)); got != step.want {
			t.Errorf("after %v: reported %d times, want %d", step.after, got, step.want)
		}
	}
}

func TestLogoutIsReportedBeforeWhatFollows(t *testing.T) {
	c := New(Timings{})
	ready := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	qr := observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"))
	for _, tc := range []struct {
		name string
		next Observation
	}{
		{"seen by its address", func() Observation { o := qr; o.Document, o.Navigation.LoggedOut = 1, new("why"); return o }()},
		{"seen by the storage", qr},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := steadily(c, History{}, ready, epoch)
			h, v := c.Next(h, at(tc.next, epoch.Add(time.Second)), epoch.Add(time.Second))
			var reports []rpc.PageObserved
			for _, e := range v.Events {
				if o, ok := e.(rpc.PageObserved); ok {
					reports = append(reports, o)
				}
			}
			if len(reports) != 2 || reports[0].Condition != rpc.PageLoggedOut || reports[0].Registered || reports[1].Condition != rpc.PageUnlinked || reports[1].Reason != reason.LoggedOut {
				t.Fatalf("reported %+v", reports)
			}
			h, _ = c.Next(steadily(c, h, ready, epoch.Add(time.Minute)), ready, epoch.Add(time.Minute))
			if o := h.reported; o.Condition != rpc.PageReady {
				t.Fatalf("after linking again: %+v", o)
			}
		})
	}
}

func TestPageIsSyncingFromScanToReady(t *testing.T) {
	c, h := New(Timings{}), History{}
	for i, step := range []struct {
		seen Observation
		want rpc.Condition
	}{
		{observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1")), rpc.PageUnlinked},
		{observed(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(selectors.ReaderDOM, "a/1"), registered), rpc.PageSyncing},
		{observed(on(selectors.ScreenQR), socket(selectors.SocketOpening), registered), rpc.PageSyncing},
		{observed(socket(selectors.SocketConnected), notSynced, registered), rpc.PageSyncing},
		{observed(on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, registered), rpc.PageReady},
		{observed(socket(selectors.SocketOpening), registered), rpc.PageDisconnected},
	} {
		now := epoch.Add(time.Duration(i) * time.Second)
		h, _ = c.Next(steadily(c, h, step.seen, now), at(step.seen, now), now)
		if h.reported.Condition != step.want {
			t.Fatalf("step %d: got %+v, want %s", i, h.reported, step.want)
		}
	}
}

func TestOnlyALostConnectionIsReconnecting(t *testing.T) {
	c := New(Timings{})
	opening := observed(registered, socket(selectors.SocketOpening))
	ready := observed(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	h, _ := c.Next(steadily(c, History{}, ready, epoch), ready, epoch)
	lost, _ := c.Next(h, opening, epoch.Add(time.Second))
	if lost.reported.Condition != rpc.PageDisconnected || lost.reported.Reason != reason.Reconnecting {
		t.Fatalf("got %+v", lost.reported)
	}
	opening.Document = 1
	reloaded, _ := c.Next(h, opening, epoch.Add(time.Second))
	if reloaded.reported.Condition != rpc.PageLoading {
		t.Fatalf("a reload was reported as %+v", reloaded.reported)
	}
}
