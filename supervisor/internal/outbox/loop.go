package outbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker"
)

const (
	// callTimeout bounds a call of the worker, and stopTimeout what a stop waits for one.
	callTimeout = 45 * time.Second
	stopTimeout = 5 * time.Second
	// slowSend is after how long a message that is being sent no longer keeps those of other
	// chats, of which maxSends may be under way in all.
	slowSend = 5 * time.Second
	maxSends = 8
	// maxFiles is how many messages with files may be under way next to those, since uploads take long.
	maxFiles = 4
	// holdTime is how long a planned restart waits for a message.
	holdTime = 30 * time.Second
	// roundPause is the time between two rounds in which all messages are looked up that may
	// still be delivered or read, and lookPause that after a failure.
	roundPause = 5 * time.Minute
	// settling is how long a page that is ready may take to write receipts that came while it
	// was away, of which it reports nothing.
	settling  = 10 * time.Second
	lookPause = 5 * time.Second
	// restartRoom is for how long nothing is sent after a planned restart has asked whether
	// it may begin, which it does again and again.
	restartRoom = 5 * time.Second
	// restartPause is the least time between two restarts because of messages that are not
	// acknowledged.
	restartPause = 10 * time.Minute
	// maxDoubts is how many attempts in a row may leave a message unknown before the page is
	// restarted.
	maxDoubts = 4
	// askPause is the least time between two questions whether somebody is known, which ask
	// WhatsApp's server, and askPauseIdle that while strangers can't be written to anyway.
	askPause, askPauseIdle = time.Second, 5 * time.Second
	// notableWait is how long pacing may delay a message without a code that explains it.
	notableWait = 2 * time.Minute
)

// loop decides what is sent when. It alone owns its state, and never blocks: what does is
// called from goroutines of their own, or by the store.
type loop struct {
	*Outbox
	calls    calls
	queue    queue
	gate     gate
	settings settings
	page     page
	turns    turns
}

// calls are those of the worker, which may block.
type calls struct {
	ctx  context.Context
	post func(func(*loop))
	all  sync.WaitGroup
}

// begin makes a call, and has the loop do what it returns.
func (c *calls) begin(f func(context.Context) func(*loop)) { c.beginLong(0, f) }

// beginLong is begin for a call that may take so much longer.
func (c *calls) beginLong(more time.Duration, f func(context.Context) func(*loop)) {
	c.all.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, callTimeout+more)
		defer cancel()
		c.post(f(ctx))
	})
}

// turns is what runs now, and when what is next.
type turns struct {
	// sends are those that are under way.
	sends            map[rpc.MessageID]underWay
	asking, looking  bool
	ask, look, round time.Time
	// looked is the position of the message up to which this round has come.
	looked int64
	// alone: the last question failed, perhaps because of one message, so the next is for one.
	alone   bool
	restart time.Time
}

// underWay is a message that is being sent: when that began, and whether it has a file.
type underWay struct {
	began time.Time
	file  bool
}

func newLoop(o *Outbox) *loop {
	l := &loop{
		Outbox: o, calls: calls{post: o.post}, gate: gate{known: map[string]acquaintance{}},
		turns: turns{sends: map[rpc.MessageID]underWay{}},
	}
	l.reset(loaded{})
	return l
}

func (l *loop) run(ctx context.Context) {
	var cancel context.CancelFunc
	l.calls.ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		l.drain()
		now := time.Now()
		if next := l.step(now); !next.IsZero() {
			timer.Reset(max(next.Sub(now), 0))
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
	patience := time.AfterFunc(stopTimeout, cancel)
	defer patience.Stop()
	l.calls.all.Wait()
	cancel()
	l.drain() // so that what the calls have returned is kept
	l.calls.all.Wait()
}

// drain does what was posted.
func (l *loop) drain() {
	l.mu.Lock()
	posted := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range posted {
		f(l)
	}
}

// reset begins with the messages of a database that was opened, perhaps after the page had reported.
func (l *loop) reset(from loaded) {
	l.queue, l.settings = newQueue(), from.settings
	for _, p := range from.people {
		l.queue.join(p...)
	}
	for _, e := range from.waiting {
		l.doubt(l.queue.put(e))
	}
	if l.page.account != (rpc.Account{}) {
		l.account(l.page.account, time.Now())
	}
}

// change has a message changed on disk, if anything changes, and leaves it alone until then.
func (l *loop) change(it *item, f func(entry) entry) {
	if e := it.entry(); f(e) == e {
		return
	}
	it.busy = true
	l.store.do(job{keep: true, write: updater(it.ID, f), done: func(error) {
		l.post(func(*loop) { it.busy = false })
	}})
}

// updater changes a message, unless it was erased meanwhile or another device has sent it.
func updater(id rpc.MessageID, f func(entry) entry) func(*transaction) error {
	return func(t *transaction) error {
		_, err := t.update(id, f)
		if errors.Is(err, ErrUnknownMessage) {
			return nil
		}
		return err
	}
}

// doubt notes that nobody knows what the page has done with a message.
func (l *loop) doubt(it *item) {
	it.see(sight{})
	if now := time.Now(); !it.busy {
		l.change(it, func(e entry) entry { return e.doubt(now) })
	}
}

// instanceEnded forgets what was known of the page.
func (l *loop) instanceEnded() {
	l.page = page{}
	for _, it := range l.queue.items {
		it.learn(func(k *known) { k.doubts = 0 })
		l.doubt(it)
	}
}

func (l *loop) observed(b rpc.PageObserved, now time.Time) {
	ready := b.Condition == rpc.PageReady && b.Registered && b.Persisted
	switch {
	case !ready:
		l.page.readySince = time.Time{}
		// Whether it can send is reported once its condition is ready again.
		l.page.possible = l.page.possible && b.Condition == rpc.PageReady
		l.page.typing = l.page.typing && b.Condition == rpc.PageReady
	case l.page.readySince.IsZero():
		l.page.readySince = now
		l.turns.round = now
	}
	if b.Condition == rpc.PageUnlinked || b.Condition == rpc.PageLoggedOut {
		l.account(rpc.Account{}, now)
	}
}

func (l *loop) sending(b rpc.SendingObserved, now time.Time) {
	l.gate.lift(l.page.newChats, b.NewChats)
	l.page.possible, l.page.typing, l.page.newChats = b.Possible, b.Typing && l.o.Typing, b.NewChats
	if b.Account != (rpc.Account{}) {
		l.account(b.Account, now)
	}
}

// account notes which account is linked. Messages of another one fail.
func (l *loop) account(a rpc.Account, now time.Time) {
	l.page.account = a
	if to := l.settings.to(a); to != l.settings.link {
		l.settings.link = to
		s := l.settings
		l.store.do(job{keep: true, write: func(t *transaction) error { return errors.Join(t.save(s, now), t.own(s.link)) }, done: func(error) { l.mayReport() }})
	}
	if a == (rpc.Account{}) {
		return
	}
	for _, it := range l.queue.items {
		if !it.busy {
			claim(l, it, now)
		}
	}
}

// claim notes whose a message is.
func claim(l *loop, it *item, now time.Time) {
	linked := l.settings.link
	l.change(it, func(e entry) entry { return e.claim(linked, now) })
}

// hint follows an acknowledgement. If it gets lost, the message is looked up later.
func (l *loop) hint(b rpc.MessageChanged, now time.Time) {
	if !b.ID.Valid() {
		return
	}
	state := rpc.MessageState{ID: b.ID, Stored: true, Ack: b.Ack, Refusal: b.Refusal, At: b.At}
	if it := l.queue.items[b.ID]; it != nil && b.Ack < 0 && mayRetry(it.entry(), b.Refusal) {
		it.see(sight{})
		return
	}
	l.store.do(job{write: func(t *transaction) error {
		owner, err := t.owner(b.ID)
		if err != nil {
			return err
		}
		return updater(owner, func(e entry) entry { return e.acked(state, now) })(t)
	}})
}

// step begins what is due, and returns when to look again, zero for only at the next event.
func (l *loop) step(now time.Time) time.Time {
	var d due
	for _, c := range l.queue.chats {
		first := true
		for _, it := range c.line {
			e := it.entry()
			if d.oldest == 0 || e.Times[0] < d.oldest {
				d.oldest = e.Times[0]
			}
			if !it.busy {
				d.add(l, it, e, first, now)
			}
			first = first && isLeft(e) // which is in nobody's way
		}
	}
	l.restart(d.stuck, now, &d.wake)
	l.lookUp(d.lookups, now, &d.wake)
	l.ask(first(d.asks), now, &d.wake)
	one, other := first(d.texts), first(d.files)
	if one == nil || other != nil && other.number < one.number {
		one, other = other, one
	}
	if !l.send(one, now, &d.wake) { // One at a time, so that the pace is kept.
		l.send(other, now, &d.wake)
	}
	for _, u := range l.turns.sends {
		d.hold = later(d.hold, holdFrom(u.began, now))
	}
	if l.settings.linked() == (rpc.Account{}) { // The link has ended, and with it what was on its way.
		d.hold = time.Time{}
	}
	l.hold.Store(millis(d.hold))
	l.oldest.Store(d.oldest)
	return d.wake.time
}

// due is what one look at all messages has found.
type due struct {
	wake                 wake
	lookups, asks, stuck []*item
	// texts and files are what may be sent now, without files and with them.
	texts, files []*item
	// hold is how long a restart waits for what may still be on its way, and oldest when the
	// first message was accepted, in milliseconds since 1970.
	hold   time.Time
	oldest int64
}

// add adds what is to be done with a message of a chat, whose entry is e.
func (d *due) add(l *loop, it *item, e entry, first bool, now time.Time) {
	seen := it.facts().sight
	s, at := next(e, seen, l.page, now)
	switch {
	case s == giveUp:
		l.change(it, func(e entry) entry { return e.expire(now) })
	case !first:
		d.wake.at(moment(e.Expires))
	case s == lookUp:
		d.lookups = append(d.lookups, it)
	case s == restart:
		d.stuck = append(d.stuck, it)
		d.wake.at(seen.at.Add(lookEvery))
	case s == send:
		d.addSend(l, it, e, now)
	default:
		d.wake.at(at)
	}
	d.hold = later(d.hold, holdFrom(seen.since, now))
}

// addSend adds a message that the page may be given, as far as the message is concerned.
func (d *due) addSend(l *loop, it *item, e entry, now time.Time) {
	switch retry := it.chat.retry; {
	case now.Before(retry):
		if it.facts().doubts >= maxDoubts {
			d.stuck = append(d.stuck, it)
		}
		d.wake.at(retry)
	case l.page.possible && l.gate.mustAsk(it, now):
		d.asks = append(d.asks, it)
		return
	case !l.maySend(it, now, &d.wake):
	case e.File > 0:
		d.files = append(d.files, it)
		return
	default:
		d.texts = append(d.texts, it)
		return
	}
	d.wake.at(moment(e.Expires))
}

// holdFrom returns how long a restart waits for what began then, by the clock as it is set now.
func holdFrom(began, now time.Time) time.Time {
	if began.IsZero() {
		return began
	}
	return now.Add(holdTime - now.Sub(began))
}

// wake is the earliest of several times.
type wake struct{ time time.Time }

func (w *wake) at(t time.Time) {
	if !t.IsZero() && (w.time.IsZero() || t.Before(w.time)) {
		w.time = t
	}
}

// first returns the item that was accepted first, or nil.
func first(items []*item) (f *item) {
	for _, it := range items {
		if f == nil || it.number < f.number {
			f = it
		}
	}
	return f
}

// maySend reports whether the account's restrictions and pacing allow for a message now. If
// it waits for long, the message explains why.
func (l *loop) maySend(it *item, now time.Time, w *wake) bool {
	e := it.entry()
	if account := l.settings.linked(); !account.Is(e.owner()) {
		if account != (rpc.Account{}) {
			claim(l, it, now)
		}
		return false
	}
	stranger := l.gate.maybeStranger(it, l.page.possible, now)
	if code, until := l.gate.restriction(l.page.newChats, now); stranger && code != "" {
		w.at(until)
		l.change(it, func(e entry) entry { return restricted(e, code, until, now) })
		return false
	}
	at := l.o.Pacing.earliest(l.settings.History, it.chat.address, stranger, l.o.LinkedAt(), now)
	if !at.After(now) {
		return true
	}
	w.at(at)
	if at.Sub(now) >= notableWait && e.Code != CodePaced {
		l.change(it, func(e entry) entry { return e.wait(CodePaced, at) })
	}
	return false
}

// ask finds out whether the recipient of a message has ever written to us.
func (l *loop) ask(it *item, now time.Time, w *wake) {
	if it == nil || l.turns.asking {
		return
	}
	if now.Before(l.turns.ask) {
		w.at(l.turns.ask)
		return
	}
	pause := askPause
	if code, _ := l.gate.restriction(l.page.newChats, now); code != "" || l.o.Pacing.earliest(l.settings.History, "", true, l.o.LinkedAt(), now).Sub(now) >= notableWait {
		pause = askPauseIdle
	}
	l.turns.asking, l.turns.ask, it.busy = true, now.Add(pause), true
	whom := rpc.Secret(strings.TrimSuffix(it.entry().To, rpc.ServerPhone))
	l.calls.begin(func(ctx context.Context) func(*loop) {
		found, err := l.o.Sender.Contact(ctx, whom)
		return func(l *loop) {
			now := time.Now()
			l.turns.asking, it.busy = false, false
			switch {
			case err != nil:
				l.failed(it, it.entry().Touched, err, now)
			case !found.OnWhatsApp:
				l.change(it, func(e entry) entry { return e.fail(Code(rpc.SendNotOnWhatsApp), time.Time{}, now) })
			default:
				to := it.entry().To
				l.queue.join(to, string(found.Phone), string(found.LID))
				l.gate.learn(l.queue.person(to), !found.KnownChat, now)
			}
		}
	})
}

// lookUp asks the page for messages, and, when that is due, for all that may still be
// delivered or read.
func (l *loop) lookUp(items []*item, now time.Time, w *wake) {
	if l.page.readySince.IsZero() || l.turns.looking {
		return
	}
	round := !now.Before(l.turns.round)
	if len(items) == 0 && !round {
		w.at(l.turns.round)
		return
	}
	if now.Before(l.turns.look) {
		w.at(l.turns.look)
		return
	}
	l.turns.looking = true
	if len(items) == 0 {
		after := l.turns.looked
		l.calls.begin(func(ctx context.Context) func(*loop) {
			last, err := l.lookAtSent(ctx, after, now)
			return func(l *loop) {
				l.turns.looks(err)
				if l.turns.looked = last; last == 0 {
					l.turns.roundEnded(l.page, time.Now())
				}
			}
		})
		return
	}
	if items = items[:min(len(items), rpc.MaxLookup)]; l.turns.alone {
		items = items[:1] // any: their order is random
	}
	refs := make([]rpc.MessageRef, len(items))
	for i, it := range items {
		refs[i], it.busy = it.entry().ref(), true
	}
	l.calls.begin(func(ctx context.Context) func(*loop) {
		states, err := l.o.Sender.Lookup(ctx, refs)
		return func(l *loop) {
			for i, it := range items {
				if it.busy = false; err == nil && i < len(states) {
					l.saw(it, states[i], time.Now())
				}
			}
			l.turns.looks(err)
		}
	})
}

// roundEnded notes that all were looked up that may still be delivered or read.
func (t *turns) roundEnded(p page, now time.Time) {
	t.round = now.Add(roundPause)
	if now.Sub(p.readySince) < settling {
		t.round = now.Add(settling)
	}
}

// looks notes that the page was asked for messages.
func (t *turns) looks(err error) {
	t.looking, t.alone = false, err != nil
	if err != nil {
		t.look = time.Now().Add(lookPause)
	}
}

// saw takes over what the page holds of a message.
func (l *loop) saw(it *item, state rpc.MessageState, now time.Time) {
	if !isNamed(it.entry(), state.ID) {
		return
	}
	it.see(it.facts().sight.look(state, now))
	l.change(it, func(e entry) entry { return e.acked(state, now) })
}

// lookAtSent looks up the next of the messages that may still be delivered or read, and
// returns the position of the last one, 0 if there are no more.
func (o *Outbox) lookAtSent(ctx context.Context, after int64, now time.Time) (last int64, err error) {
	var found []entry
	err = o.store.ask(ctx, job{read: func(db messages) (err error) {
		found, last, err = db.sent(after, now.Add(-recoverable), rpc.MaxLookup)
		return err
	}})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	if found = slices.DeleteFunc(found, func(e entry) bool { return e.Act != "" || e.To == "" }); len(found) == 0 {
		return last, nil
	}
	refs := make([]rpc.MessageRef, len(found))
	for i, e := range found {
		refs[i] = e.ref()
	}
	states, err := o.o.Sender.Lookup(ctx, refs)
	for i, state := range states[:min(len(states), len(found))] {
		if e := found[i]; err == nil && e.acked(state, now) != e {
			o.store.do(job{write: updater(e.ID, func(e entry) entry { return e.acked(state, now) })})
		}
	}
	return last, err
}

// room reports whether another send, with a file or not, may begin next to those under way and
// wanted, which is when a restart last asked to begin.
func (t *turns) room(file bool, wanted, now time.Time, w *wake) bool {
	if free := wanted.Add(restartRoom); now.Before(free) && free.Sub(now) <= restartRoom { // else the clock was set back
		w.at(free)
		return false
	}
	alike := 0
	for _, u := range t.sends {
		if u.file != file {
			continue
		}
		alike++
		if free := u.began.Add(slowSend); !file && now.Before(free) {
			w.at(free)
			return false
		}
	}
	if file {
		return alike < maxFiles
	}
	return alike < maxSends
}

// send has the page send a message, once it is on disk that this is tried, and reports
// whether there is room for that.
func (l *loop) send(it *item, now time.Time, w *wake) bool {
	if it == nil || !l.turns.room(it.entry().File > 0, moment(l.wanted.Load()), now, w) {
		return false
	}
	e := it.entry()
	wasTouched, again, stranger := e.Touched, it.facts().sight.ack < 0, l.gate.maybeStranger(it, l.page.possible, now)
	typed := l.o.Typing && canType(e) && (!l.page.possible || e.Code == Code(rpc.SendPagePathGone))
	l.turns.sends[it.ID] = underWay{now, e.File > 0}
	it.busy = true
	l.settings.History = l.o.Pacing.sent(l.settings.History, it.chat.address, stranger, now, l.o.Random())
	kept := l.settings
	l.store.do(job{keep: true, write: func(t *transaction) error {
		err := updater(it.ID, func(e entry) entry { return e.tried(now, again, typed) })(t)
		if err == nil && stranger {
			err = t.save(kept, now)
		}
		return err
	}, done: func(err error) {
		l.post(func(l *loop) {
			if err != nil || l.queue.items[it.ID] != it {
				delete(l.turns.sends, it.ID)
				it.busy = false
				return
			}
			l.call(it, wasTouched, time.Now())
		})
	}})
	return true
}

// tried is the entry once the page is about to be called: again after a refusal, or to
// type it.
func (e entry) tried(now time.Time, again, typed bool) entry {
	e = e.attempt(now)
	e.Retried = e.Retried || again
	if typed && e.Typed == 0 {
		e.Typed = millis(now)
	}
	return e
}

// call has the page send a message whose attempt is on disk, if that is still right.
func (l *loop) call(it *item, wasTouched bool, now time.Time) {
	e := it.entry()
	if !stillRight(e, wasTouched, l.page, l.settings.linked(), now) {
		l.sent(it, wasTouched, rpc.MessageState{}, &rpc.SendError{Code: rpc.SendNotReady}, now)
		return
	}
	l.calls.beginLong(e.uploadTime(), func(ctx context.Context) func(*loop) {
		state, err := l.transmit(ctx, e, wasTouched)
		return func(l *loop) { l.sent(it, wasTouched, state, err, time.Now()) }
	})
}

// mediaFile returns the path of a message's file, or errLost.
func (o *Outbox) mediaFile(e entry) (string, error) {
	if o.o.Media == nil {
		return "", errLost
	}
	path := o.o.Media.Path(string(e.ID))
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist), err == nil && (!info.Mode().IsRegular() || info.Size() != e.File):
		return "", errLost
	case err != nil:
		return "", fileError(err)
	}
	return path, nil
}

// transmit reads a message and has the page send it.
func (o *Outbox) transmit(ctx context.Context, e entry, again bool) (rpc.MessageState, error) {
	var m rpc.Message
	err := o.store.ask(ctx, job{read: func(db messages) (err error) {
		m, err = db.message(e)
		if m.Again, m.Typed = again, moment(e.Typed); e.Row != "" {
			m.ID, m.Typed = e.Row, time.Time{} // the page has given it an id, by which it can be sent again
		}
		return err
	}})
	if err == nil && e.File > 0 {
		m.Media.Path, err = o.mediaFile(e)
	}
	if _, never := errors.AsType[*rpc.SendError](err); never {
		return rpc.MessageState{}, err
	}
	if err != nil {
		return rpc.MessageState{}, errors.Join(worker.ErrNoWorker, err)
	}
	state, err := o.o.Sender.Send(ctx, m)
	if err == nil && state.Row != "" {
		err = o.store.ask(ctx, job{read: func(db messages) error { return db.unclaimed(state.Row, e.ID) }})
	}
	return state, err
}

// sent takes over what Send has returned.
func (l *loop) sent(it *item, wasTouched bool, state rpc.MessageState, err error, now time.Time) {
	delete(l.turns.sends, it.ID)
	it.busy = false
	if err != nil {
		l.failed(it, wasTouched, err, now)
		return
	}
	l.o.Count("stored")
	l.page.suspect = ""
	it.learn(func(k *known) { k.doubts = 0 })
	c := it.chat
	if l.queue.items[it.ID] != it {
		return
	}
	l.saw(it, state, now)
	if soon := now.Add(settling); state.Row != "" && l.turns.round.After(soon) {
		l.turns.round = soon // what was reported of the row before it was known to be ours
	}
	c.failures++
	c.retry = now.Add(pause(c.failures - 1)) // for when the page does not get it sent
	if state.Ack > 0 {
		c.failures, c.retry = 0, time.Time{}
	}
}

// failed takes over an error of Send or Contact.
func (l *loop) failed(it *item, wasTouched bool, err error, now time.Time) {
	c := it.chat
	if l.queue.items[it.ID] != it {
		return
	}
	failures := c.failures
	e := it.entry()
	v := outcome(e, wasTouched, err, failures, now)
	result := v.result()
	l.o.Count(result)
	l.o.Logger.Warn(logid.MessageSendFailed, "id", string(it.ID), "result", result, logging.KeyError, err)
	if v.impossible && l.o.Typing && e.Typed == 0 && canType(v.entry) {
		v.retry = firstPause // then it is typed
	}
	c.failures, c.retry = failures+1, now.Add(v.retry)
	if v.impossible {
		// One message may be what the page can't send; two chats are the page.
		l.page.possible = l.page.possible && (l.page.suspect == "" || l.page.suspect == c.address)
		l.page.suspect = c.address
	}
	if v.noStrangers.After(now) {
		l.gate.refused, l.gate.refusedUntil = v.entry.Code, v.noStrangers
		l.gate.learn(c.address, true, now)
	}
	it.learn(func(k *known) {
		if k.sight = (sight{}); isLeft(v.entry) {
			k.sight.at = now
		}
		if v.doubt {
			k.doubts++
		}
	})
	l.change(it, func(e entry) entry { return outcome(e, wasTouched, err, failures, now).entry })
}

// restart asks for another life of the page because of messages that this one does not get
// rid of. The pause until a message does that again doubles each time.
func (l *loop) restart(stuck []*item, now time.Time, w *wake) {
	due := false
	for _, it := range stuck {
		may := it.facts().restart
		due = due || !now.Before(may)
		w.at(later(may, l.turns.restart))
	}
	if !due || now.Before(l.turns.restart) {
		return
	}
	for _, it := range stuck {
		it.learn(func(k *known) {
			k.restarts++
			k.restart = now.Add(restartPause << min(k.restarts, 8))
		})
	}
	l.turns.restart = now.Add(restartPause)
	w.at(l.turns.restart)
	l.o.Logger.Warn(logid.MessagesStalled)
	_, err := l.o.Sender.RequestRestart(context.Background(), worker.RestartRequest{
		Reason: reason.SendsStuck, Detail: "a message that the page has sent was not acknowledged",
	})
	if err != nil {
		l.o.Logger.Warn(logid.WorkerRestartFailed, logging.KeyError, err)
	}
}
