package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
)

// Document is one document of the page's main frame, on the page's own origin. It is
// the only one that is read and acted in. It is safe for concurrent use.
type Document struct {
	target *Target
	// anchor is an object of its isolated world, which dies with it.
	anchor *Object
}

// Identity is what Chrome knows of a document, however the document lies.
type Identity struct {
	// Origin is its real one: that of a blank page or of a frame's srcdoc is that of
	// whoever made it, and that of a sandbox is "null".
	Origin string
	// Address may hold secrets.
	Address string
	Online  bool
}

// identify is called in the isolated world, where the page can't replace anything.
const identify = `function () {
	return { origin: self.origin, address: location.href.slice(0, 4096), online: navigator.onLine };
}`

// Identify returns whose the document at an address is, as far as that shows it.
func Identify(address string) Identity {
	origin, err := chrome.Origin(address)
	if err != nil {
		origin = "null"
	}
	return Identity{Origin: origin, Address: address, Online: true}
}

// ErrorPage reports whether it is Chrome's own page for a failed navigation.
func (i Identity) ErrorPage() bool { return strings.HasPrefix(i.Address, "chrome-error:") }

// Blank reports whether it is the page of a new tab, which nobody has made.
func (i Identity) Blank() bool { return i.Address == "about:blank" && i.Origin == "null" }

// Site names the document's origin without path and query.
func (i Identity) Site() string {
	if i.Origin != "null" {
		return i.Origin
	}
	scheme, _, _ := strings.Cut(i.Address, ":")
	return "a document without an origin (" + scheme + ")"
}

// ElsewhereError means that the main frame's document is not of the page's origin.
type ElsewhereError struct{ Identity }

// Error implements error.
func (e *ElsewhereError) Error() string { return "the page is at " + e.Site() }

// Document returns the present document of the page's origin. The error is an
// ElsewhereError when there is another one. Release it.
func (t *Target) Document(ctx context.Context) (*Document, error) {
	anchor, who, err := t.identify(ctx, t.Page.FrameID)
	if err != nil {
		return nil, err
	}
	d := &Document{t, anchor}
	if who.Origin != t.Origin {
		d.Release(ctx)
		return nil, &ElsewhereError{who}
	}
	return d, nil
}

// identify returns an object of the isolated world of a frame's document, and whose
// that is.
func (t *Target) identify(ctx context.Context, frame proto.PageFrameID) (*Object, Identity, error) {
	var who Identity
	id, err := t.isolate(ctx, frame)
	if err != nil {
		return nil, who, err
	}
	anchor, err := t.evaluate(ctx, proto.RuntimeEvaluate{Expression: "({})", ContextID: id})
	if err != nil {
		return nil, who, err
	}
	o := &Object{t, anchor.ObjectID}
	if err := o.Apply(ctx, &who, identify); err != nil {
		o.Release(ctx)
		return nil, who, err
	}
	return o, who, nil
}

// IsOwn reports whether an address, as Chrome reports it, is of the page's origin.
func (t *Target) IsOwn(address string) bool {
	origin, err := chrome.Origin(address)
	return err == nil && origin == t.Origin
}

// IsForeign reports whether a document is of another site.
func (t *Target) IsForeign(who Identity) bool { return who.Origin != "null" && who.Origin != t.Origin }

// Release lets go of the document.
func (d *Document) Release(ctx context.Context) { d.anchor.Release(ctx) }

// Check returns ErrStale when the document has gone.
func (d *Document) Check(ctx context.Context) error {
	return d.anchor.Apply(ctx, new(any), "function () { return null; }")
}

// New returns the object that an expression makes in the document's own world.
func (d *Document) New(ctx context.Context, expression string) (*Object, error) {
	res, err := d.target.evaluate(ctx, proto.RuntimeEvaluate{Expression: expression})
	if err != nil {
		return nil, err
	}
	o := &Object{d.target, res.ObjectID}
	// A frame has one document after the other: since this one is still there, it was
	// there when the object was made.
	if err := d.Check(ctx); err != nil {
		o.Release(ctx)
		return nil, err
	}
	return o, nil
}

// Isolated decodes into v what an expression, or its promise, is in the document's
// isolated world.
func (d *Document) Isolated(ctx context.Context, v any, expression string) error {
	return d.anchor.Apply(ctx, v, fmt.Sprintf("function () { return (%s); }", expression))
}

// NewIsolated returns the object that an expression makes in the document's isolated
// world, where the page can't change what the language's own functions do.
func (d *Document) NewIsolated(ctx context.Context, expression string) (*Object, error) {
	return d.anchor.Derive(ctx, fmt.Sprintf("function () { return (%s); }", expression))
}

// Bind adds a function to the isolated world that sends an event when it is called. A
// binding that is added before its document would need the Runtime domain.
func (d *Document) Bind(ctx context.Context, name string) error {
	// rod's type lacks the name of the context.
	binding := map[string]string{"name": name, "executionContextName": world}
	if _, err := call(ctx, d.target.Page, proto.RuntimeAddBinding{}.ProtoReq(), binding); err != nil {
		return fmt.Errorf("cannot add binding: %w", stale(err))
	}
	return nil
}

// Send sends input, as long as the document is there.
func (d *Document) Send(ctx context.Context, requests ...proto.Request) error {
	for _, r := range requests {
		if err := d.Check(ctx); err != nil {
			return err
		}
		if _, err := call(ctx, d.target.Page, r.ProtoReq(), r); err != nil {
			return fmt.Errorf("cannot press: %w", err)
		}
	}
	return nil
}

// Tree returns the whole document, with its shadow trees, the closed ones too, and the
// frames of its origin. The error is ErrTooLarge when it is too large for that.
func (d *Document) Tree(ctx context.Context) (*proto.DOMNode, error) {
	root, err := d.target.Tree(ctx)
	if err != nil {
		return nil, err
	}
	d.prune(ctx, root, mostFrames)
	return root, ctx.Err()
}

// mostFrames bounds how many frames of a document are asked whose they are.
const mostFrames = 64

// prune removes the documents of frames that may be of another origin. It returns how
// many more frames may be asked, of so many.
func (d *Document) prune(ctx context.Context, n *proto.DOMNode, frames int) int {
	if n.ContentDocument != nil {
		frames--
		if frames < 0 || !d.target.ownFrame(ctx, n.FrameID) {
			n.ContentDocument = nil
		}
	}
	for _, child := range slices.Concat([]*proto.DOMNode{n.ContentDocument}, n.ShadowRoots, n.Children) {
		if child != nil {
			frames = d.prune(ctx, child, frames)
		}
	}
	return frames
}

// ownFrame reports whether a frame's document is surely of the page's origin. One in
// another process is not found, and is not.
func (t *Target) ownFrame(ctx context.Context, frame proto.PageFrameID) bool {
	anchor, who, err := t.identify(ctx, frame)
	if err != nil {
		return false
	}
	anchor.Release(ctx)
	return who.Origin == t.Origin
}

// errForeignFrame means that there is a frame of another origin.
var errForeignFrame = errors.New("the page has a frame of another origin")

// Screenshot returns a PNG of what the document shows. It fails if anything in it may
// be the picture of a frame of another origin: where that is can't be known, as a
// frame may move, or show up, between any look at it and the screenshot.
func (d *Document) Screenshot(ctx context.Context) ([]byte, error) {
	if err := d.target.ownFrames(ctx); err != nil {
		return nil, err
	}
	shot, err := d.target.Screenshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.target.ownFrames(ctx); err != nil {
		return nil, err
	}
	return shot, d.Check(ctx)
}

// ownFrames fails unless all frames below the main one are of the page's origin.
func (t *Target) ownFrames(ctx context.Context) error {
	page := t.Page.Context(ctx)
	tree, err := proto.PageGetFrameTree{}.Call(page)
	if err != nil {
		return fmt.Errorf("cannot list frames: %w", err)
	}
	below := framesBelow(tree.FrameTree, nil)
	if len(below) > mostFrames {
		return fmt.Errorf("cannot look at all frames: %w", ErrTooLarge)
	}
	for _, frame := range below {
		if !t.ownFrame(ctx, frame) {
			return errForeignFrame
		}
	}
	// The tree lacks the frames of other processes.
	list, err := proto.TargetGetTargets{}.Call(page.Browser().Context(ctx))
	if err != nil {
		return fmt.Errorf("cannot list targets: %w", err)
	}
	for _, info := range list.TargetInfos {
		if info.Type == "iframe" || info.Type == "webview" {
			return errForeignFrame
		}
	}
	return nil
}

func framesBelow(tree *proto.PageFrameTree, list []proto.PageFrameID) []proto.PageFrameID {
	for _, child := range tree.ChildFrames {
		list = framesBelow(child, append(list, child.Frame.ID))
	}
	return list
}
