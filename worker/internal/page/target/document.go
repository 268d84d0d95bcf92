package target

import (
	"context"
	"fmt"

	"github.com/go-rod/rod/lib/proto"
)

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

// Tree returns the whole document, with its shadow trees, the closed ones too,
// and those frames that live in the page's process. The error is ErrTooLarge
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
