package database

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	first  = Format{Application: 7, Versions: [][]string{{"CREATE TABLE a (x TEXT) STRICT"}}}
	second = Format{Application: 7, Versions: append(slices.Clip(first.Versions), []string{"CREATE TABLE b (x TEXT) STRICT"})}
)

func open(t *testing.T, path string, format Format, statements ...string) *DB {
	t.Helper()
	db, err := Open(path, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func TestOlderDatabaseIsBroughtUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "file")
	db := open(t, path, first, "INSERT INTO a VALUES ('kept')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		db = open(t, path, second, "INSERT INTO b SELECT x FROM a")
		if got, err := Values[string](db, "SELECT DISTINCT x FROM b"); err != nil || !slices.Equal(got, []string{"kept"}) {
			t.Errorf("got %q, %v", got, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path, first); !errors.Is(err, ErrNewer) || Damaged(err) {
		t.Errorf("an older program: %v", err)
	}
	if _, err := Open(path, Format{Application: 8, Versions: second.Versions}); !Damaged(err) {
		t.Errorf("another kind: %v", err)
	}
}

func TestErasedTextIsNotInTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	db := open(t, path, first, "INSERT INTO a VALUES ('the quick brown fox')", "DELETE FROM a")
	defer func() { _ = db.Close() }()
	if err := db.Erase(); err != nil {
		t.Fatal(err)
	}
	for _, name := range files(path) {
		if b, _ := os.ReadFile(name); bytes.Contains(b, []byte("brown fox")) {
			t.Errorf("%s still has it", name)
		}
	}
}

func TestFailedTransactionChangesNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "file"), first)
	defer func() { _ = db.Close() }()
	failure := errors.New("no")
	err := db.Transact(func() error { return errors.Join(db.Exec("INSERT INTO a VALUES ('x')"), failure) })
	got, queryErr := Values[string](db, "SELECT x FROM a")
	if !errors.Is(err, failure) || queryErr != nil || len(got) != 0 {
		t.Errorf("got %v, %q, %v", err, got, queryErr)
	}
	if err := db.Transact(func() error { return db.Exec("INSERT INTO a VALUES ('x')") }); err != nil {
		t.Error(err)
	}
}

// A full disk ends a transaction, and what it would have done next isn't done alone.
func TestFullDiskLeavesNothingOfATransaction(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "file"), first, "PRAGMA max_page_count = 20")
	defer func() { _ = db.Close() }()
	do := func(size int) func() error {
		return func() error {
			_, err := Values[int](db, "INSERT INTO a VALUES (?) RETURNING 1", strings.Repeat("x", size))
			return errors.Join(db.Exec("INSERT INTO a VALUES ('first')"), err, db.Exec("INSERT INTO a VALUES ('last')"))
		}
	}
	for name, transact := range map[string]func(func() error) error{
		"transaction": db.Transact, "part": db.Together,
		"part of one": func(f func() error) error { return db.Transact(func() error { return db.Together(f) }) },
		"ignored":     func(f func() error) error { return db.Transact(func() error { _ = f(); return nil }) },
	} {
		err := transact(do(1 << 20))
		if got, _ := Values[string](db, "SELECT x FROM a"); !Full(err) || len(got) != 0 {
			t.Errorf("%s: left %d rows after %v", name, len(got), err)
		}
		err = errors.Join(transact(do(1)), db.Exec("DELETE FROM a"))
		if err != nil {
			t.Errorf("%s: afterwards %v", name, err)
		}
	}
}

func TestRowsAreSetAsideWholly(t *testing.T) {
	format := Format{Application: 7, Versions: [][]string{{"CREATE TABLE a (x TEXT) STRICT", TableAside}}}
	db := open(t, filepath.Join(t.TempDir(), "file"), format, "INSERT INTO a VALUES ('one'), ('two'), ('three')")
	defer func() { _ = db.Close() }()
	failure := errors.New("no")
	undone := db.Transact(func() error {
		return errors.Join(SetAside(db, []string{"one"}, "SELECT x FROM a WHERE x = ?1", "DELETE FROM a WHERE x = ?1"), failure)
	})
	failed := SetAside(db, []string{"one", "two"}, "SELECT x FROM a WHERE x = ?1", "DELETE FROM a WHERE x = ?1", "DELETE FROM nothing WHERE x = ?1")
	db.Aside()
	if got, _ := Values[string](db, "SELECT x FROM a"); len(got) != 3 || !errors.Is(undone, failure) || failed == nil {
		t.Errorf("left %q after %v, %v", got, undone, failed)
	}
	err := SetAside(db, []string{"one", "two"}, "SELECT x FROM a WHERE x = ?1", "DELETE FROM a WHERE x = ?1")
	kept, _ := Values[string](db, "SELECT content FROM aside ORDER BY content")
	if left, _ := Values[string](db, "SELECT x FROM a"); err != nil || !slices.Equal(kept, []string{"one", "two"}) || !slices.Equal(left, []string{"three"}) || db.Aside() != 2 {
		t.Errorf("kept %q, left %q, %v", kept, left, err)
	}
	if err := SetAside(db, append(slices.Repeat([]string{"y"}, maxAside), "x"), "SELECT iif(?1 = 'x', printf('%.*c', ?3 + 1, 'x'), 'y')"); err != nil {
		t.Error(err)
	}
	if sizes, _ := Values[int](db, "SELECT length(content) FROM aside"); len(sizes) != maxAside || slices.Max(sizes) != maxAsideLength {
		t.Errorf("%d rows are kept, of at most %d characters", len(sizes), slices.Max(sizes))
	}
	if gone, err := db.ForgetAside(time.Now().Add(time.Hour)); !gone || err != nil {
		t.Errorf("forgotten: %t, %v", gone, err)
	}
}
