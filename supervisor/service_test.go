package main

import (
	"math"
	"testing"
	"time"

	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/worker"
)

func TestPlannedRestartsWaitForMessages(t *testing.T) {
	later := time.Now().Add(time.Minute)
	for _, sent := range []time.Time{{}, later} {
		h := hooks{login.New(nil, login.Options{}), func() time.Time { return sent }}
		for _, u := range []worker.Urgency{worker.WhenIdle, worker.AfterPairing} {
			if got := h.Hold(u); !got.Equal(sent) {
				t.Errorf("urgency %d is held until %s, not %s", u, got, sent)
			}
		}
	}
}

func TestNewAccountsWriteAFifth(t *testing.T) {
	for perDay, want := range map[int]int{0: 0, 1: 1, 4: 1, 6: 2, 100: 20, math.MaxInt: math.MaxInt/5 + 1} {
		p := pacing(&config.Config{NewChatsPerDay: perDay})
		if p.PerDay != perDay || p.NewPerDay != want {
			t.Errorf("%d a day: %d, and %d for new accounts, not %d", perDay, p.PerDay, p.NewPerDay, want)
		}
	}
}
