package wait

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrainTriesAgainAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		broken := errors.New("broken")
		outcomes := []struct {
			more bool
			err  error
		}{{true, nil}, {false, broken}, {true, broken}, {true, nil}, {false, broken}, {false, nil}, {true, nil}}
		begun, wake := time.Now(), make(chan struct{}, 1)
		wake <- struct{}{} // not for what has failed
		var at []time.Duration
		failures := 0
		next := func(context.Context) (bool, error) {
			at = append(at, time.Since(begun))
			o := outcomes[0]
			if outcomes = outcomes[1:]; len(outcomes) == 0 {
				cancel()
			}
			return o.more, o.err
		}
		Drain(ctx, wake, time.Second, next, func(error) { failures++ })
		// At once, then after a pause for each failure, and then when it was woken.
		want := []time.Duration{0, 0, time.Second, 2 * time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}
		if !slices.Equal(at, want) || failures != 2 {
			t.Errorf("called at %v, and %d failures were reported", at, failures)
		}
	})
}

func TestDrainIsSilentAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	Drain(ctx, nil, time.Hour, func(context.Context) (bool, error) {
		cancel()
		return false, ctx.Err()
	}, func(err error) { t.Errorf("reported %v", err) })
}
