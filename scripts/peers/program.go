package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// closeTimeout bounds what a program takes to close its Chrome.
const closeTimeout = 8 * time.Second

// event is what a program told its caller.
type event struct {
	Event string `json:"event"`
	// Value may be a login string, so it is never shown.
	Value string `json:"value"`
}

// program is a running one.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	loop  sync.WaitGroup

	mu   sync.Mutex
	told []event
	over bool
	// changed is closed and replaced with every event.
	changed chan struct{}
}

// startProgram runs the driver until ctx ends or stop is called.
func startProgram(ctx context.Context, o options, s *stage, name string) (*program, error) {
	args := append([]string{o.driver, name, o.modules, o.chrome}, s.chromeArgs()...)
	p := &program{cmd: exec.CommandContext(ctx, "node", args...), changed: make(chan struct{})}
	p.cmd.Dir = s.folder
	// Profiles that the programs make for themselves land in the folder, too; no
	// registry is asked for newer versions.
	p.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + s.folder,
		"npm_config_registry=http://127.0.0.1:9/", "NO_COLOR=1",
	}
	p.cmd.WaitDelay = closeTimeout
	if o.verbose {
		p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	p.cmd.ExtraFiles = []*os.File{w}
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("cannot run %s: %w", filepath.Base(o.driver), err)
	}
	p.loop.Go(func() { p.listen(r) })
	return p, nil
}

func (p *program) listen(r *os.File) {
	defer func() { _ = r.Close() }()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			p.record(e)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *program) record(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, e)
	close(p.changed)
	p.changed = make(chan struct{})
}

// stop asks the program to close its Chrome, and waits for its end.
func (p *program) stop() {
	_ = p.stdin.Close()
	timer := time.AfterFunc(closeTimeout, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait() // how it ends says nothing about the page
	p.loop.Wait()
}

// events returns the values of one kind of event, the oldest first.
func (p *program) events(kind string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var values []string
	for _, e := range p.told {
		if e.Event == kind {
			values = append(values, e.Value)
		}
	}
	return values
}

// await blocks until the program has told what want looks for, for at most
// limit; false means that it didn't.
func (p *program) await(ctx context.Context, limit time.Duration, want func(event) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for seen := 0; ; {
		p.mu.Lock()
		told, over, changed := p.told, p.over, p.changed
		p.mu.Unlock()
		for ; seen < len(told); seen++ {
			if want(told[seen]) {
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

// complaint is why a program gave up, as far as it said so.
func (p *program) complaint() string {
	for _, kind := range []string{"failed", "rejected", "unhandled"} {
		if said := p.events(kind); len(said) > 0 {
			return kind + ": " + firstLine(said[0])
		}
	}
	return "nothing was told"
}
