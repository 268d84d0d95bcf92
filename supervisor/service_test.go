package main

import (
	"testing"
	"time"

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
