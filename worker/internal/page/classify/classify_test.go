package classify

import (
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

// look returns a document that is loaded, online and unlinked, changed by each
// of change.
func look(change ...func(*Observation)) Observation {
	l := Observation{Status: 200, Mount: true, Loader: true, Online: true, Registered: no, Progress: -1, Opacity: 1, Version: "2.3000.1"}
	for _, c := range change {
		c(&l)
	}
	return l
}

func on(names ...selectors.ScreenName) func(*Observation) {
	return func(l *Observation) {
		for _, n := range names {
			l.Screens = append(l.Screens, Sign{Name: n})
		}
	}
}

func byText(names ...selectors.ScreenName) func(*Observation) {
	return func(l *Observation) {
		for _, n := range names {
			l.Screens = append(l.Screens, Sign{Name: n, Text: true})
		}
	}
}

func socket(s selectors.Socket) func(*Observation) { return func(l *Observation) { l.Socket = s } }

func registered(l *Observation) { l.Registered = yes }

func synced(l *Observation) { l.HasSynced = yes }

func notSynced(l *Observation) { l.HasSynced = no }

func offline(l *Observation) { l.Online = false }

// noModules is a page whose modules are not to be had.
func noModules(l *Observation) { l.Socket, l.Loader, l.HasSynced, l.Version = "", false, nil, "" }

// shows makes a reader find the code of that name, whose reference is the part
// before the slash.
func shows(r Reader, name string) func(*Observation) {
	return func(l *Observation) {
		l.Readings = append(l.Readings, Reading{Reader: r, Found: true, Code: code(name)})
	}
}

func code(name string) qrpayload.Code {
	ref, _, _ := strings.Cut(name, "/")
	return qrpayload.Code{Whole: rpc.QRPayload(name), Ref: qrpayload.Ref(ref)}
}

func nothing(r Reader) func(*Observation) {
	return func(l *Observation) { l.Readings = append(l.Readings, Reading{Reader: r}) }
}

func ttl(ref string, d time.Duration) func(*Observation) {
	return func(l *Observation) { l.Ref, l.RefTTL = qrpayload.Ref(ref), d }
}

// codeUntil says that we have asked for a pairing code, and until when it lives.
func codeUntil(seconds float64) func(*Observation) {
	return func(l *Observation) { l.PairingUntil = epoch.Add(time.Duration(seconds * float64(time.Second))) }
}

func quiet(d time.Duration) func(*Observation) { return func(l *Observation) { l.Quiet = d } }

func method(m selectors.Method) func(*Observation) { return func(l *Observation) { l.Method = m } }

func TestEachScreenHasItsCondition(t *testing.T) {
	for _, tc := range []struct {
		name      string
		look      Observation
		after     time.Duration // for how long the page has been so
		condition rpc.Condition
		reason    reason.Code
	}{
		{"splash", look(func(l *Observation) { l.Splash, l.Mount = true, false }), 0, rpc.PageLoading, reason.PageLoading},
		{"splash that hangs", look(func(l *Observation) { l.Splash, l.Mount = true, false }), time.Minute, rpc.PageLoading, reason.PageLoadFailed},
		{"blank", look(func(l *Observation) { l.Mount = false }), 0, rpc.PageLoading, reason.PageLoading},
		{"a page that is none we know", look(func(l *Observation) { l.Mount = false }), time.Minute, rpc.PageBlocked, reason.PageUnrecognised},
		{"network error", look(func(l *Observation) { l.ErrorPage, l.Registered = true, nil }), 0, rpc.PageLoading, reason.NetworkUnreachable},
		{"server error", look(func(l *Observation) { l.Status, l.Mount = 502, false }), 0, rpc.PageLoading, reason.HTTPError},
		{"unsupported browser", look(byText(selectors.ScreenUnsupported), func(l *Observation) { l.Mount, l.Loader = false, false }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},
		{"missing capability", look(func(l *Observation) { l.UnsupportedURL = true }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},

		{"code on the screen", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code, without modules", look(on(selectors.ScreenQR), shows(ReaderDOM, "a/1"), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner", look(on(selectors.ScreenQR), socket(selectors.SocketOpening)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner for ever", look(on(selectors.ScreenQR), socket(selectors.SocketOpening)), 15 * time.Second, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"no code where one is due", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired)), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"no code, without modules", look(byText(selectors.ScreenQR), noModules), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"used up codes", look(on(selectors.ScreenQR), socket(selectors.SocketIdle), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code while offline", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"), offline), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline overlay, without modules", look(on(selectors.ScreenQR), shows(ReaderDOM, "a/1"), noModules, func(l *Observation) { l.Buttons = []string{ButtonOffline} }), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline before login", look(byText(selectors.ScreenOffline), noModules), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"phone number entry", look(on(selectors.ScreenPhoneEntry), socket(selectors.SocketUnpaired)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"phone number entry, without modules", look(byText(selectors.ScreenPhoneEntry), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"link code", look(on(selectors.ScreenPhoneCode), socket(selectors.SocketUnpaired)), time.Minute, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that only we know of", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"), codeUntil(180)), 0, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that was used", look(registered, on(selectors.ScreenPhoneCode), socket(selectors.SocketOpening), codeUntil(180)), 0, rpc.PageLoading, reason.Reconnecting},
		{"auto-logout frame", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), func(l *Observation) { l.AutoLogoutFrame = true }), 0, rpc.PageUnlinked, reason.QRUnreadable},
		{"database failed", look(on(selectors.ScreenQR), byText(selectors.ScreenStorageFailed)), 0, rpc.PageUnlinked, reason.StorageFailed},
		{"database failed earlier", look(on(selectors.ScreenQR), byText(selectors.ScreenStorageFailed), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"storage keys before the scan only", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"login in storage, but a code is asked for all the same", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), 12 * time.Second, rpc.PageUnlinked, reason.ScanQR},
		{"only a picture of a code", look(shows(ReaderScreenshot, "a/1"), noModules, func(l *Observation) { l.Mount = false }), 0, rpc.PageUnlinked, reason.ScanQR},

		{"linked at an earlier start, and a code for a moment", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting at start", look(registered, socket(selectors.SocketOpening)), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting for long", look(registered, socket(selectors.SocketOpening)), 45 * time.Second, rpc.PageDisconnected, reason.Reconnecting},
		{"connecting while offline", look(registered, socket(selectors.SocketOpening), offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"connected, syncing", look(registered, socket(selectors.SocketConnected), notSynced), 0, rpc.PageSyncing, reason.Syncing},
		{"syncing, without modules", look(registered, byText(selectors.ScreenSyncing), noModules), 0, rpc.PageSyncing, reason.Syncing},
		{"ready", look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced), 0, rpc.PageReady, ""},
		{"connected, but nothing comes", look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, quiet(time.Hour)), 0, rpc.PageDisconnected, reason.ConnectionSilent},
		{"connected, and nothing has come for a moment", look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, quiet(time.Minute)), 0, rpc.PageReady, ""},
		{"syncing, but stuck", look(registered, socket(selectors.SocketConnected), notSynced), 4 * time.Minute, rpc.PageSyncing, reason.SyncStuck},
		{"ready, without modules", look(registered, on(selectors.ScreenMain), noModules), 0, rpc.PageReady, ""},
		{"ready, without the module of the sync", look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected)), 0, rpc.PageReady, ""},
		{"chats, but no login in storage", look(on(selectors.ScreenMain), noModules), 0, rpc.PageLoading, reason.Reconnecting},
		{"connected, but no login in storage", look(on(selectors.ScreenMain), socket(selectors.SocketConnected), synced), 0, rpc.PageLoading, reason.Reconnecting},
		{"ready, but offline", look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"ready and offline, without modules", look(registered, on(selectors.ScreenMain), noModules, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},

		{"conflict", look(registered, socket(selectors.SocketConflict)), 0, rpc.PageDisconnected, reason.Conflict},
		{"conflict, without modules", look(registered, byText(selectors.ScreenConflict), noModules), 0, rpc.PageDisconnected, reason.Conflict},
		{"another tab", look(registered, byText(selectors.ScreenOtherTab)), 0, rpc.PageLoading, reason.Conflict},
		{"proxy", look(socket(selectors.SocketProxyBlocked)), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"proxy, without modules", look(byText(selectors.ScreenProxyBlocked), noModules), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"terms", look(registered, socket(selectors.SocketTerms)), 0, rpc.PageBlocked, reason.TermsRequired},
		{"banned", look(registered, byText(selectors.ScreenBanned)), 0, rpc.PageBlocked, reason.Banned},
		{"service unavailable", look(byText(selectors.ScreenServiceUnavailable), socket(selectors.SocketPairing)), 0, rpc.PageLoading, reason.ServiceUnavailable},
		{"service unavailable to a linked page", look(registered, byText(selectors.ScreenServiceUnavailable)), 0, rpc.PageDisconnected, reason.ServiceUnavailable},
		{"app lock", look(registered, socket(selectors.SocketLocked)), 0, rpc.PageBlocked, reason.ScreenLocked},
		{"passkey", look(on(selectors.ScreenPasskey), socket(selectors.SocketUnpaired)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey, by the modules only", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), method(selectors.MethodPasskey)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey given up, and a code again", look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), method(selectors.MethodPasskey), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"too old", look(byText(selectors.ScreenOutdated)), 0, rpc.PageLoading, reason.PageOutdated},
		{"texts around a code prove nothing", look(on(selectors.ScreenQR), byText(selectors.ScreenOutdated, selectors.ScreenConflict), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j, h, now := New(Timings{}), History{}, epoch
			for {
				h, _ = j.Next(h, at(tc.look, now), now)
				if now.Sub(epoch) >= tc.after {
					break
				}
				now = now.Add(time.Second)
			}
			if h.told.Condition != tc.condition || h.told.Reason != tc.reason {
				t.Fatalf("got %s (%s), want %s (%s)", h.told.Condition, h.told.Reason, tc.condition, tc.reason)
			}
		})
	}
}

// at stamps the readings.
func at(l Observation, now time.Time) Observation {
	readings := append([]Reading(nil), l.Readings...)
	for i := range readings {
		readings[i].At = now
	}
	l.Readings = readings
	return l
}

func TestEveryReasonThatIsToldIsInTheCatalogue(t *testing.T) {
	for k, tr := range traits {
		for _, c := range []reason.Code{tr.reason, tr.lateReason} {
			if c != "" && reason.Describe(c).Message == string(c) {
				t.Errorf("kind %d: no text for %q", k, c)
			}
		}
		if tr.condition == "" {
			t.Errorf("kind %d has no condition", k)
		}
	}
}

func TestAnObservationIsToldOnChangeAndAgainWhenOld(t *testing.T) {
	j, h := New(Timings{}), History{}
	count := func(l Observation, now time.Time) int {
		var v Decision
		h, v = j.Next(h, at(l, now), now)
		n := 0
		for _, e := range v.Events {
			if _, ok := e.(rpc.PageObserved); ok {
				n++
			}
		}
		return n
	}
	ready := look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	for _, step := range []struct {
		after time.Duration
		look  Observation
		want  int
	}{
		{0, ready, 1},
		{2 * time.Second, ready, 0},
		{9 * time.Second, ready, 0},
		{10 * time.Second, ready, 1},
		{12 * time.Second, ready, 0},
		{13 * time.Second, look(registered, socket(selectors.SocketOpening)), 1},
	} {
		if got := count(step.look, epoch.Add(step.after)); got != step.want {
			t.Errorf("after %v: told %d times, want %d", step.after, got, step.want)
		}
	}
}

func TestLogoutIsToldBeforeWhatComesAfterIt(t *testing.T) {
	j := New(Timings{})
	ready := look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	qr := look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"))
	for _, tc := range []struct {
		name string
		next Observation
	}{
		{"seen by its address", func() Observation { l := qr; l.Document, l.LoggedOut = 1, &Logout{Detail: "why"}; return l }()},
		{"seen by the storage", qr},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, _ := j.Next(History{}, ready, epoch)
			h, v := j.Next(h, at(tc.next, epoch.Add(time.Second)), epoch.Add(time.Second))
			var told []rpc.PageObserved
			for _, e := range v.Events {
				if o, ok := e.(rpc.PageObserved); ok {
					told = append(told, o)
				}
			}
			if len(told) != 2 || told[0].Condition != rpc.PageLoggedOut || told[0].Registered || told[1].Condition != rpc.PageUnlinked || told[1].Reason != reason.LoggedOut {
				t.Fatalf("told %+v", told)
			}
			_, v = j.Next(h, at(ready, epoch.Add(time.Minute)), epoch.Add(time.Minute))
			if o := v.Events[len(v.Events)-1].(rpc.PageObserved); o.Condition != rpc.PageReady {
				t.Fatalf("after linking again: %+v", o)
			}
		})
	}
}

func TestFromTheScanToReadyThePageIsSyncing(t *testing.T) {
	j, h := New(Timings{}), History{}
	for i, step := range []struct {
		look Observation
		want rpc.Condition
	}{
		{look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1")), rpc.PageUnlinked},
		{look(on(selectors.ScreenQR), socket(selectors.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), rpc.PageSyncing},
		{look(on(selectors.ScreenQR), socket(selectors.SocketOpening), registered), rpc.PageSyncing},
		{look(socket(selectors.SocketConnected), notSynced, registered), rpc.PageSyncing},
		{look(on(selectors.ScreenMain), socket(selectors.SocketConnected), synced, registered), rpc.PageReady},
		{look(socket(selectors.SocketOpening), registered), rpc.PageDisconnected},
	} {
		now := epoch.Add(time.Duration(i) * time.Second)
		h, _ = j.Next(h, at(step.look, now), now)
		if h.told.Condition != step.want {
			t.Fatalf("step %d: got %+v, want %s", i, h.told, step.want)
		}
	}
}

func TestALostConnectionIsReconnectingOnlyAfterThereWasOne(t *testing.T) {
	j := New(Timings{})
	opening := look(registered, socket(selectors.SocketOpening))
	ready := look(registered, on(selectors.ScreenMain), socket(selectors.SocketConnected), synced)
	h, _ := j.Next(History{}, ready, epoch)
	lost, _ := j.Next(h, opening, epoch.Add(time.Second))
	if lost.told.Condition != rpc.PageDisconnected || lost.told.Reason != reason.Reconnecting {
		t.Fatalf("got %+v", lost.told)
	}
	opening.Document = 1
	reloaded, _ := j.Next(h, opening, epoch.Add(time.Second))
	if reloaded.told.Condition != rpc.PageLoading {
		t.Fatalf("a reload was told as %+v", reloaded.told)
	}
}
