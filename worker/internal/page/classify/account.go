package classify

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// falseLogin is how long the page may ask for a scan although the login is in
// storage, before the page is believed.
const falseLogin = 10 * time.Second

// account is what is known of the login.
type account struct {
	known      bool // the registration has been read
	registered bool
	loggedOut  *string // why the login has ended
	scanned    bool    // the login came into storage, and READY has not followed yet
	// linkingSince is when a code was first shown with the login in storage.
	linkingSince time.Time
	// pairing is the end of the pairing code's life, and voided when the code's
	// connection was lost.
	pairing, voided time.Time
}

// update notes the registration, and returns why the login
// has ended if it has since the last observation.
func (a *account) update(o Observation) *string {
	ended := o.Navigation.LoggedOut
	if registered := o.Storage.Registered; registered != nil {
		if ended == nil && !*registered {
			ended = a.loss(o.Storage.Remains)
		}
		a.scanned = a.scanned || a.known && !a.registered && *registered
		a.known, a.registered = true, *registered
	}
	switch {
	case ended != nil:
		a.loggedOut, a.registered, a.scanned = ended, false, false
	case a.registered:
		a.loggedOut = nil
	}
	return ended
}

// loss explains why storage holds no login, when it should or once did.
func (a *account) loss(remains bool) *string {
	switch {
	case a.registered && a.loggedOut == nil:
		return new("the login has disappeared from the page's storage")
	case !a.known && remains:
		return new("the profile held only part of a login")
	}
	return nil
}

// doubt ignores the login in storage when a code is shown next to it for longer
// than a scan takes.
func (a *account) doubt(k kind, o Observation, now time.Time) kind {
	switch {
	case k != kindScanned || !o.found(selectors.ReaderDOM):
		a.linkingSince = time.Time{}
	case a.linkingSince.IsZero():
		a.linkingSince = now
	case now.Sub(a.linkingSince) >= falseLogin:
		return kindNoCode
	}
	return k
}

// follow notes what becomes of a scan and of a pairing code.
func (a *account) follow(k kind, o Observation, now time.Time) {
	a.scanned = a.scanned && k != kindReady
	if !o.PairingUntil.Equal(a.pairing) {
		a.pairing, a.voided = o.PairingUntil, time.Time{}
	}
	// A pairing code ends with the connection that it was given over.
	if k == kindPhoneCode && o.Modules.Socket == selectors.SocketOpening && a.voided.IsZero() {
		a.voided = now
	}
}

// pairingGrace is for a code that is used in its last moment.
const pairingGrace = 5 * time.Second

// pairingEnds is when the page should show its QR again.
func (a *account) pairingEnds(o Observation, now time.Time, grace time.Duration) time.Time {
	switch {
	case a.voided.IsZero():
		return o.PairingUntil.Add(grace)
	case o.Modules.Socket == selectors.SocketOpening, o.Modules.Socket == selectors.SocketPairing:
		return now.Add(time.Second) // It has nothing else to show yet.
	default:
		return a.voided
	}
}

// amend changes a report by what is known of the login: an account that is linked
// is disconnected rather than loading, and one that was logged out is reported so.
func (a *account) amend(r rpc.PageObserved, k kind) rpc.PageObserved {
	unreachable := k == kindErrorPage || k == kindElsewhere || k == kindHTTPError || k == kindUnavailable || k == kindReloading
	switch {
	case a.registered && unreachable:
		r.Condition = rpc.PageDisconnected
	case a.loggedOut == nil:
	case r.Reason == reason.PageLoading, r.Reason == reason.Reconnecting:
		r.Condition, r.Reason, r.Detail = rpc.PageLoggedOut, reason.LoggedOut, *a.loggedOut
	case r.Reason == reason.ScanQR:
		r.Reason, r.Detail = reason.LoggedOut, *a.loggedOut
	}
	if a.scanned && r.Condition == rpc.PageLoading && r.Reason == reason.Reconnecting {
		// It is linked, though the server has still to accept the login.
		r.Condition, r.Detail = rpc.PageSyncing, "a phone has scanned the code"
	}
	return r
}
