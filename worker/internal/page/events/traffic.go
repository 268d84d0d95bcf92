package events

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/page/script"
	"session-manager/worker/internal/page/target"
)

// Traffic watches the page's connection to its server, for silence. A connection
// that a worker of the page holds is not seen, and never reported as quiet. It is
// safe for concurrent use.
type Traffic struct {
	target  *target.Target
	scripts *atomic.Pointer[script.Set]

	mu      sync.Mutex
	sockets map[proto.NetworkRequestID]struct{} // of the document
	last    time.Time                           // when something last came over one
}

// NewTraffic returns the Traffic of a page.
func NewTraffic(t *target.Target, scripts *atomic.Pointer[script.Set]) *Traffic {
	return &Traffic{target: t, scripts: scripts, sockets: map[proto.NetworkRequestID]struct{}{}}
}

// Quiet is for how long nothing has come over the document's connection, 0 if
// nothing ever has.
func (t *Traffic) Quiet(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.IsZero() {
		return 0
	}
	return now.Sub(t.last)
}

// frameReceived is proto.NetworkWebSocketFrameReceived without the frame, which is
// private and can be large.
type frameReceived struct {
	RequestID proto.NetworkRequestID `json:"requestId"`
}

// ProtoEvent implements proto.Event.
func (frameReceived) ProtoEvent() string { return proto.NetworkWebSocketFrameReceived{}.ProtoEvent() }

// Handle is a Handler.
func (t *Traffic) Handle(msg *rod.Message) {
	var (
		frame     frameReceived
		created   proto.NetworkWebSocketCreated
		closed    proto.NetworkWebSocketClosed
		committed proto.PageFrameNavigated
	)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case msg.Load(&frame):
		if _, ours := t.sockets[frame.RequestID]; ours {
			t.last = time.Now()
		}
	case msg.Load(&created):
		if script.ContainsAny(created.URL, t.scripts.Load().URLs.Socket) {
			t.sockets[created.RequestID] = struct{}{}
		}
	case msg.Load(&closed):
		delete(t.sockets, closed.RequestID)
	case msg.Load(&committed) && committed.Frame.ID == t.target.Page.FrameID:
		clear(t.sockets)
		t.last = time.Time{}
	}
}
