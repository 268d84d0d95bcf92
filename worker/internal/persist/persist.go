// Package persist finds out what has reached the disk in the profile of a running
// Chrome. Chrome keeps localStorage in memory before it commits it: for a second with
// --enable-aggressive-domstorage-flushing, otherwise for five and, when a page writes
// often, for up to a minute (content/…/storage_area_impl.cc: 60 commits an hour). A
// SIGKILL loses what is there.
package persist

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"session-manager/shared/chrome"
)

// maxBytes bounds the copy that Stored makes. localStorage holds at most 10 MB
// an origin, and the profile belongs to one.
const maxBytes = 64 << 20

// sqliteName is the file that Chrome 156 makes instead of the LevelDB when its feature
// DomStorageSqlite is enabled, which it is not by default.
const sqliteName = "LocalStorage"

var errSQLite = errors.New("localStorage is a SQLite database, which can't be read here")

// Stored reports whether every one of the localStorage keys of page's origin is
// on disk in the profile. It reads a copy, made below scratch and removed again,
// since Chrome holds the database's lock. While Chrome reorganises its files the
// copy may be torn: that is an error, and the caller should try again. It is one as well,
// and a lasting one, when Chrome keeps localStorage in another form than a LevelDB.
func Stored(profileDir, scratch, page string, keys []string) (bool, error) {
	origin, err := chrome.Origin(page)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp(scratch, "ls")
	if err != nil {
		return false, fmt.Errorf("cannot make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	files := filepath.Join(profileDir, "Default", "Local Storage", "leveldb")
	if _, err := os.Stat(files); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(profileDir, "Default", sqliteName)); err == nil {
			return false, errSQLite
		}
		return false, nil
	}
	if err := os.CopyFS(dir, database{os.DirFS(files)}); err != nil {
		return false, fmt.Errorf("cannot copy database: %w", err)
	}
	return hasKeys(dir, origin, keys)
}

// database is the folder of a LevelDB, as it is copied: without the lock.
type database struct{ fs.FS }

// ReadDir implements fs.ReadDirFS.
func (d database) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(d.FS, name)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.Type().IsRegular() || e.Name() == "LOCK" })
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		size += info.Size()
	}
	if size > maxBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxBytes)
	}
	return entries, nil
}

// Markers of how Chrome writes a localStorage key: an underscore, the origin, a
// NUL, and the key, either Latin-1 behind a 1 or UTF-16 behind a 0
// (components/services/storage/dom_storage/local_storage_impl.cc).
const (
	keyPrefix = "_"
	latin1Key = "\x00\x01"
)

func hasKeys(dir, origin string, keys []string) (found bool, err error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{ReadOnly: true, ErrorIfMissing: true})
	if err != nil {
		return false, fmt.Errorf("cannot open copy of database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	missing := map[string]bool{}
	for _, k := range keys {
		missing[k] = true
	}
	prefix := []byte(keyPrefix + origin + latin1Key)
	it := db.NewIterator(util.BytesPrefix(prefix), nil)
	defer it.Release()
	for it.Next() {
		delete(missing, string(bytes.TrimPrefix(it.Key(), prefix)))
	}
	if err := it.Error(); err != nil {
		return false, fmt.Errorf("cannot read copy of database: %w", err)
	}
	return len(missing) == 0, nil
}
