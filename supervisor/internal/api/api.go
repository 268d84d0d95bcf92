// Package api is the HTTP face of the service. It answers from snapshots of the
// session, never from the worker, so that it keeps answering whatever happens
// below it.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/time/rate"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/override"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/webui"
	"session-manager/supervisor/internal/worker"
)

// Reader is the session, as far as the API reads it.
type Reader interface {
	Snapshot() *session.Snapshot
	Changed() (*session.Snapshot, <-chan struct{})
}

// Commander does what the POST routes ask for.
type Commander interface {
	// Restart ends the worker cleanly and starts the next one. until is when it
	// will be done at the latest, zero for at once.
	Restart(ctx context.Context, u worker.Urgency) (until time.Time, err error)
	// Pair makes the page offer a code for the phone with this number, E.164,
	// digits only.
	Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error)
	// LogOut ends the link, and moves the login away, or erases it. It returns
	// when that is done, with the name of the folder that it was moved to.
	LogOut(ctx context.Context, purge bool) (moved string, err error)
	// Screenshot photographs the page.
	Screenshot(ctx context.Context) ([]byte, error)
}

// Selectors is the file that may stand in the place of the built-in selectors.
type Selectors interface {
	Path() string
	State() override.State
}

// Meter counts what the API does, and tells it on /metrics.
type Meter interface {
	// Request counts an answer; route is the pattern that matched.
	Request(route, method string, status int, took time.Duration)
	// InFlight counts one more, or one less, that is being answered.
	InFlight(delta int)
	// Listeners says how many streams of events are open.
	Listeners(n int64)
	// Handler answers Prometheus.
	Handler() http.Handler
}

// Options of the API.
type Options struct {
	Session  Reader
	Commands Commander
	Crashes  Crashes
	// AllowedHosts are host names, beside those of the loopback, that a request
	// may name in its Host header.
	AllowedHosts []string
	// Events of the session.
	Events *events.Log
	Meter  Meter
	// Keys returns the API keys in force, or nil when there are none. It may be
	// nil itself.
	Keys func() *apikey.Keys
	// ReadNeedsKey says that not only commands need a key. It is for addresses
	// beyond the loopback.
	ReadNeedsKey bool
	// Selectors is what the page is read by. It may be nil.
	Selectors Selectors
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
	boot     string
	commands *rate.Limiter
	// refusals keeps a guesser from filling the log.
	refusals rate.Sometimes
	// lastQR is the answer of /qr that was given last.
	lastQR atomic.Pointer[availableBody]
	// listeners counts the streams of events that are open.
	listeners atomic.Int64
	limits    streamLimits
	ui        *webui.UI
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
	access  access
	methods map[string]answer
}

func (a *api) routes() []route {
	get := func(f answer) map[string]answer {
		return map[string]answer{http.MethodGet: f, http.MethodHead: f}
	}
	post := func(f answer) map[string]answer { return map[string]answer{http.MethodPost: f} }
	return []route{
		{"/status", read, get(a.status)},
		{"/qr", read, get(a.qr)},
		{"/qr.png", read, get(a.qrPNG)},
		{"/qr.txt", read, get(a.qrText)},
		{"/session", read, get(a.session)},
		{"/session/restart", command, post(a.restart)},
		{"/session/pair", command, post(a.pair)},
		{"/session/logout", command, post(a.logOut)},
		// It makes Chrome work, and it may show chats.
		{"/session/screenshot", command, get(a.screenshot)},
		{"/crashes", read, get(a.crashes)},
		{"/crashes/{id}", read, get(a.crash)},
		// It may show chats, as the screenshot does.
		{"/crashes/{id}/{file}", command, get(a.crashFile)},
		{"/events", read, get(a.events)},
		{pagePath, read, get(a.page)},
		{"/healthz", open, get(a.healthz)},
		{"/readyz", open, get(a.readyz)},
		{"/metrics", read, get(a.metrics)},
		{"/openapi.yaml", open, get(a.openapi)},
	}
}

// New returns the handler of every route.
func New(o Options) (http.Handler, error) {
	a, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	return a.router(), nil
}

func newAPI(o Options) (*api, error) {
	a := &api{
		Options: o, boot: time.Now().UTC().Format("20060102T150405.000000"),
		commands: newCommandLimit(), refusals: rate.Sometimes{First: 5, Interval: 10 * time.Second}, limits: defaultStreamLimits(),
	}
	ui, err := webui.New(webui.Commands{
		Restart: a.has("/session/restart"), LogOut: a.has("/session/logout"), Pair: a.has("/session/pair"),
		Crashes: a.has("/crashes"),
	})
	if err != nil {
		return nil, err
	}
	a.ui = ui
	return a, nil
}

// has says whether there is a route with this path.
func (a *api) has(path string) bool {
	return slices.ContainsFunc(a.routes(), func(rt route) bool { return rt.path == path })
}

func (a *api) router() http.Handler {
	// The path is taken as it is: a redirect would be an answer in no form of ours.
	router := mux.NewRouter().SkipClean(true)
	for _, rt := range a.routes() {
		router.Handle(rt.path, a.handler(rt))
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		notFound(r).write(w, r)
	})
	return a.measured(a.guard(router))
}

// handler chooses the method, and lets pass who may.
func (a *api) handler(rt route) http.Handler {
	allowed := slices.Sorted(maps.Keys(rt.methods))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := w.(*measure); ok {
			m.route = rt.path
		}
		f, ok := rt.methods[r.Method]
		if !ok {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			problem{
				status: http.StatusMethodNotAllowed, code: "method_not_allowed",
				detail: fmt.Sprintf("%.20q is not allowed here.", r.Method), hint: "Use " + strings.Join(allowed, " or ") + ".",
			}.write(w, r)
			return
		}
		if bad := a.admit(rt.access, r); bad != nil {
			bad.write(w, r)
			return
		}
		f(r).write(w, r)
	})
}
