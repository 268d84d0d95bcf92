package server

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"session-manager/shared/rpc"
)

// historyLimit is how many phases and observations wait at most for a slow
// supervisor; the oldest of them are forgotten first.
const historyLimit = 64

// outbox holds events until the supervisor takes them. Putting never waits, and
// what is held is bounded: of heartbeats and QR events only the newest is of
// use, of repeated observations too. Failures and the browser's start are never
// forgotten.
type outbox struct {
	mu     sync.Mutex
	items  []item        // guarded by mu
	closed bool          // guarded by mu
	failed bool          // guarded by mu; nothing follows a Failure
	filled chan struct{} // holds a token when there may be something new
}

type item struct {
	body rpc.EventBody
	at   time.Time
}

func newOutbox() *outbox { return &outbox{filled: make(chan struct{}, 1)} }

// put adds body, and drops what it makes worthless.
func (o *outbox) put(body rpc.EventBody) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.failed {
		return
	}
	_, o.failed = body.(rpc.Failure)
	o.items = slices.DeleteFunc(o.items, func(it item) bool { return worthless(it.body, body) })
	o.items = trim(append(o.items, item{body: body, at: time.Now()}))
	o.signal()
}

// close lets deliver return once everything has been sent.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.filled <- struct{}{}:
	default:
	}
}

// next waits for the oldest event, and returns false after the last one.
func (o *outbox) next() (item, bool) {
	for {
		o.mu.Lock()
		if len(o.items) > 0 {
			first := o.items[0]
			o.items = o.items[1:]
			o.mu.Unlock()
			return first, true
		}
		closed := o.closed
		o.mu.Unlock()
		if closed {
			return item{}, false
		}
		<-o.filled
	}
}

// deliver numbers the events and gives them to emit, until the outbox is closed
// and empty, or emit fails.
func (o *outbox) deliver(generation uint64, emit func(rpc.Event) error) error {
	for seq := uint64(1); ; seq++ {
		it, ok := o.next()
		if !ok {
			return nil
		}
		waited := time.Since(it.at)
		if err := emit(rpc.Event{Generation: generation, Seq: seq, Waited: waited, Body: aged(it.body, waited)}); err != nil {
			return fmt.Errorf("cannot deliver event %d: %w", seq, err)
		}
	}
}

// aged corrects what a body says of time by how long it has waited.
func aged(body rpc.EventBody, waited time.Duration) rpc.EventBody {
	shown, ok := body.(rpc.QRShown)
	if !ok {
		return body
	}
	shown.TTL = max(0, shown.TTL-waited)
	return shown
}

// worthless reports whether nobody needs older once newer is known.
func worthless(older, newer rpc.EventBody) bool {
	switch older := older.(type) {
	case rpc.Heartbeat:
		_, same := newer.(rpc.Heartbeat)
		return same
	case rpc.QRShown, rpc.QRGone:
		// Each says all there is to say about the QR.
		switch newer.(type) {
		case rpc.QRShown, rpc.QRGone:
			return true
		}
	case rpc.PageObserved:
		observed, same := newer.(rpc.PageObserved)
		return same && observed.Condition == older.Condition && observed.Reason == older.Reason
	}
	return false
}

// trim forgets the oldest phases and observations above historyLimit.
func trim(items []item) []item {
	for len(items) > historyLimit {
		i := slices.IndexFunc(items, func(it item) bool { return isHistory(it.body) })
		if i < 0 {
			return items
		}
		items = slices.Delete(items, i, i+1)
	}
	return items
}

func isHistory(body rpc.EventBody) bool {
	switch body.(type) {
	case rpc.PhaseChanged, rpc.PageObserved:
		return true
	default:
		return false
	}
}
