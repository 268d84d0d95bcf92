package simulator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// optionsLife is how long the server accepts what was signed for a challenge.
const optionsLife = 600 * time.Second

// ErrNoPasskey is what a lever returns that needs a page that has signed.
var ErrNoPasskey = errors.New("no page waits for the phone after it has signed with a passkey")

// Passkey is the passkey that the account's owner has registered with WhatsApp, as its
// manager would hold it, and what was signed with it. A test puts it into an authenticator.
type Passkey struct {
	ID         []byte `json:"id"`
	UserHandle []byte `json:"userHandle"`
	// PrivateKey is an ECDSA P-256 key in PKCS #8.
	PrivateKey []byte `json:"privateKey"`
	// Code is the verification code that the phone shows last.
	Code string `json:"code"`
	// Verdicts are what the server has found about each assertion, "accepted" or why not.
	Verdicts []string `json:"verdicts"`
}

// Sign returns what a browser on a page of this origin would answer with the passkey, as
// JSON.
func (k Passkey) Sign(options, origin string) (string, error) {
	var o struct{ Challenge, RPID string }
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return "", fmt.Errorf("cannot read options: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(k.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("cannot read key: %w", err)
	}
	client, err := json.Marshal(map[string]any{"type": "webauthn.get", "challenge": o.Challenge, "origin": origin, "crossOrigin": false})
	if err != nil {
		return "", err
	}
	rp, hash := sha256.Sum256([]byte(o.RPID)), sha256.Sum256(client)
	authenticator := append(rp[:], present|verified, 0, 0, 0, 0)
	signed := sha256.Sum256(append(slices.Clone(authenticator), hash[:]...))
	signature, err := key.(crypto.Signer).Sign(rand.Reader, signed[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("cannot sign: %w", err)
	}
	id := b64.EncodeToString(k.ID)
	text, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": map[string]string{
		"clientDataJSON": b64.EncodeToString(client), "authenticatorData": b64.EncodeToString(authenticator),
		"signature": b64.EncodeToString(signature), "userHandle": b64.EncodeToString(k.UserHandle),
	}})
	return string(text), err
}

// Flags of authenticator data (Web Authentication, section 6.1).
const (
	present  = 1
	verified = 4
)

// Passkeys asks for signatures with the account's passkey, and judges them.
type Passkeys struct {
	settings *Settings
	key      *ecdsa.PrivateKey
	pkcs8    []byte

	mu sync.Mutex // guards what follows
	// challenges are the ends of the lives of those that were given out.
	challenges map[string]time.Time
	// signatures were accepted once.
	signatures map[string]bool
	// waiting is the page that waits for the phone, and proven whether it has shown that
	// it is the one that the phone has scanned.
	waiting  *chat
	proven   bool
	code     string
	verdicts []string
	// judged is closed and replaced with each verdict.
	judged chan struct{}
}

func newPasskeys(s *Settings) (*Passkeys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	return &Passkeys{settings: s, key: key, pkcs8: pkcs8, challenges: map[string]time.Time{}, signatures: map[string]bool{}, judged: make(chan struct{})}, err
}

// Credential and user of the passkey.
var (
	credentialID = []byte("simulated-credential")
	userHandle   = []byte("simulated-owner")
	b64          = base64.RawURLEncoding
)

// Passkey returns the account's passkey, and what became of what was signed with it.
func (k *Passkeys) Passkey() Passkey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Passkey{
		ID: credentialID, UserHandle: userHandle, PrivateKey: k.pkcs8, Code: k.code, Verdicts: slices.Clone(k.verdicts),
	}
}

// passkeyMessage is what a message has that is about a passkey.
type passkeyMessage struct {
	Options    string          `json:"options,omitempty"`
	Purpose    string          `json:"purpose,omitempty"`
	Assertion  json.RawMessage `json:"assertion,omitempty"`
	Credential string          `json:"credential,omitempty"`
	Commitment string          `json:"commitment,omitempty"`
	Proof      string          `json:"proof,omitempty"`
	// PRF is the result of the extension of that name.
	PRF string `json:"prf,omitempty"`
	// Skip means that the page need not show the verification code.
	Skip bool `json:"skip,omitempty"`
}

// challengePurpose is that of an account that is linked already.
const challengePurpose = "challenge"

// options are as they were captured from WhatsApp's server.
func (k *Passkeys) options(c *chat, purpose string) string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // It never fails.
	challenge := b64.EncodeToString(raw)
	k.mu.Lock()
	k.challenges[challenge] = time.Now().Add(k.settings.scaled(optionsLife))
	k.mu.Unlock()
	o := map[string]any{
		"challenge": challenge, "timeout": k.settings.scaled(optionsLife).Milliseconds(), "rpId": c.origin().Hostname(),
		"allowCredentials": []any{}, "userVerification": "required", "extensions": map[string]any{"uvm": true},
	}
	if purpose == challengePurpose {
		o["userVerification"] = "preferred"
		o["extensions"] = map[string]any{"prf": map[string]any{"eval": map[string]any{"first": b64.EncodeToString([]byte("whatsapp-challenge"))}}}
	}
	text, _ := json.Marshal(o) // It never fails.
	return string(text)
}

// origin is that of the page.
func (c *chat) origin() *url.URL {
	origin, err := url.Parse(c.conn.Request().Header.Get("Origin"))
	if err != nil {
		return new(url.URL)
	}
	return origin
}

// demand answers a phone that has the page's code by asking the page for a passkey.
func (k *Passkeys) demand(c *chat, m message) {
	secret := m.Code
	if fields := strings.Split(m.Payload, ","); len(fields) > 3 {
		secret = fields[3]
	}
	k.mu.Lock()
	c.secret, k.code = secret, ""
	k.mu.Unlock()
	request := message{Type: "passkey-request", Code: m.Code}
	request.Options = k.options(c, "link")
	c.send(request)
}

func (k *Passkeys) handle(c *chat, m message) {
	switch m.Type {
	case "passkey-options":
		answer := message{Type: m.Type}
		answer.Options = k.options(c, m.Purpose)
		c.send(answer)
	case "passkey-prologue":
		challenge, err := k.judge(c, m.Assertion, true)
		if err != nil {
			c.send(message{Type: "passkey-error", Reason: "server_error"})
			return
		}
		k.mu.Lock()
		mac := hmac.New(sha256.New, []byte(c.secret))
		_, _ = mac.Write(challenge) // It never fails.
		k.waiting, k.proven = c, m.Proof == b64.EncodeToString(mac.Sum(nil))
		k.mu.Unlock()
	case "challenge-answer":
		if _, err := k.judge(c, m.Assertion, false); err == nil {
			k.settings.clearFault("challenge")
		}
	case "passkey-confirm":
		c.work.Go(func() { _ = c.account.link(c.ctx, c, message{}) }) // It ends with the page.
	}
}

// ApprovePasskey is the phone's owner agreeing. The page shows the verification code that
// the phone shows as well, unless it has proven that the phone has scanned it.
func (k *Passkeys) ApprovePasskey() error {
	return k.answer(func(proven bool) message {
		m := message{Type: "passkey-code", Code: newCode()}
		m.Skip, k.code = proven && !k.settings.isOn("passkey", "compare"), m.Code
		return m
	})
}

// RefusePasskey is the server failing after a signature that it has accepted.
func (k *Passkeys) RefusePasskey() error {
	return k.answer(func(bool) message { return message{Type: "passkey-error", Reason: "server_error"} })
}

func (k *Passkeys) answer(with func(proven bool) message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting == nil || k.waiting.ctx.Err() != nil {
		return ErrNoPasskey
	}
	k.waiting.send(with(k.proven))
	k.waiting = nil
	return nil
}

// AwaitPasskey returns when the server has judged as many assertions.
func (k *Passkeys) AwaitPasskey(ctx context.Context, n int) error {
	for {
		k.mu.Lock()
		have, judged := len(k.verdicts), k.judged
		k.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-judged:
		case <-ctx.Done():
			return fmt.Errorf("the server has judged %d assertions, not %d: %w", have, n, ctx.Err())
		}
	}
}

// judge verifies an assertion as a server does (Web Authentication, section 7.2), and
// returns the challenge that it answers.
func (k *Passkeys) judge(c *chat, assertion json.RawMessage, strict bool) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	challenge, err := k.verifyLocked(c.origin(), assertion, strict)
	verdict := "accepted"
	if err != nil {
		verdict = err.Error()
	}
	k.verdicts = append(k.verdicts, verdict)
	close(k.judged)
	k.judged = make(chan struct{})
	return challenge, err
}

func (k *Passkeys) verifyLocked(origin *url.URL, assertion json.RawMessage, strict bool) ([]byte, error) {
	var a struct {
		ID, RawID, Type string
		Response        struct{ ClientDataJSON, AuthenticatorData, Signature, UserHandle string }
	}
	if err := json.Unmarshal(assertion, &a); err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	parts, err := decoded(a.Response.ClientDataJSON, a.Response.AuthenticatorData, a.Response.Signature)
	if err != nil {
		return nil, err
	}
	client, authenticator, signature := parts[0], parts[1], parts[2]
	var data struct{ Type, Challenge, Origin string }
	if err := json.Unmarshal(client, &data); err != nil {
		return nil, fmt.Errorf("the client data can't be read: %w", err)
	}
	if err := judgeAuthenticator(authenticator, origin.Hostname(), strict); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(client)
	signed := sha256.Sum256(append(slices.Clone(authenticator), hash[:]...))
	switch {
	case a.ID != b64.EncodeToString(credentialID) || a.RawID != a.ID || a.Type != "public-key":
		return nil, errors.New("another credential")
	case data.Type != "webauthn.get":
		return nil, errors.New("another type")
	case !time.Now().Before(k.challenges[data.Challenge]):
		return nil, errors.New("another challenge, or an old one")
	case data.Origin != origin.Scheme+"://"+origin.Host:
		return nil, errors.New("another origin")
	case !ecdsa.VerifyASN1(&k.key.PublicKey, signed[:], signature):
		return nil, errors.New("the signature is not that of the key")
	case k.signatures[string(signature)]:
		return nil, errors.New("the same signature again")
	}
	k.signatures[string(signature)] = true
	challenge, err := b64.DecodeString(data.Challenge)
	return challenge, err
}

// judgeAuthenticator judges for whom an authenticator has signed, and in whose presence.
func judgeAuthenticator(data []byte, host string, strict bool) error {
	rp := sha256.Sum256([]byte(host))
	switch {
	case len(data) < 37 || string(data[:32]) != string(rp[:]):
		return errors.New("another relying party")
	case data[32]&present == 0 || strict && data[32]&verified == 0:
		return errors.New("nobody was there, or was verified")
	}
	return nil
}

// decoded decodes base64url.
func decoded(texts ...string) ([][]byte, error) {
	parts := make([][]byte, len(texts))
	for i, text := range texts {
		var err error
		if parts[i], err = b64.DecodeString(text); err != nil {
			return nil, fmt.Errorf("a part can't be read: %w", err)
		}
	}
	return parts, nil
}
