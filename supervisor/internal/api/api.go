// Package api is the HTTP interface of the service. It answers from snapshots of
// the session, never from the worker, so that it responds no matter what happens
// to the processes below it. Each resource is a small type whose methods answer
// its routes; the gate decides who may call them.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/crash"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/webui"
	"session-manager/supervisor/internal/worker"
)

// Session is what the API asks of a session.Session.
type Session interface {
	Snapshot() *session.Snapshot
	Changed() (*session.Snapshot, <-chan struct{})
	Paired(expires time.Time)
	PasskeyCancelled()
}

// Workers is what the API asks of a worker.Manager.
type Workers interface {
	// until is when the restart happens at the latest, zero for at once.
	Restart(ctx context.Context, u worker.Urgency) (until time.Time, err error)
	Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error)
	Screenshot(ctx context.Context) ([]byte, error)
	Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error)
	Passkey(ctx context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error)
}

// Login is what the API asks of a login.Manager.
type Login interface {
	LogOut(ctx context.Context, purge bool) (login.LoggedOut, error)
}

// Mail is what belongs to the outbox.
type Mail struct {
	// Files are those of the outbox.
	Files *media.Store
	// Inbox is nil if no messages are received.
	Inbox Inbox
	// SendingOff refuses messages that are to be sent.
	SendingOff bool
}

// Options of the API.
type Options struct {
	Session Session
	Workers Workers
	Login   Login
	Outbox  Outbox
	Mail
	Crashes *crash.Store
	// AllowedHosts are host names, next to those of the loopback, that a request
	// may have in its Host header.
	AllowedHosts []string
	Events       *events.Log
	Metrics      *metrics.Metrics
	// Keys returns the API keys in force, or nil when there are none.
	Keys func() *apikey.Keys
	// ReadNeedsKey makes reading need a key, too. It is for addresses beyond the
	// loopback.
	ReadNeedsKey bool
	// Selectors is the file that may replace the built-in selectors.
	Selectors *watch.File[[]byte]
	About
	Logger *slog.Logger
	// Draining is closed when the service begins to stop: waiting requests are
	// answered, and /readyz is 503.
	Draining <-chan struct{}
}

// About distinguishes this service from others. Its JSON is a part of GET /session.
type About struct {
	Version string `json:"version"`
	// Instance is the service's name on its host: the address that it listens at.
	Instance string `json:"instance"`
	Host     string `json:"host"`
	// URL is WhatsApp's page.
	URL string `json:"-"`
	// KeyFile is where the API keys are, for whoever has to look one up.
	KeyFile string `json:"-"`
}

// api is every route, and the gate before them.
type api struct {
	gate    *gate
	metrics *metrics.Metrics
	streams *streams
	waits   *shares
	bodies  *shares
	routes  []route
}

// answer returns what a request is answered with.
type answer func(*http.Request) http.Handler

// route is one path with the methods it knows. There is one route per path, and
// the method is chosen here and not by the router: gorilla/mux answers 404 for a
// known path with an unknown method in some combinations (gorilla/mux #739).
type route struct {
	path    string
	access  access
	methods []string
	answer  answer
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
	ui, err := webui.New()
	if err != nil {
		return nil, err
	}
	gate := newGate(o)
	waits := newShares("waiting requests", "too_many_waits", mostWaits, mostWaitsEach)
	bodies := newShares("large bodies", "too_many_bodies", mostBodies, mostBodiesEach)
	uploads := newShares("uploads", "too_many_bodies", mostUploads, mostUploadsEach)
	wait := waiter{o.Session, holder{o.Draining, waits}}
	sessions := &sessions{wait, gate, o.Selectors, o.About}
	codes := &codes{waiter: wait, boot: time.Now().UTC().Format("20060102T150405.000000")}
	commands := &commands{o.Workers, o.Login, o.Session, o.Logger}
	passkeys := &passkeys{commands, bodies, o.URL, ui}
	messages := &messages{
		holder: wait.holder, outbox: o.Outbox, session: o.Session, files: o.Files, bodies: bodies, uploads: uploads, log: o.Logger,
		off: o.SendingOff,
	}
	received := &received{wait.holder, o.Inbox, o.Logger}
	crashes := &crashes{o.Crashes, o.Logger}
	streams := &streams{
		log: o.Events, inbox: o.Inbox, gate: gate, metrics: o.Metrics, draining: o.Draining,
		listeners: newShares("event streams", "too_many_listeners", mostListeners, mostListenersEach),
		limits:    streamLimits{heartbeat: 15 * time.Second, take: 10 * time.Second},
	}
	page := &page{ui, o.Session, gate, o.KeyFile, o.Logger}

	get, post := []string{http.MethodGet, http.MethodHead}, []string{http.MethodPost}
	return &api{gate: gate, metrics: o.Metrics, streams: streams, waits: waits, bodies: bodies, routes: []route{
		{"/status", read, get, sessions.status},
		{"/qr", read, get, codes.any},
		{"/qr.png", read, get, codes.as(codes.image)},
		{"/qr.txt", read, get, codes.as(codes.terminal)},
		{"/session", read, get, sessions.session},
		{"/session/restart", command, post, commands.restart},
		{"/session/pair", command, post, commands.pair},
		{"/session/logout", command, post, commands.logOut},
		// No HEAD: a GET makes the page ask.
		{"/session/passkey", command, []string{http.MethodGet, http.MethodPost, http.MethodDelete}, passkeys.one},
		{"/session/passkey/confirm", command, post, passkeys.confirm},
		{"/passkey-extension.zip", read, get, passkeys.extension},
		// It makes Chrome work, and it may show chats.
		{"/session/screenshot", command, get, commands.screenshot},
		{"/messages", exchange, []string{http.MethodGet, http.MethodHead, http.MethodPost}, func(r *http.Request) http.Handler {
			if r.Method == http.MethodPost {
				return messages.accept(r)
			}
			return received.list(r)
		}},
		{"/messages/{id}", send, []string{http.MethodGet, http.MethodHead, http.MethodDelete}, messages.one},
		{"/messages/{id}/reaction", send, post, messages.act(rpc.ActReaction)},
		{"/messages/{id}/edit", send, post, messages.act(rpc.ActEdit)},
		{"/messages/{id}/revoke", send, post, messages.act(rpc.ActRevoke)},
		{"/messages/{id}/read", send, post, received.read},
		{"/media/{id}", receive, get, received.file},
		{"/contacts/{phone}", send, get, newContacts(commands).show},
		{"/crashes", read, get, crashes.list},
		{"/crashes/{id}", read, get, crashes.report},
		// It may show chats, as the screenshot does.
		{"/crashes/{id}/{file}", command, get, crashes.file},
		{"/events", read, get, streams.open},
		{pagePath, open, get, page.show},
		{"/healthz", open, get, healthz},
		{"/readyz", open, get, sessions.readyz},
		{"/metrics", read, get, func(*http.Request) http.Handler { return o.Metrics.Handler() }},
		{"/openapi.yaml", open, get, openapi},
	}}, nil
}

func (a *api) router() http.Handler {
	// Paths are taken as they are: a redirect would not be a documented answer.
	router := mux.NewRouter().SkipClean(true)
	for _, rt := range a.routes {
		router.Handle(rt.path, a.handler(rt))
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem{
			Status: http.StatusNotFound, Code: "not_found",
			Detail: fmt.Sprintf("There is nothing at %.100q.", r.URL.Path),
			Hint:   "Try /status, /qr or /session; /openapi.yaml describes everything.",
		}.ServeHTTP(w, r)
	})
	return a.measured(a.gate.guard(router))
}

// handler chooses the method, and admits the caller.
func (a *api) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := w.(*measure); ok {
			m.route = rt.path
		}
		if !slices.Contains(rt.methods, r.Method) {
			w.Header().Set("Allow", strings.Join(append(rt.methods, http.MethodOptions), ", "))
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			problem{
				Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
				Detail: fmt.Sprintf("%.20q is not allowed here.", r.Method), Hint: "Use " + strings.Join(rt.methods, " or ") + ".",
			}.ServeHTTP(w, r)
			return
		}
		if bad := a.gate.admit(rt, r); bad != nil {
			bad.ServeHTTP(w, r)
			return
		}
		rt.answer(r).ServeHTTP(w, r)
	})
}

// noRoute is the route of requests that were refused before one was found.
const noRoute = "none"

// measured counts each answer of next. No answer is to be cached, or for other sites.
func (a *api) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		m := &measure{ResponseWriter: w, route: noRoute}
		start := time.Now()
		a.metrics.InFlight.Inc()
		defer func() {
			a.metrics.InFlight.Dec()
			if m.status == 0 {
				m.status = http.StatusOK
			}
			a.metrics.Request(m.route, r.Method, m.status, time.Since(start))
		}()
		next.ServeHTTP(m, r)
	})
}

// measure is a ResponseWriter that remembers what the answer was.
type measure struct {
	http.ResponseWriter
	route  string
	status int
}

func (m *measure) WriteHeader(status int) {
	if m.status == 0 {
		m.status = status
	}
	m.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (m *measure) Unwrap() http.ResponseWriter { return m.ResponseWriter }
