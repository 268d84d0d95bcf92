package browser

import (
	"context"
	"fmt"

	"github.com/go-rod/rod/lib/proto"
)

// Close ends Chrome so that its profile is whole: it asks, and waits for the
// exit rather than for the answer, since a Chrome whose network service hangs
// accepts and stays. Then it drops the pipe, at which Chrome closes itself
// cleanly too, and at last it kills the process group. It never sends SIGTERM:
// by that Chrome loses its last cookies and leaves its lock (measured).
//
// It returns nil after a clean exit, ErrKilled after a kill, and another error
// when Chrome is still there. When ctx ends early the polite steps are cut
// short, the kill is not. It may be called again, and by many: the first call
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
