// Package passkey reads the page's request for a passkey, and checks what was signed for
// it in another browser before the page gets it. It follows Web Authentication Level 3,
// section 7.2, as far as that can be done without the passkey's public key, which only
// WhatsApp has.
package passkey

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"session-manager/shared/rpc"
)

// Request is what the page asks its browser for.
type Request struct {
	// Options is JSON, as the page gave it.
	Options rpc.Secret
	// Timeout is how long the page waits for an answer; zero means that it does not say.
	Timeout time.Duration

	challenge string
	origin    string
	rpID      string
	verified  bool
	allowed   []string
}

// errRequest means that no browser would sign for this page what it asks for.
var errRequest = errors.New("the page's request for a passkey is not valid")

// base64url is that of the JSON forms, without padding.
var base64url = base64.RawURLEncoding.Strict()

// ReadRequest reads the options of a page of this origin.
func ReadRequest(options, origin string) (Request, error) {
	var o struct {
		Challenge        string  `json:"challenge"`
		RPID             string  `json:"rpId"`
		Timeout          float64 `json:"timeout"` // in milliseconds
		UserVerification string  `json:"userVerification"`
		AllowCredentials []struct {
			ID string `json:"id"`
		} `json:"allowCredentials"`
	}
	site, err := url.Parse(origin)
	if err != nil || len(options) > rpc.MaxPasskeyOptions || json.Unmarshal([]byte(options), &o) != nil {
		return Request{}, errRequest
	}
	host := site.Hostname()
	if o.RPID == "" {
		o.RPID = host
	}
	// WebAuthn wants 16 bytes at least (section 13.4.3).
	challenge, err := base64url.DecodeString(o.Challenge)
	if err != nil || len(challenge) < 16 || o.RPID != host && !strings.HasSuffix(host, "."+o.RPID) {
		return Request{}, errRequest
	}
	r := Request{
		Options: rpc.Secret(options), challenge: o.Challenge, origin: origin, rpID: o.RPID, verified: o.UserVerification == "required",
	}
	const longest = float64(time.Hour / time.Millisecond)
	if o.Timeout > 0 {
		r.Timeout = time.Duration(min(o.Timeout, longest) * float64(time.Millisecond))
	}
	for _, c := range o.AllowCredentials {
		r.allowed = append(r.allowed, c.ID)
	}
	return r, nil
}

// Same reports whether both ask for the same signature.
func (r Request) Same(other Request) bool { return r.challenge == other.challenge }

// Answer is an assertion that fits a request, with bytes in base64url, as the page's
// script wants it.
type Answer struct {
	ID                string          `json:"id"`
	ClientDataJSON    string          `json:"clientDataJSON"`
	AuthenticatorData string          `json:"authenticatorData"`
	Signature         string          `json:"signature"`
	UserHandle        string          `json:"userHandle"`
	Attachment        string          `json:"attachment"`
	Extensions        json.RawMessage `json:"extensions"`
}

// Hash identifies what was signed.
func (a Answer) Hash() [sha256.Size]byte { return sha256.Sum256([]byte(a.Signature)) }

// credential is the JSON of a PublicKeyCredential.
type credential struct {
	ID         string `json:"id"`
	RawID      string `json:"rawId"`
	Type       string `json:"type"`
	Attachment string `json:"authenticatorAttachment"`
	Response   struct {
		ClientDataJSON    string `json:"clientDataJSON"`
		AuthenticatorData string `json:"authenticatorData"`
		Signature         string `json:"signature"`
		UserHandle        string `json:"userHandle"`
	} `json:"response"`
	Extensions map[string]json.RawMessage `json:"clientExtensionResults"`
}

// Flags of authenticator data, after the hash of the relying party (section 6.1).
const (
	userPresent  = 1 << 0
	userVerified = 1 << 2
	flagsAt      = sha256.Size
	shortest     = sha256.Size + 1 + 4
)

func fault(code rpc.PasskeyErrorCode) error { return &rpc.PasskeyError{Code: code} }

// Check returns the assertion if it answers the request. Otherwise the error is an
// *rpc.PasskeyError.
func (r Request) Check(assertion rpc.Secret) (Answer, error) {
	var c credential
	if len(assertion) > rpc.MaxAssertion || json.Unmarshal([]byte(assertion), &c) != nil {
		return Answer{}, fault(rpc.PasskeyMalformed)
	}
	client, authenticator, err := c.parts()
	if err != nil {
		return Answer{}, err
	}
	extensions, err := readExtensions(c.Extensions)
	if err != nil {
		return Answer{}, fault(rpc.PasskeyMalformed)
	}
	if err := r.checkClient(client); err != nil {
		return Answer{}, err
	}
	if err := r.checkAuthenticator(authenticator); err != nil {
		return Answer{}, err
	}
	if len(r.allowed) > 0 && !slices.Contains(r.allowed, c.ID) {
		return Answer{}, fault(rpc.PasskeyWrongCredential)
	}
	return Answer{
		ID: c.ID, ClientDataJSON: c.Response.ClientDataJSON, AuthenticatorData: c.Response.AuthenticatorData,
		Signature: c.Response.Signature, UserHandle: c.Response.UserHandle, Attachment: c.Attachment, Extensions: extensions,
	}, nil
}

// parts returns the client data and the authenticator data, if all parts have their form.
func (c credential) parts() (client, authenticator []byte, err error) {
	var parts [5][]byte
	for i, text := range []string{c.Response.ClientDataJSON, c.Response.AuthenticatorData, c.Response.Signature, c.ID, c.Response.UserHandle} {
		if parts[i], err = base64url.DecodeString(text); err != nil {
			return nil, nil, fault(rpc.PasskeyMalformed)
		}
	}
	client, authenticator = parts[0], parts[1]
	switch {
	case len(authenticator) < shortest, len(parts[2]) == 0, c.ID == "", c.RawID != c.ID:
		return nil, nil, fault(rpc.PasskeyMalformed)
	case c.Type != "public-key":
		return nil, nil, fault(rpc.PasskeyWrongType)
	}
	return client, authenticator, nil
}

// checkAuthenticator checks for whom the authenticator has signed, and in whose presence.
func (r Request) checkAuthenticator(data []byte) error {
	rp, flags := sha256.Sum256([]byte(r.rpID)), data[flagsAt]
	switch {
	case !bytes.Equal(data[:sha256.Size], rp[:]):
		return fault(rpc.PasskeyWrongRP)
	case flags&userPresent == 0, r.verified && flags&userVerified == 0:
		return fault(rpc.PasskeyNotVerified)
	}
	return nil
}

// checkClient checks what the other browser says it was asked for, and where.
func (r Request) checkClient(data []byte) error {
	var d struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
	}
	switch err := json.Unmarshal(data, &d); {
	case err != nil:
		return fault(rpc.PasskeyMalformed)
	case d.Type != "webauthn.get":
		return fault(rpc.PasskeyWrongType)
	case d.Challenge != r.challenge:
		return fault(rpc.PasskeyWrongChallenge)
	case d.Origin != r.origin || d.CrossOrigin:
		return fault(rpc.PasskeyWrongOrigin)
	}
	return nil
}

// readExtensions returns the results of extensions. Those of prf are bytes, which the
// page's script decodes.
func readExtensions(all map[string]json.RawMessage) (json.RawMessage, error) {
	var prf struct {
		Results map[string]string `json:"results"`
	}
	if raw, ok := all["prf"]; ok {
		if err := json.Unmarshal(raw, &prf); err != nil {
			return nil, errRequest
		}
	}
	for _, text := range prf.Results {
		if _, err := base64url.DecodeString(text); err != nil {
			return nil, errRequest
		}
	}
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	return json.Marshal(all)
}
