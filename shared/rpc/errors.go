package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"session-manager/shared/logging"
)

var (
	// ErrNoPage means that the worker has no page to act on (yet).
	ErrNoPage = errors.New("there is no page")
	// ErrNoRequest means that the worker's standard input held no request.
	ErrNoRequest = errors.New("the worker was given no request")
	// ErrAlreadyStreaming means that Events was called twice on one worker.
	ErrAlreadyStreaming = errors.New("the worker's events are streamed already")
	// ErrWorkerGone means that the worker's process, or the connection to it,
	// ended while the call was under way.
	ErrWorkerGone = errors.New("the worker is gone")
	// ErrFlooded means that the worker sent more, or more often, than it may.
	ErrFlooded = errors.New("the worker sends too much")
	// ErrNotUnlinked means that the page does not ask for a phone to be linked.
	ErrNotUnlinked = errors.New("the page does not ask for a phone to be linked")
	// ErrNotLinked means that no phone is linked.
	ErrNotLinked = errors.New("no phone is linked")
	// ErrPhoneRefused means that the page or its server rejects the phone number (400).
	ErrPhoneRefused = errors.New("the page rejects this phone number")
	// ErrPairingForbidden means that the page's server does not allow a pairing code (403).
	ErrPairingForbidden = errors.New("the server does not allow a pairing code")
	// ErrTooManyAttempts means that the page offers no further codes for a while (429).
	ErrTooManyAttempts = errors.New("too many attempts")
	// ErrPairingFailed means that the page's server answered with an error of its own,
	// or one that the page does not know.
	ErrPairingFailed = errors.New("the server failed to make a pairing code")
	// ErrPairingTimeout means that the page's server gave no answer in time.
	ErrPairingTimeout = errors.New("the server did not answer the request for a pairing code")
	// ErrPairingUnavailable means that the page offers no pairing by number.
	ErrPairingUnavailable = errors.New("the page offers no pairing by phone number")
	// ErrNotReceiving means that the worker was not started to receive messages.
	ErrNotReceiving = errors.New("messages are not received")
	// ErrSelectors means that a selectors file is not valid.
	ErrSelectors = errors.New("the selectors file is not valid")
)

// wire has the errors that a caller can match on the other side, with their gRPC code
// and the name by which they are found again.
var wire = []struct {
	err  error
	code codes.Code
	name string
}{
	{ErrNoPage, codes.NotFound, "NO_PAGE"},
	{ErrNoRequest, codes.FailedPrecondition, "NO_REQUEST"},
	{ErrAlreadyStreaming, codes.FailedPrecondition, "ALREADY_STREAMING"},
	{ErrNotUnlinked, codes.FailedPrecondition, "NOT_UNLINKED"},
	{ErrNotLinked, codes.FailedPrecondition, "NOT_LINKED"},
	{ErrPhoneRefused, codes.InvalidArgument, "PHONE_REFUSED"},
	{ErrPairingForbidden, codes.PermissionDenied, "PAIRING_FORBIDDEN"},
	{ErrTooManyAttempts, codes.ResourceExhausted, "TOO_MANY_ATTEMPTS"},
	{ErrPairingFailed, codes.Aborted, "PAIRING_FAILED"},
	{ErrPairingTimeout, codes.DeadlineExceeded, "PAIRING_TIMEOUT"},
	{ErrPairingUnavailable, codes.Unimplemented, "PAIRING_UNAVAILABLE"},
	{ErrNotReceiving, codes.FailedPrecondition, "NOT_RECEIVING"},
	{ErrSelectors, codes.InvalidArgument, "SELECTORS"},
}

// toStatus converts an error of a Worker's method into what is sent.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, w := range wire {
		if !errors.Is(err, w.err) {
			continue
		}
		st, detailErr := status.New(w.code, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: w.name})
		if detailErr != nil {
			return status.Error(w.code, err.Error())
		}
		return st.Err()
	}
	if e, ok := errors.AsType[*SendError](err); ok {
		return e.status()
	}
	if e, ok := errors.AsType[*PasskeyError](err); ok {
		return detailed(e, passkeyFailed, map[string]string{"code": string(e.Code)})
	}
	return status.FromContextError(err).Err()
}

// fromStatus converts what was received into an error that callers can match. A lost
// connection is ErrWorkerGone, unless the caller's own context ended first.
func fromStatus(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	st := status.Convert(err)
	message := logging.Truncate(st.Message(), maxText)
	for _, detail := range st.Details() {
		info, _ := detail.(*errdetails.ErrorInfo) // its methods may be called on nil
		if e := sendError(info); e != nil {
			return e
		}
		if code := PasskeyErrorCode(info.GetMetadata()["code"]); info.GetReason() == passkeyFailed && passkeyErrors[code] != "" {
			return &PasskeyError{code}
		}
		for _, w := range wire {
			if w.name == info.GetReason() {
				return &remoteError{message: message, is: w.err}
			}
		}
	}
	switch st.Code() {
	case codes.DeadlineExceeded:
		return &remoteError{message: message, is: context.DeadlineExceeded}
	case codes.Unavailable, codes.Canceled:
		return fmt.Errorf("%w: %s", ErrWorkerGone, message)
	case codes.ResourceExhausted: // a message of more than its bound
		return fmt.Errorf("%w: %s", ErrFlooded, message)
	default:
		return errors.New(message)
	}
}

// The names of a SendError and a PasskeyError, whose fields are metadata.
const (
	sendFailed    = "SEND_FAILED"
	passkeyFailed = "PASSKEY_FAILED"
)

func (e *SendError) status() error {
	return detailed(e, sendFailed, map[string]string{
		"code": string(e.Code), "until": strconv.FormatInt(sinceEpoch(e.Until), 10), "detail": e.Detail,
	})
}

// detailed is an error whose fields are sent along.
func detailed(err error, name string, fields map[string]string) error {
	st, detailErr := status.New(codes.FailedPrecondition, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: name, Metadata: fields})
	if detailErr != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return st.Err()
}

// sendError returns the SendError that info describes, nil if it does not describe one: a
// code that is not known here does not mean that nothing was sent.
func sendError(info *errdetails.ErrorInfo) error {
	m := info.GetMetadata()
	code := SendCode(m["code"])
	if info.GetReason() != sendFailed || !sendCodes[code] {
		return nil
	}
	until, err := strconv.ParseInt(m["until"], 10, 64)
	if err != nil {
		until = 0
	}
	return &SendError{Code: code, Until: moment(until), Detail: text(m["detail"], maxText)}
}

// remoteError is an error of the other side: its message, and what it matches.
type remoteError struct {
	message string
	is      error
}

func (e *remoteError) Error() string { return e.message }

func (e *remoteError) Unwrap() error { return e.is }
