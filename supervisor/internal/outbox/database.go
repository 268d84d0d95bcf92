package outbox

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"session-manager/shared/rpc"
	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/database"
)

// format is that of the database.
var format = database.Format{
	Application: 0x6f757462, // "outb"
	Versions: [][]string{{
		`CREATE TABLE message (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT UNIQUE, hash BLOB NOT NULL, ` +
			`status TEXT NOT NULL, settled INTEGER NOT NULL, latest INTEGER NOT NULL, bytes INTEGER NOT NULL, entry TEXT NOT NULL) STRICT`,
		`CREATE TABLE content (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT`,
		database.TableSetting,
		`CREATE INDEX message_settled ON message (settled, seq)`,
		`CREATE INDEX message_latest ON message (latest)`,
	}, {
		// Entries may be acts.
	}, {
		`CREATE TABLE report (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL) STRICT`,
	}},
}

// messages is an open database.
type messages struct{ *database.DB }

func (db messages) count() (counts, error) {
	c := counts{}.clone()
	err := db.Query(func(r *sql.Rows) error {
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
func (db messages) entries(query string, args ...any) (all []entry, err error) {
	found, err := database.Values[string](db.DB, query, args...)
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
		return e, fmt.Errorf("%w: it has a message that can't be read", database.ErrDamaged)
	}
	return e.shared(), nil
}

// waiting returns the messages that wait to be sent, oldest first.
func (db messages) waiting() ([]entry, error) {
	return db.entries("SELECT entry FROM message WHERE settled = 0 ORDER BY seq")
}

// people returns the addresses of those among the last recipients who have several.
func (db messages) people() (all [][]string, err error) {
	err = db.Query(func(r *sql.Rows) error {
		var p [3]string
		err := r.Scan(&p[0], &p[1], &p[2])
		all = append(all, p[:])
		return err
	}, `SELECT DISTINCT entry ->> '$.to', coalesce(entry ->> '$.chat.phone', ''), entry ->> '$.chat.lid' `+
		`FROM (SELECT entry FROM message ORDER BY seq DESC LIMIT ?) WHERE coalesce(entry ->> '$.chat.lid', '') <> ''`, maxKnown)
	return all, err
}

// destination returns the address of the chat that a message, or an act on one, goes to; refused means that
// nothing can be done to the target.
func (db messages) destination(m rpc.Message) (to string, refused, err error) {
	if m.Act == "" {
		return string(m.To), nil, nil
	}
	target, err := db.find(rpc.MessageID(m.Target))
	switch {
	case errors.Is(err, ErrUnknownMessage) && m.To == "":
		return "", err, nil
	case errors.Is(err, ErrUnknownMessage):
		return string(m.To), nil, nil // it may be one that was received
	case err != nil:
		return "", nil, err
	case target.Act != "", target.Status.rank() >= Failed.rank():
		return "", ErrNotSent, nil
	}
	return target.To, nil, nil
}

// sent returns at most n messages that were sent after since and may still be delivered or read,
// in their order, and the position of the last one.
func (db messages) sent(after int64, since time.Time, n int) (all []entry, last int64, err error) {
	err = db.Query(func(r *sql.Rows) error {
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
func (db messages) find(id rpc.MessageID) (entry, error) {
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
	File     *file    `json:"file,omitempty"`
}

// file describes the file of a message, which has the message's id as its name.
type file struct {
	Kind rpc.MediaKind `json:"kind"`
	MIME string        `json:"mime"`
	Name string        `json:"name,omitempty"`
	Size int64         `json:"size"`
}

// size is about what it takes on disk, in bytes. It is never 0, which stands for what was erased.
func (c content) size() int64 {
	n := len(`{"text":""}`) + len(c.Text) + len(c.ReplyTo)
	if c.File != nil {
		n += len(c.File.MIME) + len(c.File.Name)
	}
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
	if f := m.Media; f != (rpc.Media{}) {
		c.File = &file{f.Kind, f.MIME, string(f.Name), f.Size}
	}
	return c
}

// owns reports whether there is a message with this id that has not been erased.
func (db messages) owns(id string) (bool, error) {
	found, err := database.Values[int](db.DB, "SELECT 1 FROM content JOIN message USING (seq) WHERE id = ?", id)
	return len(found) > 0, err
}

// named returns the page's id of a message: one that was typed has another one there.
func (db messages) named(id string) (string, error) {
	found, err := db.find(rpc.MessageID(id))
	if errors.Is(err, ErrUnknownMessage) || err == nil && found.Row == "" {
		return id, nil
	}
	return string(found.Row), err
}

// errClaimed means that a row which looks like that of a message is another one's.
var errClaimed = errors.New("the message that was found is another one with the same text")

// unclaimed returns errClaimed if a row is that of another message than id.
func (db messages) unclaimed(row, id rpc.MessageID) error {
	found, err := database.Values[int](db.DB, "SELECT 1 FROM message WHERE json_extract(entry, '$.row') = ? AND id <> ? LIMIT 1", row, id)
	if err == nil && len(found) > 0 {
		err = errClaimed
	}
	return err
}

// message returns what is to be sent, or ErrUnknownMessage if its text was erased.
func (db messages) message(e entry) (m rpc.Message, err error) {
	found, err := database.Values[string](db.DB, "SELECT body FROM content JOIN message USING (seq) WHERE id = ?", e.ID)
	if err != nil {
		return m, err
	}
	if len(found) == 0 {
		return m, ErrUnknownMessage
	}
	var c content
	if strictjson.Unmarshal([]byte(found[0]), &c) != nil {
		return m, fmt.Errorf("%w: it has a text that can't be read", database.ErrDamaged)
	}
	m = rpc.Message{ID: e.ID, Act: e.Act, To: rpc.Secret(e.To), Text: rpc.Secret(c.Text), Preview: c.Preview}
	if m.Target, err = db.named(e.Target); err != nil {
		return m, err
	}
	if m.ReplyTo, err = db.named(c.ReplyTo); err != nil {
		return m, err
	}
	for _, address := range c.Mentions {
		m.Mentions = append(m.Mentions, rpc.Secret(address))
	}
	if f := c.File; f != nil {
		m.Media = rpc.Media{Kind: f.Kind, MIME: f.MIME, Name: rpc.Secret(f.Name), Size: f.Size}
	}
	return m, nil
}

func (db messages) settings() (s settings, err error) {
	_, err = db.Setting(&s)
	return s, err
}

// change is a message before, which is zero for a new one, and after.
type change struct{ before, after entry }

// transaction collects changes.
type transaction struct {
	messages
	counts  counts
	changed []change
	// erased: a text was, so that the file's journal still has it.
	erased bool
	// reporting: what changes is to be reported.
	reporting bool
}

// transact has what f changes written, or nothing of it if f returns an error.
func (db messages) transact(c counts, f func(*transaction) error) (*transaction, error) {
	t := &transaction{messages: db, counts: c.clone()}
	err := db.Transact(func() error { return f(t) })
	if err == nil && t.erased {
		_ = db.Erase() // what fails is done with the next one
	}
	return t, err
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
		err = t.Query(func(rows *sql.Rows) error {
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

// insert adds a message. key may be empty.
func (t *transaction) insert(e entry, key string, hash []byte, c content) error {
	size := c.size()
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := t.Exec("INSERT INTO message (id, key, hash, status, settled, latest, bytes, entry) VALUES (?, NULLIF(?, ''), ?, ?, ?, ?, ?, ?)",
		e.ID, key, hash, e.Status, millis(e.settled()), millis(e.latest()), size, string(text)); err != nil {
		return err
	}
	if err := t.Exec("INSERT INTO content (seq, body) VALUES (last_insert_rowid(), ?)", string(body)); err != nil {
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
	if err := t.note(change{before, after}); err != nil {
		return entry{}, err
	}
	return after, t.Exec("UPDATE message SET status = ?, settled = ?, latest = ?, entry = ? WHERE id = ?",
		after.Status, millis(after.settled()), millis(after.latest()), string(text), id)
}

// save keeps s, without the people who no longer matter for pacing.
func (t *transaction) save(s settings, now time.Time) error {
	s.History.Strangers = s.History.today(now)
	return t.Set(s)
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
		if err := t.Exec(q.query, millis(q.until)); err != nil {
			return err
		}
	}
	if err := errors.Join(t.forgetReports(), t.forgetStrangers(now)); err != nil {
		return err
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

// forgetStrangers erases who was written to for the first time, after a day.
func (t *transaction) forgetStrangers(now time.Time) error {
	s, err := t.settings()
	if err != nil || len(s.History.today(now)) == len(s.History.Strangers) {
		return err
	}
	t.erased = true
	return t.save(s, now)
}

// newID draws an id.
func newID() rpc.MessageID {
	var b [9]byte
	_, _ = rand.Read(b[:]) // it never fails
	return rpc.MessageID(fmt.Sprintf("3EB0%X", b))
}
