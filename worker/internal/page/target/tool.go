package target

import (
	"context"
	"fmt"
)

// Tool is an object that is put into the present document when it is needed.
// It is made of a ledger, which outlives the scripts. It is safe for concurrent use.
type Tool struct {
	target *Target
	ledger string
	script func(*Scripts) string
	turn   chan struct{} // holds one token, of who may change current

	current installed
}

// installed is the object in one document.
type installed struct {
	number   int
	document *Document
	scripts  *Scripts
	ledger   *Object
	object   *Object
}

// NewTool returns the Tool that a script makes of what the expression ledger is.
func NewTool(t *Target, ledger string, script func(*Scripts) string) *Tool {
	return &Tool{target: t, ledger: ledger, script: script, turn: make(chan struct{}, 1)}
}

// Object returns the object in the document that was observed, which is the number-th. The error
// matches ErrStale if there is another one, which proves nothing about this one.
func (t *Tool) Object(ctx context.Context, number int, observed *Document) (*Object, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if observed == nil {
		return nil, ErrStale
	}
	scripts, c := t.target.Scripts.Load(), &t.current
	if c.object != nil && c.number == number {
		err := c.document.Check(ctx)
		if err == nil && c.scripts != scripts {
			err = t.derive(ctx, c, scripts)
		}
		return c.object, err
	}
	made, err := t.install(ctx, number, observed)
	if err == nil {
		err = t.derive(ctx, &made, scripts)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", err)
	}
	*c = made
	return c.object, nil
}

func (t *Tool) install(ctx context.Context, number int, document *Document) (installed, error) {
	ledger, err := document.New(ctx, t.ledger)
	if err != nil {
		return installed{}, err
	}
	return installed{number: number, document: document, ledger: ledger}, nil
}

// derive makes the object of these scripts on the ledger that there is.
func (t *Tool) derive(ctx context.Context, i *installed, scripts *Scripts) error {
	object, err := i.ledger.Derive(ctx, t.script(scripts))
	if err != nil {
		return err
	}
	if object == nil {
		return ErrScript
	}
	if i.object != nil {
		i.object.Release(ctx)
	}
	i.object, i.scripts = object, scripts
	return nil
}
