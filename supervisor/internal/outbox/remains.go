package outbox

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

// remains is a row of the table of messages that is not as this package has written it.
type remains struct {
	seq            int64
	id, key, entry string
	status         Status
}

// salvage returns what is kept of a message in place of what can't be read, so that a repeated
// request does not send it again. Where only the copies of its id and its status differ from it, it
// is whole: then the status that is further is believed. Otherwise it has ended, and has failed unless
// it had ended before. owned reports whether another message has an id.
func (m remains) salvage(owned func(rpc.MessageID) bool, now time.Time) (e entry, whole bool) {
	id := rpc.MessageID(m.id)
	e, whole = parse(m.entry)
	if whole = whole && (e.ID == id || !id.Valid() && !owned(e.ID)); whole {
		if m.status.rank() > e.Status.rank() {
			e.Status, e.Touched = m.status, true
			e.Times[m.status.rank()] = cmp.Or(e.Times[m.status.rank()], millis(now))
		}
		return e, true
	}
	return m.end(now), false
}

// end returns what is kept of a message that can't be read.
func (m remains) end(now time.Time) entry {
	var left struct {
		ID, To, Account, Reference string
		Times                      []int64
	}
	_ = json.Unmarshal([]byte(m.entry), &left) // as far as it goes
	e := entry{ID: rpc.MessageID(m.id), Status: m.status, Expires: millis(now)}
	if !e.ID.Valid() {
		e.ID = newID()
	}
	if e.Status.rank() < Sent.rank() {
		e.Status, e.Code = Failed, CodeDamaged
	}
	if account, _, scoped := strings.Cut(m.key, " "); scoped {
		e.Account = account
	}
	if left.ID == m.id {
		e.To, e.Account, e.Reference = bounded(rpc.Secret(left.To)), cmp.Or(bounded(rpc.Secret(e.Account)), left.Account), left.Reference
		if len(left.Times) > 0 && left.Times[0] > 0 && left.Times[0] < millis(now) {
			e.Times[0] = left.Times[0]
		}
	}
	e.Account, e.Reference = bounded(rpc.Secret(e.Account)), e.Reference[:min(len(e.Reference), MaxReference)]
	e.Times[0] = cmp.Or(e.Times[0], millis(now))
	e.Times[e.Status.rank()] = millis(now)
	return e
}

// repair keeps what can't be read of a message for the operator, and what is salvaged in its place. What became of
// it is reported.
func (db messages) repair(m remains, now time.Time) (e entry, err error) {
	ids, err := database.Values[string](db.DB, "SELECT id FROM message WHERE seq <> ? AND id = ?", m.seq, idIn(m.entry))
	if err != nil {
		return e, err
	}
	e, whole := m.salvage(func(id rpc.MessageID) bool { return slices.Contains(ids, string(id)) }, now)
	text, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	err = db.Together(func() error {
		err := database.SetAside(db.DB, []int64{m.seq},
			"SELECT json_array(id, status, entry, (SELECT body FROM content WHERE seq = ?1)) FROM message WHERE seq = ?1")
		if err == nil && !whole {
			err = errors.Join(db.Exec("DELETE FROM content WHERE seq = ?", m.seq), db.Exec("UPDATE message SET bytes = 0 WHERE seq = ?", m.seq))
		}
		return errors.Join(err,
			db.Exec("UPDATE message SET id = ?, status = ?, settled = ?, latest = ?, entry = ? WHERE seq = ?",
				e.ID, e.Status, millis(e.settled()), millis(e.latest()), string(text), m.seq),
			db.keepReport(e))
	})
	return e.shared(), err
}

// idIn returns the id in the text of an entry.
func idIn(text string) string {
	e, _ := parse(text)
	return string(e.ID)
}

// salvage takes over what can be read of a database that was moved aside from path to db, if that was not done
// before. lost means that nothing can be read; after another error it is to be tried again.
func salvage(path string, db messages) (lost, err error) {
	used, err := database.Values[int](db.DB, "SELECT 1 FROM setting UNION ALL SELECT 1 FROM message LIMIT 1")
	if err != nil || len(used) > 0 {
		return nil, err
	}
	_, lost, err = database.Salvage(path, format, func(from *database.DB) error {
		_, err := db.transact(counts{}, func(t *transaction) error { return t.recover(messages{from}, time.Now()) })
		return err
	})
	return lost, err
}

// recover takes over what can be read of a database that was moved aside: each message by the table
// or, where that is damaged, its id and its key by their indexes.
func (t *transaction) recover(from messages, now time.Time) error {
	s, _ := from.settings() // as far as they can be read
	if err := errors.Join(t.save(s, now), t.recoverReports(from)); err != nil {
		return err
	}
	all := from.remains()
	var unreadable []remains
	for _, seq := range slices.Sorted(maps.Keys(all)) {
		m := remaining(from, all[seq])
		if e, ok := parse(m.entry); !ok || string(e.ID) != m.id {
			unreadable = append(unreadable, all[seq]) // after the others, one of which may have its id
		} else if err := t.recoverOne(m, e.Status, now); err != nil {
			return err
		}
	}
	for _, r := range unreadable {
		if err := t.recoverOne(remaining(from, r), "", now); err != nil {
			return err
		}
	}
	return nil
}

// recoverOne adds a message that had a status, and has another one reported.
func (t *transaction) recoverOne(m exported, before Status, now time.Time) error {
	t.changed = nil // nobody waits for so many
	err := t.adoptOne(m, new(Imported), now)
	for _, c := range t.changed {
		if err == nil && c.after.Status != before {
			err = t.keepReport(c.after)
		}
	}
	return err
}

// recoverReports takes over what was not reported, in its order.
func (t *transaction) recoverReports(from messages) error {
	var failure error
	from.FromBothEnds(func(r *sql.Rows) error {
		var seq int64
		var text string
		if err := r.Scan(&seq, &text); err != nil {
			return err
		}
		if _, ok := parse(text); ok && failure == nil {
			failure = t.Exec("INSERT OR IGNORE INTO report (seq, entry) VALUES (?, ?)", seq, text)
		}
		return failure
	}, "SELECT seq, entry FROM report WHERE seq BETWEEN 1 AND 1 << 40", "seq")
	return failure
}

// remains returns which messages there are, with their ids and keys as the indexes have them.
func (db messages) remains() map[int64]remains {
	all := map[int64]remains{}
	for column, note := range map[string]func(*remains, string){
		"seq": func(*remains, string) {},
		"id":  func(m *remains, s string) { m.id = s },
		"key": func(m *remains, s string) { m.key = s },
	} {
		db.FromBothEnds(func(r *sql.Rows) error {
			var seq int64
			var text string
			err := r.Scan(&seq, &text)
			if err == nil {
				m := all[seq]
				m.seq = seq
				note(&m, text)
				all[seq] = m
			}
			return err
		}, "SELECT seq, substr("+column+", 1, 1000) FROM message WHERE "+column+" IS NOT NULL", column)
	}
	return all
}

// remaining returns a message as it is in the table, with its id and key by the indexes where they can't be.
func remaining(db messages, indexed remains) exported {
	m := exported{remains: indexed}
	if found, err := db.exported("seq = ?", indexed.seq); err == nil && len(found) > 0 {
		m = found[0]
	}
	if !rpc.MessageID(m.id).Valid() {
		m.id = indexed.id
	}
	if _, key, scoped := strings.Cut(m.key, " "); !ValidKey(key) && (scoped || !ValidKey(m.key)) {
		m.key = indexed.key
	}
	return m
}
