package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// Outbox is what the API asks of an outbox.Outbox.
type Outbox interface {
	Accept(ctx context.Context, r outbox.Request) (m outbox.Message, replayed bool, err error)
	Changed(id rpc.MessageID) (outbox.Message, <-chan struct{}, error)
	Cancel(ctx context.Context, id rpc.MessageID) (outbox.Message, error)
}

// outboxTimeout bounds the writing of a message to disk.
const outboxTimeout = 10 * time.Second

// Bodies that are large are few at once, in all and for each address.
const mostBodies, mostBodiesEach = 32, 16

// messages answers for what is sent.
type messages struct {
	holder
	outbox  Outbox
	session Session
	files   *media.Store
	bodies  *shares
	uploads *shares
	log     *slog.Logger
	off     bool
}

// accept answers POST /messages: 202 once the message is on disk, without asking Chrome,
// or 200 if this request was accepted before.
func (m *messages) accept(r *http.Request) http.Handler {
	key, bad := m.begin(r)
	if bad != nil {
		return bad
	}
	if isUpload(r) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.acceptUpload(w, r, key).ServeHTTP(w, r) })
	}
	var body messageBody
	if bad := largeInput(r, maxMessageBody, m.bodies, &body); bad != nil {
		return bad
	}
	request, bad := body.request(false)
	if bad != nil {
		return bad
	}
	request.IdempotencyKey = key
	return m.keep(r, request)
}

// begin returns the idempotency key of a message, or why none is sent.
func (m *messages) begin(r *http.Request) (key string, bad *problem) {
	if m.off {
		return "", &problem{
			Status: http.StatusConflict, Code: "sending_off", Detail: "This service sends no messages.", Hint: "Start it with --messages out or both.",
		}
	}
	return idempotencyKey(r)
}

// keep puts a message into the outbox.
func (m *messages) keep(r *http.Request, request outbox.Request) http.Handler {
	request.OnlyRepeat = !linked(m.session.Snapshot())
	// It is completed even if the caller disconnects: whoever asks again with the same key is
	// to find it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), outboxTimeout)
	defer cancel()
	message, replayed, err := m.outbox.Accept(ctx, request)
	if err != nil {
		return m.failed(err)
	}
	answer := object{http.StatusAccepted, events.NewMessage(message)}
	if replayed {
		answer.status = http.StatusOK
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/messages/"+string(message.ID))
		if replayed {
			w.Header().Set("Idempotency-Replayed", "true")
		}
		answer.ServeHTTP(w, r)
	})
}

// linked reports whether there is a login, or may be one: what is accepted meanwhile is sent
// once the page is READY.
func linked(s *session.Snapshot) bool {
	switch s.State {
	case session.QRRequired:
		return false
	case session.Authenticated, session.Ready, session.Disconnected:
		return true
	default:
		return !s.Login.LinkedAt.IsZero() && s.Login.LoggedOutAt.IsZero() && s.Login.LostAt.IsZero()
	}
}

var notLinked = problem{
	Status: http.StatusConflict, Code: "not_linked",
	Detail: "No phone is linked, so nothing can be sent.", Hint: "Link one first: GET /qr or POST /session/pair.",
}

// one answers GET and DELETE /messages/{id}.
func (m *messages) one(r *http.Request) http.Handler {
	if r.Method == http.MethodDelete {
		return m.cancel(r)
	}
	return m.show(r)
}

// show answers GET /messages/{id}; with ?wait= once the status has changed, or is not one
// of ?not=, and at once if it is one that does not change.
func (m *messages) show(r *http.Request) http.Handler {
	id := rpc.MessageID(mux.Vars(r)["id"])
	not, bad := excluded(r, outbox.Statuses()...)
	if bad != nil {
		return bad
	}
	first, changed, err := m.outbox.Changed(id)
	if err != nil {
		return m.failed(err)
	}
	now := first
	enough := func() bool {
		if not == nil {
			return now.Status != first.Status || first.Ended()
		}
		return !slices.Contains(not, now.Status) || now.Ended()
	}
	bad = m.hold(r, enough(), changed, func() (bool, <-chan struct{}) {
		if now, changed, err = m.outbox.Changed(id); err != nil {
			return true, nil
		}
		return enough(), changed
	})
	if bad != nil {
		return bad
	}
	if err != nil {
		return m.failed(err)
	}
	return object{http.StatusOK, events.NewMessage(now)}
}

// cancel answers DELETE /messages/{id}.
func (m *messages) cancel(r *http.Request) http.Handler {
	if bad := input(r, &struct{}{}); bad != nil {
		return bad
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), outboxTimeout)
	defer cancel()
	message, err := m.outbox.Cancel(ctx, rpc.MessageID(mux.Vars(r)["id"]))
	if err != nil {
		return m.failed(err)
	}
	return object{http.StatusOK, events.NewMessage(message)}
}

// fullOutboxRetry is how long callers should wait when the outbox is full: pacing empties it
// by about one message a second.
const fullOutboxRetry = 30 * time.Second

// outboxRefusals are the answers to errors of the outbox.
var outboxRefusals = []refusal{
	{outbox.ErrConflict, problem{
		Status: http.StatusUnprocessableEntity, Code: "idempotency_conflict",
		Detail: "This Idempotency-Key was used for another message.", Hint: "Use a new key for each message, and the same one to repeat a request.",
	}},
	{outbox.ErrIDTaken, problem{
		Status: http.StatusUnprocessableEntity, Code: "idempotency_conflict", Field: "id",
		Detail: "This id was used for another message.", Hint: "Use a new id for each message, and the same one to repeat a request.",
	}},
	{outbox.ErrNew, notLinked},
	{outbox.ErrFull, problem{
		Status: http.StatusServiceUnavailable, Code: "outbox_full", retryAfter: fullOutboxRetry,
		Detail: "The outbox holds as many messages as it may.", Hint: "Wait until some were sent; --outbox-limit sets how many it may hold.",
	}},
	{outbox.ErrNoSpace, problem{
		Status: http.StatusInsufficientStorage, Code: "disk_full",
		Detail: "The message was not accepted: the disk of the tokens folder is full.", Hint: "Free some space.",
	}},
	{outbox.ErrUnknownMessage, noSuchMessage},
	{outbox.ErrNotSent, notSent},
	{outbox.ErrNotQueued, problem{
		Status: http.StatusConflict, Code: "not_queued", Detail: "The message is no longer queued, so it can't be cancelled.",
		Hint: "GET /messages/{id} shows its status.",
	}},
}

// failed answers what the outbox could not do.
func (m *messages) failed(err error) problem {
	if bad, ok := refused(err, outboxRefusals); ok {
		return bad
	}
	m.log.Warn(logid.CommandFailed, "command", "message", logging.KeyError, logging.Redact(err.Error()))
	return problem{
		Status: http.StatusServiceUnavailable, Code: "outbox_unavailable", retryAfter: time.Second,
		Detail: "The outbox can't be used now.", Hint: "Repeat the request with the same Idempotency-Key.",
	}
}
