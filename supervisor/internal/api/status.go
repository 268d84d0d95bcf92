package api

import (
	"net/http"

	"session-manager/supervisor/internal/session"
)

const jsonType = "application/json"

// status answers GET /status: {"status":"QR_REQUIRED"}, nothing else, always 200.
func (a *api) status(r *http.Request) response {
	s, bad := a.wait(r, func(first, now *session.Snapshot) bool { return now.State != first.State })
	if bad != nil {
		return *bad
	}
	return raw{http.StatusOK, jsonType, []byte(`{"status":"` + string(s.State) + `"}`)}
}

// healthz says that the process answers. It is the only route whose failure may
// make anything restart the service.
func (a *api) healthz(*http.Request) response {
	return raw{http.StatusOK, jsonType, []byte(`{"ok":true}`)}
}

// readyz says that the API is usable; with ?session=1 that the session is, too.
func (a *api) readyz(r *http.Request) response {
	select {
	case <-a.Draining:
		return problem{status: http.StatusServiceUnavailable, code: "draining", detail: "The service is stopping."}
	default:
	}
	s := a.Session.Snapshot()
	if r.URL.Query().Get("session") != "" && s.State != session.Ready {
		return problem{
			status: http.StatusServiceUnavailable, code: "session_not_ready",
			detail: "The session's state is " + string(s.State) + ".", hint: "GET /session says why.",
		}
	}
	return raw{http.StatusOK, jsonType, []byte(`{"ok":true}`)}
}
