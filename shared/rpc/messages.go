package rpc

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// MessageID is the id of a message, for us and for the page: "3EB0" and 18 upper-case
// hexadecimal digits, as the page itself makes them.
type MessageID string

var messageID = regexp.MustCompile(`^3EB0[0-9A-F]{18}$`)

// Valid reports whether id has the form that is documented at its type.
func (id MessageID) Valid() bool { return messageID.MatchString(string(id)) }

// The servers of the addresses that a message can be sent to.
const (
	ServerPhone = "@c.us"
	ServerLID   = "@lid"
	ServerGroup = "@g.us"
)

// address allows for old groups, "<number>-<time>@g.us".
var address = regexp.MustCompile(`^([0-9]{1,24}@(c\.us|lid|g\.us)|[0-9]{1,24}-[0-9]{1,24}@g\.us)$`)

// ValidAddress reports whether s is an address of the page: digits and one of the servers.
func ValidAddress(s Secret) bool { return address.MatchString(string(s)) }

// phone is an address with a number in international form: 8 to 15 digits with the country code.
var phone = regexp.MustCompile(`^[1-9][0-9]{7,14}@c\.us$`)

// ValidRecipient reports whether a message may be addressed to s.
func ValidRecipient(s Secret) bool {
	return ValidAddress(s) && (ChatAt(s).Phone == "" || phone.MatchString(string(s)))
}

// foreignID is what ids of the messages of others look like.
var foreignID = regexp.MustCompile(`^[0-9A-Za-z.:-]{1,64}$`)

// ValidTarget reports whether a message may have this id, whoever has sent it.
func ValidTarget(id string) bool { return foreignID.MatchString(id) }

const (
	// MaxMessageText is the length of the longest text that is sent, in bytes of UTF-8.
	// WhatsApp's own limit is not known.
	MaxMessageText = 64 << 10
	// MaxMentions is how many people a message mentions at most.
	MaxMentions = 1024
	// MaxLookup is how many messages one Lookup asks for at most.
	MaxLookup = 100
)

// MediaKind is what a file is sent as.
type MediaKind string

// The kinds of media. WhatsApp shrinks images and converts them; documents arrive as they are.
const (
	MediaImage    MediaKind = "image"
	MediaVideo    MediaKind = "video"
	MediaAudio    MediaKind = "audio"
	MediaDocument MediaKind = "document"
)

// Valid reports whether k is one of the kinds.
func (k MediaKind) Valid() bool {
	return k == MediaImage || k == MediaVideo || k == MediaAudio || k == MediaDocument
}

// Media is a file that Chrome uploads.
type Media struct {
	// Path is absolute, and reveals nothing. The file does not change.
	Path string
	Kind MediaKind
	// MIME is its type, such as image/png.
	MIME string
	// Name is what the recipient sees as the name of a document.
	Name Secret
	// Size is in bytes.
	Size int64
}

// UploadTime is how long the page may take to upload a file: what a slow connection of 128 kB a
// second needs, after half a minute to get ready.
func (f Media) UploadTime() time.Duration {
	return 30*time.Second + time.Duration(f.Size)*time.Second/(128<<10)
}

// Act is what is done to an earlier message, of this or another sender.
type Act string

// The acts. Each is addressed to the chat of the message, has an id of its own, and can be
// done again without a further effect.
const (
	// ActReaction reacts with Message.Text, an emoji; an empty one takes the reaction back.
	ActReaction Act = "reaction"
	// ActEdit replaces the text of one of our messages by Message.Text.
	ActEdit Act = "edit"
	// ActRevoke deletes a message for everybody in the chat.
	ActRevoke Act = "revoke"
)

// MaxReaction is the length of the longest reaction, in bytes of UTF-8: an emoji of several
// people and skin tones has some 40.
const MaxReaction = 64

// ValidReaction reports whether a text may be an emoji, which has neither letters nor spaces, or is
// empty. WhatsApp decides.
func ValidReaction(s Secret) bool {
	return len(s) <= MaxReaction && !strings.ContainsFunc(string(s), func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// Message is a message to be sent, or an act on one. Everything in it but the ids is secret.
type Message struct {
	ID MessageID
	// Act is empty for a message, and otherwise what is done to Target, which is the id of a
	// message in the same chat.
	Act    Act
	Target string
	// Again means that an earlier attempt may have done the act, or may have typed the text.
	Again bool
	// Typed, if it is not zero, has the text typed as a person does, without the page's
	// functions for it, and is when that was tried first. With Again the message
	// is only looked for. The page draws its id then.
	Typed time.Time
	// To is a valid address.
	To Secret
	// Text is the caption of a message with Media, and may be empty only then.
	Text Secret
	// Media is zero for a text.
	Media Media
	// ReplyTo is the id of a message in the same chat, empty for none. Messages of
	// others have ids of other forms than ours.
	ReplyTo string
	// Mentions are addresses. Text names each one as "@" and its digits.
	Mentions []Secret
	// Preview asks for a preview of the first link; without one the message is sent
	// all the same.
	Preview bool
}

// Valid reports whether m is a message that can be sent, wherever its file is.
func (m Message) Valid() bool {
	valid := m.ID.Valid() && ValidAddress(m.To) && m.validContent() && len(m.Mentions) <= MaxMentions &&
		(m.ReplyTo == "" || ValidTarget(m.ReplyTo)) && len(m.Text) <= MaxMessageText && !strings.ContainsRune(string(m.Text), 0)
	for _, mention := range m.Mentions {
		valid = valid && ValidAddress(mention)
	}
	return valid
}

func (m Message) validContent() bool {
	f, text := m.Media, strings.TrimSpace(string(m.Text)) != ""
	if m.Act != "" && (!ValidTarget(m.Target) || f != (Media{})) {
		return false
	}
	switch {
	case m.Act == ActReaction:
		return ValidReaction(m.Text)
	case m.Act == ActRevoke:
		return m.Text == ""
	case m.Act != "" && m.Act != ActEdit:
		return false
	case f != (Media{}):
		return f.Kind.Valid() && f.Size > 0
	}
	return text
}

// MessageRef names a message that was, or may have been, sent.
type MessageRef struct {
	ID MessageID
	// Chat has what is known of its chat: at least what the message was sent to.
	Chat Chat
}

// Chat has the addresses of one chat. Each may be empty.
type Chat struct{ Phone, LID, Group Secret }

// Account has the addresses of one account, its number and its LID. Either may be unknown.
type Account struct{ Phone, LID Secret }

// AccountAt returns the account that has these addresses, of which some may be empty.
func AccountAt(addresses ...string) (a Account) {
	for _, address := range addresses {
		c := ChatAt(Secret(address))
		a = a.With(Account{c.Phone, c.LID})
	}
	return a
}

// Is reports whether b is surely the same account: they have an address in common.
func (a Account) Is(b Account) bool {
	return a.Phone != "" && a.Phone == b.Phone || a.LID != "" && a.LID == b.LID
}

// Other reports whether b is surely another account. A number and a LID can't be compared.
func (a Account) Other(b Account) bool {
	differ := a.Phone != "" && b.Phone != "" || a.LID != "" && b.LID != ""
	return differ && !a.Is(b)
}

// With returns a with the addresses that are known of b, which is the same account.
func (a Account) With(b Account) Account {
	return Account{cmp.Or(b.Phone, a.Phone), cmp.Or(b.LID, a.LID)}
}

// Address is the number or, where that is unknown, the LID.
func (a Account) Address() string { return string(cmp.Or(a.Phone, a.LID)) }

// Alias returns the other address of the account, empty while unknown.
func (a Account) Alias(address string) string {
	if address == string(a.LID) {
		return string(a.Phone)
	}
	return string(a.LID)
}

// Names is the account as a text for AccountNamed.
func (a Account) Names() string { return strings.TrimSpace(string(a.Phone + " " + a.LID)) }

// AccountNamed returns the account of which a text has the addresses.
func AccountNamed(names string) Account { return AccountAt(strings.Fields(names)...) }

func (a Account) bounded() Account {
	return Account{addressAt(a.Phone, ServerPhone), addressAt(a.LID, ServerLID)}
}

// ChatAt returns the Chat that is known by an address.
func ChatAt(address Secret) (c Chat) {
	switch s := string(address); {
	case strings.HasSuffix(s, ServerLID):
		c.LID = address
	case strings.HasSuffix(s, ServerGroup):
		c.Group = address
	default:
		c.Phone = address
	}
	return c
}

// MessageState is what the page's table holds of one message.
type MessageState struct {
	ID MessageID
	// Row is the page's id of a message that was typed, empty otherwise.
	Row  MessageID
	Chat Chat
	// Stored means that there is a row. Without one, the rest is zero.
	Stored bool
	// Ack is the page's: -1 failed, 0 not acknowledged, 1 by the server, 2 received, 3
	// read, 4 played.
	Ack int
	// Refusal is the server's code for Ack -1, and 0 without one.
	Refusal int
	// Pending means that it was sent in this life of the page, whose connection may still
	// deliver it.
	Pending bool
	// At is the time of the acknowledgement, zero if the page does not have it.
	At time.Time
}

// Contact is what the page's server answers about a phone number.
type Contact struct {
	OnWhatsApp bool
	// Phone is the server's spelling of the number, as an address; LID may be empty.
	Phone, LID Secret
	Business   bool
	// KnownChat means that there is a chat with this contact in which they wrote to us.
	KnownChat bool
}

// SendCode is the reason why nothing was sent.
type SendCode string

// The codes of a SendError.
const (
	// SendNotOnWhatsApp: the server knows no account at this address.
	SendNotOnWhatsApp SendCode = "not_on_whatsapp"
	// SendLookupFailed: the server could not be asked, for now.
	SendLookupFailed SendCode = "lookup_failed"
	// SendBlockedContact: we have blocked this contact.
	SendBlockedContact SendCode = "blocked_contact"
	// SendGroupNotWritable: we are not in this group, or may not write there.
	SendGroupNotWritable SendCode = "group_not_writable"
	// SendReplyNotFound: the chat does not have the message that ReplyTo names.
	SendReplyNotFound SendCode = "reply_not_found"
	// SendMessageNotFound: the chat does not have the message that Target names.
	SendMessageNotFound SendCode = "message_not_found"
	// SendEditTooLate and SendRevokeTooLate: the page refuses the act on a message of this
	// age, for which WhatsApp allows 20 minutes and 2.5 days.
	SendEditTooLate   SendCode = "edit_too_late"
	SendRevokeTooLate SendCode = "revoke_too_late"
	// SendNotEditable and SendNotRevocable: the page refuses the act on this message at any
	// age, as on that of somebody else.
	SendNotEditable  SendCode = "not_editable"
	SendNotRevocable SendCode = "not_revocable"
	// SendNewChatsRestricted: the account may not write to people it has never talked to,
	// Until then.
	SendNewChatsRestricted SendCode = "new_chats_restricted"
	// SendNewChatsCapped: the account has used up its new chats, Until then.
	SendNewChatsCapped SendCode = "new_chats_capped"
	// SendPagePathGone: a module, a name or a signature of the page is gone. Nothing was
	// touched.
	SendPagePathGone SendCode = "page_path_gone"
	// SendMediaFailed: the page could not read, convert or upload the file, for now.
	SendMediaFailed SendCode = "media_failed"
	// SendMediaTooLarge: the file is larger than WhatsApp allows for its kind, or than is wanted.
	SendMediaTooLarge SendCode = "media_too_large"
	// SendInvalid: it is not a message that can be sent, as its text or its file is damaged or lost.
	SendInvalid SendCode = "invalid_message"
	// SendMediaGone: the file of a received message can't be had any longer.
	SendMediaGone SendCode = "media_gone"
	// SendNotReady: the page is not READY, or still receives what came while it was
	// offline.
	SendNotReady SendCode = "not_ready"
)

var sendCodes = map[SendCode]bool{
	SendNotOnWhatsApp: true, SendLookupFailed: true, SendBlockedContact: true, SendGroupNotWritable: true, SendReplyNotFound: true,
	SendMessageNotFound: true, SendEditTooLate: true, SendRevokeTooLate: true, SendNotEditable: true, SendNotRevocable: true,
	SendNewChatsRestricted: true, SendNewChatsCapped: true, SendPagePathGone: true, SendNotReady: true,
	SendMediaFailed: true, SendMediaTooLarge: true, SendInvalid: true, SendMediaGone: true,
}

// SendError means that nothing was stored, and that nothing will be sent.
type SendError struct {
	Code SendCode
	// Until is when it may be tried again, zero if that is not known.
	Until time.Time
	// Detail is for people, contains no secret, and may be empty.
	Detail string
}

func (e *SendError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("nothing was sent (%s)", e.Code)
	}
	return fmt.Sprintf("nothing was sent (%s): %s", e.Code, e.Detail)
}

// MessageChanged means that one of our messages was acknowledged or refused. It is a hint:
// some changes are not reported, and the truth is what Lookup returns. The message may also
// be one that another companion of the same account has sent.
type MessageChanged struct {
	ID MessageID
	// Ack, Refusal and At are those of MessageState.
	Ack, Refusal int
	At           time.Time
}

// SendingObserved reports whether the page can send, and what the account may do. It is
// sent on each change, whenever the page has become ready, and every minute.
type SendingObserved struct {
	Possible bool
	// Typing means that it is not possible only because a function of the page is gone, so
	// that texts may still be typed.
	Typing bool
	// Why explains why not. It may name modules of the page, and contains no secret.
	Why string
	// Account is the linked one, zero while unknown.
	Account Account
	// NewChats is zero while the page does not have it.
	NewChats NewChats
}

// NewChats is what the account may do with people it has never talked to.
type NewChats struct {
	// Restricted is WhatsApp's reach-out timelock; RestrictedUntil may be zero.
	Restricted      bool
	RestrictedUntil time.Time
	// Capped means that Used has reached Quota, until CappedUntil. A Quota of 0 stands for
	// none.
	Capped      bool
	Used, Quota int
	CappedUntil time.Time
	// Challenge means that WhatsApp asks the account's owner to prove who they are, and
	// ChallengePasskey that a passkey does.
	Challenge, ChallengePasskey bool
}

func (MessageChanged) eventBody()  {}
func (SendingObserved) eventBody() {}
