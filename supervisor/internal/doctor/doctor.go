// Package doctor checks a machine for everything that the service needs, and says
// what to do about each finding. It runs the service's own code, so that both agree, and
// leaves nothing: no folder, no lock, no process.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// ErrFindings means that the service can't work on this machine as it is.
var ErrFindings = errors.New("the service can't work on this machine as it is")

// Options of Run. What is not data is the service's own.
type Options struct {
	Config *config.Config
	Limits session.Limits
	// Open opens the files that settings name.
	Open func(context.Context) error
	// Proxy returns the proxy for a request, or nil, once the files are open.
	Proxy func(*http.Request) (*url.URL, error)
	// Workers returns how workers are run on a tokens folder, and a function that removes
	// what that has made.
	Workers func(tokens string) (worker.Options, func(), error)
}

// Mark is how bad a finding is.
type Mark int

// Marks, from good to bad.
const (
	// Untried: nothing is known.
	Untried Mark = iota
	Good
	// Warning: the service works, and could work better or more safely.
	Warning
	// Bad: the service can't work like this.
	Bad
)

// String is the sign that people see.
func (m Mark) String() string { return [...]string{"-", "✓", "!", "✗"}[m] }

// Finding is the result of a check.
type Finding struct {
	Mark Mark
	// Name is what was checked.
	Name string
	// Found is what was found.
	Found string
	// Do is what to do about it; empty when there is nothing to do.
	Do string
}

func good(format string, args ...any) Finding {
	return Finding{Mark: Good, Found: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Finding {
	return Finding{Mark: Warning, Found: fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) Finding {
	return Finding{Mark: Bad, Found: fmt.Sprintf(format, args...)}
}

func (f Finding) of(name string) Finding {
	f.Name = name
	return f
}

func (f Finding) do(format string, args ...any) Finding {
	f.Do = fmt.Sprintf(format, args...)
	return f
}

// one makes a check of a function with one finding.
func one(name string, run func(context.Context) Finding) check {
	return check{checkTimeout, func(ctx context.Context) []Finding { return []Finding{run(ctx).of(name)} }}
}

type check struct {
	timeout time.Duration
	run     func(context.Context) []Finding
}

func (o Options) checks() []check {
	return []check{
		one("Chrome", o.checkChrome),
		one("shared memory", checkSharedMemory),
		one("memory", checkMemory),
		one("login folder", o.checkFolder),
		one("login", o.checkLogin),
		one("login's place", checkPlace(o.Config.Tokens)),
		one("disk", o.checkDisk),
		one("address", o.checkAddress),
		one("files", o.checkFiles),
		{rehearsalTimeout + checkTimeout, o.checkRehearsal},
		one("clock", o.checkClock),
	}
}

const (
	// checkTimeout bounds each check but the rehearsal.
	checkTimeout = 40 * time.Second
	// width is that of the longest name.
	width = len("Chrome's start")
)

// Run makes every check and writes each finding to w at once. Its error is ErrFindings if
// one of them is bad.
func Run(ctx context.Context, o Options, w io.Writer) error {
	worst := Good
	for _, c := range o.checks() {
		bounded, cancel := context.WithTimeout(ctx, c.timeout)
		found := c.run(bounded)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, f := range found {
			worst = max(worst, f.Mark)
			if _, err := io.WriteString(w, logging.Plain(f.String())); err != nil {
				return fmt.Errorf("%w: cannot write findings: %w", ErrFindings, err)
			}
		}
	}
	if worst == Bad {
		return ErrFindings
	}
	return nil
}

// String is one or two lines.
func (f Finding) String() string {
	text := fmt.Sprintf("%s %-*s  %s\n", f.Mark, width, f.Name, f.Found)
	if f.Do != "" {
		text += strings.Repeat(" ", width+4) + "→ " + f.Do + "\n"
	}
	return text
}
