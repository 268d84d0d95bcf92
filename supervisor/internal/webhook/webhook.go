// Package webhook reports to another service what happens: each state of the session, so
// that a person learns that a QR has to be scanned, and what becomes of messages. It
// delivers as Standard Webhooks describes it (standardwebhooks.com): the same webhook-id on
// every attempt, and a signature over id, time and body.
//
// # At least once, in order
//
// An event is on disk before its source forgets it, until the receiver has answered 2xx, so
// neither a receiver that is away nor the death of this process loses one. Those of one
// chat are delivered in order, and so are those of the session; a chat whose event is
// refused delays no other. On a full disk the session's are delivered from memory, and
// those of messages wait where they come from.
//
// # Bounds
//
// What is beyond Limits is dropped, the oldest first, but reactions and statuses of messages before all
// else; and the receiver is sent an event of the type Dropped. The newest state and the newest warnings are never dropped, so a
// receiver that was away for too long learns the present. What is about messages of a former
// account is dropped, too. An event is erased from the disk once it was delivered.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/logid"
)

// Types of the events that this package makes, or gives another name.
const (
	State    = "session.state"
	Warnings = "session.warnings"
	// Dropped: the receiver was away for too long, and misses events. The body is a lost.
	Dropped = "events.dropped"
)

// kinds are the types of the session's events that are delivered, as the receiver is sent
// them. Those of messages come from Keep.
var kinds = map[events.Type]string{events.StateChanged: State, events.WarningsChanged: Warnings, events.PasskeyChanged: "session.passkey"}

// Results of an attempt, for Options.Count.
const (
	delivered = "delivered"
	failed    = "failed"
	dropped   = "dropped"
)

// Options of a Sender.
type Options struct {
	// Path of the queue's file, absolute. It is made if it is missing.
	Path string
	// URL of the receiver. It may contain a secret, and is never logged.
	URL string
	// Proxy returns the proxy for a request, or nil, as in http.Transport.
	Proxy func(*http.Request) (*url.URL, error)
	// Key signs what is sent; without one it is not signed.
	Key    []byte
	Events *events.Log
	// Timings and Limits are DefaultTimings and DefaultLimits, except in tests.
	Timings Timings
	Limits  Limits
	// Count gets the result of each attempt.
	Count  func(result string)
	Logger *slog.Logger
	// Version, Host and Instance name the service to the receiver.
	Version, Host, Instance string
}

// Sender delivers events. Run is its loop; the other methods may be called from any
// goroutine.
type Sender struct {
	Options
	client *http.Client
	queue  *queue
	// restate: the present is to be kept again, since the queue was lost.
	restate atomic.Bool
	// present is what there was when this process started.
	present events.Batch
	// wake holds a token when there may be something to deliver.
	wake chan struct{}

	mu sync.Mutex
	// unkept has what happened to the session and can't be kept on disk.
	unkept []row // guarded by mu
}

// New returns a Sender for the events that follow, and those that wait in the file.
func New(o Options) *Sender {
	s := &Sender{
		Options: o, queue: newQueue(o.Path, o.Limits, o.Logger), wake: make(chan struct{}, 1), present: o.Events.Present(),
		client: &http.Client{
			Transport: &http.Transport{Proxy: o.Proxy, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer},
			// What is signed for one receiver is not sent to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.queue.dropped = func() { o.Count(dropped) }
	s.queue.damaged = func() { s.restate.Store(true) }
	s.queue.announcement = func(l lost) row {
		data, _ := json.Marshal(l) // it has a JSON form
		return s.row(events.Report{ID: rand.Text(), Type: Dropped, At: time.Now(), Chat: Dropped, Data: data})
	}
	return s
}

// row is an event as it is kept; its body stays the same on every attempt.
func (s *Sender) row(e events.Report) row {
	body, _ := json.Marshal(struct { // all of it has a JSON form
		Type      events.Type     `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Host      string          `json:"host"`
		Instance  string          `json:"instance"`
		Data      json.RawMessage `json:"data"`
	}{e.Type, e.At.UTC(), s.Host, s.Instance, e.Data})
	return row{id: e.ID, kind: string(e.Type), chat: e.Chat, account: e.Account, body: body}
}

// Keep has events on disk when it returns without an error, in their order. account is the
// one that is linked, or zero where nobody knows; what waits of another one is dropped.
func (s *Sender) Keep(ctx context.Context, account rpc.Account, all []events.Report) error {
	rows := make([]row, len(all))
	for i, e := range all {
		rows[i] = s.row(e)
	}
	if err := s.queue.keep(ctx, account, rows, nil, 0); err != nil {
		return err
	}
	s.signal()
	return nil
}

// Forget erases what waits about messages, also from the disk.
func (s *Sender) Forget(ctx context.Context) error { return s.queue.forget(ctx) }

func (s *Sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. What was not delivered then stays on disk.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	s.Logger.Info(logid.WebhookConfigured, "host", s.host(), "signed", len(s.Key) > 0)
	var following sync.WaitGroup
	following.Go(func() { s.follow(ctx) })
	s.deliver(ctx)
	following.Wait()
	if err := s.queue.close(context.WithoutCancel(ctx)); err != nil {
		s.Logger.Warn(logid.WebhookWriteFailed, logging.KeyError, err)
	}
}

const (
	// retryPause is the time until what can't be kept or read is tried again.
	retryPause = 2 * time.Second
	// housekeeping is how often what is too old is dropped.
	housekeeping = 10 * time.Minute
	// maxUnkept bounds what is kept in memory while the disk is full.
	maxUnkept = 1000
)

// follower keeps what happens to the session.
type follower struct {
	*Sender
	position uint64
	reported reported
	begun    bool // reported is known
	failing  bool
	// missed is how many events were not kept since the last that was.
	missed int
}

// follow keeps what happens to the session until ctx ends, and then what has happened before.
func (s *Sender) follow(ctx context.Context) {
	clean := time.NewTicker(housekeeping)
	defer clean.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	f := follower{Sender: s}
	for {
		more := f.keep(ctx)
		if f.failing {
			retry.Reset(retryPause)
		}
		select {
		case <-ctx.Done():
			f.keep(context.WithoutCancel(ctx))
			return
		case <-clean.C:
			if err := s.queue.retain(ctx, time.Now()); err != nil {
				f.failed(err)
			}
		case <-more:
		case <-retry.C:
		}
	}
}

// keep keeps all that is new, and returns a channel that is closed when there is more.
func (f *follower) keep(ctx context.Context) <-chan struct{} {
	if !f.begun {
		t, err := f.queue.reported(ctx)
		f.begun = err == nil
		if f.failed(err); f.begun {
			f.reported = t
		}
	}
	for {
		batch, ok := f.present, true
		if f.position > 0 {
			batch, ok = f.Events.After(f.position)
		}
		if restate := f.restate.Swap(false); !ok || restate {
			if !ok {
				f.Logger.Error(logid.WebhookEventsLost, logging.KeyDetail, "the disk was unavailable for too long; the present state follows")
				f.missed++
			}
			f.reported, batch = reported{}, f.Events.Present()
		}
		rows := f.news(batch.Events)
		f.position = batch.Last
		f.write(ctx, rows)
		select {
		case <-batch.More:
		default:
			return batch.More
		}
	}
}

// write keeps what happened, after what could not be kept before. What can't be kept stays in
// memory, where deliver finds it.
func (f *follower) write(ctx context.Context, rows []row) {
	f.mu.Lock()
	all := slices.Concat(f.unkept, rows)
	f.mu.Unlock()
	if len(all) == 0 {
		return
	}
	now := f.reported // a copy, since a call that was given up may still read it
	err := f.queue.keep(ctx, rpc.Account{}, all, &now, f.missed)
	f.failed(err)
	if err == nil {
		f.missed = 0
		f.forget(all...)
	} else {
		f.remember(rows)
	}
	f.signal()
}

// remember adds to what is kept in memory.
func (f *follower) remember(rows []row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unkept = append(f.unkept, rows...)
	if n := len(f.unkept) - maxUnkept; n > 0 {
		f.unkept = slices.Delete(f.unkept, 0, n)
		f.missed += n
	}
}

// forget removes events from memory.
func (s *Sender) forget(rows ...row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept = slices.DeleteFunc(s.unkept, func(r row) bool {
		return slices.ContainsFunc(rows, func(o row) bool { return o.id == r.id })
	})
}

// news returns those of the events that are to be reported. What is so already when this process
// starts is news if something else was reported last.
func (f *follower) news(all []events.Event) (rows []row) {
	for _, e := range all {
		kind, ok := kinds[e.Type]
		if present := f.position == 0; !ok || present && kind != State && kind != Warnings {
			continue
		}
		before, data := f.reported.Status, e.Data
		var news bool
		f.reported, news = f.reported.after(e)
		if body, ok := e.Body.(events.State); ok && f.position == 0 {
			news = news && before != ""
			body.Previous = before
			data, _ = json.Marshal(body) // it has a JSON form
		}
		if news {
			rows = append(rows, f.row(events.Report{ID: e.ID, Type: events.Type(kind), At: e.At, Data: data}))
		}
	}
	return rows
}

// failed notes whether the disk can be written. One cause is logged once.
func (f *follower) failed(err error) {
	if err != nil && !f.failing {
		f.Logger.Warn(logid.WebhookWriteFailed, logging.KeyError, err)
	}
	f.failing = err != nil
}

// deliver delivers what waits until ctx ends.
func (s *Sender) deliver(ctx context.Context) {
	p := plan{timings: s.Timings, chats: map[string]trouble{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		if wait := p.until.Sub(now); wait > 0 {
			sleep(ctx, timer, wait, nil)
			continue
		}
		held, next := p.held(now)
		r, ok, err := s.next(ctx, held)
		if ok {
			s.try(ctx, &p, r)
			continue
		}
		wait := housekeeping
		if !next.IsZero() {
			wait = next.Sub(now)
		}
		if err != nil {
			wait = min(wait, retryPause)
		}
		sleep(ctx, timer, wait, s.wake)
	}
}

func sleep(ctx context.Context, timer *time.Timer, d time.Duration, wake <-chan struct{}) {
	timer.Reset(d)
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// next returns what is delivered next: what is on disk, then what can't be kept there.
func (s *Sender) next(ctx context.Context, held []string) (r row, ok bool, err error) {
	r, ok, err = s.queue.next(ctx, held)
	if ok || slices.Contains(held, "") {
		return r, ok, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unkept) == 0 {
		return r, false, err
	}
	return s.unkept[0], true, nil
}

// try attempts to deliver an event.
func (s *Sender) try(ctx context.Context, p *plan, r row) {
	after, err := s.attempt(ctx, r.id, r.body)
	switch {
	case err == nil:
		s.Count(delivered)
		p.succeeded(r.chat)
		s.forget(r)
		_ = s.queue.delivered(ctx, r.id) // what fails is done before the next event
	case ctx.Err() == nil:
		s.Count(failed)
		now := time.Now()
		p.failed(r.chat, after, mathrand.Float64(), now) //nolint:gosec // no secret depends on it
		s.Logger.Warn(logid.WebhookSendFailed, logging.KeyEvent, r.id, "host", s.host(), logging.KeyError, err, "retry_ms", p.until.Sub(now).Milliseconds())
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

// A connection is reused only if the answer was read, so some of it is: maxAnswer bounds that in
// bytes, and answerTime how long it may take.
const (
	maxAnswer  = 64 << 10
	answerTime = time.Second
)

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
	late := time.AfterFunc(answerTime, cancel)
	defer late.Stop()
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

// withoutURL removes the URL, which may contain a secret, from an error of net/http, each part
// of it that the receiver may have repeated, and what the error quotes of an answer that is not
// HTTP, which may be the message.
func withoutURL(address string, err error) error {
	e, ok := errors.AsType[*url.Error](err)
	u, parseErr := url.Parse(address)
	if !ok || parseErr != nil {
		return errors.New("the receiver's URL is not valid")
	}
	text, _, _ := strings.Cut(e.Err.Error(), `"`)
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		text = "the answer has a malformed header"
	}
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
		return nil, fmt.Errorf("the key needs at least %d bytes (a good one is "+secretPrefix+" and what openssl rand -base64 24 prints)", minKey)
	}
	return key, nil
}
