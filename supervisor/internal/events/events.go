// Package events turns the session's snapshots into a numbered sequence of
// events, and keeps the newest of them, so that a reader who was away can catch
// up. Readers share one ring and have no queue of their own: a slow one costs
// nothing, and learns that it has missed something.
package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// Capacity is how many events are kept. A restart makes about a dozen, a sync at
// most a hundred, a message four, and one is sent a second at most; an event has less than
// 1 kB.
const Capacity = 4096

// batchSize bounds what a reader gets at once.
const batchSize = 64

// Type of an event.
type Type string

// The types.
const (
	// StateChanged: the state, or the reason for it, changed. The body is a State.
	StateChanged Type = "state"
	// ProgressChanged: the phase changed, or the progress. The body is a Progress.
	ProgressChanged Type = "progress"
	// WarningsChanged: a warning was raised or cleared. The body is a Warnings.
	WarningsChanged Type = "warnings"
	// QRChanged: there is a new QR, or no longer one. The body is a QR.
	QRChanged Type = "qr"
	// WorkerChanged: a worker or its Chrome started or exited. The body is a
	// session.Processes.
	WorkerChanged Type = "worker"
	// PasskeyChanged: a passkey is asked for, or how far that has got. The body is a
	// session.Passkey.
	PasskeyChanged Type = "passkey"
	// MessageChanged: a message that is sent, or was, has another status. The data is a
	// MessageStatus, without a body. It is not part of the present: there may be many messages.
	MessageChanged Type = "message.status"
)

// Types returns every type.
func Types() []Type {
	types := []Type{StateChanged, ProgressChanged, WarningsChanged, QRChanged, WorkerChanged, PasskeyChanged, MessageChanged}
	for _, kind := range inbox.Kinds() {
		types = append(types, Type(kind))
	}
	return types
}

// IsReceived reports whether an event is the inbox's. It has no body here, but a Cursor.
func (t Type) IsReceived() bool { return slices.Contains(inbox.Kinds(), inbox.Kind(t)) }

// State is the body of StateChanged.
type State struct {
	Status session.State `json:"status"`
	// Previous is the state before this event; the same when only the reason
	// changed.
	Previous session.State  `json:"previous_status"`
	Since    session.Moment `json:"since"`
	Reason   session.Reason `json:"reason"`
}

// Progress is the body of ProgressChanged.
type Progress struct {
	Phase   session.Phase   `json:"phase"`
	Percent session.Percent `json:"progress_percent"`
}

// Warnings is the body of WarningsChanged: all that there are now.
type Warnings struct {
	Warnings session.Reasons `json:"warnings"`
}

// QR is the body of QRChanged.
type QR struct {
	Available bool `json:"available"`
	// QR is nil when none is available.
	QR *session.QR `json:"qr"`
}

// Event is one thing that happened. It is immutable.
type Event struct {
	// ID names the event across restarts of the service. It has no spaces.
	ID string
	// Seq counts from 1 in this process, without gaps.
	Seq  uint64
	Type Type
	At   time.Time
	// Body depends on the type.
	Body any
	// Data is Body as one line of JSON.
	Data json.RawMessage
	// Cursor is the inbox's position after the event, if its type IsReceived.
	Cursor string
}

// Log derives events from snapshots and keeps the newest. Its methods are safe
// for concurrent use.
type Log struct {
	boot string

	mu sync.Mutex
	// seen is the snapshot that the last events were derived from.
	seen *session.Snapshot // guarded by mu
	// ring holds event n at n-1 modulo Capacity. It grows until it is full.
	ring []Event // guarded by mu
	last uint64  // guarded by mu
	// latest has the newest event of each type.
	latest map[Type]Event // guarded by mu
	// cursor is the inbox's position.
	cursor string // guarded by mu
	// more is closed when the next event is added.
	more chan struct{} // guarded by mu
}

// NewLog returns a Log that begins with the snapshot first, as one event of each
// type. The ids of one boot differ from those of another.
func NewLog(boot string, first *session.Snapshot) *Log {
	l := &Log{boot: boot, seen: first, latest: map[Type]Event{}, more: make(chan struct{})}
	l.addLocked(WorkerChanged, first.Processes)
	l.addLocked(StateChanged, State{first.State, first.State, first.Since, first.Reason})
	l.addLocked(ProgressChanged, Progress{first.Phase, first.Progress})
	l.addLocked(WarningsChanged, Warnings{first.Warnings})
	l.addLocked(PasskeyChanged, withoutComparison(first.Passkey))
	l.addLocked(QRChanged, QR{served(first) != nil, withoutCode(served(first))})
	return l
}

// Observe adds the events for what changed between the previous snapshot and s.
// Snapshots must come in order.
func (l *Log) Observe(s *session.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, from := l.last, l.seen
	l.seen = s
	if stable(from) != stable(s) {
		l.addLocked(WorkerChanged, s.Processes)
	}
	if from.State != s.State || from.Reason.Code != s.Reason.Code || from.Reason.Detail != s.Reason.Detail {
		l.addLocked(StateChanged, State{s.State, from.State, s.Since, s.Reason})
	}
	if from.Phase.Name != s.Phase.Name || from.Progress != s.Progress {
		l.addLocked(ProgressChanged, Progress{s.Phase, s.Progress})
	}
	if !slices.Equal(from.Warnings, s.Warnings) {
		l.addLocked(WarningsChanged, Warnings{s.Warnings})
	}
	if q := served(s); !sameQR(served(from), q) {
		l.addLocked(QRChanged, QR{q != nil, withoutCode(q)})
	}
	if from.Passkey != s.Passkey {
		l.addLocked(PasskeyChanged, withoutComparison(s.Passkey))
	}
	if l.last != before {
		l.announceLocked()
	}
}

func (l *Log) addLocked(kind Type, body any) {
	data, _ := json.Marshal(body) // every body has a JSON form
	l.last++
	id := WithCursor(l.boot+"-"+strconv.FormatUint(l.last, 10), l.cursor)
	e := Event{ID: id, Seq: l.last, Type: kind, At: time.Now().UTC(), Body: body, Data: data}
	switch {
	case kind.IsReceived():
		e.Data, e.Cursor = nil, l.cursor
	case kind == MessageChanged: // the ring may be full of them, and a body is twice as large
		e.Body = nil
	}
	if len(l.ring) < Capacity {
		l.ring = append(l.ring, e)
	} else {
		l.ring[(l.last-1)%Capacity] = e
	}
	if kind != MessageChanged && !kind.IsReceived() {
		l.latest[kind] = e
	}
}

// beforeCursor separates an event's place from the inbox's position in its id, so that who
// was away while the service was restarted misses nothing that the inbox has.
const beforeCursor = "~"

// Inbox notes the inbox's position when it was opened.
func (l *Log) Inbox(cursor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor = cursor
}

// Received adds an event of the inbox, which keeps what is in it.
func (l *Log) Received(e inbox.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor = e.Cursor
	l.addLocked(Type(e.Kind), nil)
	l.announceLocked()
}

// Cursor returns the inbox's position as of the event with this id, which may be from another
// run, or nothing if that is not known.
func Cursor(id string) string {
	_, cursor, _ := strings.Cut(id, beforeCursor)
	return cursor
}

// Message adds the event that a message has another status, or another reason to wait. That
// it is queued is no news to its sender.
func (l *Log) Message(m outbox.Message) {
	if !isNews(m) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(MessageChanged, MessageStatus{EventID: eventID(m), Message: NewMessage(m)})
	l.announceLocked()
}

// WithCursor returns id with this position of the inbox, unless it has one.
func WithCursor(id, cursor string) string {
	if cursor == "" || Cursor(id) != "" {
		return id
	}
	return id + beforeCursor + cursor
}

func (l *Log) announceLocked() {
	close(l.more)
	l.more = make(chan struct{})
}

// served is the QR that is served in s. The session drops it when it expires.
func served(s *session.Snapshot) *session.QR {
	if s.State != session.QRRequired {
		return nil
	}
	return s.QR
}

// withoutComparison returns p without its code, which the ring would keep.
func withoutComparison(p session.Passkey) session.Passkey {
	p.Code = ""
	return p
}

// withoutCode returns q without the drawn code. Otherwise the ring would keep up to
// Capacity images in memory, all but one of them expired.
func withoutCode(q *session.QR) *session.QR {
	if q == nil {
		return nil
	}
	described := *q
	described.Code = nil
	return &described
}

// sameQR reports whether readers have nothing new to learn. When a worker repeats
// a QR, its expiry moves by the few milliseconds that the message took.
func sameQR(a, b *session.QR) bool {
	return a.Same(b) && (a == nil || a.ExpiresAt.Sub(b.ExpiresAt.Time).Abs() < time.Second)
}

// stable returns the processes of s without what each heartbeat changes.
func stable(s *session.Snapshot) session.Processes {
	p := s.Processes
	p.Worker.HeartbeatAt, p.Worker.ResidentBytes = session.Moment{}, 0
	return p
}

// Batch is what a reader gets at once.
type Batch struct {
	Events []Event
	// Last is the position after these events, for the next After.
	Last uint64
	// More is closed when there are further events, which may be already.
	More <-chan struct{}
}

// Present returns the newest event of each type, oldest first: together they
// describe the present.
func (l *Log) Present() Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	bySeq := func(x, y Event) int { return cmp.Compare(x.Seq, y.Seq) }
	return Batch{Events: slices.SortedFunc(maps.Values(l.latest), bySeq), Last: l.last, More: l.more}
}

// After returns the next events that follow position seq, a limited number at a
// time. It returns false when the next one is no longer kept, or when there
// never was such a position.
func (l *Log) After(seq uint64) (Batch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.last || l.last-seq > uint64(len(l.ring)) {
		return Batch{}, false
	}
	b := Batch{Last: min(l.last, seq+batchSize), More: l.more}
	if b.Last < l.last {
		more := make(chan struct{})
		close(more)
		b.More = more
	}
	for n := seq + 1; n <= b.Last; n++ {
		b.Events = append(b.Events, l.ring[(n-1)%Capacity])
	}
	return b, true
}

// Position returns the position of the event with this id. It returns an error
// for an id that this process did not assign.
func (l *Log) Position(id string) (uint64, error) {
	number, ok := strings.CutPrefix(id, l.boot+"-")
	if !ok {
		return 0, fmt.Errorf("cannot find event %.60q: it is from another run", id)
	}
	number, _, _ = strings.Cut(number, beforeCursor)
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot find event %.60q: %w", id, err)
	}
	return seq, nil
}
