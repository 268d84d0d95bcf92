package simulator

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Screen is what the page shows, by its own report after it drew.
type Screen struct {
	// Load numbers the page loads that the server has seen, from 1; 0 means
	// that no page is open.
	Load int `json:"load"`
	// Name is the screen in WhatsApp's own words: STARTUP, QR, SYNCING, MAIN,
	// OFFLINE, PROXYBLOCK, CONFLICT, ANOTHER_SESSION, TOS_BLOCK, TEMP_BAN,
	// LOGOUT, SCREEN_LOCK, SERVICE_UNAVAILABLE; and PHONE_NUMBER, LINK_CODE,
	// PASSKEY, AUTO_LOGOUT, UPDATE for those that it has no word for.
	Name string `json:"name"`
	// State is Socket.state, Mode is Stream.mode.
	State string `json:"state"`
	Mode  string `json:"mode"`
	// Visible says that a phone could scan the code now: it is drawn, not
	// covered, and has not run out.
	Visible bool `json:"visible"`
	// Payload is the whole string of the code that is drawn, also a dead one.
	// Whoever has it can link a phone, so it must not be logged.
	Payload string `json:"payload"`
	// Offered is the whole string that the page would draw; it differs from
	// Payload while a drawing is late or there is none.
	Offered string `json:"offered"`
	// Ref is the first field of Offered.
	Ref string `json:"ref"`
	// RefTTL is Conn.refTTL: how long the page will show the ref, in milliseconds
	// of its (scaled) clock.
	RefTTL float64 `json:"refTTL"`
	// Overlay is what lies over the code: idle, offline, banner or nothing.
	Overlay string `json:"overlay"`
	// Progress is the sync's, in percent; -1 when there is no sync.
	Progress int `json:"progress"`
	// Code is the pairing code that is on the screen.
	Code string `json:"code"`
	// Online is WAWebNetworkStatus.online.
	Online bool `json:"online"`
	// Since is when the page drew what differs from the report before.
	Since time.Time `json:"since"`
}

// String describes the screen without its secrets.
func (c Screen) String() string {
	return fmt.Sprintf("load %d: %s, state %s, visible %t, overlay %q, progress %d",
		c.Load, c.Name, c.State, c.Visible, c.Overlay, c.Progress)
}

// differs ignores Since.
func (c Screen) differs(from Screen) bool {
	c.Since, from.Since = time.Time{}, time.Time{}
	return c != from
}

// ErrClosed is what waits that outlive the Server end with.
var ErrClosed = errors.New("simulator is closed")

// OnScreen returns what the newest open page shows now.
func (s *Server) OnScreen() Screen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen
}

// Shown waits until a code is on the screen that a phone could scan.
func (s *Server) Shown(ctx context.Context) (Screen, error) {
	var seen Screen
	err := s.Await(ctx, func(c Screen) bool {
		seen = c
		return c.Visible
	})
	return seen, err
}

// Await blocks until a screen satisfies want, and calls it once per change and
// from the caller's goroutine. States that a page only passes through between
// two drawings are not seen.
func (s *Server) Await(ctx context.Context, want func(Screen) bool) error {
	for {
		s.mu.Lock()
		now, changed, closed := s.screen, s.changed, s.closed
		s.mu.Unlock()
		if want(now) {
			return nil
		}
		if closed {
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot see the awaited screen, it is %s: %w", now, ctx.Err())
		}
	}
}

// showLocked makes the newest open page's report the screen.
func (s *Server) showLocked() {
	var now Screen
	now.Progress = -1
	for p := range s.pages {
		if p.reported && p.screen.Load > now.Load {
			now = p.screen
		}
	}
	if !now.differs(s.screen) {
		return
	}
	if now.Load == 0 {
		now.Since = time.Now()
	}
	s.screen = now
	s.wakeLocked()
}

func (s *Server) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}
