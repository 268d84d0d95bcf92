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

// TestPictureIsLookedAtEverywhere wants two checks of a picture that was bare to look at all points, and
// any other to look at them at once.
func TestPictureIsLookedAtEverywhere(t *testing.T) {
	s := subject{payload: "one"}
	for name, tc := range map[string]struct {
		last verdict
		want bool
	}{
		"it could be scanned":         {verdict{subject: s}, true},
		"the check failed":            {verdict{subject: s, failed: true}, false},
		"something was over it":       {verdict{subject: s, unseen: "covered"}, false},
		"it was another one":          {verdict{subject: subject{payload: "other"}}, false},
		"it has changed its position": {verdict{subject: subject{payload: "one", look: "elsewhere"}}, false},
	} {
		if got := tc.last.bare(s); got != tc.want {
			t.Errorf("%s: bare is %v", name, got)
		}
	}
	var c Checker
	if got := c.points(false); !slices.Equal(got, everywhere) {
		t.Errorf("looked at %v", got)
	}
	bare := slices.Concat(c.points(true), c.points(true))
	for _, p := range everywhere {
		if !slices.Contains(bare, p) {
			t.Errorf("%v is not looked at", p)
		}
	}
	if len(bare) != len(everywhere) {
		t.Errorf("looked at %v", bare)
	}
}
