// Package webhook tells another service of the session's state, so that a person
// learns that a QR has to be scanned. It delivers at least once and in order, as
// Standard Webhooks describes it (standardwebhooks.com): the same webhook-id on
// every attempt, and a signature over id, time and body.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
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
	// GiveUp is how old news may become before they are dropped: a QR that was
	// needed an hour ago is none any more.
	GiveUp time.Duration
}

// DefaultTimings returns the timings in force when none are set.
func DefaultTimings() Timings {
	return Timings{Attempt: 10 * time.Second, First: time.Second, Max: time.Minute, GiveUp: time.Hour}
}

// Results of an attempt, as Options.Count is told them.
const (
	Delivered = "delivered"
	Failed    = "failed"
	Dropped   = "dropped"
)

// Options of a Sender.
type Options struct {
	// URL is where to. It may hold a secret, and is never logged.
	URL string
	// Key signs what is sent; without one it goes unsigned.
	Key []byte
	// Events of the session.
	Events *events.Log
	// Timings; the zero value means DefaultTimings.
	Timings Timings
	// Count is told the result of each attempt.
	Count  func(result string)
	Logger *slog.Logger
	// Version of the service.
	Version string
}

// Sender delivers events. Run is its loop.
type Sender struct {
	Options
	client *http.Client
	// position is that of the last event looked at.
	position uint64
	// told is the reason last seen, to tell a new one from a new detail.
	told reason.Code
}

// New returns a Sender that tells of what happens from now on.
func New(o Options) *Sender {
	if o.Timings == (Timings{}) {
		o.Timings = DefaultTimings()
	}
	return &Sender{
		Options: o, position: o.Events.Present().Last,
		client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			// What is signed for one address is not sent to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run delivers until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	s.Logger.Info(logid.WebhookConfigured, "host", host(s.URL), "signed", len(s.Key) > 0)
	for {
		batch, ok := s.Events.After(s.position)
		if !ok {
			s.Logger.Error(logid.WebhookEventsLost, logging.KeyDetail, "the receiver was away for too long; the present state follows")
			batch = s.Events.Present()
		}
		for _, e := range batch.Events {
			if s.matters(e) || !ok && e.Type == events.StateChanged {
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

// matters says whether a person or program out there wants to know: a new state,
// or a new reason in a state in which somebody may have to act.
func (s *Sender) matters(e events.Event) bool {
	body, ok := e.Body.(events.State)
	if !ok {
		return false
	}
	fresh := body.Reason.Code != s.told
	s.told = body.Reason.Code
	if body.Status != body.Previous {
		return true
	}
	switch body.Status {
	case session.QRRequired, session.Disconnected, session.Error:
		return fresh
	default:
		return false
	}
}

// message is the body of a delivery.
type message struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// messageType names the only kind of message.
const messageType = "session.state"

// deliver tries until it is done, e is too old, or ctx ends.
func (s *Sender) deliver(ctx context.Context, e events.Event) {
	body, err := json.Marshal(message{messageType, e.At, e.Data})
	if err != nil {
		s.Logger.Error(logid.WebhookEncodeFailed, logging.KeyError, err)
		return
	}
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
		wait := max(after, jitter(pause))
		if time.Since(e.At)+wait > s.Timings.GiveUp {
			s.Count(Dropped)
			s.Logger.Error(logid.WebhookEventDropped, logging.KeyEvent, e.ID, "host", host(s.URL), logging.KeyError, err)
			return
		}
		s.Logger.Warn(logid.WebhookSendFailed, logging.KeyEvent, e.ID, "host", host(s.URL), "retry_ms", wait.Milliseconds(), logging.KeyError, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// jitter spreads the attempts of many services over half the pause.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // no secret depends on it
}

// host is all of the address that may be logged.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 5 * time.Minute

func errStatus(code int) error {
	return fmt.Errorf("the receiver answered %d %s", code, http.StatusText(code))
}
