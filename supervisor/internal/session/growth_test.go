package session

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// Each round has two changes, and every 500th draws a code.
func TestTenThousandStateChangesLeaveNothingBehind(t *testing.T) {
	const rounds, early = 5_000, 100
	changes := 0
	last := Init
	s := New(DefaultLimits(15*time.Second), slog.New(slog.DiscardHandler))
	s.Subscribe(func(s *Snapshot) {
		if s.State != last {
			changes++
			last = s.State
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	report := func(body rpc.EventBody) {
		s.Notify(worker.FromWorker{Event: rpc.Event{Generation: 1, Body: body}})
	}
	s.Notify(worker.Spawning{Generation: 1})
	var before, after runtime.MemStats
	var goroutines int
	measure := func(m *runtime.MemStats) {
		runtime.GC()
		runtime.ReadMemStats(m)
	}
	for n := range rounds {
		report(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1})
		if n%500 == 0 {
			report(rpc.QRShown{Payload: payload, Reader: "dom", Seq: uint64(n), TTL: time.Minute})
		}
		report(rpc.PageObserved{Condition: rpc.PageReady, Registered: true, Persisted: true, Progress: -1})
		if n == early {
			measure(&before)
			goroutines = runtime.NumGoroutine()
		}
	}
	measure(&after)
	if more := runtime.NumGoroutine() - goroutines; more > 0 {
		t.Errorf("%d goroutines more", more)
	}
	cancel()
	<-done
	if changes < 2*rounds {
		t.Errorf("the state changed %d times", changes)
	}
	const slack = 1 << 20
	if after.HeapAlloc > before.HeapAlloc+slack {
		t.Errorf("the heap went from %d to %d bytes", before.HeapAlloc, after.HeapAlloc)
	}
	t.Logf("%d changes: heap %d to %d bytes", changes, before.HeapAlloc, after.HeapAlloc)
}
