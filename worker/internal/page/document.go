package page

import (
	"context"
	"fmt"

	"github.com/go-rod/rod/lib/proto"
)

// Bounds of a document that is taken over as a whole. Chrome sends about 300
// bytes an element, in one message.
const (
	mostNodes = 20_000
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

// tree returns the whole document, with its shadow trees, the closed ones too,
// and those frames that live in the page's process. errTooLarge when it is too
// large for that.
func (p *Page) tree(ctx context.Context) (*proto.DOMNode, error) {
	page := p.rod.Context(ctx)
	fits, err := p.holds(ctx, fmt.Sprintf("(%s)(%d, %d)", measure, mostNodes, mostBytes))
	if err != nil {
		return nil, fmt.Errorf("cannot measure document: %w", err)
	}
	if !fits {
		return nil, fmt.Errorf("cannot read document: %w", errTooLarge)
	}
	// Turning the events off would take them from another search.
	p.dom.Lock()
	defer p.dom.Unlock()
	depth := -1
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

// isolated returns the world of the hints, in which the page can't change what
// the language's own functions do.
func (p *Page) isolated(ctx context.Context) (proto.RuntimeExecutionContextID, error) {
	world, err := proto.PageCreateIsolatedWorld{FrameID: p.main, WorldName: hintWorld}.Call(p.rod.Context(ctx))
	if err != nil {
		return 0, fmt.Errorf("cannot create world for hints: %w", stale(err))
	}
	return world.ExecutionContextID, nil
}

// holds tells whether an expression is true, or its promise is kept with true, in
// the world of the hints.
func (p *Page) holds(ctx context.Context, expression string) (bool, error) {
	world, err := p.isolated(ctx)
	if err != nil {
		return false, err
	}
	res, err := proto.RuntimeEvaluate{
		Expression: expression, ContextID: world, AwaitPromise: true, ReturnByValue: true,
	}.Call(p.rod.Context(ctx))
	if err != nil {
		return false, stale(err)
	}
	if res.ExceptionDetails != nil {
		return false, exception(res.ExceptionDetails)
	}
	return res.Result.Value.Bool(), nil
}
