package api

import (
	"context"
	"net/http"
	"time"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// commandTimeout bounds a command. A planned restart waits for Chrome to flush
// its profile.
const commandTimeout = 20 * time.Second

// sessionBody is the snapshot with what the session does not know of.
type sessionBody struct {
	*session.Snapshot
	Page    pageBody `json:"page"`
	Version string   `json:"version"`
}

type pageBody struct {
	session.Page
	Selectors *selectorsBody `json:"selectors,omitempty"`
}

// selectorsBody says by which selectors the page is read.
type selectorsBody struct {
	// Source is built_in or file.
	Source string `json:"source"`
	// Path is where a file is looked for.
	Path  string    `json:"path,omitempty"`
	Since time.Time `json:"since"`
	// Refused says where and why the newest file was not taken.
	Refused string `json:"refused,omitempty"`
}

func (a *api) selectors() *selectorsBody {
	if a.Selectors == nil {
		return nil
	}
	s := a.Selectors.State()
	b := &selectorsBody{Source: "built_in", Path: a.Selectors.Path(), Since: s.Since.UTC(), Refused: s.Refused}
	if len(s.File) > 0 {
		b.Source = "file"
	}
	return b
}

// session answers GET /session: everything but the QR itself.
func (a *api) session(*http.Request) response {
	s := a.Session.Snapshot().At(time.Now())
	return object{http.StatusOK, sessionBody{s, pageBody{s.Page, a.selectors()}, a.Version}}
}

type restartBody struct {
	Accepted bool `json:"accepted"`
	// DeferredUntil is left out when it happens at once.
	DeferredUntil session.Moment `json:"deferred_until,omitzero"`
}

// restart answers POST /session/restart: the worker and Chrome are closed
// cleanly and started again, at once even when the circuit is open. While a phone
// is being linked it waits, unless ?now=true says that it must not.
func (a *api) restart(r *http.Request) response {
	if bad := input(r, &struct{}{}); bad != nil {
		return *bad
	}
	now, bad := flag(r, "now")
	if bad != nil {
		return *bad
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	urgency := worker.AfterPairing
	if now {
		urgency = worker.Immediately
	}
	until, err := a.Commands.Restart(ctx, urgency)
	if err != nil {
		return a.commandFailed("restart", err)
	}
	return object{http.StatusAccepted, restartBody{Accepted: true, DeferredUntil: session.Moment{Time: until}}}
}

// screenshot answers GET /session/screenshot: what Chrome shows now. It may show
// the QR, or chats.
func (a *api) screenshot(r *http.Request) response {
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	png, err := a.Commands.Screenshot(ctx)
	if err != nil {
		return a.commandFailed("screenshot", err)
	}
	return raw{http.StatusOK, pngType, png}
}
