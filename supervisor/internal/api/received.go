package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/logid"
)

// Inbox is what the API asks of an inbox.Inbox.
type Inbox interface {
	List(ctx context.Context, cursor string, n int) (list []inbox.Event, next string, more bool, changed <-chan struct{}, err error)
	MarkRead(ctx context.Context, id string) error
	File(ctx context.Context, id string) (inbox.Media, error)
	Open(ctx context.Context, id string) (*os.File, error)
}

// received answers for what others have written.
type received struct {
	holder
	inbox Inbox // nil if nothing is received
	log   *slog.Logger
}

// usualList is how many events are listed unless limit asks for another number.
const usualList = 50

var receivingOff = problem{
	Status: http.StatusConflict, Code: "receiving_off", Detail: "This service receives no messages.", Hint: "Start it with --messages both.",
}

// list answers GET /messages: what happened after a cursor, with ?wait= once there is something.
func (m *received) list(r *http.Request) http.Handler {
	if m.inbox == nil {
		return receivingOff
	}
	q := r.URL.Query()
	if direction := q.Get("direction"); direction != "" && direction != "in" {
		return problem{
			Status: http.StatusBadRequest, Code: "bad_parameter", Detail: "Only received messages are listed.",
			Hint: "Use direction=in; GET /messages/{id} shows one that was sent.",
		}
	}
	n := usualList
	if text := q.Get("limit"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > inbox.MaxList {
			return problem{
				Status: http.StatusBadRequest, Code: "bad_parameter", Detail: "limit is not a valid number.",
				Hint: "Use a number from 1 to " + strconv.Itoa(inbox.MaxList) + ".",
			}
		}
	}
	answer := struct {
		Messages []inbox.Event `json:"messages"`
		// Next is the cursor after them.
		Next string `json:"next"`
		More bool   `json:"more"`
	}{}
	var err error
	look := func() (enough bool, changed <-chan struct{}) {
		answer.Messages, answer.Next, answer.More, changed, err = m.inbox.List(r.Context(), q.Get("after"), n)
		return err != nil || len(answer.Messages) > 0, changed
	}
	enough, changed := look()
	if bad := m.hold(r, enough, changed, look); bad != nil {
		return bad
	}
	if err != nil {
		return m.failed(err)
	}
	if answer.Messages == nil {
		answer.Messages = []inbox.Event{}
	}
	return object{http.StatusOK, answer}
}

// read answers POST /messages/{id}/read.
func (m *received) read(r *http.Request) http.Handler {
	if m.inbox == nil {
		return receivingOff
	}
	err := m.inbox.MarkRead(r.Context(), mux.Vars(r)["id"])
	if failed, ok := errors.AsType[*rpc.SendError](err); ok {
		return notMarked(failed.Code)
	}
	if bad, ok := refused(err, refusals); ok {
		return bad
	}
	switch {
	case err == nil:
		return object{http.StatusOK, map[string]bool{"read": true}}
	case errors.Is(err, inbox.ErrUnknownMessage), errors.Is(err, inbox.ErrUnavailable):
		return m.failed(err)
	}
	m.log.Warn(logid.CommandFailed, "command", "read", logging.KeyError, logging.Redact(err.Error()))
	return notMarked("")
}

// notMarked is the answer when the page did not mark a message as read, as far as is known.
func notMarked(code rpc.SendCode) problem {
	if bad, ok := pageLacks(code, "The page no longer has what messages are marked as read with.", "Newer selectors may help."); ok {
		return bad
	}
	if code == rpc.SendMessageNotFound {
		return noneReceived
	}
	return problem{
		Status: http.StatusBadGateway, Code: "mark_failed", Detail: "It is not known whether the page has marked the message as read.",
		Hint: "Try again later; that has no further effect.",
	}
}

var noneReceived = problem{
	Status: http.StatusNotFound, Code: "no_such_message", Detail: "No message with this id was received, or it is no longer kept.",
}

// inboxRefusals are the answers to errors of the inbox.
var inboxRefusals = []refusal{
	{inbox.ErrUnknownMessage, noneReceived},
	{inbox.ErrCursor, problem{
		Status: http.StatusBadRequest, Code: "bad_cursor", Detail: "after is not a cursor.", Hint: "Use next of an earlier answer, or leave it out.",
	}},
	{inbox.ErrLost, problem{
		Status: http.StatusGone, Code: "cursor_lost", Detail: "What followed this cursor is no longer kept.",
		Hint: "Messages may have been missed. Leave the cursor out to begin with the oldest one that is kept.",
	}},
}

// failed answers what the inbox could not do.
func (m *received) failed(err error) problem {
	if bad, ok := refused(err, inboxRefusals); ok {
		return bad
	}
	if !errors.Is(err, context.Canceled) {
		m.log.Warn(logid.CommandFailed, "command", "messages", logging.KeyError, logging.Redact(err.Error()))
	}
	return problem{
		Status: http.StatusServiceUnavailable, Code: "inbox_unavailable", retryAfter: time.Second, Detail: "Received messages can't be read now.",
	}
}
