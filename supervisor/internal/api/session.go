package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
)

// commandTimeout bounds a command. A planned restart waits for Chrome to flush
// its profile.
const commandTimeout = 20 * time.Second

type sessionBody struct {
	Status          session.State `json:"status"`
	Since           time.Time     `json:"since"`
	Reason          reasonBody    `json:"reason"`
	Phase           phaseBody     `json:"phase"`
	EvidenceAgeMS   *int64        `json:"evidence_age_ms"`
	ProgressPercent *int          `json:"progress_percent"`
	Registered      bool          `json:"registered"`
	QR              *qrBody       `json:"qr"`
	Worker          workerBody    `json:"worker"`
	Browser         *browserBody  `json:"browser"`
	Page            pageBody      `json:"page"`
	LastEnd         *endBody      `json:"last_end"`
	RetryAt         *time.Time    `json:"retry_at"`
	Version         string        `json:"version"`
}

type reasonBody struct {
	Code    reason.Code `json:"code"`
	Message string      `json:"message"`
	Action  string      `json:"action,omitempty"`
	Detail  string      `json:"detail,omitempty"`
	Since   time.Time   `json:"since"`
}

type phaseBody struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

type qrBody struct {
	Generation uint64    `json:"generation"`
	Seq        uint64    `json:"seq"`
	Reader     string    `json:"reader"`
	IssuedAt   time.Time `json:"issued_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	Renewals   uint      `json:"renewals"`
}

type workerBody struct {
	Generation      uint64     `json:"generation"`
	PID             int        `json:"pid,omitempty"`
	StartedAt       *time.Time `json:"started_at"`
	AbnormalEnds    int        `json:"abnormal_ends"`
	ResidentBytes   uint64     `json:"resident_bytes,omitempty"`
	LastHeartbeatAt *time.Time `json:"last_heartbeat_at"`
}

type browserBody struct {
	PID       int    `json:"pid"`
	Product   string `json:"product"`
	UserAgent string `json:"user_agent"`
	Sandbox   bool   `json:"sandbox"`
}

type pageBody struct {
	Version string `json:"version,omitempty"`
}

type endBody struct {
	Generation uint64      `json:"generation"`
	At         time.Time   `json:"at"`
	Reason     reason.Code `json:"reason"`
	Detail     string      `json:"detail,omitempty"`
	Class      string      `json:"class"`
	WorkerExit string      `json:"worker_exit,omitempty"`
	ChromeExit string      `json:"chrome_exit,omitempty"`
	UptimeMS   int64       `json:"uptime_ms"`
	DelayMS    int64       `json:"delay_ms"`
	Failures   int         `json:"failures_in_window"`
}

// session answers GET /session: everything but the login string.
func (a *api) session(*http.Request) response {
	now := time.Now()
	s := a.Session.Snapshot()
	text := reason.Describe(s.Reason)
	body := sessionBody{
		Status: s.State, Since: s.Since.UTC(),
		Reason: reasonBody{Code: s.Reason, Message: text.Message, Action: text.Action, Detail: s.Detail, Since: s.ReasonSince.UTC()},
		Phase:  phaseBody{Name: s.Phase, Since: s.PhaseSince.UTC()},
		Worker: workerBody{
			Generation: s.Worker.Generation, PID: s.Worker.PID, StartedAt: moment(s.Worker.StartedAt),
			AbnormalEnds: s.Worker.Ends, ResidentBytes: s.Worker.ResidentBytes, LastHeartbeatAt: moment(s.Worker.HeartbeatAt),
		},
		Registered: s.Registered,
		Page:       pageBody{Version: s.PageVersion},
		RetryAt:    moment(s.RetryAt),
		Version:    a.Version,
	}
	if !s.Evidence.IsZero() {
		age := now.Sub(s.Evidence).Milliseconds()
		body.EvidenceAgeMS = &age
	}
	if s.Progress >= 0 {
		body.ProgressPercent = &s.Progress
	}
	if q := s.FreshQR(now); q != nil {
		body.QR = &qrBody{q.Generation, q.Seq, q.Reader, q.IssuedAt.UTC(), q.ExpiresAt.UTC(), q.Renewals}
	}
	if s.Browser.PID != 0 {
		body.Browser = &browserBody{s.Browser.PID, s.Browser.Product, s.Browser.UserAgent, s.Browser.Sandbox}
	}
	if e := s.LastEnd; e != nil {
		body.LastEnd = &endBody{
			e.Generation, e.At.UTC(), e.Reason, e.Detail, e.Class, e.WorkerExit, e.ChromeExit,
			e.Uptime.Milliseconds(), e.Delay.Milliseconds(), e.Failures,
		}
	}
	return object{http.StatusOK, body}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// restart answers POST /session/restart: the worker and Chrome are closed
// cleanly and started again, at once even when the circuit is open.
func (a *api) restart(r *http.Request) response {
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
