package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/rpc"
)

var (
	// ErrStale means that the document went away during the call.
	ErrStale = errors.New("the document went away")
	// ErrScript means that our own script failed, as on a page that has broken
	// the language's own functions.
	ErrScript = errors.New("the script failed")
	// ErrCrashed means that the page's process died.
	ErrCrashed = errors.New("the page's process died")
	// ErrGone means that the page was closed.
	ErrGone = errors.New("the page was closed")
	// ErrTooLarge means that a document or an image is larger than is read.
	ErrTooLarge = errors.New("it is too large")
)

// IsLost reports whether err means that Chrome, or the session with the page, no
// longer exists.
func IsLost(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, cdp.ErrSessionNotFound)
}

// Explain makes rpc.ErrNoPage of what follows from there being no page.
func (t *Target) Explain(err error) error {
	if err != nil && (t.Life().Err() != nil || IsLost(err) || errors.Is(err, ErrCrashed)) {
		return fmt.Errorf("%w: %w", rpc.ErrNoPage, err)
	}
	return err
}

// exception is a script's error without its message, which could hold anything.
func exception(e *proto.RuntimeExceptionDetails) error {
	class := "error"
	if e.Exception != nil && e.Exception.ClassName != "" {
		class = e.Exception.ClassName
	}
	return fmt.Errorf("%w: %s at %d:%d", ErrScript, class, e.LineNumber, e.ColumnNumber)
}

// stale returns ErrStale for those answers of Chrome that only mean that the
// document was replaced.
func stale(err error) error {
	e, ok := errors.AsType[*cdp.Error](err)
	if !ok {
		return err
	}
	for _, part := range []string{
		"context", "Could not find object", "navigated or closed", "Promise was collected",
		"Not attached to an active page", "No frame for given id",
	} {
		if strings.Contains(e.Message, part) {
			return ErrStale
		}
	}
	return err
}
