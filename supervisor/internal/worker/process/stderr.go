package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// Limits on what a worker's stderr may cost.
const (
	// maxLine is where a line is cut. A line of the worker's own logger is
	// shorter.
	maxLine = 16 << 10
	// maxRaw is where a line that is not a log line is cut.
	maxRaw = 4 << 10
	// keptLines is how many lines are kept for the record: the last ones, or the
	// first ones of what a Go program writes when it dies, which explain why.
	keptLines = 200
	// linesPerSecond is how many lines are logged, and bytesPerSecond how much of them; the
	// rest is counted.
	linesPerSecond = 100
	bytesPerSecond = 64 << 10
)

// stderr is the worker's standard error: log lines, and anything else that the
// runtime, a library or a page's text makes it write. It reads as fast as the
// worker writes, so that a flood blocks nobody, and logs what the rate allows.
type stderr struct {
	log  *slog.Logger
	now  func() time.Time
	done chan struct{}

	rate    rate
	panicky bool // a Go program has begun to report why it dies

	mu   sync.Mutex
	kept []string // guarded by mu; at least the last keptLines, or the first ones of a death
}

func newStderr(log *slog.Logger, now func() time.Time) *stderr {
	return &stderr{log: log.With(logging.KeyOrigin, "worker"), now: now, done: make(chan struct{})}
}

// pump reads until from is closed.
func (s *stderr) pump(from io.Reader) {
	defer close(s.done)
	reader := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 {
			s.receive(line)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		if err != nil {
			break
		}
	}
	s.logDropped(s.rate.flush())
}

func (s *stderr) receive(line []byte) {
	text := strings.TrimRight(string(line), "\r\n")
	if text == "" {
		return
	}
	s.keep(text)
	allowed, dropped := s.rate.allow(s.now(), len(text))
	s.logDropped(dropped)
	if allowed {
		if !strings.HasPrefix(text, "{") {
			text = cut(text) // redaction costs the most
		}
		s.write(logging.Redact(unescape(text)))
	}
}

// write forwards a log line of the worker's as it is, and anything else as text.
func (s *stderr) write(text string) {
	if level, msg, attrs, ok := parseLine(text); ok {
		s.log.LogAttrs(context.Background(), level, msg, attrs...)
		return
	}
	level := slog.LevelInfo
	if s.panicky {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, logid.WorkerStderrReceived, logging.KeyLine, cut(text))
}

// unescape encodes a JSON object again if it has escapes that may hide a secret from the
// redaction. Anything else stays as it is. It is not called for lines that are dropped: a
// flood must not keep this process busy.
func unescape(text string) string {
	if !strings.Contains(text, `\u`) && !strings.Contains(text, `\/`) {
		return text
	}
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil || decoder.InputOffset() != int64(len(text)) {
		return text
	}
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(object) != nil {
		return text
	}
	return strings.TrimSuffix(plain.String(), "\n")
}

// parseLine splits a JSON log line into its parts, whose values stay as they are. The
// line comes from a process that shows a stranger's web page, so it may be anything.
func parseLine(text string) (level slog.Level, msg string, attrs []slog.Attr, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil ||
		json.Unmarshal(fields[slog.LevelKey], &level) != nil || json.Unmarshal(fields[slog.MessageKey], &msg) != nil {
		return 0, "", nil, false
	}
	// This process knows these better, or adds them itself.
	for _, key := range []string{
		slog.TimeKey, slog.LevelKey, slog.MessageKey, logging.KeyProcess, logging.KeyGeneration, logging.KeyOrigin,
	} {
		delete(fields, key)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		attrs = append(attrs, slog.Any(key, fields[key]))
	}
	return level, cut(msg), attrs, true
}

func (s *stderr) logDropped(n int) {
	if n > 0 {
		s.log.Warn(logid.WorkerStderrDropped, "lines", n)
	}
}

// startsDying recognizes the first line of what the Go runtime writes when it gives up.
func startsDying(text string) bool {
	return strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") || strings.HasPrefix(text, "SIGQUIT: ")
}

func (s *stderr) keep(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.panicky && startsDying(text) {
		s.panicky, s.kept = true, nil
	}
	if s.panicky && len(s.kept) == keptLines {
		return
	}
	if s.kept = append(s.kept, text); len(s.kept) == 2*keptLines {
		s.kept = slices.Clone(s.kept[keptLines:])
	}
}

// record returns what explains an exit best, redacted, the oldest line first: what
// the worker wrote while it died, or else the last lines.
func (s *stderr) record() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := slices.Clone(s.kept[max(0, len(s.kept)-keptLines):])
	for i := range lines {
		lines[i] = unescape(lines[i])
	}
	return Present(lines)
}

// cut shortens a line to the length that is kept of one, and makes it valid UTF-8.
func cut(text string) string {
	if len(text) > maxRaw {
		text = text[:maxRaw]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Present returns the last lines, cut and redacted.
func Present(lines []string) []string {
	lines = slices.Clone(lines[max(0, len(lines)-keptLines):])
	for i, line := range lines {
		lines[i] = logging.Redact(cut(line))
	}
	return lines
}

// The record of an exit is one log line, and journald splits at 48 kB.
const (
	excerptLines = 20
	excerptBytes = 12 << 10
)

// Excerpt shortens lines to what a log line may hold: the first ones of a death, and
// the last ones otherwise.
func Excerpt(lines []string) []string {
	if len(lines) > 0 && startsDying(lines[0]) {
		lines = lines[:min(len(lines), 3*excerptLines)]
	} else {
		lines = lines[max(0, len(lines)-excerptLines):]
	}
	size := 0
	for i, line := range lines {
		if size += len(line); size > excerptBytes {
			return lines[:i]
		}
	}
	return lines
}

// rate allows linesPerSecond and bytesPerSecond in each second and counts the lines of
// the rest.
type rate struct {
	second  time.Time
	used    int
	bytes   int
	dropped int
}

// allow reports whether one more line of this size may be logged at now, and how many were
// dropped since that was last returned.
func (r *rate) allow(now time.Time, size int) (allowed bool, dropped int) {
	if age := now.Sub(r.second); age >= time.Second || age < 0 {
		dropped = r.flush()
		r.second, r.used, r.bytes = now, 0, 0
	}
	if r.used == linesPerSecond || r.bytes+size > bytesPerSecond {
		r.dropped++
		return false, dropped
	}
	r.used++
	r.bytes += size
	return true, dropped
}

func (r *rate) flush() int {
	n := r.dropped
	r.dropped = 0
	return n
}
