package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser"
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

// probeBrowser asks Chrome again and again whether it turns, and returns an error
// when it does not.
func (s *session) probeBrowser(ctx context.Context) error {
	t := s.worker.o.Timings
	for misses := 0; ; {
		begun := time.Now()
		err := s.probeOnce(ctx)
		missed, err := judgeProbe(err, time.Since(begun), t)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case missed:
			misses++
		default:
			misses = 0
			s.pulse.browserAnswered(time.Now())
		}
		if misses == probeMisses {
			return reason.Wrap(reason.BrowserHung,
				fmt.Errorf("Chrome did not answer %d probes of %v each", misses, t.ProbeDeadline))
		}
		if !sleep(ctx, t.ProbePeriod) {
			return ctx.Err()
		}
	}
}

// turns reports whether Chrome answers now.
func (s *session) turns(ctx context.Context) bool {
	t := s.worker.o.Timings
	begun := time.Now()
	missed, fatal := judgeProbe(s.probeOnce(ctx), time.Since(begun), t)
	return !missed && fatal == nil
}

func (s *session) probeOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.worker.o.Timings.ProbeDeadline)
	defer cancel()
	return s.browser.Probe(ctx)
}

// judgeProbe says what a probe proves. A probe that took far longer than its
// deadline allows proves that this process, or the machine, was stopped, and
// nothing of Chrome: it counts as good.
func judgeProbe(err error, took time.Duration, t Timings) (missed bool, fatal error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, browser.ErrGone):
		return false, err
	case took > t.ProbeDeadline+2*t.ProbePeriod:
		return false, nil
	case errors.Is(err, context.DeadlineExceeded):
		return true, nil
	default:
		// It answered with an error, so it turns.
		return false, nil
	}
}

// beat sends a heartbeat each period.
func (s *session) beat(ctx context.Context) error {
	var memory uint64
	for n := 0; ; n++ {
		if n%memoryBeats == 0 {
			memory = treeMemory(os.Getpid())
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
