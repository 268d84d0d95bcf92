package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"
)

// Names in the page that it can't see: those of a binding and of its world.
const (
	hintWorld   = "hint"
	hintBinding = "hint"
)

// errStale means that the document went away while it was looked at.
var errStale = errors.New("the document went away")

// errScript means that the observer itself failed, as on a page that has broken
// the language's own functions.
var errScript = errors.New("the observer's script failed")

// observer is the object in one document that looks at it through one lens.
type observer struct {
	document int
	lens     *compiled
	object   proto.RuntimeRemoteObjectID
}

// install puts the observer and the hints into the current document.
func (p *Page) install(ctx context.Context, document int, through *compiled) (*observer, error) {
	page := p.rod.Context(ctx)
	made, err := proto.RuntimeEvaluate{Expression: through.observe}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot install observer: %w", stale(err))
	}
	if made.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot install observer: %w", exception(made.ExceptionDetails))
	}
	// A binding that is added before its document would need the Runtime domain.
	world, err := p.isolated(ctx)
	if err != nil {
		return nil, err
	}
	// rod's type lacks the name of the context.
	binding := map[string]string{"name": hintBinding, "executionContextName": hintWorld}
	if _, err := page.Call(ctx, string(page.SessionID), proto.RuntimeAddBinding{}.ProtoReq(), binding); err != nil {
		return nil, fmt.Errorf("cannot add binding for hints: %w", stale(err))
	}
	hinted, err := proto.RuntimeEvaluate{Expression: through.hint, ContextID: world}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", stale(err))
	}
	if hinted.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot install hints: %w", exception(hinted.ExceptionDetails))
	}
	return &observer{document: document, lens: through, object: made.Result.ObjectID}, nil
}

// call runs a method of the observer and decodes what it returns into v.
func (p *Page) call(ctx context.Context, o *observer, method string, v any) error {
	return p.evaluate(ctx, o.object, "function () { return this."+method+"(); }", v)
}

// evaluate calls a function on one of our objects in the page, awaits what it
// returns, and decodes it into v.
func (p *Page) evaluate(ctx context.Context, on proto.RuntimeRemoteObjectID, function string, v any) error {
	res, err := proto.RuntimeCallFunctionOn{
		ObjectID: on, FunctionDeclaration: function, ReturnByValue: true, AwaitPromise: true,
	}.Call(p.rod.Context(ctx))
	if err != nil {
		return fmt.Errorf("cannot ask page: %w", stale(err))
	}
	if res.ExceptionDetails != nil {
		return fmt.Errorf("cannot ask page: %w", exception(res.ExceptionDetails))
	}
	raw, err := res.Result.Value.MarshalJSON()
	if err != nil {
		return fmt.Errorf("cannot read the page's answer: %w", err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("cannot read the page's answer: %w", err)
	}
	return nil
}

// exception is a script's error without its message, which could hold anything.
func exception(e *proto.RuntimeExceptionDetails) error {
	class := "error"
	if e.Exception != nil && e.Exception.ClassName != "" {
		class = e.Exception.ClassName
	}
	return fmt.Errorf("%w: %s at %d:%d", errScript, class, e.LineNumber, e.ColumnNumber)
}

// stale maps the answers of Chrome that only mean that the document has been
// replaced to errStale.
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
			return errStale
		}
	}
	return err
}

// isLost tells whether err means that Chrome, or the session with the page, is
// no more.
func isLost(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, cdp.ErrSessionNotFound)
}
