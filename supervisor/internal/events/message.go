package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// MessageStatus is the body of MessageChanged.
type MessageStatus struct {
	// EventID is the same whenever this is reported again, after a restart of the service
	// too, unlike the event's place in the Log.
	EventID string `json:"event_id"`
	Message
}

// Message is a message as its sender sees it, without its text.
type Message struct {
	ID     rpc.MessageID `json:"id"`
	Status outbox.Status `json:"status"`
	// Act is what is done to the message Target; both are empty for a message.
	Act    rpc.Act `json:"act,omitempty"`
	Target string  `json:"target,omitempty"`
	To     Chat    `json:"to"`
	// Error explains why it has failed, or why it waits.
	Error    *MessageError                    `json:"error,omitempty"`
	Attempts int                              `json:"attempts"`
	Times    map[outbox.Status]session.Moment `json:"times"`
	// ExpiresAt is when it expires if it is not sent.
	ExpiresAt session.Moment `json:"expires_at"`
	Reference string         `json:"reference,omitempty"`
}

// Report is an event that must not get lost: its source has it on disk until the webhook has.
type Report struct {
	// ID is the same whenever this is reported again.
	ID   string
	Type Type
	At   time.Time
	// Chat is whose events are delivered in order, empty for the session.
	Chat string
	// Account has the addresses of the account that this is about (rpc.Account.Names), and is empty for the session.
	Account string
	Data    json.RawMessage
}

// ReportOf returns the report of a message that has another status, or false if its sender
// knows that. That the account has changed is reported by the next one.
func ReportOf(m outbox.Message) (r Report, ok bool) {
	data, _ := json.Marshal(MessageStatus{EventID: eventID(m), Message: NewMessage(m)}) // it has a JSON form
	r = Report{ID: eventID(m), Type: MessageChanged, Chat: cmp.Or(string(m.To), string(m.ID)), Account: m.Account.Names(), Data: data}
	for _, at := range m.Times {
		if at.After(r.At) {
			r.At = at
		}
	}
	if m.Code == outbox.CodeAccountChanged {
		r.Account = ""
	}
	return r, isNews(m)
}

// ReportOfReceived returns the report of an event of the inbox, and account has the names of whose it is.
func ReportOfReceived(account string, e inbox.Event) Report {
	data, _ := json.Marshal(e) // it has a JSON form
	r := Report{ID: e.ID, Type: Type(e.Kind), At: time.Now(), Account: account, Chat: string(e.Kind), Data: data}
	if e.Message == nil {
		r.Account = "" // it concerns whoever is linked
		return r
	}
	r.Chat = cmp.Or(e.Chat.Group, strings.TrimPrefix(e.Chat.Phone, "+"), e.Chat.LID)
	return r
}

// isNews reports whether the sender of m learns something: not that it is queued.
func isNews(m outbox.Message) bool { return m.Status != outbox.Queued || m.Code != "" }

// eventID names what is new of m: its status or, until it is sent, the attempt, why it waits, and
// the end of that.
func eventID(m outbox.Message) string {
	id := fmt.Sprintf("%s-%s", m.ID, m.Status)
	if m.Status != outbox.Queued && m.Status != outbox.Sending && m.Status != outbox.Unknown {
		return id
	}
	id = fmt.Sprintf("%s-%d", id, m.Attempts)
	if m.Code != "" {
		id += "-" + string(m.Code)
	}
	if !m.Until.IsZero() {
		id += "-" + m.Until.UTC().Format("20060102T150405Z")
	}
	return id
}

// Chat is where a message goes, with all that is known of it: a phone number in
// international form, and addresses.
type Chat struct {
	Phone string `json:"phone,omitempty"`
	LID   string `json:"lid,omitempty"`
	Group string `json:"group,omitempty"`
}

// MessageError explains a status.
type MessageError struct {
	Code outbox.Code `json:"code"`
	// Until is when the reason ends, zero if that is not known.
	Until session.Moment `json:"until,omitzero"`
	// WhatsAppCode is that of the server's refusal.
	WhatsAppCode int `json:"whatsapp_code,omitempty"`
}

// NewMessage returns what may be seen of m. It has phone numbers in clear, so it must go
// to its sender alone.
func NewMessage(m outbox.Message) Message {
	shown := Message{
		ID: m.ID, Status: m.Status, Act: m.Act, Target: m.Target, To: newChat(rpc.ChatAt(m.To), m.Chat), Attempts: m.Attempts,
		Times: map[outbox.Status]session.Moment{}, ExpiresAt: session.Moment{Time: m.ExpiresAt}, Reference: m.Reference,
	}
	for status, at := range m.Times {
		shown.Times[status] = session.Moment{Time: at}
	}
	if m.Code != "" {
		shown.Error = &MessageError{Code: m.Code, Until: session.Moment{Time: m.Until}, WhatsAppCode: m.WhatsAppCode}
	}
	return shown
}

// newChat returns what is known of a chat; what the page calls it comes first.
func newChat(asked, found rpc.Chat) (c Chat) {
	for _, from := range []rpc.Chat{asked, found} {
		if from.Phone != "" {
			c.Phone = "+" + strings.TrimSuffix(string(from.Phone), rpc.ServerPhone)
		}
		if from.LID != "" {
			c.LID = string(from.LID)
		}
		if from.Group != "" {
			c.Group = string(from.Group)
		}
	}
	return c
}
