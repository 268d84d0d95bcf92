package harness

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Size is what a supervisor's process holds.
type Size struct {
	// RSS is in bytes.
	RSS        int64 `json:"rss_bytes"`
	Goroutines int   `json:"goroutines"`
	// Files are open descriptors.
	Files int `json:"files"`
}

// What a supervisor may hold more at the end of a long run than early in it. Go's
// heap, and the connections that clients keep open, breathe.
const (
	MoreGoroutines = 8
	MoreFiles      = 8
	MoreRSS        = 16 << 20 // bytes
)

// Size of the supervisor now, by /proc and by its own metrics.
func (s *Service) Size(ctx context.Context) (Size, error) {
	var now Size
	var err error
	if now.Files, err = OpenFiles(s.PID()); err != nil {
		return now, err
	}
	if now.RSS, err = RSS(s.PID()); err != nil {
		return now, err
	}
	metrics, err := s.Get(ctx, "/metrics")
	if err != nil {
		return now, err
	}
	for line := range strings.Lines(string(metrics)) {
		if n, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			now.Goroutines, err = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	if err != nil || now.Goroutines == 0 {
		return now, fmt.Errorf("cannot read the number of goroutines: %w", err)
	}
	return now, nil
}

// OpenFiles counts the descriptors of a process.
func OpenFiles(pid int) (int, error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot count open files: %w", err)
	}
	return len(fds), nil
}

// RSS is the resident memory of a process, in bytes.
func RSS(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot read memory: %w", err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("cannot read memory: statm is %q", statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}
