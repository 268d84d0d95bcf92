package outbox

import (
	"errors"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/media"
)

// Status is how far a message has come. It only moves forward.
type Status string

// The statuses, in order. Unknown stands next to Sending, and the last three are ends.
const (
	// Queued: the page has not been asked to send it.
	Queued Status = "queued"
	// Sending: the page was, or is about to be, asked to send it.
	Sending Status = "sending"
	// Unknown: whether the page has sent it is being found out.
	Unknown Status = "unknown"
	// Sent, Delivered, Read and Played are what WhatsApp has acknowledged. Read and Played
	// never come from people who do not send read receipts.
	Sent      Status = "sent"
	Delivered Status = "delivered"
	Read      Status = "read"
	Played    Status = "played"
	// Failed: it will never be sent; the code explains why.
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	// Expired: it was not sent in time, and never will be.
	Expired Status = "expired"
)

// Statuses returns every status.
func Statuses() []Status {
	return []Status{Queued, Sending, Unknown, Sent, Delivered, Read, Played, Failed, Cancelled, Expired}
}

// Code is why a message has failed or, while it is queued, why it waits. Besides those
// below it is one of rpc.SendCode.
type Code string

// Codes of the outbox.
const (
	// CodeRefused: WhatsApp has refused the message, with WhatsAppCode if that is not 0.
	CodeRefused Code = "refused"
	// CodeAccountChanged: the phone of another account was linked meanwhile.
	CodeAccountChanged Code = "account_changed"
	// CodeUnconfirmed: whether it was sent could not be found out within a week.
	CodeUnconfirmed Code = "unconfirmed"
	// CodeDamaged: what is kept of it can't be read, so it is not sent.
	CodeDamaged Code = "damaged"
	// CodePaced: too many people were written to for the first time lately.
	CodePaced Code = "paced"
)

// Request is a message to be accepted.
type Request struct {
	// IdempotencyKey is the caller's name for the request, empty for none.
	IdempotencyKey string
	// Hash is that of the canonical body. The same key with another Hash is a conflict.
	Hash [32]byte
	// Message is what to send. An empty ID is drawn; another one is a name for the request
	// as IdempotencyKey is. An act without an address goes to the chat of its target, which
	// must be a message of this outbox then.
	Message rpc.Message
	// File is what Message.Media describes, but for its Path; nil for a text. It is finished.
	// Accept takes it over.
	File *media.Draft
	// ExpiresIn is for how long it may wait; 0 stands for Options.Expiry.
	ExpiresIn time.Duration
	// Reference is the caller's, and comes back in Message.
	Reference string
	// OnlyRepeat accepts nothing new, as when no phone is linked: the error matches ErrNew
	// unless the request was accepted before.
	OnlyRepeat bool
}

// Message is what is known of a message, without its text.
type Message struct {
	ID     rpc.MessageID
	Status Status
	// Act is empty for a message, and otherwise what is done to the message Target. An act
	// ends with Sent.
	Act    rpc.Act
	Target string
	// To is the address that was asked for, and Chat what the page calls it, which is zero
	// until then.
	To   rpc.Secret
	Chat rpc.Chat
	// Account is that which it belongs to, zero while unknown.
	Account rpc.Account
	// Code explains Failed, or a Queued message that waits, Until then if that is known.
	Code  Code
	Until time.Time
	// WhatsAppCode comes with CodeRefused.
	WhatsAppCode int
	// Attempts is how often the page was asked to send it.
	Attempts int
	// Times has when each status was reached. Some may be skipped.
	Times map[Status]time.Time
	// ExpiresAt is when it expires if it is not sent.
	ExpiresAt time.Time
	Reference string
}

// Ended reports whether the status is one that does not change.
func (m Message) Ended() bool {
	return m.Status.rank() >= Played.rank() || m.Act != "" && m.Status == Sent
}

var (
	// ErrInvalid means that the address or the id has another form.
	ErrInvalid = errors.New("the address or the id of the message is not valid")
	// ErrConflict means that the idempotency key was used for another body.
	ErrConflict = errors.New("the idempotency key was used for another message")
	// ErrIDTaken means that there is a message with this id.
	ErrIDTaken = errors.New("there is a message with this id")
	// ErrNew means that the request was not accepted before.
	ErrNew = errors.New("the message was not accepted before")
	// ErrFull means that the outbox holds as many messages, or as much text, as it may.
	ErrFull = errors.New("the outbox is full")
	// ErrNoSpace means that the disk is full.
	ErrNoSpace = errors.New("there is no space left for the outbox")
	// ErrNotSent means that nothing can be done to a message, as it was never sent or is an act.
	ErrNotSent = errors.New("the message was not sent")
	// ErrUnknownMessage means that no message has this id, or no longer.
	ErrUnknownMessage = errors.New("no message has this id")
	// ErrNotQueued means that it is too late to cancel a message.
	ErrNotQueued = errors.New("the message is no longer queued")
	// ErrDamaged means that a file is not an export of messages, or not a whole one.
	ErrDamaged = errors.New("the exported messages are damaged")
	// ErrUnavailable means that the database is not open, now or any longer.
	ErrUnavailable = errors.New("the outbox is not available")
)
