// Package outbox keeps the messages that are to be sent, on disk, and has the page send
// each of them once.
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// Sender is what an Outbox asks of the worker that runs. The errors are those of
// rpc.Worker, or match worker.ErrNoWorker.
type Sender interface {
	Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error)
	Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error)
	Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error)
	// RequestRestart ends the present instance.
	RequestRestart(ctx context.Context, r worker.RestartRequest) (time.Time, error)
}

// Options of an Outbox.
type Options struct {
	// Path of the database. It is made if it is missing.
	Path   string
	Sender Sender
	Logger *slog.Logger
	// Limits, Pacing and Expiry are DefaultLimits, DefaultPacing and DefaultExpiry, unless they are
	// set. Expiry is how long a message may wait that was accepted without ExpiresIn.
	Limits Limits
	Pacing Pacing
	Expiry time.Duration
	// LinkedAt returns when the phone was linked, zero if nobody knows. It must not block.
	LinkedAt func() time.Time
	// Changed, if it is set, receives each message when it has changed on disk, in order
	// and from one goroutine. It must not block.
	Changed func(Message)
}

// DefaultExpiry is how long a message may wait unless its sender wants otherwise.
const DefaultExpiry = 24 * time.Hour

// Limits bound what an Outbox keeps.
type Limits struct {
	// Waiting is how many messages may wait to be sent, and Messages how many are kept in
	// all, those that have ended included.
	Waiting, Messages int
	// Bytes is how much text may be kept.
	Bytes int64
	// KeepText is how long the text of a message is kept once it has ended, and Keep how
	// long the rest, with its idempotency key.
	KeepText, Keep time.Duration
}

// DefaultLimits returns the usual limits.
func DefaultLimits() Limits {
	const day = 24 * time.Hour
	return Limits{Waiting: 10_000, Messages: 100_000, Bytes: 64 << 20, KeepText: day, Keep: 7 * day}
}

// Pacing is how fast messages may be sent: an account that writes to many strangers at
// once is restricted by WhatsApp, which publishes no limits.
type Pacing struct {
	// Any is the least time between two messages, and Chat that between two in one chat.
	Any, Chat time.Duration
	// FirstContact is the mean time between two messages to people who have never written
	// to us; each is up to a half longer or shorter.
	FirstContact time.Duration
	// NewPerDay is how many such people are written to a day in the time New after a phone was linked, and
	// PerDay afterwards.
	NewPerDay, PerDay int
	New               time.Duration
}

// DefaultPacing returns the usual pacing, which is that of advice to users of WhatsApp's
// libraries.
func DefaultPacing() Pacing {
	return Pacing{
		Any: time.Second, Chat: 3 * time.Second, FirstContact: 45 * time.Second,
		NewPerDay: 20, PerDay: 100, New: 14 * 24 * time.Hour,
	}
}

// Outbox has messages sent. Its methods may be called from any goroutine.
type Outbox struct{ o Options }

var errUnfinished = errors.ErrUnsupported

// New returns an Outbox that does nothing until Run: until then its other methods fail
// with ErrUnavailable.
func New(o Options) *Outbox { return &Outbox{o} }

// Run opens the database, or makes it, and has messages sent until ctx ends; then it waits
// for what is under way, and closes the database. A database that is damaged is moved
// aside. One that can't be opened, as on a full disk, is tried again.
func (o *Outbox) Run(ctx context.Context) { <-ctx.Done() }

// Accept keeps a message, so that it will be sent. It returns when the message is on
// disk. replayed means that the request was accepted before; then the message is returned
// as it is now. Errors match ErrConflict, ErrIDTaken, ErrFull, ErrNoSpace or ErrUnavailable.
func (o *Outbox) Accept(ctx context.Context, r Request) (m Message, replayed bool, err error) {
	return m, false, errUnfinished
}

// Message returns a message as it is on disk. The error matches ErrUnknownMessage or ErrUnavailable.
func (o *Outbox) Message(id rpc.MessageID) (Message, error) { return Message{}, errUnfinished }

// Changed is Message, with a channel that is closed when the message may have changed.
func (o *Outbox) Changed(id rpc.MessageID) (Message, <-chan struct{}, error) {
	return Message{}, nil, errUnfinished
}

// Cancel keeps a message from being sent. The error matches ErrUnknownMessage,
// ErrNotQueued, ErrNoSpace or ErrUnavailable.
func (o *Outbox) Cancel(ctx context.Context, id rpc.MessageID) (Message, error) {
	return Message{}, errUnfinished
}

// Notice follows the worker instances. It does not block.
func (o *Outbox) Notice(n worker.Notice) {}

// Hold returns until when a planned restart should wait for what is being sent, and zero
// if nothing is. It does not block.
func (o *Outbox) Hold() time.Time { return time.Time{} }

// Stats counts messages for metrics.
type Stats struct {
	// ByStatus counts the messages that are kept.
	ByStatus map[Status]int
	// OldestQueued is when the one that has been queued for longest was accepted, zero if none is.
	OldestQueued time.Time
}

// Stats returns what is kept now. It does not block.
func (o *Outbox) Stats() Stats { return Stats{} }

// Purge erases every message.
func (o *Outbox) Purge(ctx context.Context) error { return errUnfinished }
