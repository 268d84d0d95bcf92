package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/logid"
)

// Crashes are the reports of abnormal ends and incidents.
type Crashes interface {
	List() ([]crash.Report, error)
	Get(id string) (crash.Report, error)
	File(id, name string) ([]byte, error)
}

type crashesBody struct {
	Crashes []crash.Report `json:"crashes"`
}

// crashes answers GET /crashes: every report, the newest first, without its
// timeline.
func (a *api) crashes(*http.Request) response {
	list, err := a.Crashes.List()
	if err != nil {
		return a.reportFailed(err)
	}
	for i := range list {
		list[i].Timeline = []crash.Step{}
	}
	return object{http.StatusOK, crashesBody{Crashes: list}}
}

// crash answers GET /crashes/{id}: one report, whole.
func (a *api) crash(r *http.Request) response {
	report, err := a.Crashes.Get(mux.Vars(r)["id"])
	if err != nil {
		return a.reportFailed(err)
	}
	return object{http.StatusOK, report}
}

// crashFile answers GET /crashes/{id}/{file}: one of a report's files. A
// screenshot in it may show the QR of then, or chats.
func (a *api) crashFile(r *http.Request) response {
	name := mux.Vars(r)["file"]
	content, err := a.Crashes.File(mux.Vars(r)["id"], name)
	switch {
	case err != nil:
		return a.reportFailed(err)
	case strings.HasSuffix(name, ".png"):
		return raw{http.StatusOK, pngType, content}
	default:
		return raw{http.StatusOK, textType + "; charset=utf-8", content}
	}
}

func (a *api) reportFailed(err error) problem {
	if errors.Is(err, crash.ErrNotFound) {
		return problem{
			status: http.StatusNotFound, code: "no_such_report", detail: "There is no such report, or no such file in it.",
			hint: "GET /crashes lists them; the newest 20 are kept.",
		}
	}
	a.Logger.Warn(logid.ReportsReadFailed, logging.KeyError, err)
	return problem{
		status: http.StatusInternalServerError, code: "reports_read_failed", detail: "The reports could not be read.",
		hint: "The log says why.",
	}
}
