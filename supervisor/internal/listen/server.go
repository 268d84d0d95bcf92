package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an http.Server whose end fails no request: a connection that was
// accepted is answered, where http.Server.Shutdown closes those of which no request has
// reached its handler yet (net/http, conn.serve). Of too many connections it closes those that are
// of least use (MaxConnections).
type Server struct {
	http      *http.Server
	listeners []net.Listener
	ended     chan struct{} // closed when nothing is accepted any longer
	conns     *conns

	unread  sync.Map // connections of which no request has reached the handler
	waiting sync.WaitGroup
}

// NewServer returns a server of all listeners; s must not be used otherwise.
func NewServer(s *http.Server, all ...net.Listener) *Server {
	server := &Server{http: s, ended: make(chan struct{}), conns: newConns()}
	for _, l := range all {
		server.listeners = append(server.listeners, counted{l, server.conns})
	}
	s.ConnState = server.note
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	handler := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.read(r.Context().Value(connKey{}))
		handler.ServeHTTP(w, r)
	})
	return server
}

// connKey is that of a request's connection in its context.
type connKey struct{}

// Serve answers requests until Drain, and then returns nil, or until a listener fails. It
// may be called once.
func (s *Server) Serve() error {
	defer close(s.ended)
	results := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		go func() { results <- s.http.Serve(l) }()
	}
	var failed error
	for range s.listeners {
		err := <-results
		if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("cannot serve HTTP: %w", err))
		Close(s.listeners)
	}
	return failed
}

// Drain closes the listeners, gives clients up to grace to send the request of a
// connection that they have opened, and returns when all requests are answered, or
// closes what is left when ctx ends. Serve must have been called.
func (s *Server) Drain(ctx context.Context, grace time.Duration) {
	Close(s.listeners)
	<-s.ended
	s.http.SetKeepAlivesEnabled(false)
	read := make(chan struct{})
	go func() {
		s.waiting.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(grace):
	case <-ctx.Done():
	}
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-read // every connection has a request that was handled, or is closed
}

func (s *Server) note(conn net.Conn, state http.ConnState) {
	s.conns.note(conn, state)
	switch state {
	case http.StateNew:
		s.waiting.Add(1)
		s.unread.Store(conn, nil)
	case http.StateClosed, http.StateHijacked:
		s.read(conn)
	}
}

// read notes that a connection need not be waited for any longer.
func (s *Server) read(conn any) {
	if _, was := s.unread.LoadAndDelete(conn); was {
		s.waiting.Done()
	}
}
