package api

import (
	"context"
	"net/http"
	"time"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/view"
	"session-manager/supervisor/internal/worker"
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
	Warning         *view.Reason  `json:"warning"`
	Login           view.Login    `json:"login"`
	Pairing         *view.Pairing `json:"pairing"`
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

// session answers GET /session: everything but the login string.
func (a *api) session(*http.Request) response {
	now := time.Now()
	s := a.Session.Snapshot()
	body := sessionBody{
		Status: s.State, Since: s.Since.UTC(), Reason: view.ReasonOf(s), Phase: view.PhaseOf(s),
		ProgressPercent: view.ProgressOf(s), Registered: s.Registered, PersistedAt: view.Moment(s.PersistedAt),
		Warning: view.WarningOf(s), Login: view.LoginOf(s.Login), Pairing: view.PairingOf(s.Pairing(now)),
		QR: view.QROf(s.FreshQR(now)), Worker: view.WorkerOf(s.Worker), Browser: view.BrowserOf(s.Browser),
		Page: pageBody{Version: s.PageVersion, Selectors: a.selectors()}, LastEnd: view.EndOf(s.LastEnd),
		RetryAt: view.Moment(s.RetryAt), Version: a.Version,
	}
	if !s.Evidence.IsZero() {
		body.EvidenceAgeMS = new(now.Sub(s.Evidence).Milliseconds())
	}
	return object{http.StatusOK, body}
}

type restartBody struct {
	Accepted bool `json:"accepted"`
	// DeferredUntil is left out when it happens at once.
	DeferredUntil *time.Time `json:"deferred_until,omitempty"`
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
	return object{http.StatusAccepted, restartBody{Accepted: true, DeferredUntil: view.Moment(until)}}
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
