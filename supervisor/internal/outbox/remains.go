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
			e.Status = m.status
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
	e.Account, _, _ = strings.Cut(m.key, " ")
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
			db.Exec("INSERT INTO report (entry) VALUES (?)", string(text)))
	})
	return e.shared(), err
}

// idIn returns the id in the text of an entry.
func idIn(text string) string {
	e, _ := parse(text)
	return string(e.ID)
}

// recover takes over what can be read of a database that was moved aside: each message by the table
// or, where that is damaged, its id and its key by their indexes.
func (t *transaction) recover(from messages, now time.Time) error {
	s, _ := from.settings() // as far as they can be read
	if err := t.save(s, now); err != nil {
		return err
	}
	all := map[int64]remains{}
	for _, order := range []string{"", " DESC"} { // from both ends to what can't be read
		_ = from.Query(func(r *sql.Rows) error {
			var seq int64
			err := r.Scan(&seq)
			if _, ok := all[seq]; !ok && err == nil {
				all[seq] = remains{seq: seq}
			}
			return err
		}, "SELECT seq FROM message ORDER BY seq"+order)
		for column, note := range map[string]func(*remains, string){
			"id": func(m *remains, s string) { m.id = s }, "key": func(m *remains, s string) { m.key = s },
		} {
			_ = from.Query(func(r *sql.Rows) error {
				var m remains
				var text string
				err := r.Scan(&m.seq, &text)
				if err == nil {
					m.id, m.key = all[m.seq].id, all[m.seq].key
					note(&m, text)
					all[m.seq] = m
				}
				return err
			}, "SELECT seq, substr("+column+", 1, 1000) FROM message WHERE "+column+" > '' ORDER BY "+column+order)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(all)) {
		found, err := from.exported("seq = ?", seq)
		if err != nil || len(found) == 0 {
			found = []exported{{remains: all[seq]}}
		}
		if err := t.adoptOne(found[0], new(Imported), now); err != nil {
			return err
		}
	}
	return nil
}
