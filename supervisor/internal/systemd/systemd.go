// Package systemd is the service's side of the talk with the systemd that runs
// it: readiness, state in words and watchdog (sd_notify(3)), and the listening
// socket, which systemd keeps open while one process follows the other, so that
// a client which asks meanwhile waits in the kernel's queue and isn't refused
// (sd_listen_fds(3); FDSTORE= in sd_notify(3)). Without a systemd nothing of it
// does anything.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// beatsPerTimeout is how often the watchdog is fed within its time; sd_notify(3)
// recommends two.
const beatsPerTimeout = 3

// Manager is the systemd that runs this process, or none. Its methods may be
// called from several goroutines.
type Manager struct {
	log    *slog.Logger
	socket string
	// timeout is WatchdogSec=, 0 when there is no watchdog.
	timeout time.Duration
}

// Find looks in the environment for the systemd that runs this process.
func Find(log *slog.Logger) (*Manager, error) {
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("cannot read systemd's watchdog time: %w", err)
	}
	return &Manager{log: log, socket: os.Getenv("NOTIFY_SOCKET"), timeout: timeout}, nil
}

// Ready tells that the API answers. What follows in the unit's order may start.
func (m *Manager) Ready() { m.notify(daemon.SdNotifyReady) }

// Stopping tells that the service has begun to stop.
func (m *Manager) Stopping() { m.notify(daemon.SdNotifyStopping) }

// Session is what systemd is told about.
type Session struct {
	// Changed returns the state in a few words, and a channel that is closed when
	// there may be others.
	Changed func() (string, <-chan struct{})
	// Alive returns nil as soon as the loop that owns the session has proven that
	// it turns.
	Alive func(context.Context) error
}

// Run shows the session's state as the unit's status and feeds the watchdog for
// as long as the session's loop turns. It returns when ctx ends.
func (m *Manager) Run(ctx context.Context, s Session) {
	var beats <-chan time.Time
	if m.timeout > 0 {
		ticker := time.NewTicker(m.timeout / beatsPerTimeout)
		defer ticker.Stop()
		beats = ticker.C
	}
	shown := ""
	for {
		text, changed := s.Changed()
		if text != shown {
			m.notify("STATUS=" + text)
			shown = text
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-beats:
			m.feed(ctx, s.Alive)
		}
	}
}

// feed lets a loop that has stopped be found by systemd, which then kills the
// process and starts another.
func (m *Manager) feed(ctx context.Context, alive func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout/beatsPerTimeout)
	defer cancel()
	if err := alive(ctx); err != nil {
		m.log.Error(logid.WatchdogFeedFailed, logging.KeyError, fmt.Errorf("the session's loop does not turn: %w", err))
		return
	}
	m.notify(daemon.SdNotifyWatchdog)
}

// notify is best effort: a systemd that can't be told must not stop the service.
func (m *Manager) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn(logid.SystemdNotifyFailed, logging.KeyError, err)
	}
}
