package simulator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// Durations of the imitated server, before scaling.
const (
	// syncTime is how long the first sync takes.
	syncTime = 12 * time.Second
	// syncSteps is how many progress messages it sends.
	syncSteps = 20
	// flapAfter is the life of a connection under socket=flap.
	flapAfter = 3 * time.Second
	// rotateEvery is how often adv=rotate strikes.
	rotateEvery = 5 * time.Second
)

// refsPerList is how many refs the server hands out at once.
const refsPerList = 6

// message is what travels over /ws/chat, in either direction. The format is the
// simulator's own; only the order and meaning of the messages imitate anything.
type message struct {
	Type string `json:"type"`
	// hello
	Page       string `json:"page,omitempty"`
	Noise      string `json:"noise,omitempty"`
	Registered bool   `json:"registered,omitempty"`
	Synced     bool   `json:"synced,omitempty"`
	// pair-device
	Refs []string `json:"refs,omitempty"`
	// pair-success carries the string or the code that the phone was given.
	Payload string `json:"payload,omitempty"`
	Code    string `json:"code,omitempty"`
	Wid     string `json:"wid,omitempty"`
	Lid     string `json:"lid,omitempty"`
	Name    string `json:"name,omitempty"`
	// pair-answer
	OK bool `json:"ok,omitempty"`
	// alt-link
	Phone string `json:"phone,omitempty"`
	// sync
	Progress int `json:"progress,omitempty"`
	// stream-error, failure, alt-error
	Reason string `json:"reason,omitempty"`
}

// chat is one connection of a page to the imitated server.
type chat struct {
	server *Server
	conn   *websocket.Conn
	// ctx ends with the connection; work belongs to it.
	ctx  context.Context
	work sync.WaitGroup
	// answers gets the page's word on a pairing.
	answers chan bool

	// The rest is guarded by server.mu.
	page       string
	noise      string
	registered bool
	refs       []string
	code       string
}

func (s *Server) serveChat(conn *websocket.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &chat{server: s, conn: conn, ctx: ctx, answers: make(chan bool, 1)}
	s.mu.Lock()
	s.chats[c] = struct{}{}
	refused := s.closed || s.down
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.chats, c)
		s.mu.Unlock()
		cancel()
		c.work.Wait()
	}()
	if !refused {
		c.read()
	}
}

// read handles what the page sends until the connection ends.
func (c *chat) read() {
	for {
		var m message
		err := websocket.JSON.Receive(c.conn, &m)
		if err != nil {
			if _, ok := errors.AsType[*json.SyntaxError](err); ok {
				c.server.logger.Error("page sent no JSON", "error", err)
			}
			return
		}
		c.handle(m)
	}
}

func (c *chat) handle(m message) {
	if c.server.silence() != nil {
		return // It was lost on the way.
	}
	switch m.Type {
	case "hello":
		c.hello(m)
	case "pair-answer":
		select {
		case c.answers <- m.OK:
		default: // Nobody asked.
		}
	case "alt-link":
		c.altLink(m.Phone)
	case "logout":
		c.server.unlink(c.noiseKey())
	case "ping":
		c.send(message{Type: "pong"})
	default:
		c.server.logger.Error("page sent an unknown message", "type", m.Type)
	}
}

// send drops the connection when the page doesn't take the message.
func (c *chat) send(m message) {
	if c.server.silence() != nil {
		return // It is lost on the way.
	}
	if err := send(c.conn, m); err != nil {
		c.close()
	}
}

func (c *chat) close() { _ = c.conn.Close() } // A second close is harmless.

func (c *chat) noiseKey() string {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.noise
}

func (c *chat) hello(m message) {
	c.server.mu.Lock()
	c.page, c.noise, c.registered = m.Page, m.Noise, m.Registered
	c.server.mu.Unlock()
	if _, flap := c.fault("socket", "flap"); flap {
		c.later(flapAfter, c.close)
	}
	switch {
	case c.refuse(m):
	case m.Registered:
		c.welcome(m)
	default:
		c.sendRefs()
	}
}

// refuse answers a hello with one of the server's stop reasons.
func (c *chat) refuse(m message) bool {
	reason := ""
	for _, r := range []struct {
		fault, value, reason string
		always               bool
	}{
		{"503", "", "503", true},
		{"405", "", "405", true},
		{"tos", "", "tos", true},
		{"ban", "temp", "402", false},
		{"ban", "perm", "406", false},
	} {
		if _, on := c.fault(r.fault, r.value); on && (r.always || m.Registered) {
			reason = r.reason
		}
	}
	if reason == "" {
		return false
	}
	c.send(message{Type: "failure", Reason: reason})
	return true
}

func (c *chat) fault(name, value string) (Fault, bool) {
	f, on := c.server.fault(name)
	return f, on && f.Value == value
}

// sendRefs hands out a fresh list of refs, the first of which the page shows
// for a minute and each further one for twenty seconds.
func (c *chat) sendRefs() {
	refs := make([]string, refsPerList)
	for i := range refs {
		refs[i] = newRef()
	}
	if _, on := c.fault("ref", "repeat"); on {
		for i := range refs {
			refs[i] = refs[0]
		}
	}
	if _, on := c.fault("ref", "empty"); on {
		clear(refs)
	}
	c.server.mu.Lock()
	c.refs, c.code = refs, ""
	c.server.mu.Unlock()
	c.send(message{Type: "pair-device", Refs: refs})
	if _, on := c.fault("adv", "rotate"); on {
		c.work.Go(c.keepRotating)
	}
}

func (c *chat) keepRotating() {
	for pause(c.ctx, c.server.scaled(rotateEvery)) {
		c.send(message{Type: "companion-reg-refresh"})
	}
}

// welcome logs a registered device in, and syncs it.
func (c *chat) welcome(m message) {
	if !c.server.admit(c) {
		c.send(message{Type: "failure", Reason: "401"})
		return
	}
	c.send(message{Type: "success"})
	if _, on := c.fault("socket", "replaced"); on {
		c.send(message{Type: "stream-error", Reason: "replaced"})
		return
	}
	c.work.Go(func() { c.sync(m.Synced) })
}

// sync sends the chats. A device that has them gets the little that is new.
func (c *chat) sync(synced bool) {
	if !synced && !c.firstSync() {
		return
	}
	c.send(message{Type: "sync-done"})
	if _, on := c.fault("logout", "phone"); on {
		c.server.forget(c)
	}
	if _, on := c.fault("conflict", "now"); on {
		c.send(message{Type: "stream-error", Reason: "conflict"})
	}
}

// firstSync reports whether it got to the end.
func (c *chat) firstSync() bool {
	if _, on := c.fault("sync", "timeout"); on {
		return false
	}
	stuck, isStuck := c.fault("sync", "stuck")
	_, drop := c.fault("logout", "mid-sync")
	for step := 0; step <= syncSteps; step++ {
		progress := step * 100 / syncSteps
		if isStuck {
			progress = min(progress, stuck.number())
		}
		c.send(message{Type: "sync", Progress: progress})
		if drop && progress >= 50 {
			c.server.forget(c)
			return false
		}
		if !pause(c.ctx, c.server.scaled(syncTime/syncSteps)) {
			return false
		}
	}
	return !isStuck
}

// later runs do after an imitated duration, unless the connection ends first.
func (c *chat) later(d time.Duration, do func()) {
	c.work.Go(func() {
		if pause(c.ctx, c.server.scaled(d)) {
			do()
		}
	})
}

// altLink gives out a pairing code.
func (c *chat) altLink(phone string) {
	digits := strings.Trim(phone, "0123456789") == "" && len(phone) >= 8
	for reason, refused := range map[string]bool{
		"rate":        c.isOn("code", "rate"),
		"unavailable": c.isOn("code", "unavailable"),
		"bad-request": !digits || c.isOn("code", "bad-number"),
	} {
		if refused {
			c.send(message{Type: "alt-error", Reason: reason})
			return
		}
	}
	code := newCode()
	c.server.mu.Lock()
	c.code = code
	c.server.mu.Unlock()
	c.send(message{Type: "alt-code", Code: code})
}

func (c *chat) isOn(name, value string) bool {
	_, on := c.fault(name, value)
	return on
}

// newRef makes a ref of the observed shape: a digit, an at sign, and text in
// the alphabet of base64, about as long as today's.
func newRef() string {
	var raw [69]byte
	_, _ = rand.Read(raw[:]) // It never fails.
	return fmt.Sprintf("2@%s==", base64.RawStdEncoding.EncodeToString(raw[:]))
}

// newCode makes a pairing code of eight characters that can't be misread.
func newCode() string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // It never fails.
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw[:])
}
