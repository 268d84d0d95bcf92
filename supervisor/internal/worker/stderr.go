package worker

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// Bounds of what a worker's stderr may cost.
const (
	// maxLine is where a line is cut. A line of the worker's own logger is
	// shorter.
	maxLine = 16 << 10
	// maxRaw is where a line that is no log line is cut.
	maxRaw = 4 << 10
	// keptLines is how many lines are remembered for the record of the end.
	keptLines = 200
	// dyingLines is how many lines are kept of what a Go program writes when it
	// dies: the first say why, and there may be thousands.
	dyingLines = 200
	// linesPerSecond is how many lines are logged; the rest is counted.
	linesPerSecond = 100
)

// stderr takes the worker's standard error: log lines, and whatever else the
// runtime, a library or a page's text makes it write. It reads as fast as the
// worker writes, so that a flood can block nobody, and logs what the rate allows.
type stderr struct {
	log  *slog.Logger
	now  func() time.Time
	done chan struct{}

	rate    rate
	panicky bool // a Go program has begun to write why it dies

	mu    sync.Mutex
	kept  []string // guarded by mu; a ring
	next  int      // guarded by mu; where the oldest line is
	dying []string // guarded by mu; from the first line of a panic or dump on
}

func newStderr(log *slog.Logger, now func() time.Time) *stderr {
	return &stderr{log: log, now: now, done: make(chan struct{})}
}

// pump reads until from is closed.
func (s *stderr) pump(from io.Reader) {
	defer close(s.done)
	reader := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 {
			s.take(line)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		if err != nil {
			break
		}
	}
	s.tellDropped(s.rate.flush())
}

func (s *stderr) take(line []byte) {
	text := strings.TrimRight(string(line), "\r\n")
	if text == "" {
		return
	}
	s.panicky = s.panicky || startsDying(text)
	s.keep(text)
	allowed, dropped := s.rate.allow(s.now())
	s.tellDropped(dropped)
	if allowed {
		s.write(logging.Redact(text))
	}
}

func (s *stderr) write(text string) {
	if r, ok := parseLine(text); ok {
		r.logTo(s.log)
		return
	}
	level := slog.LevelInfo
	if s.panicky {
		level = slog.LevelWarn
	}
	s.log.Log(noContext, level, logid.WorkerStderrReceived, logging.KeyOrigin, workerOrigin, logging.KeyLine, cut(text))
}

func (s *stderr) tellDropped(n int) {
	if n > 0 {
		s.log.Warn(logid.WorkerStderrDropped, logging.KeyOrigin, workerOrigin, "lines", n)
	}
}

// startsDying knows the first line of what the Go runtime writes when it gives up.
func startsDying(text string) bool {
	return strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") || strings.HasPrefix(text, "SIGQUIT: ")
}

func (s *stderr) keep(text string) {
	text = cut(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panicky && len(s.dying) < dyingLines {
		s.dying = append(s.dying, text)
	}
	if len(s.kept) < keptLines {
		s.kept = append(s.kept, text)
		return
	}
	s.kept[s.next] = text
	s.next = (s.next + 1) % keptLines
}

// record returns what tells most about an end, redacted, the oldest line first:
// what the worker wrote while it died, or else the last lines.
func (s *stderr) record() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := slices.Clone(s.dying)
	if len(lines) == 0 {
		lines = append(slices.Clone(s.kept[s.next:]), s.kept[:s.next]...)
	}
	for i, line := range lines {
		lines[i] = logging.Redact(line)
	}
	return lines
}

func cut(text string) string {
	if len(text) > maxRaw {
		text = text[:maxRaw]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// rate allows linesPerSecond in each second and counts the rest.
type rate struct {
	second  time.Time
	used    int
	dropped int
}

// allow reports whether one more line may be logged at now, and how many were
// dropped before it since that was last told.
func (r *rate) allow(now time.Time) (allowed bool, dropped int) {
	if age := now.Sub(r.second); age >= time.Second || age < 0 {
		dropped = r.flush()
		r.second, r.used = now, 0
	}
	if r.used == linesPerSecond {
		r.dropped++
		return false, dropped
	}
	r.used++
	return true, dropped
}

func (r *rate) flush() int {
	n := r.dropped
	r.dropped = 0
	return n
}
