package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"session-manager/shared/rpc/workerpb"
)

// server carries a Worker's methods onto the wire.
type server struct {
	workerpb.UnimplementedWorkerServer
	worker Worker
}

func (s *server) Events(_ *workerpb.EventsRequest, stream grpc.ServerStreamingServer[workerpb.Event]) error {
	return toStatus(s.worker.Events(stream.Context(), func(e Event) error {
		m, err := eventToProto(e)
		if err != nil {
			return err
		}
		if err := stream.Send(m); err != nil {
			return fmt.Errorf("cannot send event: %w", err)
		}
		return nil
	}))
}

func (s *server) Stop(ctx context.Context, _ *workerpb.StopRequest) (*workerpb.StopResponse, error) {
	return &workerpb.StopResponse{}, toStatus(s.worker.Stop(ctx))
}

func (s *server) Screenshot(ctx context.Context, _ *workerpb.ScreenshotRequest) (*workerpb.ScreenshotResponse, error) {
	png, err := s.worker.Screenshot(ctx)
	return &workerpb.ScreenshotResponse{Png: png}, toStatus(err)
}

func (s *server) Pair(ctx context.Context, p *workerpb.PairRequest) (*workerpb.PairResponse, error) {
	pairing, err := s.worker.Pair(ctx, Secret(p.GetPhone()))
	return &workerpb.PairResponse{Code: string(pairing.Code), TtlMs: pairing.TTL.Milliseconds()}, toStatus(err)
}

func (s *server) LogOut(ctx context.Context, _ *workerpb.LogOutRequest) (*workerpb.LogOutResponse, error) {
	return &workerpb.LogOutResponse{}, toStatus(s.worker.LogOut(ctx))
}

func (s *server) SetSelectors(ctx context.Context, p *workerpb.SetSelectorsRequest) (*workerpb.SetSelectorsResponse, error) {
	return &workerpb.SetSelectorsResponse{}, toStatus(s.worker.SetSelectors(ctx, p.GetFile()))
}

func (s *server) Send(ctx context.Context, p *workerpb.SendRequest) (*workerpb.SendResponse, error) {
	state, err := s.worker.Send(ctx, messageFromProto(p))
	return &workerpb.SendResponse{State: stateToProto(state)}, toStatus(err)
}

func (s *server) Lookup(ctx context.Context, p *workerpb.LookupRequest) (*workerpb.LookupResponse, error) {
	states, err := s.worker.Lookup(ctx, refsFromProto(p))
	r := &workerpb.LookupResponse{}
	for _, state := range states {
		r.States = append(r.States, stateToProto(state))
	}
	return r, toStatus(err)
}

func (s *server) Contact(ctx context.Context, p *workerpb.ContactRequest) (*workerpb.ContactResponse, error) {
	c, err := s.worker.Contact(ctx, Secret(p.GetPhone()))
	return &workerpb.ContactResponse{
		OnWhatsapp: c.OnWhatsApp, Phone: string(c.Phone), Lid: string(c.LID), Business: c.Business, KnownChat: c.KnownChat,
	}, toStatus(err)
}

func (s *server) Receive(ctx context.Context, p *workerpb.ReceiveRequest) (*workerpb.ReceiveResponse, error) {
	r, err := s.worker.Receive(ctx, receiveFromProto(p))
	return receptionToProto(r), toStatus(err)
}

func (s *server) Passkey(ctx context.Context, p *workerpb.PasskeyRequest) (*workerpb.PasskeyResponse, error) {
	call, err := s.worker.Passkey(ctx, PasskeyCommand{Action: PasskeyAction(p.GetAction()), Assertion: Secret(p.GetAssertion())})
	return &workerpb.PasskeyResponse{Options: string(call.Options), TtlMs: call.TTL.Milliseconds()}, toStatus(err)
}

func (s *server) Diagnose(ctx context.Context, _ *workerpb.DiagnoseRequest) (*workerpb.DiagnoseResponse, error) {
	d, err := s.worker.Diagnose(ctx)
	return diagnosisToProto(d), toStatus(err)
}
