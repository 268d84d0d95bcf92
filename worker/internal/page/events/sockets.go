package events

import (
	"slices"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/page/classify"
)

// sockets are the document's websockets to its server. Of those that it opens at once,
// one is enough. Those that are open when it begins another are given up: it would not
// connect again, and Chrome reports the end of one that the page closes only when the
// server agrees, or after a minute.
type sockets struct {
	list     []socket // those that have not ended, newest last
	given    []socket // those that were given up for the newest one
	state    classify.Connection
	received time.Time // when something last came over one
}

// socket is open when its handshake was answered.
type socket struct {
	id   proto.NetworkRequestID
	open bool
}

// created notes a websocket that the document begins to open.
func (s *sockets) created(id proto.NetworkRequestID) {
	s.given = nil
	if s.state.Open {
		s.given, s.list, s.state.Open = s.list, nil, false
	}
	const most = 16
	s.list = append(s.list, socket{id: id})
	s.list = s.list[max(0, len(s.list)-most):]
	s.state.Attempts++
}

// foreign takes back a websocket that turns out to be that of a frame of another origin.
// That comes before its answer. Nothing was given up for it.
func (s *sockets) foreign(id proto.NetworkRequestID) {
	i := s.find(id)
	if i < 0 {
		return
	}
	if i == len(s.list)-1 {
		s.list, s.given = append(s.given, s.list...), nil
	}
	s.closed(id)
	s.state.Attempts--
}

// answered notes that the server has answered a websocket's handshake.
func (s *sockets) answered(id proto.NetworkRequestID, now time.Time) {
	i := s.find(id)
	if i < 0 || s.list[i].open {
		return
	}
	s.list[i].open, s.received, s.state.Failure = true, now, classify.Failure{}
	if !s.state.Open {
		s.state.Open, s.state.OpenedAt = true, now
		s.state.Openings++
	}
}

// heard notes that something came over a websocket.
func (s *sockets) heard(id proto.NetworkRequestID, now time.Time) {
	if i := s.find(id); i >= 0 && s.list[i].open {
		s.received = now
	}
}

// ended notes that a websocket has ended, or why it is about to.
func (s *sockets) ended(msg *rod.Message) {
	var (
		failed proto.NetworkWebSocketFrameError
		closed proto.NetworkWebSocketClosed
	)
	switch {
	case msg.Load(&failed):
		s.failed(failed.RequestID, failed.ErrorMessage)
	case msg.Load(&closed):
		s.closed(closed.RequestID)
	}
}

// failed notes why a websocket could not be opened, or broke.
func (s *sockets) failed(id proto.NetworkRequestID, text string) {
	if s.find(id) >= 0 {
		s.state.Failure = classify.FailureOf(text)
	}
}

// closed notes the end of a websocket, which may never have been open.
func (s *sockets) closed(id proto.NetworkRequestID) {
	ended := func(k socket) bool { return k.id == id }
	s.list, s.given = slices.DeleteFunc(s.list, ended), slices.DeleteFunc(s.given, ended)
	s.state.Open = slices.ContainsFunc(s.list, func(k socket) bool { return k.open })
}

func (s *sockets) find(id proto.NetworkRequestID) int {
	return slices.IndexFunc(s.list, func(k socket) bool { return k.id == id })
}

// connection is their state at a time.
func (s *sockets) connection(now time.Time) classify.Connection {
	c := s.state
	if !s.received.IsZero() {
		c.Quiet = now.Sub(s.received)
	}
	return c
}

// budget bounds how often something is done within a second.
type budget struct {
	second time.Time
	spent  int
}

// spend reports whether it may be done once more.
func (b *budget) spend(now time.Time) bool {
	const most = 20
	if now.Sub(b.second) >= time.Second {
		*b = budget{second: now}
	}
	b.spent++
	return b.spent <= most
}
