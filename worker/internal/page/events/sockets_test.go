package events

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
)

// TestSocketsFollowTheDocument plays events: a websocket is begun (+), answered (!), ended
// (-), something comes over it (<), or it is of a frame of another origin (?).
func TestSocketsFollowTheDocument(t *testing.T) {
	for _, tc := range []struct {
		name, events string
		open         bool
		openings     int
		attempts     int
	}{
		{"none", "", false, 0, 0},
		{"begun", "+a", false, 0, 1},
		{"refused", "+a -a", false, 0, 1},
		{"open", "+a !a", true, 1, 1},
		{"answered twice", "+a !a !a", true, 1, 1},
		{"answered after its end", "+a -a !a", false, 0, 1},
		{"lost", "+a !a -a", false, 1, 1},
		{"open again", "+a !a -a +b !b", true, 2, 2},
		{"of two that are raced the loser is closed", "+a +b !b !a -a", true, 1, 2},
		{"of two that are raced the winner is lost", "+a +b !b -a -b", false, 1, 2},
		{"one is begun while another is open, which is given up", "+a !a +b", false, 1, 2},
		{"and its late end means nothing", "+a !a +b !b -a", true, 2, 2},
		{"nor does what still comes over it", "+a !a +b <a", false, 1, 2},
		{"nothing is given up for that of another origin", "+a !a +b ?b", true, 1, 1},
		{"what ends meanwhile has ended", "+a !a +b -a ?b", false, 1, 1},
		{"nor for one of several", "+a +b !b !a +c ?c -a", true, 1, 2},
		{"one that was not begun here", "!a <a -a", false, 0, 0},
	} {
		var s sockets
		now := time.Unix(0, 0)
		for event := range strings.FieldsSeq(tc.events) {
			now = now.Add(time.Second)
			switch id := proto.NetworkRequestID(event[1:]); event[0] {
			case '+':
				s.created(id)
			case '!':
				s.answered(id, now)
			case '<':
				s.heard(id, now)
			case '-':
				s.closed(id)
			case '?':
				s.foreign(id)
			}
		}
		c := s.connection(now)
		if c.Open != tc.open || c.Openings != tc.openings || c.Attempts != tc.attempts || c.Seen() != (tc.attempts > 0) {
			t.Errorf("%s: got %+v", tc.name, c)
		}
	}
}

func TestSilenceIsCountedFromTheHandshake(t *testing.T) {
	var s sockets
	start := time.Unix(0, 0)
	s.created("a")
	s.answered("a", start)
	if c := s.connection(start.Add(5 * time.Second)); c.Quiet != 5*time.Second {
		t.Errorf("got %+v", c)
	}
	s.heard("a", start.Add(4*time.Second))
	if c := s.connection(start.Add(5 * time.Second)); c.Quiet != time.Second {
		t.Errorf("got %+v", c)
	}
}

func TestSocketsOfAnyNumberTakeLittle(t *testing.T) {
	var s sockets
	for i := range 100_000 {
		s.created(proto.NetworkRequestID(fmt.Sprint(i)))
	}
	if len(s.list) > 16 || cap(s.list) > 100 {
		t.Errorf("%d of %d are kept", len(s.list), cap(s.list))
	}
	s.answered("99999", time.Unix(0, 0))
	if !s.state.Open {
		t.Error("the latest is not open")
	}
}

func TestHintsAreBounded(t *testing.T) {
	var b budget
	allowed := 0
	for i := range 10_000 { // in 10 s
		if b.spend(time.Unix(0, 0).Add(time.Duration(i) * time.Millisecond)) {
			allowed++
		}
	}
	if allowed != 200 {
		t.Errorf("%d were allowed", allowed)
	}
}
