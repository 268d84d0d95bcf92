package server

import (
	"context"
	"os"
	"runtime"
	"sync"
	"time"

	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
)

// pulse keeps when each layer last answered.
type pulse struct {
	mu      sync.Mutex
	browser time.Time // guarded by mu
	page    Page      // guarded by mu
}

func (p *pulse) browserAnswered(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.browser = at
}

func (p *pulse) setPage(page Page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.page = page
}

// ages returns how old the last answers of Chrome and of the page's main thread
// are, -1 for a layer that has not answered yet.
func (p *pulse) ages(now time.Time) (browserAge, mainThreadAge time.Duration) {
	p.mu.Lock()
	at, page := p.browser, p.page
	p.mu.Unlock()
	browserAge, mainThreadAge = -1, -1
	if !at.IsZero() {
		browserAge = now.Sub(at)
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
		browserAge, mainThreadAge := s.pulse.ages(time.Now())
		s.out.put(rpc.Heartbeat{
			BrowserAge: browserAge, MainThreadAge: mainThreadAge,
			ResidentBytes: memory, Goroutines: runtime.NumGoroutine(),
		})
		if !sleep(ctx, s.worker.o.Timings.Heartbeat) {
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
