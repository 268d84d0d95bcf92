package page

import (
	"testing"
	"time"
)

func TestStretchedGivesThePageLonger(t *testing.T) {
	usual := Timings{}.withDefaults()
	if got := usual.stretched(0); got != usual {
		t.Errorf("stretched(0) = %+v", got)
	}
	got := usual.stretched(2.5)
	if got.Deadline != 10*time.Second || got.Open != 150*time.Second || got.Rest != usual.Rest {
		t.Errorf("stretched(2.5) = %+v", got)
	}
}
