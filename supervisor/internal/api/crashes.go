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

// crashes answers for the reports.
type crashes struct {
	*crash.Store
	log *slog.Logger
}

// list answers GET /crashes: every report, the newest first, without its
// timeline.
func (c *crashes) list(*http.Request) http.Handler {
	list, err := c.List()
	if err != nil {
		return c.failed(err)
	}
	for i := range list {
		list[i].Timeline = []crash.Step{}
	}
	return object{http.StatusOK, map[string][]crash.Report{"crashes": list}}
}

// report answers GET /crashes/{id}: one report, whole.
func (c *crashes) report(r *http.Request) http.Handler {
	report, err := c.Get(mux.Vars(r)["id"])
	if err != nil {
		return c.failed(err)
	}
	return object{http.StatusOK, report}
}

// file answers GET /crashes/{id}/{file}: one of a report's files. A
// screenshot may show the QR of that time, or chats.
func (c *crashes) file(r *http.Request) http.Handler {
	name := mux.Vars(r)["file"]
	body, err := c.File(mux.Vars(r)["id"], name)
	switch {
	case err != nil:
		return c.failed(err)
	case strings.HasSuffix(name, ".png"):
		return content{pngType, body}
	default:
		return content{utf8Text, body}
	}
}

func (c *crashes) failed(err error) problem {
	if errors.Is(err, crash.ErrNotFound) {
		return problem{
			Status: http.StatusNotFound, Code: "no_such_report", Detail: "There is no such report, or it has no such file.",
			Hint: "GET /crashes lists the reports; the newest 20 are kept.",
		}
	}
	c.log.Warn(logid.ReportsReadFailed, logging.KeyError, err)
	return problem{
		Status: http.StatusInternalServerError, Code: "reports_read_failed", Detail: "The reports could not be read.",
		Hint: "The log explains why.",
	}
}
