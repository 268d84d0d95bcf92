package server

import (
	"context"
	"os"
	"time"

	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
)

// browserAnswers reports whether Chrome's last answer is recent.
func (s *session) browserAnswers() bool {
	return s.fresh(time.Since(s.browser.Answered()))
}

// pageAnswers reports whether the last answer of the page's main thread is recent.
func (s *session) pageAnswers() bool {
	age, err := ask(s.worker, func(p Page) (time.Duration, error) { return p.MainThreadAge(), nil })
	return err == nil && s.fresh(age)
}

// fresh reports whether an answer of the layer below is recent enough to ask the one
// above.
func (s *session) fresh(age time.Duration) bool {
	return age >= 0 && age < s.timings.ProbePeriod+s.timings.ProbeDeadline
}

// beat sends a heartbeat each period.
func (s *session) beat(ctx context.Context) error {
	var memory uint64
	for n := 0; ; n++ {
		if n%searchBeats == 0 {
			s.parts.find()
		}
		if n%memoryBeats == 0 {
			memory = proctree.Memory(os.Getpid()) + s.parts.memory()
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
