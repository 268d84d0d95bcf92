package webhook

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/logid"
)

// format is that of the queue's file. The events of one chat are delivered in the order of
// seq; those of the session have the chat "".
var format = database.Format{
	Application: 0x77686b71, // "whkq"
	Versions: [][]string{{
		`CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, chat TEXT NOT NULL, ` +
			`account TEXT NOT NULL, kept INTEGER NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL) STRICT`,
		database.TableSetting,
	}, {
		database.TableAside,
	}, {
		// Accounts may have several names.
	}},
}

// Limits bound what waits for the receiver; beyond them the oldest events are dropped.
type Limits struct {
	Events int
	// Bytes is of their bodies.
	Bytes int64
	// Age is how long an event may wait.
	Age time.Duration
}

// DefaultLimits returns the usual limits.
func DefaultLimits() Limits { return Limits{Events: 100_000, Bytes: 64 << 20, Age: 72 * time.Hour} }

// Why events are dropped, as the receiver learns. Of a damaged file nobody knows how many
// it had, so it counts as one.
const (
	tooOld         = "too_old"
	tooMany        = "too_many"
	tooManyMinor   = "too_many_minor"
	accountChanged = "account_changed"
	erased         = "erased"
	notKept        = "not_kept"
	queueDamaged   = "damaged"
)

const (
	// eraseEvery is how often the file's log is emptied while more events wait.
	eraseEvery = 10 * time.Second
	// maxDone bounds what was delivered but can't be deleted yet.
	maxDone = 1000
	// changeGrace is how long the events of another account may wait for the report that
	// it is linked.
	changeGrace = 10 * time.Minute
)

// row is an event that waits.
type row struct {
	id, kind, chat, account string
	body                    []byte
}

// memory is what a queue knows without its file.
type memory struct {
	// Account has the names of the account that was linked last.
	Account string `json:"account,omitempty"`
	// Reported is what of the session was kept last.
	Reported reported `json:"reported"`
	// Lost is what was dropped since the receiver last learned of that.
	Lost lost `json:"lost"`

	events int
	bytes  int64
	// accounts has the names of those whose events wait, or have waited.
	accounts []string
}

// lost is the body of an event of the type Dropped.
type lost struct {
	Count   int            `json:"count"`
	Reasons map[string]int `json:"reasons"`
	// First and Last are when the first and the last of the dropped events were kept.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// add counts n events that were dropped.
func (l lost) add(why string, n int, first, last time.Time) lost {
	reasons := map[string]int{why: n}
	for w, m := range l.Reasons {
		reasons[w] += m
	}
	l.Count, l.Reasons = l.Count+n, reasons
	if l.First.IsZero() || first.Before(l.First) {
		l.First = first.UTC()
	}
	if last.After(l.Last) {
		l.Last = last.UTC()
	}
	return l
}

// queue keeps events on disk until they were delivered. Its methods may be called from any
// goroutine; they give up on a disk that hangs.
type queue struct {
	limits Limits
	log    *slog.Logger
	// dropped is called for each event that is dropped, and damaged when all of them were.
	dropped, damaged func()
	// announcement makes the event about what was dropped.
	announcement func(lost) row

	file *database.Shared // what follows, up to mu, is used as the file is
	memory
	closed bool
	// aside: the file was moved aside since it was last opened.
	aside bool
	// swept is when the file's log was emptied, and logged when drops were last logged.
	swept, logged time.Time

	mu   sync.Mutex
	done []string // guarded by mu; ids that were delivered and must be deleted
}

// Discard erases the queue at path, unless another process uses it.
func Discard(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := database.Open(path, format)
	if err == nil {
		err = db.Close()
	}
	if err != nil && !database.Damaged(err) {
		return err
	}
	return database.Remove(path)
}

func newQueue(path string, l Limits, log *slog.Logger) *queue {
	q := &queue{limits: l, log: log}
	q.file = database.NewShared(database.File{Path: path, Format: format, Opened: q.load, MovedAside: func(aside string, err error) {
		log.Error(logid.WebhookQueueDamaged, logging.KeyPath, aside, logging.KeyError, err)
		q.aside = true
	}, RowsAside: func(n int) { log.Error(logid.RowsDamaged, "count", n, logging.KeyPath, path) }})
	return q
}

// load reads what is known of a file that was opened.
func (q *queue) load(db *database.DB) error {
	m := memory{}
	found, forgotten, err := database.Setting(db, &m)
	if err == nil && !found && !forgotten {
		err = q.salvage(db, &m)
	}
	if err != nil {
		return err
	}
	if q.aside || forgotten {
		m.Lost = m.Lost.add(queueDamaged, 1, time.Now(), time.Now())
		q.damaged()
	}
	q.aside = false
	err = db.Query(func(r *sql.Rows) error { return r.Scan(&m.events, &m.bytes) }, "SELECT count(*), ifnull(sum(bytes), 0) FROM event")
	if err == nil {
		m.accounts, err = database.Values[string](db, "SELECT DISTINCT account FROM event")
	}
	if err == nil {
		q.memory = m
	}
	return err
}

// salvage takes over what can be read of a file that was moved aside, with what is known of it. That there was
// such a file is counted as one event that was lost.
func (q *queue) salvage(db *database.DB, m *memory) error {
	aside, lost, err := database.Salvage(q.file.Path, format, func(from *database.DB) error {
		_, _, _ = database.Setting(from, m) // if it can be read
		return db.Transact(func() error { return errors.Join(takeOver(from, db), db.Set(*m)) })
	})
	if lost != nil {
		q.log.Warn(logid.WebhookWriteFailed, logging.KeyError, lost)
	}
	q.aside = q.aside || aside
	return err
}

// takeOver copies the events that can be read.
func takeOver(from, to *database.DB) (failure error) {
	from.FromBothEnds(func(rows *sql.Rows) error {
		var seq, kept int64
		var r row
		if err := rows.Scan(&seq, &r.id, &r.kind, &r.chat, &r.account, &kept, &r.body); err != nil {
			return err
		}
		if failure == nil {
			failure = to.Exec("INSERT OR IGNORE INTO event (seq, id, type, chat, account, kept, bytes, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				seq, r.id, r.kind, r.chat, r.account, kept, len(r.body), string(r.body))
		}
		return failure
	}, "SELECT seq, id, type, chat, account, kept, body FROM event WHERE abs(seq) < 1 << 40", "seq")
	return failure
}

// use returns what f does with the open database, while nobody else uses it. A call that was
// given up may go on, so f shares nothing with its caller.
func use[T any](ctx context.Context, q *queue, f func(*database.DB) (T, error)) (T, error) {
	result, err := database.Locked(ctx, q.file, func() (result T, err error) {
		if q.closed {
			return result, errClosed
		}
		return database.Do(&q.file.File, f)
	})
	return result, explained(err)
}

func explained(err error) error {
	if err != nil {
		err = fmt.Errorf("cannot use the webhook's queue: %w", err)
	}
	return err
}

type nothing = struct{}

var errClosed = errors.New("it is closed")

// change is use for what writes. f changes the memory that is written with the rest.
func (q *queue) change(ctx context.Context, f func(*database.DB, *memory) error) error {
	_, err := use(ctx, q, func(db *database.DB) (nothing, error) { return nothing{}, q.write(db, f) })
	return err
}

// write is change with the open database.
func (q *queue) write(db *database.DB, f func(*database.DB, *memory) error) error {
	m := q.memory
	err := db.Transact(func() error {
		if err := f(db, &m); err != nil {
			return err
		}
		if m.Account == q.Account && m.Reported == q.Reported && m.Lost.Count == q.Lost.Count {
			return nil
		}
		return db.Set(m)
	})
	if database.Full(err) {
		_ = db.Erase() // the log may hold what was deleted
	}
	if err != nil {
		return err
	}
	for range m.Lost.Count - q.Lost.Count {
		q.dropped()
	}
	if now := time.Now(); m.Lost.Count > q.Lost.Count && now.Sub(q.logged) > time.Minute {
		q.logged = now
		q.log.Error(logid.WebhookEventDropped, "count", m.Lost.Count, "reasons", m.Lost.Reasons)
	}
	fewer := m.events < q.events
	q.memory = m
	if now := time.Now(); fewer && (m.events == 0 || now.Sub(q.swept) > eraseEvery) {
		q.swept = now
		_ = db.Erase() // what fails is done with the next one
	}
	return nil
}

// keep has events on disk when it returns without an error. Those that wait already are
// ignored. A known account is the one that is linked, so the events of others are dropped;
// missed is how many events of the session could not be kept before.
func (q *queue) keep(ctx context.Context, account rpc.Account, rows []row, t *reported, missed int) error {
	return q.change(ctx, func(db *database.DB, m *memory) error {
		if t != nil {
			m.Reported = *t
		}
		if missed > 0 {
			m.Lost = m.Lost.add(notKept, missed, time.Now(), time.Now())
		}
		if err := m.link(db, account); err != nil {
			return err
		}
		now := time.Now()
		for _, r := range rows {
			added, err := database.Values[int](db, "INSERT INTO event (id, type, chat, account, kept, bytes, body) VALUES (?, ?, ?, ?, ?, ?, ?) "+
				"ON CONFLICT (id) DO NOTHING RETURNING bytes",
				r.id, r.kind, r.chat, r.account, now.UnixMilli(), len(r.body), string(r.body))
			if err != nil {
				return err
			}
			m.events += len(added)
			if !slices.Contains(m.accounts, r.account) {
				m.accounts = append(slices.Clip(m.accounts), r.account)
			}
			for _, n := range added {
				m.bytes += int64(n)
			}
		}
		return m.shrink(db, q.limits)
	})
}

// foreign is which events are surely of another account than the one that is linked.
const foreign = `account IN (SELECT value FROM json_each(?1))`

// foreigners is the argument of foreign.
func (m memory) foreigners() string {
	linked := rpc.AccountNamed(m.Account)
	return array(slices.DeleteFunc(slices.Clone(m.accounts), func(names string) bool { return !linked.Other(rpc.AccountNamed(names)) }))
}

// link notes which account is linked. Nothing of an earlier one is delivered any longer.
func (m *memory) link(db *database.DB, a rpc.Account) error {
	if before := rpc.AccountNamed(m.Account); before.Is(a) {
		a = before.With(a)
	}
	if names := a.Names(); names == "" || names == m.Account {
		return nil
	}
	m.Account = a.Names()
	return m.drop(db, accountChanged, foreign, m.foreigners())
}

// expendable is what may be dropped: everything but what was dropped, and the newest of the
// session, so that a receiver that was away for too long learns the present.
const expendable = ` AND type <> '` + Dropped + `' AND seq NOT IN (SELECT max(seq) FROM event WHERE type IN ('` + State + `', '` + Warnings + `') GROUP BY type)`

// minor is true of events that matter less than others, and are dropped first: reactions, and statuses
// of messages.
const minor = ` AND type IN ('message.status', 'message.acknowledged', 'message.reaction')`

// drop drops the events for which a condition holds.
func (m *memory) drop(db *database.DB, why, condition string, args ...any) error {
	var n int
	var bytes, first, last int64
	err := db.Query(func(r *sql.Rows) error { return r.Scan(&n, &bytes, &first, &last) },
		"SELECT count(*), ifnull(sum(bytes), 0), ifnull(min(kept), 0), ifnull(max(kept), 0) FROM event WHERE "+condition, args...)
	if err != nil || n == 0 {
		return err
	}
	m.Lost = m.Lost.add(why, n, time.UnixMilli(first), time.UnixMilli(last))
	m.events -= n
	m.bytes -= bytes
	return db.Exec("DELETE FROM event WHERE "+condition, args...)
}

// shrink drops the oldest events, the minor ones first, as far as there are too many.
func (m *memory) shrink(db *database.DB, l Limits) error {
	return errors.Join(m.dropOldest(db, l, tooManyMinor, expendable+minor), m.dropOldest(db, l, tooMany, expendable))
}

// dropOldest drops the oldest events for which a condition holds as far as there are too many.
func (m *memory) dropOldest(db *database.DB, l Limits, why, condition string) error {
	if m.events <= l.Events && m.bytes <= l.Bytes {
		return nil
	}
	events, bytes, last, found := m.events, m.bytes, int64(0), false
	err := db.Query(func(r *sql.Rows) error {
		var seq, n int64
		if err := r.Scan(&seq, &n); err != nil {
			return err
		}
		if events > l.Events || bytes > l.Bytes {
			events, bytes, last, found = events-1, bytes-n, seq, true
		}
		return nil
	}, "SELECT seq, bytes FROM event WHERE TRUE"+condition+" ORDER BY seq")
	if err != nil || !found {
		return err
	}
	return m.drop(db, why, "seq <= ?"+condition, last)
}

// retain drops what is too old, or of a former account.
func (q *queue) retain(ctx context.Context, now time.Time) error {
	err := q.change(ctx, func(db *database.DB, m *memory) error {
		if err := m.drop(db, tooOld, "kept < ?"+expendable, now.Add(-q.limits.Age).UnixMilli()); err != nil {
			return err
		}
		if _, err := db.ForgetAside(now.Add(-q.limits.Age)); err != nil {
			return err
		}
		return m.drop(db, accountChanged, foreign+" AND kept < ?2", m.foreigners(), now.Add(-changeGrace).UnixMilli())
	})
	return errors.Join(err, database.ExpireAside(q.file.Path, now.Add(-q.limits.Age)))
}

// forget erases what is about messages, and what was set aside.
func (q *queue) forget(ctx context.Context) error {
	always := time.Unix(1<<33, 0)
	_, err := use(ctx, q, func(db *database.DB) (nothing, error) {
		_, err := db.ForgetAside(always)
		err = errors.Join(err, q.write(db, func(db *database.DB, m *memory) error { return m.drop(db, erased, "chat NOT IN ('', ?)", Dropped) }))
		return nothing{}, errors.Join(err, db.Erase())
	})
	return errors.Join(err, database.ExpireAside(q.file.Path, always))
}

// next returns the oldest event that may be delivered now, of none of the chats in held. It
// returns false without any.
func (q *queue) next(ctx context.Context, held []string) (r row, ok bool, err error) {
	if err := q.delivered(ctx); err != nil && q.undeleted() >= maxDone {
		return r, false, err
	}
	q.mu.Lock()
	done := slices.Clone(q.done)
	q.mu.Unlock()
	type answer struct {
		row
		found bool
	}
	a, err := use(ctx, q, func(db *database.DB) (a answer, err error) {
		for whole := false; !whole && err == nil; {
			if err := q.announce(db); err != nil && !database.Full(err) {
				return a, err
			}
			a = answer{}
			err = db.Query(func(rows *sql.Rows) error {
				a.found = true
				return rows.Scan(&a.id, &a.kind, &a.chat, &a.body)
			}, "SELECT id, type, chat, body FROM event WHERE NOT ("+foreign+") AND chat NOT IN (SELECT value FROM json_each(?2)) "+
				"AND id NOT IN (SELECT value FROM json_each(?3)) ORDER BY seq LIMIT 1", q.foreigners(), array(held), array(done))
			if whole = !a.found || json.Valid(a.body); !whole && err == nil {
				err = q.write(db, func(db *database.DB, m *memory) error { return m.setAside(db, a.row) })
			}
		}
		return a, err
	})
	if err != nil {
		return row{}, false, err
	}
	return a.row, a.found, nil
}

// setAside drops an event that can't be delivered, as it is damaged.
func (m *memory) setAside(db *database.DB, r row) error {
	sizes, err := database.Values[int64](db, "SELECT bytes FROM event WHERE id = ?", r.id)
	if err != nil || len(sizes) == 0 {
		return err
	}
	m.events, m.bytes = m.events-1, m.bytes-sizes[0]
	m.Lost = m.Lost.add(queueDamaged, 1, time.Now(), time.Now())
	return database.SetAside(db, []string{r.id}, "SELECT json_array(id, type, body) FROM event WHERE id = ?1", "DELETE FROM event WHERE id = ?1")
}

func array(texts []string) string {
	b, _ := json.Marshal(append([]string{}, texts...)) // texts have a JSON form
	return string(b)
}

// announce adds the event about what was dropped, before all others, unless one waits.
func (q *queue) announce(db *database.DB) error {
	if q.Lost.Count == 0 {
		return nil
	}
	waits, err := database.Values[int](db, "SELECT 1 FROM event WHERE type = ?", Dropped)
	if err != nil || len(waits) > 0 {
		return err
	}
	r, m := q.announcement(q.Lost), q.memory
	m.Lost = lost{}
	m.events++
	m.bytes += int64(len(r.body))
	err = db.Transact(func() error {
		return errors.Join(db.Set(m), db.Exec("INSERT INTO event (seq, id, type, chat, account, kept, bytes, body) "+
			"SELECT ifnull(min(seq), 1) - 1, ?, ?, ?, '', ?, ?, ? FROM event", r.id, r.kind, r.chat, time.Now().UnixMilli(), len(r.body), string(r.body)))
	})
	if err == nil {
		q.memory = m
	}
	return err
}

// delivered notes that events were delivered, and deletes them. What can't be deleted is not
// delivered again as long as this process runs.
func (q *queue) delivered(ctx context.Context, ids ...string) error {
	q.mu.Lock()
	q.done = append(q.done, ids...)
	done := slices.Clone(q.done)
	q.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	err := q.change(ctx, func(db *database.DB, m *memory) error {
		sizes, err := database.Values[int64](db, "DELETE FROM event WHERE id IN (SELECT value FROM json_each(?)) RETURNING bytes", array(done))
		for _, n := range sizes {
			m.events--
			m.bytes -= n
		}
		return err
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.done = slices.DeleteFunc(q.done, func(id string) bool { return slices.Contains(done, id) })
	q.mu.Unlock()
	return nil
}

func (q *queue) undeleted() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.done)
}

// reported returns what of the session was kept last.
func (q *queue) reported(ctx context.Context) (reported, error) {
	return use(ctx, q, func(*database.DB) (reported, error) { return q.Reported, nil })
}

func (q *queue) close(ctx context.Context) error {
	_, err := database.Locked(ctx, q.file, func() (nothing, error) {
		q.closed = true
		return nothing{}, q.file.Close()
	})
	return explained(err)
}
