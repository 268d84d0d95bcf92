package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/webui"
)

// passkeys answers for the request for a passkey. What is to be signed, what was signed, and
// the code to be compared are in these answers and requests and nowhere else.
type passkeys struct {
	*commands
	bodies *shares
	// url is the page on which a person's browser has to sign.
	url string
	ui  *webui.UI
}

type passkeyBody struct {
	session.Passkey
	// Detail explains the status to people.
	Detail string `json:"detail"`
	// Options are what navigator.credentials.get is to be called with, on a page of URL.
	Options json.RawMessage `json:"options,omitempty"`
	URL     string          `json:"url"`
	// Code is to be compared with the phone's.
	Code string `json:"code,omitempty"`
}

// passkeyDetails explain the statuses.
var passkeyDetails = map[session.PasskeyStatus]string{
	session.PasskeyNone:    "No passkey is asked for. If one was, that has ended: it starts over when a phone is linked, or when WhatsApp asks again.",
	session.PasskeyNeeded:  "Sign the options with the account's passkey in a browser on the page at url, and POST the result here.",
	session.PasskeySent:    "The page waits for the phone: open WhatsApp there, and agree.",
	session.PasskeyConfirm: "Compare the code with the phone's, and POST to /session/passkey/confirm if they are the same.",
	session.PasskeyFailed:  "It did not work. Ask for the options again.",
}

const startedOver = "The page has started over, and WhatsApp's request for a passkey has ended with it. Link the phone again, or wait until WhatsApp asks again."

// one answers for /session/passkey.
func (p *passkeys) one(r *http.Request) http.Handler {
	switch r.Method {
	case http.MethodPost:
		return p.answer(r)
	case http.MethodDelete:
		return p.act(r, rpc.PasskeyCancel)
	}
	return p.show(r)
}

// show answers GET /session/passkey. It is what makes the page ask for the passkey: while one
// is needed, the answer has the page's request.
func (p *passkeys) show(r *http.Request) http.Handler {
	s := p.session.Snapshot()
	body := passkeyBody{Passkey: s.Passkey, URL: p.url, Code: string(s.Passkey.Code)}
	asked := body.Status == session.PasskeyNeeded || body.Status == session.PasskeyFailed && body.Reason != session.PasskeyRestarted
	if asked {
		call, err := p.carry(r, rpc.PasskeyCommand{Action: rpc.PasskeyBegin})
		if err != nil {
			return p.refuse(rpc.PasskeyBegin, err)
		}
		if !json.Valid([]byte(call.Options)) {
			return passkeyRefusals[rpc.PasskeyUnavailable]
		}
		body.Options, body.Status, body.Reason = json.RawMessage(call.Options), session.PasskeyNeeded, ""
		body.ExpiresAt = session.Moment{Time: time.Now().Add(call.TTL)}
	}
	body.Detail = passkeyDetails[body.Status]
	if body.Reason == session.PasskeyRestarted {
		body.Detail = startedOver
	}
	return object{http.StatusOK, body}
}

// answer answers POST /session/passkey, whose body is the JSON of a PublicKeyCredential.
func (p *passkeys) answer(r *http.Request) http.Handler {
	var assertion json.RawMessage
	if bad := largeInput(r, rpc.MaxAssertion, p.bodies, &assertion); bad != nil {
		return bad
	}
	if _, err := p.carry(r, rpc.PasskeyCommand{Action: rpc.PasskeyAnswer, Assertion: rpc.Secret(assertion)}); err != nil {
		return p.refuse(rpc.PasskeyAnswer, err)
	}
	return accepted
}

// confirm answers POST /session/passkey/confirm.
func (p *passkeys) confirm(r *http.Request) http.Handler { return p.act(r, rpc.PasskeyConfirm) }

// act answers what has no body.
func (p *passkeys) act(r *http.Request, action rpc.PasskeyAction) http.Handler {
	if bad := input(r, &struct{}{}); bad != nil {
		return bad
	}
	if _, err := p.carry(r, rpc.PasskeyCommand{Action: action}); err != nil {
		return p.refuse(action, err)
	}
	if action == rpc.PasskeyCancel {
		p.session.PasskeyCancelled()
	}
	return accepted
}

var accepted = object{http.StatusAccepted, restartBody{Accepted: true}}

// carry carries out an action, and logs that somebody wanted it.
func (p *passkeys) carry(r *http.Request, c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	ctx, cancel := context.WithTimeout(r.Context(), pairTimeout)
	defer cancel()
	call, err := p.workers.Passkey(ctx, c)
	if err == nil {
		p.log.Info(logid.PasskeyHandled, "action", string(c.Action))
	}
	return call, err
}

func (p *passkeys) refuse(action rpc.PasskeyAction, err error) http.Handler {
	bad := p.failed("passkey "+string(action), err)
	if e, ok := errors.AsType[*rpc.PasskeyError](err); ok {
		return passkeyRefusals[e.Code]
	}
	return bad
}

// wrongAssertion is the answer to an assertion that does not fit. The page still waits.
func wrongAssertion(p problem) problem {
	p.Status = http.StatusUnprocessableEntity
	return p
}

const signAgain = "GET /session/passkey has the present request; sign that one."

// passkeyRefusals are the answers to a PasskeyError.
var passkeyRefusals = map[rpc.PasskeyErrorCode]problem{
	rpc.PasskeyNotAsked: {
		Status: http.StatusConflict, Code: "passkey_not_asked", Detail: "The page does not ask for a passkey.",
		Hint: "If it did, it has started over: link the phone again.",
	},
	rpc.PasskeyNoCall: {
		Status: http.StatusConflict, Code: "passkey_not_requested", Detail: "The page does not wait for a passkey to sign: its request was answered, has expired, or ended with a restart.",
		Hint: "GET /session/passkey starts over.",
	},
	rpc.PasskeyNoCode: {
		Status: http.StatusConflict, Code: "passkey_no_code", Detail: "The page shows no code to be compared.", Hint: "GET /session/passkey shows how far it has got.",
	},
	rpc.PasskeyUnavailable: {
		Status: http.StatusBadGateway, Code: "passkey_unavailable", Detail: "The page could not be made to ask for the passkey, or asks for what no browser would sign.",
		Hint: "Try again; if that does not help, restart the session and link the phone again.",
	},
	rpc.PasskeyMalformed:       wrongAssertion(problem{Code: "passkey_malformed", Detail: "What was sent is not the answer of a passkey.", Hint: "Send the JSON that PublicKeyCredential.toJSON() returns, unchanged."}),
	rpc.PasskeyWrongType:       wrongAssertion(problem{Code: "passkey_wrong_type", Detail: "The answer is not that of a passkey that signs.", Hint: "Call navigator.credentials.get, not create."}),
	rpc.PasskeyWrongChallenge:  wrongAssertion(problem{Code: "passkey_wrong_challenge", Detail: "The answer belongs to another request, or to an old one.", Hint: signAgain}),
	rpc.PasskeyWrongOrigin:     wrongAssertion(problem{Code: "passkey_wrong_origin", Detail: "The passkey has signed on another site.", Hint: "Sign on the page that GET /session/passkey names as url, not on localhost or in a frame."}),
	rpc.PasskeyWrongRP:         wrongAssertion(problem{Code: "passkey_wrong_rp", Detail: "The passkey has signed for another relying party.", Hint: signAgain}),
	rpc.PasskeyWrongCredential: wrongAssertion(problem{Code: "passkey_wrong_credential", Detail: "This passkey is not one of those that were asked for.", Hint: "Use the passkey of the account that is being linked."}),
	rpc.PasskeyNotVerified:     wrongAssertion(problem{Code: "passkey_not_verified", Detail: "The authenticator did not verify who was there.", Hint: "Sign again with the fingerprint, face or PIN."}),
	rpc.PasskeyReplayed:        wrongAssertion(problem{Code: "passkey_replayed", Detail: "This answer was used before.", Hint: signAgain}),
}

// extension answers GET /passkey-extension.zip: a browser extension that signs on the page.
func (p *passkeys) extension(r *http.Request) http.Handler {
	zip, err := p.ui.Extension(p.url, language(r.Header.Get("Accept-Language")))
	if err != nil {
		return problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "The extension could not be made."}
	}
	return content{"application/zip", zip}
}
