package outbox

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	}, {
		database.TableAside,
	}, {
		`CREATE INDEX message_client_key ON message (` + clientKey + `)`,
	}, {
		// Settings and messages may have the other address of an account.
	}, {
		`CREATE INDEX message_row ON message (` + rowID + `)`,
	}},
}

// clientKey is an idempotency key as its client knows it, in SQL.
const clientKey = `substr(key, instr(key, ' ') + 1)`

// rowID is the id that the page has given a message which was typed, in SQL.
const rowID = `iif(json_valid(entry), entry ->> '$.row', '')`

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

// entries returns those of the messages for which a condition holds, and the position of the last
// one, 0 without any. Those that can't be read, for which it need not hold any longer, are as repair leaves them.
func (db messages) entries(condition string, args ...any) (all []entry, last int64, err error) {
	damaged := map[int]remains{}
	err = db.Query(func(r *sql.Rows) error {
		var m remains
		var settled int64
		if err := r.Scan(&m.seq, &m.id, &m.key, &m.status, &settled, &m.entry); err != nil {
			return err
		}
		last = m.seq
		e, ok := parse(m.entry)
		if !ok || string(e.ID) != m.id || e.Status != m.status || millis(e.settled()) != settled {
			damaged[len(all)] = m
		}
		all = append(all, e)
		return nil
	}, "SELECT seq, id, ifnull(key, ''), status, settled, entry FROM message WHERE "+condition, args...)
	for i, m := range damaged {
		if err == nil {
			all[i], err = db.repair(m, time.Now())
		}
	}
	return all, last, err
}

// parse reads an entry, and reports whether it is one that this package has written.
func parse(text string) (e entry, ok bool) {
	if strictjson.Unmarshal([]byte(text), &e) != nil || !e.valid() {
		return entry{}, false
	}
	return e.shared(), true
}

// waiting returns the messages that wait to be sent, oldest first.
func (db messages) waiting() ([]entry, error) {
	all, _, err := db.entries("settled = 0 ORDER BY seq")
	return slices.DeleteFunc(all, func(e entry) bool { return !e.Status.waiting() }), err
}

// people returns the addresses of those among the last recipients who have several.
func (db messages) people() (all [][]string, err error) {
	err = db.Query(func(r *sql.Rows) error {
		var p [3]string
		err := r.Scan(&p[0], &p[1], &p[2])
		all = append(all, p[:])
		return err
	}, `SELECT DISTINCT entry ->> '$.to', coalesce(entry ->> '$.chat.phone', ''), entry ->> '$.chat.lid' `+
		`FROM (SELECT entry FROM message WHERE json_valid(entry) ORDER BY seq DESC LIMIT ?) WHERE coalesce(entry ->> '$.chat.lid', '') <> ''`, maxKnown)
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
	return db.entries("seq > ? AND settled > ? AND status IN (?, ?) ORDER BY seq LIMIT ?", after, millis(since), Sent, Delivered, n)
}

// find returns the message with this id, or ErrUnknownMessage.
func (db messages) find(id rpc.MessageID) (entry, error) {
	found, _, err := db.entries("id = ?", id)
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

// owner is the reverse of named: it returns the id of the message that is this row in the page.
func (t *transaction) owner(row rpc.MessageID) (rpc.MessageID, error) {
	found, err := database.Values[rpc.MessageID](t.DB, "SELECT id FROM message WHERE id = ?1 OR "+rowID+" = ?1 ORDER BY id <> ?1 LIMIT 1", row)
	if err != nil || len(found) == 0 {
		return row, err
	}
	return found[0], nil
}

// errClaimed means that a row which looks like that of a message is another one's.
var errClaimed = errors.New("the message that was found is another one with the same text")

// unclaimed returns errClaimed if a row is that of another message than id.
func (db messages) unclaimed(row, id rpc.MessageID) error {
	found, err := database.Values[int](db.DB, "SELECT 1 FROM message WHERE "+rowID+" = ? AND id <> ? LIMIT 1", row, id)
	if err == nil && len(found) > 0 {
		err = errClaimed
	}
	return err
}

// content returns what is to be sent, and false if it was erased or can't be read.
func (db messages) content(id rpc.MessageID) (c content, ok bool, err error) {
	found, err := database.Values[string](db.DB, "SELECT body FROM content JOIN message USING (seq) WHERE id = ?", id)
	if err != nil || len(found) == 0 {
		return c, false, err
	}
	return c, strictjson.Unmarshal([]byte(found[0]), &c) == nil, nil
}

// message is what is sent of an entry with this content.
func (c content) message(e entry) rpc.Message {
	m := rpc.Message{
		ID: e.ID, Act: e.Act, Target: e.Target, To: rpc.Secret(e.To), Text: rpc.Secret(c.Text), ReplyTo: c.ReplyTo, Preview: c.Preview,
	}
	for _, address := range c.Mentions {
		m.Mentions = append(m.Mentions, rpc.Secret(address))
	}
	if f := c.File; f != nil {
		m.Media = rpc.Media{Kind: f.Kind, MIME: f.MIME, Name: rpc.Secret(f.Name), Size: f.Size}
	}
	return m
}

// errLost means that a message can't be sent, as what it says is lost.
var errLost = &rpc.SendError{Code: rpc.SendInvalid, Detail: "its text or its file is damaged or lost"}

// message returns what is to be sent, or errLost.
func (db messages) message(e entry) (m rpc.Message, err error) {
	c, ok, err := db.content(e.ID)
	if err != nil {
		return m, err
	}
	if m = c.message(e); !ok || !m.Valid() || m.Media.Size != e.File {
		return m, errLost
	}
	if m.Target, err = db.named(m.Target); err == nil {
		m.ReplyTo, err = db.named(m.ReplyTo)
	}
	return m, err
}

func (db messages) settings() (s settings, err error) {
	_, _, err = database.Setting(db.DB, &s)
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

// own notes whose the ended messages are that were accepted while no account was known.
func (t *transaction) own(l link) error {
	if l.Account == "" {
		return nil
	}
	return t.Exec("UPDATE message SET entry = json_set(entry, '$.account', ?, '$.alias', ?) "+
		"WHERE settled > 0 AND json_valid(entry) AND ifnull(entry ->> '$.account', '') = ''", l.Account, l.Alias)
}

// scoped is how an idempotency key is kept: with the account, since another one's keys have
// another meaning. Those of messages that were accepted for an unknown account are kept without.
func scoped(account, key string) string {
	if account == "" || key == "" {
		return key
	}
	return account + " " + key // which no key has
}

// errUnsure means that a request is repeated while it is not known whether the same account is linked.
var errUnsure = fmt.Errorf("%w: which account is linked is not known yet", ErrUnavailable)

// earlier returns the message that the same request has made before, unless it was for an account that
// is surely another one than that which is linked, or was linked last if none is. refused is
// ErrConflict or ErrIDTaken if another request has used its key or its id, or errUnsure.
func (t *transaction) earlier(r Request, s settings) (e entry, found bool, refused, err error) {
	for _, name := range []struct {
		column, value string
		other         error
	}{{clientKey, r.IdempotencyKey, ErrConflict}, {"id", string(r.Message.ID), ErrIDTaken}} {
		if name.value == "" {
			continue
		}
		e, found, refused, err = t.same(name.column, name.value, r, s, name.other)
		if err != nil || found || refused != nil {
			return e, found, refused, err
		}
	}
	return e, false, nil, nil
}

// same returns the message with this key or id if r is the request that has made it. Otherwise
// refused is taken, unless the key is another account's.
func (t *transaction) same(column, value string, r Request, s settings, taken error) (e entry, found bool, refused, err error) {
	all, _, err := t.entries(column+" = ?", value)
	if err != nil {
		return e, false, nil, err
	}
	for _, e := range all {
		switch foreign := s.owner().Other(e.owner()); {
		case foreign && column == "id":
			refused = taken
			continue
		case s.Account == "" && e.Account != "" && !r.OnlyRepeat: // a phone was linked just now
			refused = errUnsure
			continue
		case foreign:
			continue
		}
		same, err := database.Values[int](t.DB, "SELECT 1 FROM message WHERE id = ? AND hash IN (?, x'')", e.ID, r.Hash[:]) // nothing is left of some
		if err != nil || len(same) > 0 {
			return e, err == nil, nil, err
		}
		refused = taken
	}
	return e, false, refused, nil
}

// insert adds a message. key may be empty, and c nil, for a text that was erased.
func (t *transaction) insert(e entry, key string, hash []byte, c *content) error {
	hash = append([]byte{}, hash...) // a BLOB is not NULL
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var size int64
	if c != nil {
		size = c.size()
	}
	if err := t.Exec("INSERT INTO message (id, key, hash, status, settled, latest, bytes, entry) VALUES (?, NULLIF(?, ''), ?, ?, ?, ?, ?, ?)",
		e.ID, key, hash, e.Status, millis(e.settled()), millis(e.latest()), size, string(text)); err != nil {
		return err
	}
	if c != nil {
		body, err := json.Marshal(c)
		if err == nil {
			err = t.Exec("INSERT INTO content (seq, body) VALUES (last_insert_rowid(), ?)", string(body))
		}
		if err != nil {
			return err
		}
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
		after.Status, millis(after.settled()), millis(after.latest()), string(text), before.ID)
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
	gone, err := t.ForgetAside(now.Add(-l.Keep))
	if err := errors.Join(err, t.forgetReports(), t.forgetStrangers(now)); err != nil {
		return err
	}
	c, err := t.count()
	if err != nil {
		return err
	}
	messages, _ := t.counts.messages()
	left, _ := c.messages()
	t.counts, t.erased = c, t.erased || gone || c.bytes != before || left != messages
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
