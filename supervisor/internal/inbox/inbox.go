package inbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/wait"
	"session-manager/supervisor/internal/worker"
)

// Reader is what an Inbox asks of the worker that runs. The errors are those of rpc.Worker,
// or match worker.ErrNoWorker.
type Reader interface {
	Receive(ctx context.Context, q rpc.ReceiveQuery) (rpc.Reception, error)
}

// Options of an Inbox.
type Options struct {
	// Path of the database, absolute. It is made if it is missing.
	Path string
	// Worker is nil if nothing is received; what is kept is erased in time all the same.
	Worker Reader
	// Files are those of received messages, and no others.
	Files  *media.Store
	Logger *slog.Logger
	Limits Limits
	// Sent reports whether a message of the account's own was sent by this service, whose
	// senders learn of it elsewhere.
	Sent func(id rpc.MessageID) (bool, error)
	// Opened, if it is set, receives the present cursor before the first event. Changed, if it is set, receives
	// each event when it is on disk, in order. They must not block.
	Opened  func(cursor string)
	Changed func(Event)
	// Report, if it is set, receives events in order. It is called again, after a restart too,
	// until it has returned nil. account has the names (rpc.Account.Names) of whose they are, none while unknown.
	Report func(ctx context.Context, account string, all []Event) error
	// Unannounced, if it is set, is called when messages were found that the page had not announced.
	Unannounced func()
}

// Inbox receives messages. Its methods may be called from any goroutine.
type Inbox struct {
	*downloads
	o     Options
	store *store
	wake  chan struct{} // holds a token when there may be something to read
	ready atomic.Bool   // the page is
	// hinted: the page has announced messages since that was last looked at.
	hinted atomic.Bool
	// fresh: the page has started since messages were last read again.
	fresh   atomic.Bool
	unsaid  chan struct{} // holds a token when there may be something to report
	marking chan struct{} // held by who marks a message as read

	// What receive alone uses: messages that are to be read again, messages to which somebody may have
	// reacted, and whether all reactions are to be read.
	again    []rpc.Secret
	noted    []rpc.Secret
	reactAll bool

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed at the next event
}

// New returns an Inbox that does nothing until Run.
func New(o Options) *Inbox {
	if o.Unannounced == nil {
		o.Unannounced = func() {}
	}
	i := &Inbox{
		o: o, wake: make(chan struct{}, 1), unsaid: make(chan struct{}, 1), marking: make(chan struct{}, 1), changed: make(chan struct{}),
		store: newStore(o.Path, o.Limits, func(aside string, err error) {
			o.Logger.Error(logid.InboxDamaged, logging.KeyPath, aside, logging.KeyError, err)
		}, func(n int) { o.Logger.Error(logid.RowsDamaged, "count", n, logging.KeyPath, o.Path) }),
	}
	i.store.reporting = o.Report != nil
	i.downloads = newDownloads(i.store, o.Files, o.Worker)
	return i
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Notice follows the worker instances. It does not block.
func (i *Inbox) Notice(n worker.Notice) {
	switch n := n.(type) {
	case worker.Spawning, worker.Exiting:
		i.ready.Store(false)
	case worker.FromWorker:
		switch b := n.Event.Body.(type) {
		case rpc.PageObserved:
			ready := b.Condition == rpc.PageReady
			if i.ready.Swap(ready) != ready && ready {
				i.fresh.Store(true)
				signal(i.wake)
			}
		case rpc.MessagesArrived:
			i.hinted.Store(true)
			signal(i.wake)
		}
	}
}

const (
	// compare is how often the table is compared with the cursor, and retry how soon what
	// has failed is tried again.
	compare = time.Minute
	retry   = 2 * time.Second
	// housekeeping is how often what is too old is erased.
	housekeeping = 10 * time.Minute
	// receiveTimeout bounds one call of the worker.
	receiveTimeout = 40 * time.Second
	// markTimeout bounds marking a message as read, and waiting for one's turn.
	markTimeout = 20 * time.Second
)

// Run receives messages until ctx ends.
func (i *Inbox) Run(ctx context.Context) {
	var reporting sync.WaitGroup
	if i.o.Report != nil {
		reporting.Go(func() {
			wait.Drain(ctx, i.unsaid, retry, i.reportNext, func(err error) {
				i.o.Logger.Warn(logid.InboxReportFailed, logging.KeyError, err)
			})
		})
	}
	if i.o.Worker != nil {
		i.receive(ctx)
	} else {
		i.expire(ctx)
	}
	reporting.Wait()
	i.end(true)
	if err := i.store.close(context.WithoutCancel(ctx)); err != nil {
		i.o.Logger.Warn(logid.InboxWriteFailed, logging.KeyError, err)
	}
}

// expire erases what is too old, if there is anything, until ctx ends.
func (i *Inbox) expire(ctx context.Context) {
	for clean := time.NewTicker(housekeeping); ; {
		if _, err := os.Lstat(i.o.Path); err == nil {
			i.clean(ctx)
			_ = i.store.close(ctx)
		} else {
			_ = i.o.Files.Sweep(ownerless)
		}
		select {
		case <-clean.C:
		case <-ctx.Done():
			return
		}
	}
}

// receive reads whenever there may be something to read.
func (i *Inbox) receive(ctx context.Context) {
	clean := time.NewTicker(housekeeping)
	defer clean.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	var l looks
	i.clean(ctx)
	i.open(ctx)
	for {
		compared := false
		select {
		case <-ctx.Done():
			return
		case <-clean.C:
			i.clean(ctx)
			continue
		case <-i.wake:
		case <-next.C:
			compared = true
			next.Reset(compare) // an announcement, of which many may come, puts this off no further
		}
		if i.ready.Load() {
			if i.look(ctx, &l, compared); l.failing {
				next.Reset(retry)
			} else if compared {
				i.askPhone(ctx)
			}
		}
	}
}

// looks is what a look at the page leaves for the next one.
type looks struct {
	failing bool
	// unannounced: a comparison has found messages that the page may announce yet.
	unannounced bool
	// unread: messages could not be read again, and unreadable: reactions could not be read.
	unread, unreadable bool
	// comparisons since recent messages were last read again.
	comparisons int
}

// look reads what there is to read, as an announcement or a comparison demands.
func (i *Inbox) look(ctx context.Context, l *looks, compared bool) {
	hinted, fresh := i.hinted.Swap(false), i.fresh.Swap(false)
	silent := compared && !hinted && !fresh // only the table shows what is found
	if l.unannounced && silent {
		i.o.Logger.Warn(logid.MessagesUnannounced)
		i.o.Unannounced()
	}
	if compared || hinted {
		l.unannounced = false
	}
	found, last, err := i.read(ctx)
	// A message that was found by a comparison may be announced a moment later.
	l.unannounced = l.unannounced || found && silent && !l.failing
	first := isFirst(ctx, err, l.failing)
	l.failing = err != nil
	switch {
	case !l.failing:
		i.lookAgain(ctx, l, last, fresh, compared)
	case first:
		i.o.Logger.Warn(logid.MessagesReceiveFailed, logging.KeyError, logging.Redact(err.Error()))
	}
}

// lookAgain reads what has become of messages up to the one with the number last: of all in a page that has started, and at some
// comparisons of recent ones, as the page announces only what becomes of those in its memory. What fails is logged once.
func (i *Inbox) lookAgain(ctx context.Context, l *looks, last int64, fresh, compared bool) {
	again, reactions := 0, 0
	if compared {
		reactions = latestMessages
		if l.comparisons = (l.comparisons + 1) % recentEvery; l.comparisons == 0 {
			again, reactions = recentMessages, recentMessages
		}
	}
	if fresh {
		again, i.reactAll = allMessages, true
	}
	if compared || fresh || !l.unread { // new messages must not wait for what has failed
		err := i.reread(ctx, last, again)
		if isFirst(ctx, err, l.unread) {
			i.o.Logger.Warn(logid.MessagesReceiveFailed, logging.KeyError, logging.Redact(err.Error()))
		}
		l.unread = err != nil
	}
	err := i.react(ctx, reactions)
	if isFirst(ctx, err, l.unreadable) {
		i.o.Logger.Warn(logid.ReactionsReceiveFailed, logging.KeyError, logging.Redact(err.Error()))
	}
	l.unreadable = err != nil
}

// isFirst reports whether something has failed that had not failed before.
func isFirst(ctx context.Context, err error, before bool) bool {
	return err != nil && !before && !stopped(ctx, err)
}

// stopped reports whether nothing was read because the service or the worker ends.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, worker.ErrNoWorker)
}

// read reads what is new, and returns whether anything follows the cursor, and the number of the last message from before.
func (i *Inbox) read(ctx context.Context) (found bool, last int64, err error) {
	if last, err = lastMessage(ctx, i.store); err == nil {
		found, err = i.pull(ctx)
	}
	if err != nil {
		i.fresh.Store(true) // the answer may have had what is not told twice
	}
	return found, last, err
}

// open reports the present cursor once the file can be read.
func (i *Inbox) open(ctx context.Context) {
	for i.o.Opened != nil && ctx.Err() == nil {
		cursor, err := i.store.present(ctx)
		if err == nil {
			i.o.Opened(cursor)
			return
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// clean erases what is too old.
func (i *Inbox) clean(ctx context.Context) {
	err := i.store.retain(ctx, time.Now())
	if err == nil {
		err = i.sweep(ctx)
	}
	if err != nil && ctx.Err() == nil {
		i.o.Logger.Warn(logid.InboxWriteFailed, logging.KeyError, err)
	}
}

// mostReads is how often the page is read in a row, so that one that never ends stops nothing else.
const mostReads = 200

// pull reads all that follows the cursor, and reports whether there was anything.
func (i *Inbox) pull(ctx context.Context) (found bool, err error) {
	more := true
	for range mostReads {
		if !more || ctx.Err() != nil {
			return found, ctx.Err()
		}
		q, err := i.store.query(ctx)
		if err != nil {
			return found, err
		}
		call, cancel := context.WithTimeout(ctx, receiveTimeout)
		got, err := i.o.Worker.Receive(call, q)
		cancel()
		if err != nil {
			return found, err
		}
		ours, err := oursAmong(got.Messages, i.o.Sent)
		if err != nil {
			return found, err
		}
		kept, err := i.store.take(ctx, got, ours)
		if err != nil {
			return found, err
		}
		if got.Lost {
			i.fresh.Store(true)
			signal(i.wake)
		}
		if i.noted = append(i.noted, got.Reacted...); len(i.noted) > allMessages {
			i.noted, i.reactAll = nil, true
		}
		found = found || len(kept.events) > 0
		more = kept.again || got.More
		i.publish(kept.events)
	}
	signal(i.wake)
	return found, ctx.Err()
}

// oursAmong returns those of the messages that this service has sent.
func oursAmong(all []rpc.Received, isOurs func(rpc.MessageID) (bool, error)) (sent map[rpc.Secret]bool, err error) {
	sent = map[rpc.Secret]bool{}
	for _, m := range all {
		if id := rpc.MessageID(m.ID); m.FromMe && id.Valid() && isOurs != nil {
			if sent[m.Key], err = isOurs(id); err != nil {
				return nil, err
			}
		}
	}
	return sent, nil
}

// reread reads messages again: at most so many of the latest up to the one with the number last, and those that are left from before.
// Messages that arrive meanwhile come first.
func (i *Inbox) reread(ctx context.Context, last int64, most int) error {
	if most > 0 {
		keys, err := i.store.keysToReread(ctx, time.Now(), last, most)
		if err != nil {
			i.fresh.Store(true)
			return err
		}
		listed := map[rpc.Secret]bool{}
		for _, key := range keys {
			listed[key] = true
		}
		left := slices.DeleteFunc(i.again, func(key rpc.Secret) bool { return listed[key] })
		i.again = append(keys, left[:min(len(left), allMessages)]...)
	}
	left, err := inTurns(&i.hinted, i.again, func(some []rpc.Secret) (rpc.Secret, error) { return i.rereadSome(ctx, some) })
	i.again = left
	return err
}

// inTurns reads what the page has of messages with these keys, some at a time, and returns the keys that are left. read returns the
// last key that was read, "" for all. It stops once messages were announced, which come first.
func inTurns(hinted *atomic.Bool, keys []rpc.Secret, read func(some []rpc.Secret) (last rpc.Secret, err error)) (left []rpc.Secret, err error) {
	for len(keys) > 0 {
		some := keys[:min(len(keys), rpc.MaxReread)]
		last, err := read(some)
		if err != nil { // the others come before them next time
			return append(slices.Clone(keys[len(some):]), some...), err
		}
		done := len(some)
		if last != "" {
			done = max(1, slices.Index(some, last)+1)
		}
		if keys = keys[done:]; hinted.Load() {
			break // it continues after that
		}
	}
	return keys, nil
}

// rereadSome reads some messages again. It is for inTurns.
func (i *Inbox) rereadSome(ctx context.Context, keys []rpc.Secret) (last rpc.Secret, err error) {
	call, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	got, err := i.o.Worker.Receive(call, rpc.ReceiveQuery{Keys: keys})
	if err != nil {
		return "", err
	}
	if n := len(got.Messages); got.More && n > 0 {
		last = got.Messages[n-1].Key
	}
	list, err := i.store.reread(ctx, got.Messages)
	if err == nil {
		i.publish(list)
	}
	return last, err
}

const (
	// latestMessages are those whose reactions are compared every minute, since the page needs some KB for each; recentMessages those
	// in every tenth, which are read again themselves, too, and allMessages those after each start.
	latestMessages, recentMessages, allMessages = 100, 1000, 10_000
	recentEvery                                 = 10
)

// react reads the reactions to messages that the page has noted and, as it notes only some, to so many of
// the latest day. Messages that arrive meanwhile come first.
func (i *Inbox) react(ctx context.Context, most int) error {
	keys, since := i.noted, time.Now().Add(-overlap)
	if i.reactAll {
		since, most = time.Time{}, allMessages
	}
	if most > 0 && len(keys) < allMessages {
		known, err := keysToReact(ctx, i.store, since, most)
		if err != nil {
			return err
		}
		keys = append(keys, known...)
	}
	i.reactAll = false
	left, err := inTurns(&i.hinted, keys, func(some []rpc.Secret) (rpc.Secret, error) { return i.reactTo(ctx, some) })
	if err != nil {
		left = left[:min(len(left), allMessages)]
	}
	i.noted = left
	return err
}

// reactTo reads the reactions to some messages. It is for inTurns.
func (i *Inbox) reactTo(ctx context.Context, keys []rpc.Secret) (last rpc.Secret, err error) {
	q, err := i.store.query(ctx)
	if err != nil {
		return "", err
	}
	call, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	got, err := i.o.Worker.Receive(call, rpc.ReceiveQuery{Keys: keys, Errand: rpc.ReadReactions, Since: q.Since})
	if err != nil {
		return "", err
	}
	if n := len(got.Reactions); got.More && n > 0 {
		last = got.Reactions[n-1].Message
	}
	slices.SortStableFunc(got.Reactions, func(a, b rpc.Reaction) int { return a.At.Compare(b.At) })
	list, err := react(ctx, i.store, got.Reactions, time.Now())
	if err == nil {
		i.publish(list)
	}
	return last, err
}

// askPhone has the account's phone asked, once, for messages that could not be decrypted. One
// that the page was not able to ask for is asked for later.
func (i *Inbox) askPhone(ctx context.Context) {
	keys, err := unasked(ctx, i.store, time.Now())
	if err == nil && len(keys) > 0 {
		call, cancel := context.WithTimeout(ctx, receiveTimeout)
		defer cancel()
		if _, err = i.o.Worker.Receive(call, rpc.ReceiveQuery{Keys: keys, Errand: rpc.AskPhone}); err == nil {
			err = mark(ctx, i.store, "asked", keys)
		}
	}
	if err != nil {
		i.o.Logger.Debug(logid.MessagesAskFailed, logging.KeyError, logging.Redact(err.Error()))
	}
}

// MarkRead marks the chat of a message as read, as if its owner had read it. Errors match
// ErrUnknownMessage or ErrUnavailable, or are those of a Reader.
func (i *Inbox) MarkRead(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	key, err := i.store.key(ctx, id)
	if err != nil {
		return err
	}
	select {
	case i.marking <- struct{}{}:
		defer func() { <-i.marking }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err = i.o.Worker.Receive(ctx, rpc.ReceiveQuery{Keys: []rpc.Secret{key}, Errand: rpc.MarkRead})
	return err
}

// publish reports events that are on disk.
func (i *Inbox) publish(list []Event) {
	if len(list) == 0 {
		return
	}
	kinds := map[string]int{}
	for _, e := range list {
		kinds[string(e.Kind)]++
		if e.Kind == Gap {
			i.o.Logger.Warn(logid.MessagesMissed, logging.KeyReason, e.Reason, "since", e.Since)
		}
		if i.o.Changed != nil {
			i.o.Changed(e)
		}
	}
	i.o.Logger.Debug(logid.MessagesReceived, "count", len(list), "kinds", kinds)
	i.mu.Lock()
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
	signal(i.unsaid)
}

// reportNext hands on the events that follow, and reports whether there were any.
func (i *Inbox) reportNext(ctx context.Context) (more bool, err error) {
	b, err := i.store.unreported(ctx)
	if err != nil || len(b.events) == 0 {
		return false, err
	}
	if err := i.o.Report(ctx, b.account, b.events); err != nil {
		return false, err
	}
	return true, i.store.reported(ctx, b)
}

// MaxList is how many events List returns at most.
const MaxList = 200

// List returns at most n events after a cursor, the cursor after them, and whether there are
// more; and a channel that is closed when there may be. Errors match ErrCursor, ErrLost or
// ErrUnavailable.
func (i *Inbox) List(ctx context.Context, cursor string, n int) (list []Event, next string, more bool, changed <-chan struct{}, err error) {
	i.mu.Lock()
	changed = i.changed // before it is read, so that no event is missed
	i.mu.Unlock()
	p, err := i.store.list(ctx, cursor, min(max(n, 1), MaxList))
	return p.events, p.next, p.more, changed, err
}

// Purge erases every message and file, also from the disk.
func (i *Inbox) Purge(ctx context.Context) error {
	err := i.store.purge(ctx)
	i.end(false)
	return errors.Join(err, i.o.Files.Sweep(ownerless))
}
