package database

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
)

func TestFileHasOneUserAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShared(File{})
		hangs, over := make(chan struct{}), make(chan struct{})
		_, err := Locked(t.Context(), s, func() (int, error) {
			defer close(over)
			<-hangs
			return 1, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that hangs: %v", err)
		}
		ended := errors.New("ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(ended)
		if _, err := Locked(ctx, s, func() (int, error) { panic("the file is in use") }); !errors.Is(err, ended) {
			t.Errorf("meanwhile: %v", err)
		}
		close(hangs)
		<-over
		if n, err := Locked(t.Context(), s, func() (int, error) { return 2, nil }); n != 2 || err != nil {
			t.Errorf("afterwards: %d, %v", n, err)
		}
	})
}

func TestSharedFileIsClosedWhenDamaged(t *testing.T) {
	s := NewShared(File{Path: filepath.Join(t.TempDir(), "file"), Format: first})
	defer func() { _ = s.Close() }()
	if _, err := Use(t.Context(), s, func(*DB) (int, error) { return 0, ErrDamaged }); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if s.db != nil {
		t.Error("it is open")
	}
}
