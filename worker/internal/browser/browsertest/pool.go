package browsertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"session-manager/worker/internal/browser"
)

// Pool lends Chromes to the tests of a package, one test after the other, since
// starting one takes longer than most tests do. What a Chrome keeps of an
// origin outlives a test; a server on a port of its own is a fresh one. It is
// safe for concurrent use.
type Pool struct {
	mu   sync.Mutex
	free []lent
	all  []lent
}

// lent is a Chrome and its folder.
type lent struct {
	browser *browser.Browser
	dir     string
}

// Take lends a Chrome until the test ends; one that is free, or a new one. A
// Chrome that died in the hands of a test isn't lent again.
func (p *Pool) Take(t testing.TB) *browser.Browser {
	t.Helper()
	chrome, ok := p.takeFree()
	if !ok {
		chrome = p.start(t)
	}
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free = append(p.free, chrome)
	})
	return chrome.browser
}

func (p *Pool) takeFree() (lent, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) > 0 {
		last := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		select {
		case <-last.browser.Done():
		default:
			return last, true
		}
	}
	return lent{}, false
}

func (p *Pool) start(t testing.TB) lent {
	t.Helper()
	chrome := installedOrSkip(t)
	dir, err := os.MkdirTemp("/tmp", "sm")
	if err != nil {
		t.Fatal(err)
	}
	o := optionsIn(chrome, dir, slog.New(slog.DiscardHandler))
	if err := os.Mkdir(o.ProfileDir, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := browser.Start(t.Context(), o)
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	started := lent{browser: b, dir: dir}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, started)
	return started
}

// Close closes all Chromes and removes their folders. Call it when all tests
// have ended.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed error
	for _, chrome := range p.all {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_ = chrome.browser.Close(ctx) // A test may have killed it.
		cancel()
		<-chrome.browser.Done()
		if err := os.RemoveAll(chrome.dir); err != nil {
			failed = errors.Join(failed, fmt.Errorf("cannot remove a test's folder: %w", err))
		}
	}
	p.all, p.free = nil, nil
	return failed
}

// optionsIn is what starts chrome on a profile below dir.
func optionsIn(chrome installed, dir string, log *slog.Logger) browser.Options {
	return browser.Options{
		Path: chrome.path, Version: chrome.version,
		ProfileDir: filepath.Join(dir, "p"), LeaseFile: filepath.Join(dir, "lease"), ScratchDir: filepath.Join(dir, "s"),
		Logger: log, StartTimeout: browser.StartTimeout,
	}
}
