// Package client asks a running service by its HTTP API, for the commands of people. What
// it receives is bounded in size and time, and can't control the terminal that shows it.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"session-manager/supervisor/internal/apikey"
)

// What a command can fail with, each with an exit code of its own.
var (
	// ErrUnreachable: nobody answers, or somebody else.
	ErrUnreachable = errors.New("the service can't be reached")
	// ErrKey: the API key is missing, or does not allow this.
	ErrKey = errors.New("an API key is needed")
	// ErrRefused: what was asked for is not possible as it was written.
	ErrRefused = errors.New("the service refuses this")
	// ErrFailed: it is not possible in the present state, or has failed for ever.
	ErrFailed = errors.New("it has failed")
	// ErrLater: the time is over, or the service asks to try again later.
	ErrLater = errors.New("not yet")
)

const (
	connectTimeout = 5 * time.Second
	// answerTimeout is for answers from memory and disk, and commandTimeout for those of
	// Chrome: a logout may take a minute.
	answerTimeout  = 15 * time.Second
	commandTimeout = 80 * time.Second
	// hold is how long the service is asked to hold an answer until there is news.
	hold = 50 * time.Second
	// silence is how long a stream of events may be silent: it has a heartbeat every 15 s.
	silence = 45 * time.Second
	// reconnectAfter is the pause before a lost connection is made again, and patience how
	// long that is tried: a restart of the service takes seconds.
	reconnectAfter = time.Second
	patience       = time.Minute

	maxAnswer = 1 << 20
	maxEvent  = 256 << 10
)

// Options of a Client.
type Options struct {
	// Address is a URL, or a socket after "unix:".
	Address string
	// Certificate is the PEM file with the service's certificate, of which the name does not
	// matter. Without, the system's authorities must know it.
	Certificate []byte
	// Keys is the content of a file with API keys.
	Keys []byte
}

// Client asks one service.
type Client struct {
	address, base string
	keys          []byte
	http          *http.Client
}

// New returns a Client. It connects directly, follows no redirection, and sends the key nowhere
// but to the address.
func New(o Options) (*Client, error) {
	transport := &http.Transport{TLSHandshakeTimeout: connectTimeout, MaxResponseHeaderBytes: 64 << 10}
	dialer := &net.Dialer{Timeout: connectTimeout}
	c := &Client{address: o.Address, base: strings.TrimSuffix(o.Address, "/"), keys: o.Keys}
	transport.DialContext = dialer.DialContext
	if path, ok := strings.CutPrefix(o.Address, "unix:"); ok {
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	}
	if o.Certificate != nil {
		block, _ := pem.Decode(o.Certificate)
		if block == nil {
			return nil, errors.New("the file of --tls-cert has no certificate")
		}
		transport.TLSClientConfig = only(block.Bytes)
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// only accepts one certificate, whose name is not the one by which the service is reached on
// its own machine.
func only(certificate []byte) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does more
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, certificate) {
				return x509.CertificateInvalidError{Detail: "it is not the one of --tls-cert"}
			}
			return nil
		},
	}
}

// request is one to the service.
type request struct {
	method, path string
	needs        apikey.Scope
	header       http.Header
	// body is sent as JSON, if it is not nil.
	body    any
	timeout time.Duration
}

// do sends a request. A bad answer is an error; the caller closes the body of a good one.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	maps.Copy(sent.Header, r.header)
	if r.body != nil {
		sent.Header.Set("Content-Type", "application/json")
	}
	if key, err := c.key(r.needs); err != nil || key != "" {
		if err != nil {
			return nil, err
		}
		sent.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.http.Do(sent)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 == http.StatusOK/100 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, c.refusal(resp)
}

// key returns the key to send, or nothing.
func (c *Client) key(needs apikey.Scope) (string, error) {
	if c.keys == nil {
		return "", nil
	}
	key, err := apikey.Pick(c.keys, needs)
	if err == nil && key == "" {
		key, err = apikey.Pick(c.keys, 0) // the service explains what it lacks
	}
	if err != nil {
		return "", fmt.Errorf("%w: the file with the keys can't be used: %w", ErrKey, err)
	}
	return key, nil
}

// ask sends a request and returns the body of a good answer.
func (c *Client) ask(ctx context.Context, r request) ([]byte, error) {
	limit := cmp.Or(r.timeout, answerTimeout)
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: no answer within %s", ErrUnreachable, limit))
	defer cancel()
	resp, err := c.do(bounded, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(bounded, err)
	}
	if len(body) > maxAnswer {
		return nil, c.foreign(errors.New("its answer is too large"))
	}
	return body, nil
}

// object asks for JSON, puts it into target, and returns it as it is.
func (c *Client) object(ctx context.Context, r request, target any) ([]byte, error) {
	body, err := c.ask(ctx, r)
	if err == nil {
		if err = json.Unmarshal(body, target); err != nil {
			err = c.foreign(err)
		}
	}
	return body, err
}

// unreachable explains why there was no answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("%w at %s: %w; see whether it runs (systemctl status session-manager), or name another with --url", ErrUnreachable, printable(c.address), err)
}

// foreign is the error of an answer that the service would not give.
func (c *Client) foreign(err error) error {
	return final{fmt.Errorf("%w at %s: what answers there is another program: %w", ErrUnreachable, printable(c.address), err)}
}

// Refusal is a bad answer: a problem document.
type Refusal struct {
	Status       int
	Code         string
	Detail, Hint string
}

// Error implements error.
func (r *Refusal) Error() string {
	text := printable(strings.TrimSpace(r.Detail + " " + r.Hint))
	if r.Code != "" {
		text += " (" + printable(r.Code) + ")"
	}
	return text
}

// Is implements errors.Is.
func (r *Refusal) Is(target error) bool { return target == kindOf(r.Status) }

// kindOf returns what an answer with a bad status is.
func kindOf(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrKey
	case http.StatusConflict, http.StatusNotImplemented, http.StatusInternalServerError:
		return ErrFailed
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return ErrLater
	}
	return ErrRefused
}

func (c *Client) refusal(resp *http.Response) error {
	refused := &Refusal{Status: resp.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if json.Unmarshal(body, refused) != nil || refused.Code == "" {
		return c.foreign(fmt.Errorf("it answers %d", resp.StatusCode))
	}
	refused.Status = resp.StatusCode
	switch {
	case resp.StatusCode != http.StatusUnauthorized:
	case c.keys == nil:
		refused.Hint = "Run this as root, or name a file that has the key with --key-file."
	default: // the service's hint is about headers
		refused.Hint = "Name a file that has the service's key with --key-file."
	}
	return refused
}

// longest is how much is shown of a text, in runes.
const longest = 2000

// printable returns text in one line, without what could control a terminal or change the order
// of what it shows.
func printable(text string) string {
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsGraphic(r):
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// harmless returns JSON that means the same as encoded and can't control a terminal.
func harmless(encoded []byte) string {
	var b strings.Builder
	for _, r := range string(encoded) {
		if unicode.IsGraphic(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
