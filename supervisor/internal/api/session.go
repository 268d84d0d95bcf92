package api

import (
	"net/http"
	"time"

	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/watch"
)

// sessions answers for the state of the session.
type sessions struct {
	waiter
	gate      *gate
	selectors *watch.File[[]byte]
	version   string
}

// status answers GET /status: {"status":"QR_REQUIRED"}, nothing else, always 200.
func (s *sessions) status(r *http.Request) http.Handler {
	snapshot, bad := s.wait(r, func(first, now *session.Snapshot) bool { return now.State != first.State })
	if bad != nil {
		return bad
	}
	return content{jsonType, []byte(`{"status":"` + string(snapshot.State) + `"}`)}
}

// sessionBody is the snapshot, with what the session itself does not know.
type sessionBody struct {
	*session.Snapshot
	Page    pageBody `json:"page"`
	Version string   `json:"version"`
}

type pageBody struct {
	session.Page
	Selectors selectorsBody `json:"selectors"`
}

// selectorsBody is the selectors that the page is read by.
type selectorsBody struct {
	// Source is built_in or file.
	Source string `json:"source"`
	// Path is where a file is looked for.
	Path  string         `json:"path,omitempty"`
	Since session.Moment `json:"since"`
	// Refused is where and why the newest file was refused.
	Refused string `json:"refused,omitempty"`
}

// session answers GET /session: everything but the QR itself.
func (s *sessions) session(*http.Request) http.Handler {
	snapshot := s.Snapshot().At(time.Now())
	state := s.selectors.State()
	selectors := selectorsBody{"built_in", s.selectors.Path(), session.Moment{Time: state.Since}, ""}
	if state.Value != nil {
		selectors.Source = "file"
	}
	if state.Err != nil {
		selectors.Refused = state.Err.Error()
	}
	return object{http.StatusOK, sessionBody{snapshot, pageBody{snapshot.Page, selectors}, s.version}}
}

var ok = content{jsonType, []byte(`{"ok":true}`)}

// healthz answers GET /healthz: the process responds. It is the only route whose
// failure is a reason to restart the service.
func healthz(*http.Request) http.Handler { return ok }

// readyz answers GET /readyz: the API is usable; with ?session=1 the session is,
// too, which is for those who may read its state.
func (s *sessions) readyz(r *http.Request) http.Handler {
	withSession := r.URL.Query().Get("session") != ""
	if withSession {
		if bad := s.gate.authorise(read, r); bad != nil {
			return bad
		}
	}
	select {
	case <-s.draining:
		return problem{Status: http.StatusServiceUnavailable, Code: "draining", Detail: "The service is stopping."}
	default:
	}
	if state := s.Snapshot().State; withSession && state != session.Ready {
		return problem{
			Status: http.StatusServiceUnavailable, Code: "session_not_ready",
			Detail: "The session's state is " + string(state) + ".", Hint: "GET /session explains why.",
		}
	}
	return ok
}
