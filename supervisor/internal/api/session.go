package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/watch"
)

// sessions answers for the state of the session.
type sessions struct {
	waiter
	gate      *gate
	selectors *watch.File[[]byte]
	about     About
}

// status answers GET /status: {"status":"QR_REQUIRED"}, nothing else, always 200.
func (s *sessions) status(r *http.Request) http.Handler {
	known := r.Header.Get("If-None-Match")
	not, bad := excluded(r, session.States()...)
	if bad != nil {
		return bad
	}
	snapshot, bad := s.wait(r, func(first, now *session.Snapshot) bool {
		if known == "" && not == nil {
			return now.State != first.State
		}
		return !knows(known, stateTag(now)) && !slices.Contains(not, now.State)
	})
	if bad != nil {
		return bad
	}
	return tagged{stateTag(snapshot), content{jsonType, []byte(`{"status":"` + string(snapshot.State) + `"}`)}}
}

// stateTag is the entity tag of the state in s. It is another one when the same state was entered
// again, so that a caller learns that the state was left in between.
func stateTag(s *session.Snapshot) string {
	return `"` + string(s.State) + "-" + strconv.FormatInt(s.Since.UnixNano(), 36) + `"`
}

// sessionBody is the snapshot, with what the session itself does not know.
type sessionBody struct {
	*session.Snapshot
	Page pageBody `json:"page"`
	About
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
	return object{http.StatusOK, sessionBody{snapshot, pageBody{snapshot.Page, selectors}, s.about}}
}

// healthz answers GET /healthz: the process responds. It is the only route whose
// failure is a reason to restart the service.
func healthz(*http.Request) http.Handler { return content{jsonType, []byte(`{"ok":true}`)} }

// readiness is a good answer of /readyz. A warning leaves the service ready.
type readiness struct {
	OK       bool          `json:"ok"`
	Warnings []reason.Code `json:"warnings,omitempty"`
}

// readyz answers GET /readyz: the API is usable; with ?session=1 the session is,
// too, which is for those who may read its state, as warnings are.
func (s *sessions) readyz(r *http.Request) http.Handler {
	withSession := r.URL.Query().Get("session") != ""
	refused := s.gate.authorise(read, r)
	if withSession && refused != nil {
		return refused
	}
	select {
	case <-s.draining:
		return problem{Status: http.StatusServiceUnavailable, Code: "draining", Detail: "The service is stopping."}
	default:
	}
	snapshot := s.Snapshot()
	if withSession && snapshot.State != session.Ready {
		return problem{
			Status: http.StatusServiceUnavailable, Code: "session_not_ready",
			Detail: "The session's state is " + string(snapshot.State) + ".", Hint: "GET /session explains why.",
		}
	}
	answer := readiness{OK: true}
	if refused == nil {
		for _, w := range snapshot.Warnings {
			answer.Warnings = append(answer.Warnings, w.Code)
		}
	}
	body, _ := json.Marshal(answer) // it has a JSON form
	return content{jsonType, body}
}
