package outbox

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/strictjson"
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

// Imported counts messages of an export by what is wrong with them.
type Imported struct {
	// Keyless are kept without their idempotency keys, which other messages have here, or which are not valid.
	Keyless int
	// Invalid were to be sent, which can't be done, and have failed.
	Invalid int
	// Damaged can't be read: they were set aside, and their ids and keys are kept.
	Damaged int
}

// Import adds the messages of an exported file, which may be empty for none, to a database
// that nothing uses; those that it has already stay as they are. Another login is in the
// profile now, so its account is that of the export, if it is known there. The error matches ErrDamaged if the
// file is not an export.
func Import(from, path string) (n Imported, err error) {
	var imported *database.DB // nil for none
	if from != "" {
		imported, err = database.Open(from, format)
		if database.Damaged(err) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil {
			return n, err
		}
		defer func() { err = errors.Join(err, imported.Close()) }()
	} else if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	file := database.File{Path: path, Format: format, MovedAside: func(string, error) {}, Opened: func(db *database.DB) error {
		_, err := salvage(path, messages{db}) // one of which nothing can be read is left where it is
		return err
	}}
	defer func() { err = errors.Join(err, file.Close()) }()
	db, err := file.Open()
	if err == nil {
		_, err = messages{db}.transact(counts{}, func(t *transaction) (err error) {
			n, err = t.merge(imported, time.Now())
			return err
		})
	}
	if err != nil {
		return Imported{}, fmt.Errorf("cannot import messages: %w", err)
	}
	return n, nil
}

// merge adds the messages of imported, unless it is nil, and takes over its account.
func (t *transaction) merge(imported *database.DB, now time.Time) (n Imported, err error) {
	s, err := t.settings()
	if err != nil {
		return n, err
	}
	if s.link = (link{}); imported != nil {
		if s.link, err = (messages{imported}).link(); err == nil {
			err = t.adopt(messages{imported}, &n, now)
		}
	}
	if err == nil {
		err = errors.Join(t.save(s, now), t.retain(DefaultLimits(), now))
	}
	return n, err
}

// link returns which account is linked.
func (db messages) link() (link, error) {
	s, err := db.settings()
	if s.Account == "" {
		return link{}, err
	}
	return link{holder: holder{bounded(rpc.Secret(s.Account)), bounded(rpc.Secret(s.Alias))}}, err
}

// exported is a message of an export as it was found there.
type exported struct {
	remains
	content string
	hash    []byte
}

// exported returns the messages for which a condition holds.
func (db messages) exported(condition string, args ...any) (all []exported, err error) {
	const most = 1 << 20 // no text is longer that was accepted
	err = db.Query(func(r *sql.Rows) error {
		var m exported
		err := r.Scan(&m.seq, &m.id, &m.key, &m.status, &m.hash, &m.entry, &m.content)
		all = append(all, m)
		return err
	}, strings.ReplaceAll("SELECT seq, substr(id, 1, #), substr(ifnull(key, ''), 1, #), substr(status, 1, #), substr(hash, 1, #), substr(entry, 1, #), "+
		"substr(ifnull((SELECT body FROM content WHERE content.seq = message.seq), ''), 1, #) FROM message WHERE "+condition, "#", strconv.Itoa(most)), args...)
	return all, err
}

// adopt adds the messages of from that are not here, in their order.
func (t *transaction) adopt(from messages, n *Imported, now time.Time) error {
	const some = 50
	for last := int64(-1 << 63); ; {
		all, err := from.exported("seq > ? ORDER BY seq LIMIT ?", last, some)
		for _, m := range all {
			if err == nil {
				err = t.adoptOne(m, n, now)
			}
			last = m.seq
		}
		if err != nil || len(all) == 0 {
			return err
		}
	}
}

func (t *transaction) adoptOne(m exported, n *Imported, now time.Time) error {
	here, err := database.Values[int](t.DB, "SELECT 1 FROM message WHERE id = ?", m.id)
	if err != nil || len(here) > 0 {
		return err
	}
	e, c, v := m.check(now)
	switch v {
	case unreadable:
		n.Damaged++
		found, _ := json.Marshal([]string{m.id, m.entry, m.content}) // texts have a JSON form
		if err := database.SetAside(t.DB, []string{string(found)}, "SELECT ?1"); err != nil {
			return err
		}
		if e = m.end(now); string(e.ID) != m.id && m.key == "" {
			return nil // nobody can ask for it
		}
	case unsendable:
		n.Invalid++
	}
	taken, err := database.Values[int](t.DB, "SELECT 1 FROM message WHERE key = ?", m.key)
	if err != nil {
		return err
	}
	if len(taken) > 0 || !m.validKey(e.Account) {
		m.key = ""
		if v == usable {
			n.Keyless++
		}
	}
	return t.insert(e, m.key, m.hash, c)
}

// validKey reports whether the key is missing, or one that scoped has made for the account of the message.
func (m exported) validKey(account string) bool {
	key, known := strings.CutPrefix(m.key, account+" ")
	return m.key == "" || ValidKey(key) && (!known || account != "")
}

// worth is what a message of an export is good for.
type worth int

const (
	usable     worth = iota
	unsendable       // it waits, and breaks a rule for what is accepted
	unreadable
)

// check returns a message as it is to be kept, whose content is nil if it was erased or can't be
// read. One that breaks a rule for what is accepted fails, so that it is in no other's way.
func (m exported) check(now time.Time) (entry, *content, worth) {
	e, ok := parse(m.entry)
	if !ok || string(e.ID) != m.id || moment(slices.Max(e.Times[:])).After(now.Add(day)) { // it would be kept for ever
		return e, nil, unreadable
	}
	c := new(content)
	if m.content == "" || strictjson.Unmarshal([]byte(m.content), c) != nil {
		c = nil
	}
	if e.Status.waiting() && (c == nil || !acceptable(e, *c) || !rpc.ValidRecipient(rpc.Secret(e.To)) || !m.validKey(e.Account)) {
		return e.fail(Code(rpc.SendInvalid), time.Time{}, now), nil, unsendable
	}
	return e, c, usable
}
