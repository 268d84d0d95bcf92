package database

import (
	"context"
	"time"

	"session-manager/supervisor/internal/wait"
)

// diskTimeout bounds what waits for a shared file.
const diskTimeout = 5 * time.Second

// Shared is a File that any goroutine may use by Locked or Use. What belongs to it, such as
// counts, may be used likewise.
type Shared struct {
	File
	token chan struct{} // held by who uses the file
}

// NewShared returns f for any goroutine.
func NewShared(f File) *Shared { return &Shared{f, make(chan struct{}, 1)} }

// Locked returns what f does, which is called while nobody else uses the file. It gives up after
// 5 s, or when ctx ends, with the context's cause. A call that was given up may go on, so f
// shares nothing with its caller.
func Locked[T any](ctx context.Context, s *Shared, f func() (T, error)) (result T, err error) {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	select {
	case s.token <- struct{}{}:
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
	return wait.For(ctx, func() (T, error) {
		defer func() { <-s.token }()
		return f()
	})
}

// Use is Locked with the open database.
func Use[T any](ctx context.Context, s *Shared, f func(*DB) (T, error)) (T, error) {
	return Locked(ctx, s, func() (T, error) { return Do(&s.File, f) })
}

// Do returns what f does with the open database, which is closed if f finds it damaged.
func Do[T any](file *File, f func(*DB) (T, error)) (result T, err error) {
	db, err := file.Open()
	if err == nil {
		result, err = f(db)
		file.Noticed()
	}
	file.Failed(err)
	return result, err
}
