package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
)

const (
	// loginPoll is the pause between two looks at the disk. There is one only
	// from the scan until Chrome has written the login.
	loginPoll = time.Second
	// loginPatience is how long the proof may fail to come before the login is
	// taken for written without one: a page that is linked and works must not
	// stay unusable because the profile could not be read.
	loginPatience = 3 * time.Minute
)

// loginWatch finds out when the login has reached the disk, and adds that to
// what the page says.
type loginWatch struct {
	stored func() (bool, error)
	out    *outbox
	log    *slog.Logger
	// wake has room for one.
	wake chan struct{}

	mu        sync.Mutex
	last      rpc.PageObserved // guarded by mu; what was told last
	persisted bool             // guarded by mu
}

func newLoginWatch(stored func() (bool, error), out *outbox, log *slog.Logger) *loginWatch {
	return &loginWatch{stored: stored, out: out, log: log, wake: make(chan struct{}, 1)}
}

// put passes an event of the page on.
func (w *loginWatch) put(body rpc.EventBody) {
	observed, ok := body.(rpc.PageObserved)
	if !ok {
		w.out.put(body)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !observed.Registered {
		w.persisted = false
	} else if !w.persisted {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	observed.Persisted = w.persisted
	w.last = observed
	w.out.put(observed)
}

// run looks at the disk while the page says that it is linked and there is no
// proof yet. It returns when ctx ends.
func (w *loginWatch) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		if err := w.await(ctx); err != nil {
			return err
		}
	}
}

// await returns when the login is on disk, or is none any more.
func (w *loginWatch) await(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(loginPoll)
	defer tick.Stop()
	for w.wanted() {
		stored, err := w.stored()
		if err != nil {
			w.log.Debug(logid.LoginReadFailed, slog.Any(logging.KeyError, err))
		}
		late := time.Since(began) > loginPatience
		if late && !stored {
			w.log.Warn(logid.LoginPersistenceAssumed, logging.Millis("after_ms", loginPatience))
		}
		if stored || late {
			w.proven()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (w *loginWatch) wanted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Registered && !w.persisted
}

// proven repeats what the page said last, with the proof.
func (w *loginWatch) proven() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.Registered {
		return
	}
	w.persisted, w.last.Persisted = true, true
	w.out.put(w.last)
}
