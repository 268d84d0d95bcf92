package classify

import (
	"cmp"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// kind is what the page shows, in more detail than an rpc.Condition.
type kind int

const (
	kindBlank kind = iota // nothing is recognised; no rule applies
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

// trait is what a kind means, how long it may last, and what is done then.
type trait struct {
	what      string // for CATALOGUE.md
	condition rpc.Condition
	reason    reason.Code
	detail    string
	// After overdue the page is reported as late instead, with lateReason.
	overdue    time.Duration
	late       rpc.Condition
	lateReason reason.Code
	// After patience the page is reloaded, and then after twice as long, up to
	// patienceMax. Zero: never.
	patience, patienceMax time.Duration
	// first is done instead of the first reload; Stay means nothing.
	first Action
	// fresh: it is reloaded past the cache.
	fresh bool
	// giveUp: after so many fruitless reloads only a new browser can help.
	giveUp int
	// good: earlier troubles are over.
	good bool
}

// syncStuck is how long the sync may show the same progress. The page itself ends
// the first sync after three minutes without the most important part.
const syncStuck = 3*time.Minute + 10*time.Second

// traits is the failure catalogue of WhatsApp Web. The durations are those after
// which users and libraries have seen a page still recover, rounded up.
var traits = [kinds]trait{
	kindBlank: {
		what:      "The document is empty, or shows a page that we don't know, such as a captive portal.",
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: time.Minute, late: rpc.PageBlocked, lateReason: reason.PageUnrecognised,
		patience: time.Minute, patienceMax: 10 * time.Minute,
	},
	kindBooting: {
		what:      "The splash screen is shown; it stays when files of the page are missing or its start hangs.",
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: time.Minute, late: rpc.PageLoading, lateReason: reason.PageLoadFailed,
		patience: time.Minute, patienceMax: 2 * time.Minute, giveUp: 3,
	},
	kindErrorPage: {
		what:      "Chrome shows its error page: the address can't be reached, or has a bad certificate.",
		condition: rpc.PageLoading, reason: reason.NetworkUnreachable, detail: "Chrome can't load the page",
		patience: 2 * time.Second, patienceMax: 30 * time.Second,
	},
	kindHTTPError: {
		what:      "The server answers with an error.",
		condition: rpc.PageLoading, reason: reason.HTTPError,
		patience: 5 * time.Second, patienceMax: time.Minute,
	},
	kindUnsupported: {
		what:      "The page for unsupported browsers, by its text or address.",
		condition: rpc.PageBlocked, reason: reason.UnsupportedBrowser,
		patience: 5 * time.Second, patienceMax: 30 * time.Minute, fresh: true,
	},
	kindOutdated: {
		what:      "The page says that it is too old.",
		condition: rpc.PageLoading, reason: reason.PageOutdated,
		patience: 5 * time.Second, patienceMax: 10 * time.Minute, fresh: true,
	},
	kindOtherTab: {
		what:      "The page believes that another tab of this browser holds its lock.",
		condition: rpc.PageLoading, reason: reason.Conflict, detail: "the page believes that another tab of this browser is open",
		patience: 3 * time.Second, patienceMax: time.Minute, first: UseHere,
	},
	kindUnavailable: {
		what:      "The page says that the service is down.",
		condition: rpc.PageLoading, reason: reason.ServiceUnavailable,
		patience: 30 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindProxyBlocked: {
		what:      "The network, or a proxy in it, blocks the page's connection.",
		condition: rpc.PageBlocked, reason: reason.ProxyBlocked,
		patience: time.Minute, patienceMax: 10 * time.Minute,
	},
	kindTerms: {
		what:      "The terms of service must be accepted.",
		condition: rpc.PageBlocked, reason: reason.TermsRequired,
	},
	kindBanned: {
		what:      "The account is banned.",
		condition: rpc.PageBlocked, reason: reason.Banned,
	},
	kindLocked: {
		what:      "The page is locked with a password.",
		condition: rpc.PageBlocked, reason: reason.ScreenLocked,
	},
	kindPasskey: {
		what:      "A passkey is asked for: by a screen, by the page's link method, or by its request to the browser.",
		condition: rpc.PageBlocked, reason: reason.PasskeyRequired,
	},
	kindLoggingOut: {
		what:      "The page says that it is logging out.",
		condition: rpc.PageLoading, reason: reason.PageLoading, detail: "the page is logging out",
		patience: time.Minute, patienceMax: 2 * time.Minute,
	},
	kindLinking: {
		what:      "The page is connected or shows chats, but storage holds no login.",
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the page is connected, but its storage holds no login",
		patience: time.Minute, patienceMax: 5 * time.Minute,
	},
	kindScanned: {
		what:      "The login is in storage, but the page still asks for a scan. A code that stays for 10 s is offered again.",
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the login is in storage, but the page does not use it yet",
		patience: time.Minute, patienceMax: 5 * time.Minute,
	},
	kindCode: {
		what:      "A code is shown that can be scanned.",
		condition: rpc.PageUnlinked, reason: reason.ScanQR, good: true,
	},
	kindRenewing: {
		what:      "The page is idle: its codes are used up.",
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the codes are used up; new ones have been requested",
		overdue: 20 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
	},
	kindNoCode: {
		what:      "The page asks for a scan, but no reader finds a code that a phone would accept.",
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "no code is shown yet",
		overdue: 15 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindNoServer: {
		what:      "A spinner is shown in place of the code: the page reaches no server.",
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page is connecting to its server",
		overdue: 15 * time.Second, late: rpc.PageUnlinked, lateReason: reason.NetworkUnreachable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindNoNetwork: {
		what:      "There is no network, according to Chrome or to the page's own probe; no account is linked.",
		condition: rpc.PageUnlinked, reason: reason.NetworkUnreachable,
	},
	kindPhoneEntry: {
		what:      "The form for a phone number is open.",
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page shows its form for a phone number",
		overdue: 45 * time.Second, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 45 * time.Second, patienceMax: 5 * time.Minute, first: Return,
	},
	// A pairing code lives for three minutes; the life of one that we asked for is
	// known exactly.
	kindPhoneCode: {
		what:      "A pairing code is shown, has run out, was refused, or has lost its connection.",
		condition: rpc.PageUnlinked, reason: reason.PairingCodeShown,
		overdue: 6 * time.Minute, late: rpc.PageUnlinked, lateReason: reason.QRUnreadable,
		patience: 200 * time.Second, patienceMax: 10 * time.Minute, first: Return,
	},
	kindAutoLogout: {
		what:      "The code is that of a frame whose session would not be kept.",
		condition: rpc.PageUnlinked, reason: reason.QRUnreadable, detail: "the page shows a code whose session would not be kept",
		patience: 5 * time.Second, patienceMax: time.Minute,
	},
	kindStorage: {
		what:      "The page's database failed, or its quota is used up.",
		condition: rpc.PageUnlinked, reason: reason.StorageFailed,
		patience: 30 * time.Second, patienceMax: 5 * time.Minute,
	},
	kindSyncing: {
		what:      "The page is connected and fetches the chats.",
		condition: rpc.PageSyncing, reason: reason.Syncing, good: true,
		overdue: syncStuck, late: rpc.PageSyncing, lateReason: reason.SyncStuck,
		patience: syncStuck, patienceMax: 12 * time.Minute,
	},
	kindReady: {
		what:      "Chats, storage and connection agree that the account works.",
		condition: rpc.PageReady, good: true,
	},
	kindConflict: {
		what:      "The account was opened on another computer.",
		condition: rpc.PageDisconnected, reason: reason.Conflict,
	},
	// When the server replaces a connection by another one the page stays as it
	// is, and nothing more comes over it.
	kindSilent: {
		what:      "The page says that it is connected, but nothing comes over its connection: another one replaced it.",
		condition: rpc.PageDisconnected, reason: reason.ConnectionSilent,
		patience: 5 * time.Second, patienceMax: 10 * time.Minute,
	},
	kindConnecting: {
		what:      "A linked page is connecting for the first time since it was loaded.",
		condition: rpc.PageLoading, reason: reason.Reconnecting,
		overdue: 45 * time.Second, late: rpc.PageDisconnected, lateReason: reason.Reconnecting,
		patience: 2 * time.Minute, patienceMax: 10 * time.Minute,
	},
	kindReconnecting: {
		what:      "A linked page has lost its connection.",
		condition: rpc.PageDisconnected, reason: reason.Reconnecting,
		patience: 2 * time.Minute, patienceMax: 10 * time.Minute,
	},
	kindOffline: {
		what:      "A linked page has no network, according to Chrome or to the page's own probe.",
		condition: rpc.PageDisconnected, reason: reason.NetworkUnreachable,
	},
}

// trait returns that of k, at the page's pace.
func (k kind) trait(t Timings) trait {
	r := traits[k]
	r.overdue, r.patience, r.patienceMax = t.paced(r.overdue), t.paced(r.patience), t.paced(r.patienceMax)
	return r
}

// unlinked reports whether the page asks for a phone, with or without a code.
func (k kind) unlinked() bool { return k >= kindCode && k <= kindStorage }

// classify returns what the observation shows: what the first rule that applies
// says. The others return kindBlank. For a page that asks to be linked it is
// kindNoCode; the code is assessed afterwards.
func (s *step) classify() kind {
	k := cmp.Or(
		classifyDocument(s.o), classifySocket(s.o.Modules.Socket), classifyScreen(s.o),
		s.classifyPairing(), s.classifyLinked(), s.classifyUnlinked(), s.classifyUnclear(),
	)
	if s.o.Quiet >= s.t.Quiet && (k == kindReady || k == kindSyncing) {
		return kindSilent
	}
	return k
}

func classifyDocument(o Observation) kind {
	switch {
	case o.Navigation.ErrorPage:
		return kindErrorPage
	case o.Navigation.Status >= 400 && !o.Drawn.Mount:
		return kindHTTPError
	case o.Navigation.UnsupportedURL, o.has(selectors.ScreenUnsupported) && !o.Drawn.Mount && !o.Modules.Loader:
		return kindUnsupported
	}
	return kindBlank
}

func classifySocket(s selectors.Socket) kind {
	switch s {
	case selectors.SocketConflict:
		return kindConflict
	case selectors.SocketProxyBlocked:
		return kindProxyBlocked
	case selectors.SocketTerms:
		return kindTerms
	case selectors.SocketLocked:
		return kindLocked
	default:
		return kindBlank
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
// nothing while a code is shown: the page around it mentions all sorts of things.
func classifyScreen(o Observation) kind {
	codeShown := o.found(selectors.ReaderDOM)
	for _, s := range screenKinds {
		if o.surely(s.name) || o.has(s.name) && !codeShown {
			return s.kind
		}
	}
	return kindBlank
}

// classifyPairing finds the ways of linking other than by QR, by what the
// modules, Chrome and the worker itself know of them.
func (s *step) classifyPairing() kind {
	switch {
	case s.h.account.registered:
		return kindBlank
	case s.o.Modules.Method == selectors.MethodPasskey && !s.o.found(selectors.ReaderDOM):
		return kindPasskey
	case s.o.PasskeyAsked && !s.h.qr.seen():
		return kindPasskey
	case !s.o.PairingUntil.IsZero() && s.o.Modules.Socket != selectors.SocketConnected:
		return kindPhoneCode
	}
	return kindBlank
}

func (s *step) classifyLinked() kind {
	switch s.o.Modules.Socket {
	case selectors.SocketConnected:
		return s.classifyConnected()
	case selectors.SocketOpening, selectors.SocketPairing:
		switch {
		case !s.h.account.registered:
			return kindBlank
		case s.o.offline():
			return kindOffline
		case s.h.account.connected:
			return kindReconnecting
		default:
			return kindConnecting
		}
	case "":
		return s.classifyLinkedByDOM()
	default:
		return kindBlank
	}
}

func (s *step) classifyConnected() kind {
	synced := s.o.surely(selectors.ScreenMain)
	if s.o.Modules.HasSynced != nil {
		synced = *s.o.Modules.HasSynced
	}
	switch {
	case !s.h.account.registered:
		return kindLinking
	case s.o.offline():
		return kindOffline
	case synced:
		return kindReady
	default:
		return kindSyncing
	}
}

// classifyLinkedByDOM does without the modules.
func (s *step) classifyLinkedByDOM() kind {
	switch {
	case s.o.has(selectors.ScreenSyncing) && !s.o.surely(selectors.ScreenQR):
		return kindSyncing
	case !s.o.surely(selectors.ScreenMain):
		return kindBlank
	case !s.h.account.registered:
		return kindLinking
	case s.o.offline():
		return kindOffline
	default:
		return kindReady
	}
}

// classifyUnlinked finds the ways in which a page asks to be linked.
func (s *step) classifyUnlinked() kind {
	codeShown := s.o.found(selectors.ReaderDOM)
	switch {
	case !s.asksForPhone():
		return kindBlank
	case s.h.account.registered:
		return kindScanned
	case s.o.Drawn.AutoLogoutFrame:
		return kindAutoLogout
	case s.o.has(selectors.ScreenPhoneCode) && !codeShown:
		return kindPhoneCode
	case s.o.has(selectors.ScreenPhoneEntry) && !codeShown:
		return kindPhoneEntry
	default:
		return kindNoCode
	}
}

func (s *step) asksForPhone() bool {
	unpaired := s.o.Modules.Socket == selectors.SocketUnpaired || s.o.Modules.Socket == selectors.SocketIdle
	byPhone := s.o.has(selectors.ScreenPhoneEntry) || s.o.has(selectors.ScreenPhoneCode)
	return unpaired || byPhone || s.h.qr.seen() || s.o.Drawn.AutoLogoutFrame || s.o.has(selectors.ScreenQR)
}

func (s *step) classifyUnclear() kind {
	switch {
	case s.o.has(selectors.ScreenOffline) && s.h.account.registered:
		return kindOffline
	case s.o.has(selectors.ScreenOffline):
		return kindNoNetwork
	case s.o.Drawn.Splash, s.o.Drawn.Mount:
		return kindBooting
	}
	return kindBlank
}

// refine returns which of the unlinked kinds the cause for which no code can be
// scanned makes.
func refine(cause string, o Observation) kind {
	switch {
	case cause == "":
		return kindCode
	case cause == causeIdle:
		return kindRenewing
	case cause == causeOffline:
		return kindNoNetwork
	case o.has(selectors.ScreenStorageFailed):
		return kindStorage
	case o.Modules.Socket == selectors.SocketOpening, o.Modules.Socket == selectors.SocketPairing:
		return kindNoServer
	}
	return kindNoCode
}
