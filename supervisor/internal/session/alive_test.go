package session

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestAliveAnswersOnlyWhileTheLoopRuns(t *testing.T) {
	observed, release := make(chan struct{}, 1), make(chan struct{})
	s := New(DefaultLimits(15*time.Second), slog.New(slog.DiscardHandler))
	s.Subscribe(func(*Snapshot) {
		select {
		case observed <- struct{}{}:
		default:
		}
		<-release
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	if err := s.Alive(t.Context()); err != nil {
		t.Errorf("a running loop: %v", err)
	}
	go s.Stopping() // publishes, and hangs in Observe
	<-observed
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Alive(short); !errors.Is(err, context.Canceled) {
		t.Errorf("a hanging loop: %v", err)
	}
	close(release)
	stop()
	<-ended
	if err := s.Alive(t.Context()); err != nil {
		t.Errorf("an ended loop: %v", err)
	}
}
