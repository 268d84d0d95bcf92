package webhook

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/session"
)

func TestPausesGrowAndEndWithSuccess(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p := plan{timings: Timings{First: time.Second, Max: time.Minute}, chats: map[string]trouble{}}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		p.failed("a", 0, 1, now)
		if all, own := p.until.Sub(now), p.chats["a"].until.Sub(now); own != want*time.Second || all != own/2 {
			t.Errorf("failure %d: %s, others %s", i, own, all)
		}
	}
	for range 100 {
		p.failed("a", 0, 0, now)
	}
	if got := p.chats["a"].until.Sub(now); got != 30*time.Second {
		t.Errorf("at least %s", got)
	}
	p.failed("b", 2*time.Minute, 1, now)
	if all, own := p.until.Sub(now), p.chats["b"].until.Sub(now); all != 2*time.Minute || own <= all {
		t.Errorf("the receiver asked for 2m: %s, others %s", own, all)
	}
	p.succeeded("a")
	if held, next := p.held(now); !p.until.IsZero() || !slices.Equal(held, []string{"b"}) || !next.Equal(p.chats["b"].until) {
		t.Errorf("after a success: until %s, held %q, next %s", p.until, held, next)
	}
	if held, next := p.held(p.chats["b"].until); len(held) != 0 || !next.IsZero() {
		t.Errorf("later: %q, %s", held, next)
	}
}

func TestPlanIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p := plan{timings: DefaultTimings(), chats: map[string]trouble{}}
	for i := range 10 * maxTroubled {
		p.failed(fmt.Sprint(i), 0, 0.5, now.Add(time.Duration(i)*time.Second))
	}
	if _, last := p.chats[fmt.Sprint(10*maxTroubled-1)]; len(p.chats) != maxTroubled || !last {
		t.Errorf("%d chats, the last one: %v", len(p.chats), last)
	}
}

func TestWhatIsNews(t *testing.T) {
	state := func(s session.State, c reason.Code) events.Event {
		return events.Event{Body: events.State{Status: s, Reason: session.NewReason(c, "", time.Time{})}}
	}
	warnings := func(codes ...reason.Code) events.Event {
		var all session.Reasons
		for _, c := range codes {
			all = append(all, session.NewReason(c, "", time.Time{}))
		}
		return events.Event{Body: events.Warnings{Warnings: all}}
	}
	var last reported
	for i, tt := range []struct {
		event events.Event
		want  bool
	}{
		{state(session.Init, reason.Starting), true},
		{state(session.Init, reason.PageLoading), false},
		{warnings(), false},
		{state(session.QRRequired, reason.ScanQR), true},
		{state(session.QRRequired, reason.ScanQR), false},
		{state(session.QRRequired, reason.QRUnreadable), true},
		{warnings(reason.DiskFull), true},
		{state(session.Ready, ""), true},
		{warnings(reason.DiskFull), false},
		{state(session.Disconnected, reason.Reconnecting), true},
		{state(session.Disconnected, reason.NetworkUnreachable), true},
		{warnings(), true},
		{events.Event{Body: "another"}, true},
	} {
		var news bool
		if last, news = last.after(tt.event); news != tt.want {
			t.Errorf("%d: %+v is news: %v", i, tt.event.Body, news)
		}
	}
}
