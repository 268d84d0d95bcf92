package simulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// device is one linked browser, known by its noise key.
type device struct{ loggedOut bool }

// What a phone says when it can't link.
var (
	// ErrNothingToScan: no code is on the screen, or it is covered or dead.
	ErrNothingToScan = errors.New("no scannable code is on the screen")
	// ErrExpired: the code was shown once, but no longer.
	ErrExpired = errors.New("the code has expired")
	// ErrRefused: the page did not recognise the secrets of the code as its
	// own ("Couldn't link device"), above all after they were rotated.
	ErrRefused = errors.New("couldn't link device")
	// ErrNotLinked is what a lever returns that needs a linked device.
	ErrNotLinked = errors.New("no linked device is connected")
)

// Scan is the phone scanning the code that is on the screen now. It returns
// when page and server have agreed; the page then connects again as linked.
func (s *Server) Scan(ctx context.Context) error {
	for {
		now := s.OnScreen()
		if !now.Visible || now.Payload == "" {
			return fmt.Errorf("cannot scan: %w", ErrNothingToScan)
		}
		err := s.ScanPayload(ctx, now.Payload)
		// A code that ran out while the phone was aimed at it is no answer.
		if errors.Is(err, ErrExpired) && s.OnScreen().Payload != now.Payload && ctx.Err() == nil {
			continue
		}
		return err
	}
}

// ScanPayload is the phone scanning a code that was seen elsewhere, say in the
// product's answer. It must be what the page shows now.
func (s *Server) ScanPayload(ctx context.Context, login string) error {
	ref, _, _ := strings.Cut(login[strings.Index(login, "#")+1:], ",")
	c, err := s.offering(func(c *chat) bool { return slices.Contains(c.refs, ref) }, ref)
	if err != nil {
		return fmt.Errorf("cannot scan: %w", err)
	}
	return s.pair(ctx, c, message{Payload: login})
}

// EnterCode is the phone's owner typing a pairing code; a dash doesn't matter.
func (s *Server) EnterCode(ctx context.Context, code string) error {
	code = strings.ToUpper(strings.ReplaceAll(code, "-", ""))
	c, err := s.offering(func(c *chat) bool { return code != "" && c.code == code }, "")
	if err != nil {
		return fmt.Errorf("cannot link by code: %w", err)
	}
	return s.pair(ctx, c, message{Code: code})
}

// offering finds the connection that a code belongs to. A ref must be the one
// that its page shows.
func (s *Server) offering(owns func(*chat) bool, ref string) (*chat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.chats {
		if !owns(c) {
			continue
		}
		if ref != "" && !s.showsLocked(c.page, ref) {
			return nil, ErrExpired
		}
		return c, nil
	}
	return nil, ErrExpired
}

// showsLocked tells whether a page's current ref is this one, and lives. What
// the picture looks like doesn't matter: a phone may have got it elsewhere.
func (s *Server) showsLocked(id, ref string) bool {
	for p := range s.pages {
		if p.id == id {
			return p.screen.State == "UNPAIRED" && p.screen.Ref == ref
		}
	}
	return false
}

// pair tells the page that a phone has its code, and the phone what it said.
func (s *Server) pair(ctx context.Context, c *chat, m message) error {
	if _, gate := c.fault("passkey", "gate"); gate {
		c.send(message{Type: "passkey"})
		return nil
	}
	select {
	case <-c.answers: // It came too late for an earlier phone.
	default:
	}
	m.Type, m.Wid, m.Lid, m.Name = "pair-success", "15550100042:7@c.us", "20000000000042:7@lid", "Simulated Owner"
	c.send(m)
	select {
	case ok := <-c.answers:
		if !ok {
			return fmt.Errorf("cannot link: %w", ErrRefused)
		}
	case <-c.ctx.Done():
		return errors.New("cannot link: the page lost its connection")
	case <-ctx.Done():
		return fmt.Errorf("cannot link: the page did not answer: %w", ctx.Err())
	}
	s.mu.Lock()
	s.devices[c.noise] = &device{}
	s.mu.Unlock()
	// A linked device must come back as one: the server ends the connection
	// with the stream error 515.
	c.send(message{Type: "stream-error", Reason: "515"})
	c.close()
	return nil
}

// admit lets a registered device in. One that was never seen is taken at its
// word, so that logins outlive the simulator. An older connection of the same
// device is replaced.
func (s *Server) admit(c *chat) bool {
	s.mu.Lock()
	d := s.devices[c.noise]
	if d != nil && d.loggedOut {
		s.mu.Unlock()
		return false
	}
	if d == nil {
		s.devices[c.noise] = &device{}
	}
	var older []*chat
	for other := range s.chats {
		if other != c && other.registered && other.noise == c.noise && other.page != c.page {
			older = append(older, other)
		}
	}
	s.mu.Unlock()
	for _, other := range older {
		other.send(message{Type: "stream-error", Reason: "replaced"})
	}
	return true
}

// unlink is the device logging itself out.
func (s *Server) unlink(noise string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if noise != "" {
		s.devices[noise] = &device{loggedOut: true}
	}
}

// forget is the phone removing the device while it is connected.
func (s *Server) forget(c *chat) {
	s.unlink(c.noiseKey())
	c.send(message{Type: "stream-error", Reason: "device_removed"})
}

// LogOut is the phone removing every linked device. One that is connected
// hears of it at once, the others when they come back.
func (s *Server) LogOut() error {
	s.mu.Lock()
	if len(s.devices) == 0 {
		s.mu.Unlock()
		return fmt.Errorf("cannot log out: %w", ErrNotLinked)
	}
	for _, d := range s.devices {
		d.loggedOut = true
	}
	linked := s.linkedLocked()
	s.mu.Unlock()
	for _, c := range linked {
		c.send(message{Type: "stream-error", Reason: "device_removed"})
	}
	return nil
}

// TakeOver opens the account elsewhere: the page shows the conflict screen, and
// connects again when "Use here" is pressed.
func (s *Server) TakeOver() error {
	s.mu.Lock()
	linked := s.linkedLocked()
	s.mu.Unlock()
	if len(linked) == 0 {
		return fmt.Errorf("cannot take over: %w", ErrNotLinked)
	}
	for _, c := range linked {
		c.send(message{Type: "stream-error", Reason: "conflict"})
	}
	return nil
}

// RotateADV makes every page that waits for a phone renew the ADV secret in its
// code; the ref stays the same.
func (s *Server) RotateADV() error {
	s.mu.Lock()
	var waiting []*chat
	for c := range s.chats {
		if !c.registered && len(c.refs) > 0 {
			waiting = append(waiting, c)
		}
	}
	s.mu.Unlock()
	if len(waiting) == 0 {
		return fmt.Errorf("cannot rotate the ADV secret: %w", ErrNothingToScan)
	}
	for _, c := range waiting {
		c.send(message{Type: "companion-reg-refresh"})
	}
	return nil
}

// DropNetwork closes every connection, and refuses all until RestoreNetwork:
// pages, files, probes and websockets.
func (s *Server) DropNetwork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	s.closeChatsLocked()
}

// StallNetwork makes every connection silent until RestoreNetwork, as a router
// does that lost its table: nothing is closed, nothing arrives, and the page has
// to find out by itself.
func (s *Server) StallNetwork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled == nil {
		s.stalled = make(chan struct{})
	}
}

// RestoreNetwork ends DropNetwork and StallNetwork.
func (s *Server) RestoreNetwork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	if s.stalled != nil {
		close(s.stalled)
		s.stalled = nil
	}
}

// ExpireNow makes the page's list of codes run out, as after 160 seconds.
func (s *Server) ExpireNow() error {
	if s.OnScreen().State != "UNPAIRED" {
		return fmt.Errorf("cannot let the code run out: %w", ErrNothingToScan)
	}
	return s.command("idle")
}

// Hang makes the page's main thread spin for ever.
func (s *Server) Hang() error { return s.command("hang") }

// Ask makes the page open a dialog, which holds up all its scripts.
func (s *Server) Ask() error { return s.command("ask") }

// Chatter makes the page write 100,000 lines to the console.
func (s *Server) Chatter() error { return s.command("chatter") }

// Hoard makes the page take memory until there is none.
func (s *Server) Hoard() error { return s.command("hoard") }

// Reload makes the page reload itself, as it does for an update.
func (s *Server) Reload() error { return s.command("reload") }

func (s *Server) linkedLocked() []*chat {
	var linked []*chat
	for c := range s.chats {
		if c.registered {
			linked = append(linked, c)
		}
	}
	return linked
}

func (s *Server) closeChatsLocked() {
	for c := range s.chats {
		c.close()
	}
}

// Crash makes the page kill its own renderer, which takes it a second or so.
func (s *Server) Crash() error { return s.command("crash") }
