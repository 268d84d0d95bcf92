// Package doctor checks a machine for everything that the service needs, and says
// what to do about each finding. It changes nothing: it creates no folder, keeps no
// lock and leaves nothing running.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
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

// Options are the settings that are checked.
type Options struct {
	// Chrome as set, or empty to look for one; ChromeArgs are additional flags.
	Chrome     string
	ChromeArgs []string
	// Worker and Tokens are absolute paths.
	Worker, Tokens string
	// URL of the page.
	URL string
	// Network and Address to listen on.
	Network, Address string
	Files            Files
}

// Files are the paths of secrets and certificates, empty where none is set.
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

// Run makes every check and writes each finding to w at once. It returns the worst
// mark.
func Run(ctx context.Context, o Options, w io.Writer) (Mark, error) {
	worst, width := Good, 0
	for _, c := range o.checks() {
		width = max(width, utf8.RuneCountInString(c.name))
	}
	for _, c := range o.checks() {
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		f := c.run(bounded)
		cancel()
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
