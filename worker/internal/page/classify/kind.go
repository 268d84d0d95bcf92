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
	kindElsewhere
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
	kindExpired
	kindNoServer
	kindNoNetwork
	kindPhoneEntry
	kindPairing
	kindPhoneCode
	kindAutoLogout
	kindStorage
	kindSyncing
	kindReady
	kindConflict
	kindUnlinkedConflict
	kindRefused
	kindSilent
	kindConnecting
	kindReconnecting
	kindOffline
	kindReloading
	kinds // their number
)

// trait is what a kind means, how long it may last, and what is done then.
type trait struct {
	condition rpc.Condition
	reason    reason.Code
	detail    string
	overdue   overdue
	retry     retry
	// first is done instead of the first reload; Stay means nothing.
	first Action
	// fresh: it is reloaded past the cache.
	fresh bool
	// giveUp: after so many fruitless reloads only a new browser can help.
	giveUp int
	// good: earlier troubles are over.
	good bool
}

// overdue is what a page is reported as instead, after a while.
type overdue struct {
	after     time.Duration
	condition rpc.Condition
	reason    reason.Code
}

// retry is when the page is reloaded: after a while, and then after twice as long,
// up to a limit. Zero means never.
type retry struct{ after, limit time.Duration }

// syncStuck is how long the sync may show the same progress. The page itself ends
// the first sync after three minutes without the most important part.
const syncStuck = 3*time.Minute + 10*time.Second

// traits is the failure catalogue of WhatsApp Web; CATALOGUE.md describes what the
// page shows. The durations are those after which users and libraries have seen a
// page still recover, rounded up.
var traits = [kinds]trait{
	kindBlank: {
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: overdue{time.Minute, rpc.PageBlocked, reason.PageUnrecognised}, retry: retry{time.Minute, 10 * time.Minute},
	},
	kindBooting: {
		condition: rpc.PageLoading, reason: reason.PageLoading,
		overdue: overdue{time.Minute, rpc.PageLoading, reason.PageLoadFailed}, retry: retry{time.Minute, 2 * time.Minute}, giveUp: 3,
	},
	kindErrorPage: {
		condition: rpc.PageLoading, reason: reason.NetworkUnreachable, detail: "Chrome can't load the page",
		retry: retry{2 * time.Second, 30 * time.Second},
	},
	kindElsewhere: {condition: rpc.PageBlocked, reason: reason.WrongOrigin, retry: retry{2 * time.Second, time.Minute}},
	kindHTTPError: {condition: rpc.PageLoading, reason: reason.HTTPError, retry: retry{5 * time.Second, time.Minute}},
	kindUnsupported: {
		condition: rpc.PageBlocked, reason: reason.UnsupportedBrowser,
		retry: retry{5 * time.Second, 30 * time.Minute}, fresh: true,
	},
	kindOutdated: {
		condition: rpc.PageLoading, reason: reason.PageOutdated,
		retry: retry{5 * time.Second, 10 * time.Minute}, fresh: true,
	},
	kindOtherTab: {
		condition: rpc.PageLoading, reason: reason.Conflict, detail: "the page believes that another tab of this browser is open",
		retry: retry{3 * time.Second, time.Minute}, first: UseHere,
	},
	kindUnavailable: {
		condition: rpc.PageLoading, reason: reason.ServiceUnavailable,
		retry: retry{30 * time.Second, 5 * time.Minute},
	},
	kindProxyBlocked: {condition: rpc.PageBlocked, reason: reason.ProxyBlocked, retry: retry{time.Minute, 10 * time.Minute}},
	kindTerms:        {condition: rpc.PageBlocked, reason: reason.TermsRequired},
	kindBanned:       {condition: rpc.PageBlocked, reason: reason.Banned},
	kindLocked:       {condition: rpc.PageBlocked, reason: reason.ScreenLocked},
	kindPasskey: {
		condition: rpc.PageBlocked, reason: reason.PasskeyRequired,
		detail: "no code has to be compared within 300 s of the scan, and the page's request is good for 600 s",
	},
	kindLoggingOut: {
		condition: rpc.PageLoading, reason: reason.PageLoading, detail: "the page is logging out",
		retry: retry{time.Minute, 2 * time.Minute},
	},
	kindLinking: {
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the page is connected, but its storage holds no login",
		retry: retry{time.Minute, 5 * time.Minute},
	},
	kindScanned: {
		condition: rpc.PageLoading, reason: reason.Reconnecting, detail: "the login is in storage, but the page does not use it yet",
		retry: retry{time.Minute, 5 * time.Minute},
	},
	kindCode: {condition: rpc.PageUnlinked, reason: reason.ScanQR, good: true},
	kindRenewing: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the codes are used up; new ones have been requested",
		overdue: overdue{20 * time.Second, rpc.PageUnlinked, reason.QRUnreadable},
	},
	kindNoCode: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "no code is shown yet",
		overdue: overdue{15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable}, retry: retry{45 * time.Second, 5 * time.Minute},
	},
	// The page's clock of the codes ends in a moment without network, and nothing
	// starts it again.
	kindExpired: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the life of the code that the page shows is over",
		overdue: overdue{15 * time.Second, rpc.PageUnlinked, reason.QRUnreadable}, retry: retry{2 * time.Second, 30 * time.Second},
	},
	kindNoServer: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page is connecting to its server",
		overdue: overdue{15 * time.Second, rpc.PageUnlinked, reason.NetworkUnreachable}, retry: retry{45 * time.Second, 5 * time.Minute},
	},
	kindNoNetwork: {condition: rpc.PageUnlinked, reason: reason.NetworkUnreachable},
	kindPhoneEntry: {
		condition: rpc.PageUnlinked, reason: reason.ScanQR, detail: "the page shows its form for a phone number",
		overdue: overdue{45 * time.Second, rpc.PageUnlinked, reason.QRUnreadable}, retry: retry{45 * time.Second, 5 * time.Minute}, first: Return,
	},
	// The request has dropped the secret of the page's QR, and ended an earlier code.
	kindPairing: {
		condition: rpc.PageUnlinked, reason: reason.PairingRequested,
		overdue: overdue{2 * time.Minute, rpc.PageUnlinked, reason.QRUnreadable}, retry: retry{time.Second, 5 * time.Minute}, first: Return,
	},
	// A pairing code lives for three minutes; the life of one that we asked for is
	// known exactly.
	kindPhoneCode: {
		condition: rpc.PageUnlinked, reason: reason.PairingCodeShown,
		overdue: overdue{6 * time.Minute, rpc.PageUnlinked, reason.QRUnreadable}, retry: retry{200 * time.Second, 10 * time.Minute}, first: Return,
	},
	kindAutoLogout: {
		condition: rpc.PageUnlinked, reason: reason.QRUnreadable, detail: "the page shows a code whose session would not be kept",
		retry: retry{5 * time.Second, time.Minute},
	},
	kindStorage: {condition: rpc.PageUnlinked, reason: reason.StorageFailed, retry: retry{30 * time.Second, 5 * time.Minute}},
	kindSyncing: {
		condition: rpc.PageSyncing, reason: reason.Syncing, good: true,
		overdue: overdue{syncStuck, rpc.PageSyncing, reason.SyncStuck}, retry: retry{syncStuck, 12 * time.Minute},
	},
	kindReady:    {condition: rpc.PageReady, good: true},
	kindConflict: {condition: rpc.PageDisconnected, reason: reason.Conflict},
	kindUnlinkedConflict: {
		condition: rpc.PageUnlinked, reason: reason.Conflict, detail: "the page reports a conflict, although it was never linked",
		retry: retry{3 * time.Second, time.Minute}, first: UseHere,
	},
	// The page itself tries again about once a second.
	kindRefused: {
		condition: rpc.PageDisconnected, reason: reason.LoginRefused,
		retry: retry{5 * time.Minute, 30 * time.Minute},
	},
	// When the server replaces a connection by another one the page stays as it
	// is, and nothing more comes over it.
	kindSilent: {
		condition: rpc.PageDisconnected, reason: reason.ConnectionSilent,
		retry: retry{5 * time.Second, 10 * time.Minute},
	},
	kindConnecting: {
		condition: rpc.PageLoading, reason: reason.Reconnecting,
		overdue: overdue{45 * time.Second, rpc.PageDisconnected, reason.Reconnecting}, retry: retry{2 * time.Minute, 10 * time.Minute},
	},
	kindReconnecting: {
		condition: rpc.PageDisconnected, reason: reason.Reconnecting,
		retry: retry{2 * time.Minute, 10 * time.Minute},
	},
	kindOffline: {condition: rpc.PageDisconnected, reason: reason.NetworkUnreachable},
	// The page does what a reload could do, except for the cache.
	kindReloading: {
		condition: rpc.PageBlocked, reason: reason.PageReloading,
		retry: retry{10 * time.Second, 10 * time.Minute}, fresh: true,
	},
}

// trait returns that of k, at the page's pace.
func (k kind) trait(t Timings) trait {
	r := traits[k]
	r.overdue.after, r.retry.after, r.retry.limit = t.paced(r.overdue.after), t.paced(r.retry.after), t.paced(r.retry.limit)
	return r
}

// unlinked reports whether the page asks for a phone, with or without a code.
func (k kind) unlinked() bool { return k >= kindCode && k <= kindStorage }

// evidence is what the rules apply to: an observation, and what is remembered.
type evidence struct {
	Observation
	registered bool
	seen       bool // a code was found in an image lately
	loggedIn   bool // in this document, at some time
	replaced   bool // the account is open elsewhere
	refused    bool // the server does not accept the login
}

// classify returns the kind that the first matching rule gives; a rule that does
// not match gives kindBlank. A page that asks to be linked is kindNoCode; its code
// is assessed afterwards.
func (e evidence) classify(quiet time.Duration) kind {
	k := cmp.Or(
		e.byDocument(), socketKinds[e.Modules.Socket], e.byScreen(), e.byPairing(), e.byLink(), e.byRequest(), e.byRest(),
	)
	switch {
	case e.Connection.Quiet >= quiet && (k == kindReady || k == kindSyncing):
		return kindSilent
	case k == kindConflict && !e.registered && e.Storage.Registered != nil:
		return kindUnlinkedConflict
	}
	return k
}

func (e evidence) byDocument() kind {
	switch {
	case e.Navigation.ErrorPage:
		return kindErrorPage
	case e.Navigation.Elsewhere != "":
		return kindElsewhere
	case e.Navigation.Status >= 400 && !e.Drawn.Mount:
		return kindHTTPError
	case e.Navigation.UnsupportedURL, e.has(selectors.ScreenUnsupported) && !e.Drawn.Mount && !e.Modules.Loader:
		return kindUnsupported
	}
	return kindBlank
}

var socketKinds = map[selectors.Socket]kind{
	selectors.SocketConflict:     kindConflict,
	selectors.SocketProxyBlocked: kindProxyBlocked,
	selectors.SocketTerms:        kindTerms,
	selectors.SocketLocked:       kindLocked,
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

// byScreen finds the screens that stand in the way. Their texts prove
// nothing while a code is shown: the page around it mentions all sorts of things.
func (e evidence) byScreen() kind {
	codeShown := e.found(selectors.ReaderDOM)
	for _, s := range screenKinds {
		if e.surely(s.name) || e.has(s.name) && !codeShown {
			return s.kind
		}
	}
	return kindBlank
}

// byPairing finds the ways of linking other than by QR, by what the
// modules, Chrome and the worker itself know of them.
func (e evidence) byPairing() kind {
	switch {
	case e.registered:
		return kindBlank
	case e.Modules.Method == selectors.MethodPasskey && !e.found(selectors.ReaderDOM):
		return kindPasskey
	case e.PasskeyAsked && !e.seen:
		return kindPasskey
	case e.Drawn.Passkey.Event != "" && e.Modules.Method == "" && !e.seen && !e.found(selectors.ReaderDOM):
		return kindPasskey
	case e.Modules.Socket == selectors.SocketConnected:
		return kindBlank
	case !e.PairingUntil.IsZero():
		return kindPhoneCode
	case e.PairingAsked:
		return kindPairing
	}
	return kindBlank
}

func (e evidence) byLink() kind {
	socket := e.Modules.Socket
	connected := socket == selectors.SocketConnected || socket == "" && e.showsChats()
	switch {
	case connected && !e.registered:
		return kindLinking
	case !e.registered:
		return kindBlank
	case connected && e.Observation.loggedIn():
		return e.whenLoggedIn()
	case connected, socket == selectors.SocketOpening, socket == selectors.SocketPairing:
		return e.withoutLogin()
	default:
		return kindBlank
	}
}

func (e evidence) whenLoggedIn() kind {
	synced := e.surely(selectors.ScreenMain)
	if said := e.Modules.HasSynced; said != nil {
		// The modules are believed when they know of the login as well.
		synced = *said && (synced || e.Modules.Stream != "")
	}
	switch {
	case e.offline():
		return kindOffline
	case synced:
		return kindReady
	default:
		return kindSyncing
	}
}

// withoutLogin is a linked page whose login is not accepted, or not yet.
func (e evidence) withoutLogin() kind {
	switch {
	case e.offline():
		return kindOffline
	case e.replaced:
		return kindConflict
	case e.refused:
		return kindRefused
	case e.loggedIn:
		return kindReconnecting
	default:
		return kindConnecting
	}
}

// byRequest finds the ways in which a page asks to be linked.
func (e evidence) byRequest() kind {
	codeShown := e.found(selectors.ReaderDOM)
	switch {
	case !e.asksForPhone():
		return kindBlank
	case e.registered:
		return kindScanned
	case e.Drawn.AutoLogoutFrame:
		return kindAutoLogout
	case e.has(selectors.ScreenPhoneCode) && !codeShown:
		return kindPhoneCode
	case e.has(selectors.ScreenPhoneEntry) && !codeShown:
		return kindPhoneEntry
	default:
		return kindNoCode
	}
}

func (e evidence) asksForPhone() bool {
	unpaired := e.Modules.Socket == selectors.SocketUnpaired || e.Modules.Socket == selectors.SocketIdle
	byPhone := e.has(selectors.ScreenPhoneEntry) || e.has(selectors.ScreenPhoneCode)
	return unpaired || byPhone || e.seen || e.Drawn.AutoLogoutFrame || e.has(selectors.ScreenQR)
}

func (e evidence) byRest() kind {
	switch {
	case e.has(selectors.ScreenOffline) && e.registered:
		return kindOffline
	case e.has(selectors.ScreenOffline):
		return kindNoNetwork
	case e.Drawn.Splash, e.Drawn.Mount:
		return kindBooting
	}
	return kindBlank
}

// refine returns which of the unlinked kinds the candidate makes.
func refine(c candidate, o Observation) kind {
	switch {
	case c.cause == "":
		return kindCode
	case c.cause == causeIdle:
		return kindRenewing
	case c.cause == causeOffline:
		return kindNoNetwork
	case o.has(selectors.ScreenStorageFailed):
		return kindStorage
	case c.cause == causeExpired && c.cheap():
		return kindExpired
	case c.cause == causeDisconnected, o.Modules.Socket == selectors.SocketOpening, o.Modules.Socket == selectors.SocketPairing:
		return kindNoServer
	}
	return kindNoCode
}
