package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/persist"
)

// loginWatch finds out when the login has reached the disk, and adds that to the
// page's observations.
type loginWatch struct {
	req    rpc.RunRequest
	events *queue
	log    *slog.Logger
	// selectors returns the selectors file in force.
	selectors func() []byte
	// patience is how long no look at the disk may succeed before the login counts as
	// written.
	patience time.Duration
	// wake has room for one.
	wake chan struct{}

	mu        sync.Mutex
	last      rpc.PageObserved // guarded by mu
	persisted bool             // guarded by mu
}

func newLoginWatch(req rpc.RunRequest, events *queue, log *slog.Logger, selectors func() []byte, patience time.Duration) *loginWatch {
	return &loginWatch{req: req, events: events, log: log, selectors: selectors, patience: patience, wake: make(chan struct{}, 1)}
}

// put passes an event of the page on.
func (w *loginWatch) put(body rpc.EventBody) {
	observed, ok := body.(rpc.PageObserved)
	if !ok {
		w.events.put(body)
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
	w.events.put(observed)
}

// run looks at the disk while the page is linked and there is no proof yet, however
// long that takes: without it a crash could lose the login. Only where the disk can't be
// read at all the proof is not waited for. It returns when ctx ends.
func (w *loginWatch) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		var failing time.Time // when the first of the looks that all failed was
		for began := time.Now(); w.wanted(); {
			stored, err := w.stored()
			switch {
			case err == nil:
				failing = time.Time{}
			case failing.IsZero():
				failing = time.Now()
			}
			if stored || w.unreadable(failing, err) {
				w.proven()
			} else if !sleep(ctx, lookAfter(time.Since(began))) {
				return ctx.Err()
			}
		}
	}
}

// lookAfter is the pause until the next look at the disk: each copies the database.
func lookAfter(waited time.Duration) time.Duration {
	return min(max(waited/10, 250*time.Millisecond), 5*time.Second)
}

func (w *loginWatch) wanted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Registered && !w.persisted
}

func (w *loginWatch) stored() (stored bool, err error) {
	inForce, err := selectors.Read(w.selectors())
	if err == nil {
		stored, err = persist.Stored(w.req.ProfileDir, w.req.ScratchDir, w.req.URL, inForce.Storage.Registered)
	}
	if err != nil {
		w.log.Debug(logid.LoginReadFailed, slog.Any(logging.KeyError, err))
	}
	return stored, err
}

// unreadable reports whether the proof can't be had: Chrome may keep the login in a form
// of a later version's, and a page that works must not stay unusable for that.
func (w *loginWatch) unreadable(failing time.Time, err error) bool {
	if failing.IsZero() || time.Since(failing) < w.patience {
		return false
	}
	w.log.Warn(logid.LoginPersistenceAssumed, logging.Millis("after_ms", w.patience), slog.Any(logging.KeyError, err))
	return true
}

// proven repeats the last observation, with the proof.
func (w *loginWatch) proven() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.Registered {
		return
	}
	w.persisted, w.last.Persisted = true, true
	w.events.put(w.last)
}
