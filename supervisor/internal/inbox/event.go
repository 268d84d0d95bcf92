package inbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"session-manager/shared/rpc"
)

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	// Arrived: there is a new message, or one that could not be decrypted before.
	Arrived Kind = "message"
	// Undecrypted: there is a message that can't be read yet, and perhaps never.
	Undecrypted Kind = "message.undecrypted"
	// Edited: its author has replaced its text.
	Edited Kind = "message.edited"
	// Revoked: it was deleted for everybody.
	Revoked Kind = "message.revoked"
	// Acknowledged: one of the account's own, which another device has sent, was delivered,
	// read or played.
	Acknowledged Kind = "message.acknowledged"
	// Reacted: somebody has reacted to it, or has taken that back.
	Reacted Kind = "message.reaction"
	// Gap: messages may be missing before the next event.
	Gap Kind = "messages.gap"
)

// Kinds returns every kind.
func Kinds() []Kind {
	return []Kind{Arrived, Undecrypted, Edited, Revoked, Acknowledged, Reacted, Gap}
}

// minor reports whether an event matters less than a message does: it is dropped first.
func (k Kind) minor() bool { return k == Reacted || k == Acknowledged }

// Event is something that happened to a message. It has phone numbers and texts in clear,
// so it must go to its receivers alone.
type Event struct {
	Kind Kind `json:"event"`
	// ID is the same whenever this is reported again.
	ID string `json:"event_id"`
	// Cursor is the position after this event.
	Cursor string `json:"cursor,omitempty"`
	// Thinned means that reactions or acknowledgements before it were dropped, as there were too many.
	Thinned bool `json:"thinned,omitempty"`
	// Message is nil for a Gap.
	*Message
	*Lost
}

// Lost is the body of a Gap.
type Lost struct {
	// Reason is cursor_lost, account_changed or damaged; or dropped, for a reader who was away for too long.
	Reason string `json:"reason"`
	// Since is the time from which messages may be missing, zero if that is not known.
	Since time.Time `json:"since,omitzero"`
}

// Message is a message as it is reported.
type Message struct {
	// ID is WhatsApp's, and unique within a chat.
	ID   string `json:"id"`
	Chat Place  `json:"chat"`
	// From is who wrote it or, if it was Reacted to, who did; nil for the account itself.
	From *Person `json:"from,omitempty"`
	// FromMe means that another device of the account has sent it; Source is "elsewhere" then.
	FromMe bool   `json:"from_me"`
	Source string `json:"source,omitempty"`
	// Type is empty if it was Reacted to.
	Type rpc.MessageType `json:"type,omitempty"`
	Text string          `json:"text,omitempty"`
	// ReplyTo is the id of the message that it answers.
	ReplyTo string `json:"reply_to,omitempty"`
	Media   *Media `json:"media,omitempty"`
	// T is when it was written.
	T time.Time `json:"t"`
	// Late means that it was reported as undecrypted before.
	Late bool `json:"late,omitempty"`
	// Emoji is the reaction, empty if it was taken back, and nil unless it was Reacted to.
	Emoji *string `json:"emoji,omitempty"`
	// Status is delivered, read or played if the event is Acknowledged.
	Status string `json:"status,omitempty"`
	// Erased means that the text and the names were, as they were too old.
	Erased bool `json:"erased,omitempty"`
}

// Place is a chat, or somebody: a phone number in international form, and addresses. What
// is not known is empty.
type Place struct {
	Phone string `json:"phone,omitempty"`
	LID   string `json:"lid,omitempty"`
	Group string `json:"group,omitempty"`
}

// Person is the author of a message.
type Person struct {
	Place
	Name string `json:"name,omitempty"`
}

// Media describes the file of a message.
type Media struct {
	// ID is what Open takes, empty if SHA256 is: what can't be verified is not fetched.
	ID   string `json:"id,omitempty"`
	MIME string `json:"mime"`
	Size int64  `json:"size"`
	Name string `json:"name,omitempty"`
	// SHA256 is in hexadecimal digits.
	SHA256 string `json:"sha256,omitempty"`
}

func placeOf(c rpc.Chat) (p Place) {
	if c.Phone != "" {
		p.Phone = "+" + strings.TrimSuffix(string(c.Phone), rpc.ServerPhone)
	}
	p.LID, p.Group = string(c.LID), string(c.Group)
	return p
}

// messageOf is what is reported of m, whose name is that of news.
func messageOf(m rpc.Received, name string) *Message {
	shown := &Message{
		ID: m.ID, Chat: placeOf(m.Chat), FromMe: m.FromMe, Type: m.Type, Text: string(m.Text), ReplyTo: m.ReplyTo, T: m.At,
	}
	if m.FromMe {
		shown.Source = "elsewhere"
	} else {
		shown.From = &Person{placeOf(m.From), string(m.Name)}
	}
	if m.Media != (rpc.ReceivedMedia{}) {
		shown.Media = &Media{MIME: m.Media.MIME, Size: m.Media.Size, Name: string(m.Media.Name), SHA256: m.Media.SHA256}
		if m.Media.SHA256 != "" {
			shown.Media.ID = name
		}
	}
	return shown
}

// content is the part of an event that is erased early.
type content struct {
	Text string `json:"text,omitempty"`
	Name string `json:"name,omitempty"`
	File string `json:"file,omitempty"`
	// Emoji is nil unless there is one.
	Emoji *string `json:"emoji,omitempty"`
}

// split takes the content out of e.
func (e Event) split() (Event, content) {
	if e.Message == nil {
		return e, content{}
	}
	m, c := *e.Message, content{Text: e.Text, Emoji: e.Emoji}
	m.Text, m.Emoji = "", nil
	if m.From != nil {
		c.Name = m.From.Name
		m.From = &Person{Place: m.From.Place}
	}
	if m.Media != nil {
		c.File = m.Media.Name
		m.Media = new(*m.Media)
		m.Media.Name = ""
	}
	e.Message = &m
	return e, c
}

// joined is e with its content.
func (e Event) joined(c content) Event {
	if e.Message == nil {
		return e
	}
	e.Text, e.Emoji = c.Text, c.Emoji
	if e.From != nil {
		e.From.Name = c.Name
	}
	if e.Media != nil {
		e.Media.Name = c.File
	}
	return e
}

// state is what was reported of a message.
type state struct {
	Type rpc.MessageType `json:"type"`
	// Text is a hash of it.
	Text string `json:"text,omitempty"`
	Edit string `json:"edit,omitempty"`
	Ack  int    `json:"ack,omitempty"`
	// Asked: the phone was asked for it, as it could not be decrypted.
	Asked bool `json:"asked,omitempty"`
	// Gone: its file can't be had any longer, also from its sender, who was asked for it.
	Gone bool `json:"gone,omitempty"`
}

// typeOurs is that of a message which this service has sent. Only reactions to it are reported.
const typeOurs rpc.MessageType = "ours"

// hash names a text, or several, without showing them.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func stateOf(m rpc.Received) state {
	s := state{Type: m.Type, Edit: m.Edit}
	if m.Text != "" {
		s.Text = hash(string(m.Text))
	}
	if m.FromMe {
		s.Ack = m.Ack
	}
	return s
}

// isEdit reports whether s has a text or an edit that before has not.
func (s state) isEdit(before state) bool {
	return s.Text != before.Text && s.Text != "" || s.Edit != before.Edit && s.Edit != ""
}

// acks are the statuses of the account's own messages, by the page's levels.
var acks = map[int]string{2: "delivered", 3: "read", 4: "played"}

// news returns what is new of a message, of which before was reported, and what is known of
// it then. before is nil for a message that is new. name is that of the message.
func news(before *state, m rpc.Received, name string) (events []Event, after state) {
	after = stateOf(m)
	add := func(k Kind, which string, change func(*Message)) {
		shown := messageOf(m, name)
		change(shown)
		events = append(events, Event{Kind: k, ID: hash(name, string(k), which), Message: shown})
	}
	nothing := func(*Message) {}
	unread := m.Type == rpc.TypeUndecrypted
	if before == nil {
		kind := Arrived
		if unread {
			kind = Undecrypted
		}
		add(kind, "", nothing)
		return events, after
	}
	switch {
	case before.Type == rpc.TypeRevoked || before.Type == typeOurs || unread:
		after = *before // there is nothing after that
	case m.Type == rpc.TypeRevoked:
		add(Revoked, "", nothing)
	case before.Type == rpc.TypeUndecrypted:
		add(Arrived, "", func(m *Message) { m.Late = true })
	case after.isEdit(*before):
		add(Edited, after.Edit+after.Text, nothing)
	default:
		after.Text, after.Edit = before.Text, before.Edit
	}
	after.Ack, after.Gone = max(after.Ack, before.Ack), before.Gone
	if status := acks[after.Ack]; status != "" && after.Ack > before.Ack && m.FromMe {
		add(Acknowledged, status, func(m *Message) { m.Status, m.Text = status, "" })
	}
	return events, after
}

// eventOf returns the event of a reaction. Its id is made of WhatsApp's own, as the page may name
// a message by either address of its chat.
func eventOf(r rpc.Reaction, account string) Event {
	shown := &Message{ID: r.ID, Chat: placeOf(r.Chat), FromMe: r.FromMe, Emoji: new(string(r.Emoji)), T: r.At}
	if !r.FromMe {
		shown.From = &Person{Place: placeOf(r.From)}
	}
	return Event{Kind: Reacted, ID: hash(account, string(Reacted), r.ID, r.Reaction, string(r.Emoji)), Message: shown}
}

// thin returns at most rpc.MaxMarks marks: the newest, and of older ones ever fewer.
func thin(marks []rpc.Mark) []rpc.Mark {
	if len(marks) <= rpc.MaxMarks {
		return marks
	}
	const dense = rpc.MaxMarks / 2
	kept := append([]rpc.Mark{}, marks[:dense]...)
	for i := dense; i < len(marks); i += 2 {
		kept = append(kept, marks[i])
	}
	return thin(kept)
}

// encode is v as JSON, which all types here have.
func encode(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
