// Package message sends messages through the page, and looks them up in it.
package message

import (
	"context"

	"session-manager/shared/rpc"
)

// Messages sends messages and looks them up. It is safe for concurrent use.
type Messages struct{}

// New returns the Messages of a page.
func New() *Messages { return &Messages{} }

// notReady is the answer of a page that can't be asked.
func notReady() error {
	return &rpc.SendError{Code: rpc.SendNotReady, Detail: "the page is not ready"}
}

// Send is that of rpc.Worker.
func (m *Messages) Send(context.Context, rpc.Message) (rpc.MessageState, error) {
	return rpc.MessageState{}, notReady()
}

// Lookup is that of rpc.Worker.
func (m *Messages) Lookup(context.Context, []rpc.MessageRef) ([]rpc.MessageState, error) {
	return nil, notReady()
}

// Contact is that of rpc.Worker.
func (m *Messages) Contact(context.Context, rpc.Secret) (rpc.Contact, error) {
	return rpc.Contact{}, notReady()
}
