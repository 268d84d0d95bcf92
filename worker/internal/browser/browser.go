// Package browser starts one headless Chrome and owns it until it has ended. It
// knows processes, pipes and the DevTools protocol, and nothing of WhatsApp.
//
// Chrome is reached through --remote-debugging-pipe only: nobody else on the
// machine can attach to the logged-in session, and when this process dies, by
// whatever cause, the kernel closes the pipe and Chrome closes itself cleanly.
package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"
)

// Errors that callers tell apart.
var (
	// ErrGone means that the connection to Chrome has ended: Chrome died, or it
	// took no command for so long that it was given up.
	ErrGone = errors.New("the connection to Chrome has ended")
	// ErrKilled means that Chrome did not close when asked, and was killed. What
	// it had not yet written to the profile is lost.
	ErrKilled = errors.New("Chrome did not close, and was killed")
)

// Options say which browser to start, and on what. All paths are absolute.
type Options struct {
	// Path is the browser's real binary, not a distributor's shell wrapper.
	Path string
	// Version is its version as four numbers, "156.0.8078.79". The user agent is
	// made of it; the start fails when the running browser says another one.
	Version string
	// Args are further flags, each with its dashes. CheckArg says which are
	// refused.
	Args []string
	// ProfileDir is the user-data-dir, and must exist.
	ProfileDir string
	// LeaseFile is the file whose flock Chrome inherits (package lease).
	LeaseFile string
	// ScratchDir is a folder that is ours alone. Chrome's HOME, TMPDIR and crash
	// dumps come to lie below it.
	ScratchDir string
	// Logger takes warnings. Nil means none.
	Logger *slog.Logger
	// StartTimeout bounds the time to the first answer; zero means StartTimeout.
	StartTimeout time.Duration
}

// Browser is one running Chrome. Its methods may be called from any goroutine.
type Browser struct {
	process *process
	pipe    *pipe
	rod     *rod.Browser
	log     *slog.Logger

	product   string
	userAgent string
	sandbox   bool

	scratchDir string

	probed probed

	closing  sync.Once
	closeErr error // valid when closing is done

	hintsMu sync.Mutex
	hints   *proto.EmulationUserAgentMetadata // guarded by hintsMu
}

// Rod returns the connected browser. A call on it that brings no deadline ends after
// callLimit at the latest, and each with ErrGone when Chrome is gone.
func (b *Browser) Rod() *rod.Browser { return b.rod }

// PID returns the process id of Chrome's main process.
func (b *Browser) PID() int { return b.process.pid() }

// Product returns the product string of Browser.getVersion, such as
// "Chrome/156.0.8078.79".
func (b *Browser) Product() string { return b.product }

// UserAgent returns what Chrome sends to servers.
func (b *Browser) UserAgent() string { return b.userAgent }

// Sandbox reports whether Chrome was started with its sandbox.
func (b *Browser) Sandbox() bool { return b.sandbox }

// Done is closed when Chrome's main process has been reaped and its helpers are
// gone.
func (b *Browser) Done() <-chan struct{} { return b.process.done }

// Exit tells how Chrome ended. It is valid once Done is closed.
func (b *Browser) Exit() Exit { return b.process.exitStatus() }

// Stderr returns the last lines that Chrome and its helpers wrote, oldest first,
// with control characters escaped and secrets redacted. What Chrome complains of
// on every server is left out; the first line says how much that was.
func (b *Browser) Stderr() []string {
	lines := b.process.stderr.last()
	if n := b.process.stderr.leftOut(); n > 0 {
		lines = append([]string{fmt.Sprintf("(%d lines about D-Bus and the like are left out)", n)}, lines...)
	}
	return lines
}

// connect speaks to Chrome for the first time, and learns who it is.
func (b *Browser) connect(ctx context.Context, version string) error {
	client := &boundedClient{Client: cdp.New().Start(b.pipe)}
	b.rod = rod.New().NoDefaultDevice().Client(client)
	answered := make(chan error, 1)
	go func() { answered <- b.greet(version) }()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
	case <-b.process.done:
	}
	b.pipe.Close() // ends every call of greet
	err := <-answered
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// greet runs until Chrome answers or the pipe is closed. Rod's Connect can't be
// given a context: it would initialise a clone of the browser.
func (b *Browser) greet(version string) error {
	if err := b.rod.Connect(); err != nil {
		return fmt.Errorf("cannot connect to Chrome: %w", err)
	}
	v, err := proto.BrowserGetVersion{}.Call(b.rod)
	if err != nil {
		return fmt.Errorf("cannot get the browser's version: %w", err)
	}
	b.product, b.userAgent = v.Product, v.UserAgent
	return checkIdentity(version, v.Product, v.UserAgent)
}

// boundedClient gives every call a deadline, and frees rod's reader in all
// cases: without its cancel a call whose Send failed would leave the reader
// waiting to hand over an answer that nobody takes.
type boundedClient struct{ *cdp.Client }

// Call implements rod.CDPClient.
func (c *boundedClient) Call(ctx context.Context, session, method string, params any) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(callLimit)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	res, err := c.Client.Call(ctx, session, method, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return res, nil
}
