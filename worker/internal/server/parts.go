package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/worker/internal/logid"
)

// parts are Chrome's processes. One that is stopped (SIGSTOP) is found by its state:
// that costs less than a question, and unlike silence it can't be mistaken for a
// machine that is busy.
type parts struct {
	chrome atomic.Int64 // the pid of the main process; 0 until it runs

	mu    sync.Mutex
	known []proctree.Handle // guarded by mu; those that were found last

	// searches is how many of the next readings of the memory search again. It is their own.
	searches int
}

// searchesAfterEnd are made in a minute, in which what replaces the process that has ended starts.
const searchesAfterEnd = 4

// find looks for the processes again.
func (p *parts) find() {
	pid := int(p.chrome.Load())
	if pid == 0 {
		return
	}
	list, err := proctree.Descendants(pid)
	if err != nil {
		return
	}
	if main, err := proctree.Find(pid); err == nil { // or it has just exited
		list = append(list, main)
	}
	var found []proctree.Handle
	for _, part := range list {
		h, err := part.Open()
		switch {
		case err == nil:
			found = append(found, h)
		case !errors.Is(err, os.ErrNotExist): // so those that are known stay
			closeAll(found)
			return
		}
	}
	p.replace(found)
}

func closeAll(parts []proctree.Handle) {
	for _, part := range parts {
		part.Close()
	}
}

// replace takes other processes for Chrome's.
func (p *parts) replace(with []proctree.Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(p.known)
	p.known = with
}

// first returns the pid of the first process that is so, 0 if none is; err is that of looking at it.
func (p *parts) first(is func(now proctree.Process, err error) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range p.known {
		if is(part.Look()) {
			return part.PID()
		}
	}
	return 0
}

// memory returns what the known processes hold, after it has looked for them again if
// one of them has ended lately.
func (p *parts) memory() (sum uint64) {
	if p.first(func(now proctree.Process, err error) bool { return err != nil || now.State == proctree.Zombie }) != 0 {
		p.searches = searchesAfterEnd
	}
	if p.searches > 0 {
		p.searches--
		p.find()
	}
	for _, pid := range p.pids() {
		sum += proctree.Memory(pid)
	}
	return sum
}

// pids are those of the known processes.
func (p *parts) pids() (all []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range p.known {
		all = append(all, part.PID())
	}
	return all
}

func (p *parts) anyStopped() bool { return p.stopped() != 0 }

// stopped returns the pid of a process that is stopped, 0 if none is.
func (p *parts) stopped() int {
	return p.first(func(now proctree.Process, err error) bool { return err == nil && now.State == proctree.Stopped })
}

// watchParts returns an error with a reason when a process was stopped at stoppedLooks
// looks in a row.
func (s *session) watchParts(ctx context.Context) error {
	for last, misses := 0, 0; sleep(ctx, s.timings.ProbePeriod); {
		pid := s.parts.stopped()
		if pid != last {
			last, misses = pid, 0
		}
		if pid == 0 {
			continue
		}
		misses++
		hung, what := partOf(pid)
		s.log.Warn(logid.ProbeMissed, slog.String(logging.KeyReason, string(hung)), slog.Int("misses", misses))
		if misses == stoppedLooks {
			return reason.Wrap(hung, fmt.Errorf("%s is stopped (pid %d)", what, pid))
		}
	}
	return ctx.Err()
}

// partOf returns what it means that the process pid of Chrome does not run, and its
// name. Chrome's command lines name the kind of a helper.
func partOf(pid int) (hung reason.Code, what string) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return reason.BrowserHung, "a process of Chrome"
	}
	for _, known := range []struct {
		mark, what string
		hung       reason.Code
	}{
		{"--type=renderer", "the page's process", reason.PageHung},
		{"--type=gpu-process", "the part of Chrome that paints", reason.PaintingHung},
		{"network.mojom.NetworkService", "Chrome's network process", reason.NetworkHung},
		{"--type=", "a helper of Chrome", reason.BrowserHung},
	} {
		if strings.Contains(string(line), known.mark) {
			return known.hung, known.what
		}
	}
	return reason.BrowserHung, "Chrome's main process"
}
