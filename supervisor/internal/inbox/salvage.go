package inbox

import (
	"database/sql"
	"errors"
	"time"

	"session-manager/supervisor/internal/database"
)

const (
	// mostSeq is the last position that is believed of a damaged file.
	mostSeq = 1 << 40
	// mostSalvaged is how much of one is taken over, in bytes of texts.
	mostSalvaged = database.MaxFile / 2
)

var errEnough = errors.New("that is enough of a damaged file")

// salvage takes over what can be read of a file that was moved aside: positions stay, and what is reported again has the id that it
// had. It sets next accordingly, so that the page is read again from a day before the last message on, and returns the time from which
// messages may be missing, zero if that is not known.
func salvage(s *store, from, db *database.DB, next *settings) (since time.Time, err error) {
	last, certain := lastSeq(from)
	kept := *next
	found, _, _ := database.Setting(from, &kept)
	known := found && certain && max(kept.Dropped, kept.Thinned, kept.Reported) <= last
	if known { // else cursors are no longer valid
		if kept.Marks = nil; !kept.Last.IsZero() {
			kept.Since = later(kept.Since, kept.Last.Add(-overlap))
		}
		*next = kept
	}
	now := time.Now()
	err = errors.Join(
		takeOver(from, db, now.UnixMilli(), now.Add(-s.limits.KeepText).UnixMilli(), next.Since.UnixMilli()),
		db.Exec("DELETE FROM content WHERE seq NOT IN (SELECT seq FROM event)"),
		db.Exec("DELETE FROM sqlite_sequence WHERE name = 'event'"),
		db.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", last))
	if err != nil {
		return since, err
	}
	if !known { // those of the last day are handed on again
		handed, err := database.Values[int64](db, "SELECT ifnull(max(seq), 0) FROM event WHERE kept < ?", next.Since.UnixMilli())
		if err != nil {
			return since, err
		}
		next.Reported = handed[0]
	}
	// Until the last event that has all before it.
	whole, err := database.Values[int64](db, "SELECT kept FROM event e WHERE seq >= ?1 AND EXISTS (SELECT 1 FROM event WHERE seq = ?2 + 1) "+
		"AND NOT EXISTS (SELECT 1 FROM event WHERE seq = e.seq + 1) ORDER BY seq LIMIT 1", next.Thinned, next.Dropped)
	if len(whole) > 0 {
		since = time.UnixMilli(whole[0])
	}
	return since, err
}

// lastSeq returns the last position that has ever been used, and whether it is certain.
func lastSeq(from *database.DB) (last int64, certain bool) {
	for _, query := range []string{"SELECT max(seq) FROM event", "SELECT seq FROM sqlite_sequence WHERE name = 'event'"} {
		found, err := database.Values[int64](from, query)
		if certain = err == nil && len(found) == 1 && found[0] >= last && found[0] <= mostSeq; certain {
			last = found[0]
		}
	}
	return last, certain
}

// takeOver copies rows. Of what the page may still have, which is what was kept at again or later, no message is taken without its
// event, nor an event without its text, since it would not be reported again. text is the time before which texts are erased.
func takeOver(from, db *database.DB, now, text, again int64) (failure error) {
	budget := mostSalvaged
	keep := func(size int, query string, args ...any) error {
		if budget -= size; budget < 0 {
			return errEnough
		}
		if failure == nil {
			failure = db.Exec(query, args...)
		}
		return failure
	}
	var row, kept int64
	var name, key, id, account, kind, body string
	from.FromBothEnds(func(r *sql.Rows) error {
		if r.Scan(&row, &body) != nil {
			return nil // it is not a row
		}
		return keep(len(body), "INSERT OR IGNORE INTO content (seq, body) VALUES (?, ?)", row, body)
	}, "SELECT seq, body FROM content", "seq")
	from.FromBothEnds(func(r *sql.Rows) error {
		if r.Scan(&row, &id, &kept, &account, &body) != nil || row < 1 || row > mostSeq {
			return nil
		}
		return keep(len(body), "INSERT OR IGNORE INTO event (seq, id, kept, account, bytes, body) "+
			"SELECT ?1, ?2, min(?3, ?6), ?4, ifnull((SELECT length(body) FROM content WHERE seq = ?1), 0), ?5 "+
			"WHERE ?3 < ?7 OR EXISTS (SELECT 1 FROM content WHERE seq = ?1)", row, id, kept, account, body, now, text)
	}, "SELECT seq, id, kept, account, body FROM event", "seq")
	from.FromBothEnds(func(r *sql.Rows) error {
		if r.Scan(&row, &name, &key, &id, &kept, &kind, &body) != nil || row < 1 || row > mostSeq {
			return nil
		}
		return keep(len(body), "INSERT OR IGNORE INTO message (rowid, name, key, id, kept, type, state) SELECT ?1, ?2, ?3, ?4, min(?5, ?8), ?6, ?7 "+
			"WHERE ?5 < ?9 OR ?6 = ?10 OR EXISTS (SELECT 1 FROM event WHERE id IN (?11, ?12))",
			row, name, key, id, kept, kind, body, now, again, string(typeOurs), hash(name, string(Arrived), ""), hash(name, string(Undecrypted), ""))
	}, "SELECT rowid, name, key, id, kept, type, state FROM message", "rowid")
	return failure
}
