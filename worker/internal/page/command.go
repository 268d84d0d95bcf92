package page

import (
	"context"
	"fmt"

	"session-manager/shared/knowledge"
	"session-manager/shared/rpc"
)

// Learn makes the page be looked at with another knowledge file from the next
// look on; an empty one stands for the one built in. It is safe for concurrent
// use.
func (p *Page) Learn(_ context.Context, file []byte) error {
	l, err := parseLens(file)
	if err != nil {
		return err
	}
	p.lens.Store(l)
	p.hint()
	return nil
}

func parseLens(file []byte) (*lens, error) {
	k, err := knowledge.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rpc.ErrKnowledge, err)
	}
	return newLens(k)
}

// Pair makes the page offer a code that links the phone with this number.
func (p *Page) Pair(context.Context, rpc.Secret) (rpc.Pairing, error) {
	return rpc.Pairing{}, rpc.ErrPairingUnavailable
}

// LogOut ends the link through the page.
func (p *Page) LogOut(context.Context) error { return rpc.ErrNotLinked }

// Diagnose tells what the page is made of.
func (p *Page) Diagnose(context.Context) (rpc.Diagnosis, error) {
	return rpc.Diagnosis{}, rpc.ErrNoPage
}
