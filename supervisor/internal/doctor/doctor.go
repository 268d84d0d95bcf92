// Package doctor checks a machine for everything that the service needs, and says
// what to do about each finding. It changes nothing: it creates no folder, keeps no
// lock and leaves nothing running.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/config"
)

// What Run may have found.
var (
	ErrNoChrome = errors.New("no Chrome could be started")
	ErrFindings = errors.New("the service can't work on this machine as it is")
)

// Mark is how bad a finding is.
type Mark int

// Marks, from good to bad.
const (
	Good Mark = iota
	// Warning: the service works, and could work better or more safely.
	Warning
	// Bad: the service can't work like this.
	Bad
	// NoChrome: no Chrome could be started.
	NoChrome
)

// String is the sign that people see.
func (m Mark) String() string { return [...]string{"✓", "!", "✗", "✗"}[m] }

// Finding is the result of a check.
type Finding struct {
	Mark Mark
	// Found is what was found.
	Found string
	// Do is what to do about it; empty when there is nothing to do.
	Do string
}

func good(format string, args ...any) Finding { return Finding{Good, fmt.Sprintf(format, args...), ""} }

func warning(format string, args ...any) Finding {
	return Finding{Warning, fmt.Sprintf(format, args...), ""}
}

func bad(format string, args ...any) Finding { return Finding{Bad, fmt.Sprintf(format, args...), ""} }

func (f Finding) do(format string, args ...any) Finding {
	f.Do = fmt.Sprintf(format, args...)
	return f
}

// settings are those of the service, which are checked.
type settings config.Config

type check struct {
	name string
	run  func(context.Context) Finding
}

func (o settings) checks() []check {
	return []check{
		{"Chrome", o.checkChrome},
		{"Chrome's start", o.checkStart},
		{"shared memory", checkSharedMemory},
		{"memory", checkMemory},
		{"worker", o.checkWorker},
		{"login folder", o.checkFolder},
		{"login", o.checkLogin},
		{"disk", o.checkDisk},
		{"address", o.checkAddress},
		{"keys and certificate", o.checkFiles},
		{"WhatsApp", o.checkPage},
	}
}

// checkTimeout bounds each check.
const checkTimeout = 40 * time.Second

// Run makes every check and writes each finding to w at once. Its error is for the
// worst of them: ErrNoChrome, or ErrFindings.
func Run(ctx context.Context, cfg *config.Config, w io.Writer) error {
	worst, width := Good, 0
	checks := settings(*cfg).checks()
	for _, c := range checks {
		width = max(width, utf8.RuneCountInString(c.name))
	}
	for _, c := range checks {
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		f := c.run(bounded)
		cancel()
		worst = max(worst, f.Mark)
		text := fmt.Sprintf("%s %-*s  %s\n", f.Mark, width, c.name, f.Found)
		if f.Do != "" {
			text += strings.Repeat(" ", width+4) + "→ " + f.Do + "\n"
		}
		if _, err := io.WriteString(w, logging.Redact(text)); err != nil {
			return fmt.Errorf("cannot write findings: %w", err)
		}
	}
	switch worst {
	case NoChrome:
		return ErrNoChrome
	case Bad:
		return ErrFindings
	default:
		return nil
	}
}
