package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The account's own addresses.
const (
	ownPhone = "15550100042@c.us"
	ownLID   = "20000000000042@lid"
)

// ErrUnknownMessage is what a lever returns that needs a message which the server has.
var ErrUnknownMessage = errors.New("the server has no such message")

// Sent is what the server has got under one id: the judge of what was sent.
type Sent struct {
	ID string `json:"id"`
	// Chat is the recipient's phone number or the group, as an address, and To the
	// address that the page used.
	Chat string `json:"chat"`
	To   string `json:"to"`
	// From is the own address that the page used.
	From string `json:"from"`
	// Text is the caption of a message with Media.
	Text     string     `json:"text"`
	Media    *SentMedia `json:"media,omitempty"`
	Quoted   string     `json:"quoted,omitempty"`
	Mentions []string   `json:"mentions,omitempty"`
	// Times are when it arrived; more than one means that it was repeated.
	Times []time.Time `json:"times"`
	// Altered reports whether a repetition had another content.
	Altered bool `json:"altered,omitempty"`
	// Ack is the level that the server has reported, 0 to 4.
	Ack int `json:"ack"`
	// Refusal is the code of the server's refusal, 0 if it took the message.
	Refusal int `json:"refusal,omitempty"`
	// Edited is the text that an edit has left, empty without one, and Revoked whether it was
	// deleted for everybody.
	Edited  string `json:"edited,omitempty"`
	Revoked bool   `json:"revoked,omitempty"`
}

// Messaging is the part of the server that takes messages and delivers them.
type Messaging struct {
	Incomings
	settings *Settings
	people   *People
	*Media

	mu sync.Mutex
	*acts
	// sent has what arrived, in the order of arrival.
	sent []*Sent
	// queue is what the device hasn't confirmed.
	queue    []stanza
	next     int
	incoming incomings
	// online are the connections that get what arrives.
	online map[*chat]struct{}
	// renewed are the chats, as in Sent, of which the page has renewed what it knows.
	renewed map[string]bool
	// errands are the chats that were read, the changes of presence, and the ids of messages that
	// the phone, or the sender of a file, was asked for, each with its kind before it.
	errands []string
	// struck are the ids for which a connection was dropped already.
	struck map[string]bool
	// changed is closed and replaced whenever sent changes.
	changed chan struct{}
}

func newMessaging(s *Settings, p *People) *Messaging {
	m := &Messaging{settings: s, people: p, Media: &Media{settings: s}, online: map[*chat]struct{}{}, struck: map[string]bool{}, renewed: map[string]bool{}, incoming: incomings{phones: map[string]string{}}, acts: &acts{}, changed: make(chan struct{})}
	m.Incomings = Incomings{m}
	s.changed = m.restrict
	return m
}

// restrict informs the pages of what the account must not do.
func (m *Messaging) restrict() {
	all := query{Type: "restrictions", Result: m.restrictions()}
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.online {
		c.write(all)
	}
}

// stanza is a message of /ws/chat about messages, in either direction.
type stanza struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
	// N numbers what the device has to confirm.
	N     int    `json:"n,omitempty"`
	To    string `json:"to,omitempty"`
	From  string `json:"from,omitempty"`
	LID   string `json:"lid,omitempty"`
	Name  string `json:"name,omitempty"`
	Group string `json:"group,omitempty"`
	content
	Ack   int `json:"ack,omitempty"`
	Error int `json:"error,omitempty"`
	// T is a time in seconds since 1970, and MS that of a reaction in milliseconds.
	T  int64 `json:"t,omitempty"`
	MS int64 `json:"ms,omitempty"`
	// Kind is the page's type of a message that is not a text, and Own means that the
	// account's phone has sent it.
	Kind string `json:"kind,omitempty"`
	Own  bool   `json:"own,omitempty"`
}

// content is what people see of a message.
type content struct {
	Text     string   `json:"text,omitempty"`
	Quoted   string   `json:"quoted,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
	// Media is the file, of which Text is the caption.
	Media *stanzaMedia `json:"media,omitempty"`
	// Act is edit, revoke or reaction, and Target the id of the message that it is done to.
	Act    string `json:"act,omitempty"`
	Target string `json:"target,omitempty"`
}

// query is a question of the page, and its answer.
type query struct {
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"`
	What   string `json:"what,omitempty"`
	Wid    string `json:"wid,omitempty"`
	Error  int    `json:"error,omitempty"`
	Result any    `json:"result,omitempty"`
}

// handle takes what a page sent, and reports whether it is about messages.
func (m *Messaging) handle(c *chat, kind string, raw []byte) bool {
	switch kind {
	case "message":
		var s stanza
		if json.Unmarshal(raw, &s) == nil {
			m.accept(c, s)
		}
	case "confirm":
		var s stanza
		if json.Unmarshal(raw, &s) == nil {
			m.confirm(s.N)
		}
	case "iq":
		var q query
		if json.Unmarshal(raw, &q) == nil {
			c.write(m.answer(q))
		}
	default:
		return false
	}
	return true
}

// accept records a message and acknowledges it, as the switches want.
func (m *Messaging) accept(c *chat, s stanza) {
	if m.drops("drop-before-write", s.ID) {
		c.close()
		return
	}
	ack := m.record(s)
	if m.drops("drop-after-write", s.ID) {
		c.close()
		return
	}
	fault, _ := m.settings.fault("ack")
	switch fault.Value {
	case "never":
	case "late":
		c.work.Go(func() {
			if pause(c.ctx, time.Duration(fault.number())*time.Millisecond) {
				c.write(ack)
			}
		})
	default:
		c.write(ack)
		if level := map[string]int{"delivered": 2, "read": 3}[fault.Value]; level > 0 {
			_ = m.Ack(s.ID, level) // It was recorded just now.
		}
	}
}

// drops reports whether the connection is to be closed for this message; once for each.
func (m *Messaging) drops(how, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.settings.isOn("socket", how) || m.struck[id] {
		return false
	}
	m.struck[id] = true
	return true
}

// record adds the message to the log, and returns the server's answer to it.
func (m *Messaging) record(s stanza) stanza {
	m.mu.Lock()
	defer m.mu.Unlock()
	refusal := m.refusal(s)
	if s.Act != "" {
		defer m.changedLocked()
		return m.do(s, m.people.chat(s.To), m.findLocked(s.Target), refusal)
	}
	media, err := m.of(s)
	if err != nil {
		refusal = 400
	}
	one := m.findLocked(s.ID)
	if one == nil {
		one = &Sent{ID: s.ID, Chat: m.people.chat(s.To), To: s.To, From: s.From, Text: s.Text, Media: media, Quoted: s.Quoted, Mentions: s.Mentions}
		m.sent = append(m.sent, one)
	} else if one.Text != s.Text || one.Chat != m.people.chat(s.To) || one.Quoted != s.Quoted || !slices.Equal(one.Mentions, s.Mentions) || !sameMedia(one.Media, media) {
		one.Altered = true
	}
	one.Times = append(one.Times, time.Now())
	switch {
	case one.Ack > 0: // It was taken before.
		refusal = 0
	case refusal != 0:
		one.Refusal = refusal
	case !m.settings.isOn("ack", "never"):
		one.Ack, one.Refusal = 1, 0
	}
	m.changedLocked()
	return stanza{Type: "ack", ID: s.ID, Error: refusal, T: time.Now().Unix()}
}

// refusal returns the code with which the server refuses a message, or 0.
func (m *Messaging) refusal(s stanza) int {
	if fault, on := m.settings.fault("ack"); on && (fault.Value == "refuse" || fault.Value == "stale" && !m.renewed[m.people.chat(s.To)]) {
		return fault.number()
	}
	if strings.HasSuffix(s.To, "@g.us") || m.people.chat(s.To) == ownPhone || m.people.person(s.To).Known {
		return 0
	}
	if _, on := m.settings.fault("timelock"); on {
		return 463
	}
	if m.settings.isOn("capping", "capped") {
		return 475
	}
	return 0
}

func (m *Messaging) findLocked(id string) *Sent {
	for _, one := range m.sent {
		if one.ID == id {
			return one
		}
	}
	return nil
}

func (m *Messaging) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Sent returns what the server has got, in the order of its first arrival.
func (m *Messaging) Sent() []Sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copyLocked()
}

func (m *Messaging) copyLocked() []Sent {
	all := make([]Sent, len(m.sent))
	for i, one := range m.sent {
		all[i] = *one
		all[i].Times = slices.Clone(one.Times)
	}
	return all
}

// AwaitSent blocks until what the server has got satisfies want, which is called once
// per change and from the caller's goroutine.
func (m *Messaging) AwaitSent(ctx context.Context, want func([]Sent) bool) error {
	for {
		m.mu.Lock()
		sent, changed := m.copyLocked(), m.changed
		m.mu.Unlock()
		if want(sent) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot see the awaited messages, there are %d: %w", len(sent), ctx.Err())
		}
	}
}

// Ack is the recipient's phone reporting a message as delivered (2), read (3) or
// played (4).
func (m *Messaging) Ack(id string, level int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	to, one := m.incoming.phones[id], m.findLocked(id)
	if one != nil && one.Ack > 0 {
		to, one.Ack = one.To, max(one.Ack, level)
	}
	if to == "" || level < 2 || level > 4 {
		return fmt.Errorf("cannot set ack %d: %w", level, ErrUnknownMessage)
	}
	m.changedLocked()
	m.deliverLocked(stanza{Type: "receipt", ID: id, From: to, Ack: level, T: time.Now().Unix()})
	return nil
}

// Incoming is a message that somebody sends to the account, or that the account's own
// phone sends to somebody.
type Incoming struct {
	// From is the other side's phone number, digits only.
	From string `json:"from"`
	Text string `json:"text"`
	// Group is the address of a group, of "status@broadcast" or of a channel; empty for a
	// chat with From.
	Group string `json:"group"`
	// Quoted is the id of a message that it answers, Kind the page's type if it is not a
	// text, and Own means that the account's phone has sent it.
	Quoted string `json:"quoted"`
	Kind   string `json:"kind"`
	Own    bool   `json:"own"`
	// Changes is the id of an earlier message in the same chat that this one replaces by
	// its text, or deletes if Kind is "revoked". One whose Kind was "ciphertext" can be read then.
	Changes string `json:"changes"`
	// Reacts is the id of an earlier message in the same chat that this is a reaction to: Text is
	// an emoji, empty to take back the one before.
	Reacts string `json:"reacts"`
	// File is that of a message whose Kind has one; Text is its caption.
	File *IncomingFile `json:"file"`
}

// incomings is what the server remembers of them: how many there were, the time of the last
// reaction, and whom the account's phone has written to, by the ids of the messages.
type incomings struct {
	ids     int
	reacted int64
	phones  map[string]string
}

// Incomings are what is sent to the account.
type Incomings struct{ m *Messaging }

// Receive is somebody sending a text to the account. It returns the message's id.
func (i Incomings) Receive(phone, text string) string {
	return i.Deliver(Incoming{From: phone, Text: text})
}

// Deliver has a message delivered to the account, and returns its id.
func (i Incomings) Deliver(in Incoming) string {
	m := i.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.incoming.ids++
	s := in.stanza(m.people, m.incoming.ids)
	if s.Type == "reaction" {
		m.incoming.reacted = max(m.incoming.reacted+1, s.MS) // the page drops one that is not later
		s.MS = m.incoming.reacted
	}
	if in.Own && s.Type == "incoming" && in.Group == "" {
		m.incoming.phones[s.ID] = s.From
	}
	if in.File != nil {
		s.Media = m.offer(s.ID, in.Kind, in.File)
	}
	m.deliverLocked(s)
	return s.ID
}

// stanza is what the device gets of the n-th message.
func (in Incoming) stanza(people *People, n int) stanza {
	p := people.person(in.From + "@c.us")
	p.Known = true
	people.SetPerson(p)
	s := stanza{
		Type: "incoming", ID: fmt.Sprintf("3A%012X%06X", time.Now().UnixMilli(), n), From: p.Phone + "@c.us", LID: p.LID + "@lid",
		To: ownPhone, Name: p.Name, content: content{Text: in.Text, Quoted: in.Quoted}, T: time.Now().Unix(), Group: in.Group, Kind: in.Kind, Own: in.Own,
	}
	switch {
	case in.Changes != "":
		s.Type, s.ID = "change", in.Changes
	case in.Reacts != "":
		s.Type, s.Target, s.MS = "reaction", in.Reacts, time.Now().UnixMilli()
	}
	return s
}

// Errands returns what the page has reported as "seen <chat>", "presence <word>",
// "resend <id>" and "reupload <id>", in order.
func (i Incomings) Errands() []string {
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	return slices.Clone(i.m.errands)
}

// Undelivered returns how many stanzas the device has not confirmed.
func (i Incomings) Undelivered() int {
	m := i.m
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

// deliverLocked sends s to the device, now or when it comes back.
func (m *Messaging) deliverLocked(s stanza) {
	m.next++
	s.N = m.next
	m.queue = append(m.queue, s)
	for c := range m.online {
		c.write(s)
	}
}

func (m *Messaging) confirm(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = slices.DeleteFunc(m.queue, func(s stanza) bool { return s.N == n })
}

// join delivers to a connection what came while the page was away, and from then on
// what comes.
func (m *Messaging) join(c *chat) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settings.isOn("offline", "queue") {
		fault, _ := m.settings.fault("offline")
		for i := range fault.number() {
			m.incoming.ids++
			m.deliverLocked(Incoming{From: "15550101001", Text: fmt.Sprintf("while you were away %d", i+1)}.stanza(m.people, m.incoming.ids))
		}
	}
	m.online[c] = struct{}{}
	for _, s := range m.queue {
		c.write(s)
	}
}

func (m *Messaging) leave(c *chat) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.online, c)
}

// answer answers a page's question.
func (m *Messaging) answer(q query) query {
	a := query{Type: "iq-result", ID: q.ID}
	switch q.What {
	case "exists":
		switch {
		case m.settings.isOn("exists", "error"):
			a.Error = 500
		case !m.settings.isOn("exists", "none"):
			a.Result = m.people.contact(q.Wid)
		}
	case "contact":
		a.Result = m.people.contact(q.Wid)
	case "renew":
		m.mu.Lock()
		m.renewed[m.people.chat(q.Wid)] = true
		m.mu.Unlock()
	case "restrictions":
		a.Result = m.restrictions()
	case "seen", "presence", "resend", "reupload":
		m.mu.Lock()
		m.errands = append(m.errands, q.What+" "+q.Wid)
		m.mu.Unlock()
		if q.What == "reupload" {
			if path, ok := m.renew(q.Wid); ok {
				a.Result = path
			} else {
				a.Error = http.StatusNotFound
			}
		}
	default:
		a.Error = 400
	}
	return a
}

// restrictions is what the account must not do, in the form of the page's prefs.
func (m *Messaging) restrictions() map[string]any {
	all := map[string]any{}
	if fault, on := m.settings.fault("timelock"); on && fault.Value == "account" {
		all["timelock"] = map[string]any{
			"state": "visible", "time_enforcement_ends": time.Now().Add(time.Duration(fault.number()) * time.Minute).UnixMilli(),
			"enforcement_type": "DEFAULT",
		}
	}
	if fault, on := m.settings.fault("capping"); on {
		status, used := "FIRST_WARNING", 80
		if fault.Value == "capped" {
			status, used = "CAPPED", 100
		}
		all["capping"] = map[string]any{
			"capping_status": status, "total_quota": 100, "used_quota": used, "cycle_end_timestamp": time.Now().Add(24 * time.Hour).Unix(),
		}
	}
	if fault, on := m.settings.fault("challenge"); on {
		all["challenge"] = map[string]any{"challenge_type": strings.ToUpper(fault.Value)}
	}
	return all
}
