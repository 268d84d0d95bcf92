package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"session-manager/shared/rpc"
)

// ErrNoWorker means that no worker runs, or that it is not connected yet.
var ErrNoWorker = errors.New("no worker runs")

// live passes commands to the worker that runs. Its methods may be called from any
// goroutine; their errors match ErrNoWorker, rpc.ErrWorkerGone, or those that
// rpc.Worker documents.
type live struct {
	client    atomic.Pointer[rpc.Client]
	selectors func() []byte
}

// ask passes a command to the worker that runs.
func ask[T any](l *live, what string, command func(*rpc.Client) (T, error)) (T, error) {
	if worker := l.client.Load(); worker != nil {
		return command(worker)
	}
	var none T
	return none, fmt.Errorf("cannot %s: %w", what, ErrNoWorker)
}

// Screenshot returns a PNG of the page as it is now.
func (l *live) Screenshot(ctx context.Context) ([]byte, error) {
	return ask(l, "take screenshot", func(w *rpc.Client) ([]byte, error) { return w.Screenshot(ctx) })
}

// Pair makes the page offer a code that links the phone with this number: E.164,
// digits only.
func (l *live) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	return ask(l, "pair", func(w *rpc.Client) (rpc.Pairing, error) { return w.Pair(ctx, phone) })
}

// Send makes the page send a message; see rpc.Worker.
func (l *live) Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error) {
	return ask(l, "send", func(w *rpc.Client) (rpc.MessageState, error) { return w.Send(ctx, m) })
}

// Lookup returns what the page holds of messages; see rpc.Worker.
func (l *live) Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error) {
	return ask(l, "look up", func(w *rpc.Client) ([]rpc.MessageState, error) { return w.Lookup(ctx, refs) })
}

// Contact asks WhatsApp whether there is an account for a number: E.164, digits only.
func (l *live) Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error) {
	return ask(l, "look up contact", func(w *rpc.Client) (rpc.Contact, error) { return w.Contact(ctx, phone) })
}

// Receive reads messages from the page's table; see rpc.Worker.
func (l *live) Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	return ask(l, "receive messages", func(w *rpc.Client) (rpc.Reception, error) { return w.Receive(ctx, r) })
}

// Passkey carries the page's request for a passkey to a person, and the answer back; see
// rpc.Worker.
func (l *live) Passkey(ctx context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	return ask(l, "handle passkey", func(w *rpc.Client) (rpc.PasskeyCall, error) { return w.Passkey(ctx, c) })
}

// LogOut ends the link through the page, and returns when the page has wiped its
// login.
func (l *live) LogOut(ctx context.Context) error {
	_, err := ask(l, "log out", func(w *rpc.Client) (struct{}, error) { return struct{}{}, w.LogOut(ctx) })
	return err
}

// Diagnose returns what the page consists of and what each reader finds in it.
func (l *live) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	return ask(l, "diagnose page", func(w *rpc.Client) (rpc.Diagnosis, error) { return w.Diagnose(ctx) })
}

// SetSelectors passes the selectors file in force to the worker; without a worker the
// next one gets it. It is called when Options.Selectors returns another one.
func (l *live) SetSelectors(ctx context.Context) error {
	worker := l.client.Load()
	if worker == nil {
		return nil
	}
	return worker.SetSelectors(ctx, l.selectors())
}
