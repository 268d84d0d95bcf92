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
	// wake has room for one.
	wake chan struct{}

	mu        sync.Mutex
	last      rpc.PageObserved // guarded by mu
	persisted bool             // guarded by mu
}

func newLoginWatch(req rpc.RunRequest, events *queue, log *slog.Logger) *loginWatch {
	return &loginWatch{req: req, events: events, log: log, wake: make(chan struct{}, 1)}
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

// run looks at the disk while the page is linked and there is no proof yet. It
// returns when ctx ends.
func (w *loginWatch) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		for began := time.Now(); w.wanted(); {
			if w.stored() || w.overdue(began) {
				w.proven()
			} else if !sleep(ctx, loginPoll) {
				return ctx.Err()
			}
		}
	}
}

func (w *loginWatch) wanted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Registered && !w.persisted
}

func (w *loginWatch) stored() bool {
	builtIn, err := selectors.Read(nil)
	var stored bool
	if err == nil {
		stored, err = persist.Stored(w.req.ProfileDir, w.req.ScratchDir, w.req.URL, builtIn.Storage.Registered)
	}
	if err != nil {
		w.log.Debug(logid.LoginReadFailed, slog.Any(logging.KeyError, err))
	}
	return stored
}

func (w *loginWatch) overdue(began time.Time) bool {
	if time.Since(began) <= loginPatience {
		return false
	}
	w.log.Warn(logid.LoginPersistenceAssumed, logging.Millis("after_ms", loginPatience))
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
