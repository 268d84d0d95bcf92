package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrNoPage means that the worker has no page to act on (yet).
	ErrNoPage = errors.New("there is no page")
	// ErrAlreadyRun means that Run was called twice on one worker.
	ErrAlreadyRun = errors.New("the worker runs already")
	// ErrWorkerGone means that the worker's process, or the connection to it,
	// ended while the call was under way.
	ErrWorkerGone = errors.New("the worker is gone")
)

// toStatus turns an error of a Worker's method into what travels.
func toStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoPage):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, ErrAlreadyRun):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	default:
		return status.Error(codes.Unknown, err.Error())
	}
}

// fromStatus turns what travelled back into an error that callers can match. A
// lost connection is ErrWorkerGone, unless the caller's own context ended first.
func fromStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.NotFound:
		return ErrNoPage
	case codes.FailedPrecondition:
		return ErrAlreadyRun
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %w", st.Message(), context.DeadlineExceeded)
	case codes.Unavailable, codes.Canceled:
		return fmt.Errorf("%w: %s", ErrWorkerGone, st.Message())
	default:
		return errors.New(st.Message())
	}
}
