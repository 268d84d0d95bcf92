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
	if err := s.worker.Stop(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &workerpb.StopResponse{}, nil
}

func (s *server) Screenshot(ctx context.Context, _ *workerpb.ScreenshotRequest) (*workerpb.ScreenshotResponse, error) {
	png, err := s.worker.Screenshot(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &workerpb.ScreenshotResponse{Png: png}, nil
}

func (s *server) Pair(ctx context.Context, p *workerpb.PairRequest) (*workerpb.PairResponse, error) {
	pairing, err := s.worker.Pair(ctx, Secret(p.GetPhone()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &workerpb.PairResponse{Code: string(pairing.Code), TtlMs: pairing.TTL.Milliseconds()}, nil
}

func (s *server) LogOut(ctx context.Context, _ *workerpb.LogOutRequest) (*workerpb.LogOutResponse, error) {
	if err := s.worker.LogOut(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &workerpb.LogOutResponse{}, nil
}

func (s *server) SetSelectors(ctx context.Context, p *workerpb.SetSelectorsRequest) (*workerpb.SetSelectorsResponse, error) {
	if err := s.worker.SetSelectors(ctx, p.GetFile()); err != nil {
		return nil, toStatus(err)
	}
	return &workerpb.SetSelectorsResponse{}, nil
}

func (s *server) Diagnose(ctx context.Context, _ *workerpb.DiagnoseRequest) (*workerpb.DiagnoseResponse, error) {
	d, err := s.worker.Diagnose(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return diagnosisToProto(d), nil
}
