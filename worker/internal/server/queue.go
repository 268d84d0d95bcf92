package server

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"session-manager/shared/rpc"
)

// pace is how many events a second are sent at most, and burst how many at once: fewer
// than the supervisor accepts. What a restless page makes obsolete meanwhile is not sent.
const (
	pace  = rpc.EventRate / 2
	burst = rpc.EventBurst / 5
)

// historyLimit is how many phases and observations wait at most for a slow
// supervisor, and hintLimit how many changes of messages; the oldest are dropped first.
const (
	historyLimit = 64
	hintLimit    = 256
)

// queue holds events until the supervisor takes them. Putting never waits, and the
// queue is bounded: of heartbeats, QR events and repeated observations only the newest
// is of use. Failures, and the browser's start and exit, are never dropped.
type queue struct {
	mu     sync.Mutex
	items  []item        // guarded by mu
	closed bool          // guarded by mu
	failed bool          // guarded by mu; only BrowserExited follows a Failure
	filled chan struct{} // holds a token when there may be something new
}

type item struct {
	body rpc.EventBody
	at   time.Time
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

// put adds body, and drops what it makes obsolete.
func (q *queue) put(body rpc.EventBody) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, failure := body.(rpc.Failure)
	_, exit := body.(rpc.BrowserExited)
	if q.closed || q.failed && !exit {
		return
	}
	q.failed = q.failed || failure
	q.items = slices.DeleteFunc(q.items, func(it item) bool { return obsolete(it.body, body) })
	q.items = append(q.items, item{body: body, at: time.Now()})
	q.items = trim(q.items, historyLimit, isNoHint, isHistory)
	q.items = trim(q.items, hintLimit, isHint, isHint)
	q.signal()
}

// close lets deliver return once everything has been sent.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// next waits for the oldest event, and returns false after the last one.
func (q *queue) next() (item, bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			first := q.items[0]
			q.items = q.items[1:]
			q.mu.Unlock()
			return first, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return item{}, false
		}
		<-q.filled
	}
}

// deliver numbers the events and gives them to emit, until the queue is closed
// and empty, or emit fails.
func (q *queue) deliver(ctx context.Context, generation uint64, emit func(rpc.Event) error) error {
	pacer := rate.NewLimiter(pace, burst)
	for seq := uint64(1); ; seq++ {
		if err := pacer.Wait(ctx); err != nil {
			return fmt.Errorf("cannot deliver event %d: %w", seq, err)
		}
		it, ok := q.next()
		if !ok {
			return nil
		}
		waited := time.Since(it.at)
		if err := emit(rpc.Event{Generation: generation, Seq: seq, Waited: waited, Body: aged(it.body, waited)}); err != nil {
			return fmt.Errorf("cannot deliver event %d: %w", seq, err)
		}
		pacer.ReserveN(time.Now(), rpc.Cost(it.body)-1)
	}
}

// aged shortens the TTL of body by how long it has waited.
func aged(body rpc.EventBody, waited time.Duration) rpc.EventBody {
	shown, ok := body.(rpc.QRShown)
	if !ok {
		return body
	}
	shown.TTL = max(0, shown.TTL-waited)
	return shown
}

// obsolete reports whether older is of no use once newer is known.
func obsolete(older, newer rpc.EventBody) bool {
	switch older := older.(type) {
	case rpc.Heartbeat, rpc.SendingObserved, rpc.ReceivingObserved:
		return reflect.TypeOf(older) == reflect.TypeOf(newer)
	case rpc.QRShown, rpc.QRGone:
		// Each has all that is known of the QR.
		switch newer.(type) {
		case rpc.QRShown, rpc.QRGone:
			return true
		}
	case rpc.PageObserved:
		observed, same := newer.(rpc.PageObserved)
		return same && observed.Condition == older.Condition && observed.Reason == older.Reason
	case rpc.MessageChanged:
		changed, same := newer.(rpc.MessageChanged)
		return same && changed.ID == older.ID
	}
	return false
}

// trim drops the oldest items of one kind while those that count are more than limit.
func trim(items []item, limit int, counts, drop func(rpc.EventBody) bool) []item {
	surplus := -limit
	for _, it := range items {
		if counts(it.body) {
			surplus++
		}
	}
	return slices.DeleteFunc(items, func(it item) bool {
		if surplus <= 0 || !drop(it.body) {
			return false
		}
		surplus--
		return true
	})
}

func isNoHint(body rpc.EventBody) bool { return !isHint(body) }

func isHint(body rpc.EventBody) bool {
	_, ok := body.(rpc.MessageChanged)
	return ok
}

func isHistory(body rpc.EventBody) bool {
	switch body.(type) {
	case rpc.PhaseChanged, rpc.PageObserved:
		return true
	default:
		return false
	}
}
