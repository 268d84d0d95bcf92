package simulator

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

//go:embed pages
var files embed.FS

// Options configure a Server. The zero value is valid: real timings, the
// newest known page, no faults.
type Options struct {
	// Speed divides every imitated duration; 1 (and 0) is real time, at 100
	// the first code lives 600 ms instead of 60 s.
	Speed float64
	// Profile is one of Profiles. Empty means DefaultProfile.
	Profile string
	// Faults are switches as ParseFault reads them, "sync=stuck:99".
	Faults []string
	// Logger gets what is wrong with the traffic, above all requests that the
	// simulator doesn't know. It never gets a QR payload. Nil discards.
	Logger *slog.Logger
}

// Server is the simulated WhatsApp Web. It is an http.Handler for the page's
// origin. The methods of its parts are the levers of a test. All are safe for
// concurrent use.
type Server struct {
	*Settings
	*Network
	*Pages
	*Account
	*Passkeys
	*People
	*Messaging

	logger *slog.Logger
	mux    *http.ServeMux
	script *script
	// ctx is ended by Close, which then waits for the websocket handlers.
	ctx      context.Context
	end      context.CancelFunc
	handlers sync.WaitGroup

	mu sync.Mutex // guards what follows, and that no handler begins after the end
	// unknown lists the paths that were requested and do not exist.
	unknown []string
}

// New checks the options and returns a Server that is ready to serve. The
// caller ends it with Close.
func New(o Options) (*Server, error) {
	settings, err := newSettings(o)
	if err != nil {
		return nil, err
	}
	s := &Server{Settings: settings, logger: o.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.script, err = readScript(); err != nil {
		return nil, err
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.Network = newNetwork(s.ctx)
	s.Pages = newPages(s.ctx)
	s.People = newPeople()
	s.Messaging = newMessaging(s.Settings, s.People)
	if s.Passkeys, err = newPasskeys(s.Settings); err != nil {
		return nil, fmt.Errorf("cannot make the account's passkey: %w", err)
	}
	s.Account = newAccount(s.Settings, s.Network, s.Pages, s.Messaging, s.Passkeys, s.logger)
	s.mux = s.routes()
	return s, nil
}

// ServeHTTP serves the page, its files, its probes and its websockets.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != instrumentPath {
		if s.isDown() {
			hangUp(w)
			return
		}
		if !s.await(r.Context()) {
			return
		}
	}
	if delay, ok := s.fault("slow"); ok && !pause(r.Context(), time.Duration(delay.number())*time.Millisecond) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// Close ends every websocket and waits for their handlers; a second Close does
// nothing. The http.Server in front of it is the caller's to close, afterwards.
func (s *Server) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.handlers.Wait()
}

// UnknownRequests lists the paths that were requested and do not exist. A test
// of a well-behaved client expects none.
func (s *Server) UnknownRequests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unknown)
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /send", s.servePage)
	mux.HandleFunc("GET /browsers.html", func(w http.ResponseWriter, _ *http.Request) {
		s.serveFile(w, http.StatusOK, "unsupported.html")
	})
	mux.HandleFunc("GET /rsrc/"+s.script.name, s.serveScript)
	mux.HandleFunc("GET /sw.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "pages/sw.js")
	})
	mux.HandleFunc("GET /spin", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]any{"revision": build, "hard_update": false})
	})
	// The probe by which the page distinguishes a missing network from a missing server.
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		if s.isOn("probe", "fail") {
			hangUp(w)
			return
		}
		answerJSON(w, http.StatusOK, map[string]bool{"ok": true, "proxy": s.isOn("socket", "proxyblock")})
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	// The page opens no connection while this is not found.
	mux.HandleFunc("GET /favicon/1x/favicon/v4/", func(w http.ResponseWriter, _ *http.Request) {
		if s.isOn("favicon", "404") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /mms/{type}", s.take)
	mux.HandleFunc("GET /mms/{type}/{name}", s.give)
	mux.HandleFunc("GET /ws/chat", s.acceptChat)
	mux.Handle("GET "+instrumentPath, s.accept(s.Pages.serve))
	mux.HandleFunc("/", s.refuseUnknown)
	return mux
}

// accept upgrades to a websocket, regardless of the Origin: the page may be served
// under any name that leads to loopback.
func (s *Server) accept(handler websocket.Handler) http.Handler {
	upgrade := websocket.Server{Handler: func(conn *websocket.Conn) {
		defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
		handler(conn)
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		open := s.ctx.Err() == nil
		if open {
			s.handlers.Add(1)
		}
		s.mu.Unlock()
		if !open {
			hangUp(w)
			return
		}
		defer s.handlers.Done()
		upgrade.ServeHTTP(w, r)
	})
}

func (s *Server) acceptChat(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.isOn("socket", "never"):
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
	case s.isOn("socket", "proxyblock"):
		http.Error(w, "blocked by policy", http.StatusForbidden)
	case s.isOn("socket", "refused"):
		http.Error(w, "not now", http.StatusServiceUnavailable)
	default:
		s.accept(s.Account.serve).ServeHTTP(w, r)
	}
}

// refuseUnknown logs an error: a page or a client requests what it shouldn't.
func (s *Server) refuseUnknown(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.unknown = append(s.unknown, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	s.logger.Error("unknown request", "method", r.Method, "path", r.URL.Path)
	http.NotFound(w, r)
}

// servePage chooses the page by the user agent, as WhatsApp's server does, then
// by profile.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	cfg, err := s.forLoad(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if to := elsewhere(cfg.Faults["elsewhere"], r.Host); to != "" {
		http.Redirect(w, r, to, http.StatusFound) //nolint:gosec // the switch chooses where
		return
	}
	switch {
	case cfg.Faults["ua"].Value != "off" && !supported(r.UserAgent()):
		s.serveFile(w, http.StatusOK, "unsupported.html")
	case cfg.Profile.Page != "":
		s.serveFile(w, max(cfg.Profile.Status, http.StatusOK), cfg.Profile.Page)
	default:
		s.serveApp(w, r, cfg)
	}
}

// elsewhere returns the address that a request to host is redirected to, if it is.
func elsewhere(to Fault, host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil || name == to.Arg {
		return ""
	}
	switch there := "http://" + net.JoinHostPort(to.Arg, port) + "/"; to.Value {
	case "redirect":
		return there
	case "logout":
		return there + "?post_logout=1"
	default:
		return ""
	}
}

var chromeMajor = regexp.MustCompile(`Chrome/(\d+)\.`)

// minChrome is the oldest Chrome that gets the application.
const minChrome = 100

func supported(userAgent string) bool {
	if strings.Contains(userAgent, "HeadlessChrome") || strings.Contains(userAgent, "Electron/") ||
		strings.HasPrefix(userAgent, "WhatsApp/") {
		return false
	}
	found := chromeMajor.FindStringSubmatch(userAgent)
	if found == nil {
		return true // Firefox and Safari have floors of their own.
	}
	major, err := strconv.Atoi(found[1])
	return err == nil && major >= minChrome
}

func (s *Server) serveFile(w http.ResponseWriter, code int, name string) {
	body, err := fs.ReadFile(files, "pages/"+name)
	if err != nil {
		s.logger.Error("cannot read an embedded page", "error", err)
		code = http.StatusInternalServerError
	}
	serveHTML(w, code, body)
}

var app = template.Must(template.ParseFS(files, "pages/app.html"))

func (s *Server) serveApp(w http.ResponseWriter, r *http.Request, cfg config) {
	script := s.script.name
	if _, gone := cfg.Faults["assets"]; gone {
		script = "purged.js"
	}
	var body bytes.Buffer
	err := app.Execute(&body, map[string]any{
		"Profile": cfg.Profile,
		"Config":  cfg,
		"Comet":   cfg.Profile.Era >= "2024",
		"Script":  script,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, on := cfg.Faults["csp"]; on {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; "+
			"img-src 'self' data: blob:; connect-src 'self' ws://"+r.Host+" wss://"+r.Host+"; object-src 'none'")
	}
	serveHTML(w, http.StatusOK, body.Bytes())
}

func (s *Server) serveScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=86400, immutable")
	_, _ = w.Write(s.script.text) // A reader that left needs no answer.
}

func serveHTML(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(body) // A reader that left needs no answer.
}

// hangUp drops the connection without an answer, as a dead network does.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = conn.Close() // Nobody is left to inform.
}

// pause waits for d and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// leverTimeout bounds a lever that is pulled over HTTP.
const leverTimeout = 10 * time.Second

// maxBody bounds what a control request may carry.
const maxBody = 16 << 10

// controlBody is what a control request may carry.
type controlBody struct {
	Payload string `json:"payload"`
	Code    string `json:"code"`
	// ID and Level are a receipt.
	ID    string `json:"id"`
	Level int    `json:"level"`
	// The rest is a message to the account.
	Incoming
}

// Control returns the levers as an HTTP API, for shell scripts and demos. It
// shows QR payloads, so it belongs on a listener of its own on loopback.
//
//	GET  /screen                 what the page shows, QR payload included
//	GET  /healthz                whether the simulator runs
//	GET  /profiles, /faults      what there is to choose from
//	POST /scan                   the phone scans the screen, or {"payload": "…"}
//	POST /code                   the phone is given the pairing {"code": "…"}
//	GET  /sent, /acts            the messages that the server has got, and what was done to them
//	GET  /passkey                the account's passkey, and what became of what was signed with it
//	POST /passkey/approve        the phone's owner agrees to a passkey that was accepted
//	POST /passkey/refuse         the server fails instead
//	GET  /traps                  how often a foreign script was caught
//	POST /ack                    a receipt: {"id": "…", "level": 2}
//	POST /receive                a message to the account: {"from": "15550101001", "text": "…"}, see Incoming
//	POST /person                 an entry of the server's address book, see Person
//	POST /logout /takeover /replace /disconnect /rotate-adv /expire /next /reload /hang /crash /ask /chatter /hoard
//	POST /network/drop /network/stall /network/restore
//	POST /profile/{name}         for the next load
//	POST /fault/{switch}         such as /fault/sync=stuck:99; DELETE /fault clears all
//
// Answers are JSON: {"ok": true}, or {"error": "…"} with status 400 for a
// request that makes no sense and 409 for one that can't be done now.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	levers := map[string]func(context.Context, controlBody) error{
		"/scan": func(ctx context.Context, body controlBody) error {
			if body.Payload != "" {
				return s.ScanPayload(ctx, body.Payload)
			}
			return s.Scan(ctx)
		},
		"/code":            func(ctx context.Context, body controlBody) error { return s.EnterCode(ctx, body.Code) },
		"/ack":             func(_ context.Context, body controlBody) error { return s.Ack(body.ID, body.Level) },
		"/receive":         func(_ context.Context, body controlBody) error { s.Deliver(body.Incoming); return nil },
		"/passkey/approve": plain(s.ApprovePasskey),
		"/passkey/refuse":  plain(s.RefusePasskey),
		"/logout":          plain(s.LogOut),
		"/takeover":        plain(s.TakeOver),
		"/replace":         plain(s.Replace),
		"/disconnect":      plain(func() error { s.Disconnect(); return nil }),
		"/rotate-adv":      plain(s.RotateADV),
		"/expire":          plain(s.ExpireNow),
		"/network/drop":    plain(func() error { s.DropNetwork(); return nil }),
		"/network/stall":   plain(func() error { s.StallNetwork(); return nil }),
		"/network/restore": plain(func() error { s.RestoreNetwork(); return nil }),
	}
	for _, order := range []Order{Hang, Crash, Ask, Chatter, Hoard, Download, Next, Reload} {
		levers["/"+string(order)] = plain(func() error { return s.Order(order) })
	}
	for path, pull := range levers {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { pullLever(w, r, pull) })
	}
	mux.HandleFunc("POST /profile/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusBadRequest, s.SetProfile(r.PathValue("name")))
	})
	mux.HandleFunc("POST /fault/{fault}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusBadRequest, s.SetFault(r.PathValue("fault")))
	})
	mux.HandleFunc("POST /person", func(w http.ResponseWriter, r *http.Request) {
		var p Person
		err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&p)
		if err == nil {
			s.SetPerson(p)
		}
		answer(w, http.StatusBadRequest, err)
	})
	mux.HandleFunc("DELETE /fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		answer(w, http.StatusConflict, nil)
	})
	for path, get := range map[string]func() any{
		"/screen":   func() any { return s.OnScreen() },
		"/sent":     func() any { return s.Sent() },
		"/passkey":  func() any { return s.Passkey() },
		"/acts":     func() any { return s.Acts() },
		"/traps":    func() any { return s.Traps() },
		"/healthz":  func() any { return map[string]bool{"ok": true} },
		"/profiles": func() any { return Profiles() },
		"/faults":   func() any { return FaultNames() },
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, get()) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, errors.New("there is no "+r.Method+" "+r.URL.Path))
	})
	return mux
}

// plain adapts a lever that needs neither time nor a body.
func plain(pull func() error) func(context.Context, controlBody) error {
	return func(context.Context, controlBody) error { return pull() }
}

// pullLever reads the body, which may be empty, and pulls the lever.
func pullLever(w http.ResponseWriter, r *http.Request, pull func(context.Context, controlBody) error) {
	var body controlBody
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		answer(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leverTimeout)
	defer cancel()
	answer(w, http.StatusConflict, pull(ctx, body))
}

// answer answers that something was done, or, with status code, why not.
func answer(w http.ResponseWriter, code int, err error) {
	if err != nil {
		answerJSON(w, code, map[string]string{"error": err.Error()})
		return
	}
	answerJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

func answerJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // A reader that left needs no answer.
}
