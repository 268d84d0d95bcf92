package simulator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/net/websocket"
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
	// Visible reports whether a phone could scan the code now: it is drawn, not
	// covered, alive, and has not run out.
	Visible bool `json:"visible"`
	// Alive reports whether the page is still connected to the server that gave out
	// the list of its codes, and their clock runs.
	Alive bool `json:"alive"`
	// Payload is the whole string of the code that is drawn, also a dead one.
	// Whoever has it can link a phone, so it must not be logged.
	Payload string `json:"payload"`
	// Offered is the whole string that the page would draw; it differs from
	// Payload while a drawing is late or missing.
	Offered string `json:"offered"`
	// Ref is the first field of Offered.
	Ref string `json:"ref"`
	// RefTTL is Conn.refTTL: how long the page will show the ref, in milliseconds
	// of its (scaled) clock.
	RefTTL float64 `json:"refTTL"`
	// Overlay is what lies over the code: idle, offline, banner, modal or nothing.
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

// ErrNoPage is what a lever returns that needs an open page.
var ErrNoPage = errors.New("no page is open")

// instrumentPath is where the page reports to the simulator. It is no part of
// the imitation, and stays up when the imitated network is down.
const instrumentPath = "/sim/page"

// writeTimeout bounds a write to a page whose browser is stuck.
const writeTimeout = 5 * time.Second

// Pages are the open documents: what they report, and the orders they get.
type Pages struct {
	ctx context.Context // ends with the Server

	mu     sync.Mutex
	open   map[*page]struct{}
	screen Screen
	// changed is closed and replaced whenever screen changes.
	changed chan struct{}
	// loads numbers the page loads from 1.
	loads int
	// traps counts the scripts that were caught.
	traps int
}

// page is one open document, as its instrument socket sees it.
type page struct {
	conn *websocket.Conn
	// id is the page's own random name, which its chat sockets carry too.
	id       string
	screen   Screen
	reported bool
}

func newPages(ctx context.Context) *Pages {
	return &Pages{ctx: ctx, open: map[*page]struct{}{}, changed: make(chan struct{})}
}

// OnScreen returns what the newest open page shows now.
func (p *Pages) OnScreen() Screen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen
}

// Traps counts how often a script that isn't the page's read the global by which the page
// finds such scripts.
func (p *Pages) Traps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.traps
}

// Shown waits until a code is on the screen that a phone could scan.
func (p *Pages) Shown(ctx context.Context) (Screen, error) {
	var seen Screen
	err := p.Await(ctx, func(c Screen) bool {
		seen = c
		return c.Visible
	})
	return seen, err
}

// Await blocks until a screen satisfies want, and calls it once per change, of Traps too, and
// from the caller's goroutine. States that a page only passes through between
// two drawings are not seen.
func (p *Pages) Await(ctx context.Context, want func(Screen) bool) error {
	for {
		p.mu.Lock()
		now, changed := p.screen, p.changed
		p.mu.Unlock()
		if want(now) {
			return nil
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("cannot see the awaited screen, it is %s: %w", now, ctx.Err())
		}
	}
}

// ExpireNow makes the page's list of codes run out, as after 160 seconds.
func (p *Pages) ExpireNow() error {
	if p.OnScreen().State != "UNPAIRED" {
		return fmt.Errorf("cannot let the code run out: %w", ErrNothingToScan)
	}
	return p.Order("expire")
}

// Order is something that an open page can be made to do.
type Order string

// Orders are all of them.
const (
	Hang     Order = "hang"     // its main thread spins for ever
	Crash    Order = "crash"    // it kills its own renderer, which takes it a second or so
	Ask      Order = "ask"      // it opens a dialog, which holds up all its scripts
	Chatter  Order = "chatter"  // it writes 100,000 lines to the console
	Hoard    Order = "hoard"    // it takes memory until none is left
	Download Order = "download" // it downloads a file again and again
	Next     Order = "next"     // its code is over, and the next one of the list is shown
	Reload   Order = "reload"   // it reloads itself, as it does for an update
)

// Order sends an order to the page that is on the screen.
func (p *Pages) Order(do Order) error {
	p.mu.Lock()
	newest := p.newestLocked()
	p.mu.Unlock()
	if newest == nil {
		return fmt.Errorf("cannot order the page to %s: %w", do, ErrNoPage)
	}
	if err := send(newest.conn, map[string]Order{"do": do}); err != nil {
		return fmt.Errorf("cannot order the page to %s: %w", do, err)
	}
	return nil
}

func send(conn *websocket.Conn, message any) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return websocket.JSON.Send(conn, message)
}

// report is one message of the page. Only the first one carries a Page.
type report struct {
	Page string `json:"page"`
	Screen
	// At is when the page drew, in milliseconds since 1970.
	At float64 `json:"at"`
	// Trap is the only field of a report that a foreign script was caught.
	Trap bool `json:"trap"`
}

// serve receives the reports of one page, and returns when it has gone.
func (p *Pages) serve(conn *websocket.Conn) {
	opened := &page{conn: conn}
	p.mu.Lock()
	p.loads++
	opened.screen.Load = p.loads
	p.open[opened] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, opened)
		p.showLocked()
	}()
	for {
		var r report
		if err := websocket.JSON.Receive(conn, &r); err != nil {
			return
		}
		p.record(opened, r)
	}
}

func (p *Pages) record(from *page, r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Trap {
		p.traps++
		close(p.changed) // Await may be for this.
		p.changed = make(chan struct{})
		return
	}
	if r.Page != "" {
		from.id = r.Page
	}
	r.Load = from.screen.Load
	r.Since = time.UnixMicro(int64(r.At * 1000))
	if from.reported && !r.differs(from.screen) {
		return
	}
	from.screen, from.reported = r.Screen, true
	p.showLocked()
}

// newestLocked returns the page that is on the screen, or nil.
func (p *Pages) newestLocked() *page {
	var newest *page
	for open := range p.open {
		if open.reported && (newest == nil || open.screen.Load > newest.screen.Load) {
			newest = open
		}
	}
	return newest
}

// showLocked makes the newest open page's report the screen.
func (p *Pages) showLocked() {
	now := Screen{Progress: -1}
	if newest := p.newestLocked(); newest != nil {
		now = newest.screen
	}
	if !now.differs(p.screen) {
		return
	}
	if now.Load == 0 {
		now.Since = time.Now()
	}
	p.screen = now
	close(p.changed)
	p.changed = make(chan struct{})
}

// offers reports whether this is the current ref of a page, and not expired. How it
// is drawn does not matter: a phone may have got it elsewhere.
func (p *Pages) offers(id, ref string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for open := range p.open {
		if open.id == id {
			return open.screen.State == "UNPAIRED" && open.screen.Alive && open.screen.Ref == ref
		}
	}
	return false
}
