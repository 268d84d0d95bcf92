package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/view"
)

// commandTimeout bounds a command. A planned restart waits for Chrome to flush
// its profile.
const commandTimeout = 20 * time.Second

type sessionBody struct {
	Status          session.State `json:"status"`
	Since           time.Time     `json:"since"`
	Reason          view.Reason   `json:"reason"`
	Phase           view.Phase    `json:"phase"`
	EvidenceAgeMS   *int64        `json:"evidence_age_ms"`
	ProgressPercent *int          `json:"progress_percent"`
	Registered      bool          `json:"registered"`
	PersistedAt     *time.Time    `json:"persisted_at"`
	QR              *view.QR      `json:"qr"`
	Worker          view.Worker   `json:"worker"`
	Browser         *view.Browser `json:"browser"`
	Page            pageBody      `json:"page"`
	LastEnd         *view.End     `json:"last_end"`
	RetryAt         *time.Time    `json:"retry_at"`
	Version         string        `json:"version"`
}

type pageBody struct {
	Version   string         `json:"version,omitempty"`
	Knowledge *knowledgeBody `json:"knowledge,omitempty"`
}

// knowledgeBody says by which knowledge the page is read.
type knowledgeBody struct {
	// Source is built_in or file.
	Source string `json:"source"`
	// Path is where a file is looked for.
	Path  string    `json:"path,omitempty"`
	Since time.Time `json:"since"`
	// Refused says where and why the newest file was not taken.
	Refused string `json:"refused,omitempty"`
}

func (a *api) knowledge() *knowledgeBody {
	if a.Knowledge == nil {
		return nil
	}
	s := a.Knowledge.State()
	b := &knowledgeBody{Source: "built_in", Path: a.Knowledge.Path(), Since: s.Since.UTC(), Refused: s.Refused}
	if len(s.File) > 0 {
		b.Source = "file"
	}
	return b
}

// session answers GET /session: everything but the login string.
func (a *api) session(*http.Request) response {
	now := time.Now()
	s := a.Session.Snapshot()
	body := sessionBody{
		Status: s.State, Since: s.Since.UTC(), Reason: view.ReasonOf(s), Phase: view.PhaseOf(s),
		ProgressPercent: view.ProgressOf(s), Registered: s.Registered, PersistedAt: view.Moment(s.PersistedAt),
		QR: view.QROf(s.FreshQR(now)), Worker: view.WorkerOf(s.Worker), Browser: view.BrowserOf(s.Browser),
		Page: pageBody{Version: s.PageVersion, Knowledge: a.knowledge()}, LastEnd: view.EndOf(s.LastEnd),
		RetryAt: view.Moment(s.RetryAt), Version: a.Version,
	}
	if !s.Evidence.IsZero() {
		body.EvidenceAgeMS = new(now.Sub(s.Evidence).Milliseconds())
	}
	return object{http.StatusOK, body}
}

// restart answers POST /session/restart: the worker and Chrome are closed
// cleanly and started again, at once even when the circuit is open.
func (a *api) restart(r *http.Request) response {
	if bad := input(r, &struct{}{}); bad != nil {
		return *bad
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	if err := a.Commands.Restart(ctx); err != nil {
		return a.commandFailed("restart", err)
	}
	return raw{http.StatusAccepted, jsonType, []byte(`{"accepted":true}`)}
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

func (a *api) commandFailed(command string, err error) problem {
	a.Logger.Warn("command_failed", "command", command, "err", err)
	p := problem{
		status: http.StatusServiceUnavailable, code: "command_failed",
		detail: "The worker could not do it now.", hint: "GET /session says what it is busy with.",
	}
	if errors.Is(err, context.DeadlineExceeded) {
		p.status, p.code, p.detail = http.StatusGatewayTimeout, "command_timeout", "The worker did not answer in time."
	}
	return p
}
