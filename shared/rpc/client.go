package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

// Send implements Worker.
func (c *Client) Send(ctx context.Context, m Message) (MessageState, error) {
	r, err := c.worker.Send(ctx, messageToProto(m))
	if err != nil {
		return MessageState{}, callError(ctx, "send message", err)
	}
	state := stateFromProto(r.GetState())
	if state.ID != m.ID || !state.Stored {
		return MessageState{}, fmt.Errorf("cannot send message: %w", errOtherAnswer)
	}
	return state, nil
}

// Lookup implements Worker.
func (c *Client) Lookup(ctx context.Context, refs []MessageRef) ([]MessageState, error) {
	r, err := c.worker.Lookup(ctx, refsToProto(refs))
	if err != nil {
		return nil, callError(ctx, "look up messages", err)
	}
	answered := r.GetStates()
	if len(answered) != len(refs) {
		return nil, fmt.Errorf("cannot look up messages: %w", errOtherAnswer)
	}
	states := make([]MessageState, 0, len(refs))
	for i, ref := range refs {
		state := stateFromProto(answered[i])
		if state.ID != ref.ID {
			return nil, fmt.Errorf("cannot look up messages: %w", errOtherAnswer)
		}
		states = append(states, state)
	}
	return states, nil
}

// Contact implements Worker.
func (c *Client) Contact(ctx context.Context, phone Secret) (Contact, error) {
	r, err := c.worker.Contact(ctx, &workerpb.ContactRequest{Phone: string(phone)})
	return Contact{
		OnWhatsApp: r.GetOnWhatsapp(), Phone: Secret(r.GetPhone()), LID: Secret(r.GetLid()),
		Business: r.GetBusiness(), KnownChat: r.GetKnownChat(),
	}.bounded(), callError(ctx, "look up contact", err)
}

// Receive implements Worker.
func (c *Client) Receive(ctx context.Context, r ReceiveQuery) (Reception, error) {
	p, err := c.worker.Receive(ctx, receiveToProto(r))
	if err != nil {
		return Reception{}, callError(ctx, "receive messages", err)
	}
	return receptionFromProto(p), nil
}

// Passkey implements Worker.
func (c *Client) Passkey(ctx context.Context, command PasskeyCommand) (PasskeyCall, error) {
	r, err := c.worker.Passkey(ctx, &workerpb.PasskeyRequest{Action: string(command.Action), Assertion: string(command.Assertion)})
	return PasskeyCall{Options: Secret(r.GetOptions()), TTL: milliseconds(r.GetTtlMs())}.bounded(), callError(ctx, "handle passkey", err)
}

// errOtherAnswer means that the worker answered something that was not asked.
var errOtherAnswer = errors.New("the worker answered for something else")

// callError returns nil if err is, and otherwise an error that callers can match.
func callError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	err = fromStatus(ctx, err)
	if strings.HasPrefix(err.Error(), "cannot "+what) {
		return err // the other side has put it the same way
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}
