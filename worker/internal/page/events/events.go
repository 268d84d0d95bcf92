// Package events turns the events that Chrome sends about a page into what the
// page's loop needs to know, and answers those that can't wait for it.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/target"
)

// Listen passes each event of the browser and of the page to the handlers, in
// order, until the stream ends. A handler must not call Chrome: events are buffered
// without limit while it is busy.
func Listen(stream <-chan *rod.Message, t *target.Target, log *slog.Logger, handlers ...func(*rod.Message)) {
	for msg := range stream {
		if msg.SessionID != "" && msg.SessionID != t.Page.SessionID {
			continue
		}
		for _, h := range handlers {
			handle(h, msg, log)
		}
	}
}

// handle survives an event that doesn't have the shape that rod expects: its
// decoder panics then (go-rod/rod lib/utils, E).
func handle(h func(*rod.Message), msg *rod.Message, log *slog.Logger) {
	defer func() {
		if r := recover(); r != nil {
			log.Warn(logid.EventDecodeFailed, logging.KeyEvent, msg.Method, logging.KeyDetail, fmt.Sprint(r))
		}
	}()
	h(msg)
}

// Wakes receive when there is something to do: Hints when it is worth observing soon, News when
// there are news about our messages to fetch, and Arrived when there are others.
type Wakes struct{ Hints, News, Arrived chan struct{} }

// Signals is what the events mean for the page's loop. It is safe for concurrent
// use.
type Signals struct {
	Wakes
	// Lost receives when the page is gone.
	Lost chan error

	target *target.Target
	host   string // of the page

	mu        sync.Mutex
	document  int // counts committed documents
	loads     loads
	crashed   bool
	loggedOut *string
	place     place                   // of the document
	interrupt context.CancelCauseFunc // of the observation in flight
	guarded   bool
	sockets   sockets
	hinted    budget
}

// place is where a document is, as far as its address shows.
type place struct {
	own     bool // it is of the page's origin
	address string
}

// loads follows who has documents loaded.
type loads struct {
	ours    bool // the worker has asked for the next one
	foreign bool // the current one is not the page: another site's, or Chrome's for an error
	reloads classify.Reloads
}

// committed notes another document. Chrome itself loads an address that failed again,
// and a page at another site is not reloaded but brought back.
func (l *loads) committed(foreign bool, now time.Time) {
	if !l.ours && !l.foreign && !foreign {
		l.reloads = l.reloads.With(now)
	}
	l.ours, l.foreign = false, foreign
}

// NewSignals returns the Signals of a page.
func NewSignals(t *target.Target) *Signals {
	s := &Signals{
		Wakes: Wakes{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)}, Lost: make(chan error, 1), target: t,
	}
	if u, err := url.Parse(t.Origin); err == nil {
		s.host = u.Hostname()
	}
	return s
}

// Hint makes the loop observe soon.
func (s *Signals) Hint() { wake(s.Hints) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// called passes on what hint.js reports.
func (s *Signals) called(payload string) {
	switch payload {
	case target.News:
		wake(s.News)
	case target.Arrived:
		wake(s.Arrived)
	default:
		s.Hint()
	}
}

// Begin registers the observation in flight, which interrupt ends early; nil
// means that it has ended. It returns the current document, and whether the
// page's process has died.
func (s *Signals) Begin(interrupt context.CancelCauseFunc) (document int, crashed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = interrupt
	return s.document, s.crashed
}

// TakeLogout returns why the session has ended when the last navigation said so, once.
func (s *Signals) TakeLogout() *string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := s.loggedOut
	s.loggedOut = nil
	return ended
}

// Whose returns whose the current document is, as far as its address shows, for when it
// can't be asked.
func (s *Signals) Whose() target.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return target.Identify(s.place.address)
}

// Guard returns the current document and its connection. While a code is offered, on is
// true: the end of either then interrupts the observation in flight, which a page could
// delay.
func (s *Signals) Guard(on bool, now time.Time) (document int, c classify.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guarded = on
	return s.document, s.sockets.connection(now)
}

// Connection is what is known of the document's connection to its server. One that a
// worker of the page holds is not seen.
func (s *Signals) Connection(now time.Time) classify.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sockets.connection(now)
}

// Navigating is called before the worker has another document loaded.
func (s *Signals) Navigating() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads.ours = true
}

// Reloads is when the page last replaced its document of its own accord.
func (s *Signals) Reloads() classify.Reloads {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads.reloads
}

// ForgetCrash is called when the page is about to be revived.
func (s *Signals) ForgetCrash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crashed = false
}

// Gone notes that the page no longer exists.
func (s *Signals) Gone() {
	select {
	case s.Lost <- target.ErrGone:
	default:
	}
	s.end(target.ErrGone)
}

// processGone is Chrome's name for when the page's process ended without a fault, or
// in a way that it can't find out: its zygote knows, and may have died before
// (render_frame_devtools_agent_host.cc; measured). Without a zygote there is no
// process for the page, so that it crashes again each time that it is revived.
const processGone = "Render process gone."

// Handle is a handler for Listen.
func (s *Signals) Handle(msg *rod.Message) {
	var (
		destroyed proto.TargetTargetDestroyed
		crashed   proto.TargetTargetCrashed
		detached  proto.InspectorDetached
		committed proto.PageFrameNavigated
		within    proto.PageNavigatedWithinDocument
		called    proto.RuntimeBindingCalled
	)
	switch page := s.target.Page; {
	case msg.Load(&destroyed):
		if destroyed.TargetID == page.TargetID {
			s.Gone()
		}
	case msg.Load(&crashed) && crashed.TargetID == page.TargetID, msg.Load(&detached) && detached.Reason == processGone:
		s.crash()
	case msg.Load(&committed) && committed.Frame.ID == page.FrameID:
		s.navigated(committed.Frame.URL, committed.Frame)
	case msg.Load(&within) && within.FrameID == page.FrameID:
		s.navigated(within.URL, nil)
	case msg.Load(&called):
		s.called(called.Payload)
	default:
		s.traffic(msg)
	}
}

// traffic follows the document's connections to its server. An end or a beginning is
// worth an observation: what the page draws may have become true or false by it.
func (s *Signals) traffic(msg *rod.Message) {
	var (
		frame    frameReceived
		created  proto.NetworkWebSocketCreated
		asked    handshakeAsked
		answered handshakeAnswered
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	now, before := time.Now(), s.sockets.state.Open
	switch {
	case msg.Load(&frame):
		s.sockets.heard(frame.RequestID, now)
	case msg.Load(&created):
		if s.target.Scripts.Load().IsSocket(created.URL, s.host) {
			s.sockets.created(created.RequestID)
		}
	case msg.Load(&asked):
		if from := asked.Request.Headers["Origin"]; from != "" && from != s.target.Origin {
			s.sockets.foreign(asked.RequestID)
		}
	case msg.Load(&answered):
		s.sockets.answered(answered.RequestID, now)
	default:
		s.sockets.ended(msg)
	}
	switch open := s.sockets.state.Open; {
	case open == before:
	case !open && s.guarded:
		s.outdate()
	case s.hinted.spend(now):
		s.Hint()
	}
}

// outdate ends the observation in flight, since what was offered before it is no longer
// true. mu is held.
func (s *Signals) outdate() {
	s.guarded = false
	if s.interrupt != nil {
		s.interrupt(target.ErrStale)
	}
	s.Hint()
}

// crash ends the observation in flight, which would never be answered.
func (s *Signals) crash() {
	s.mu.Lock()
	s.crashed = true
	s.mu.Unlock()
	s.end(target.ErrCrashed)
	s.Hint()
}

// navigated counts the documents, and catches the address of an ended session,
// which the page removes while it boots. That counts only on the page's origin, and
// when the page went there from its own: any other could lead there. The frame is
// that of another document, nil where only the address has changed.
func (s *Signals) navigated(address string, document *proto.PageFrame) {
	why, ended := s.target.Scripts.Load().LoggedOut(address)
	own := s.target.IsOwn(address)
	s.mu.Lock()
	ended = ended && own && s.place.own
	s.place = place{own, address}
	if document != nil {
		s.document++
		s.sockets = sockets{}
		s.loads.committed(!own || document.UnreachableURL != "", time.Now())
		if s.guarded {
			s.outdate()
		}
	}
	if ended {
		s.loggedOut = &why
	}
	s.mu.Unlock()
	if document != nil || ended {
		s.Hint()
	}
}

// end interrupts the observation in flight, which on a dead page would never end.
func (s *Signals) end(cause error) {
	s.mu.Lock()
	interrupt := s.interrupt
	s.mu.Unlock()
	if interrupt != nil {
		interrupt(cause)
	}
}

// frameReceived is proto.NetworkWebSocketFrameReceived without the frame, which is
// private and can be large.
type frameReceived struct {
	RequestID proto.NetworkRequestID `json:"requestId"`
}

// ProtoEvent implements proto.Event.
func (frameReceived) ProtoEvent() string { return proto.NetworkWebSocketFrameReceived{}.ProtoEvent() }

// handshakeAsked is proto.NetworkWebSocketWillSendHandshakeRequest without what is of
// no interest. Chrome, not the page, writes the header Origin.
type handshakeAsked struct {
	RequestID proto.NetworkRequestID `json:"requestId"`
	Request   struct {
		Headers map[string]string `json:"headers"`
	} `json:"request"`
}

// ProtoEvent implements proto.Event.
func (handshakeAsked) ProtoEvent() string {
	return proto.NetworkWebSocketWillSendHandshakeRequest{}.ProtoEvent()
}

// handshakeAnswered is proto.NetworkWebSocketHandshakeResponseReceived without its
// headers.
type handshakeAnswered struct {
	RequestID proto.NetworkRequestID `json:"requestId"`
}

// ProtoEvent implements proto.Event.
func (handshakeAnswered) ProtoEvent() string {
	return proto.NetworkWebSocketHandshakeResponseReceived{}.ProtoEvent()
}

// Tidier closes other pages of the browser and answers dialogs. It does so next
// to the loop, since an observation can wait for just what it removes.
type Tidier struct {
	browser *rod.Browser
	target  *target.Target
	log     *slog.Logger
	within  time.Duration
	running *sync.WaitGroup
	slots   chan struct{} // bounds the calls at one time
}

// NewTidier returns the Tidier of a page, whose calls may each take as long as
// within; running counts them.
func NewTidier(browser *rod.Browser, t *target.Target, log *slog.Logger, within time.Duration, running *sync.WaitGroup) *Tidier {
	const most = 16
	return &Tidier{browser: browser, target: t, log: log, within: within, running: running, slots: make(chan struct{}, most)}
}

// do makes a call to Chrome that an event asks for, until Chrome answers: a busy one
// may take longer than a call may.
func (t *Tidier) do(call func(ctx context.Context) error) {
	select {
	case t.slots <- struct{}{}:
	default:
		t.log.Warn(logid.TidyDropped)
		return
	}
	t.running.Go(func() {
		defer func() { <-t.slots }()
		for late := true; late && t.target.Life.Err() == nil; {
			ctx, cancel := context.WithTimeout(t.target.Life, t.within)
			err := call(ctx)
			cancel()
			if err != nil && t.target.Life.Err() == nil {
				t.log.Warn(logid.TidyFailed, logging.KeyError, err)
			}
			late = errors.Is(err, context.DeadlineExceeded)
		}
	})
}

// Handle is a handler for Listen.
func (t *Tidier) Handle(msg *rod.Message) {
	var (
		created proto.TargetTargetCreated
		dialog  proto.PageJavascriptDialogOpening
	)
	switch {
	case msg.Load(&created) && target.IsPage(created.TargetInfo) && created.TargetInfo.TargetID != t.target.Page.TargetID:
		t.Close(created.TargetInfo.TargetID)
	case msg.Load(&dialog):
		t.dismiss(dialog.Type)
	}
}

// Close closes another page.
func (t *Tidier) Close(id proto.TargetTargetID) {
	t.do(func(ctx context.Context) error {
		if _, err := (proto.TargetCloseTarget{TargetID: id}).Call(t.browser.Context(ctx)); err != nil {
			return fmt.Errorf("cannot close another page: %w", err)
		}
		t.log.Info(logid.TabClosed)
		return nil
	})
}

// dismiss answers a dialog, which holds up every script of the page. Only the
// question whether to leave is answered with yes: navigation is the worker's.
func (t *Tidier) dismiss(kind proto.PageDialogType) {
	t.do(func(ctx context.Context) error {
		accept := kind == proto.PageDialogTypeBeforeunload
		if err := (proto.PageHandleJavaScriptDialog{Accept: accept}).Call(t.target.Page.Context(ctx)); err != nil {
			return fmt.Errorf("cannot dismiss dialog: %w", err)
		}
		return nil
	})
}
