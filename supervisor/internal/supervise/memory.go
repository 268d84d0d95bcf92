package supervise

import (
	"fmt"
	"time"

	"session-manager/shared/reason"
)

// memory follows what the worker and its Chrome hold, over all generations.
// Run's goroutine owns it.
type memory struct {
	// limit in bytes; 0 means none.
	limit uint64
	// since is when the present generation was first over the limit without a
	// pause; zero while it is not.
	since time.Time
	// last is when a generation was last ended for it.
	last time.Time
}

// sample takes in a heartbeat's number. It returns a wish when the limit has been
// passed for long, and not wished for lately: a limit that is too low must not
// end every generation.
func (m *memory) sample(t Timings, held uint64, now time.Time) (Wish, bool) {
	switch {
	case m.limit == 0 || held <= m.limit:
		m.since = time.Time{}
		return Wish{}, false
	case m.since.IsZero():
		m.since = now
		return Wish{}, false
	case now.Sub(m.since) < t.Bloat || !m.last.IsZero() && now.Sub(m.last) < t.BloatPause:
		return Wish{}, false
	}
	m.since, m.last = time.Time{}, now
	return Wish{
		Reason: reason.MemoryLimit,
		Detail: fmt.Sprintf("the worker and Chrome hold %d MiB, the limit is %d MiB", held>>20, m.limit>>20),
	}, true
}
