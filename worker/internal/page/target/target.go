// Package target talks to one page of a Chrome over CDP: it evaluates the scripts
// that a selectors file makes, reads the document and sends input.
package target

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
	"session-manager/shared/rpc"
)

// world is the name of the isolated world that scripts run in.
const world = "hint"

// Target is one page target. It is safe for concurrent use. Calls are bounded by
// their ctx and by the life that Open was given.
type Target struct {
	// Page is rod's. Its own context may have ended: rod keeps the pages that a
	// browser once had.
	Page *rod.Page
	// Life ends with the page.
	Life context.Context
	// Scripts are those that are evaluated in it.
	Scripts atomic.Pointer[Scripts]
	// Origin is that of the page's own address: what is not of it is not the page.
	Origin string
	// dom serialises the reading of whole documents.
	dom sync.Mutex
}

// Open attaches to a page target that is still blank, or to a new one, for the
// time of life. The page will be that of address. It returns the ids of all other pages too: Chrome restores the
// tabs of a profile, and a second tab of the same site starves the first.
func Open(ctx, life context.Context, browser *rod.Browser, scripts *Scripts, address string) (*Target, []proto.TargetTargetID, error) {
	origin, err := chrome.Origin(address)
	if err != nil {
		return nil, nil, err
	}
	id, others, err := choose(browser.Context(ctx))
	if err != nil {
		return nil, nil, err
	}
	page, err := browser.Context(life).PageFromTarget(id)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot attach to page: %w", err)
	}
	t := &Target{Page: page, Life: life, Origin: origin}
	t.Scripts.Store(scripts)
	return t, others, nil
}

func choose(browser *rod.Browser) (taken proto.TargetTargetID, others []proto.TargetTargetID, err error) {
	list, err := proto.TargetGetTargets{}.Call(browser)
	if err != nil {
		return "", nil, fmt.Errorf("cannot list targets: %w", err)
	}
	for _, info := range list.TargetInfos {
		switch {
		case !IsPage(info):
		case taken == "" && info.URL == "about:blank":
			taken = info.TargetID
		default:
			others = append(others, info.TargetID)
		}
	}
	if taken != "" {
		return taken, others, nil
	}
	made, err := proto.TargetCreateTarget{URL: "about:blank"}.Call(browser)
	if err != nil {
		return "", nil, fmt.Errorf("cannot create page: %w", err)
	}
	return made.TargetID, others, nil
}

// IsPage reports whether a target is a page, rather than a worker or a frame.
func IsPage(info *proto.TargetTargetInfo) bool {
	return info.Type == proto.TargetTargetInfoTypePage && info.Subtype == ""
}

// MaxStorage bounds what the page may keep in databases, files and caches, in bytes. Chrome's
// own limit is 60 % of the disk. The limit holds as long as the target is attached.
const MaxStorage = 4 << 30

// Prepare makes the page visible to itself, bounds what it can store, and turns on the
// events that package events handles. Then disguise is called, if there is one. All is asked at once, since a
// renderer that has just started may take as long for each answer.
func (t *Target) Prepare(ctx context.Context, disguise func(context.Context, *rod.Page) error) error {
	page := t.Page.Context(ctx)
	steps := []struct {
		what string
		do   func() error
	}{
		{"bound the page's storage", func() error {
			return proto.StorageOverrideQuotaForOrigin{Origin: t.Origin, QuotaSize: new(float64(MaxStorage))}.Call(page)
		}},
		// A page that believes it is hidden waits five seconds before it connects.
		{"emulate focus", func() error { return proto.EmulationSetFocusEmulationEnabled{Enabled: true}.Call(page) }},
		// The Runtime domain stays off: a page can detect that it is on. Log brings
		// the browser's own complaints.
		{"listen to the log", func() error { return proto.LogEnable{}.Call(page) }},
		// Only the frames of the page's connection are of interest; Chrome keeps
		// nothing of what is loaded. The disguise needs the network's events.
		{"listen to the network and disguise page", func() error {
			err := proto.NetworkEnable{MaxTotalBufferSize: new(0), MaxResourceBufferSize: new(0)}.Call(page)
			if err != nil || disguise == nil {
				return err
			}
			return disguise(ctx, page)
		}},
	}
	errs := make([]error, len(steps))
	var calls sync.WaitGroup
	for i, step := range steps {
		calls.Go(func() {
			if err := step.do(); err != nil {
				errs[i] = fmt.Errorf("cannot %s: %w", step.what, err)
			}
		})
	}
	calls.Wait()
	return cmp.Or(errs...)
}

// Navigate goes to an address. Unlike a reload it revives a crashed page. The
// failure is Chrome's name of the error for which the address was not reached,
// such as net::ERR_NAME_NOT_RESOLVED, and empty if it was.
func (t *Target) Navigate(ctx context.Context, address string) (failure string, err error) {
	res, err := proto.PageNavigate{URL: address}.Call(t.Page.Context(ctx))
	if err != nil {
		return "", fmt.Errorf("cannot navigate: %w", err)
	}
	return res.ErrorText, nil
}

// StopLoading gives up a navigation that was not answered: until it ends Chrome lets
// nobody into the document that there is (measured).
func (t *Target) StopLoading(ctx context.Context) error {
	if err := (proto.PageStopLoading{}).Call(t.Page.Context(ctx)); err != nil {
		return fmt.Errorf("cannot stop navigation: %w", err)
	}
	return nil
}

// ClearCache drops the HTTP cache and the page's service worker, which can keep an
// error page alive. All else in storage is the login.
func (t *Target) ClearCache(ctx context.Context) error {
	page := t.Page.Context(ctx)
	if err := (proto.NetworkClearBrowserCache{}).Call(page); err != nil {
		return err
	}
	return proto.StorageClearDataForOrigin{Origin: t.Origin, StorageTypes: "service_workers"}.Call(page)
}

// Screenshot returns a PNG of what the page shows.
func (t *Target) Screenshot(ctx context.Context) ([]byte, error) {
	shot, err := proto.PageCaptureScreenshot{Format: proto.PageCaptureScreenshotFormatPng}.Call(t.Page.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot take screenshot: %w", err)
	}
	return shot.Data, nil
}

// Object is an object of a document. It dies with the document.
type Object struct {
	target *Target
	id     proto.RuntimeRemoteObjectID
}

// Element returns the object of a node of the document.
func (t *Target) Element(ctx context.Context, id proto.DOMBackendNodeID) (*Object, error) {
	node, err := proto.DOMResolveNode{BackendNodeID: id}.Call(t.Page.Context(ctx))
	if err != nil {
		return nil, stale(err)
	}
	return &Object{t, node.Object.ObjectID}, nil
}

// Derive returns the object that a function, called on this one, returns; nil if that
// is not an object.
func (o *Object) Derive(ctx context.Context, function string) (*Object, error) {
	res, err := proto.RuntimeCallFunctionOn{ObjectID: o.id, FunctionDeclaration: function}.Call(o.target.Page.Context(ctx))
	switch {
	case err != nil:
		return nil, stale(err)
	case res.ExceptionDetails != nil:
		return nil, exception(res.ExceptionDetails)
	case res.Result.ObjectID == "":
		return nil, nil
	}
	return &Object{o.target, res.Result.ObjectID}, nil
}

// Node returns the id of the node that the object is.
func (o *Object) Node(ctx context.Context) (proto.DOMBackendNodeID, error) {
	node, err := proto.DOMDescribeNode{ObjectID: o.id}.Call(o.target.Page.Context(ctx))
	if err != nil {
		return 0, stale(err)
	}
	return node.Node.BackendNodeID, nil
}

// At returns the node that is drawn on top at a point of the document, in CSS pixels,
// the mouse's way through it or not.
func (t *Target) At(ctx context.Context, x, y int) (proto.DOMBackendNodeID, error) {
	res, err := proto.DOMGetNodeForLocation{X: x, Y: y, IgnorePointerEventsNone: true}.Call(t.Page.Context(ctx))
	if err != nil {
		return 0, stale(err)
	}
	return res.BackendNodeID, nil
}

// Contains reports whether a node surely is an ancestor of another one.
func (t *Target) Contains(ctx context.Context, ancestor, node proto.DOMBackendNodeID) bool {
	a, err := t.Element(ctx, ancestor)
	if err != nil {
		return false
	}
	defer a.Release(ctx)
	b, err := t.Element(ctx, node)
	if err != nil {
		return false
	}
	defer b.Release(ctx)
	res, err := proto.RuntimeCallFunctionOn{
		ObjectID: a.id, FunctionDeclaration: "function (node) { return this.contains(node); }",
		Arguments: []*proto.RuntimeCallArgument{{ObjectID: b.id}}, ReturnByValue: true,
	}.Call(t.Page.Context(ctx))
	return err == nil && res.ExceptionDetails == nil && res.Result.Value.Bool()
}

// SetFile gives an input element, which may be in no document, a file, by its absolute path.
func (o *Object) SetFile(ctx context.Context, path string) error {
	if err := (proto.DOMSetFileInputFiles{Files: []string{path}, ObjectID: o.id}).Call(o.target.Page.Context(ctx)); err != nil {
		return fmt.Errorf("cannot hand over file: %w", stale(err))
	}
	return nil
}

// Release lets go of the object.
func (o *Object) Release(ctx context.Context) {
	_ = proto.RuntimeReleaseObject{ObjectID: o.id}.Call(o.target.Page.Context(ctx)) // It dies with its document anyway.
}

// Invoke calls a method of the object, awaits what it returns, and decodes that
// into v.
func (o *Object) Invoke(ctx context.Context, v any, method string, args ...any) error {
	encoded, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		return fmt.Errorf("cannot encode arguments: %w", err)
	}
	return o.Apply(ctx, v, fmt.Sprintf("function () { return this.%s(...%s); }", method, encoded))
}

// Apply does the same with a function that is called on the object.
func (o *Object) Apply(ctx context.Context, v any, function string) error {
	return o.target.ask(ctx, proto.RuntimeCallFunctionOn{
		ObjectID: o.id, FunctionDeclaration: function, ReturnByValue: true, AwaitPromise: true,
	}, v)
}

// call makes a call of Chrome for which no type of rod fits.
func call(ctx context.Context, page *rod.Page, method string, params any) ([]byte, error) {
	return page.Context(ctx).Call(ctx, string(page.SessionID), method, params)
}

// ask makes a call that runs a script, and decodes what that returns by value, if anything, into v. rod's
// own types would decode it twice, and encode it again in between.
func (t *Target) ask(ctx context.Context, script proto.Request, v any) error {
	res, err := call(ctx, t.Page, script.ProtoReq(), script)
	if err != nil {
		return fmt.Errorf("cannot ask page: %w", stale(err))
	}
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *proto.RuntimeExceptionDetails
	}
	if err := json.Unmarshal(res, &answer); err != nil {
		return fmt.Errorf("cannot read Chrome's answer: %w", err)
	}
	switch {
	case answer.ExceptionDetails != nil:
		return fmt.Errorf("cannot ask page: %w", exception(answer.ExceptionDetails))
	case len(answer.Result.Value) == 0:
		return nil
	}
	if err := json.Unmarshal(answer.Result.Value, v); err != nil {
		return fmt.Errorf("cannot read the page's answer: %w", err)
	}
	return nil
}

// evaluate runs an expression.
func (t *Target) evaluate(ctx context.Context, e proto.RuntimeEvaluate) (*proto.RuntimeRemoteObject, error) {
	res, err := e.Call(t.Page.Context(ctx))
	if err != nil {
		return nil, stale(err)
	}
	if res.ExceptionDetails != nil {
		return nil, exception(res.ExceptionDetails)
	}
	return res.Result, nil
}

// Isolated decodes into v what an expression, or its promise, is in the isolated
// world of whichever document there is, where the page can't change what the language's own functions do.
func (t *Target) Isolated(ctx context.Context, v any, expression string) error {
	id, err := t.isolate(ctx, t.Page.FrameID)
	if err != nil {
		return err
	}
	return t.ask(ctx, proto.RuntimeEvaluate{Expression: expression, ContextID: id, AwaitPromise: true, ReturnByValue: true}, v)
}

func (t *Target) isolate(ctx context.Context, frame proto.PageFrameID) (proto.RuntimeExecutionContextID, error) {
	made, err := proto.PageCreateIsolatedWorld{FrameID: frame, WorldName: world}.Call(t.Page.Context(ctx))
	if err != nil {
		return 0, fmt.Errorf("cannot create isolated world: %w", stale(err))
	}
	return made.ExecutionContextID, nil
}

// MostNodes and mostBytes bound a document that is read as a whole. Chrome sends
// about 300 bytes an element, in one message.
const (
	MostNodes = 20_000
	mostBytes = 4 << 20
)

// measure counts elements, and bytes of attributes and texts, until there are too
// many. It sees neither closed shadow trees nor frames.
const measure = `(nodes, bytes) => {
	let n = 0, b = 0;
	const walk = (root) => {
		const walker = document.createTreeWalker(root);
		for (let node = root; node && n <= nodes && b <= bytes; node = walker.nextNode()) {
			n++;
			if (node.nodeValue) b += Math.min(node.nodeValue.length, 10000);
			if (node.attributes) for (const a of node.attributes) b += a.value.length;
			if (node.shadowRoot) walk(node.shadowRoot);
		}
	};
	walk(document);
	return n <= nodes && b <= bytes;
}`

// Tree returns the whole of whichever document there is, with its shadow trees, the
// closed ones too, and those frames that live in its process. The error is ErrTooLarge
// when it is too large for that.
func (t *Target) Tree(ctx context.Context) (*proto.DOMNode, error) {
	var fits bool
	if err := t.Isolated(ctx, &fits, fmt.Sprintf("(%s)(%d, %d)", measure, MostNodes, mostBytes)); err != nil {
		return nil, fmt.Errorf("cannot measure document: %w", err)
	}
	if !fits {
		return nil, fmt.Errorf("cannot read document: %w", ErrTooLarge)
	}
	// Turning the events off would take them from another reading.
	t.dom.Lock()
	defer t.dom.Unlock()
	page, depth := t.Page.Context(ctx), -1
	tree, err := proto.DOMGetDocument{Depth: &depth, Pierce: true}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot read document: %w", err)
	}
	// The call has turned on events for every change of the document.
	if err := (proto.DOMDisable{}).Call(page); err != nil {
		return nil, fmt.Errorf("cannot silence document: %w", err)
	}
	return tree.Root, nil
}

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

// Explain makes rpc.ErrNoPage of what follows from there being no page, or another
// one.
func (t *Target) Explain(err error) error {
	_, elsewhere := errors.AsType[*ElsewhereError](err)
	if err != nil && (elsewhere || t.Life.Err() != nil || IsLost(err) || errors.Is(err, ErrCrashed)) {
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
