package simulator

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// lidPrefix begins the LIDs of people who were not set, whose phone number follows
// backwards, so that the server finds either from the other.
const lidPrefix = "88"

func lidOf(phone string) string { return lidPrefix + reversed(phone) }

func reversed(text string) string {
	letters := []byte(text)
	slices.Reverse(letters)
	return string(letters)
}

// Person is an entry of the server's address book.
type Person struct {
	// Phone is the number as the server spells it, digits only; LID are the digits of
	// the other address.
	Phone string `json:"phone"`
	LID   string `json:"lid"`
	Name  string `json:"name"`
	// Absent people have no account.
	Absent   bool `json:"absent"`
	Business bool `json:"business"`
	// Known people have written to the account before.
	Known bool `json:"known"`
}

// People are the accounts that the server knows. Everybody has one who was not set
// otherwise.
type People struct {
	mu sync.Mutex
	// set are those who were set, by their phone numbers.
	set map[string]Person
}

func newPeople() *People {
	p := &People{set: map[string]Person{}}
	for phone, name := range map[string]string{"15550101001": "Ada", "15550101002": "Grace", "15550101003": "Edsger"} {
		p.SetPerson(Person{Phone: phone, Name: name, Known: true})
	}
	return p
}

// SetPerson changes an entry of the server's address book. An empty LID is made up.
func (p *People) SetPerson(one Person) {
	if one.LID == "" {
		one.LID = lidOf(one.Phone)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set[one.Phone] = one
}

// person returns whose address this is.
func (p *People) person(wid string) Person {
	user, server, _ := strings.Cut(wid, "@")
	p.mu.Lock()
	defer p.mu.Unlock()
	phone := spelled(user)
	if server == "lid" {
		phone = reversed(strings.TrimPrefix(user, lidPrefix))
		for _, one := range p.set {
			if one.LID == user {
				return one
			}
		}
	}
	if one, set := p.set[phone]; set {
		return one
	}
	return Person{Phone: phone, LID: lidOf(phone)}
}

// spelled returns the number as the server spells it: without Brazil's ninth digit outside
// the areas of São Paulo, Rio and Espírito Santo, with Argentina's 9, without Mexico's 1.
func spelled(phone string) string {
	switch {
	case strings.HasPrefix(phone, "55") && len(phone) == 13 && phone[2] >= '3' && phone[4] == '9':
		return phone[:4] + phone[5:]
	case strings.HasPrefix(phone, "54") && len(phone) == 12 && phone[2] != '9':
		return "549" + phone[2:]
	case strings.HasPrefix(phone, "521") && len(phone) == 13:
		return "52" + phone[3:]
	}
	return phone
}

// chat returns the address of a chat's phone number, or of the group.
func (p *People) chat(to string) string {
	switch {
	case to == ownLID:
		return ownPhone
	case to == ownPhone, strings.HasSuffix(to, "@g.us"):
		return to
	}
	return p.person(to).Phone + "@c.us"
}

// contact is what the server answers about an account.
type contact struct {
	Phone    string `json:"phone"`
	LID      string `json:"lid"`
	Name     string `json:"name,omitempty"`
	Business bool   `json:"business,omitempty"`
}

// contact returns the account of an address, or nil.
func (p *People) contact(wid string) any {
	if wid == ownPhone || wid == ownLID {
		return contact{Phone: ownPhone, LID: ownLID}
	}
	one := p.person(wid)
	if one.Absent {
		return nil
	}
	return contact{Phone: one.Phone + "@c.us", LID: one.LID + "@lid", Name: one.Name, Business: one.Business}
}

// historyChat is a chat that the phone has.
type historyChat struct {
	Phone string        `json:"phone,omitempty"`
	LID   string        `json:"lid,omitempty"`
	Name  string        `json:"name"`
	T     int64         `json:"t"`
	Group *historyGroup `json:"group,omitempty"`
}

type historyGroup struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	LIDMode bool   `json:"lidMode"`
}

// history is what the phone sends to a new device.
type history struct {
	Type     string        `json:"type"`
	Chats    []historyChat `json:"chats"`
	Messages []stanza      `json:"messages"`
}

// Group is the address of the group that the account is in.
const Group = "120363000000000001@g.us"

func (p *People) history() history {
	p.mu.Lock()
	defer p.mu.Unlock()
	past := time.Now().Add(-time.Hour).Unix()
	h := history{Type: "history"}
	for _, phone := range slices.Sorted(maps.Keys(p.set)) {
		if one := p.set[phone]; one.Known {
			h.Chats = append(h.Chats, historyChat{Phone: phone + "@c.us", LID: one.LID + "@lid", Name: one.Name, T: past})
			h.Messages = append(h.Messages, stanza{ID: "3AFEED" + phone, From: phone + "@c.us", To: ownPhone, content: content{Text: "Hello"}, T: past})
		}
	}
	h.Chats = append(h.Chats, historyChat{Name: "Family", T: past, Group: &historyGroup{ID: Group, Subject: "Family", LIDMode: true}})
	return h
}
