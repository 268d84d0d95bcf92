package api

import (
	_ "embed"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/webui"
)

// pagePath is where people look.
const pagePath = "/"

// page is the page for people.
type page struct {
	ui      *webui.UI
	session Session
	gate    *gate
	keyFile string
	log     *slog.Logger
}

// show answers GET /. Without the key that reading needs it is the same page, which asks for
// the key and shows nothing of the session.
func (p *page) show(r *http.Request) http.Handler {
	language := language(r.Header.Get("Accept-Language"))
	view := webui.View{Language: language, Now: time.Now()}
	status := http.StatusOK
	if refused := p.gate.authorise(read, r); refused != nil {
		status = refused.Status
	} else {
		view.Session, view.KeyFile = p.session.Snapshot(), p.keyFile
	}
	html, err := p.ui.Render(view)
	if err != nil {
		p.log.Error(logid.PageRenderFailed, logging.KeyError, err)
		return problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "The page could not be rendered."}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// These headers keep other sites out of the page.
		h := w.Header()
		h.Set("Content-Security-Policy", p.ui.Policy)
		h.Set("Content-Language", language)
		h.Set("Vary", "Accept-Language")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", bearerChallenge)
		}
		writeBytes(w, status, "text/html; charset=utf-8", html)
	})
}

// language returns the language of the page to which an Accept-Language header gives
// the highest weight; among equals the one named first. Without the very one that it
// names, another one of the same language will do: pt is pt-BR.
func language(accept string) string {
	best, bestQ := webui.Languages()[0], 0.0
	for part := range strings.SplitSeq(accept, ",") {
		tag, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			q = 1
		}
		if found, ok := closest(tag); ok && q > bestQ {
			best, bestQ = found, q
		}
	}
	return best
}

// closest returns the language of the page for a tag.
func closest(tag string) (string, bool) {
	all := webui.Languages()
	i := slices.IndexFunc(all, func(l string) bool { return strings.EqualFold(l, tag) })
	if i < 0 {
		primary := func(tag string) string { return strings.SplitN(tag, "-", 2)[0] }
		i = slices.IndexFunc(all, func(l string) bool { return strings.EqualFold(primary(l), primary(tag)) })
	}
	return all[max(i, 0)], i >= 0
}

//go:embed openapi.yaml
var description []byte

// openapi answers GET /openapi.yaml: this API, described for programs.
func openapi(*http.Request) http.Handler {
	return content{"application/yaml", description}
}
