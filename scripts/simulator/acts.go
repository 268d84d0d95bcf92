package simulator

import (
	"slices"
	"sync"
	"time"
)

// Act is what the server has got about another message, under an id of its own.
type Act struct {
	ID string `json:"id"`
	// Kind is edit, revoke or reaction, and Target the id of the message.
	Kind   string `json:"kind"`
	Target string `json:"target"`
	// Chat is that of Sent, and Text the new text, or the emoji.
	Chat string `json:"chat"`
	Text string `json:"text,omitempty"`
	// Times are when it arrived; more than one means that it was repeated.
	Times []time.Time `json:"times"`
	// Refusal is the code of the server's refusal, 0 if it took the act.
	Refusal int `json:"refusal,omitempty"`
}

// acts is what was done to messages.
type acts struct {
	mu  sync.Mutex
	all []*Act
}

// Acts returns what was done to messages, in the order of its first arrival. AwaitSent's
// condition is asked after each change of it, too.
func (a *acts) Acts() []Act {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Act, len(a.all))
	for i, one := range a.all {
		all[i] = *one
		all[i].Times = slices.Clone(one.Times)
	}
	return all
}

// badRequest is the code for an act on a message that the sender has not sent.
const badRequest = 400

// do does an act to target, which is nil if the account has not sent it, once for each id, and returns the
// server's answer.
func (a *acts) do(s stanza, chat string, target *Sent, refusal int) stanza {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.all, func(one *Act) bool { return one.ID == s.ID })
	if i < 0 {
		i = len(a.all)
		a.all = append(a.all, &Act{ID: s.ID, Kind: s.Act, Target: s.Target, Chat: chat, Text: s.Text})
	}
	one := a.all[i]
	first := len(one.Times) == 0 || one.Refusal != 0
	one.Times = append(one.Times, time.Now())
	if target == nil && s.Act != "reaction" {
		refusal = badRequest
	}
	if first {
		one.Refusal = refusal
	}
	if first && refusal == 0 {
		switch s.Act {
		case "edit":
			target.Edited = s.Text
		case "revoke":
			target.Revoked = true
		}
	}
	return stanza{Type: "ack", ID: s.ID, Error: one.Refusal, T: time.Now().Unix()}
}
