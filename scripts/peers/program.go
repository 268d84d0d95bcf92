// Package peers runs programs that read the QR of the real WhatsApp Web, unmodified from
// npm, on the simulator. Chrome finds it under the name web.whatsapp.com; no other name
// leads anywhere. Its tests are the simulator's acceptance test: they compare what the
// programs, and this project's own binaries, report to their callers with what their
// sources predict for the real page. If they behave differently, the simulator is wrong.
package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"session-manager/scripts/harness"
)

// closeTimeout bounds what a program takes to close its Chrome.
const closeTimeout = 8 * time.Second

// Event is what a program reported to its caller.
type Event struct {
	Name string `json:"event"`
	// Value may be a QR payload, so it is never shown.
	Value string `json:"value"`
}

// Program is a running one.
type Program struct {
	// Stop ends it and its Chrome.
	Stop func()
	// PID is that of its main process.
	PID int

	stdin  io.Writer
	mu     sync.Mutex
	events []Event
	over   bool
	// changed is closed and replaced with every event.
	changed chan struct{}
}

// Start runs a program on the stage, with a browser, until Stop. Folder is that of this
// package, in which install.sh has put the programs.
func (s *Stage) Start(ctx context.Context, folder, name, browser string) (*Program, error) {
	here, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("cannot find the programs: %w", err)
	}
	args := append([]string{filepath.Join(here, "drive.cjs"), name, filepath.Join(here, ".cache/node_modules"), browser}, s.ChromeArgs()...)
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = s.Folder
	// Profiles that the programs make for themselves land in the folder, too; no
	// registry is asked for newer versions.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.Folder, "TMPDIR=" + s.Folder,
		"npm_config_registry=http://127.0.0.1:9/", "NO_COLOR=1",
	}
	cmd.WaitDelay = closeTimeout
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	cmd.ExtraFiles = []*os.File{w}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = w.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", name, err), r.Close())
	}
	p := &Program{PID: cmd.Process.Pid, stdin: stdin, changed: make(chan struct{})}
	var loop sync.WaitGroup
	loop.Go(func() {
		defer func() { _ = r.Close() }()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var e Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.record(e, false)
			}
		}
		p.record(Event{}, true)
	})
	p.Stop = func() {
		tree, err := harness.Below(cmd.Process.Pid)
		_ = stdin.Close()
		timer := time.AfterFunc(closeTimeout, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_ = cmd.Wait() // how it ends says nothing about the page
		loop.Wait()
		if err == nil {
			_ = harness.SignalAll(syscall.SIGKILL, tree.Running()...)
			tree.Left(closeTimeout)
			tree.Close()
		}
	}
	return p, nil
}

// Say writes a line to the program.
func (p *Program) Say(line string) error {
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// record adds an event, or, if over, the end of all.
func (p *Program) record(e Event, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = over; !over {
		p.events = append(p.events, e)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// Values returns those of one kind of event, the oldest first.
func (p *Program) Values(kind string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var values []string
	for _, e := range p.events {
		if e.Name == kind {
			values = append(values, e.Value)
		}
	}
	return values
}

// Await blocks until the program has reported an event that is wanted, for at most
// limit; false means that it didn't.
func (p *Program) Await(ctx context.Context, limit time.Duration, wanted func(Event) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for seen := 0; ; {
		p.mu.Lock()
		events, over, changed := p.events, p.over, p.changed
		p.mu.Unlock()
		for ; seen < len(events); seen++ {
			if wanted(events[seen]) {
				return true
			}
		}
		if over {
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Complaint is the reason a program gave for giving up, if it gave one.
func (p *Program) Complaint() string {
	for _, kind := range []string{"failed", "rejected", "unhandled"} {
		if said := p.Values(kind); len(said) > 0 {
			return kind + ": " + firstLine(said[0])
		}
	}
	return "it said nothing"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
