package outbox

import (
	"fmt"
	"testing"
	"time"
)

func TestPacing(t *testing.T) {
	p := DefaultPacing()
	// after is the history after a message in each of the chats, this long ago.
	type sent struct {
		chat  string
		first bool
		ago   time.Duration
	}
	now := t0
	after := func(random float64, all ...sent) (h history) {
		for _, s := range all {
			h = p.sent(h, s.chat, s.first, now.Add(-s.ago), random)
		}
		return h
	}
	// strangers are so many people, a minute apart, the last one an hour ago.
	strangers := func(n int) (all []sent) {
		for i := range n {
			all = append(all, sent{fmt.Sprint(i), true, time.Hour + time.Duration(n-1-i)*time.Minute})
		}
		return all
	}
	linkedNow, linkedLong := now.Add(-time.Hour), now.Add(-p.New)
	for _, tt := range []struct {
		name   string
		h      history
		chat   string
		first  bool
		linked time.Time
		want   time.Duration
	}{
		{"nothing sent", history{}, "a", false, linkedNow, -1},
		{"other chat", after(0.5, sent{"b", false, 0}), "a", false, linkedNow, time.Second},
		{"same chat", after(0.5, sent{"a", false, 0}), "a", false, linkedNow, 3 * time.Second},
		{"same chat, with another between", after(0.5, sent{"a", false, time.Second}, sent{"b", false, 0}), "a", false, linkedNow, 2 * time.Second},
		{"known chat after a stranger", after(0.5, sent{"b", true, 0}), "a", false, linkedNow, time.Second},
		{"second stranger", after(0.5, sent{"b", true, 0}), "a", true, linkedNow, 45 * time.Second},
		{"second stranger, soonest", after(0, sent{"b", true, 0}), "a", true, linkedNow, 22500 * time.Millisecond},
		{"second stranger, latest", after(1, sent{"b", true, 0}), "a", true, linkedNow, 67500 * time.Millisecond},
		{"same stranger", after(0.5, sent{"a", true, 0}), "a", true, linkedNow, 3 * time.Second},
		{"second stranger, when the first was written to again", after(0.5, sent{"b", true, 40 * time.Second}, sent{"b", true, 0}), "a", true, linkedNow, 5 * time.Second},
		{"19 strangers", after(0.5, strangers(19)...), "a", true, linkedNow, -1},
		{"20 strangers", after(0.5, strangers(20)...), "a", true, linkedNow, day - time.Hour - 19*time.Minute},
		{"20 strangers, one of them", after(0.5, strangers(20)...), "3", true, linkedNow, -1},
		{"20 strangers, known chat", after(0.5, strangers(20)...), "a", false, linkedNow, -1},
		{"20 strangers, linked long ago", after(0.5, strangers(20)...), "a", true, linkedLong, -1},
		{"100 strangers", after(0.5, strangers(100)...), "a", true, linkedLong, day - time.Hour - 99*time.Minute},
		{"nobody knows when it was linked", after(0.5, strangers(20)...), "a", true, time.Time{}, day - time.Hour - 19*time.Minute},
		{"the clock was set back", after(0.5, sent{"b", true, -day}), "c", true, linkedLong, day + time.Second},
	} {
		at := p.earliest(tt.h, tt.chat, tt.first, tt.linked, now)
		if got := at.Sub(now); got != tt.want && (tt.want != -1 || got > 0) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if h := after(0.5, append(strangers(5), sent{"a", true, 0})...); len(h.chats) != 1 || len(h.Strangers) != 6 {
		t.Errorf("got %d chats and %d strangers", len(h.chats), len(h.Strangers))
	}
	if h := p.sent(after(0.5, strangers(20)...), "a", true, now.Add(day), 0.5); len(h.Strangers) != 1 {
		t.Errorf("%d strangers are remembered after a day", len(h.Strangers))
	}
	p.NewPerDay = 0
	if at := p.earliest(history{}, "a", true, linkedNow, now); !at.Equal(now.Add(day)) {
		t.Errorf("no strangers allowed: got %v", at)
	}
}
