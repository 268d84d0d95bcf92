package judge

import (
	"strings"
	"testing"
	"time"

	"session-manager/shared/knowledge"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/login"
)

var epoch = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// yes and no are what a *bool points to.
var yes, no = new(true), new(false)

// look returns a document that is loaded, online and unlinked, changed by each
// of change.
func look(change ...func(*Look)) Look {
	l := Look{Status: 200, Mount: true, Loader: true, Online: true, Registered: no, Progress: -1, Opacity: 1, Version: "2.3000.1"}
	for _, c := range change {
		c(&l)
	}
	return l
}

func on(names ...knowledge.ScreenName) func(*Look) {
	return func(l *Look) {
		for _, n := range names {
			l.Screens = append(l.Screens, Sign{Name: n})
		}
	}
}

func byText(names ...knowledge.ScreenName) func(*Look) {
	return func(l *Look) {
		for _, n := range names {
			l.Screens = append(l.Screens, Sign{Name: n, Text: true})
		}
	}
}

func socket(s knowledge.Socket) func(*Look) { return func(l *Look) { l.Socket = s } }

func registered(l *Look) { l.Registered = yes }

func synced(l *Look) { l.HasSynced = yes }

func notSynced(l *Look) { l.HasSynced = no }

func offline(l *Look) { l.Online = false }

// noModules is a page whose modules are not to be had.
func noModules(l *Look) { l.Socket, l.Loader, l.HasSynced, l.Version = "", false, nil, "" }

// shows makes a reader find the code of that name, whose reference is the part
// before the slash.
func shows(r Reader, name string) func(*Look) {
	return func(l *Look) { l.Readings = append(l.Readings, Reading{Reader: r, Found: true, Code: code(name)}) }
}

func code(name string) login.Code {
	ref, _, _ := strings.Cut(name, "/")
	return login.Code{Whole: rpc.Login(name), Ref: login.Ref(ref)}
}

func nothing(r Reader) func(*Look) {
	return func(l *Look) { l.Readings = append(l.Readings, Reading{Reader: r}) }
}

func ttl(ref string, d time.Duration) func(*Look) {
	return func(l *Look) { l.Ref, l.RefTTL = login.Ref(ref), d }
}

// codeUntil says that we have asked for a pairing code, and until when it lives.
func codeUntil(seconds float64) func(*Look) {
	return func(l *Look) { l.PairingUntil = epoch.Add(time.Duration(seconds * float64(time.Second))) }
}

func quiet(d time.Duration) func(*Look) { return func(l *Look) { l.Quiet = d } }

func method(m knowledge.Method) func(*Look) { return func(l *Look) { l.Method = m } }

func TestEachScreenHasItsCondition(t *testing.T) {
	for _, tc := range []struct {
		name      string
		look      Look
		after     time.Duration // for how long the page has been so
		condition rpc.Condition
		reason    reason.Code
	}{
		{"splash", look(func(l *Look) { l.Splash, l.Mount = true, false }), 0, rpc.PageLoading, reason.PageLoading},
		{"splash that hangs", look(func(l *Look) { l.Splash, l.Mount = true, false }), time.Minute, rpc.PageLoading, reason.PageLoadFailed},
		{"blank", look(func(l *Look) { l.Mount = false }), 0, rpc.PageLoading, reason.PageLoading},
		{"a page that is none we know", look(func(l *Look) { l.Mount = false }), time.Minute, rpc.PageBlocked, reason.PageUnrecognised},
		{"network error", look(func(l *Look) { l.ErrorPage, l.Registered = true, nil }), 0, rpc.PageLoading, reason.NetworkUnreachable},
		{"server error", look(func(l *Look) { l.Status, l.Mount = 502, false }), 0, rpc.PageLoading, reason.HTTPError},
		{"unsupported browser", look(byText(knowledge.ScreenUnsupported), func(l *Look) { l.Mount, l.Loader = false, false }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},
		{"missing capability", look(func(l *Look) { l.UnsupportedURL = true }), 0, rpc.PageBlocked, reason.UnsupportedBrowser},

		{"code on the screen", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code, without modules", look(on(knowledge.ScreenQR), shows(ReaderDOM, "a/1"), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner", look(on(knowledge.ScreenQR), socket(knowledge.SocketOpening)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"spinner for ever", look(on(knowledge.ScreenQR), socket(knowledge.SocketOpening)), 15 * time.Second, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"no code where one is due", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired)), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"no code, without modules", look(byText(knowledge.ScreenQR), noModules), 15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
		{"used up codes", look(on(knowledge.ScreenQR), socket(knowledge.SocketIdle), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"code while offline", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"), offline), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline overlay, without modules", look(on(knowledge.ScreenQR), shows(ReaderDOM, "a/1"), noModules, func(l *Look) { l.Buttons = []string{ButtonOffline} }), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"offline before login", look(byText(knowledge.ScreenOffline), noModules), 0, rpc.PageUnlinked, reason.NetworkUnreachable},
		{"phone number entry", look(on(knowledge.ScreenPhoneEntry), socket(knowledge.SocketUnpaired)), 0, rpc.PageUnlinked, reason.ScanQR},
		{"phone number entry, without modules", look(byText(knowledge.ScreenPhoneEntry), noModules), 0, rpc.PageUnlinked, reason.ScanQR},
		{"link code", look(on(knowledge.ScreenPhoneCode), socket(knowledge.SocketUnpaired)), time.Minute, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that only we know of", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"), codeUntil(180)), 0, rpc.PageUnlinked, reason.PairingCodeShown},
		{"link code that was used", look(registered, on(knowledge.ScreenPhoneCode), socket(knowledge.SocketOpening), codeUntil(180)), 0, rpc.PageLoading, reason.Reconnecting},
		{"auto-logout frame", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), func(l *Look) { l.AutoLogoutFrame = true }), 0, rpc.PageUnlinked, reason.QRUnreadable},
		{"database failed", look(on(knowledge.ScreenQR), byText(knowledge.ScreenStorageFailed)), 0, rpc.PageUnlinked, reason.StorageFailed},
		{"database failed earlier", look(on(knowledge.ScreenQR), byText(knowledge.ScreenStorageFailed), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"storage keys before the scan only", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"login in storage, but a code is asked for all the same", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), 12 * time.Second, rpc.PageUnlinked, reason.ScanQR},
		{"only a picture of a code", look(shows(ReaderEye, "a/1"), noModules, func(l *Look) { l.Mount = false }), 0, rpc.PageUnlinked, reason.ScanQR},

		{"linked at an earlier start, and a code for a moment", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting at start", look(registered, socket(knowledge.SocketOpening)), 0, rpc.PageLoading, reason.Reconnecting},
		{"connecting for long", look(registered, socket(knowledge.SocketOpening)), 45 * time.Second, rpc.PageDisconnected, reason.Reconnecting},
		{"connecting while offline", look(registered, socket(knowledge.SocketOpening), offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"connected, syncing", look(registered, socket(knowledge.SocketConnected), notSynced), 0, rpc.PageSyncing, reason.Syncing},
		{"syncing, without modules", look(registered, byText(knowledge.ScreenSyncing), noModules), 0, rpc.PageSyncing, reason.Syncing},
		{"ready", look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced), 0, rpc.PageReady, ""},
		{"connected, but nothing comes", look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced, quiet(time.Hour)), 0, rpc.PageDisconnected, reason.ConnectionSilent},
		{"connected, and nothing has come for a moment", look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced, quiet(time.Minute)), 0, rpc.PageReady, ""},
		{"syncing, but stuck", look(registered, socket(knowledge.SocketConnected), notSynced), 4 * time.Minute, rpc.PageSyncing, reason.SyncStuck},
		{"ready, without modules", look(registered, on(knowledge.ScreenMain), noModules), 0, rpc.PageReady, ""},
		{"ready, without the module of the sync", look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected)), 0, rpc.PageReady, ""},
		{"chats, but no login in storage", look(on(knowledge.ScreenMain), noModules), 0, rpc.PageLoading, reason.Reconnecting},
		{"connected, but no login in storage", look(on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced), 0, rpc.PageLoading, reason.Reconnecting},
		{"ready, but offline", look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},
		{"ready and offline, without modules", look(registered, on(knowledge.ScreenMain), noModules, offline), 0, rpc.PageDisconnected, reason.NetworkUnreachable},

		{"conflict", look(registered, socket(knowledge.SocketConflict)), 0, rpc.PageDisconnected, reason.Conflict},
		{"conflict, without modules", look(registered, byText(knowledge.ScreenConflict), noModules), 0, rpc.PageDisconnected, reason.Conflict},
		{"another tab", look(registered, byText(knowledge.ScreenOtherTab)), 0, rpc.PageLoading, reason.Conflict},
		{"proxy", look(socket(knowledge.SocketProxyBlocked)), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"proxy, without modules", look(byText(knowledge.ScreenProxyBlocked), noModules), 0, rpc.PageBlocked, reason.ProxyBlocked},
		{"terms", look(registered, socket(knowledge.SocketTerms)), 0, rpc.PageBlocked, reason.TermsRequired},
		{"banned", look(registered, byText(knowledge.ScreenBanned)), 0, rpc.PageBlocked, reason.Banned},
		{"service unavailable", look(byText(knowledge.ScreenServiceUnavailable), socket(knowledge.SocketPairing)), 0, rpc.PageLoading, reason.ServiceUnavailable},
		{"service unavailable to a linked page", look(registered, byText(knowledge.ScreenServiceUnavailable)), 0, rpc.PageDisconnected, reason.ServiceUnavailable},
		{"app lock", look(registered, socket(knowledge.SocketLocked)), 0, rpc.PageBlocked, reason.ScreenLocked},
		{"passkey", look(on(knowledge.ScreenPasskey), socket(knowledge.SocketUnpaired)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey, by the modules only", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), method(knowledge.MethodPasskey)), 0, rpc.PageBlocked, reason.PasskeyRequired},
		{"passkey given up, and a code again", look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), method(knowledge.MethodPasskey), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
		{"too old", look(byText(knowledge.ScreenOutdated)), 0, rpc.PageLoading, reason.PageOutdated},
		{"texts around a code prove nothing", look(on(knowledge.ScreenQR), byText(knowledge.ScreenOutdated, knowledge.ScreenConflict), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1")), 0, rpc.PageUnlinked, reason.ScanQR},
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
func at(l Look, now time.Time) Look {
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
	count := func(l Look, now time.Time) int {
		var v Verdict
		h, v = j.Next(h, at(l, now), now)
		n := 0
		for _, e := range v.Events {
			if _, ok := e.(rpc.PageObserved); ok {
				n++
			}
		}
		return n
	}
	ready := look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced)
	for _, step := range []struct {
		after time.Duration
		look  Look
		want  int
	}{
		{0, ready, 1},
		{2 * time.Second, ready, 0},
		{9 * time.Second, ready, 0},
		{10 * time.Second, ready, 1},
		{12 * time.Second, ready, 0},
		{13 * time.Second, look(registered, socket(knowledge.SocketOpening)), 1},
	} {
		if got := count(step.look, epoch.Add(step.after)); got != step.want {
			t.Errorf("after %v: told %d times, want %d", step.after, got, step.want)
		}
	}
}

func TestLogoutIsToldBeforeWhatComesAfterIt(t *testing.T) {
	j := New(Timings{})
	ready := look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced)
	qr := look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"))
	for _, tc := range []struct {
		name string
		next Look
	}{
		{"seen by its address", func() Look { l := qr; l.Document, l.LoggedOut = 1, &Logout{Detail: "why"}; return l }()},
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
		look Look
		want rpc.Condition
	}{
		{look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1")), rpc.PageUnlinked},
		{look(on(knowledge.ScreenQR), socket(knowledge.SocketUnpaired), shows(ReaderDOM, "a/1"), registered), rpc.PageSyncing},
		{look(on(knowledge.ScreenQR), socket(knowledge.SocketOpening), registered), rpc.PageSyncing},
		{look(socket(knowledge.SocketConnected), notSynced, registered), rpc.PageSyncing},
		{look(on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced, registered), rpc.PageReady},
		{look(socket(knowledge.SocketOpening), registered), rpc.PageDisconnected},
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
	opening := look(registered, socket(knowledge.SocketOpening))
	ready := look(registered, on(knowledge.ScreenMain), socket(knowledge.SocketConnected), synced)
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
