package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

// pool lends Chromes to the tests of this package, one test after the other, since
// starting one takes longer than most tests do. Each test gets the engine that it asked for. What a Chrome keeps of an
// origin outlives a test; a server on a port of its own is a fresh one. It is
// safe for concurrent use.
type pool struct {
	mu   sync.Mutex
	free []lent
	all  []lent
}

// lent is a Chrome and its folder.
type lent struct {
	browser  *browser.Browser
	dir      string
	isChrome bool // and not the lighter engine
}

// take lends a Chrome until the test ends; one that is free, or a new one. A
// Chrome that died in the hands of a test isn't lent again.
func (p *pool) take(t testing.TB) *browser.Browser {
	t.Helper()
	chrome, ok := p.takeFree(browsertest.IsInChrome(t))
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

func (p *pool) takeFree(isChrome bool) (lent, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, free := range slices.Backward(p.free) {
		if free.isChrome != isChrome {
			continue
		}
		p.free = slices.Delete(p.free, i, i+1)
		select {
		case <-free.browser.Done():
		default:
			return free, true
		}
	}
	return lent{}, false
}

func (p *pool) start(t testing.TB) lent {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sm")
	if err != nil {
		t.Fatal(err)
	}
	o := browsertest.OptionsIn(t, dir)
	o.Logger = slog.New(slog.DiscardHandler) // it outlives t
	b, err := browser.Start(t.Context(), o)
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	started := lent{browser: b, dir: dir, isChrome: browsertest.IsInChrome(t)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, started)
	return started
}

// close closes all Chromes and removes their folders. Call it when all tests
// have ended.
func (p *pool) close() error {
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
