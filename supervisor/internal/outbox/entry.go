package outbox

import (
	"log/slog"
	"slices"
	"strings"
	"time"
	"unique"

	"session-manager/shared/rpc"
)

// entry is a message as it is kept, without its text. It is comparable. Times are in
// milliseconds since 1970, 0 for never.
type entry struct {
	ID     rpc.MessageID `json:"id"`
	Status Status        `json:"status"`
	form
	holder
	To    string `json:"to"`
	Chat  place  `json:"chat,omitzero"`
	Code  Code   `json:"code,omitempty"`
	Until int64  `json:"until,omitempty"`
	// WhatsAppCode comes with CodeRefused.
	WhatsAppCode int `json:"whatsapp_code,omitempty"`
	Attempts     int `json:"attempts,omitempty"`
	// Touched: the page may have the message, so that only the page knows what became of it.
	Touched bool `json:"touched,omitempty"`
	// Retried: it was sent again after the page had given it up without an answer of the server.
	Retried   bool   `json:"retried,omitempty"`
	Expires   int64  `json:"expires"`
	Times     times  `json:"times"`
	Reference string `json:"reference,omitempty"`
}

// form is what kind of message it is.
type form struct {
	// Act is empty for a message, and otherwise what is done to Target.
	Act    rpc.Act `json:"act,omitempty"`
	Target string  `json:"target,omitempty"`
	// File is the size of its file in bytes, 0 without one.
	File int64 `json:"file,omitempty"`
	byTyping
}

// uploadTime is how long its file may take.
func (f form) uploadTime() time.Duration {
	if f.File == 0 {
		return 0
	}
	return rpc.Media{Size: f.File}.UploadTime()
}

// byTyping is what is kept of a message for the page that has lost a function of sending.
type byTyping struct {
	// Typeable: it is nothing but a text to a phone number, which a person could type.
	Typeable bool `json:"typeable,omitempty"`
	// Typed is when it was typed first, and Row the id that the page has given it then.
	Typed int64         `json:"typed,omitempty"`
	Row   rpc.MessageID `json:"row,omitempty"`
}

// holder is the account that a message belongs to.
type holder struct {
	// Account is an address of it, empty while unknown, and Alias the other one if it is known.
	Account string `json:"account,omitempty"`
	Alias   string `json:"alias,omitempty"`
}

func (h holder) owner() rpc.Account { return rpc.AccountAt(h.Account, h.Alias) }

// place is an rpc.Chat, whose addresses would be hidden from encoding/json.
type place struct {
	Phone string `json:"phone,omitempty"`
	LID   string `json:"lid,omitempty"`
	Group string `json:"group,omitempty"`
}

// statuses are all, in order; those from Failed on are ends.
var statuses = []Status{Queued, Sending, Unknown, Sent, Delivered, Read, Played, Failed, Cancelled, Expired}

// times has when each of the statuses was reached.
type times [10]int64

func (s Status) rank() int { return slices.Index(statuses, s) }

// waiting reports whether the message is still to be sent.
func (s Status) waiting() bool { return s.rank() < Sent.rank() }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// at returns when a status was reached.
func (e entry) at(s Status) time.Time { return moment(e.Times[s.rank()]) }

// latest returns when the status last changed.
func (e entry) latest() time.Time { return moment(slices.Max(e.Times[:])) }

// settled returns when the message stopped waiting to be sent, zero while it waits.
func (e entry) settled() time.Time {
	var first int64
	for _, t := range e.Times[Sent.rank():] {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	return moment(first)
}

// message is e as others see it.
func (e entry) message() Message {
	m := Message{
		ID: e.ID, Status: e.Status, Act: e.Act, Target: e.Target, To: rpc.Secret(e.To), Account: e.owner(),
		Chat: rpc.Chat{Phone: rpc.Secret(e.Chat.Phone), LID: rpc.Secret(e.Chat.LID), Group: rpc.Secret(e.Chat.Group)},
		Code: e.Code, Until: moment(e.Until), WhatsAppCode: e.WhatsAppCode, Attempts: e.Attempts,
		Times: map[Status]time.Time{}, ExpiresAt: moment(e.Expires), Reference: e.Reference,
	}
	for _, s := range statuses {
		if at := e.at(s); !at.IsZero() {
			m.Times[s] = at
		}
	}
	return m
}

// shown is e without what others are not shown.
func (e entry) shown() entry {
	e.holder, e.Touched, e.Retried, e.byTyping = holder{}, false, false, byTyping{}
	return e
}

// level is how serious it is that e has come to its status.
func (e entry) level() slog.Level {
	if e.Status == Failed || e.Status == Expired {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// valid reports whether e is one that this package has written.
func (e entry) valid() bool {
	never := slices.ContainsFunc(append(e.Times[:], e.File, e.Typed, int64(e.Attempts)), func(n int64) bool { return n < 0 })
	addressed := rpc.ValidAddress(rpc.Secret(e.To)) || e.To == "" && !e.Status.waiting() // of one that was damaged
	return e.ID.Valid() && e.Status.rank() >= 0 && addressed && !never && e.Times[0] > 0 &&
		e.Times[e.Status.rank()] != 0 && e.form.valid() && hasAddresses(e)
}

func (f form) valid() bool {
	return (f.Act == "") == (f.Target == "") && (f.Act == "" || rpc.ValidTarget(f.Target)) && (f.Row == "" || f.Row.Valid())
}

// Bounds of what comes with a message.
const (
	// MaxReference is the length of the longest reference, in bytes.
	MaxReference = 255
	// MaxKey is the length of the longest idempotency key.
	MaxKey = 255
	// MaxExpiry is how long a message may wait to be sent at most.
	MaxExpiry = 7 * day
)

// ValidKey reports whether key may be an idempotency key.
func ValidKey(key string) bool {
	unprintable := func(c rune) bool { return c <= ' ' || c > '~' }
	return key != "" && len(key) <= MaxKey && !strings.ContainsFunc(key, unprintable)
}

// acceptable reports whether e may be kept with this content, to be sent.
func acceptable(e entry, c content) bool {
	m, wait := c.message(e), moment(e.Expires).Sub(e.at(Queued))
	return m.Valid() && m.Media.Size == e.File && len(e.Reference) <= MaxReference && wait > 0 && wait <= MaxExpiry
}

func hasAddresses(e entry) bool {
	return !slices.ContainsFunc([]string{e.Account, e.Alias, e.Chat.Phone, e.Chat.LID, e.Chat.Group}, func(a string) bool {
		return a != "" && !rpc.ValidAddress(rpc.Secret(a))
	})
}

// shared is e with texts in memory once that thousands of messages have.
func (e entry) shared() entry {
	e.Status = statuses[e.Status.rank()]
	e.Account = unique.Make(e.Account).Value()
	e.Alias = unique.Make(e.Alias).Value()
	e.To = unique.Make(e.To).Value()
	return e
}

// ref names the message to the page.
func (e entry) ref() rpc.MessageRef {
	c := rpc.ChatAt(rpc.Secret(e.To))
	if e.Chat != (place{}) {
		c = e.message().Chat
	}
	if e.Row != "" {
		return rpc.MessageRef{ID: e.Row, Chat: c}
	}
	return rpc.MessageRef{ID: e.ID, Chat: c}
}

// reach is e once it has reached a status, unless it is as far already. What has been sent
// can no longer fail.
func (e entry) reach(s Status, now time.Time) entry {
	if s.rank() <= e.Status.rank() || !e.Status.waiting() && s.rank() > Played.rank() {
		return e
	}
	e.Status = s
	e.Times[s.rank()] = millis(now)
	if s != Failed {
		e.Code, e.Until = "", 0
	}
	return e
}

// fail is e once it is known that it will never be sent.
func (e entry) fail(c Code, until, now time.Time) entry {
	if e = e.reach(Failed, now); e.Status == Failed && e.Times[Failed.rank()] == millis(now) {
		e.Code, e.Until = c, millis(until)
	}
	return e
}

// wait is e with the reason why it waits.
func (e entry) wait(c Code, until time.Time) entry {
	if e.Status.waiting() {
		e.Code, e.Until = c, millis(until)
	}
	return e
}

// attempt is e when the page is about to be asked to send it.
func (e entry) attempt(now time.Time) entry {
	if !e.Status.waiting() {
		return e
	}
	e = e.reach(Sending, now).wait("", time.Time{})
	e.Attempts++
	e.Touched = true
	return e
}

// doubt is e when nobody knows whether the page has sent it.
func (e entry) doubt(now time.Time) entry {
	if e.Status != Sending || !e.Touched {
		return e
	}
	return e.reach(Unknown, now)
}

// cancel is e once its sender has cancelled it, if that is still possible.
func (e entry) cancel(now time.Time) entry {
	if e.Touched {
		return e
	}
	return e.reach(Cancelled, now)
}

// expire is e once it has waited for too long.
func (e entry) expire(now time.Time) entry {
	if e.Touched {
		return e.fail(CodeUnconfirmed, time.Time{}, now)
	}
	// The reason for which it has waited remains.
	c, until := e.Code, e.Until
	if e = e.reach(Expired, now); e.Status == Expired {
		e.Code, e.Until = c, until
	}
	return e
}

// claim is e once it is known which account is linked. One that may be the account's waits until
// that is known, too.
func (e entry) claim(l link, now time.Time) entry {
	switch owner, linked := e.owner(), l.linked(); {
	case !e.Status.waiting() || l.Account == "":
	case e.Account == "":
		e.holder = l.holder
	case linked.Other(owner):
		e = e.fail(CodeAccountChanged, time.Time{}, now)
	case linked.Is(owner):
		e.Alias = owner.With(linked).Alias(e.Account)
	}
	return e
}

// acked is e after what the page's table holds of it.
func (e entry) acked(s rpc.MessageState, now time.Time) entry {
	if !s.Stored || !isNamed(e, s.ID) {
		return e
	}
	if s.Row != "" {
		e.Row = s.Row
	}
	if s.Chat != (rpc.Chat{}) {
		e.Chat = place{bounded(s.Chat.Phone), bounded(s.Chat.LID), bounded(s.Chat.Group)}
	}
	at := now
	if accepted := e.at(Queued); s.At.After(accepted) && s.At.Before(now) {
		at = s.At // The clocks may differ.
	}
	switch {
	case s.Ack >= 1:
		return e.reach(statuses[min(Sent.rank()+s.Ack-1, Played.rank())], at)
	case s.Ack < 0 && !mayRetry(e, s.Refusal):
		return e.refused(s.Refusal, at)
	}
	return e
}

// isNamed reports whether the page may call the message so.
func isNamed(e entry, id rpc.MessageID) bool { return id == e.ID || id != "" && id == e.Row }

// isLeft reports whether nobody knows if a message was sent that was typed: it is never typed again.
func isLeft(e entry) bool { return e.Typed != 0 && e.Row == "" && e.Status == Unknown }

// canType reports whether it can be typed, or looked for as one that was: for certain the page has no row of it
// under its own id, and none is known.
func canType(e entry) bool { return e.Typeable && (!e.Touched || e.Typed != 0) && e.Row == "" }

// The server's refusals that one more attempt may end: WhatsApp no longer accepts what the
// page knows of the contact, or of the members of the group, both of which the page renews first.
const staleContact, staleGroup = 463, 421

// mayRetry reports whether a message that failed with a refusal, 0 for none, is sent again.
func mayRetry(e entry, refusal int) bool {
	return !e.Retried && (refusal == 0 || refusal == staleContact || refusal == staleGroup)
}

func (e entry) refused(code int, at time.Time) entry {
	before := e.Status
	if e = e.fail(CodeRefused, time.Time{}, at); e.Status != before {
		e.WhatsAppCode = code
	}
	return e
}

// bounded returns an address of the page, or nothing if it is not one.
func bounded(address rpc.Secret) string {
	if !rpc.ValidAddress(address) {
		return ""
	}
	return strings.Clone(string(address))
}
