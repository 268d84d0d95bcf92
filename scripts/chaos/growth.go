package main

import (
	"fmt"
	"os"
	"strings"

	"session-manager/scripts/harness"
)

// growth compares two moments in the life of one supervisor, in the same state.
type growth struct {
	From harness.Size `json:"from"`
	To   harness.Size `json:"to"`
}

// tooMuch says what has grown too much; it is empty when nothing has.
func (g growth) tooMuch() string {
	var found []string
	if n := g.To.Goroutines - g.From.Goroutines; n > harness.MoreGoroutines {
		found = append(found, fmt.Sprintf("%d goroutines more", n))
	}
	if n := g.To.Files - g.From.Files; n > harness.MoreFiles {
		found = append(found, fmt.Sprintf("%d files more", n))
	}
	if n := g.To.RSS - g.From.RSS; n > harness.MoreRSS {
		found = append(found, fmt.Sprintf("%d MiB more", n>>20))
	}
	return strings.Join(found, ", ")
}

// String implements fmt.Stringer.
func (g growth) String() string {
	if g == (growth{}) {
		return "growth not measured"
	}
	return fmt.Sprintf("supervisor: %.1f to %.1f MiB, %d to %d goroutines, %d to %d files",
		float64(g.From.RSS)/(1<<20), float64(g.To.RSS)/(1<<20), g.From.Goroutines, g.To.Goroutines, g.From.Files, g.To.Files)
}

// loadAverage is that of the last 1, 5 and 15 minutes.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
