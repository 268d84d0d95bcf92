package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/media"
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
	// Path of the database, absolute. It is made if it is missing.
	Path string
	// Media has the files of messages, and no others. Nil if there are none.
	Media  *media.Store
	Sender Sender
	Logger *slog.Logger
	// Limits, Pacing and Expiry are DefaultLimits, DefaultPacing and DefaultExpiry, unless
	// they are set. Expiry is how long a message may wait that was accepted without
	// ExpiresIn.
	Limits Limits
	Pacing Pacing
	Expiry time.Duration
	// LinkedAt returns when the phone was linked, zero if nobody knows. It must not block.
	LinkedAt func() time.Time
	// Changed, if it is set, receives each message when it has changed on disk, in order
	// and from one goroutine. It must not block.
	Changed func(Message)
	// Report, if it is set, receives messages after each change of their status, in order.
	// It is called again, after a restart too, until it has returned nil. account is
	// the one that is linked, zero while unknown.
	Report func(ctx context.Context, account rpc.Account, all []Message) error
	// Typing allows that texts are typed where the page's functions for sending are gone.
	Typing bool
	// Count, if it is set, gets the result of each attempt to send: stored, failed, unknown
	// or deferred; and damaged for a message that can't be read.
	Count func(result string)
	// Random returns a number from 0 to 1; it is rand.Float64 except in tests.
	Random func() float64
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
	// KeepText is how long the text of a message is kept once it was sent or has ended, and
	// Keep how long the rest, with its idempotency key, after its last change.
	KeepText, Keep time.Duration
}

// DefaultLimits returns the usual limits.
func DefaultLimits() Limits {
	return Limits{Waiting: 10_000, Messages: 100_000, Bytes: 64 << 20, KeepText: day, Keep: 7 * day}
}

// Outbox has messages sent. Its methods may be called from any goroutine.
type Outbox struct {
	o     Options
	store *store

	// hold is how long restarts should wait, wanted when one last asked, and oldest when the message was accepted that
	// has waited for longest; all in milliseconds since 1970.
	hold, wanted, oldest atomic.Int64

	mu     sync.Mutex
	inbox  []func(*loop) // guarded by mu; what the loop has to do
	waits  waits         // guarded by mu
	wake   chan struct{} // holds a token when inbox is not empty
	unsaid chan struct{} // holds a token when there may be something to report
}

// New returns an Outbox that does nothing until Run.
func New(o Options) *Outbox {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Pacing == (Pacing{}) {
		o.Pacing = DefaultPacing()
	}
	if o.Expiry == 0 {
		o.Expiry = DefaultExpiry
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Count == nil {
		o.Count = func(string) {}
	}
	if o.LinkedAt == nil {
		o.LinkedAt = func() time.Time { return time.Time{} }
	}
	b := &Outbox{
		o: o, store: newStore(o),
		wake: make(chan struct{}, 1), unsaid: make(chan struct{}, 1),
	}
	b.store.reporting = o.Report != nil
	b.store.opened = func(from loaded) {
		b.post(func(l *loop) { l.reset(from) })
		b.mayReport() // what was repaired
	}
	b.store.changed = b.committed
	return b
}

// Run opens the database, or makes it, and has messages sent until ctx ends; then it waits
// for what is under way, for 5 s at most, and closes the database. A database that is
// damaged is moved aside. One that can't be opened, as on a full disk, is tried again.
func (o *Outbox) Run(ctx context.Context) {
	storing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var stores sync.WaitGroup
	defer stores.Wait()
	defer stop()
	stores.Go(func() { o.store.run(storing) })
	if o.o.Report != nil {
		stores.Go(func() { o.report(ctx) })
	}
	newLoop(o).run(ctx)
}

// post has the loop do something. It does not block.
func (o *Outbox) post(f func(*loop)) {
	o.mu.Lock()
	o.inbox = append(o.inbox, f)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// committed passes on a message that has changed on disk.
func (o *Outbox) committed(c change) {
	o.post(func(l *loop) { l.queue.put(c.after) })
	if e := c.after; e.Status != c.before.Status {
		o.o.Logger.Log(context.Background(), e.level(), logid.MessageChanged,
			"id", string(e.ID), "status", string(e.Status), "attempts", e.Attempts, "code", string(e.Code), "whatsapp_code", e.WhatsAppCode)
	}
	if c.before.shown() == c.after.shown() {
		return
	}
	o.mu.Lock()
	o.waits.end(c.after.ID)
	o.mu.Unlock()
	if o.o.Changed != nil {
		o.o.Changed(c.after.message())
	}
	o.mayReport()
}

// Accept keeps a message, so that it will be sent. It returns when the message is on
// disk. replayed means that the request was accepted before; then the message is returned
// as it is now. Errors match ErrInvalid, ErrConflict, ErrIDTaken, ErrNew, ErrUnknownMessage,
// ErrNotSent, ErrFull, ErrNoSpace or ErrUnavailable.
func (o *Outbox) Accept(ctx context.Context, r Request) (m Message, replayed bool, err error) {
	known := r.Message.Act != "" && r.Message.To == ""
	if id := r.Message.ID; !known && !rpc.ValidAddress(r.Message.To) || id != "" && !id.Valid() || (r.File == nil) != (r.Message.Media == rpc.Media{}) {
		r.settle(false)
		return Message{}, false, ErrInvalid
	}
	var e entry
	var repeated bool
	var refused error
	err = o.store.ask(ctx, job{write: func(t *transaction) (err error) {
		e, repeated, refused, err = o.accept(t, r, time.Now())
		return err
	}, done: func(err error) { r.settle(err == nil && refused == nil && !repeated) }})
	if err == nil {
		err = refused
	}
	if err != nil {
		return Message{}, false, err
	}
	return e.message(), repeated, nil
}

// accept adds a message unless that is refused.
func (o *Outbox) accept(t *transaction, r Request, now time.Time) (e entry, replayed bool, refused, err error) {
	s, err := t.settings()
	if err != nil {
		return e, false, nil, err
	}
	e, replayed, refused, err = t.earlier(r, s)
	if err != nil || replayed || refused != nil {
		return e, replayed, refused, err
	}
	if r.OnlyRepeat {
		return e, false, ErrNew, nil
	}
	to, refused, err := t.destination(r.Message)
	if err != nil || refused != nil {
		return e, false, refused, err
	}
	body := contentOf(r.Message)
	if !o.o.Limits.allow(t.counts, body) {
		return e, false, ErrFull, nil
	}
	e = o.entry(r, s.link, to, now)
	if !acceptable(e, body) {
		return e, false, ErrInvalid, nil
	}
	if r.File != nil { // its name and the message are one decision
		if err := r.File.Name(string(e.ID)); err != nil {
			return e, false, fileError(err), nil
		}
	}
	return e, false, nil, t.insert(e, scoped(s.Account, r.IdempotencyKey), r.Hash[:], &body)
}

// allow reports whether there may be one more message.
func (l Limits) allow(c counts, body content) bool {
	all, waiting := c.messages()
	return all < l.Messages && waiting < l.Waiting && c.bytes+body.size() <= l.Bytes
}

// entry is a request as a message that waits.
func (o *Outbox) entry(r Request, l link, to string, now time.Time) entry {
	m := r.Message
	e := entry{
		ID: m.ID, Status: Queued, form: form{Act: m.Act, Target: m.Target, File: m.Media.Size}, To: to,
		Expires: millis(now.Add(cmp.Or(r.ExpiresIn, o.o.Expiry))), Reference: r.Reference,
	}
	if l.Account != "" {
		e.holder = l.holder
	}
	e.Typeable = m.Act == "" && r.File == nil && m.ReplyTo == "" && len(m.Mentions) == 0 && strings.HasSuffix(to, rpc.ServerPhone)
	if e.ID == "" {
		e.ID = newID()
	}
	e.Times[Queued.rank()] = millis(now)
	return e
}

// settle leaves the file to the message that was accepted with it, or removes it.
func (r Request) settle(accepted bool) {
	switch {
	case r.File == nil:
	case accepted:
		r.File.Release()
	default:
		r.File.Discard()
	}
}

// fileError is an error of a file, for those who use the outbox.
func fileError(err error) error {
	if errors.Is(err, media.ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// readTimeout bounds reading, on a disk that hangs.
const readTimeout = 5 * time.Second

// Message returns a message as it is on disk. The error matches ErrUnknownMessage or
// ErrUnavailable.
func (o *Outbox) Message(id rpc.MessageID) (Message, error) {
	var e entry
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	err := o.store.ask(ctx, job{read: func(db messages) (err error) {
		e, err = db.find(id)
		return err
	}})
	if err != nil {
		return Message{}, err
	}
	return e.message(), nil
}

// Changed is Message, with a channel that is closed when the message has changed, or one that
// shares its place in waits.
func (o *Outbox) Changed(id rpc.MessageID) (Message, <-chan struct{}, error) {
	o.mu.Lock()
	changed := o.waits.begin(id) // before it is read, so that no change is missed
	o.mu.Unlock()
	m, err := o.Message(id)
	return m, changed, err
}

// waits has channels for those who wait for a message to change. Its ids, which are random,
// share a fixed number of places, so that one who stops waiting leaves nothing behind.
type waits [1024]chan struct{}

func (w *waits) place(id rpc.MessageID) *chan struct{} {
	n, _ := strconv.ParseUint(string(id[max(0, len(id)-4):]), 16, 64)
	return &w[n%uint64(len(w))]
}

func (w *waits) begin(id rpc.MessageID) <-chan struct{} {
	c := w.place(id)
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

func (w *waits) end(id rpc.MessageID) {
	if c := w.place(id); *c != nil {
		close(*c)
		*c = nil
	}
}

// Cancel keeps a message from being sent. The error matches ErrUnknownMessage,
// ErrNotQueued, ErrNoSpace or ErrUnavailable.
func (o *Outbox) Cancel(ctx context.Context, id rpc.MessageID) (Message, error) {
	var e entry
	var refused error
	err := o.store.ask(ctx, job{write: func(t *transaction) (err error) {
		refused = nil
		e, err = t.update(id, func(e entry) entry { return e.cancel(time.Now()) })
		switch {
		case errors.Is(err, ErrUnknownMessage):
			refused, err = err, nil
		case err == nil && e.Status != Cancelled:
			refused = ErrNotQueued
		}
		return err
	}})
	if err == nil {
		err = refused
	}
	if err != nil {
		return Message{}, err
	}
	return e.message(), nil
}

// Notice follows the worker instances. It does not block.
func (o *Outbox) Notice(n worker.Notice) {
	switch n := n.(type) {
	case worker.Spawning, worker.Exiting:
		o.post((*loop).instanceEnded)
	case worker.FromWorker:
		switch b := n.Event.Body.(type) {
		case rpc.PageObserved:
			o.post(func(l *loop) { l.observed(b, time.Now()) })
		case rpc.MessageChanged:
			o.post(func(l *loop) { l.hint(b, time.Now()) })
		case rpc.SendingObserved:
			o.post(func(l *loop) { l.sending(b, time.Now()) })
		}
	}
}

// Hold returns the time up to which a planned restart should wait for what is being sent,
// which is zero or has passed if nothing is. It does not block. Until a while after the last call no
// further message is sent, so that a restart can't be put off for ever.
func (o *Outbox) Hold() time.Time {
	o.wanted.Store(time.Now().UnixMilli())
	return moment(o.hold.Load())
}

// Stats counts messages for metrics.
type Stats struct {
	// ByStatus counts the messages that are kept.
	ByStatus map[Status]int
	// OldestWaiting is when the message was accepted that has waited for longest, zero if
	// none waits.
	OldestWaiting time.Time
}

// Stats returns what is kept now. It does not block.
func (o *Outbox) Stats() Stats {
	return Stats{ByStatus: o.store.counts.Load().byStatus, OldestWaiting: moment(o.oldest.Load())}
}

// Purge erases every message, also from the disk.
func (o *Outbox) Purge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	o.store.purging.Store(true)
	return o.store.ask(ctx, job{read: func(messages) error { return nil }})
}
