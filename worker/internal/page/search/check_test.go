package search

import (
	"slices"
	"testing"
	"time"

	"session-manager/shared/rpc"
)

// TestCodeThatComesDuringACheckIsNext has a check of the code before it end without waking anybody.
func TestCodeThatComesDuringACheckIsNext(t *testing.T) {
	now := time.Now()
	old, next := subject{payload: rpc.QRPayload("old")}, subject{payload: rpc.QRPayload("next")}
	for _, tc := range []struct {
		name    string
		quiet   bool
		current subject
		want    time.Time
	}{
		{"the same code", true, old, time.Time{}},
		{"another code", true, next, now.Add(retry)},
		{"another code, and the check wakes the loop", false, next, time.Time{}},
	} {
		c := Checker{busy: true, quiet: tc.quiet, checked: old, current: tc.current}
		if got := c.schedule(now); !got.Equal(tc.want) {
			t.Errorf("%s: observed again at %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestPictureIsLookedAtEverywhere wants two quiet checks to look at all points, and a check after
// a change to look at them at once.
func TestPictureIsLookedAtEverywhere(t *testing.T) {
	var c Checker
	if got := c.points(false); !slices.Equal(got, everywhere) {
		t.Errorf("looked at %v", got)
	}
	quiet := slices.Concat(c.points(true), c.points(true))
	for _, p := range everywhere {
		if !slices.Contains(quiet, p) {
			t.Errorf("%v is not looked at", p)
		}
	}
	if len(quiet) != len(everywhere) {
		t.Errorf("looked at %v", quiet)
	}
}
