package inbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/database"
)

// format is that of the file: what was reported (event, and content, which is erased early),
// and what is known of each message by then.
var format = database.Format{
	Application: 0x696e6278, // "inbx"
	Versions: [][]string{{
		`CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kept INTEGER NOT NULL, ` +
			`account TEXT NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL) STRICT`,
		`CREATE TABLE content (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT`,
		`CREATE TABLE message (name TEXT PRIMARY KEY, key TEXT NOT NULL, id TEXT NOT NULL, kept INTEGER NOT NULL, type TEXT NOT NULL, state TEXT NOT NULL) STRICT`,
		database.TableSetting,
		`CREATE INDEX message_kept ON message (kept)`,
		`CREATE INDEX message_id ON message (id)`,
	}, {
		database.TableAside,
	}, {
		"CREATE INDEX event_minor ON event (seq) WHERE " + minorEvents,
	}, {
		// Accounts may have several names.
	}},
}

// minorEvents is true of events that matter less than messages, as Kind.minor is, and allEvents of each.
const allEvents, minorEvents = "TRUE", `(body GLOB '{"event":"message.reaction"*' OR body GLOB '{"event":"message.acknowledged"*')`

var (
	// ErrUnavailable means that the disk can't be used now.
	ErrUnavailable = errors.New("the inbox can't be used")
	// ErrCursor means that a cursor is not one of this package's.
	ErrCursor = errors.New("that is not a cursor")
	// ErrLost means that events after a cursor were dropped.
	ErrLost = errors.New("events after this cursor were dropped")
	// ErrUnknownMessage means that there is no such message, or no longer.
	ErrUnknownMessage = errors.New("there is no such message")
)

const (
	// overlap is how long before the last message reading begins if the cursor was lost.
	overlap = 24 * time.Hour
	// tolerance is for clocks that differ.
	tolerance = time.Minute
)

// Limits bound what is kept.
type Limits struct {
	// Events is how many, Minor how many that matter less, besides, and Bytes how much of texts
	// and names.
	Events, Minor int
	Bytes         int64
	// KeepText is how long texts and names are kept, and Keep the rest.
	KeepText, Keep time.Duration
}

// DefaultLimits returns the usual limits.
func DefaultLimits() Limits {
	const day = 24 * time.Hour
	return Limits{Events: 100_000, Minor: 50_000, Bytes: 64 << 20, KeepText: day, Keep: 7 * day}
}

// settings are what is kept besides events.
type settings struct {
	// Boot is part of all cursors, so that those of a file that was lost are recognised.
	Boot string `json:"boot"`
	// Account is an address of the account whose table Marks are of, and Alias the other one if it
	// is known.
	Account string     `json:"account,omitempty"`
	Alias   string     `json:"alias,omitempty"`
	Marks   []rpc.Mark `json:"marks,omitempty"`
	// Since is when messages may have been written at the earliest, and Last when the last
	// one was.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last,omitzero"`
	// Reported is the last event that was handed on.
	Reported int64 `json:"reported,omitempty"`
	// Dropped: up to this one all events were, and up to Thinned, which was kept ThinnedAt, the
	// minor ones.
	Dropped   int64     `json:"dropped,omitempty"`
	Thinned   int64     `json:"thinned,omitempty"`
	ThinnedAt time.Time `json:"thinned_at,omitzero"`
}

// owner is the account whose table Marks are of.
func (s *settings) owner() rpc.Account { return rpc.AccountAt(s.Account, s.Alias) }

// store is the file. Its methods may be called from any goroutine; they give up on a disk
// that hangs.
type store struct {
	limits Limits
	// reporting: events wait until they were handed on.
	reporting bool
	file      *database.Shared // what follows is used as the file is
	settings
	events, minor int // events has no minor ones
	bytes         int64
	// aside: the file was moved aside since it was last opened.
	aside bool
}

func newStore(path string, l Limits, damaged func(aside string, err error), rowsAside func(n int)) *store {
	s := &store{limits: l}
	s.file = database.NewShared(database.File{Path: path, Format: format, Opened: s.load, RowsAside: rowsAside, MovedAside: func(aside string, err error) {
		s.aside = true
		damaged(aside, err)
	}})
	return s
}

func newBoot() string { return rand.Text()[:8] }

func (s *store) load(db *database.DB) error {
	kept := settings{Boot: newBoot(), Since: time.Now().Add(-tolerance).UTC().Truncate(time.Second)}
	err := db.Transact(func() error {
		found, lost, err := database.Setting(db, &kept)
		if found || err != nil {
			return err
		}
		return begin(s, db, &kept, lost)
	})
	if err != nil {
		return err
	}
	s.settings, s.aside = kept, false
	return s.count(db)
}

// begin makes the settings of a file that has none. lost: they can't be read.
func begin(s *store, db *database.DB, next *settings, lost bool) (err error) {
	again, aside := *next, false
	again.Since = next.Since.Add(-overlap)
	since := again.Since
	if !lost {
		aside, _, err = database.Salvage(s.file.Path, format, func(from *database.DB) (err error) {
			since, err = salvage(s, from, db, &again)
			return err
		})
	}
	if lost || aside || s.aside {
		*next = again
		err = errors.Join(err, s.add(db, next, gapSince("damaged", since), new([]Event)))
	}
	return errors.Join(err, db.Set(*next))
}

func (s *store) count(db *database.DB) error {
	return db.Query(func(r *sql.Rows) error { return r.Scan(&s.events, &s.minor, &s.bytes) },
		"SELECT count(*) FILTER (WHERE NOT "+minorEvents+"), count(*) FILTER (WHERE "+minorEvents+"), ifnull(sum(bytes), 0) FROM event")
}

// use returns what f does with the open database, while nobody else uses it. A call that was
// given up may go on, so f shares nothing with its caller. Errors are those of answered.
func use[T any](ctx context.Context, s *store, f func(*database.DB) (T, error)) (T, error) {
	result, err := database.Use(ctx, s.file, f)
	return result, answered(err)
}

// answered returns an error that matches ErrUnavailable, or is one that callers can match.
func answered(err error) error {
	for _, told := range []error{ErrCursor, ErrLost, ErrUnknownMessage} {
		if errors.Is(err, told) {
			return told
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// change is use for what writes: settings are written with the rest.
func change[T any](ctx context.Context, s *store, f func(*database.DB, *settings) (T, error)) (T, error) {
	return use(ctx, s, func(db *database.DB) (result T, err error) {
		next := s.settings
		err = db.Transact(func() error {
			if result, err = f(db, &next); err != nil {
				return err
			}
			return db.Set(next)
		})
		if err != nil {
			return result, errors.Join(err, s.count(db))
		}
		s.settings = next
		return result, nil
	})
}

type nothing = struct{}

// close closes the file.
func (s *store) close(ctx context.Context) error {
	_, err := database.Locked(ctx, s.file, func() (nothing, error) { return nothing{}, s.file.Close() })
	return answered(err)
}

// purge erases everything.
func (s *store) purge(ctx context.Context) error {
	_, err := database.Locked(ctx, s.file, func() (nothing, error) { return nothing{}, s.file.Remove() })
	return answered(err)
}

// query returns what to ask the page for.
func (s *store) query(ctx context.Context) (rpc.ReceiveQuery, error) {
	return use(ctx, s, func(*database.DB) (rpc.ReceiveQuery, error) {
		return rpc.ReceiveQuery{After: s.Marks, Since: s.since(time.Now()), Limit: rpc.MaxReceive}, nil
	})
}

// since is Since, unless the clock was ahead when that was noted.
func (s *settings) since(now time.Time) time.Time { return earlier(s.Since, now.Add(-tolerance)) }

// thinned reports whether events were dropped from between two that follow each other.
func (s *settings) thinned(before, next int64) bool { return before+1 < next && before < s.Thinned }

// cursor names a position.
func (s *settings) cursor(seq int64) string { return s.Boot + "-" + strconv.FormatInt(seq, 10) }

// Before returns the cursor before the event after which a cursor is.
func Before(cursor string) string {
	boot, number, _ := strings.Cut(cursor, "-")
	seq, _ := strconv.ParseInt(number, 10, 64) // 0 for what is not a cursor
	return (&settings{Boot: boot}).cursor(max(seq-1, 0))
}

// position is the opposite of cursor. The empty cursor is before everything that is kept. One after
// the last event is of a file that was replaced by an older one.
func position(s *store, db *database.DB, cursor string) (int64, error) {
	if cursor == "" {
		return s.Dropped, nil
	}
	boot, number, ok := strings.Cut(cursor, "-")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 0 {
		return 0, ErrCursor
	}
	last, err := lastOf(s, db)
	if err == nil && (boot != s.Boot || seq < s.Dropped || seq > last) {
		err = ErrLost
	}
	return seq, err
}

// lastOf returns the position after all events.
func lastOf(s *store, db *database.DB) (int64, error) {
	found, err := database.Values[int64](db, "SELECT ifnull(max(seq), 0) FROM event")
	if err != nil {
		return 0, err
	}
	return max(found[0], s.Dropped), nil
}

// add keeps an event, unless it is kept already, and appends it to list.
func (s *store) add(db *database.DB, next *settings, e Event, list *[]Event) error {
	body, c := e.split()
	size := len(c.Text) + len(c.Name) + len(c.File) // emojis count for nothing
	// A conflict would use up a seq, and leave a gap like one of dropped events.
	found, err := database.Values[int64](db, "INSERT INTO event (id, kept, account, bytes, body) SELECT ?1, ?2, ?3, ?4, ?5 "+
		"WHERE NOT EXISTS (SELECT 1 FROM event WHERE id = ?1) RETURNING seq", e.ID, time.Now().UnixMilli(), next.owner().Names(), size, encode(body))
	if err != nil || len(found) == 0 {
		return err
	}
	s.bytes += int64(size)
	if e.Kind.minor() {
		s.minor++
	} else {
		s.events++
	}
	if !s.reporting {
		next.Reported = found[0]
	}
	e.Cursor = next.cursor(found[0])
	*list = append(*list, e)
	return db.Exec("INSERT INTO content (seq, body) VALUES (?, ?)", found[0], encode(c))
}

// gap keeps the event that messages may be missing.
func (s *store) gap(db *database.DB, next *settings, reason string, list *[]Event) error {
	since := next.Last
	if since.IsZero() {
		since = next.Since
	}
	return s.add(db, next, gapSince(reason, since), list)
}

// taken is what a transaction has kept.
type taken struct {
	events []Event
	// again: the page must be read from the beginning.
	again bool
}

// take keeps what was read, and moves the cursor. ours are the messages that this service has sent.
func (s *store) take(ctx context.Context, got rpc.Reception, ours map[rpc.Secret]bool) (taken, error) {
	return change(ctx, s, func(db *database.DB, next *settings) (t taken, err error) {
		linked := next.owner()
		if linked.Other(got.Account) {
			next.Account, next.Marks = got.Account.Address(), nil
			next.Alias = got.Account.Alias(next.Account)
			t.again = true
			return t, s.gap(db, next, "account_changed", &t.events)
		}
		if next.Account == "" {
			next.Account = got.Account.Address()
		}
		next.Alias = linked.With(got.Account).Alias(next.Account)
		if !got.Known && len(next.Marks) > 0 {
			next.Marks = nil
			if !next.Last.IsZero() {
				next.Since = later(next.Since, next.Last.Add(-overlap))
			}
			t.again = true
			return t, s.gap(db, next, "cursor_lost", &t.events)
		}
		for _, m := range got.Messages {
			if ours[m.Key] {
				m.Type = typeOurs
			}
			if err := s.note(db, next, m, true, &t.events); err != nil {
				return t, err
			}
		}
		for _, m := range got.Changed {
			if err := s.note(db, next, m, false, &t.events); err != nil {
				return t, err
			}
		}
		next.Marks = thin(append(got.Marks, next.Marks...))
		return t, s.shrink(db, next)
	})
}

// reread keeps what has become of messages.
func (s *store) reread(ctx context.Context, all []rpc.Received) ([]Event, error) {
	return change(ctx, s, func(db *database.DB, next *settings) (list []Event, err error) {
		for _, m := range all {
			if err := s.note(db, next, m, false, &list); err != nil {
				return nil, err
			}
		}
		return list, s.shrink(db, next)
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// note keeps what is new of a message. One that is not known is only kept if it was read in
// the order of the table.
func (s *store) note(db *database.DB, next *settings, m rpc.Received, inOrder bool, list *[]Event) error {
	name := hash(next.Account, string(m.Key))
	found, err := database.Values[string](db, "SELECT state FROM message WHERE name = ?", name)
	if err != nil {
		return err
	}
	var before *state
	if len(found) > 0 {
		before = new(state)
		if strictjson.Unmarshal([]byte(found[0]), before) != nil {
			before = nil // what was reported of it has the same ids again
			err = database.SetAside(db, []string{name}, "SELECT json_array(key, id, type, state) FROM message WHERE name = ?1", "DELETE FROM message WHERE name = ?1")
		}
	} else if !inOrder {
		return nil // it is older than what is kept, or comes in its order
	}
	if err != nil {
		return err
	}
	events, after := news(before, m, name)
	if m.Type == typeOurs {
		events = nil
	}
	for _, e := range events {
		if err := s.add(db, next, e, list); err != nil {
			return err
		}
	}
	if before == nil {
		next.Last = later(next.Last, earlier(m.At, time.Now())) // the page may lie
		return db.Exec("INSERT INTO message (name, key, id, kept, type, state) VALUES (?, ?, ?, ?, ?, ?)",
			name, string(m.Key), m.ID, time.Now().UnixMilli(), string(after.Type), encode(after))
	}
	if *before == after {
		return nil
	}
	return db.Exec("UPDATE message SET type = ?, state = ? WHERE name = ?", string(after.Type), encode(after), name)
}

// shrink drops the oldest events as far as there are too many, and forgets as many messages.
func (s *store) shrink(db *database.DB, next *settings) error {
	const some = 1000
	oldest := func(which, counted string, n int) error {
		return s.drop(db, next, which, "seq IN (SELECT seq FROM event WHERE "+counted+" ORDER BY seq LIMIT ?)", max(1, min(some, n/10)))
	}
	for s.minor > s.limits.Minor {
		if err := oldest(minorEvents, minorEvents, s.minor); err != nil {
			return err
		}
	}
	for s.events > s.limits.Events || s.bytes > s.limits.Bytes {
		counted := "NOT " + minorEvents
		if s.events == 0 { // damaged ones have a size
			counted = allEvents
		}
		if err := oldest(allEvents, counted, s.events); err != nil {
			return err
		}
	}
	return db.Exec("DELETE FROM message WHERE rowid <= (SELECT max(rowid) FROM message) - ?", s.limits.Events)
}

// drop drops all events, or the minor ones, up to the last for which a condition holds.
func (s *store) drop(db *database.DB, next *settings, which, condition string, args ...any) error {
	var last, kept int64
	err := db.Query(func(r *sql.Rows) error { return r.Scan(&last, &kept) },
		"SELECT seq, kept FROM event WHERE "+which+" AND "+condition+" ORDER BY seq DESC LIMIT 1", args...)
	if err != nil || last == 0 {
		return err
	}
	for _, from := range []string{"content WHERE seq IN (SELECT seq FROM event WHERE " + which + " AND seq <= ?)", "event WHERE " + which + " AND seq <= ?"} {
		if err := db.Exec("DELETE FROM "+from, last); err != nil {
			return err
		}
	}
	next.Thinned, next.ThinnedAt = max(next.Thinned, last), later(next.ThinnedAt, time.UnixMilli(kept).UTC())
	if which == allEvents {
		next.Dropped = max(next.Dropped, last)
	}
	return s.count(db)
}

// retain erases what is too old.
func (s *store) retain(ctx context.Context, now time.Time) error {
	text, old := now.Add(-s.limits.KeepText).UnixMilli(), now.Add(-s.limits.Keep).UnixMilli()
	erased, err := change(ctx, s, func(db *database.DB, next *settings) (erased bool, err error) {
		events, bytes := s.events, s.bytes
		for _, q := range []struct {
			query string
			until int64
		}{
			{"DELETE FROM content WHERE seq IN (SELECT seq FROM event WHERE kept < ?)", text},
			{"UPDATE event SET bytes = 0 WHERE kept < ? AND bytes > 0", text},
			{"DELETE FROM message WHERE kept < ?", old},
		} {
			if err := db.Exec(q.query, q.until); err != nil {
				return false, err
			}
		}
		gone, err := db.ForgetAside(time.UnixMilli(old))
		err = errors.Join(err, s.drop(db, next, allEvents, "kept < ?", old), s.count(db))
		return gone || s.events != events || s.bytes != bytes, err
	})
	if err == nil && erased {
		_, err = use(ctx, s, func(db *database.DB) (nothing, error) { return nothing{}, db.Erase() })
	}
	return errors.Join(err, database.ExpireAside(s.file.Path, now.Add(-s.limits.Keep)))
}

// mostText bounds the texts that are listed at once, in bytes.
const mostText = 4 << 20

// after returns at most n events after a position, that of the last one, and whether there are more.
func (s *store) after(db *database.DB, position int64, n int) (list []Event, last int64, more bool, err error) {
	last = position
	var damaged []int64
	size := 0
	err = db.Query(func(r *sql.Rows) error {
		if more = more || len(list) == n || size > mostText; more {
			return nil
		}
		before := last
		var body string
		var text sql.NullString
		if err := r.Scan(&last, &body, &text); err != nil {
			return err
		}
		size += len(text.String)
		var e Event
		var c content
		if strictjson.Unmarshal([]byte(body), &e) != nil || text.Valid && strictjson.Unmarshal([]byte(text.String), &c) != nil {
			damaged = append(damaged, last)
			return nil
		}
		e = e.joined(c)
		e.Cursor = s.cursor(last)
		e.Thinned = s.thinned(before, last)
		if e.Message != nil {
			e.Erased = !text.Valid
		}
		list = append(list, e)
		return nil
	}, "SELECT seq, event.body, content.body FROM event LEFT JOIN content USING (seq) WHERE seq > ? ORDER BY seq LIMIT ?", position, n+1)
	if err != nil || len(damaged) == 0 {
		return list, last, more, err
	}
	if err := setAside(s, db, damaged); err != nil {
		return nil, last, false, err
	}
	return s.after(db, position, n) // others take their places
}

// setAside sets events aside that can't be read, and keeps the event that they are missing.
func setAside(s *store, db *database.DB, damaged []int64) error {
	kept, err := database.Values[int64](db, "SELECT kept FROM event WHERE seq = ?", damaged[0])
	if err != nil || len(kept) == 0 {
		return err
	}
	next := s.settings
	return errors.Join(db.Transact(func() error {
		err := database.SetAside(db, damaged, "SELECT json_array(event.id, event.body, content.body) FROM event LEFT JOIN content USING (seq) WHERE seq = ?1",
			"DELETE FROM content WHERE seq = ?1", "DELETE FROM event WHERE seq = ?1")
		if err == nil {
			err = s.add(db, &next, gapSince("damaged", time.UnixMilli(kept[0])), new([]Event))
		}
		return err
	}), s.count(db))
}

// CursorLost is the event that messages may be missing after a cursor, for which List returns ErrLost.
func CursorLost(cursor string) Event {
	return Event{Kind: Gap, ID: hash(cursor, string(Gap)), Cursor: cursor, Lost: &Lost{Reason: "dropped"}}
}

// gapSince is the event that messages may be missing.
func gapSince(reason string, since time.Time) Event {
	return Event{Kind: Gap, ID: strings.ToLower(rand.Text()), Lost: &Lost{reason, since.UTC()}}
}

// batch are events that were not handed on, of one account, up to a position.
type batch struct {
	events  []Event
	last    int64
	account string
}

// unreported returns the next batch.
func (s *store) unreported(ctx context.Context) (batch, error) {
	return use(ctx, s, func(db *database.DB) (b batch, err error) {
		const some = 100
		list, _, _, err := s.after(db, s.Reported, some) // then none of them is damaged
		if err != nil || len(list) == 0 {
			return b, err
		}
		n, other := 0, false
		err = db.Query(func(r *sql.Rows) error {
			var seq int64
			var account string
			if err := r.Scan(&seq, &account); err != nil {
				return err
			}
			if n == 0 {
				b.account = account
			}
			if other = other || account != b.account; !other {
				n, b.last = n+1, seq
			}
			return nil
		}, "SELECT seq, account FROM event WHERE seq > ? ORDER BY seq LIMIT ?", s.Reported, len(list))
		if b.events = list[:n]; s.Reported < s.Dropped {
			b.events = slices.Insert(b.events, 0, CursorLost(s.cursor(s.Reported)))
		}
		return b, err
	})
}

// reported notes that a batch was handed on.
func (s *store) reported(ctx context.Context, b batch) error {
	_, err := change(ctx, s, func(_ *database.DB, next *settings) (nothing, error) {
		next.Reported = b.last
		return nothing{}, nil
	})
	return err
}

// page is a part of all events.
type page struct {
	events []Event
	next   string // the cursor after them
	more   bool
}

// list returns at most n events after a cursor.
func (s *store) list(ctx context.Context, cursor string, n int) (page, error) {
	return use(ctx, s, func(db *database.DB) (p page, err error) {
		position, err := position(s, db, cursor)
		if err != nil {
			return p, err
		}
		list, last, more, err := s.after(db, position, n)
		return page{list, s.cursor(last), more}, err
	})
}

// present returns the cursor after all events.
func (s *store) present(ctx context.Context) (string, error) {
	return use(ctx, s, func(db *database.DB) (string, error) {
		last, err := lastOf(s, db)
		return s.cursor(last), err
	})
}

// react keeps reactions that are new. Those that are older than what is kept were reported before, and
// perhaps dropped.
func react(ctx context.Context, s *store, all []rpc.Reaction, now time.Time) ([]Event, error) {
	return change(ctx, s, func(db *database.DB, next *settings) (list []Event, err error) {
		since := later(next.since(now), now.Add(-s.limits.Keep))
		if next.ThinnedAt.Before(now) { // else the clock was ahead
			since = later(since, next.ThinnedAt.Add(1))
		}
		for _, r := range all {
			if r.At.Before(since) {
				continue
			}
			if err := s.add(db, next, eventOf(r, next.Account), &list); err != nil {
				return nil, err
			}
		}
		return list, s.shrink(db, next)
	})
}

// keysToReact returns the keys of the last messages to which there may be reactions.
func keysToReact(ctx context.Context, s *store, since time.Time, most int) ([]rpc.Secret, error) {
	return use(ctx, s, func(db *database.DB) ([]rpc.Secret, error) {
		return database.Values[rpc.Secret](db, "SELECT key FROM message WHERE kept > ? AND type <> ? ORDER BY kept DESC, rowid DESC LIMIT ?",
			since.UnixMilli(), string(rpc.TypeRevoked), most)
	})
}

// lastMessage returns the number of the message that was kept last.
func lastMessage(ctx context.Context, s *store) (int64, error) {
	return use(ctx, s, func(db *database.DB) (int64, error) {
		found, err := database.Values[int64](db, "SELECT ifnull(max(rowid), 0) FROM message")
		if err != nil {
			return 0, err
		}
		return found[0], nil
	})
}

// keysToReread returns the keys of messages up to the one with the number last of which something may be
// new: those of the last day, and those that could not be decrypted, the latest first.
func (s *store) keysToReread(ctx context.Context, now time.Time, last int64, most int) ([]rpc.Secret, error) {
	return use(ctx, s, func(db *database.DB) ([]rpc.Secret, error) {
		return database.Values[rpc.Secret](db, "SELECT key FROM message WHERE rowid <= ? AND (kept > ? OR type = ?) AND type NOT IN (?, ?) ORDER BY rowid DESC LIMIT ?",
			last, now.Add(-overlap).UnixMilli(), string(rpc.TypeUndecrypted), string(rpc.TypeRevoked), string(typeOurs), most)
	})
}

// key returns the page's name of the last message with an id.
func (s *store) key(ctx context.Context, id string) (rpc.Secret, error) {
	return use(ctx, s, func(db *database.DB) (rpc.Secret, error) {
		found, err := database.Values[rpc.Secret](db, "SELECT key FROM message WHERE id = ? AND type <> ? ORDER BY kept DESC LIMIT 1", id, string(typeOurs))
		if err == nil && len(found) == 0 {
			err = ErrUnknownMessage
		}
		if err != nil {
			return "", err
		}
		return found[0], nil
	})
}

const (
	// The page asks for 32 messages at a time. Most are decrypted by themselves within seconds.
	mostAsked  = 32
	decryption = 15 * time.Second
)

// unasked returns keys of messages that can't be decrypted, for which the phone was not asked.
func unasked(ctx context.Context, s *store, now time.Time) ([]rpc.Secret, error) {
	return use(ctx, s, func(db *database.DB) ([]rpc.Secret, error) {
		return database.Values[rpc.Secret](db, "SELECT key FROM message WHERE type = ? AND kept < ? AND iif(json_valid(state), state ->> 'asked', 1) IS NULL ORDER BY kept LIMIT ?",
			string(rpc.TypeUndecrypted), now.Add(-decryption).UnixMilli(), mostAsked)
	})
}

// mark notes asked or gone in the states of messages.
func mark(ctx context.Context, s *store, what string, keys []rpc.Secret) error {
	_, err := change(ctx, s, func(db *database.DB, _ *settings) (none nothing, err error) {
		for _, key := range keys {
			err = errors.Join(err, db.Exec("UPDATE message SET state = json_set(state, '$.' || ?, json('true')) WHERE key = ? AND json_valid(state)", what, string(key)))
		}
		return none, err
	})
	return err
}

// invalidate makes all cursors those of another file: readers of one that is replaced may be ahead.
func invalidate(db *database.DB) error {
	var kept settings
	found, _, err := database.Setting(db, &kept)
	if err != nil || !found {
		return err
	}
	kept.Boot = newBoot()
	return db.Set(kept)
}

// Export copies what is kept in a file that nothing uses to a new file, and reports whether
// there is anything.
func Export(path, to string) (any bool, err error) {
	return database.Export(path, format, to, func(*database.DB) (bool, error) { return true, nil })
}

// Import replaces a file that nothing uses by an exported one: the cursor goes with its
// profile. If it replaces one, no cursor of before is valid any longer. Without one the file stays, whose account and marks show that the profile is
// another. Errors satisfy database.Damaged if it is not an export; then nothing has changed.
func Import(from, path string) error {
	db, err := database.Open(from, format)
	if err == nil {
		if _, missing := os.Lstat(path); missing == nil {
			err = invalidate(db)
		}
		err = errors.Join(err, db.Close())
	}
	if err == nil {
		err = database.Remove(path)
	}
	if err == nil {
		err = os.Rename(from, path)
	}
	if err != nil {
		return fmt.Errorf("cannot import received messages: %w", err)
	}
	return nil
}
