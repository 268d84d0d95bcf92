package rpc

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc/workerpb"
)

func TestNumbersOfTheWireAreClamped(t *testing.T) {
	for _, ms := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64 / int64(time.Millisecond), math.MaxInt64} {
		e, err := eventFromProto(&workerpb.Event{WaitedMs: ms, Body: &workerpb.Event_QrShown{QrShown: &workerpb.QRShown{
			TtlMs: ms, Renewals: math.MaxUint32, Payload: strings.Repeat("2", MaxQRPayload+1),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		shown := e.Body.(QRShown)
		want := min(max(ms, 0), maxQRLife.Milliseconds())
		if shown.TTL.Milliseconds() != want || e.Waited < 0 || e.Waited > maxWaited || shown.Renewals > maxCount || shown.Payload != "" {
			t.Errorf("%d ms: TTL %s, waited %s, %d renewals, %d bytes", ms, shown.TTL, e.Waited, shown.Renewals, len(shown.Payload))
		}
	}
}

func TestProcessAndProgressAreClamped(t *testing.T) {
	for pid, want := range map[int64]int{-5: 0, 7: 7, math.MaxInt64: maxPID} {
		e, err := eventFromProto(&workerpb.Event{Body: &workerpb.Event_BrowserStarted{BrowserStarted: &workerpb.BrowserStarted{Pid: pid}}})
		if got := e.Body.(BrowserStarted).PID; err != nil || got != want {
			t.Errorf("pid %d became %d, %v", pid, got, err)
		}
	}
	for progress, want := range map[int32]int{math.MinInt32: -1, -1: -1, 50: 50, math.MaxInt32: 100} {
		e, err := eventFromProto(&workerpb.Event{Body: &workerpb.Event_PageObserved{PageObserved: &workerpb.PageObserved{
			Progress: progress, Reason: "unheard_of", RetryAtMs: math.MaxInt64,
		}}})
		if got := e.Body.(PageObserved); err != nil || got.Progress != want || got.Reason != "" || got.RetryAt.Year() > 2100 {
			t.Errorf("progress %d became %d, reason %q, again at %s, %v", progress, got.Progress, got.Reason, got.RetryAt, err)
		}
	}
}

func TestLinesOfAFailureAreTheLastOnes(t *testing.T) {
	lines := append(make([]string, 3*maxLines), "the last one")
	got := bounded(Event{Body: Failure{Reason: reason.BrowserCrashed, ChromeStderr: lines}}).Body.(Failure)
	if len(got.ChromeStderr) != maxLines || got.ChromeStderr[maxLines-1] != "the last one" || got.Reason != reason.BrowserCrashed {
		t.Errorf("%d lines, the last is %q", len(got.ChromeStderr), got.ChromeStderr[len(got.ChromeStderr)-1])
	}
}

func TestBudgetAllowsABurstAndThenARate(t *testing.T) {
	now := time.Now()
	b := newBudget()
	spend := func(body EventBody, m *workerpb.Event, at time.Time) int {
		sent := 0
		for b.spend(Event{Body: body}, m, at) == nil {
			sent++
		}
		return sent
	}
	if got := spend(Heartbeat{}, &workerpb.Event{}, now); got != EventBurst {
		t.Errorf("%d at once", got)
	}
	if got := spend(Heartbeat{}, &workerpb.Event{}, now.Add(time.Second)); got != EventRate {
		t.Errorf("%d a second later", got)
	}
	if got := spend(QRShown{}, &workerpb.Event{}, now.Add(2*time.Second)); got != EventRate/costOfQR {
		t.Errorf("%d codes in a second", got)
	}
	large := &workerpb.Event{Body: &workerpb.Event_PhaseChanged{PhaseChanged: &workerpb.PhaseChanged{Phase: strings.Repeat("x", bytesPerCost)}}}
	if got := spend(PhaseChanged{}, large, now.Add(3*time.Second)); got != EventRate/2 {
		t.Errorf("%d large ones in a second", got)
	}
	if err := b.spend(Event{}, large, now); !errors.Is(err, ErrFlooded) {
		t.Error(err)
	}
}
