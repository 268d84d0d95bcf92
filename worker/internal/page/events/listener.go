// Package events turns the events that Chrome sends about a page into what the
// page's loop needs to know, and answers those that can't wait for it.
package events

import (
	"fmt"
	"log/slog"

	"github.com/go-rod/rod"

	"session-manager/shared/logging"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/target"
)

// Handler handles the events that concern it. It must not call Chrome: events are
// buffered without limit while it is busy.
type Handler func(*rod.Message)

// Listen passes each event of the browser and of the page to the handlers, in
// order, until the stream ends.
func Listen(stream <-chan *rod.Message, t *target.Target, log *slog.Logger, handlers ...Handler) {
	for msg := range stream {
		if msg.SessionID != "" && msg.SessionID != t.Page.SessionID {
			continue
		}
		for _, h := range handlers {
			handle(h, msg, log)
		}
	}
}

// handle survives an event that doesn't have the shape that rod expects: its
// decoder panics then (go-rod/rod lib/utils, E).
func handle(h Handler, msg *rod.Message, log *slog.Logger) {
	defer func() {
		if r := recover(); r != nil {
			log.Warn(logid.EventDecodeFailed, logging.KeyEvent, msg.Method, logging.KeyDetail, fmt.Sprint(r))
		}
	}()
	h(msg)
}
