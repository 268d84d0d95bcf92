package classify

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// kind is what the page is in, more finely than an rpc.Condition.
type kind int

const (
	kindBlank kind = iota
	kindBooting
	kindErrorPage
	kindHTTPError
	kindUnsupported
	kindOutdated
	kindOtherTab
	kindUnavailable
	kindProxyBlocked
	kindTerms
	kindBanned
	kindLocked
	kindPasskey
	kindLoggingOut
	kindLinking
	kindScanned
	kindCode
	kindRenewing
	kindNoCode
	kindNoServer
	kindNoNetwork
	kindPhoneEntry
	kindPhoneCode
	kindAutoLogout
	kindStorage
	kindSyncing
	kindReady
	kindConflict
	kindSilent
	kindConnecting
	kindReconnecting
	kindOffline
	kinds // their number
)

// trait says what a kind means, how long it may last, and what is done then.
type trait struct {
	condition rpc.Condition
	reason    reason.Code
	detail    string
	// After overdue the page is said to be in late instead, for lateReason.
	overdue    time.Duration
	late       rpc.Condition
	lateReason reason.Code
	// After patience the page is loaded again, and then after twice as long, up
	// to patienceMax. Zero: never.
	patience, patienceMax time.Duration
	// fresh: it is loaded past the cache.
	fresh bool
	// giveUp: after so many fruitless loads only a new browser can help.
	giveUp int
	// good: troubles that came before are over.
	good bool
}

// syncStuck is how long the sync may show the same progress. The first one is
// ended by the page itself after three minutes without the most important part.
const syncStuck = 3*time.Minute + 10*time.Second

// traits answers the failure catalogue of WhatsApp Web. The durations are those
// at which users and libraries have seen a page still come round by itself,
// rounded up.
var traits = [kinds]trait{
	kindBlank: {
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: time.Minute, late: rpc.PageBlocked, lateReason: reason.PageUnrecognised,
		patience: time.Minute, patienceMax: 10 * time.Minute,
	},
	kindBooting: {
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: time.Minute, late: rpc.PageLoading, lateReason: reason.PageLoadFailed,
		patience: time.Minute, patienceMax: 2 * time.Minute, giveUp: 3,
	},
	kindErrorPage: {
		condition: rpc.PageLoading, reason: reason.NetworkUnreachable, detail: "Chrome can't load the page",
		patience: 2 * time.Second, patienceMax: 30 * time.Second,
	},
	kindHTTPError: {
		condition: rpc.PageLoading, reason: reason.HTTPError,
		patience: 5 * time.Second, patienceMax: time.Minute,
	},
	kindUnsupported: {
		condition: rpc.PageBlocked, reason: reason.UnsupportedBrowser,
		patience: 5 * time.Second, patienceMax: 30 * time.Minute, fresh: true,
	},
	kindOutdated: {
		condition: rpc.PageLoading, reason: reason.PageOutdated,
		patience: 5 * time.Second, patienceMax: 10 * time.Minute, fresh: true,
	},
	kindOtherTab: {
		condition: rpc.PageLoading, reason: reason.Conflict, detail: "the page thinks that another tab of this browser is open",
		patience: 3 * time.Second, patienceMax: time.Minute,
	},
	kindUnavailable: {
		condition: rpc.PageLoading, reason: reason.ServiceUnavailable,
		patience: 30 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindProxyBlocked: {
		condition: rpc.PageBlocked, reason: reason.ProxyBlocked,
		patience: time.Minute, patienceMax: 10 * time.Minute,
	},
	kindTerms:   {condition: rpc.PageBlocked, reason: reason.TermsRequired},
	kindBanned:  {condition: rpc.PageBlocked, reason: reason.Banned},
	kindLocked:  {condition: rpc.PageBlocked, reason: reason.ScreenLocked},
	kindPasskey: {condition: rpc.PageBlocked, reason: reason.PasskeyRequired},
	kindLoggingOut: {
		condition: rpc.PageLoading, reason: reason.PageLoading, detail: "the page is ending its session",
		patience: time.Minute, patienceMax: 2 * time.Minute,
	},
	kindLinking: {
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the page has a connection, but no login in its storage",
		patience: time.Minute, patienceMax: 5 * time.Minute,
	},
	kindScanned: {
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the login is in storage, and the page does not use it yet",
		patience: time.Minute, patienceMax: 5 * time.Minute,
	},
	kindCode: {condition: rpc.PageUnlinked, reason: reason.ScanQR, good: true},
	kindRenewing: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the codes are used up; new ones are being asked for",
		overdue: 20 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
	},
	kindNoCode: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "no code is shown yet",
		overdue: 15 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindNoServer: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page is connecting to its server",
		overdue: 15 * time.Second, late: rpc.PageUnlinked, lateReason: reason.NetworkUnreachable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindNoNetwork: {condition: rpc.PageUnlinked, reason: reason.NetworkUnreachable},
	kindPhoneEntry: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page shows its form for a phone number",
		overdue: 45 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute,
	},
	// A code for the phone is good for three minutes; that of one that we asked
	// for ourselves is known exactly.
	kindPhoneCode: {
		condition: rpc.PageUnlinked, reason: reason.PairingCodeShown,
		overdue: 6 * time.Minute, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 200 * time.Second, patienceMax: 10 * time.Minute,
	},
	kindAutoLogout: {
		condition: rpc.PageUnlinked, reason: reason.QRUnreadable, detail: "the page shows a code whose session would not be kept",
		patience: 5 * time.Second, patienceMax: time.Minute,
	},
	kindStorage: {
		condition: rpc.PageUnlinked, reason: reason.StorageFailed,
		patience: 30 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindSyncing: {
		condition: rpc.PageSyncing, reason: reason.Syncing, good: true,
		overdue: syncStuck, late: rpc.PageSyncing, lateReason: reason.SyncStuck,
		patience: syncStuck, patienceMax: 12 * time.Minute,
	},
	kindReady:    {condition: rpc.PageReady, good: true},
	kindConflict: {condition: rpc.PageDisconnected, reason: reason.Conflict},
	// When the server replaces a connection by another one the page stays as it
	// is, and nothing comes over it any more.
	kindSilent: {
		condition: rpc.PageDisconnected, reason: reason.ConnectionSilent,
		patience: 5 * time.Second, patienceMax: 10 * time.Minute,
	},
	kindConnecting: {
		condition: rpc.PageLoading, reason: reason.Reconnecting,
		overdue: 45 * time.Second, late: rpc.PageDisconnected, lateReason: reason.Reconnecting,
		patience: 2 * time.Minute, patienceMax: 10 * time.Minute,
	},
	kindReconnecting: {
		condition: rpc.PageDisconnected, reason: reason.Reconnecting,
		patience: 2 * time.Minute, patienceMax: 10 * time.Minute,
	},
	kindOffline: {condition: rpc.PageDisconnected, reason: reason.NetworkUnreachable},
}

// trait returns that of k, at the page's pace.
func (j Classifier) trait(k kind) trait {
	t := traits[k]
	t.overdue, t.patience, t.patienceMax = j.t.paced(t.overdue), j.t.paced(t.patience), j.t.paced(t.patienceMax)
	return t
}

// unlinked tells whether the page asks for a phone, with or without a code.
func (k kind) unlinked() bool { return k >= kindCode && k <= kindStorage }

// facts are what classify must know besides the look.
type facts struct {
	registered bool
	connected  bool // there was a connection in this document
	seen       bool // a picture of a code was found lately
	quiet      bool // nothing comes over the connection
}

// classify says what l shows. For a page that asks to be linked it says
// kindNoCode; the code is judged afterwards.
func classify(l Observation, f facts) kind {
	if k, ok := classifyDocument(l); ok {
		return k
	}
	if k, ok := classifySocket(l.Socket); ok {
		return k
	}
	if k, ok := classifyScreen(l); ok {
		return k
	}
	if k, ok := classifyPairing(l, f); ok {
		return k
	}
	if k, ok := classifyLinked(l, f); ok {
		if f.quiet && (k == kindReady || k == kindSyncing) {
			return kindSilent
		}
		return k
	}
	if k, ok := classifyUnlinked(l, f); ok {
		return k
	}
	switch {
	case l.has(selectors.ScreenOffline):
		if f.registered {
			return kindOffline
		}
		return kindNoNetwork
	case l.Splash || l.Mount:
		return kindBooting
	}
	return kindBlank
}

func classifyDocument(l Observation) (kind, bool) {
	switch {
	case l.ErrorPage:
		return kindErrorPage, true
	case l.Status >= 400 && !l.Mount:
		return kindHTTPError, true
	case l.UnsupportedURL, l.has(selectors.ScreenUnsupported) && !l.Mount && !l.Loader:
		return kindUnsupported, true
	}
	return 0, false
}

func classifySocket(s selectors.Socket) (kind, bool) {
	switch s {
	case selectors.SocketConflict:
		return kindConflict, true
	case selectors.SocketProxyBlocked:
		return kindProxyBlocked, true
	case selectors.SocketTerms:
		return kindTerms, true
	case selectors.SocketLocked:
		return kindLocked, true
	default:
		return 0, false
	}
}

// screenKinds is in the order of how much a screen stands in the way.
var screenKinds = []struct {
	name selectors.ScreenName
	kind kind
}{
	{selectors.ScreenPasskey, kindPasskey},
	{selectors.ScreenBanned, kindBanned},
	{selectors.ScreenConflict, kindConflict},
	{selectors.ScreenOtherTab, kindOtherTab},
	{selectors.ScreenLocked, kindLocked},
	{selectors.ScreenTerms, kindTerms},
	{selectors.ScreenServiceUnavailable, kindUnavailable},
	{selectors.ScreenProxyBlocked, kindProxyBlocked},
	{selectors.ScreenLoggingOut, kindLoggingOut},
	{selectors.ScreenOutdated, kindOutdated},
}

// classifyScreen finds the screens that stand in the way. Their texts prove
// nothing while a code is shown: its surroundings speak of all sorts of things.
func classifyScreen(l Observation) (kind, bool) {
	codeShown := l.found(ReaderDOM)
	for _, s := range screenKinds {
		if l.surely(s.name) || l.has(s.name) && !codeShown {
			return s.kind, true
		}
	}
	return 0, false
}

// classifyPairing finds the ways to be linked that are none by QR, by what the
// modules, Chrome and we ourselves know of them.
func classifyPairing(l Observation, f facts) (kind, bool) {
	switch {
	case f.registered:
		return 0, false
	case l.Method == selectors.MethodPasskey && !l.found(ReaderDOM):
		return kindPasskey, true
	case l.PasskeyAsked && !f.seen:
		return kindPasskey, true
	case !l.PairingUntil.IsZero() && l.Socket != selectors.SocketConnected:
		return kindPhoneCode, true
	}
	return 0, false
}

func classifyLinked(l Observation, f facts) (kind, bool) {
	switch l.Socket {
	case selectors.SocketConnected:
		return classifyConnected(l, f.registered), true
	case selectors.SocketOpening, selectors.SocketPairing:
		switch {
		case !f.registered:
			return 0, false
		case l.offline():
			return kindOffline, true
		case f.connected:
			return kindReconnecting, true
		default:
			return kindConnecting, true
		}
	case "":
		return classifyLinkedByDOM(l, f.registered)
	default:
		return 0, false
	}
}

func classifyConnected(l Observation, registered bool) kind {
	switch {
	case !registered:
		return kindLinking
	case l.offline():
		return kindOffline
	case l.HasSynced == nil && l.surely(selectors.ScreenMain), l.HasSynced != nil && *l.HasSynced:
		return kindReady
	default:
		return kindSyncing
	}
}

// classifyLinkedByDOM does without the modules.
func classifyLinkedByDOM(l Observation, registered bool) (kind, bool) {
	switch {
	case l.has(selectors.ScreenSyncing) && !l.surely(selectors.ScreenQR):
		return kindSyncing, true
	case !l.surely(selectors.ScreenMain):
		return 0, false
	case !registered:
		return kindLinking, true
	case l.offline():
		return kindOffline, true
	default:
		return kindReady, true
	}
}

func classifyUnlinked(l Observation, f facts) (kind, bool) {
	unpaired := l.Socket == selectors.SocketUnpaired || l.Socket == selectors.SocketIdle
	phone := l.has(selectors.ScreenPhoneEntry) || l.has(selectors.ScreenPhoneCode)
	if !unpaired && !f.seen && !phone && !l.AutoLogoutFrame && !l.has(selectors.ScreenQR) {
		return 0, false
	}
	switch {
	case f.registered:
		return kindScanned, true
	case l.AutoLogoutFrame:
		return kindAutoLogout, true
	case l.has(selectors.ScreenPhoneCode) && !l.found(ReaderDOM):
		return kindPhoneCode, true
	case l.has(selectors.ScreenPhoneEntry) && !l.found(ReaderDOM):
		return kindPhoneEntry, true
	default:
		return kindNoCode, true
	}
}
