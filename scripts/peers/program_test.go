package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
)

// closeTimeout bounds what a program takes to close its Chrome.
const closeTimeout = 8 * time.Second

// event is what a program reported to its caller.
type event struct {
	Event string `json:"event"`
	// Value may be a QR payload, so it is never shown.
	Value string `json:"value"`
}

// program is a running one.
type program struct {
	// stop ends it and its Chrome.
	stop func()

	mu     sync.Mutex
	events []event
	over   bool
	// changed is closed and replaced with every event.
	changed chan struct{}
}

// startProgram runs the driver until stop is called.
func startProgram(t *testing.T, s *stage, name, browser string) *program {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{filepath.Join(here, "drive.cjs"), name, filepath.Join(here, ".cache/node_modules"), browser}, s.chromeArgs()...)
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir = s.folder
	// Profiles that the programs make for themselves land in the folder, too; no
	// registry is asked for newer versions.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + s.folder,
		"npm_config_registry=http://127.0.0.1:9/", "NO_COLOR=1",
	}
	cmd.WaitDelay = closeTimeout
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		t.Fatal(err)
	}
	p := &program{changed: make(chan struct{})}
	var loop sync.WaitGroup
	loop.Go(func() {
		defer func() { _ = r.Close() }()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.record(e, false)
			}
		}
		p.record(event{}, true)
	})
	p.stop = func() {
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
	return p
}

// startOurs runs the supervisor, and reports each QR that it serves as the others
// report theirs. The image is decoded, since what counts is what a phone would read.
func startOurs(t *testing.T, s *stage, supervisor string) *program {
	t.Helper()
	var args []string
	for _, arg := range s.chromeArgs() {
		args = append(args, "--chrome-arg="+arg)
	}
	service, err := harness.Start(t.Context(), harness.Options{Supervisor: supervisor, Folder: s.folder, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	asking, cancel := context.WithCancel(t.Context())
	p := &program{changed: make(chan struct{})}
	var loop sync.WaitGroup
	loop.Go(func() {
		for last := ""; ; {
			body, png, err := service.NextQR(asking, last)
			if err != nil {
				return
			}
			last = body
			if payload, err := harness.Decode(png); err == nil {
				p.record(event{Event: "qr", Value: payload}, false)
			}
		}
	})
	p.stop = func() {
		cancel()
		loop.Wait()
		_ = service.Stop()
	}
	return p
}

// record adds an event, or, if over, the end of all.
func (p *program) record(e event, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = over; !over {
		p.events = append(p.events, e)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// values returns those of one kind of event, the oldest first.
func (p *program) values(kind string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var values []string
	for _, e := range p.events {
		if e.Event == kind {
			values = append(values, e.Value)
		}
	}
	return values
}

// await blocks until the program has reported an event that is wanted, for at most
// limit; false means that it didn't.
func (p *program) await(ctx context.Context, limit time.Duration, wanted func(event) bool) bool {
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

// complaint is the reason a program gave for giving up, if it gave one.
func (p *program) complaint() string {
	for _, kind := range []string{"failed", "rejected", "unhandled"} {
		if said := p.values(kind); len(said) > 0 {
			return kind + ": " + firstLine(said[0])
		}
	}
	return "it said nothing"
}
