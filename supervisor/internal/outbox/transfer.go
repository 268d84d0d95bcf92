package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"session-manager/supervisor/internal/database"
)

// Export copies the messages of a database that nothing uses to a new file, and reports
// whether there are any.
func Export(path, to string) (any bool, err error) {
	return database.Export(path, format, to, func(opened *database.DB) (bool, error) {
		c, err := messages{opened}.count()
		all, _ := c.messages()
		return all > 0, err
	})
}

// Import adds the messages of an exported file, which may be empty for none, to a database
// that nothing uses; those that it has already stay as they are. keyless counts those that
// are kept without their idempotency key, as another message has it. Another login is in the
// profile now, so it is forgotten whose account it was. The error matches ErrDamaged if the
// file is not an export.
func Import(from, path string) (keyless int, err error) {
	if from != "" {
		if err := checkExport(from); err != nil {
			return 0, err
		}
	} else if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	db, err := database.Open(path, format)
	if database.Damaged(err) {
		if _, err := database.MoveAside(path); err != nil {
			return 0, err
		}
		db, err = database.Open(path, format)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if from != "" {
		if err := db.Exec("ATTACH ? AS imported", from); err != nil {
			return 0, fmt.Errorf("cannot import messages: %w", err)
		}
	}
	return messages{db}.merge(from != "")
}

// checkExport makes sure that a file is one of Export's.
func checkExport(path string) error {
	db, err := database.Open(path, format)
	if err == nil {
		_, err = messages{db}.entries("SELECT entry FROM message")
		err = errors.Join(err, db.Close())
	}
	if database.Damaged(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// merge adds what is attached as imported, if anything is, and forgets the account.
func (db messages) merge(imported bool) (keyless int, err error) {
	_, err = db.transact(counts{}, func(t *transaction) error {
		s, err := t.settings()
		if err == nil {
			s.Account = ""
			err = t.save(s, time.Now())
		}
		if imported && err == nil {
			keyless, err = t.adopt()
		}
		if imported && err == nil {
			err = t.Exec("INSERT OR IGNORE INTO content (seq, body) SELECT m.seq, c.body FROM imported.content c " +
				"JOIN imported.message i ON i.seq = c.seq JOIN main.message m ON m.id = i.id WHERE m.bytes > 0") // others were erased
		}
		if err == nil {
			err = t.retain(DefaultLimits(), time.Now())
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot import messages: %w", err)
	}
	return keyless, nil
}

// adopt adds the messages of imported that are not here, and returns of how many another
// message has the key.
func (t *transaction) adopt() (keyless int, err error) {
	taken, err := database.Values[int](t.DB, "SELECT count(*) FROM imported.message "+
		"WHERE id NOT IN (SELECT id FROM main.message) AND key IN (SELECT key FROM main.message)")
	if err != nil {
		return 0, err
	}
	return taken[0], t.Exec("INSERT OR IGNORE INTO message (id, key, hash, status, settled, latest, bytes, entry) " +
		"SELECT id, CASE WHEN key IN (SELECT key FROM main.message) THEN NULL ELSE key END, hash, status, settled, latest, bytes, entry " +
		"FROM imported.message ORDER BY seq")
}
