package search

import (
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
