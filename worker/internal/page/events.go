package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
)

// What ends a look early, or for good.
var (
	errCrashed = errors.New("the page's process died")
	errGone    = errors.New("the page was closed")
)

// signals is what the listener leaves for the loop.
type signals struct {
	hint chan struct{} // capacity 1: look soon
	lost chan error    // capacity 1: the target is gone

	mu        *sync.Mutex
	document  int // counts committed documents
	crashed   bool
	loggedOut *classify.Logout
	pairing   pairing
	sockets   map[proto.NetworkRequestID]struct{} // the document's connections
	// console and browser are the last complaints; marked is closed when the
	// binding is called with mark.
	console, browser []string
	mark             string
	marked           chan struct{}
	interrupt        context.CancelCauseFunc // of the look in flight
}

func newSignals() signals {
	return signals{hint: make(chan struct{}, 1), lost: make(chan error, 1), mu: new(sync.Mutex), sockets: map[proto.NetworkRequestID]struct{}{}}
}

func (p *Page) hint() {
	select {
	case p.signals.hint <- struct{}{}:
	default:
	}
}

// lose tells the loop that the target is gone for good.
func (p *Page) lose(err error) {
	select {
	case p.signals.lost <- err:
	default:
	}
}

// listen handles the events of the browser until the page's life or the
// connection ends. It must not call Chrome: events are buffered without limit
// while it is busy.
func (p *Page) listen(events <-chan *rod.Message) {
	for msg := range events {
		p.handleSafely(msg)
	}
	if p.life.Err() == nil {
		p.lose(errGone)
		p.interrupt(errGone)
	}
}

// handleSafely survives an event that doesn't have the shape rod expects: its
// decoder panics then (go-rod/rod lib/utils, E).
func (p *Page) handleSafely(msg *rod.Message) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Warn(logid.EventDecodeFailed, logging.KeyEvent, msg.Method, logging.KeyDetail, fmt.Sprint(r))
		}
	}()
	switch msg.SessionID {
	case "":
		p.handleBrowser(msg)
	case p.rod.SessionID:
		p.handlePage(msg)
	}
}

func (p *Page) handleBrowser(msg *rod.Message) {
	switch msg.Method {
	case proto.TargetTargetCreated{}.ProtoEvent():
		var e proto.TargetTargetCreated
		if msg.Load(&e) && isPage(e.TargetInfo) && e.TargetInfo.TargetID != p.self {
			p.closeTarget(e.TargetInfo.TargetID)
		}
	case proto.TargetTargetDestroyed{}.ProtoEvent():
		var e proto.TargetTargetDestroyed
		if msg.Load(&e) && e.TargetID == p.self {
			p.lose(errGone)
			p.interrupt(errGone)
		}
	case proto.TargetTargetCrashed{}.ProtoEvent():
		var e proto.TargetTargetCrashed
		if msg.Load(&e) && e.TargetID == p.self {
			p.noteCrash()
		}
	}
}

func (p *Page) handlePage(msg *rod.Message) {
	switch msg.Method {
	case proto.RuntimeBindingCalled{}.ProtoEvent():
		var e proto.RuntimeBindingCalled
		if msg.Load(&e) {
			p.noteMark(e.Payload)
		}
		p.hint()
	case proto.ConsoleMessageAdded{}.ProtoEvent():
		var e proto.ConsoleMessageAdded
		if msg.Load(&e) && e.Message != nil {
			line := 0
			if e.Message.Line != nil {
				line = *e.Message.Line
			}
			p.noteConsole(string(e.Message.Level), e.Message.Text, e.Message.URL, line)
		}
	case proto.PageFrameNavigated{}.ProtoEvent():
		var e proto.PageFrameNavigated
		if msg.Load(&e) && e.Frame.ID == p.main {
			p.noteDocument(e.Frame.URL, true)
		}
	case proto.PageNavigatedWithinDocument{}.ProtoEvent():
		var e proto.PageNavigatedWithinDocument
		if msg.Load(&e) && e.FrameID == p.main {
			p.noteDocument(e.URL, false)
		}
	case proto.PageJavascriptDialogOpening{}.ProtoEvent():
		var e proto.PageJavascriptDialogOpening
		if msg.Load(&e) {
			p.dismiss(e.Type)
		}
	case proto.InspectorDetached{}.ProtoEvent():
		var e proto.InspectorDetached
		if msg.Load(&e) && e.Reason == goneQuietly {
			p.noteCrash()
		}
	case proto.LogEntryAdded{}.ProtoEvent():
		var e proto.LogEntryAdded
		if !msg.Load(&e) || e.Entry == nil {
			return
		}
		p.noteComplaint(e.Entry)
		if e.Entry.Level == proto.LogLogEntryLevelError {
			p.log.Debug(logid.ConsoleMessageReceived, slog.String(logging.KeyLine, logging.Redact(truncate(e.Entry.Text, 300))),
				slog.String("source", string(e.Entry.Source)))
		}
	default:
		p.noteSocket(msg)
	}
}

// goneQuietly is how Chrome calls it when the page's process ended without a fault, or
// in a way that it can't find out: its zygote knows, and may have died before
// (render_frame_devtools_agent_host.cc; measured). Without a zygote there is no other
// process for the page, so that it then crashes again as often as it is revived.
const goneQuietly = "Render process gone."

// noteCrash ends the look in flight, which would never be answered.
func (p *Page) noteCrash() {
	p.signals.mu.Lock()
	p.signals.crashed = true
	p.signals.mu.Unlock()
	p.interrupt(errCrashed)
	p.hint()
}

// forgetCrash is called when the page is about to be revived.
func (p *Page) forgetCrash() {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	p.signals.crashed = false
}

// noteDocument counts the documents, and catches the address of an ended
// session, which the page takes away while it boots.
func (p *Page) noteDocument(address string, committed bool) {
	why, ended := p.lens.Load().endsSession(address)
	p.signals.mu.Lock()
	if committed {
		p.signals.document++
		clear(p.signals.sockets)
		p.lastFrame.Store(0)
		p.signals.browser = nil
	}
	if ended {
		p.signals.loggedOut = &classify.Logout{Detail: why}
	}
	p.signals.mu.Unlock()
	if committed || ended {
		p.hint()
	}
}

// interrupt ends the look in flight, which on a dead page would never end.
func (p *Page) interrupt(cause error) {
	p.signals.mu.Lock()
	cancel := p.signals.interrupt
	p.signals.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// chore is a call to Chrome that an event asks for.
type chore func(ctx context.Context) error

// doChores runs them beside the loop, since a look can wait for just what a
// chore takes away, such as a dialog.
func (p *Page) doChores() {
	for {
		select {
		case <-p.life.Done():
			return
		case do := <-p.chores:
			p.doChore(do)
		}
	}
}

func (p *Page) doChore(do chore) {
	ctx, cancel := context.WithTimeout(p.life, p.t.Call)
	defer cancel()
	if err := do(ctx); err != nil && p.life.Err() == nil {
		p.log.Warn(logid.TidyFailed, logging.KeyError, err)
	}
}

func (p *Page) enqueue(do chore) {
	select {
	case p.chores <- do:
	default:
		p.log.Warn(logid.TidyDropped)
	}
}

func (p *Page) closeTarget(id proto.TargetTargetID) {
	p.enqueue(func(ctx context.Context) error {
		if _, err := (proto.TargetCloseTarget{TargetID: id}).Call(p.o.Browser.Context(ctx)); err != nil {
			return fmt.Errorf("cannot close another page: %w", err)
		}
		p.log.Info(logid.TabClosed)
		return nil
	})
}

// dismiss answers a dialog, which holds up every script of the page. Only the
// question whether to leave is answered with yes: navigation is ours.
func (p *Page) dismiss(kind proto.PageDialogType) {
	p.enqueue(func(ctx context.Context) error {
		accept := kind == proto.PageDialogTypeBeforeunload
		if err := (proto.PageHandleJavaScriptDialog{Accept: accept}).Call(p.rod.Context(ctx)); err != nil {
			return fmt.Errorf("cannot dismiss dialog: %w", err)
		}
		return nil
	})
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
