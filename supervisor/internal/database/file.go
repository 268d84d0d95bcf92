package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// File is a database that is opened when it is needed. One that is damaged is moved aside and
// made again. It is for one goroutine at a time.
type File struct {
	Path   string
	Format Format
	// Opened, if it is set, is called with a database that was opened. If its error satisfies
	// Damaged, the database is moved aside, too.
	Opened func(*DB) error
	// MovedAside is called when a database was moved aside, or could not be.
	MovedAside func(aside string, err error)
	// RowsAside, if it is set, is called by Noticed after rows were set aside, with their number.
	RowsAside func(n int)

	db *DB // nil while it is not open
	// damage was found in use, perhaps where a check finds none.
	damage error
}

// Open returns the database, open and at its place.
func (f *File) Open() (*DB, error) {
	if f.db != nil && f.db.inPlace() {
		return f.db, nil
	}
	_ = f.Close() // It was removed or replaced, and what is written to it is lost.
	err := f.damage
	if err == nil {
		err = f.open()
	}
	if Damaged(err) {
		aside, moveErr := MoveAside(f.Path)
		f.MovedAside(aside, errors.Join(err, moveErr))
		if moveErr == nil {
			f.damage = nil
			err = f.open()
		}
	}
	return f.db, err
}

func (f *File) open() error {
	db, err := Open(f.Path, f.Format)
	if err != nil {
		return err
	}
	if f.Opened != nil {
		if err := f.Opened(db); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	f.db = db
	return nil
}

// Failed notes an error of the database, and reports whether it was closed because of it.
func (f *File) Failed(err error) bool {
	if !Damaged(err) {
		return false
	}
	_ = f.Close()
	f.damage = err // so that Open moves it aside
	return true
}

// Noticed reports whether rows were set aside since the last call, and calls RowsAside then.
func (f *File) Noticed() bool {
	if f.db == nil {
		return false
	}
	n := f.db.Aside()
	if n > 0 && f.RowsAside != nil {
		f.RowsAside(n)
	}
	return n > 0
}

// Close closes the database if it is open.
func (f *File) Close() error {
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	return db.Close()
}

// Remove closes the database and erases it, and what was moved aside.
func (f *File) Remove() error {
	f.damage = nil
	return errors.Join(f.Close(), Remove(f.Path))
}

// AsideSuffix is for a database that is damaged. Only the last one is kept.
const AsideSuffix = ".damaged"

// MoveAside renames the database at path, and returns where it is. Its log, which has what was written last, is
// at both places before the file is moved, so that a kill separates no file from its log.
func MoveAside(path string) (string, error) {
	aside := path + AsideSuffix
	if err := remove(files(aside)); err != nil {
		return path, err
	}
	info, err := os.Lstat(path + walSuffix)
	logged := err == nil && info.Mode().IsRegular()
	linked := logged && os.Link(path+walSuffix, aside+walSuffix) == nil
	if err = os.Rename(path, aside); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && logged && !linked { // the file system has no links
		err = os.Rename(path+walSuffix, aside+walSuffix)
	}
	if err != nil {
		return path, fmt.Errorf("cannot move database aside: %w", err)
	}
	_ = os.Chtimes(aside, time.Time{}, time.Now()) // its age counts from now
	return aside, remove(files(path))
}

const walSuffix = "-wal"

// ExpireAside removes what was moved aside before then.
func ExpireAside(path string, then time.Time) error {
	if info, err := os.Lstat(path + AsideSuffix); err != nil || info.ModTime().After(then) {
		return nil
	}
	return remove(files(path + AsideSuffix))
}

// Remove removes the database at path, which must not be open, and what was moved aside.
func Remove(path string) error {
	return remove(append(files(path), files(path+AsideSuffix)...))
}

// files are those of which a database consists.
func files(path string) []string {
	return []string{path, path + walSuffix, path + "-journal", path + "-shm"}
}

func remove(names []string) error {
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("cannot remove database: %w", err)
		}
	}
	return nil
}

// Export copies a database that nothing uses to a new private file, if there is one and
// wanted is true of it, and reports whether it did.
func Export(path string, format Format, to string, wanted func(*DB) (bool, error)) (done bool, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	db, err := Open(path, format)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if ok, err := wanted(db); err != nil || !ok {
		return false, err
	}
	if err := os.WriteFile(to, nil, 0o600); err != nil { // SQLite would make it readable for others
		return false, fmt.Errorf("cannot export database: %w", err)
	}
	if err := db.Exec("VACUUM INTO ?", to); err != nil {
		return false, fmt.Errorf("cannot export database: %w", err)
	}
	return true, nil
}
