package rpc

import "time"

// MaxReceive is how many messages one Receive returns at most, MaxMarks how many marks it
// takes, and MaxReread how many keys.
const (
	MaxReceive = 100
	MaxMarks   = 64
	MaxReread  = 100
	// MaxReactions is how many of them one Receive returns at most.
	MaxReactions = 500
)

// Mark is a row of the page's table of messages that was read.
type Mark struct {
	// Row is the page's number of it. The page may use a number again.
	Row int64 `json:"row"`
	// Sum distinguishes rows that have the same number.
	Sum string `json:"sum"`
}

// ReceiveQuery asks for what follows in the page's table, or for messages again.
type ReceiveQuery struct {
	// After has marks of rows that were read, newest first. What follows the first one that
	// is still true is read; without any, it is everything that is not of the history.
	After []Mark
	// Since is when messages, or reactions, may have been written at the earliest.
	Since time.Time
	Limit int
	// Keys, if there are any, are of the messages (at most MaxReread) that are read instead:
	// those that exist, in that order. More means that those after the last one were not read.
	Keys []Secret
	// Errand, if it is set, is run with them before. An error means that it may have failed;
	// it may be run again.
	Errand Errand
	// Offset is where the Part begins that Fetch is to return, and Most the size of the largest
	// file that is wanted, in bytes.
	Offset, Most int64
}

// Errand is what the page does with received messages.
type Errand string

const (
	// MarkRead marks the chat of the first message as read, which those who wrote there may
	// see. If the page would wait until it is in use, the account is shown as online meanwhile.
	MarkRead Errand = "mark_read"
	// AskPhone asks the account's phone for those that could not be decrypted.
	AskPhone Errand = "ask_phone"
	// ReadReactions reads the reactions to them instead.
	ReadReactions Errand = "read_reactions"
	// Fetch has the file of the first message downloaded, and returns a Part of it, and no
	// Messages. A link that has expired is asked for again once. It is called until More is false.
	Fetch Errand = "fetch"
)

// MaxPart is how much of a file one Receive returns at most, in bytes.
const MaxPart = 384 << 10

// Reception is what a Receive has read.
type Reception struct {
	// Account is the linked one.
	Account Account
	// Known means that one of the request's marks was true.
	Known bool
	// Marks are of rows that were read, newest first. There are none if no row was.
	Marks []Mark
	// Messages are in the order in which the page has stored them.
	Messages []Received
	// Changed are messages that are no longer as they were, as far as the page has
	// noticed. They are returned once.
	Changed []Received
	// Reacted are the keys of messages to which somebody may have reacted, as far as the page has
	// noticed. They are returned once.
	Reacted []Secret
	// Reactions are the last ones of each person to each message, in the order of the keys and
	// then in time.
	Reactions []Reaction
	// Lost means that more have changed than the page has noted.
	Lost bool
	// More means that there is more to be read now.
	More bool
	// Part is what Fetch returns. It is empty with More while the file is being downloaded.
	Part []byte
}

// MessageType is what a message consists of.
type MessageType string

// The types that mean something to this program. The others are those that the selectors
// file names, and "unknown".
const (
	TypeText MessageType = "text"
	// TypeRevoked: its sender, or an administrator, has deleted it.
	TypeRevoked MessageType = "revoked"
	// TypeUndecrypted: its key has not arrived yet, and may never.
	TypeUndecrypted MessageType = "undecrypted"
)

// Received is a message of others, or one of the account's own, as the page has it.
type Received struct {
	// Key is the page's name of the message, in which there are addresses. ID is a part of it, empty if it
	// is not one of ValidTarget.
	Key Secret
	ID  string
	// Chat is where it was written and, unless FromMe, From by whom. In a group From may be
	// empty.
	Chat, From Chat
	// Name is what its author is called there.
	Name   Secret
	FromMe bool
	Type   MessageType
	// Text is empty for what is not written, such as a picture without a caption.
	Text    Secret
	ReplyTo string
	At      time.Time
	// Ack is that of MessageState, for FromMe.
	Ack int
	// Edit names the last edit, empty if there was none.
	Edit  string
	Media ReceivedMedia
}

// ReceivedMedia describes the file of a message. It is zero without one.
type ReceivedMedia struct {
	MIME string
	Size int64 // in bytes
	Name Secret
	// SHA256 of the file, in hexadecimal digits; empty if it is not known.
	SHA256 string
}

// Reaction is what somebody feels about a message.
type Reaction struct {
	// Message is the page's name of that message, and ID a part of it. Reaction is the id of
	// the reaction itself.
	Message      Secret
	ID, Reaction string
	// Chat is where the message is and, unless FromMe, From who reacts to it.
	Chat, From Chat
	FromMe     bool
	// Emoji is empty if the reaction was taken back.
	Emoji Secret
	At    time.Time
}

// ReceivingObserved reports whether the page's messages can be read. It is sent on each
// change, and whenever the page has become ready.
type ReceivingObserved struct {
	Possible bool
	// Reactions: those can be read as well.
	Reactions bool
	// Why explains what is not possible. It may name modules of the page, and contains no
	// secret.
	Why string
}

func (ReceivingObserved) eventBody() {}

// MessagesArrived means that there is something to Receive. It is a hint: not each message
// is announced.
type MessagesArrived struct{}

func (MessagesArrived) eventBody() {}
