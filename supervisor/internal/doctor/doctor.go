// Package doctor checks a machine for everything that the service needs, and
// says what to do about each finding. It changes nothing: it makes no folder,
// keeps no lock and leaves nothing running.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Mark says how bad a finding is.
type Mark int

// Marks, from good to bad.
const (
	Good Mark = iota
	// Warning: the service works, and could do so better or safer.
	Warning
	// Bad: the service can't work like this.
	Bad
	// NoChrome: there is no Chrome that could be started.
	NoChrome
)

// String is the sign that people see.
func (m Mark) String() string {
	switch m {
	case Good:
		return "✓"
	case Warning:
		return "!"
	default:
		return "✗"
	}
}

// Finding is what a check found.
type Finding struct {
	Mark Mark
	// Found is what there is.
	Found string
	// Do is what to do about it; empty when there is nothing to do.
	Do string
}

func good(format string, args ...any) Finding { return Finding{Good, fmt.Sprintf(format, args...), ""} }

func (f Finding) do(format string, args ...any) Finding {
	f.Do = fmt.Sprintf(format, args...)
	return f
}

func warning(format string, args ...any) Finding {
	return Finding{Warning, fmt.Sprintf(format, args...), ""}
}

func bad(format string, args ...any) Finding { return Finding{Bad, fmt.Sprintf(format, args...), ""} }

// Options are the settings that are checked.
type Options struct {
	// Chrome as set, or empty to look for one; ChromeArgs are its further flags.
	Chrome     string
	ChromeArgs []string
	// Worker and Tokens are absolute paths.
	Worker, Tokens string
	// URL of the page.
	URL string
	// Network and Address to listen on.
	Network, Address string
	// Files are secrets and certificates that are set.
	Files Files
}

// Files that the settings name; empty where none is set.
type Files struct{ APIKeys, TLSCert, TLSKey, WebhookKey string }

type check struct {
	name string
	run  func(context.Context) Finding
}

func (o Options) checks() []check {
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

// Run makes every check and writes its finding to w as soon as it is there. It
// returns the worst mark.
func Run(ctx context.Context, o Options, w io.Writer) (Mark, error) {
	worst := Good
	checks := o.checks()
	width := 0
	for _, c := range checks {
		width = max(width, utf8.RuneCountInString(c.name))
	}
	for _, c := range checks {
		f := bounded(ctx, c)
		worst = max(worst, f.Mark)
		text := fmt.Sprintf("%s %-*s  %s\n", f.Mark, width, c.name, f.Found)
		if f.Do != "" {
			text += strings.Repeat(" ", width+4) + "→ " + f.Do + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return worst, fmt.Errorf("cannot write findings: %w", err)
		}
	}
	return worst, nil
}

func bounded(ctx context.Context, c check) Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.run(ctx)
}
