package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite" // registers the driver, too
	sqlite3 "modernc.org/sqlite/lib"

	"session-manager/shared/rpc"
	"session-manager/shared/strictjson"
)

// schema is compared with that of a file, so that nothing else runs in it, such as a trigger.
var schema = []string{
	`CREATE TABLE message (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT UNIQUE, hash BLOB NOT NULL, ` +
		`status TEXT NOT NULL, settled INTEGER NOT NULL, latest INTEGER NOT NULL, bytes INTEGER NOT NULL, entry TEXT NOT NULL) STRICT`,
	`CREATE TABLE content (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT`,
	`CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL) STRICT`,
	`CREATE INDEX message_settled ON message (settled, seq)`,
	`CREATE INDEX message_latest ON message (latest)`,
}

const (
	// application marks a file as ours ("outb"), and version its schema.
	application, version = 0x6f757462, 1
	// maxFile is more than the limits allow for, in bytes: what is larger takes too long to
	// check.
	maxFile = 1 << 30
	// cacheKiB bounds SQLite's cache of pages.
	cacheKiB = 512
)

// errDamaged means that the file is not a database of this package, or not a whole one.
var errDamaged = errors.New("the database of the outbox is damaged")

// errNewer means that the file is left to a newer version of this program, with what waits in it.
var errNewer = errors.New("the database of the outbox was written by a newer version")

// database is an open file.
type database struct {
	path string
	info os.FileInfo
	pool *sql.DB
	conn *sql.Conn
}

// inPlace reports whether the file is still at its path.
func (db *database) inPlace() bool {
	info, err := os.Lstat(db.path)
	return err == nil && os.SameFile(info, db.info)
}

// openDatabase opens the database at path, or makes it. The error matches errDamaged if it
// can't be used.
func openDatabase(path string) (db *database, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open outbox: %w", err)
	}
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	where := url.URL{Scheme: "file", Path: path}
	pool, err := sql.Open("sqlite", where.String())
	if err != nil {
		return nil, fmt.Errorf("cannot open outbox: %w", err)
	}
	defer func() {
		if err != nil {
			_ = pool.Close()
		}
	}()
	conn, err := pool.Conn(context.Background())
	if err != nil {
		return nil, fmt.Errorf("cannot open outbox: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // Closing the pool leaves it open, and locked.
		}
	}()
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open outbox: %w", err)
	}
	db = &database{path, info, pool, conn}
	// Exclusive, since only then SQLite maps no file into memory, where a full disk kills the process.
	// WAL needs one fsync for a transaction.
	for _, pragma := range []string{
		"locking_mode = EXCLUSIVE", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "temp_store = MEMORY",
		fmt.Sprintf("cache_size = -%d", cacheKiB), "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "journal_size_limit = 4194304",
	} {
		if err := db.exec("PRAGMA " + pragma); err != nil {
			return nil, fmt.Errorf("cannot open outbox: %w", err)
		}
	}
	if err := db.adopt(); err != nil {
		return nil, err
	}
	return db, syncFolder(filepath.Dir(path))
}

// prepareFile makes a private file, and refuses what is not one.
func prepareFile(path string) error {
	for _, name := range files(path) {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("cannot open outbox: %w", err)
		case !info.Mode().IsRegular(), info.Size() > maxFile:
			return fmt.Errorf("%w: %s is too large, or is not a regular file", errDamaged, name)
		case info.Mode().Perm()&0o077 != 0:
			if err := os.Chmod(name, 0o600); err != nil {
				return fmt.Errorf("cannot make outbox private: %w", err)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open outbox: %w", err)
	}
	return f.Close()
}

// files are those of which a database consists.
func files(path string) []string {
	return []string{path, path + "-wal", path + "-journal", path + "-shm"}
}

// asideSuffix is for a database that is damaged. Only the last one is kept, for as long as
// messages that have ended are.
const asideSuffix = ".damaged"

func moveAside(path string) (string, error) {
	aside := path + asideSuffix
	if err := os.RemoveAll(aside); err != nil {
		return path, fmt.Errorf("cannot move outbox aside: %w", err)
	}
	if err := os.Rename(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, fmt.Errorf("cannot move outbox aside: %w", err)
	}
	_ = os.Chtimes(aside, time.Time{}, time.Now()) // its age counts from now
	return aside, removeFiles(files(path))
}

// expireAside removes a database that was moved aside before then.
func expireAside(path string, then time.Time) error {
	if info, err := os.Lstat(path + asideSuffix); err != nil || info.ModTime().After(then) {
		return nil
	}
	return removeFiles([]string{path + asideSuffix})
}

func removeDatabase(path string) error {
	return removeFiles(append(files(path), path+asideSuffix))
}

func removeFiles(names []string) error {
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("cannot remove outbox: %w", err)
		}
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot sync folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}

// damaged reports whether err means that the file itself can't be used.
func damaged(err error) bool {
	return errors.Is(err, errDamaged) || isCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
}

// full reports whether err means that the disk, or a quota, is full.
func full(err error) bool {
	return isCode(err, sqlite3.SQLITE_FULL) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// isCode reports whether err has one of SQLite's primary result codes.
func isCode(err error, codes ...int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && slices.Contains(codes, e.Code()&0xff)
}

func (db *database) exec(query string, args ...any) error {
	_, err := db.conn.ExecContext(context.Background(), query, args...)
	return err
}

func (db *database) close() error {
	if err := errors.Join(db.conn.Close(), db.pool.Close()); err != nil {
		return fmt.Errorf("cannot close outbox: %w", err)
	}
	return nil
}

// query calls scan for each row.
func (db *database) query(scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.conn.QueryContext(context.Background(), query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// values returns the first column of all rows.
func values[T any](db *database, query string, args ...any) (all []T, err error) {
	err = db.query(func(r *sql.Rows) error {
		var v T
		err := r.Scan(&v)
		all = append(all, v)
		return err
	}, query, args...)
	return all, err
}

// adopt checks the file, or makes the tables in an empty one.
func (db *database) adopt() error {
	ids, err := values[int](db, "SELECT application_id FROM pragma_application_id UNION ALL SELECT user_version FROM pragma_user_version")
	if err != nil {
		return fmt.Errorf("cannot check outbox: %w", err)
	}
	found, err := values[string](db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
	if err != nil {
		return fmt.Errorf("cannot check outbox: %w", err)
	}
	if slices.Equal(ids, []int{0, 0}) && len(found) == 0 {
		return db.create()
	}
	if len(ids) == 2 && ids[0] == application && ids[1] > version {
		return errNewer
	}
	if !slices.Equal(ids, []int{application, version}) || !slices.Equal(found, schema) {
		return fmt.Errorf("%w: it has other tables", errDamaged)
	}
	problems, err := values[string](db, "PRAGMA quick_check(1)")
	if err != nil {
		return fmt.Errorf("cannot check outbox: %w", err)
	}
	if !slices.Equal(problems, []string{"ok"}) {
		return fmt.Errorf("%w: %.200s", errDamaged, strings.Join(problems, "; "))
	}
	return nil
}

func (db *database) create() error {
	all := slices.Concat([]string{"BEGIN IMMEDIATE"}, schema, []string{
		fmt.Sprintf("PRAGMA application_id = %d", application), fmt.Sprintf("PRAGMA user_version = %d", version), "COMMIT",
	})
	for _, statement := range all {
		if err := db.exec(statement); err != nil {
			_ = db.exec("ROLLBACK")
			return fmt.Errorf("cannot make outbox: %w", err)
		}
	}
	return nil
}

func (db *database) count() (counts, error) {
	c := counts{}.clone()
	err := db.query(func(r *sql.Rows) error {
		var status Status
		var n int
		var bytes int64
		err := r.Scan(&status, &n, &bytes)
		c.byStatus[status] = n
		c.bytes += bytes
		return err
	}, "SELECT status, count(*), sum(bytes) FROM message GROUP BY status")
	return c, err
}

// entries returns those that a query of the column entry finds.
func (db *database) entries(query string, args ...any) (all []entry, err error) {
	found, err := values[string](db, query, args...)
	for _, text := range found {
		e, err := parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, err
}

func parse(text string) (e entry, err error) {
	if err := strictjson.Unmarshal([]byte(text), &e); err != nil || !e.valid() {
		return e, fmt.Errorf("%w: it has a message that can't be read", errDamaged)
	}
	return e.shared(), nil
}

// waiting returns the messages that wait to be sent, oldest first.
func (db *database) waiting() ([]entry, error) {
	return db.entries("SELECT entry FROM message WHERE settled = 0 ORDER BY seq")
}

// sent returns at most n messages that were sent after since and may still be delivered or read,
// in their order, and the position of the last one.
func (db *database) sent(after int64, since time.Time, n int) (all []entry, last int64, err error) {
	err = db.query(func(r *sql.Rows) error {
		var text string
		if err := r.Scan(&last, &text); err != nil {
			return err
		}
		e, err := parse(text)
		all = append(all, e)
		return err
	}, "SELECT seq, entry FROM message WHERE seq > ? AND settled > ? AND status IN (?, ?) ORDER BY seq LIMIT ?", after, millis(since), Sent, Delivered, n)
	return all, last, err
}

// find returns the message with this id, or ErrUnknownMessage.
func (db *database) find(id rpc.MessageID) (entry, error) {
	found, err := db.entries("SELECT entry FROM message WHERE id = ?", id)
	if err == nil && len(found) == 0 {
		err = ErrUnknownMessage
	}
	if err != nil {
		return entry{}, err
	}
	return found[0], nil
}

// content is the part of an rpc.Message that is erased.
type content struct {
	Text     string   `json:"text"`
	ReplyTo  string   `json:"reply_to,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
	Preview  bool     `json:"preview,omitempty"`
}

// size is about what it takes on disk, in bytes.
func (c content) size() int64 {
	n := len(c.Text) + len(c.ReplyTo)
	for _, address := range c.Mentions {
		n += len(address)
	}
	return int64(n)
}

func contentOf(m rpc.Message) content {
	c := content{Text: string(m.Text), ReplyTo: m.ReplyTo, Preview: m.Preview}
	for _, address := range m.Mentions {
		c.Mentions = append(c.Mentions, string(address))
	}
	return c
}

// message returns what is to be sent, or ErrUnknownMessage if its text was erased.
func (db *database) message(e entry) (m rpc.Message, err error) {
	found, err := values[string](db, "SELECT body FROM content JOIN message USING (seq) WHERE id = ?", e.ID)
	if err != nil {
		return m, err
	}
	if len(found) == 0 {
		return m, ErrUnknownMessage
	}
	var c content
	if strictjson.Unmarshal([]byte(found[0]), &c) != nil {
		return m, fmt.Errorf("%w: it has a text that can't be read", errDamaged)
	}
	m = rpc.Message{ID: e.ID, To: rpc.Secret(e.To), Text: rpc.Secret(c.Text), ReplyTo: c.ReplyTo, Preview: c.Preview}
	for _, address := range c.Mentions {
		m.Mentions = append(m.Mentions, rpc.Secret(address))
	}
	return m, nil
}

func (db *database) settings() (s settings, err error) {
	found, err := values[string](db, "SELECT value FROM setting")
	if err == nil && len(found) > 0 && strictjson.Unmarshal([]byte(found[0]), &s) != nil {
		err = fmt.Errorf("%w: its settings can't be read", errDamaged)
	}
	return s, err
}

// change is a message before, which is zero for a new one, and after.
type change struct{ before, after entry }

// transaction collects changes.
type transaction struct {
	*database
	counts  counts
	changed []change
	// erased: a text was, so that the file's journal still has it.
	erased bool
}

func (db *database) begin(c counts) (*transaction, error) {
	if err := db.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	return &transaction{database: db, counts: c.clone()}, nil
}

func (t *transaction) rollback() { _ = t.exec("ROLLBACK") }

func (t *transaction) commit() error {
	if err := t.exec("COMMIT"); err != nil {
		t.rollback()
		return err
	}
	if t.erased {
		_ = t.exec("PRAGMA wal_checkpoint(TRUNCATE)") // what fails is done with the next one
	}
	return nil
}

// earlier returns the message that the same request has made before, or ErrConflict or
// ErrIDTaken if another one has used its key or its id.
func (t *transaction) earlier(r Request) (e entry, found bool, refused, err error) {
	for _, name := range []struct {
		query string
		value string
		other error
	}{
		{"SELECT hash, entry FROM message WHERE key = ?", r.IdempotencyKey, ErrConflict},
		{"SELECT hash, entry FROM message WHERE id = ?", string(r.Message.ID), ErrIDTaken},
	} {
		if name.value == "" {
			continue
		}
		err = t.query(func(rows *sql.Rows) error {
			var hash []byte
			var text string
			if err := rows.Scan(&hash, &text); err != nil {
				return err
			}
			if found = bytes.Equal(hash, r.Hash[:]); !found {
				refused = name.other
			}
			var err error
			e, err = parse(text)
			return err
		}, name.query, name.value)
		if err != nil || found || refused != nil {
			return e, found, refused, err
		}
	}
	return e, false, nil, nil
}

// insert adds a message.
func (t *transaction) insert(e entry, key any, hash []byte, c content) error {
	size := c.size()
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := t.exec("INSERT INTO message (id, key, hash, status, settled, latest, bytes, entry) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		e.ID, key, hash, e.Status, millis(e.settled()), millis(e.latest()), size, string(text)); err != nil {
		return err
	}
	if err := t.exec("INSERT INTO content (seq, body) VALUES (last_insert_rowid(), ?)", string(body)); err != nil {
		return err
	}
	t.counts.byStatus[e.Status]++
	t.counts.bytes += size
	t.changed = append(t.changed, change{after: e})
	return nil
}

// update changes a message, if there is one with this id, and returns it.
func (t *transaction) update(id rpc.MessageID, f func(entry) entry) (entry, error) {
	before, err := t.find(id)
	if err != nil {
		return entry{}, err
	}
	after := f(before)
	if after == before {
		return after, nil
	}
	text, err := json.Marshal(after)
	if err != nil {
		return entry{}, err
	}
	t.counts.byStatus[before.Status]--
	t.counts.byStatus[after.Status]++
	t.changed = append(t.changed, change{before, after})
	return after, t.exec("UPDATE message SET status = ?, settled = ?, latest = ?, entry = ? WHERE id = ?",
		after.Status, millis(after.settled()), millis(after.latest()), string(text), id)
}

func (t *transaction) save(s settings) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO setting (one, value) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET value = excluded.value", string(text))
}

// retain erases the texts of messages that have ended, and messages, that are too old.
func (t *transaction) retain(l Limits, now time.Time) error {
	before := t.counts.bytes
	for _, q := range []struct {
		query string
		until time.Time
	}{
		{"DELETE FROM content WHERE seq IN (SELECT seq FROM message WHERE settled > 0 AND settled < ? AND bytes > 0)", now.Add(-l.KeepText)},
		{"UPDATE message SET bytes = 0 WHERE settled > 0 AND settled < ? AND bytes > 0", now.Add(-l.KeepText)},
		{"DELETE FROM content WHERE seq IN (SELECT seq FROM message WHERE settled > 0 AND latest < ?)", now.Add(-l.Keep)},
		{"DELETE FROM message WHERE settled > 0 AND latest < ?", now.Add(-l.Keep)},
	} {
		if err := t.exec(q.query, millis(q.until)); err != nil {
			return err
		}
	}
	c, err := t.count()
	if err != nil {
		return err
	}
	messages, _ := t.counts.messages()
	left, _ := c.messages()
	t.counts, t.erased = c, t.erased || c.bytes != before || left != messages
	return nil
}

// newID draws an id.
func newID() rpc.MessageID {
	var b [9]byte
	_, _ = rand.Read(b[:]) // it never fails
	return rpc.MessageID(fmt.Sprintf("3EB0%X", b))
}
