// Package systemd talks to the systemd that runs the service: readiness, status and
// watchdog (sd_notify(3)), and the listening socket, which systemd keeps open during
// a restart of the service, so that clients wait in the kernel's queue instead of
// being refused (sd_listen_fds(3); FDSTORE= in sd_notify(3)). Without systemd it does
// nothing.
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

// Ready reports that the API answers, so that units ordered after this one may start.
func (m *Manager) Ready() { m.notify(daemon.SdNotifyReady) }

// Stopping reports that the service has begun to stop.
func (m *Manager) Stopping() { m.notify(daemon.SdNotifyStopping) }

// Run shows the session's status in a few words, and feeds the watchdog, until ctx
// ends. The channel of status is closed when the words may have changed; alive returns
// nil as soon as the loop that owns the session has proven that it runs.
func (m *Manager) Run(ctx context.Context, status func() (string, <-chan struct{}), alive func(context.Context) error) {
	var beats <-chan time.Time
	if m.timeout > 0 {
		ticker := time.NewTicker(m.timeout / beatsPerTimeout)
		defer ticker.Stop()
		beats = ticker.C
	}
	shown := ""
	for {
		text, changed := status()
		if text != shown {
			m.notify("STATUS=" + text)
			shown = text
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-beats:
			m.feed(ctx, alive)
		}
	}
}

// feed leaves the watchdog unfed while the session's loop does not respond: systemd
// then kills the process and starts another.
func (m *Manager) feed(ctx context.Context, alive func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout/beatsPerTimeout)
	defer cancel()
	if err := alive(ctx); err != nil {
		m.log.Error(logid.WatchdogFeedFailed, logging.KeyError, fmt.Errorf("the session's loop does not respond: %w", err))
		return
	}
	m.notify(daemon.SdNotifyWatchdog)
}

// notify is best effort: a systemd that can't be reached must not stop the service.
func (m *Manager) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn(logid.SystemdNotifyFailed, logging.KeyError, err)
	}
}
