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
// accepted is answered, where http.Server.Shutdown closes those from which it has
// not read yet (net/http, conn.serve). Of too many connections it closes those that are
// of least use (MaxConnections).
type Server struct {
	http     *http.Server
	listener net.Listener
	ended    chan struct{} // closed when nothing is accepted any longer
	conns    *conns

	unread  sync.Map // connections from which no request has been read
	waiting sync.WaitGroup
}

// NewServer returns a server of l; s must not be used otherwise.
func NewServer(s *http.Server, l net.Listener) *Server {
	open := newConns()
	server := &Server{http: s, listener: counted{l, open}, ended: make(chan struct{}), conns: open}
	s.ConnState = server.note
	return server
}

// Serve answers requests until Drain, and then returns nil. It may be called once.
func (s *Server) Serve() error {
	defer close(s.ended)
	err := s.http.Serve(s.listener)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve HTTP: %w", err)
}

// Drain closes the listener, gives clients up to grace to send the request of a
// connection that they have opened, and returns when all requests are answered, or
// closes what is left when ctx ends. Serve must have been called.
func (s *Server) Drain(ctx context.Context, grace time.Duration) {
	_ = s.listener.Close()
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
	<-read // every connection has been read from, or closed
}

func (s *Server) note(conn net.Conn, state http.ConnState) {
	s.conns.note(conn, state)
	if state == http.StateNew {
		s.unread.Store(conn, nil)
		s.waiting.Add(1)
	} else if _, was := s.unread.LoadAndDelete(conn); was {
		s.waiting.Done()
	}
}
