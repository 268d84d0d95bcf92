package listen

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func serveForTest(t *testing.T) (s *Server, served chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "answered")
	}), ReadHeaderTimeout: time.Minute}, l)
	served = make(chan error, 1)
	go func() { served <- s.Serve() }()
	return s, served
}

// acceptedConn returns a connection that the server has accepted.
func acceptedConn(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for accepted := false; !accepted; time.Sleep(time.Millisecond) {
		if t.Context().Err() != nil {
			t.Fatal("the connection is not accepted")
		}
		s.unread.Range(func(any, any) bool { accepted = true; return false })
	}
	return conn
}

func TestDrainAnswersAnAcceptedConnection(t *testing.T) {
	s, served := serveForTest(t)
	conn := acceptedConn(t, s)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.Drain(context.Background(), time.Minute)
	}()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the request was dropped: %v", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != "answered" {
		t.Errorf("got %q, %v", body, err)
	}
	<-drained
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
}

func TestDrainEndsWithASilentConnection(t *testing.T) {
	s, served := serveForTest(t)
	conn := acceptedConn(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	s.Drain(ctx, time.Millisecond)
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
}
