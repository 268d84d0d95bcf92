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

// Client is a Worker in another process. It is safe for concurrent use.
type Client struct{ worker workerpb.WorkerClient }

var _ Worker = (*Client)(nil)

func newClient(conn grpc.ClientConnInterface) *Client {
	return &Client{worker: workerpb.NewWorkerClient(conn)}
}

// Events implements Worker. An error of emit ends the call and is returned. The
// end of the worker's process is ErrWorkerGone.
func (c *Client) Events(ctx context.Context, emit func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.worker.Events(ctx, &workerpb.EventsRequest{})
	if err != nil {
		return fmt.Errorf("cannot stream events: %w", fromStatus(ctx, err))
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot receive event: %w", fromStatus(ctx, err))
		}
		e, err := eventFromProto(m)
		if err != nil {
			return err
		}
		if err := emit(e); err != nil {
			return err
		}
	}
}

// Stop implements Worker.
func (c *Client) Stop(ctx context.Context) error {
	if _, err := c.worker.Stop(ctx, &workerpb.StopRequest{}); err != nil {
		return fmt.Errorf("cannot stop worker: %w", fromStatus(ctx, err))
	}
	return nil
}

// Screenshot implements Worker.
func (c *Client) Screenshot(ctx context.Context) ([]byte, error) {
	r, err := c.worker.Screenshot(ctx, &workerpb.ScreenshotRequest{})
	if err != nil {
		return nil, fmt.Errorf("cannot take screenshot: %w", fromStatus(ctx, err))
	}
	return r.GetPng(), nil
}

// Pair implements Worker.
func (c *Client) Pair(ctx context.Context, phone Secret) (Pairing, error) {
	r, err := c.worker.Pair(ctx, &workerpb.PairRequest{Phone: string(phone)})
	if err != nil {
		return Pairing{}, fmt.Errorf("cannot pair: %w", fromStatus(ctx, err))
	}
	return Pairing{Code: Secret(r.GetCode()), TTL: time.Duration(r.GetTtlMs()) * time.Millisecond}, nil
}

// LogOut implements Worker.
func (c *Client) LogOut(ctx context.Context) error {
	if _, err := c.worker.LogOut(ctx, &workerpb.LogOutRequest{}); err != nil {
		return fmt.Errorf("cannot log out: %w", fromStatus(ctx, err))
	}
	return nil
}

// SetSelectors implements Worker.
func (c *Client) SetSelectors(ctx context.Context, file []byte) error {
	if _, err := c.worker.SetSelectors(ctx, &workerpb.SetSelectorsRequest{File: file}); err != nil {
		return fmt.Errorf("cannot apply selectors: %w", fromStatus(ctx, err))
	}
	return nil
}

// Diagnose implements Worker.
func (c *Client) Diagnose(ctx context.Context) (Diagnosis, error) {
	r, err := c.worker.Diagnose(ctx, &workerpb.DiagnoseRequest{})
	if err != nil {
		return Diagnosis{}, fmt.Errorf("cannot diagnose page: %w", fromStatus(ctx, err))
	}
	return diagnosisFromProto(r), nil
}
