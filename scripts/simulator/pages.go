package simulator

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/websocket"
)

//go:embed pages
var files embed.FS

// build is the made-up version that the page calls itself.
const build = "2.3000.1099999999"

// config is what the page's scripts are told.
type config struct {
	Speed      float64 `json:"speed"`
	Build      string  `json:"build"`
	Profile    profile `json:"profile"`
	Faults     []Fault `json:"faults"`
	AutoLogout bool    `json:"autologout"`
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /send", s.servePage)
	mux.HandleFunc("GET /browsers.html", func(w http.ResponseWriter, _ *http.Request) {
		s.serveFile(w, http.StatusOK, "unsupported.html")
	})
	mux.HandleFunc("GET /rsrc/"+s.version+"/{file}", s.serveScript)
	mux.HandleFunc("GET /sw.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
	})
	mux.HandleFunc("GET /spin", func(w http.ResponseWriter, _ *http.Request) {
		s.answer(w, `{"revision":"`+build+`","hard_update":false}`)
	})
	mux.HandleFunc("GET /status.json", s.serveStatus)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /ws/chat", s.acceptChat)
	mux.Handle("GET "+instrumentPath, s.accept(s.serveInstrument))
	mux.HandleFunc("/", s.refuseUnknown)
	return mux
}

// accept upgrades to a websocket, whatever the Origin: the page may be served
// under any name that leads to loopback.
func (s *Server) accept(handler websocket.Handler) http.Handler {
	upgrade := websocket.Server{Handler: handler}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			hangUp(w)
			return
		}
		defer s.handlers.Done()
		upgrade.ServeHTTP(w, r)
	})
}

func (s *Server) acceptChat(w http.ResponseWriter, r *http.Request) {
	f, _ := s.fault("socket")
	switch f.Value {
	case "never":
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
	case "proxyblock":
		http.Error(w, "blocked by policy", http.StatusForbidden)
	default:
		s.accept(s.serveChat).ServeHTTP(w, r)
	}
}

// serveStatus is the probe by which the page tells no network from no server.
func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	f, _ := s.fault("socket")
	s.answer(w, fmt.Sprintf(`{"ok":true,"proxy":%t}`, f.Value == "proxyblock"))
}

func (s *Server) answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintln(w, body) // A reader that left needs no answer.
}

// refuseUnknown is loud: a page or a client asks for what it shouldn't.
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
	cfg, err := s.pageConfig(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ua, _ := faultNamed(cfg.Faults, "ua")
	switch {
	case ua.Value != "off" && !supported(r.UserAgent()):
		s.serveFile(w, http.StatusOK, "unsupported.html")
	case cfg.Profile.Page != "":
		s.serveFile(w, max(cfg.Profile.Status, http.StatusOK), cfg.Profile.Page)
	default:
		s.serveApp(w, r, cfg)
	}
}

// pageConfig is what holds for one load. The query parameters sim, sim.speed
// and sim.fault override the Server's own for this load.
func (s *Server) pageConfig(q url.Values) (config, error) {
	s.mu.Lock()
	cfg := config{Speed: s.speed, Build: build, Faults: append([]Fault{}, s.faults...)}
	name := s.profile
	s.mu.Unlock()
	if q.Has("sim") {
		name = q.Get("sim")
	}
	var ok bool
	if cfg.Profile, ok = profileByName(name); !ok {
		return config{}, fmt.Errorf("cannot use profile %q: it is none of %v", name, Profiles())
	}
	if text := q.Get("sim.speed"); text != "" {
		speed, err := strconv.ParseFloat(text, 64)
		if err != nil || speed <= 0 {
			return config{}, fmt.Errorf("cannot run at speed %q: it must be above 0", text)
		}
		cfg.Speed = speed
	}
	for _, text := range q["sim.fault"] {
		f, err := ParseFault(text)
		if err != nil {
			return config{}, err
		}
		cfg.Faults = withFault(cfg.Faults, f)
	}
	if locale, on := faultNamed(cfg.Faults, "locale"); on {
		cfg.Profile.Locale = locale.Value
	}
	if locale := q.Get("locale"); locale != "" {
		cfg.Profile.Locale = locale
	}
	cfg.AutoLogout = q.Get("autologout") == "1"
	return cfg, nil
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
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(body) // A reader that left needs no answer.
}

func (s *Server) serveApp(w http.ResponseWriter, r *http.Request, cfg config) {
	page, err := template.ParseFS(files, "pages/app.html")
	scripts, listErr := fs.ReadDir(files, "pages/js")
	if err = errors.Join(err, listErr); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	version := s.version
	if _, gone := faultNamed(cfg.Faults, "assets"); gone {
		version = "purged"
	}
	// All are asked for at once, rather than each by the one that imports it.
	names := make([]string, 0, len(scripts))
	for _, script := range scripts {
		names = append(names, script.Name())
	}
	var body bytes.Buffer
	err = page.Execute(&body, map[string]any{
		"Profile": cfg.Profile,
		"Config":  cfg,
		"Comet":   cfg.Profile.Era >= "2024",
		"Version": version,
		"Scripts": names,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, on := faultNamed(cfg.Faults, "csp"); on {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; "+
			"img-src 'self' data: blob:; connect-src 'self' ws://"+r.Host+" wss://"+r.Host+"; object-src 'none'")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // A reader that left needs no answer.
}

func (s *Server) serveScript(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if _, err := fs.Stat(files, "pages/js/"+name); err != nil {
		s.refuseUnknown(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=86400, immutable")
	http.ServeFileFS(w, r, files, "pages/js/"+name)
}

// scriptsVersion names the scripts by what is in them, so that a browser may
// keep them, as it keeps the real page's.
func scriptsVersion() (string, error) {
	sum := sha256.New()
	scripts, err := fs.ReadDir(files, "pages/js")
	if err != nil {
		return "", fmt.Errorf("cannot list the embedded scripts: %w", err)
	}
	for _, script := range scripts {
		body, err := fs.ReadFile(files, "pages/js/"+script.Name())
		if err != nil {
			return "", fmt.Errorf("cannot read an embedded script: %w", err)
		}
		_, _ = sum.Write(body) // It never fails.
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}
