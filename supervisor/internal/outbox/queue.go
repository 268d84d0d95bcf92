package outbox

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unique"

	"session-manager/shared/rpc"
)

// item is a message that waits to be sent.
type item struct {
	plain
	// whole is the entry of a message that is not plain.
	whole  *entry
	chat   *chat
	number uint64 // the order in which they were accepted
	// busy: it is being changed or sent.
	busy bool
	// known is nil for zero.
	known *known
}

// plain is what is needed in memory of a text that no page was given, as most are that wait. The
// rest is on disk.
type plain struct {
	ID       rpc.MessageID
	to       unique.Handle[string]
	holder   unique.Handle[holder]
	code     unique.Handle[Code]
	accepted int64
	expires  int64
	until    int64
	typeable bool
}

func plainOf(e entry) plain {
	return plain{
		ID: e.ID, to: unique.Make(e.To), holder: unique.Make(e.holder), code: unique.Make(e.Code),
		accepted: e.Times[0], expires: e.Expires, until: e.Until, typeable: e.Typeable,
	}
}

func (p plain) entry() entry {
	return entry{
		ID: p.ID, Status: Queued, To: p.to.Value(), holder: p.holder.Value(), Code: p.code.Value(), Until: p.until,
		Expires: p.expires, Times: times{p.accepted}, form: form{byTyping: byTyping{Typeable: p.typeable}},
	}
}

// entry is that of the message, without its reference.
func (it *item) entry() entry {
	if it.whole != nil {
		return *it.whole
	}
	return it.plain.entry()
}

// keep takes over an entry.
func (it *item) keep(e entry) {
	e.Reference = ""
	it.plain, it.whole = plainOf(e), nil
	if it.plain.entry() != e {
		it.whole = &e
	}
}

// known is what is known of a message that a page was given.
type known struct {
	sight sight
	// doubts counts the attempts in a row, in this life of the page, that have left it unknown.
	doubts int
	// restarts is how often the page was restarted because of it, and restart when that may
	// be done again.
	restarts int
	restart  time.Time
}

// facts returns what is known of the message.
func (it *item) facts() known {
	if it.known == nil {
		return known{}
	}
	return *it.known
}

// learn changes what is known of the message.
func (it *item) learn(change func(*known)) {
	k := it.facts()
	change(&k)
	if it.known = nil; k != (known{}) {
		it.known = &k
	}
}

// see notes what is known in this life of the page.
func (it *item) see(s sight) { it.learn(func(k *known) { k.sight = s }) }

// chat has the messages to one person or group, in order. Only the first one may be sent, so
// that the order is kept.
type chat struct {
	// address is that of queue.person.
	address string
	line    []*item
	// failures counts those in a row, and retry is when the next attempt is due.
	failures int
	retry    time.Time
}

// queue has the messages that wait to be sent.
type queue struct {
	items    map[rpc.MessageID]*item
	chats    map[string]*chat // by their addresses
	accepted uint64
	// same has the one address by which a person is kept who has several, by the others.
	same map[string]string
}

func newQueue() queue {
	return queue{items: map[rpc.MessageID]*item{}, chats: map[string]*chat{}, same: map[string]string{}}
}

// person returns the address by which the one behind an address is kept.
func (q *queue) person(address string) string {
	if same, ok := q.same[address]; ok {
		return same
	}
	return address
}

// join notes that addresses, of which some may be empty, are one person's, whose messages
// are one line from now on. Of several, the phone number stays.
func (q *queue) join(addresses ...string) {
	addresses = slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return !rpc.ValidAddress(rpc.Secret(a)) })
	for i, a := range addresses {
		addresses[i] = q.person(a)
	}
	slices.SortStableFunc(addresses, func(a, b string) int {
		return cmp.Compare(strings.Index(a, rpc.ServerLID), strings.Index(b, rpc.ServerLID))
	})
	if addresses = slices.Compact(addresses); len(addresses) < 2 {
		return
	}
	if len(q.same) >= maxKnown {
		clear(q.same) // until they are seen again
	}
	kept := addresses[0]
	for _, other := range addresses[1:] {
		for a, same := range q.same {
			if same == other {
				q.same[a] = kept
			}
		}
		q.same[other] = kept
		q.merge(kept, other)
	}
}

// merge moves the messages of one chat to those of another, by when they were accepted.
func (q *queue) merge(kept, other string) {
	from := q.chats[other]
	if from == nil {
		return
	}
	delete(q.chats, other)
	to := q.chats[kept]
	if to == nil {
		from.address = kept
		q.chats[kept] = from
		return
	}
	for _, it := range from.line {
		it.chat = to
	}
	to.line = append(to.line, from.line...)
	slices.SortFunc(to.line, func(a, b *item) int { return cmp.Compare(a.number, b.number) })
	to.failures, to.retry = max(to.failures, from.failures), later(to.retry, from.retry)
}

// put takes over a message that has changed, and returns its item while it waits.
func (q *queue) put(e entry) *item {
	if e.Chat.LID != "" {
		q.join(e.To, e.Chat.Phone, e.Chat.LID)
	}
	it := q.items[e.ID]
	switch {
	case !e.Status.waiting():
		q.remove(it)
		return nil
	case it != nil:
		it.keep(e)
	default:
		q.accepted++
		address := q.person(e.To)
		c := q.chats[address]
		if c == nil {
			c = &chat{address: address}
			q.chats[address] = c
		}
		it = &item{number: q.accepted, chat: c}
		it.keep(e)
		q.items[it.ID] = it
		c.line = append(c.line, it)
	}
	return it
}

// remove removes an item, if it is not nil. What follows it in its chat need not wait for
// what it has waited for.
func (q *queue) remove(it *item) {
	if it == nil {
		return
	}
	delete(q.items, it.ID)
	c := it.chat
	c.line = slices.DeleteFunc(c.line, func(other *item) bool { return other == it })
	c.failures, c.retry = 0, time.Time{}
	if len(c.line) == 0 {
		delete(q.chats, c.address)
	}
}

// gate knows who may be written to for the first time.
type gate struct {
	// known is who has ever written to us, by address.
	known map[string]acquaintance
	// refused is why the page has refused a first contact, and refusedUntil for how long.
	refused      Code
	refusedUntil time.Time
}

type acquaintance struct {
	stranger bool
	at       time.Time
}

// What is known of people is asked again after a while.
const (
	strangerLife, acquaintanceLife = time.Hour, 24 * time.Hour
	maxKnown                       = 10_000
)

// learn notes whether somebody has never written to us.
func (g *gate) learn(address string, stranger bool, now time.Time) {
	if len(g.known) >= maxKnown {
		clear(g.known)
	}
	g.known[address] = acquaintance{stranger, now}
}

// mustAsk reports whether it has to be found out if the recipient has ever written to us.
// Groups, and chats in which something is done to a message, count as known.
func (g *gate) mustAsk(it *item, now time.Time) bool {
	if e := it.entry(); e.Touched || e.Act != "" || strings.HasSuffix(e.To, rpc.ServerGroup) {
		return false
	}
	k, ok := g.known[it.chat.address]
	return !ok || now.Sub(k.at) >= acquaintanceLife || k.stranger && now.Sub(k.at) >= strangerLife
}

// maybeStranger is isStranger, but true too for whom a page that can't be asked would be
// asked about.
func (g *gate) maybeStranger(it *item, answers bool, now time.Time) bool {
	return g.isStranger(it) || !answers && g.mustAsk(it, now)
}

// isStranger reports whether a message would be the first contact.
func (g *gate) isStranger(it *item) bool {
	e := it.entry()
	return !e.Touched && e.Act == "" && g.known[it.chat.address].stranger
}

// lift forgets what the page has refused once the account is no longer restricted.
func (g *gate) lift(before, now rpc.NewChats) {
	restricted := func(n rpc.NewChats) bool { return n.Restricted || n.Capped || n.Challenge }
	if restricted(before) && !restricted(now) {
		g.refusedUntil = time.Time{}
	}
}

// restriction returns why nobody may be written to for the first time, and the end of that
// if it is known.
func (g *gate) restriction(n rpc.NewChats, now time.Time) (Code, time.Time) {
	switch {
	case n.Restricted && (n.RestrictedUntil.IsZero() || now.Before(n.RestrictedUntil)):
		return Code(rpc.SendNewChatsRestricted), n.RestrictedUntil
	case n.Capped && (n.CappedUntil.IsZero() || now.Before(n.CappedUntil)):
		return Code(rpc.SendNewChatsCapped), n.CappedUntil
	case n.Challenge:
		return Code(rpc.SendNewChatsRestricted), time.Time{}
	case now.Before(g.refusedUntil):
		return g.refused, g.refusedUntil
	}
	return "", time.Time{}
}
