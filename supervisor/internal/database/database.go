// Package database opens a private SQLite file (modernc.org/sqlite, no cgo) so that what
// was written to it survives the end of the process and of the machine, and what was deleted
// from it is overwritten.
//
// The lock is exclusive, so that SQLite maps no file into memory, where a full disk kills the
// process, and a second supervisor waits. A database has one connection, which one goroutine
// may use at a time.
package database

import (
	"context"
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

	"session-manager/shared/strictjson"
)

// Format is what a file must hold.
type Format struct {
	// Application marks a file as one of this kind, as SQLite's application_id.
	Application int
	// Versions has the statements that make the tables of version 1, and what each later
	// version adds. They are compared with those of a file, so that nothing else runs in it,
	// such as a trigger. Those of a released version never change.
	Versions [][]string
}

const (
	// MaxFile is the size from which on a file is damaged, in bytes: it would take too long
	// to check.
	MaxFile = 1 << 30
	// cacheKiB bounds SQLite's cache of pages; the kernel has one, too.
	cacheKiB = 128
)

var (
	// ErrDamaged means that a file is not of the format, or not whole.
	ErrDamaged = errors.New("the database is damaged")
	// ErrNewer means that a file was written by a newer version of this program, which it
	// is left to.
	ErrNewer = errors.New("the database was written by a newer version")
)

// DB is an open file.
type DB struct {
	path string
	info os.FileInfo
	pool *sql.DB
	conn *sql.Conn
	// aside is how many rows were set aside since this was last asked.
	aside int
	// within a transaction, ended is an error for which SQLite may have rolled it back.
	within bool
	ended  error
}

// Open opens the database at path, brings it up to the newest version, or makes it. Errors
// that mean that it can't be used satisfy Damaged, or match ErrNewer.
func Open(path string, format Format) (*DB, error) {
	for _, name := range files(path) {
		if info, err := os.Lstat(name); err == nil && info.Size() > MaxFile {
			return nil, fmt.Errorf("%w: %s is too large", ErrDamaged, name)
		}
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if err = db.adopt(format); err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openFile opens a database without looking at what it holds.
func openFile(path string) (db *DB, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open database: %w", err)
	}
	if err := prepare(path); err != nil {
		return nil, err
	}
	where := url.URL{Scheme: "file", Path: path}
	pool, err := sql.Open("sqlite", where.String())
	if err != nil {
		return nil, fmt.Errorf("cannot open database: %w", err)
	}
	defer func() {
		if err != nil {
			_ = pool.Close()
		}
	}()
	conn, err := pool.Conn(context.Background())
	if err != nil {
		return nil, fmt.Errorf("cannot open database: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // Closing the pool leaves it open, and locked.
		}
	}()
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open database: %w", err)
	}
	db = &DB{path: path, info: info, pool: pool, conn: conn}
	// WAL needs one fsync for a transaction.
	for _, pragma := range []string{
		"locking_mode = EXCLUSIVE", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "temp_store = MEMORY",
		fmt.Sprintf("cache_size = -%d", cacheKiB), "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "journal_size_limit = 4194304",
	} {
		if err := db.Exec("PRAGMA " + pragma); err != nil {
			return nil, fmt.Errorf("cannot open database: %w", err)
		}
	}
	return db, nil
}

// prepare makes a private file, and refuses what is not one.
func prepare(path string) error {
	for _, name := range files(path) {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("cannot open database: %w", err)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%w: %s is not a regular file", ErrDamaged, name)
		case info.Mode().Perm()&0o077 != 0:
			if err := os.Chmod(name, 0o600); err != nil {
				return fmt.Errorf("cannot make database private: %w", err)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open database: %w", err)
	}
	return f.Close()
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot sync folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}

// adopt checks the file, and makes the tables that it lacks.
func (db *DB) adopt(format Format) error {
	version, err := db.version(format)
	if err != nil {
		return err
	}
	if version == 0 {
		return db.upgrade(format, 0)
	}
	problems, err := Values[string](db, "PRAGMA quick_check(1)")
	if err != nil {
		return fmt.Errorf("cannot check database: %w", err)
	}
	if !slices.Equal(problems, []string{"ok"}) {
		return fmt.Errorf("%w: %.200s", ErrDamaged, strings.Join(problems, "; "))
	}
	if version < len(format.Versions) {
		return db.upgrade(format, version)
	}
	return nil
}

// version returns which one of the format the file has, 0 for an empty one.
func (db *DB) version(format Format) (int, error) {
	ids, err := Values[int](db, "SELECT application_id FROM pragma_application_id UNION ALL SELECT user_version FROM pragma_user_version")
	if err != nil {
		return 0, fmt.Errorf("cannot check database: %w", err)
	}
	found, err := Values[string](db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
	if err != nil {
		return 0, fmt.Errorf("cannot check database: %w", err)
	}
	if slices.Equal(ids, []int{0, 0}) && len(found) == 0 {
		return 0, nil
	}
	if len(ids) != 2 || ids[0] != format.Application || ids[1] < 1 {
		return 0, fmt.Errorf("%w: it is of another kind", ErrDamaged)
	}
	if ids[1] > len(format.Versions) {
		return 0, ErrNewer
	}
	wanted := slices.Concat(format.Versions[:ids[1]]...)
	slices.Sort(wanted)
	slices.Sort(found) // VACUUM writes tables before indexes
	if !slices.Equal(found, wanted) {
		return 0, fmt.Errorf("%w: it has other tables", ErrDamaged)
	}
	return ids[1], nil
}

// Salvage calls f with the database that was moved aside from path, if there is one. Any part of it may be unreadable, and
// nothing changes it. lost is why nothing of it can be read. After err, which may be that of f, it is to be tried again.
func Salvage(path string, format Format, f func(*DB) error) (aside bool, lost, err error) {
	if _, missing := os.Lstat(path + AsideSuffix); missing != nil {
		return false, nil, nil
	}
	var failure error
	db, err := openFile(path + AsideSuffix)
	if err == nil {
		version := 0
		if err = db.Exec("PRAGMA query_only = ON"); err == nil {
			version, err = db.version(format)
		}
		if err == nil && version > 0 {
			failure = f(db)
		}
		err = errors.Join(err, db.Close())
	}
	if Damaged(err) || errors.Is(err, ErrNewer) {
		lost, err = err, nil
	}
	return true, lost, errors.Join(failure, err)
}

// FromBothEnds calls f for the rows of a query, which has no order of its own, in the order of a column until one
// can't be read or f returns an error, and after that in the opposite order likewise. So f may get a row twice.
func (db *DB) FromBothEnds(f func(*sql.Rows) error, query, column string) {
	for _, direction := range []string{"", " DESC"} {
		if db.Query(f, query+" ORDER BY "+column+direction) == nil {
			return
		}
	}
}

// upgrade makes the tables that came after version.
func (db *DB) upgrade(format Format, version int) error {
	statements := append(slices.Concat(format.Versions[version:]...),
		fmt.Sprintf("PRAGMA application_id = %d", format.Application), fmt.Sprintf("PRAGMA user_version = %d", len(format.Versions)))
	err := db.Transact(func() error {
		for _, statement := range statements {
			if err := db.Exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot make tables: %w", err)
	}
	return nil
}

// inPlace reports whether the file is still at its path.
func (db *DB) inPlace() bool {
	info, err := os.Lstat(db.path)
	return err == nil && os.SameFile(info, db.info)
}

// Close closes the database; its log is emptied into the file.
func (db *DB) Close() error {
	if err := errors.Join(db.conn.Close(), db.pool.Close()); err != nil {
		return fmt.Errorf("cannot close database: %w", err)
	}
	return nil
}

// Exec runs a statement.
func (db *DB) Exec(query string, args ...any) error {
	if db.ended != nil {
		return db.ended
	}
	_, err := db.conn.ExecContext(context.Background(), query, args...)
	return db.noted(err)
}

// noted returns err. Some errors end a transaction (lang_transaction.html, "Response To Errors Within A Transaction"): what
// followed would be written alone.
func (db *DB) noted(err error) error {
	if db.within && isCode(err, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT) {
		db.ended = err
	}
	return err
}

// Query calls scan for each row.
func (db *DB) Query(scan func(*sql.Rows) error, query string, args ...any) error {
	if db.ended != nil {
		return db.ended
	}
	rows, err := db.conn.QueryContext(context.Background(), query, args...)
	if err != nil {
		return db.noted(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return db.noted(rows.Err())
}

// Values returns the first column of all rows.
func Values[T any](db *DB, query string, args ...any) (all []T, err error) {
	err = db.Query(func(r *sql.Rows) error {
		var v T
		err := r.Scan(&v)
		all = append(all, v)
		return err
	}, query, args...)
	return all, err
}

// TableSetting makes the table of Setting and Set.
const TableSetting = `CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL) STRICT`

// Setting reads what Set has kept into v, and reports whether there is anything. lost means that
// it can't be read, and was set aside.
func Setting[T any](db *DB, v *T) (found, lost bool, err error) {
	values, err := Values[string](db, "SELECT value FROM setting")
	if err != nil || len(values) == 0 {
		return false, false, err
	}
	read := *v
	if strictjson.Unmarshal([]byte(values[0]), &read) != nil {
		return false, true, SetAside(db, []int{1}, "SELECT value FROM setting WHERE one = ?1", "DELETE FROM setting WHERE one = ?1")
	}
	*v = read
	return true, false, nil
}

// Set keeps v, which has a JSON form, in place of what was kept before.
func (db *DB) Set(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return db.Exec("INSERT INTO setting (one, value) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET value = excluded.value", string(text))
}

// Transact has all that f changes written with one fsync, or nothing of it if f returns an
// error.
func (db *DB) Transact(f func() error) error {
	if err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := db.whole(f)
	if err == nil {
		err = db.Exec("COMMIT")
	}
	if err != nil {
		_ = db.Exec("ROLLBACK")
	}
	return err
}

// whole calls f as a part of a transaction, and returns an error if that has ended meanwhile.
func (db *DB) whole(f func() error) error {
	outer := db.within
	db.within = true
	err := f()
	if err == nil {
		err = db.ended
	}
	if db.within = outer; !outer {
		db.ended = nil
	}
	return err
}

// TableAside makes the table of SetAside.
const TableAside = `CREATE TABLE aside (at INTEGER NOT NULL, content TEXT NOT NULL) STRICT`

// maxAside is how many rows are kept of those that were set aside, the last ones, and maxAsideLength
// how many characters of each.
const maxAside, maxAsideLength = 1000, 128 << 10

// SetAside keeps what rows hold that can't be read, which is the one value of the query, for
// the operator until ForgetAside, and does the statements, which delete them. In all of them a row is ?1.
func SetAside[T any](db *DB, rows []T, query string, statements ...string) error {
	if len(rows) == 0 {
		return nil
	}
	err := db.Together(func() (err error) {
		for _, row := range rows {
			if err == nil {
				err = db.Exec("INSERT INTO aside (at, content) VALUES (?2, ifnull(substr(("+query+"), 1, ?3), ''))", row, time.Now().UnixMilli(), maxAsideLength)
			}
			for _, statement := range statements {
				if err == nil {
					err = db.Exec(statement, row)
				}
			}
		}
		if err == nil {
			err = db.Exec("DELETE FROM aside WHERE rowid <= (SELECT max(rowid) FROM aside) - ?", maxAside)
		}
		return err
	})
	if err == nil {
		db.aside += len(rows)
	}
	return err
}

// Together has all that f changes done, or nothing of it if f returns an error, within a
// transaction or without one.
func (db *DB) Together(f func() error) error {
	if err := db.Exec("SAVEPOINT together"); err != nil {
		return err
	}
	err := db.whole(f)
	if err != nil {
		_ = db.Exec("ROLLBACK TO together")
	}
	return errors.Join(err, db.Exec("RELEASE together"))
}

// Aside returns how many rows were set aside since the last call.
func (db *DB) Aside() int {
	n := db.aside
	db.aside = 0
	return n
}

// ForgetAside erases what was set aside before then, and reports whether there was anything.
func (db *DB) ForgetAside(then time.Time) (any bool, err error) {
	gone, err := Values[int](db, "DELETE FROM aside WHERE at < ? RETURNING 1", then.UnixMilli())
	return len(gone) > 0, err
}

// Erase empties the log, which still has what was deleted before.
func (db *DB) Erase() error { return db.Exec("PRAGMA wal_checkpoint(TRUNCATE)") }

// Damaged reports whether err means that the file itself can't be used.
func Damaged(err error) bool {
	return errors.Is(err, ErrDamaged) || isCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
}

// Full reports whether err means that the disk, or a quota, is full.
func Full(err error) bool {
	return isCode(err, sqlite3.SQLITE_FULL) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// isCode reports whether err has one of SQLite's primary result codes.
func isCode(err error, codes ...int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && slices.Contains(codes, e.Code()&0xff)
}
