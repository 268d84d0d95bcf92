package inbox

import (
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/rpc"
)

const secret = "the words of the message"

var written = time.Unix(1_790_000_000, 0).UTC()

func textMessage(change func(*rpc.Received)) rpc.Received {
	m := rpc.Received{
		Key: "false_1@c.us_3A", ID: "3A", Chat: rpc.Chat{Phone: "4915112345678@c.us", LID: "7@lid"}, From: rpc.Chat{Phone: "4915112345678@c.us", LID: "7@lid"},
		Name: "Ada", Type: rpc.TypeText, Text: secret, At: written,
	}
	if change != nil {
		change(&m)
	}
	return m
}

// inWords is the kind of an event, and what is particular about it.
func inWords(e Event) string {
	words := string(e.Kind)
	if e.Late {
		words += " late"
	}
	if e.Source != "" && e.Kind == Arrived {
		words += " " + e.Source
	}
	if e.Status != "" {
		words += " " + e.Status
	}
	return words
}

func TestNewsOfMessages(t *testing.T) {
	undecrypted := func(m *rpc.Received) { m.Type, m.Text = rpc.TypeUndecrypted, "" }
	revoked := func(m *rpc.Received) { m.Type, m.Text = rpc.TypeRevoked, "" }
	edited := func(m *rpc.Received) { m.Text, m.Edit = "other words", "e1" }
	own := func(ack int) func(*rpc.Received) {
		return func(m *rpc.Received) { m.FromMe, m.From, m.Ack = true, rpc.Chat{}, ack }
	}
	for name, tc := range map[string]struct {
		steps []func(*rpc.Received)
		want  []string
	}{
		"once":                      {[]func(*rpc.Received){nil, nil}, []string{"message", ""}},
		"late":                      {[]func(*rpc.Received){undecrypted, undecrypted, nil, undecrypted, nil}, []string{"message.undecrypted", "", "message late", "", ""}},
		"edited":                    {[]func(*rpc.Received){nil, edited, edited, nil}, []string{"message", "message.edited", "", "message.edited"}},
		"deleted":                   {[]func(*rpc.Received){nil, revoked, revoked, nil, edited}, []string{"message", "message.revoked", "", "", ""}},
		"deleted before":            {[]func(*rpc.Received){revoked, revoked}, []string{"message", ""}},
		"never decrypted":           {[]func(*rpc.Received){undecrypted, revoked}, []string{"message.undecrypted", "message.revoked"}},
		"by the phone":              {[]func(*rpc.Received){own(1), own(2), own(1), own(3)}, []string{"message elsewhere", "message.acknowledged delivered", "", "message.acknowledged read"}},
		"acks of what others wrote": {[]func(*rpc.Received){nil, func(m *rpc.Received) { m.Ack = 3 }}, []string{"message", ""}},
	} {
		var before *state
		ids := map[string]bool{}
		for i, step := range tc.steps {
			events, after := news(before, textMessage(step), "name")
			var got []string
			for _, e := range events {
				got = append(got, inWords(e))
				if ids[e.ID] && tc.want[i] != "message.edited" {
					t.Errorf("%s: the id of step %d was used before", name, i)
				}
				ids[e.ID] = true
			}
			if strings.Join(got, ",") != tc.want[i] {
				t.Errorf("%s: step %d gave %q, want %q", name, i, got, tc.want[i])
			}
			again, _ := news(before, textMessage(step), "name")
			if len(again) != len(events) || len(again) > 0 && again[0].ID != events[0].ID {
				t.Errorf("%s: step %d has another id when it is repeated", name, i)
			}
			before = &after
		}
	}
}

func TestContentIsSplitAndJoined(t *testing.T) {
	m := textMessage(func(m *rpc.Received) {
		m.Media = rpc.ReceivedMedia{MIME: "image/png", Size: 3, Name: "the name of the file"}
	})
	reaction := eventOf(rpc.Reaction{ID: "3A", Reaction: "r", Chat: m.Chat, From: m.From, Emoji: secret}, "name")
	if body, c := reaction.split(); strings.Contains(encode(body), secret) || encode(body.joined(c)) != encode(reaction) {
		t.Errorf("of %s is kept for long %s", encode(reaction), encode(body))
	}
	events, _ := news(nil, m, "name")
	body, c := events[0].split()
	if text := encode(body); strings.Contains(text, secret) || strings.Contains(text, "Ada") || strings.Contains(text, "the name of the file") {
		t.Errorf("what is kept for long has %s", text)
	}
	if got, want := encode(body.joined(c)), encode(events[0]); got != want {
		t.Errorf("joined: %s, want %s", got, want)
	}
	for _, want := range []string{`"phone":"+4915112345678"`, `"lid":"7@lid"`, `"event":"message"`, `"type":"text"`, `"t":"2026-`, `"from_me":false`, `"mime":"image/png"`} {
		if !strings.Contains(encode(events[0]), want) {
			t.Errorf("%s is missing in %s", want, encode(events[0]))
		}
	}
}

func TestMarksThinOut(t *testing.T) {
	var marks []rpc.Mark
	for row := int64(1); row <= 5000; row++ {
		marks = thin(append([]rpc.Mark{{Row: row}}, marks...))
	}
	descending := slices.IsSortedFunc(marks, func(a, b rpc.Mark) int { return int(b.Row - a.Row) })
	if len(marks) > rpc.MaxMarks || marks[0].Row != 5000 || marks[20].Row != 4980 || !descending || marks[len(marks)-1].Row > 4000 {
		t.Errorf("%d marks: %v", len(marks), marks)
	}
}
