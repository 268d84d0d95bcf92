package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/worker"
)

// table is a page's table of messages.
type table struct {
	mu      sync.Mutex
	account rpc.Secret // its names
	name    string     // of the table, a part of all marks
	rows    []rpc.Received
	again   map[rpc.Secret]rpc.Received // what has become of messages
	reread  []rpc.Secret                // those that were read again
	broken  bool                        // none can be read again
	lost    bool                        // the next read ends with changes that are lost
	err     error
	calls   int
	errands []string
	// reactions are what the page has, of which it has noted some.
	reactions []rpc.Reaction
	noted     []rpc.Secret
	felt      int
	// unreadable: reactions can't be read. bad is a message to which a reaction alone can't.
	unreadable bool
	bad        rpc.Secret
	// flood is how often the page notes reactions to other messages.
	flood int
	// fetch answers for files.
	fetch func(n int, q rpc.ReceiveQuery) (rpc.Reception, error)
	parts int // how often it was asked
}

func (p *table) write(texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range texts {
		p.writeLocked(text, rpc.ReceivedMedia{})
	}
}

func (p *table) writeLocked(text string, file rpc.ReceivedMedia) {
	n := len(p.rows)
	p.rows = append(p.rows, textMessage(func(m *rpc.Received) {
		m.ID = fmt.Sprintf("3A%d", n)
		m.Key, m.Text, m.At, m.Media = rpc.Secret(p.name+"_"+m.ID), rpc.Secret(text), time.Now(), file
	}))
}

// Receive implements Reader.
func (p *table) Receive(_ context.Context, q rpc.ReceiveQuery) (got rpc.Reception, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.err != nil {
		return got, p.err
	}
	got.Account = rpc.AccountNamed(string(p.account))
	if q.Errand == rpc.ReadReactions {
		return p.react(q)
	}
	if len(q.Keys) > 0 {
		return p.readAgain(q)
	}
	got.Reacted, p.noted = p.noted, nil
	if p.flood > 0 {
		p.flood--
		for n := range rpc.MaxReread {
			got.Reacted = append(got.Reacted, rpc.Secret(fmt.Sprintf("%s_%d_%d", p.name, p.flood, n)))
		}
		got.More = true
	}
	start := 0
	for _, m := range q.After {
		if m.Sum == p.name && m.Row <= int64(len(p.rows)) {
			start, got.Known = int(m.Row), true
			break
		}
	}
	for _, m := range p.rows[start:] {
		if len(got.Messages) == 3 { // fewer than are asked for
			got.More = true
			break
		}
		start++
		if !m.At.Before(q.Since) {
			got.Messages = append(got.Messages, m)
		}
		got.Marks = append([]rpc.Mark{{Row: int64(start), Sum: p.name}}, got.Marks...)
	}
	if !got.More {
		got.Lost, p.lost = p.lost, false
	}
	return got, nil
}

// readAgain returns what has become of messages.
func (p *table) readAgain(q rpc.ReceiveQuery) (got rpc.Reception, _ error) {
	if q.Errand != "" {
		p.errands = append(p.errands, string(q.Errand)+" "+string(q.Keys[0]))
	} else if p.broken {
		return got, &rpc.SendError{Code: rpc.SendPagePathGone}
	} else {
		p.reread = append(p.reread, q.Keys...)
	}
	for _, key := range q.Keys {
		if m, ok := p.again[key]; ok {
			got.Messages = append(got.Messages, m)
		}
	}
	return got, nil
}

// react returns the reactions to the messages with some keys, two at a time.
func (p *table) react(q rpc.ReceiveQuery) (got rpc.Reception, _ error) {
	if p.unreadable {
		return got, &rpc.SendError{Code: rpc.SendPagePathGone}
	}
	for _, key := range q.Keys {
		var some []rpc.Reaction
		for _, r := range p.reactions {
			if r.Message == key && !r.At.Before(q.Since) {
				some = append(some, r)
			}
		}
		if n := len(got.Reactions); n > 0 && n+len(some) > 2 {
			got.More = true
			break
		}
		got.Reactions = append(got.Reactions, some...)
	}
	if len(got.Reactions) == 0 && slices.Contains(q.Keys, p.bad) {
		return got, &rpc.SendError{Code: rpc.SendPagePathGone}
	}
	return got, nil
}

// feel has somebody react to the n-th message, in place of how they have before.
func (p *table) feel(n int, who, emoji string, noted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := rpc.Secret(fmt.Sprintf("%s_3A%d", p.name, n))
	p.reactions = slices.DeleteFunc(p.reactions, func(r rpc.Reaction) bool { return r.Message == key && r.From.Phone == rpc.Secret(who) })
	p.felt++
	p.reactions = append(p.reactions, rpc.Reaction{
		Message: key, Reaction: fmt.Sprint("r", p.felt), ID: fmt.Sprintf("3A%d", n), Chat: rpc.Chat{Phone: "4915112345678@c.us"}, From: rpc.Chat{Phone: rpc.Secret(who)},
		FromMe: who == "", Emoji: rpc.Secret(emoji), At: time.Now(),
	})
	if noted {
		p.noted = append(p.noted, key)
	}
}

// rig is an inbox that runs on a table.
type rig struct {
	*Inbox
	t    *testing.T
	page *table
	o    Options
	stop func()
}

func newRig(t *testing.T, path string) *rig {
	r := &rig{t: t, page: &table{account: "1@c.us", name: "one"}}
	r.o = Options{Path: path, Files: media.New(path+".files", media.Limits{File: mostFile, Bytes: 3 * mostFile, Files: 2, Replace: true}), Worker: withFiles{r.page}, Logger: slog.New(slog.DiscardHandler), Limits: DefaultLimits()}
	return r
}

// inBubble runs a test on a rig with a clock of its own, and stops what it has started.
func inBubble(t *testing.T, test func(*testing.T, *rig)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		test(t, r)
		r.stop()
	})
}

// start runs the inbox, whose page is ready.
func (r *rig) start() {
	r.Inbox = New(r.o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.pageIsReady()
}

func (r *rig) pageIsReady() {
	r.Notice(worker.FromWorker{Event: rpc.Event{Body: rpc.PageObserved{Condition: rpc.PageReady}}})
}

// breakRereads has the page fail to read messages again, or no longer.
func (p *table) breakRereads(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

func (r *rig) hint() { r.Notice(worker.FromWorker{Event: rpc.Event{Body: rpc.MessagesArrived{}}}) }

// await lists everything after a cursor once there are n events.
func (r *rig) await(cursor string, n int) (list []Event, next string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for {
		list, next, _, changed, err := r.List(r.t.Context(), cursor, MaxList)
		if err != nil || len(list) > n {
			r.t.Fatalf("%d events, %v: %s", len(list), err, encode(list))
		}
		if len(list) == n {
			return list, next
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("%d events, not %d: %s", len(list), n, encode(list))
		}
	}
}

func words(list []Event) string {
	var all []string
	for _, e := range list {
		switch {
		case e.Message == nil:
			all = append(all, string(e.Kind)+" "+e.Reason)
		case e.Kind == Arrived:
			all = append(all, e.Text)
		case e.Kind == Reacted && e.Emoji != nil:
			all = append(all, e.Message.ID+*e.Emoji)
		default:
			all = append(all, string(e.Kind))
		}
	}
	return strings.Join(all, ", ")
}

func (r *rig) expect(list []Event, want string) {
	r.t.Helper()
	if got := words(list); got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
}

func TestMessagesAreKeptOnceInOrder(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.page.write("before the inbox was switched on")
	r.page.rows[0].At = time.Now().Add(-time.Hour)
	r.page.write("1", "2", "3", "4", "5")
	r.start()
	list, cursor := r.await("", 5)
	r.expect(list, "1, 2, 3, 4, 5")
	if again, _, _, _, err := r.List(t.Context(), list[1].Cursor, 2); err != nil || words(again) != "3, 4" || again[0].ID != list[2].ID {
		t.Errorf("after a cursor: %s, %v", words(again), err)
	}
	r.stop()
	r.page.write("6", "7")
	r.start()
	more, next := r.await(cursor, 2)
	r.expect(more, "6, 7")
	r.page.mu.Lock()
	r.page.rows[1].Text, r.page.rows[1].Edit = "another", "e"
	r.page.again = map[rpc.Secret]rpc.Received{r.page.rows[1].Key: r.page.rows[1]}
	r.page.mu.Unlock()
	r.stop()
	r.start()
	edited, _ := r.await(next, 1)
	if e := edited[0]; e.Kind != Edited || e.Message.ID != "3A1" || e.Text != "another" {
		t.Errorf("edited while nobody looked: %s", encode(e))
	}
	r.stop()
}

func TestLostCursorsAreReported(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	become := func(table string, account rpc.Secret, text string) {
		r.page.mu.Lock()
		r.page.name, r.page.rows, r.page.account = table, nil, account
		r.page.mu.Unlock()
		r.page.write(text)
		r.hint()
	}
	r.start()
	r.page.write("1")
	r.hint()
	_, cursor := r.await("", 1)
	become("two", r.page.account, "in another table")
	list, cursor := r.await(cursor, 2)
	r.expect(list, "messages.gap cursor_lost, in another table")
	become("three", "2@c.us", "of another account")
	list, cursor = r.await(cursor, 2)
	r.expect(list, "messages.gap account_changed, of another account")
	for _, same := range []rpc.Secret{"2@c.us 9@lid", "9@lid"} {
		r.page.mu.Lock()
		r.page.account = same
		r.page.mu.Unlock()
		r.page.write("of the same")
		r.hint()
		list, cursor = r.await(cursor, 1)
		r.expect(list, "of the same")
	}
	become("four", "8@lid", "of a third")
	list, cursor = r.await(cursor, 2)
	r.expect(list, "messages.gap account_changed, of a third")
	boot, _, _ := strings.Cut(cursor, "-") // the file may be replaced by an older one
	for _, bad := range []string{"x", "1-2-3", "-", "a-b", boot + "-1000", boot + "--1"} {
		if _, _, _, _, err := r.List(t.Context(), bad, 1); !errors.Is(err, ErrCursor) && !errors.Is(err, ErrLost) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	r.stop()
	if err := os.WriteFile(r.o.Path, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	list, _ = r.await("", 2)
	r.expect(list, "messages.gap damaged, of a third")
	if _, _, _, _, err := r.List(t.Context(), cursor, 1); !errors.Is(err, ErrLost) {
		t.Errorf("a cursor of the damaged file: %v", err)
	}
	r.stop()
}

// changeFile runs statements in a file that nothing uses.
func changeFile(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := database.Open(path, format)
	for _, statement := range statements {
		if err == nil {
			err = db.Exec(statement)
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// What can't be read of the file costs no other event anything, and is reported as a gap.
func TestDamagedEventsAreSetAsideAlone(t *testing.T) {
	var log bytes.Buffer
	var handed []string
	news := make(chan struct{}, 1)
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	r.page.write("1", "2", "3", "4", "5")
	r.start()
	_, cursor := r.await("", 5)
	r.stop()
	set := func(statements ...string) { changeFile(t, r.o.Path, statements...) }
	set("UPDATE event SET body = 'x' WHERE seq = 2", "UPDATE content SET body = 'x' WHERE seq = 3", "UPDATE message SET state = 'x'")
	r.page.again = map[rpc.Secret]rpc.Received{r.page.rows[0].Key: r.page.rows[0]}
	r.start()
	list, _ := r.await("", 4)
	r.expect(list, "1, 4, 5, messages.gap damaged")
	r.page.write("6")
	r.hint()
	list, _ = r.await(cursor, 2)
	r.expect(list, "messages.gap damaged, 6")
	r.stop()
	set("UPDATE setting SET value = '[]'", "UPDATE event SET body = 'x' WHERE seq = 4")
	r.o.Report = func(_ context.Context, _ string, all []Event) error {
		handed = append(handed, words(all))
		signal(news)
		return nil
	}
	r.start()
	list, _ = r.await("", 6)
	r.expect(list, "1, 5, messages.gap damaged, 6, messages.gap damaged, messages.gap damaged")
	<-news
	r.stop()
	if len(handed) == 0 || !strings.HasPrefix(handed[0], "1, 5, ") {
		t.Errorf("handed on: %q", handed)
	}
	if text := log.String(); strings.Count(text, "rows_damaged") < 2 || strings.Contains(text, "inbox_damaged") {
		t.Errorf("logged: %s", text)
	}
}

func TestDamagedEventIsKeptUntilItsGapIs(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.page.write("1", "2")
	r.start()
	defer func() { r.stop() }()
	r.await("", 2)
	exec := func(statement string) {
		if _, err := use(t.Context(), r.store, func(db *database.DB) (nothing, error) { return nothing{}, db.Exec(statement) }); err != nil {
			t.Fatal(err)
		}
	}
	exec("UPDATE event SET body = 'x' WHERE seq = 1")
	exec("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END")
	if _, _, _, _, err := r.List(t.Context(), "", MaxList); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	exec("DROP TRIGGER full")
	list, _ := r.await("", 2)
	r.expect(list, "2, messages.gap damaged")
}

func TestUnannouncedMessagesAreFoundWithinAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var unannounced atomic.Int32
		r.o.Unannounced = func() { unannounced.Add(1) }
		r.start()
		time.Sleep(time.Second)
		r.page.write("1")
		time.Sleep(compare + time.Second)
		if list, _ := r.await("", 1); words(list) != "1" || unannounced.Load() != 0 {
			t.Errorf("%s, %d", words(list), unannounced.Load())
		}
		time.Sleep(compare)
		if unannounced.Load() != 1 {
			t.Errorf("counted %d times", unannounced.Load())
		}
		r.page.write("2")
		r.hint()
		r.await("", 2)
		time.Sleep(5 * compare)
		if unannounced.Load() != 1 {
			t.Errorf("counted %d times though they were announced", unannounced.Load())
		}
	})
}

func TestReactionsAreReportedOnceEach(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.o.Sent = func(rpc.MessageID) (bool, error) { return true, nil }
		r.page.feel(0, "1@c.us", "of before", false)
		r.page.reactions[0].At = time.Now().Add(-time.Hour)
		r.page.write("0", "1", "by the service")
		r.page.rows[2].FromMe, r.page.rows[2].ID = true, "3EB0000000000000000001"
		r.start()
		_, cursor := r.await("", 2)
		synctest.Wait()
		r.page.feel(1, "1@c.us", "a", true)
		r.hint()
		list, cursor := r.await(cursor, 1)
		r.expect(list, "3A1a")
		if e := list[0]; e.From.Phone != "+1" || e.FromMe || e.Chat.Phone == "" || e.Type != "" || !e.T.Equal(time.Now().UTC()) {
			t.Errorf("got %s", encode(e))
		}
		first := list[0].ID
		synctest.Wait()
		r.page.feel(1, "1@c.us", "b", false) // the page notes only some
		r.page.feel(1, "", "c", false)
		r.page.feel(2, "2@c.us", "d", false)
		time.Sleep(compare + time.Second)
		list, cursor = r.await(cursor, 3)
		r.expect(list, "3A2d, 3A1b, 3A1c")
		if list[1].ID == first || list[1].ID == list[2].ID || !list[2].FromMe || list[2].From != nil {
			t.Errorf("got %s", encode(list))
		}
		r.page.feel(1, "1@c.us", "", true)
		r.page.feel(99, "1@c.us", "to one that nobody has reported", true)
		r.hint()
		list, cursor = r.await(cursor, 2)
		r.expect(list, "3A1, 3A99to one that nobody has reported")
		r.stop()
		r.page.feel(2, "2@c.us", "while nobody listened", false)
		r.start()
		list, cursor = r.await(cursor, 1)
		r.expect(list, "3A2while nobody listened")
		time.Sleep(3 * compare)
		r.await(cursor, 0)
		if _, err := r.store.key(t.Context(), "3EB0000000000000000001"); !errors.Is(err, ErrUnknownMessage) {
			t.Errorf("one of the service's own was received: %v", err)
		}
	})
}

// Every minute the page is asked about some messages, and about many from time to time.
func TestReactionsToOlderMessagesAreFoundLater(t *testing.T) {
	inBubble(t, func(_ *testing.T, r *rig) {
		r.page.write(make([]string, latestMessages+50)...)
		r.start()
		_, cursor := r.await("", latestMessages+50)
		time.Sleep(2 * compare)
		r.page.feel(49, "1@c.us", "old", false)
		r.page.feel(50, "1@c.us", "new", false)
		time.Sleep(compare + time.Second)
		list, cursor := r.await(cursor, 1)
		r.expect(list, "3A50new")
		time.Sleep(recentEvery * compare)
		list, _ = r.await(cursor, 1)
		r.expect(list, "3A49old")
	})
}

// edit changes the text of the n-th message, which the page does not announce.
func (p *table) edit(n int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rows[n]
	m.Text, m.Edit = rpc.Secret(text), "edit of "+text
	p.again = map[rpc.Secret]rpc.Received{m.Key: m}
}

// The page announces nothing of what becomes of a message that is not in its memory.
func TestUnannouncedEditIsFoundLater(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.page.write("1", "2")
		r.start()
		_, cursor := r.await("", 2)
		time.Sleep(2 * compare)
		if len(r.page.reread) > 0 {
			t.Errorf("read twice at the start: %q", r.page.reread)
		}
		r.page.edit(0, "another")
		time.Sleep(recentEvery * compare)
		list, _ := r.await(cursor, 1)
		if r.expect(list, string(Edited)); list[0].Text != "another" {
			t.Errorf("got %s", encode(list))
		}
	})
}

// Of the messages that one read has brought, too, the page may have lost what has changed.
func TestLostChangesOfNewMessagesAreFound(t *testing.T) {
	inBubble(t, func(_ *testing.T, r *rig) {
		r.page.write("1", "2", "3", "4")
		r.page.edit(0, "another")
		r.page.lost = true
		r.start()
		list, _ := r.await("", 5)
		r.expect(list, "1, 2, 3, 4, message.edited")
	})
}

// Reactions don't wait for messages that can't be read again.
func TestFailingRereadHoldsUpNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.page.write("1")
		r.start()
		_, cursor := r.await("", 1)
		r.page.breakRereads(true)
		time.Sleep((recentEvery + 1) * compare)
		r.page.feel(0, "1@c.us", "a", false)
		r.page.edit(0, "another")
		time.Sleep(compare + time.Second)
		list, cursor := r.await(cursor, 1)
		r.expect(list, "3A0a")
		r.page.breakRereads(false)
		time.Sleep(compare)
		list, cursor = r.await(cursor, 1)
		r.expect(list, string(Edited))

		r.page.breakRereads(true)
		time.Sleep(recentEvery * compare)
		r.page.edit(0, "a third")
		r.page.breakRereads(false)
		r.Notice(worker.Exiting{}) // a page that has started is read at once
		r.pageIsReady()
		synctest.Wait()
		if list, _, _, _, err := r.List(t.Context(), cursor, MaxList); err != nil || words(list) != string(Edited) {
			t.Errorf("after a restart: %s, %v", words(list), err)
		}
	})
}

// Announcements don't put off what only a comparison finds.
func TestBusyAccountIsComparedEveryMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.page.write("1")
		r.start()
		_, cursor := r.await("", 1)
		synctest.Wait()
		r.page.feel(0, "1@c.us", "a", false)
		for range 4 {
			time.Sleep(compare / 3)
			r.hint()
			synctest.Wait()
		}
		list, _, _, _, err := r.List(t.Context(), cursor, MaxList)
		if r.expect(list, "3A0a"); err != nil {
			t.Error(err)
		}
	})
}

func TestUnreadableReactionsStopNothingElse(t *testing.T) {
	inBubble(t, func(_ *testing.T, r *rig) {
		r.page.unreadable = true
		r.start()
		r.page.write("1")
		r.page.feel(0, "1@c.us", "a", true)
		r.hint()
		_, cursor := r.await("", 1)
		r.page.write("2")
		r.hint()
		list, cursor := r.await(cursor, 1)
		r.expect(list, "2")
		r.page.mu.Lock()
		r.page.unreadable = false
		r.page.mu.Unlock()
		time.Sleep(compare + time.Second)
		list, _ = r.await(cursor, 1)
		r.expect(list, "3A0a")
	})
}

func TestOneUnreadableReactionHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for n := range rpc.MaxReread + 2 {
			r.page.write(fmt.Sprint(n))
		}
		r.page.bad = r.page.rows[len(r.page.rows)-1].Key // the first that is compared
		r.start()
		time.Sleep(time.Second)
		synctest.Wait()
		r.page.feel(0, "1@c.us", "a", false)
		time.Sleep(2*compare + time.Second)
		synctest.Wait()
		list, err := r.store.list(t.Context(), "", 1000)
		if err != nil || !strings.HasSuffix(words(list.events), "3A0a") {
			t.Errorf("got %d events, %v", len(list.events), err)
		}
	})
}

// The page always has more, which must not keep what is too old from being erased.
func TestEndlessPageIsLeftAfterSomeReads(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.page.flood = 1 << 30
	r.Inbox = New(r.o)
	if _, err := r.pull(t.Context()); err != nil || len(r.noted) > allMessages || !r.reactAll {
		t.Errorf("%d messages are noted, all are to be read: %t, %v", len(r.noted), r.reactAll, err)
	}
	if r.page.calls != mostReads || len(r.wake) == 0 {
		t.Errorf("it was read %d times, and will be again: %t", r.page.calls, len(r.wake) > 0)
	}
	if err := r.store.close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReactionsPushOutNoMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.o.Limits.Events, r.o.Limits.Minor = 10, 5
		r.start()
		r.page.write("0", "1")
		r.hint()
		list, _ := r.await("", 2)
		react := func(n int) {
			t.Helper()
			for range n {
				time.Sleep(time.Second)
				r.page.feel(0, fmt.Sprint(r.page.felt, "@c.us"), "a", true)
				r.hint()
				synctest.Wait()
			}
			time.Sleep(3 * compare) // what was dropped does not come back
		}
		react(20)
		r.page.write("2")
		r.hint()
		synctest.Wait()
		want := "1, 3A0a, 3A0a, 3A0a, 3A0a, 3A0a, 2"
		after, next, _, _, err := r.List(t.Context(), list[0].Cursor, MaxList)
		if r.expect(after, want); err != nil {
			t.Fatal(err)
		}
		for n, e := range after {
			if e.Thinned != (n == 1) {
				t.Errorf("event %d: %s", n, encode(e))
			}
		}
		r.stop()
		r.start()
		react(2)
		after, _, _, _, err = r.List(t.Context(), list[0].Cursor, MaxList)
		if r.expect(after, "1, 3A0a, 3A0a, 3A0a, 2, 3A0a, 3A0a"); err != nil {
			t.Error(err)
		}
		if after, _ = r.await(next, 2); after[0].Thinned {
			t.Errorf("nothing was dropped before %s", encode(after[0]))
		}
	})
}

func TestDroppedReactionsStayDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.o.Limits.Events = 10
		r.start()
		r.page.write("1")
		r.page.feel(0, "1@c.us", "a", true)
		r.hint()
		_, cursor := r.await("", 2)
		time.Sleep(2 * time.Second)
		for range 4 {
			r.page.write("2", "3", "4")
			r.hint()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if _, _, _, _, err := r.List(t.Context(), Before(Before(cursor)), 1); !errors.Is(err, ErrLost) {
			t.Fatalf("nothing was dropped: %v", err)
		}
		time.Sleep(3 * compare)
		list, _, _, _, err := r.List(t.Context(), "", MaxList)
		if err != nil || strings.Contains(words(list), "3A0a") {
			t.Errorf("after a comparison: %s, %v", words(list), err)
		}
	})
}

func TestPhoneIsAskedOnceForUndecryptedMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.page.write("1", "2")
		r.page.rows[1].Type, r.page.rows[1].Text = rpc.TypeUndecrypted, ""
		r.start()
		list, _ := r.await("", 2)
		if err := r.MarkRead(t.Context(), list[0].Message.ID); err != nil {
			t.Error(err)
		}
		if err := r.MarkRead(t.Context(), "3AFF"); !errors.Is(err, ErrUnknownMessage) {
			t.Errorf("no message: %v", err)
		}
		time.Sleep(5 * compare)
		r.stop()
		r.start()
		time.Sleep(5 * compare)
		r.page.mu.Lock()
		if got := strings.Join(r.page.errands, ", "); got != "mark_read one_3A0, ask_phone one_3A1" {
			t.Errorf("the page was asked: %s", got)
		}
		r.page.mu.Unlock()
	})
}

func TestEventsAreReportedUntilTaken(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	var mu sync.Mutex
	var got []Event
	refuse := true
	r.o.Report = func(_ context.Context, account string, all []Event) error {
		mu.Lock()
		defer mu.Unlock()
		if refuse {
			refuse = false
			return errors.New("not yet")
		}
		if account != "1@c.us" {
			t.Errorf("of %q", account)
		}
		got = append(got, all...)
		return nil
	}
	r.page.write("1", "2")
	r.start()
	reported := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			mu.Lock()
			done := len(got) >= n
			mu.Unlock()
			if done || time.Now().After(deadline) {
				break
			}
		}
	}
	reported(2)
	r.stop()
	r.page.write("3")
	r.start()
	reported(3)
	r.stop()
	r.expect(got, "1, 2, 3")
}

// What the inbox has dropped before it was handed on is reported.
func TestReportOfDroppedEventsBeginsWithAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, path)
		r.o.Limits.Events = 5
		var ready atomic.Bool
		var got []Event
		r.o.Report = func(_ context.Context, _ string, all []Event) error {
			if !ready.Load() {
				return errors.New("not yet")
			}
			got = append(got, all...)
			return nil
		}
		r.start()
		for range 5 {
			r.page.write("1", "2")
			r.hint()
			synctest.Wait()
		}
		ready.Store(true)
		time.Sleep(2 * retry)
		r.stop()
		r.expect(got, "messages.gap dropped, 2, 1, 2, 1, 2")
	})
}

// The clock was ahead when receiving began, and the page has a message of next year.
func TestTimesThatAreWrongHideNoMessage(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.Inbox = New(r.o)
	if _, err := change(t.Context(), r.store, func(_ *database.DB, next *settings) (nothing, error) {
		next.Since, next.ThinnedAt = time.Now().Add(time.Hour), time.Now().Add(time.Hour)
		return nothing{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.store.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.start()
	defer func() { r.stop() }()
	r.page.write("1", "of next year")
	r.page.feel(0, "1@c.us", "a", true)
	r.hint()
	list, cursor := r.await("", 3)
	r.expect(list, "1, of next year, 3A0a")
	r.page.mu.Lock()
	r.page.rows[1].At = time.Now().AddDate(1, 0, 0)
	r.page.name = "two"
	for n := range r.page.rows {
		r.page.rows[n].Key += "x"
	}
	r.page.mu.Unlock()
	r.hint()
	_, cursor = r.await(cursor, 3)
	r.page.mu.Lock()
	r.page.name, r.page.rows = "three", nil
	r.page.mu.Unlock()
	r.page.write("2")
	r.hint()
	list, _ = r.await(cursor, 2)
	if r.expect(list, "messages.gap cursor_lost, 2"); list[0].Since.After(time.Now()) {
		t.Errorf("missing since %s", list[0].Since)
	}
}

func TestLargeTextsAreListedInParts(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	const texts = 30
	for range texts {
		r.page.write(strings.Repeat("x", mostText/20))
	}
	r.Inbox = New(r.o)
	if _, err := r.pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, next, more, _, err := r.List(t.Context(), "", MaxList)
	if err != nil || !more || len(first) >= texts {
		t.Errorf("%d events, more: %t, %v", len(first), more, err)
	}
	second, _, more, _, err := r.List(t.Context(), next, MaxList)
	if err != nil || more || len(first)+len(second) != texts {
		t.Errorf("%d and %d events, more: %t, %v", len(first), len(second), more, err)
	}
	if err := r.store.close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOldContentIsErased(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.page.write(secret)
	r.start()
	defer func() { r.stop() }()
	_, cursor := r.await("", 1)
	passes := func(d time.Duration) {
		t.Helper()
		if err := r.store.retain(t.Context(), time.Now().Add(d+time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	passes(r.o.Limits.KeepText)
	if list, _ := r.await("", 1); list[0].Text != "" || !list[0].Erased || list[0].From.Name != "" || list[0].Chat.Phone == "" {
		t.Errorf("after a day: %s", encode(list[0]))
	}
	holds(t, r.o.Path, secret)
	passes(r.o.Limits.Keep)
	if list, _, _, _, err := r.List(t.Context(), "", 1); err != nil || len(list) > 0 {
		t.Errorf("after a week: %s, %v", encode(list), err)
	}
	holds(t, r.o.Path, "4915112345678")
	if _, _, _, _, err := r.List(t.Context(), cursor, 1); err != nil {
		t.Errorf("a cursor after everything: %v", err)
	}
	if _, _, _, _, err := r.List(t.Context(), Before(cursor), 1); !errors.Is(err, ErrLost) {
		t.Errorf("a cursor before what was dropped: %v", err)
	}
	r.page.write(secret)
	r.hint()
	r.await(cursor, 1)
	if err := r.Purge(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(r.o.Path); err == nil {
		t.Error("the file is still there")
	}
}

// holds reports what should have been erased.
func holds(t *testing.T, path, what string) {
	t.Helper()
	for _, name := range []string{path, path + "-wal"} {
		content, _ := os.ReadFile(name) // it may not be there
		if strings.Contains(string(content), what) {
			t.Errorf("%s still has %q", filepath.Base(name), what)
		}
	}
}

func TestOldestEventsAreDroppedWhenTooMany(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "inbox"))
	r.o.Limits.Events = 10
	r.start()
	for range 5 {
		r.page.write("1", "2", "3")
		r.hint()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		list, _, _, _, err := r.List(t.Context(), "", MaxList)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s, %v", words(list), err)
		}
		if len(list) > 0 && list[len(list)-1].Message.ID == "3A14" {
			known, err := use(t.Context(), r.store, func(db *database.DB) ([]int, error) { return database.Values[int](db, "SELECT count(*) FROM message") })
			if err != nil || len(list) > 10 || known[0] > 10 {
				t.Errorf("%d are kept, and %v messages are known, %v", len(list), known, err)
			}
			break
		}
	}
	r.stop()
}

func TestExportedInboxReplacesAnother(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, filepath.Join(dir, "inbox"))
	r.page.write("1")
	r.start()
	_, cursor := r.await("", 1)
	r.stop()
	file, other := filepath.Join(dir, "export"), filepath.Join(dir, "other")
	if any, err := Export(r.o.Path, file); !any || err != nil {
		t.Fatal(any, err)
	}
	if err := Import(filepath.Join(dir, "export"), other); err != nil {
		t.Fatal(err)
	}
	r.o.Path = other
	r.page.write("2")
	r.start()
	list, _ := r.await(cursor, 1)
	r.expect(list, "2")
	r.stop()
	if any, err := Export(filepath.Join(dir, "inbox"), file); !any || err != nil {
		t.Fatal(any, err)
	}
	if err := Import(file, other); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.await("", 2)
	if _, _, _, _, err := r.List(t.Context(), cursor, 1); !errors.Is(err, ErrLost) {
		t.Errorf("a cursor of the file that was replaced: %v", err)
	}
	r.stop()
	if any, err := Export(filepath.Join(dir, "none"), file); any || err != nil {
		t.Error(any, err)
	}
	if err := os.WriteFile(file, []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Import(file, other); !database.Damaged(err) {
		t.Errorf("imported: %v", err)
	}
}
