package simulator

import (
	"slices"
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

// Acts returns what was done to messages, in the order of its first arrival. AwaitSent's
// condition is asked after each change of it, too.
func (m *Messaging) Acts() []Act {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Act, len(m.acts))
	for i, one := range m.acts {
		all[i] = *one
		all[i].Times = slices.Clone(one.Times)
	}
	return all
}

// badRequest is the code for an act on a message that the sender has not sent.
const badRequest = 400

// actLocked does an act, once for each id, and returns the server's answer to it.
func (m *Messaging) actLocked(s stanza, refusal int) stanza {
	defer m.changedLocked()
	i := slices.IndexFunc(m.acts, func(a *Act) bool { return a.ID == s.ID })
	if i < 0 {
		i = len(m.acts)
		m.acts = append(m.acts, &Act{ID: s.ID, Kind: s.Act, Target: s.Target, Chat: m.people.chat(s.To), Text: s.Text})
	}
	one := m.acts[i]
	first := len(one.Times) == 0 || one.Refusal != 0
	one.Times = append(one.Times, time.Now())
	target := m.findLocked(s.Target)
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
