package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/logid"
)

type crashesBody struct {
	Crashes []crash.Report `json:"crashes"`
}

// crashes answers for the reports.
type crashes struct {
	*crash.Store
	log *slog.Logger
}

// list answers GET /crashes: every report, the newest first, without its
// timeline.
func (c *crashes) list(*http.Request) response {
	list, err := c.List()
	if err != nil {
		return c.failed(err)
	}
	for i := range list {
		list[i].Timeline = []crash.Step{}
	}
	return object{http.StatusOK, crashesBody{Crashes: list}}
}

// report answers GET /crashes/{id}: one report, whole.
func (c *crashes) report(r *http.Request) response {
	report, err := c.Get(mux.Vars(r)["id"])
	if err != nil {
		return c.failed(err)
	}
	return object{http.StatusOK, report}
}

// file answers GET /crashes/{id}/{file}: one of a report's files. A
// screenshot may show the QR of that time, or chats.
func (c *crashes) file(r *http.Request) response {
	name := mux.Vars(r)["file"]
	content, err := c.File(mux.Vars(r)["id"], name)
	switch {
	case err != nil:
		return c.failed(err)
	case strings.HasSuffix(name, ".png"):
		return raw{http.StatusOK, pngType, content}
	default:
		return raw{http.StatusOK, textType + "; charset=utf-8", content}
	}
}

func (c *crashes) failed(err error) problem {
	if errors.Is(err, crash.ErrNotFound) {
		return problem{
			status: http.StatusNotFound, code: "no_such_report", detail: "There is no such report, or it has no such file.",
			hint: "GET /crashes lists the reports; the newest 20 are kept.",
		}
	}
	c.log.Warn(logid.ReportsReadFailed, logging.KeyError, err)
	return problem{
		status: http.StatusInternalServerError, code: "reports_read_failed", detail: "The reports could not be read.",
		hint: "The log explains why.",
	}
}
