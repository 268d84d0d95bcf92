package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// What a phone says when it can't link.
var (
	// ErrNothingToScan: no code is on the screen, or it is covered or dead.
	ErrNothingToScan = errors.New("no scannable code is on the screen")
	// ErrExpired: the code was shown once, but no longer, or the connection that it
	// was given out over has closed.
	ErrExpired = errors.New("the code has expired")
	// ErrRefused: the page did not recognise the secrets of the code as its
	// own ("Couldn't link device"), above all after they were rotated.
	ErrRefused = errors.New("couldn't link device")
	// ErrNotLinked is what a lever returns that needs a linked device.
	ErrNotLinked = errors.New("no linked device is connected")
)

// MayScanAgain reports whether a scan failed with err because the page has no code, or draws
// the next one, as a person sees who then scans it again.
func MayScanAgain(err error) bool {
	return errors.Is(err, ErrExpired) || errors.Is(err, ErrNothingToScan) || errors.Is(err, ErrRefused)
}

// Account is the imitated WhatsApp account: its phone, the devices that are linked
// to it, and the connections of the pages to its server.
type Account struct {
	settings  *Settings
	network   *Network
	pages     *Pages
	messaging *Messaging
	passkeys  *Passkeys
	logger    *slog.Logger

	mu    sync.Mutex
	chats map[*chat]struct{}
	// devices has the linked browsers by their noise keys. Those that were logged
	// out are false.
	devices map[string]bool
	// codeRequests counts the requests for a pairing code.
	codeRequests int
}

func newAccount(s *Settings, n *Network, p *Pages, m *Messaging, k *Passkeys, log *slog.Logger) *Account {
	return &Account{settings: s, network: n, pages: p, messaging: m, passkeys: k, logger: log, chats: map[*chat]struct{}{}, devices: map[string]bool{}}
}

// Scan is the phone scanning the code that is on the screen now. It returns
// when page and server have agreed; the page then connects again as linked.
func (a *Account) Scan(ctx context.Context) error {
	for {
		now := a.pages.OnScreen()
		if !now.Visible || now.Payload == "" {
			return fmt.Errorf("cannot scan: %w", ErrNothingToScan)
		}
		err := a.ScanPayload(ctx, now.Payload)
		// A code that ran out while the phone was aimed at it is no answer.
		if errors.Is(err, ErrExpired) && a.pages.OnScreen().Payload != now.Payload && ctx.Err() == nil {
			continue
		}
		return err
	}
}

// ScanPayload is the phone scanning a code that was seen elsewhere, for example in
// the product's answer. It must be what the page shows now.
func (a *Account) ScanPayload(ctx context.Context, payload string) error {
	ref, _, _ := strings.Cut(payload[strings.Index(payload, "#")+1:], ",")
	found := a.connected(func(c *chat) bool { return slices.Contains(c.refs, ref) })
	if len(found) == 0 || !a.pages.offers(found[0].page, ref) {
		return fmt.Errorf("cannot scan: %w", ErrExpired)
	}
	return a.pair(ctx, found[0], message{Payload: payload})
}

// EnterCode is the phone's owner typing a pairing code; a dash doesn't matter.
func (a *Account) EnterCode(ctx context.Context, code string) error {
	code = strings.ToUpper(strings.ReplaceAll(code, "-", ""))
	found := a.connected(func(c *chat) bool { return code != "" && c.code == code })
	if len(found) == 0 {
		return fmt.Errorf("cannot link by code: %w", ErrExpired)
	}
	return a.pair(ctx, found[0], message{Code: code})
}

// CodeRequests counts the requests for a pairing code that the server has got.
func (a *Account) CodeRequests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.codeRequests
}

// pair informs the page that a phone has its code, and waits for its answer.
func (a *Account) pair(ctx context.Context, c *chat, m message) error {
	if _, gated := a.settings.fault("passkey"); gated {
		a.passkeys.demand(c, m)
		return nil
	}
	return a.link(ctx, c, m)
}

// link makes the page a linked device.
func (a *Account) link(ctx context.Context, c *chat, m message) error {
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
	a.mu.Lock()
	a.devices[c.noise] = true
	a.mu.Unlock()
	// A linked device must come back as one: the server ends the connection
	// with the stream error 515.
	c.send(streamError("515"))
	c.close()
	return nil
}

// LogOut is the phone removing every linked device. One that is connected
// is informed at once, the others when they come back.
func (a *Account) LogOut() error {
	a.mu.Lock()
	known := len(a.devices)
	for noise := range a.devices {
		a.devices[noise] = false
	}
	a.mu.Unlock()
	if known == 0 {
		return fmt.Errorf("cannot log out: %w", ErrNotLinked)
	}
	return a.broadcast(linked, streamError("device_removed"), nil)
}

// TakeOver opens the account elsewhere: the page shows the conflict screen, and
// connects again when "Use here" is pressed.
func (a *Account) TakeOver() error {
	return a.broadcast(linked, streamError("conflict"), fmt.Errorf("cannot take over: %w", ErrNotLinked))
}

// Replace opens the account elsewhere as well, but the page shows nothing of it: it
// stops its communication, and looks alive.
func (a *Account) Replace() error {
	return a.broadcast(linked, streamError("replaced"), fmt.Errorf("cannot replace: %w", ErrNotLinked))
}

// Disconnect closes every connection to the server. Pages connect again.
func (a *Account) Disconnect() {
	for _, c := range a.connected(func(*chat) bool { return true }) {
		c.close()
	}
}

// RotateADV makes every page that waits for a phone renew the ADV secret in its
// code; the ref stays the same.
func (a *Account) RotateADV() error {
	waiting := func(c *chat) bool { return !c.registered && len(c.refs) > 0 }
	return a.broadcast(waiting, message{Type: "companion-reg-refresh"}, fmt.Errorf("cannot rotate the ADV secret: %w", ErrNothingToScan))
}

// broadcast sends m to every page that matches, and returns otherwise when none does.
func (a *Account) broadcast(match func(*chat) bool, m message, otherwise error) error {
	found := a.connected(match)
	for _, c := range found {
		c.send(m)
	}
	if len(found) == 0 {
		return otherwise
	}
	return nil
}

// connected returns the connections for which match reports true.
func (a *Account) connected(match func(*chat) bool) []*chat {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []*chat
	for c := range a.chats {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

func linked(c *chat) bool { return c.registered }

// admit lets a registered device in. One that was never seen is believed, so that
// logins outlive the simulator. An older connection of the same device is replaced.
func (a *Account) admit(c *chat) bool {
	a.mu.Lock()
	in, known := a.devices[c.noise]
	if !known {
		a.devices[c.noise] = true
	}
	a.mu.Unlock()
	if known && !in {
		return false
	}
	for _, older := range a.connected(func(other *chat) bool {
		return other != c && other.registered && other.noise == c.noise && other.page != c.page
	}) {
		older.send(streamError("replaced"))
	}
	return true
}

// unlink is a device logging itself out.
func (a *Account) unlink(c *chat) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.noise != "" {
		a.devices[c.noise] = false
	}
}

// remove is the phone removing the device while it is connected.
func (a *Account) remove(c *chat) {
	a.unlink(c)
	c.send(streamError("device_removed"))
}
