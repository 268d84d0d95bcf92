package worker

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/shared/reason"
)

// minMemory is what the machine must have left, in bytes, for a Chrome to be started.
// It holds 150 MB before the page has loaded (shared with others: the binary), and
// with less than that the kernel would end it, or something that is more needed.
const minMemory = 150 << 20

// lookAtMemory finds out whether the machine has memory for a Chrome. Its errors
// carry reason.ResourcesExhausted. A machine that does not tell has.
func lookAtMemory() error {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	info, err := proc.Meminfo()
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return judgeMemory(info)
}

func judgeMemory(m procfs.Meminfo) error {
	if m.MemAvailableBytes == nil {
		return nil
	}
	left := *m.MemAvailableBytes
	if m.SwapFreeBytes != nil {
		left += *m.SwapFreeBytes
	}
	if left >= minMemory {
		return nil
	}
	return reason.Wrap(reason.ResourcesExhausted,
		fmt.Errorf("only %d MiB of memory are left on this machine, %d are needed to start Chrome", left>>20, minMemory>>20))
}

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
func (m *memory) sample(t Timings, held uint64, now time.Time) (RestartRequest, bool) {
	switch {
	case m.limit == 0 || held <= m.limit:
		m.since = time.Time{}
		return RestartRequest{}, false
	case m.since.IsZero():
		m.since = now
		return RestartRequest{}, false
	case now.Sub(m.since) < t.Bloat || !m.last.IsZero() && now.Sub(m.last) < t.BloatPause:
		return RestartRequest{}, false
	}
	m.since, m.last = time.Time{}, now
	return RestartRequest{
		Reason: reason.MemoryLimit,
		Detail: fmt.Sprintf("the worker and Chrome hold %d MiB, the limit is %d MiB", held>>20, m.limit>>20),
	}, true
}
