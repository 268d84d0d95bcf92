package simulator

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options says how a Server behaves. The zero value is valid: real timings, the
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
	// simulator doesn't know. It never gets a login string. Nil discards.
	Logger *slog.Logger
}

// Server is the simulated WhatsApp Web. It is an http.Handler for the page's
// origin; its methods are the levers of a test, safe for concurrent use.
type Server struct {
	logger *slog.Logger
	mux    *http.ServeMux
	// version is part of the scripts' addresses.
	version string
	// handlers counts the websocket handlers, for Close.
	handlers sync.WaitGroup
	// done is closed by Close.
	done chan struct{}

	mu      sync.Mutex // guards everything below
	speed   float64
	profile string
	faults  []Fault
	down    bool
	closed  bool
	// stalled is open while the network is silent, and nil otherwise.
	stalled chan struct{}
	pages   map[*page]struct{}
	chats   map[*chat]struct{}
	devices map[string]*device
	screen  Screen
	// changed is closed and replaced whenever screen changes.
	changed chan struct{}
	// loads numbers the page loads from 1.
	loads int
	// unknown lists the paths that were asked for and do not exist.
	unknown []string
}

// New checks the options and returns a Server that is ready to serve. The
// caller ends it with Close.
func New(o Options) (*Server, error) {
	if o.Speed < 0 {
		return nil, fmt.Errorf("cannot run at speed %v: it must be above 0", o.Speed)
	}
	s := &Server{
		logger:  o.Logger,
		speed:   o.Speed,
		pages:   map[*page]struct{}{},
		chats:   map[*chat]struct{}{},
		devices: map[string]*device{},
		changed: make(chan struct{}),
		done:    make(chan struct{}),
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.speed == 0 {
		s.speed = 1
	}
	if o.Profile == "" {
		o.Profile = DefaultProfile
	}
	if err := s.SetProfile(o.Profile); err != nil {
		return nil, err
	}
	for _, f := range o.Faults {
		if err := s.SetFault(f); err != nil {
			return nil, err
		}
	}
	version, err := scriptsVersion()
	if err != nil {
		return nil, err
	}
	s.version = version
	s.mux = s.routes()
	return s, nil
}

// ServeHTTP serves the page, its files, its probes and its websockets.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.isDown() && r.URL.Path != instrumentPath {
		hangUp(w)
		return
	}
	if r.URL.Path != instrumentPath && !s.awaitNetwork(r.Context()) {
		return
	}
	if delay, ok := s.fault("slow"); ok {
		if !pause(r.Context(), time.Duration(delay.number())*time.Millisecond) {
			return
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// Close ends every websocket and waits for their handlers; a second Close does
// nothing. The http.Server in front of it is the caller's to close, afterwards.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.done)
	s.wakeLocked()
	s.closeChatsLocked()
	for p := range s.pages {
		_ = p.conn.Close() // The handler reports nothing that a test could use.
	}
	s.mu.Unlock()
	s.handlers.Wait()
}

// SetProfile chooses the markup that the next page load gets.
func (s *Server) SetProfile(name string) error {
	if _, ok := profileByName(name); !ok {
		return fmt.Errorf("cannot use profile %q: it is none of %v", name, Profiles())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profile = name
	return nil
}

// SetFault adds a switch, replacing an earlier one of the same name. What the
// page does takes effect at its next load, what the server does at the next
// request or connection.
func (s *Server) SetFault(text string) error {
	f, err := ParseFault(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = withFault(s.faults, f)
	return nil
}

// ClearFaults removes every switch, with the same delay as SetFault.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// UnknownRequests lists the paths that were asked for and do not exist. A test
// of a well-behaved client expects none.
func (s *Server) UnknownRequests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.unknown...)
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *Server) fault(name string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return faultNamed(s.faults, name)
}

// awaitNetwork returns when the network isn't silent any more; false means that
// the request ended first.
func (s *Server) awaitNetwork(ctx context.Context) bool {
	silence := s.silence()
	if silence == nil {
		return true
	}
	select {
	case <-silence:
		return true
	case <-ctx.Done():
	case <-s.done:
	}
	return false
}

// silence is closed when StallNetwork ends, and nil when it doesn't hold.
func (s *Server) silence() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

// scaled turns an imitated duration into a real one.
func (s *Server) scaled(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(d) / s.speed)
}

// enter counts a websocket handler in; false means that the server is closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// hangUp drops the connection without an answer, as a dead network does.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = conn.Close() // There is nobody left to tell.
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
