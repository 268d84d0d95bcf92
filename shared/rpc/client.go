package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"session-manager/shared/rpc/workerpb"
)

// Client is a Worker in another process, and passes on nothing from it that exceeds the
// contract's bounds. It is safe for concurrent use.
type Client struct{ worker workerpb.WorkerClient }

var _ Worker = (*Client)(nil)

// Events implements Worker. An error of emit ends the call and is returned. The
// end of the worker's process is ErrWorkerGone. A worker that sends more events than
// EventRate and EventBurst allow, or too large a one, is ErrFlooded.
func (c *Client) Events(ctx context.Context, emit func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.worker.Events(ctx, &workerpb.EventsRequest{})
	if err != nil {
		return callError(ctx, "stream events", err)
	}
	budget := newBudget()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return callError(ctx, "receive event", err)
		}
		e, err := eventFromProto(m)
		if err != nil {
			return err
		}
		if err := budget.spend(e, m, time.Now()); err != nil {
			return err
		}
		if err := emit(e); err != nil {
			return err
		}
	}
}

// Stop implements Worker.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.worker.Stop(ctx, &workerpb.StopRequest{})
	return callError(ctx, "stop worker", err)
}

// Screenshot implements Worker.
func (c *Client) Screenshot(ctx context.Context) ([]byte, error) {
	r, err := c.worker.Screenshot(ctx, &workerpb.ScreenshotRequest{}, grpc.MaxCallRecvMsgSize(maxScreenshot))
	return r.GetPng(), callError(ctx, "take screenshot", err)
}

// Pair implements Worker.
func (c *Client) Pair(ctx context.Context, phone Secret) (Pairing, error) {
	r, err := c.worker.Pair(ctx, &workerpb.PairRequest{Phone: string(phone)})
	return Pairing{Code: Secret(r.GetCode()), TTL: milliseconds(r.GetTtlMs())}.bounded(), callError(ctx, "pair", err)
}

// LogOut implements Worker.
func (c *Client) LogOut(ctx context.Context) error {
	_, err := c.worker.LogOut(ctx, &workerpb.LogOutRequest{})
	return callError(ctx, "log out", err)
}

// SetSelectors implements Worker.
func (c *Client) SetSelectors(ctx context.Context, file []byte) error {
	_, err := c.worker.SetSelectors(ctx, &workerpb.SetSelectorsRequest{File: file})
	return callError(ctx, "apply selectors", err)
}

// Diagnose implements Worker.
func (c *Client) Diagnose(ctx context.Context) (Diagnosis, error) {
	r, err := c.worker.Diagnose(ctx, &workerpb.DiagnoseRequest{})
	return diagnosisFromProto(r), callError(ctx, "diagnose page", err)
}

// callError returns nil if err is, and otherwise an error that callers can match.
func callError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s: %w", what, fromStatus(ctx, err))
}
