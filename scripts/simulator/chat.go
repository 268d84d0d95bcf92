package simulator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
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

// refsPerList is how many refs the server gives out at once.
const refsPerList = 6

// owner is whom a device is linked to.
type owner struct {
	Wid  string `json:"wid,omitempty"`
	Lid  string `json:"lid,omitempty"`
	Name string `json:"name,omitempty"`
}

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
	// pair-success carries the payload or the code that the phone was given.
	Payload string `json:"payload,omitempty"`
	Code    string `json:"code,omitempty"`
	owner
	// pair-answer
	OK bool `json:"ok,omitempty"`
	// alt-link
	Phone string `json:"phone,omitempty"`
	// sync
	Progress int `json:"progress,omitempty"`
	// stream-error, failure, alt-error, passkey-error
	Reason string `json:"reason,omitempty"`
	// passkey-request, passkey-options, passkey-prologue, challenge-answer, passkey-code
	passkeyMessage
}

// chat is one connection of a page to the imitated server.
type chat struct {
	account *Account
	conn    *websocket.Conn
	// ctx ends with the connection; work belongs to it.
	ctx  context.Context
	work sync.WaitGroup
	// answers gets the page's answer to a pairing.
	answers chan bool

	// The rest is guarded by account.mu.
	page       string
	noise      string
	registered bool
	refs       []string
	code       string
	// secret is what the phone was given, while a passkey is demanded.
	secret string
}

// serve handles one connection until it ends.
func (a *Account) serve(conn *websocket.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &chat{account: a, conn: conn, ctx: ctx, answers: make(chan bool, 1)}
	a.mu.Lock()
	a.chats[c] = struct{}{}
	a.mu.Unlock()
	defer func() {
		a.network.leave(conn)
		a.mu.Lock()
		delete(a.chats, c)
		a.mu.Unlock()
		cancel()
		c.work.Wait()
		a.messaging.leave(c)
	}()
	if a.network.join(conn) {
		c.read()
	}
}

// read handles what the page sends until the connection ends.
func (c *chat) read() {
	for {
		var raw []byte
		if websocket.Message.Receive(c.conn, &raw) != nil {
			return
		}
		var m message
		if err := json.Unmarshal(raw, &m); err != nil {
			c.account.logger.Error("page sent no JSON", "error", err)
			return
		}
		if c.account.network.silence() == nil { // Otherwise it was lost on the way.
			c.handle(m, raw)
		}
	}
}

func (c *chat) handle(m message, raw []byte) {
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
		c.account.unlink(c)
	case "passkey-options", "passkey-prologue", "passkey-confirm", "challenge-answer":
		c.account.passkeys.handle(c, m)
	case "ping":
		c.send(message{Type: "pong"})
	default:
		if !c.account.messaging.handle(c, m.Type, raw) {
			c.account.logger.Error("page sent an unknown message", "type", m.Type)
		}
	}
}

// send drops the connection when the page doesn't take the message. A silent
// network loses it.
func (c *chat) send(m message) { c.write(m) }

func (c *chat) write(m any) {
	if c.account.network.silence() == nil && send(c.conn, m) != nil {
		c.close()
	}
}

func streamError(reason string) message { return message{Type: "stream-error", Reason: reason} }

func (c *chat) close() { _ = c.conn.Close() } // A second close is harmless.

func (c *chat) isOn(name, value string) bool { return c.account.settings.isOn(name, value) }

// pause waits for an imitated duration, and reports whether the connection still is.
func (c *chat) pause(d time.Duration) bool { return pause(c.ctx, c.account.settings.scaled(d)) }

func (c *chat) hello(m message) {
	c.account.mu.Lock()
	c.page, c.noise, c.registered = m.Page, m.Noise, m.Registered
	c.account.mu.Unlock()
	if c.isOn("socket", "flap") {
		c.work.Go(func() {
			if c.pause(flapAfter) {
				c.close()
			}
		})
	}
	refusal := c.refusal(m.Registered)
	switch {
	case refusal != "":
		c.send(message{Type: "failure", Reason: refusal})
	case !m.Registered && c.isOn("conflict", "unlinked"):
		c.send(streamError("conflict"))
	case m.Registered:
		c.welcome(m)
	default:
		c.sendRefs()
	}
}

// refusal returns the server's reason to refuse a hello, or "".
func (c *chat) refusal(registered bool) string {
	for _, bare := range []string{"503", "405", "409", "tos", "outdated"} {
		if c.isOn(bare, "") {
			return bare
		}
	}
	switch {
	case registered && c.isOn("500", ""):
		return "500"
	case registered && c.isOn("ban", "temp"):
		return "402"
	case registered && c.isOn("ban", "perm"):
		return "406"
	}
	return ""
}

// sendRefs gives out a new list of refs, the first of which the page shows
// for a minute and each further one for twenty seconds.
func (c *chat) sendRefs() {
	refs := make([]string, refsPerList)
	if fault, on := c.account.settings.fault("refs"); on {
		refs = make([]string, min(fault.number(), 100))
	}
	for i := range refs {
		switch {
		case c.isOn("ref", "empty"):
		case i > 0 && c.isOn("ref", "repeat"):
			refs[i] = refs[0]
		case c.isOn("ref", "growing"):
			refs[i] = newRef(growing[i%len(growing)])
		default:
			refs[i] = newRef(refBytes)
		}
	}
	c.account.mu.Lock()
	c.refs, c.code = refs, ""
	c.account.mu.Unlock()
	c.send(message{Type: "pair-device", Refs: refs})
	if c.isOn("adv", "rotate") {
		c.work.Go(func() {
			for c.pause(rotateEvery) {
				c.send(message{Type: "companion-reg-refresh"})
			}
		})
	}
}

// welcome logs a registered device in, and syncs it.
func (c *chat) welcome(m message) {
	if !c.account.admit(c) {
		c.send(message{Type: "failure", Reason: "401"})
		return
	}
	c.send(message{Type: "success"})
	c.write(query{Type: "restrictions", Result: c.account.messaging.restrictions()})
	if c.isOn("socket", "replaced") {
		c.send(streamError("replaced"))
		return
	}
	c.work.Go(func() { c.sync(m.Synced) })
}

// sync sends the chats. A device that has them gets the little that is new.
func (c *chat) sync(synced bool) {
	if !synced && !c.firstSync() {
		return
	}
	if !synced {
		c.write(c.account.messaging.people.history())
	}
	c.account.messaging.join(c)
	c.send(message{Type: "sync-done"})
	if c.isOn("logout", "phone") {
		c.account.remove(c)
	}
	if c.isOn("conflict", "now") {
		c.send(streamError("conflict"))
	}
}

// firstSync reports whether it got to the end.
func (c *chat) firstSync() bool {
	if c.isOn("sync", "timeout") {
		return false
	}
	drop := c.isOn("logout", "mid-sync")
	for step := 0; step <= syncSteps; step++ {
		progress := step * 100 / syncSteps
		if !c.syncReaches(progress) {
			return false
		}
		c.send(message{Type: "sync", Progress: progress})
		if drop && progress >= 50 {
			c.account.remove(c)
			return false
		}
		if !c.pause(syncTime / syncSteps) {
			return false
		}
		if c.isOn("500", "") {
			c.send(message{Type: "failure", Reason: "500"})
			return false
		}
	}
	return c.syncReaches(101) // it may be stuck at 100
}

// syncReaches waits while the sync is stuck below this progress. It returns false when the
// connection ends meanwhile.
func (c *chat) syncReaches(progress int) bool {
	for sent := false; ; sent = true {
		fault, on := c.account.settings.fault("sync")
		if !on || fault.Value != "stuck" || progress <= fault.number() {
			return true
		}
		if !sent {
			c.send(message{Type: "sync", Progress: fault.number()})
		}
		if !c.pause(syncTime / syncSteps) {
			return false
		}
	}
}

// altLink gives out a pairing code. The one before it is dead even if this request
// is refused.
func (c *chat) altLink(phone string) {
	fault, _ := c.account.settings.fault("code")
	status := fault.number()
	if strings.Trim(phone, "0123456789") != "" || len(phone) < 8 {
		status = http.StatusBadRequest
	}
	code := ""
	if status == 0 && fault.Value == "" {
		code = newCode()
	}
	c.account.mu.Lock()
	c.code = code
	c.account.codeRequests++
	c.account.mu.Unlock()
	switch {
	case status != 0:
		c.send(message{Type: "alt-error", Reason: strconv.Itoa(status)})
	case code != "":
		c.send(message{Type: "alt-code", Code: code})
	}
}

// refBytes is how many random bytes a ref has today.
const refBytes = 69

// growing are those of the refs under ref=growing. With the rest of a QR payload, of 39
// bytes and three keys, the last but one is longer than any QR holds.
var growing = [refsPerList]int{refBytes, 195, 615, 2040, 2250, refBytes}

// newRef makes a ref of the observed shape: a digit, an at sign, and text in
// the alphabet of base64.
func newRef(length int) string {
	raw := make([]byte, length)
	_, _ = rand.Read(raw) // It never fails.
	return fmt.Sprintf("2@%s==", base64.RawStdEncoding.EncodeToString(raw))
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
