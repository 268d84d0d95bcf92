package server

import (
	"context"
	"os"
	"sync"
	"time"

	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
)

// liveness keeps when each layer last answered.
type liveness struct {
	mu      sync.Mutex
	browser time.Time // guarded by mu
	page    Page      // guarded by mu
}

func (l *liveness) browserAnswered(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.browser = at
}

func (l *liveness) setPage(page Page) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.page = page
}

// ages returns how old the last answers of Chrome and of the page's main thread
// are, -1 for a layer that has not answered yet.
func (l *liveness) ages() (browserAge, mainThreadAge time.Duration) {
	l.mu.Lock()
	at, page := l.browser, l.page
	l.mu.Unlock()
	browserAge, mainThreadAge = -1, -1
	if !at.IsZero() {
		browserAge = time.Since(at)
	}
	if page != nil {
		mainThreadAge = page.MainThreadAge()
	}
	return browserAge, mainThreadAge
}

// beat sends a heartbeat each period.
func (s *session) beat(ctx context.Context) error {
	var memory uint64
	for n := 0; ; n++ {
		if n%memoryBeats == 0 {
			memory = proctree.TreeMemory(os.Getpid())
		}
		s.events.put(rpc.Heartbeat{ResidentBytes: memory})
		if !sleep(ctx, s.timings.Heartbeat) {
			return ctx.Err()
		}
	}
}

// sleep waits for d and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
