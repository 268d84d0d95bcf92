// Package browser starts one headless Chrome and owns it until it has exited. It
// knows processes, pipes and the DevTools protocol, and nothing of WhatsApp.
//
// Chrome is reached through --remote-debugging-pipe only: nobody else on the
// machine can attach to the logged-in session, and when this process dies, for
// any reason, the kernel closes the pipe and Chrome closes itself cleanly.
package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"
)

// Errors that callers distinguish.
var (
	// ErrGone means that the connection to Chrome has ended: Chrome died, or it
	// accepted no command for so long that it was given up.
	ErrGone = errors.New("the connection to Chrome has ended")
	// ErrUnsupported means that the browser lacks what is needed of Chrome.
	ErrUnsupported = errors.New("the browser is not supported")
	// ErrKilled means that Chrome did not close when asked, and was killed. What
	// it had not yet written to the profile is lost.
	ErrKilled = errors.New("Chrome did not close, and was killed")
)

const (
	// StartTimeout is from exec to Chrome's first answer. Measured: 0.2 to
	// 0.6 s warm, up to 2.6 s on a contended disk.
	StartTimeout = 30 * time.Second
	// writeLimit is how long one command may wait for Chrome to take it from the
	// pipe. A Chrome that reads nothing for so long is frozen.
	writeLimit = 5 * time.Second
	// callLimit bounds every protocol call that has no deadline.
	callLimit = 90 * time.Second

	// These three together are the 8 s that a stop may take. They are far longer
	// than measured, for a kill can cost the login, and a machine can be slow.

	// closeAsk is how long Browser.close may take to be accepted. Measured: 1 ms.
	closeAsk = 2 * time.Second
	// closeExit is from the accepted close to the exit. Measured: 0.11 to 0.45 s,
	// and never when the network service is frozen.
	closeExit = 4 * time.Second
	// pipeExit is from the closed pipe to the exit. Measured: 0.11 to 0.45 s.
	pipeExit = 2 * time.Second

	// killExit is from SIGKILL to the reaped process; longer means a task in an
	// uninterruptible wait.
	killExit = 5 * time.Second
	// helperExit is how long Chrome's helpers may outlive it. Measured: 30 to
	// 70 ms, 370 ms with a script in an endless loop.
	helperExit = 1 * time.Second
)

// Options say which browser to start, and on what. All paths are absolute.
type Options struct {
	// Path is the browser's real binary, not a distributor's shell wrapper.
	Path string
	// Version is its version as four numbers, "156.0.8078.79". The user agent is
	// made of it; the start fails when the browser that runs has another one.
	Version string
	// Args are further flags, each with its dashes, that chrome.CheckArg allows.
	Args []string
	// ProfileDir is the user-data-dir, and must exist.
	ProfileDir string
	// LeaseFile is the file whose flock Chrome inherits (package lease).
	LeaseFile string
	// ScratchDir is a private folder. Chrome's HOME, TMPDIR and crash dumps are
	// below it.
	ScratchDir string
	// StartTimeout bounds the time to the first answer.
	StartTimeout time.Duration
	Logger       *slog.Logger
}

// Browser is one running Chrome. Its methods may be called from any goroutine.
type Browser struct {
	process  *process
	pipe     *pipe
	rod      *rod.Browser
	log      *slog.Logger
	info     Info
	probes   Probes
	disguise disguise

	closing  sync.Once
	closeErr error // valid when closing is done
}

// Info is what is known of a running Chrome.
type Info struct {
	// PID is the process id of its main process.
	PID int
	// Product is the product string of Browser.getVersion, "Chrome/156.0.8078.79".
	Product string
	// UserAgent is what it sends to servers.
	UserAgent string
	// Sandbox reports whether it was started with its sandbox.
	Sandbox bool
}

// Info returns what is known of this Chrome.
func (b *Browser) Info() Info { return b.info }

// PID returns the process id of Chrome's main process.
func (b *Browser) PID() int { return b.info.PID }

// Rod returns the connected browser. A call on it that has no deadline ends after
// callLimit at the latest, and each with ErrGone when Chrome is gone.
func (b *Browser) Rod() *rod.Browser { return b.rod }

// Probes returns the questions by which Chrome's parts prove that they respond.
func (b *Browser) Probes() *Probes { return &b.probes }

// Answered is when Chrome last answered, whoever asked. Its main process passes on all that
// its pages are asked and answer (Chromium's devtools_session.cc), so that each answer proves that
// it responds.
func (b *Browser) Answered() time.Time {
	if at := b.pipe.answered.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Done is closed when Chrome's main process has been reaped and its helpers are
// gone.
func (b *Browser) Done() <-chan struct{} { return b.process.done }

// Exit returns how Chrome exited. It is valid once Done is closed.
func (b *Browser) Exit() Exit { return b.process.exitStatus() }

// Stderr returns the last lines that Chrome and its helpers wrote, oldest first,
// with control characters escaped and secrets redacted. What Chrome complains of
// on every server is left out; the first line counts how much that was.
func (b *Browser) Stderr() []string { return b.process.stderr.last() }

// Close ends Chrome so that its profile is whole: it asks, and waits for the
// exit rather than for the answer, since a Chrome whose network service hangs
// accepts and stays. Then it drops the pipe, at which Chrome closes itself
// cleanly too, and at last it kills the process group. It never sends SIGTERM:
// by that Chrome loses its last cookies and leaves its lock (measured).
//
// It returns nil after a clean exit, ErrKilled after a kill, and another error
// when Chrome is still there. When ctx ends early the polite steps are cut
// short, the kill is not. It may be called again, and concurrently: the first call
// does the work, the others wait for its result.
func (b *Browser) Close(ctx context.Context) error {
	b.closing.Do(func() { b.closeErr = b.close(ctx) })
	return b.closeErr
}

func (b *Browser) close(ctx context.Context) error {
	if b.ask(ctx) {
		return nil
	}
	b.pipe.Close()
	// Even without time left, the clean exit by the pipe gets its chance.
	if wait(b.process.done, pipeExit) {
		return nil
	}
	b.process.kill()
	if !wait(b.process.done, killExit) {
		return fmt.Errorf("cannot kill Chrome (pid %d) within %v", b.PID(), killExit)
	}
	return ErrKilled
}

// ask requests the exit and reports whether it came.
func (b *Browser) ask(ctx context.Context) bool {
	if isClosed(b.process.done) {
		return true
	}
	asked, cancel := context.WithTimeout(ctx, closeAsk)
	defer cancel()
	// A full pipe would hold the request longer than its context lasts.
	release := context.AfterFunc(asked, b.pipe.Close)
	err := proto.BrowserClose{}.Call(b.rod.Context(asked))
	if !release() || err != nil {
		// Gone, hung or very slow: the closed pipe, which comes next, helps where
		// help is possible.
		return false
	}
	ctx, cancel = context.WithTimeout(ctx, closeExit)
	defer cancel()
	select {
	case <-b.process.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait reports whether c is closed within limit.
func wait(c <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}
