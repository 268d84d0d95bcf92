// Package wait gives up on calls that can't be interrupted, such as reading a file on a
// server that no longer responds.
package wait

import "context"

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
