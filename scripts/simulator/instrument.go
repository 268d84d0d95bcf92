package simulator

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/websocket"
)

// instrumentPath is where the page reports to the simulator. It is no part of
// the imitation, and stays up when the imitated network is down.
const instrumentPath = "/sim/page"

// writeTimeout bounds a write to a page whose browser is stuck.
const writeTimeout = 5 * time.Second

// page is one open document, as its instrument socket sees it.
type page struct {
	conn *websocket.Conn
	// id is the page's own random name, which its chat sockets carry too.
	id       string
	screen   Screen
	reported bool
}

// report is one message of the page. Only the first one carries a Page.
type report struct {
	Page string `json:"page"`
	Screen
	// At is when the page drew, in milliseconds since 1970.
	At float64 `json:"at"`
}

// order is one message to the page's instrument.
type order struct {
	Do string `json:"do"`
}

// ErrNoPage is what a lever returns that needs an open page.
var ErrNoPage = errors.New("no page is open")

// serveInstrument lives as long as the page does.
func (s *Server) serveInstrument(conn *websocket.Conn) {
	p := &page{conn: conn}
	s.mu.Lock()
	s.loads++
	p.screen.Load = s.loads
	s.pages[p] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	defer s.pageGone(p)
	for !closed {
		var r report
		if err := websocket.JSON.Receive(conn, &r); err != nil {
			return // The page has gone, which pageGone records.
		}
		s.record(p, r)
	}
}

func (s *Server) record(p *page, r report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Page != "" {
		p.id = r.Page
	}
	r.Load = p.screen.Load
	r.Since = time.UnixMicro(int64(r.At * 1000))
	if p.reported && !r.differs(p.screen) {
		return
	}
	p.screen, p.reported = r.Screen, true
	s.showLocked()
}

func (s *Server) pageGone(p *page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pages, p)
	s.showLocked()
}

// newestLocked returns the page that is on the screen.
func (s *Server) newestLocked() *page {
	var newest *page
	for p := range s.pages {
		if p.reported && (newest == nil || p.screen.Load > newest.screen.Load) {
			newest = p
		}
	}
	return newest
}

// command sends an order to the page that is on the screen.
func (s *Server) command(do string) error {
	s.mu.Lock()
	p := s.newestLocked()
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("cannot tell the page to %s: %w", do, ErrNoPage)
	}
	if err := send(p.conn, order{Do: do}); err != nil {
		return fmt.Errorf("cannot tell the page to %s: %w", do, err)
	}
	return nil
}

func send(conn *websocket.Conn, message any) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return websocket.JSON.Send(conn, message)
}
