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

func (l *live) worker(what string) (*rpc.Client, error) {
	if worker := l.client.Load(); worker != nil {
		return worker, nil
	}
	return nil, fmt.Errorf("cannot %s: %w", what, ErrNoWorker)
}

// Screenshot returns a PNG of the page as it is now.
func (l *live) Screenshot(ctx context.Context) ([]byte, error) {
	worker, err := l.worker("take screenshot")
	if err != nil {
		return nil, err
	}
	return worker.Screenshot(ctx)
}

// Pair makes the page offer a code that links the phone with this number: E.164,
// digits only.
func (l *live) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	worker, err := l.worker("pair")
	if err != nil {
		return rpc.Pairing{}, err
	}
	return worker.Pair(ctx, phone)
}

// LogOut ends the link through the page, and returns when the page has wiped its
// login.
func (l *live) LogOut(ctx context.Context) error {
	worker, err := l.worker("log out")
	if err != nil {
		return err
	}
	return worker.LogOut(ctx)
}

// Diagnose returns what the page consists of and what each reader finds in it.
func (l *live) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	worker, err := l.worker("diagnose page")
	if err != nil {
		return rpc.Diagnosis{}, err
	}
	return worker.Diagnose(ctx)
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
