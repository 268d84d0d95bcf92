// Package webhook informs another service about the session's state, so that a
// person learns that a QR has to be scanned. It delivers at least once and in
// order, as Standard Webhooks describes it (standardwebhooks.com): the same
// webhook-id on every attempt, and a signature over id, time and body.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/session"
)

// Timings of the delivery.
type Timings struct {
	// Attempt bounds one attempt.
	Attempt time.Duration
	// First is the pause after the first failure; it doubles up to Max.
	First, Max time.Duration
	// GiveUp is how old an event may become before it is dropped: a QR that was
	// needed an hour ago is no longer of interest.
	GiveUp time.Duration
}

// DefaultTimings returns the usual timings.
func DefaultTimings() Timings {
	return Timings{Attempt: 10 * time.Second, First: time.Second, Max: time.Minute, GiveUp: time.Hour}
}

// Results of an attempt, for Options.Count.
const (
	Delivered = "delivered"
	Failed    = "failed"
	Dropped   = "dropped"
)

// Options of a Sender.
type Options struct {
	// URL of the receiver. It may contain a secret, and is never logged.
	URL string
	// Proxy returns the proxy for a request, or nil, as in http.Transport.
	Proxy func(*http.Request) (*url.URL, error)
	// Key signs what is sent; without one it is not signed.
	Key    []byte
	Events *events.Log
	// Timings are DefaultTimings, except in tests.
	Timings Timings
	// Count gets the result of each attempt.
	Count   func(result string)
	Logger  *slog.Logger
	Version string
}

// Sender delivers events. Run is its loop.
type Sender struct {
	Options
	client *http.Client
	// position is that of the last event considered.
	position uint64
	// reason is the one last seen, to distinguish a new one from a new detail.
	reason reason.Code
}

// New returns a Sender for the events that follow.
func New(o Options) *Sender {
	return &Sender{
		Options: o, position: o.Events.Present().Last,
		client: &http.Client{
			Transport: &http.Transport{Proxy: o.Proxy, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			// What is signed for one receiver is not sent to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run delivers until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	s.Logger.Info(logid.WebhookConfigured, "host", s.host(), "signed", len(s.Key) > 0)
	for {
		batch, ok := s.Events.After(s.position)
		if !ok {
			s.Logger.Error(logid.WebhookEventsLost, logging.KeyDetail, "the receiver was unavailable for too long; the present state follows")
			batch = s.Events.Present()
		}
		for _, e := range batch.Events {
			if s.matters(e) || !ok && kinds[e.Type] != "" {
				s.deliver(ctx, e)
			}
			if ctx.Err() != nil {
				return
			}
		}
		s.position = batch.Last
		select {
		case <-batch.More:
		case <-ctx.Done():
			return
		}
	}
}

// kinds are the types of the events that may be delivered, as the receiver is sent them.
var kinds = map[events.Type]string{events.StateChanged: "session.state", events.WarningsChanged: "session.warnings"}

// matters reports whether e is delivered: a new state, a new reason in a state in which
// somebody may have to act, or a warning that was raised or cleared.
func (s *Sender) matters(e events.Event) bool {
	if e.Type == events.WarningsChanged {
		return true
	}
	body, ok := e.Body.(events.State)
	if !ok {
		return false
	}
	fresh := body.Reason.Code != s.reason
	s.reason = body.Reason.Code
	switch body.Status {
	case session.QRRequired, session.Disconnected, session.Error:
		return fresh || body.Status != body.Previous
	default:
		return body.Status != body.Previous
	}
}

// deliver tries until it succeeds, e is too old, or ctx ends.
func (s *Sender) deliver(ctx context.Context, e events.Event) {
	body := fmt.Appendf(nil, `{"type":"%s","timestamp":"%s","data":%s}`, kinds[e.Type], e.At.Format(time.RFC3339Nano), e.Data)
	for pause := s.Timings.First; ; pause = min(2*pause, s.Timings.Max) {
		after, err := s.attempt(ctx, e.ID, body)
		switch {
		case err == nil:
			s.Count(Delivered)
			return
		case ctx.Err() != nil:
			return
		}
		s.Count(Failed)
		// Half of the pause is random, so that many services do not retry at once.
		wait := max(after, pause/2+rand.N(pause/2+1)) //nolint:gosec // no secret depends on it
		log := s.Logger.With(logging.KeyEvent, e.ID, "host", s.host(), logging.KeyError, err)
		if time.Since(e.At)+wait > s.Timings.GiveUp {
			s.Count(Dropped)
			log.Error(logid.WebhookEventDropped)
			return
		}
		log.Warn(logid.WebhookSendFailed, "retry_ms", wait.Milliseconds())
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// host is the only part of the URL that may be logged.
func (s *Sender) host() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// maxAnswer bounds what is read of an answer, in bytes: a connection is reused
// only if it was read.
const maxAnswer = 64 << 10

// attempt posts body once. Any answer but 2xx is an error; after is how long the
// receiver asks to wait.
func (s *Sender) attempt(ctx context.Context, id string, body []byte) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timings.Attempt)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return 0, withoutURL(s.URL, err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "session-manager/"+s.Version)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", now)
	if len(s.Key) > 0 {
		r.Header.Set("Webhook-Signature", Signature(s.Key, id, now, body))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, withoutURL(s.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return retryAfter(resp.Header.Get("Retry-After")),
			fmt.Errorf("the receiver answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return 0, nil
}

// Signature is what Webhook-Signature must be for a delivery: "v1," and the base64
// of HMAC-SHA256 over "id.timestamp.body".
func Signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// withoutURL removes the URL, which may contain a secret, from an error of net/http, and
// each part of it that the receiver may have repeated.
func withoutURL(address string, err error) error {
	e, ok := errors.AsType[*url.Error](err)
	u, parseErr := url.Parse(address)
	if !ok || parseErr != nil {
		return errors.New("the receiver's URL is not valid")
	}
	text := e.Err.Error()
	after := u.User.String() + "?" + u.RequestURI() + "?" + u.Path + "?" + u.Fragment
	for _, part := range strings.FieldsFunc(after, func(r rune) bool { return strings.ContainsRune("/?&=#:;,", r) }) {
		if len(part) >= minPart {
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return fmt.Errorf("cannot reach the receiver: %s", text)
}

// minPart is the shortest part of a URL that may be a secret, in bytes.
const minPart = 4

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads the form in seconds; the other one, a date, is rare.
func retryAfter(text string) time.Duration {
	n, _ := strconv.ParseUint(text, 10, 16) // the greatest for more, 0 for anything else
	return min(time.Duration(n)*time.Second, maxRetryAfter)
}

// minKey is the shortest key that is accepted, in bytes.
const minKey = 16

// secretPrefix marks a key in base64, as Standard Webhooks writes it.
const secretPrefix = "whsec_"

// ParseKey returns the signing key that a file holds: "whsec_" and base64, or the key
// itself.
func ParseKey(content []byte) (key []byte, err error) {
	key = bytes.TrimSpace(content)
	if text, ok := strings.CutPrefix(string(key), secretPrefix); ok {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fmt.Errorf("what follows %s is not base64", secretPrefix)
		}
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("the key needs at least %d bytes (openssl rand -hex 24 makes a good one)", minKey)
	}
	return key, nil
}
