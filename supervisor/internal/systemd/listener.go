package systemd

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
)

// storedName names our listening socket among what systemd keeps for us.
const storedName = "api"

// Listener returns the listening socket that systemd hands over, or nil: one of
// a socket unit, whatever its address, or the one that a predecessor has given
// to Keep, if it is still the address that is wanted. Network and address are as
// for net.Listen. It may be called once.
func (m *Manager) Listener(network, address string) (net.Listener, error) {
	var found net.Listener
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot use the socket %s that systemd hands over: %w", file.Name(), err)
		}
		switch {
		case file.Name() == storedName && !same(l.Addr(), network, address):
			m.notify("FDSTOREREMOVE=1\nFDNAME=" + storedName)
			_ = l.Close()
		case found != nil:
			m.log.Warn(logid.SocketIgnored, "address", l.Addr().String(), logging.KeyDetail, "the API is served at one address")
			_ = l.Close()
		default:
			found = l
		}
	}
	return found, nil
}

func same(have net.Addr, network, address string) bool {
	switch a := have.(type) {
	case *net.UnixAddr:
		return network == "unix" && a.Name == address
	case *net.TCPAddr:
		want, err := net.ResolveTCPAddr(network, address)
		if err != nil || want.Port != a.Port {
			return false
		}
		return want.IP.Equal(a.IP) || unspecified(want.IP) && unspecified(a.IP)
	}
	return false
}

func unspecified(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }

// Keep asks systemd to hold the listening socket open until the unit is stopped
// (FileDescriptorStoreMax= must allow it). The path of a Unix socket stays.
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
	if err != nil {
		return fmt.Errorf("cannot hand the listening socket to systemd: %w", err)
	}
	// Not by File, whose Fd would make the socket a blocking one.
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = m.store(int(fd)) }); err != nil {
		return fmt.Errorf("cannot hand the listening socket to systemd: %w", err)
	}
	return sent
}

// store does what daemon.SdNotify can't: it sends a descriptor along.
func (m *Manager) store(fd int) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	var errSend error
	const state = "FDSTORE=1\nFDPOLL=0\nFDNAME=" + storedName
	// WriteMsgUnix refuses a datagram socket that is connected.
	err = raw.Write(func(to uintptr) bool {
		sent := unix.Sendmsg(int(to), []byte(state), unix.UnixRights(fd), nil, 0)
		if errors.Is(sent, unix.EAGAIN) {
			return false
		}
		errSend = sent
		return true
	})
	if err = errors.Join(err, errSend); err != nil {
		return fmt.Errorf("cannot hand the listening socket to systemd: %w", err)
	}
	return nil
}
