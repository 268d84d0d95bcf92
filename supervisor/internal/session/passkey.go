package session

import (
	"cmp"
	"time"

	"session-manager/shared/rpc"
)

// PasskeyStatus is how far a request for a passkey has got.
type PasskeyStatus string

// The statuses of a request for a passkey.
const (
	// PasskeyNone: no passkey is asked for. Its text is "none".
	PasskeyNone PasskeyStatus = ""
	// PasskeyNeeded: somebody has to sign with it.
	PasskeyNeeded PasskeyStatus = "needed"
	// PasskeySent: the page has sent what was signed, and waits for the phone.
	PasskeySent PasskeyStatus = "sent"
	// PasskeyConfirm: somebody has to compare a code with the phone.
	PasskeyConfirm PasskeyStatus = "confirm"
	// PasskeyFailed: it did not work; the reason explains why.
	PasskeyFailed PasskeyStatus = "failed"
)

// MarshalText implements encoding.TextMarshaler.
func (s PasskeyStatus) MarshalText() ([]byte, error) { return []byte(cmp.Or(string(s), "none")), nil }

// PasskeyPurpose is what a passkey is asked for.
type PasskeyPurpose string

// The purposes of a passkey.
const (
	ToLink      PasskeyPurpose = "link"
	ToChallenge PasskeyPurpose = "challenge"
)

// PasskeyRestarted is the reason of a request that ended with its page, next to those of
// rpc.PasskeyReason: it starts over with the next scan, or when the page asks again.
const PasskeyRestarted rpc.PasskeyReason = "restarted"

// Passkey is a request for a passkey. Its JSON has neither what is to be signed nor the code.
type Passkey struct {
	Status PasskeyStatus `json:"status"`
	// Purpose is empty without a request.
	Purpose PasskeyPurpose `json:"purpose,omitempty"`
	// Reason is why it failed; it may be empty.
	Reason rpc.PasskeyReason `json:"reason,omitempty"`
	// ExpiresAt is when the status ends at the latest, and HandoffExpiresAt when
	// a code has to be compared from, even if somebody signs.
	ExpiresAt        Moment `json:"expires_at"`
	HandoffExpiresAt Moment `json:"handoff_expires_at"`
	// Code is what has to be compared, eight characters. It is a secret.
	Code rpc.Secret `json:"-"`
}

// passkeyEvent is what can change a request for a passkey: one of these.
type passkeyEvent struct {
	// changed is what the page reports.
	changed *rpc.PasskeyChanged
	// observed means that the page is linked, or is not.
	observed *bool
	// challenged means that the linked account is asked for a passkey, or is not.
	challenged *bool
	// exited: the page has ended with its Chrome. cancelled: somebody wanted it to.
	exited, cancelled bool
}

// busy reports whether a request is under way.
func (p Passkey) busy() bool { return p.Status != PasskeyNone && p.Reason != PasskeyRestarted }

// next is p after e. It is pure.
func (p Passkey) next(e passkeyEvent, now time.Time) Passkey {
	switch {
	case e.changed != nil:
		return p.reported(*e.changed, now)
	case e.challenged != nil:
		return p.challenged(*e.challenged)
	case e.exited && p.busy():
		return p.restarted()
	case e.cancelled && p.Purpose != ToLink:
		return p.challenge()
	case e.cancelled, e.observed != nil && *e.observed && p.Purpose == ToLink:
		return Passkey{}
	}
	return p
}

// restarted is p after its page has ended.
func (p Passkey) restarted() Passkey {
	return Passkey{Status: PasskeyFailed, Purpose: p.Purpose, Reason: PasskeyRestarted}
}

// challenged is p once it is known whether the linked account is asked for a passkey.
func (p Passkey) challenged(asked bool) Passkey {
	switch {
	case asked && (p.Purpose != ToChallenge || !p.busy()):
		return Passkey{Status: PasskeyNeeded, Purpose: ToChallenge}
	case !asked && p.Purpose == ToChallenge:
		return Passkey{}
	}
	return p
}

// challenge is a challenge that was not answered.
func (p Passkey) challenge() Passkey {
	if p.Purpose != ToChallenge {
		return p
	}
	return Passkey{Status: PasskeyNeeded, Purpose: ToChallenge}
}

// reported is p after the page has reported a stage. A page that is linked has its own
// request, which it keeps.
func (p Passkey) reported(c rpc.PasskeyChanged, now time.Time) Passkey {
	switch {
	case c.Stage == "" && p.Purpose == ToChallenge:
		return p.challenge()
	case c.Stage == "" && p.busy():
		return p.restarted()
	case c.Stage == "":
		return p
	}
	purpose := ToLink
	if p.Purpose == ToChallenge && p.busy() {
		purpose = ToChallenge
	}
	next := Passkey{Status: PasskeyStatus(c.Stage), Purpose: purpose, Reason: c.Reason, Code: c.Code}
	if c.TTL > 0 {
		next.ExpiresAt = Moment{now.Add(c.TTL)}
	}
	if c.HandoffTTL > 0 && c.Stage != rpc.PasskeyConfirming && c.Stage != rpc.PasskeySent {
		next.HandoffExpiresAt = Moment{now.Add(c.HandoffTTL)}
	}
	return next
}
