// Package wait has the two ways to wait for what may never come: giving up on a call that
// can't be interrupted, such as reading a file on a server that no longer responds, and trying
// again.
package wait

import (
	"context"
	"time"
)

// For returns what call returns, or ctx's cause when ctx ends first. The call then
// continues in its goroutine; what it returns is dropped.
func For[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// Drain calls next until ctx ends: again at once as long as it reports that there was more,
// then when wake receives, and a pause after it has failed. failed is called with the first
// error of a row, unless ctx has ended.
func Drain(ctx context.Context, wake <-chan struct{}, pause time.Duration, next func(context.Context) (more bool, err error), failed func(error)) {
	failing := false
	for ctx.Err() == nil {
		more, err := next(ctx)
		if err == nil && more {
			failing = false
			continue
		}
		woken, again := wake, (<-chan time.Time)(nil)
		if err != nil {
			if !failing && ctx.Err() == nil {
				failed(err)
			}
			failing, woken, again = true, nil, time.After(pause)
		}
		select {
		case <-woken:
		case <-again:
		case <-ctx.Done():
		}
	}
}
