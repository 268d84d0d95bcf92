package api

import (
	"net/http"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// pagePath is where people look.
const pagePath = "/"

// page answers GET /: the page for people.
func (a *api) page(r *http.Request) response {
	html, language, err := a.ui.Render(a.Session.Snapshot(), r.Header.Get("Accept-Language"))
	if err != nil {
		a.Logger.Error(logid.PageRenderFailed, logging.KeyError, err)
		return problem{status: http.StatusInternalServerError, code: "internal", detail: "The page could not be written."}
	}
	return pageAnswer{html: html, language: language, policy: a.ui.Policy()}
}

// pageAnswer is the page with the headers that keep other sites out of it.
type pageAnswer struct {
	html             []byte
	language, policy string
}

func (p pageAnswer) write(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Content-Language", p.language)
	h.Set("Vary", "Accept-Language")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	writeBytes(w, http.StatusOK, "text/html; charset=utf-8", p.html)
}
