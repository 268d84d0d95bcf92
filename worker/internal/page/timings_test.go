package page

import (
	"testing"
	"time"
)

func TestStretchedGivesThePageLonger(t *testing.T) {
	usual := Timings{}.withDefaults()
	if got := Stretched(0); got != usual {
		t.Errorf("Stretched(0) = %+v", got)
	}
	got := Stretched(2.5)
	if got.LookDeadline != 10*time.Second || got.Open != 150*time.Second || got.Rest != usual.Rest {
		t.Errorf("Stretched(2.5) = %+v", got)
	}
}
