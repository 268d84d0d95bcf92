package page

import (
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"
)

// frameReceived is proto.NetworkWebSocketFrameReceived without the frame, which
// is nobody's business here and can be large.
type frameReceived struct {
	RequestID proto.NetworkRequestID `json:"requestId"`
}

// ProtoEvent implements proto.Event.
func (frameReceived) ProtoEvent() string { return proto.NetworkWebSocketFrameReceived{}.ProtoEvent() }

// noteSocket handles the events of the page's websockets: of those that the
// selectors names it keeps when something last came over one. A connection that
// lives in a worker of the page's is not seen, and never said to be quiet.
func (p *Page) noteSocket(msg *rod.Message) {
	switch msg.Method {
	case proto.NetworkWebSocketCreated{}.ProtoEvent():
		var e proto.NetworkWebSocketCreated
		if msg.Load(&e) && containsAny(e.URL, p.lens.Load().k.URLs.Socket) {
			p.signals.mu.Lock()
			p.signals.sockets[e.RequestID] = struct{}{}
			p.signals.mu.Unlock()
		}
	case proto.NetworkWebSocketClosed{}.ProtoEvent():
		var e proto.NetworkWebSocketClosed
		if msg.Load(&e) {
			p.signals.mu.Lock()
			delete(p.signals.sockets, e.RequestID)
			p.signals.mu.Unlock()
		}
	case frameReceived{}.ProtoEvent():
		var e frameReceived
		if !msg.Load(&e) {
			return
		}
		p.signals.mu.Lock()
		defer p.signals.mu.Unlock()
		if _, ours := p.signals.sockets[e.RequestID]; ours {
			p.lastFrame.Store(int64(time.Since(p.base)))
		}
	}
}

// quiet is for how long nothing has come over the document's connection, 0 if
// nothing ever has.
func (p *Page) quiet(now time.Time) time.Duration {
	at := p.lastFrame.Load()
	if at == 0 {
		return 0
	}
	return now.Sub(p.base) - time.Duration(at)
}
