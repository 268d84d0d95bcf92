// Package systemd talks to the systemd that runs the service: readiness, status and
// watchdog (sd_notify(3)), and the listening socket, which systemd keeps open during
// a restart of the service, so that clients wait in the kernel's queue instead of
// being refused (sd_listen_fds(3); FDSTORE= in sd_notify(3)). Without systemd it does
// nothing.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

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
	if m.socket == "" {
		return
	}
	if err := m.send(state, nil); err != nil {
		m.log.Warn(logid.SystemdNotifyFailed, logging.KeyError, err)
	}
}

// sendTimeout is how long systemd may take to make room for a message. It reads none
// while it loads its units again.
const sendTimeout = time.Second

// send sends a message to systemd, with descriptors. daemon.SdNotify waits without a limit
// when systemd reads nothing, and can't pass descriptors.
func (m *Manager) send(state string, rights []byte) error {
	from, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }()
	limit := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(from, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		err := unix.Sendmsg(from, []byte(state), rights, &unix.SockaddrUnix{Name: m.socket}, 0)
		if !errors.Is(err, unix.EINTR) || time.Since(begun) > sendTimeout {
			return err
		}
	}
}

// storedName is the name of our listening socket in systemd's store.
const storedName = "api"

// Listeners returns the listening sockets that systemd hands over: that of a socket unit,
// regardless of its address, and those that an earlier process has passed to Keep and that
// are still wanted. It may be called once.
func (m *Manager) Listeners(wanted func(net.Addr) bool) (unit net.Listener, kept []net.Listener, err error) {
	stale := false
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		_ = file.Close()
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("cannot use the socket %s that systemd hands over: %w", file.Name(), err)
		case file.Name() == storedName && wanted(l.Addr()):
			kept = append(kept, l)
			continue
		case file.Name() == storedName:
			stale = true
		case unit == nil:
			unit = l
			continue
		default:
			m.log.Warn(logid.SocketIgnored, "address", l.Addr().String(), logging.KeyDetail, "the API is served at one address of a socket unit")
		}
		_ = l.Close()
	}
	if stale {
		m.notify("FDSTOREREMOVE=1\nFDNAME=" + storedName) // all of them; Keep adds those that are used
	}
	return unit, kept, nil
}

// Keep makes systemd keep the listening socket open until the unit is stopped
// (FileDescriptorStoreMax= must allow it). The path of a Unix socket remains.
func (m *Manager) Keep(l net.Listener) error {
	if m.socket == "" {
		return nil
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	conn, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("cannot hand the listening socket to systemd: it is a %T", l)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		// Not by File, whose Fd would make the socket a blocking one.
		var sent error
		err = errors.Join(raw.Control(func(fd uintptr) { sent = m.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+storedName, unix.UnixRights(int(fd))) }), sent)
	}
	if err != nil {
		return fmt.Errorf("cannot hand the listening socket to systemd: %w", err)
	}
	return nil
}
