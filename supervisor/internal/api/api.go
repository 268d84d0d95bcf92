// Package api is the HTTP face of the service. It answers from snapshots of the
// session, never from the worker, so that it keeps answering whatever happens
// below it.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"session-manager/supervisor/internal/session"
)

// Reader is the session, as far as the API reads it.
type Reader interface {
	Snapshot() *session.Snapshot
	Changed() (*session.Snapshot, <-chan struct{})
}

// Commander does what the POST routes ask for.
type Commander interface {
	// Restart ends the worker cleanly and starts the next one at once.
	Restart(ctx context.Context) error
	// Screenshot photographs the page.
	Screenshot(ctx context.Context) ([]byte, error)
}

// Options of the API.
type Options struct {
	Session  Reader
	Commands Commander
	// AllowedHosts are host names, beside those of the loopback, that a request
	// may name in its Host header.
	AllowedHosts []string
	// Version of the service.
	Version string
	Logger  *slog.Logger
	// Draining is closed when the service begins to stop: waiting requests end,
	// and /readyz says 503.
	Draining <-chan struct{}
}

type api struct {
	Options
	// boot makes entity tags of one run differ from those of the next.
	boot string
}

// answer is one route's handler for one method.
type answer func(*http.Request) response

// response writes itself. It is what an answer returns instead of touching the
// ResponseWriter.
type response interface {
	write(w http.ResponseWriter, r *http.Request)
}

// route is one path with the methods it knows. There is one route a path, and
// the method is chosen here and not by the router: gorilla/mux answers 404 for a
// known path with an unknown method in some combinations (gorilla/mux #739).
type route struct {
	path    string
	methods map[string]answer
}

func (a *api) routes() []route {
	get := func(f answer) map[string]answer {
		return map[string]answer{http.MethodGet: f, http.MethodHead: f}
	}
	post := func(f answer) map[string]answer { return map[string]answer{http.MethodPost: f} }
	return []route{
		{"/status", get(a.status)},
		{"/qr", get(a.qr)},
		{"/qr.png", get(a.qrPNG)},
		{"/qr.txt", get(a.qrText)},
		{"/session", get(a.session)},
		{"/session/restart", post(a.restart)},
		{"/session/screenshot", get(a.screenshot)},
		{"/healthz", get(a.healthz)},
		{"/readyz", get(a.readyz)},
	}
}

// New returns the handler of every route.
func New(o Options) http.Handler {
	a := &api{Options: o, boot: time.Now().UTC().Format("20060102T150405.000000")}
	router := mux.NewRouter()
	for _, rt := range a.routes() {
		router.Handle(rt.path, rt)
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		notFound(r).write(w, r)
	})
	return a.guard(router)
}

// ServeHTTP chooses the method.
func (rt route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := rt.methods[r.Method]
	if !ok {
		allowed := make([]string, 0, len(rt.methods))
		for m := range rt.methods {
			allowed = append(allowed, m)
		}
		sort.Strings(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		problem{
			status: http.StatusMethodNotAllowed, code: "method_not_allowed",
			detail: r.Method + " is not allowed here.", hint: "Use " + strings.Join(allowed, " or ") + ".",
		}.write(w, r)
		return
	}
	f(r).write(w, r)
}
