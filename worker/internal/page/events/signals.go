package events

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/script"
	"session-manager/worker/internal/page/target"
)

// Signals is what the events mean for the page's loop. It is safe for concurrent
// use.
type Signals struct {
	// Hints receives when it is worth observing soon, Lost when the page is gone.
	Hints <-chan struct{}
	Lost  <-chan error

	hints   chan struct{}
	lost    chan error
	target  *target.Target
	scripts *atomic.Pointer[script.Set]

	mu        sync.Mutex
	document  int // counts committed documents
	crashed   bool
	loggedOut *classify.Logout
	interrupt context.CancelCauseFunc // of the observation in flight
}

// NewSignals returns the Signals of a page.
func NewSignals(t *target.Target, scripts *atomic.Pointer[script.Set]) *Signals {
	s := &Signals{hints: make(chan struct{}, 1), lost: make(chan error, 1), target: t, scripts: scripts}
	s.Hints, s.Lost = s.hints, s.lost
	return s
}

// Hint makes the loop observe soon.
func (s *Signals) Hint() {
	select {
	case s.hints <- struct{}{}:
	default:
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

// TakeLogout returns the logout that the last navigation reported, once.
func (s *Signals) TakeLogout() *classify.Logout {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := s.loggedOut
	s.loggedOut = nil
	return ended
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
	case s.lost <- target.ErrGone:
	default:
	}
	s.end(target.ErrGone)
}

// processGone is Chrome's name for when the page's process ended without a fault, or
// in a way that it can't find out: its zygote knows, and may have died before
// (render_frame_devtools_agent_host.cc; measured). Without a zygote there is no
// process for the page, so that it crashes again each time that it is revived.
const processGone = "Render process gone."

// Handle is a Handler.
func (s *Signals) Handle(msg *rod.Message) {
	var (
		destroyed proto.TargetTargetDestroyed
		crashed   proto.TargetTargetCrashed
		detached  proto.InspectorDetached
		committed proto.PageFrameNavigated
		within    proto.PageNavigatedWithinDocument
	)
	switch page := s.target.Page; {
	case msg.Load(&destroyed):
		if destroyed.TargetID == page.TargetID {
			s.Gone()
		}
	case msg.Load(&crashed) && crashed.TargetID == page.TargetID, msg.Load(&detached) && detached.Reason == processGone:
		s.crash()
	case msg.Load(&committed) && committed.Frame.ID == page.FrameID:
		s.navigated(committed.Frame.URL, true)
	case msg.Load(&within) && within.FrameID == page.FrameID:
		s.navigated(within.URL, false)
	case msg.Load(new(proto.RuntimeBindingCalled)):
		s.Hint()
	}
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
// which the page removes while it boots.
func (s *Signals) navigated(address string, committed bool) {
	why, ended := s.scripts.Load().LoggedOut(address)
	s.mu.Lock()
	if committed {
		s.document++
	}
	if ended {
		s.loggedOut = &classify.Logout{Detail: why}
	}
	s.mu.Unlock()
	if committed || ended {
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
