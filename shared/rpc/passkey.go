package rpc

import (
	"regexp"
	"time"
)

// PasskeyAction is what is done about the page's request for a passkey.
type PasskeyAction string

// The actions of Worker.Passkey.
const (
	// PasskeyBegin makes the page ask its browser for the passkey, and returns what it asks
	// for. While its call is open, that is returned again. The call is the only one that is
	// intercepted.
	PasskeyBegin PasskeyAction = "begin"
	// PasskeyAnswer answers the open call with an assertion, if that fits: otherwise the
	// call stays open.
	PasskeyAnswer PasskeyAction = "answer"
	// PasskeyConfirm confirms to the page that its code is the one on the phone.
	PasskeyConfirm PasskeyAction = "confirm"
	// PasskeyCancel declines the open call, and leads a page that is not linked back to
	// its QR.
	PasskeyCancel PasskeyAction = "cancel"
)

// PasskeyCommand is an action, and what it needs.
type PasskeyCommand struct {
	Action PasskeyAction
	// Assertion is for PasskeyAnswer: the JSON of a PublicKeyCredential (its toJSON, Web
	// Authentication Level 3, section 5.1.6), of at most MaxAssertion bytes.
	Assertion Secret
}

// PasskeyCall is the page's call of navigator.credentials.get.
type PasskeyCall struct {
	// Options is the JSON of PublicKeyCredentialRequestOptions, of at most
	// MaxPasskeyOptions bytes. It is empty for every action but PasskeyBegin.
	Options Secret
	// TTL is how long the call stays open.
	TTL time.Duration
}

// PasskeyStage is how far the page has got with a passkey.
type PasskeyStage string

// The stages. The empty one means that no passkey is asked for.
const (
	// PasskeyNeeded: the page asks for one.
	PasskeyNeeded PasskeyStage = "needed"
	// PasskeySent: it has sent what was signed, and waits for the phone.
	PasskeySent PasskeyStage = "sent"
	// PasskeyConfirming: a person has to compare a code with the phone.
	PasskeyConfirming PasskeyStage = "confirm"
	// PasskeyFailed: it did not work, and can be tried again.
	PasskeyFailed PasskeyStage = "failed"
)

var passkeyStages = map[PasskeyStage]bool{PasskeyNeeded: true, PasskeySent: true, PasskeyConfirming: true, PasskeyFailed: true}

// PasskeyReason is why it failed.
type PasskeyReason string

// The reasons that the page gives, in its own words.
const (
	PasskeyTimeout     PasskeyReason = "timeout"
	PasskeyServerError PasskeyReason = "server_error"
)

var passkeyReasons = map[PasskeyReason]bool{PasskeyTimeout: true, PasskeyServerError: true}

// PasskeyChanged reports how far the page has got with a passkey. It is sent on each change.
type PasskeyChanged struct {
	Stage PasskeyStage
	// Code has eight characters, without a hyphen, in PasskeyConfirming.
	Code   Secret
	Reason PasskeyReason
	// TTL is how long the stage can last, and HandoffTTL how long no code has to be compared
	// if a passkey signs.
	TTL, HandoffTTL time.Duration
}

func (PasskeyChanged) eventBody() {}

// comparison is the code that page and phone show, without its hyphen.
var comparison = regexp.MustCompile(`^[0-9A-Z]{8}$`)

// ValidComparison reports whether code has the form of one to be compared.
func ValidComparison(code Secret) bool { return comparison.MatchString(string(code)) }

// PasskeyErrorCode is the reason why a passkey did not help.
type PasskeyErrorCode string

// The codes of a PasskeyError.
const (
	// PasskeyNotAsked: the page does not ask for a passkey.
	PasskeyNotAsked PasskeyErrorCode = "not_asked"
	// PasskeyNoCall: the page's call is not open; PasskeyBegin opens it.
	PasskeyNoCall PasskeyErrorCode = "no_call"
	// PasskeyUnavailable: the page can't be made to make its call, or asks for what no
	// browser would sign for it.
	PasskeyUnavailable PasskeyErrorCode = "unavailable"
	// PasskeyNoCode: the page shows no code to be compared.
	PasskeyNoCode PasskeyErrorCode = "no_code"
	// The rest is wrong with an assertion; the page's call is still open.
	PasskeyMalformed       PasskeyErrorCode = "malformed"
	PasskeyWrongType       PasskeyErrorCode = "wrong_type"
	PasskeyWrongChallenge  PasskeyErrorCode = "wrong_challenge"
	PasskeyWrongOrigin     PasskeyErrorCode = "wrong_origin"
	PasskeyWrongRP         PasskeyErrorCode = "wrong_rp"
	PasskeyWrongCredential PasskeyErrorCode = "wrong_credential" //nolint:gosec // a name, no credentials
	PasskeyNotVerified     PasskeyErrorCode = "not_verified"
	PasskeyReplayed        PasskeyErrorCode = "replayed"
)

// passkeyErrors are what the codes mean.
var passkeyErrors = map[PasskeyErrorCode]string{
	PasskeyNotAsked:        "the page does not ask for a passkey",
	PasskeyNoCall:          "the page does not wait for a passkey to sign",
	PasskeyUnavailable:     "the page could not be made to ask for the passkey",
	PasskeyNoCode:          "the page shows no code to be compared",
	PasskeyMalformed:       "the assertion can't be read",
	PasskeyWrongType:       "the assertion is of another type",
	PasskeyWrongChallenge:  "the assertion answers another request, or an old one",
	PasskeyWrongOrigin:     "the assertion was made on another site",
	PasskeyWrongRP:         "the assertion is for another relying party",
	PasskeyWrongCredential: "the passkey is not one of those that were asked for",
	PasskeyNotVerified:     "the authenticator did not verify the user",
	PasskeyReplayed:        "the assertion was used before",
}

// PasskeyError means that Passkey did nothing.
type PasskeyError struct{ Code PasskeyErrorCode }

func (e *PasskeyError) Error() string { return passkeyErrors[e.Code] }
