// Package listen opens the address of the API: TCP or a Unix socket, plain or with
// TLS.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/watch"
)

// socketMode lets the owner and the group of the socket's folder connect.
const socketMode = 0o660

// probeTimeout bounds the check whether a socket is in use.
const probeTimeout = time.Second

const (
	// releaseTimeout is how long a predecessor that was killed may take to exit, and
	// releasePoll the pause between two attempts to take its address.
	releaseTimeout = 2 * time.Second
	releasePoll    = 25 * time.Millisecond
)

// Address is one that can be listened on, as for net.Listen.
type Address struct{ Network, Address string }

// Addresses returns what is meant by an address of network "tcp" or "unix": localhost is
// both loopbacks, and 0.0.0.0 is IPv4 alone, where net.Listen would include IPv6.
func Addresses(network, address string) []Address {
	host, port, err := net.SplitHostPort(address)
	if network == "unix" || err != nil {
		return []Address{{network, address}}
	}
	if host == "localhost" {
		return []Address{{"tcp4", net.JoinHostPort("127.0.0.1", port)}, {"tcp6", net.JoinHostPort("::1", port)}}
	}
	if ip := net.ParseIP(host); ip.To4() != nil {
		network = "tcp4"
	}
	return []Address{{network, address}}
}

// Is reports whether an open listener has this address.
func (a Address) Is(have net.Addr) bool {
	switch have := have.(type) {
	case *net.UnixAddr:
		return a.Network == "unix" && have.Name == a.Address
	case *net.TCPAddr:
		want, err := net.ResolveTCPAddr(a.Network, a.Address)
		if err != nil || want.Port != have.Port {
			return false
		}
		return want.IP.Equal(have.IP) || want.IP == nil && have.IP.Equal(net.IPv6unspecified)
	}
	return false
}

// Open listens on all addresses, except for those that one of the listeners in held has.
// An address that is in use is tried again for a moment. One of several may be of a
// kind that this machine does not have. Errors wrap those of the system, such as EADDRINUSE.
func Open(ctx context.Context, addresses []Address, held ...net.Listener) ([]net.Listener, error) {
	waiting, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	tick := time.NewTicker(releasePoll)
	defer tick.Stop()
	for {
		opened, err := try(ctx, addresses, held)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return opened, err
		}
		select {
		case <-waiting.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// try returns a listener for each address: one of held, or a new one.
func try(ctx context.Context, addresses []Address, held []net.Listener) (all []net.Listener, err error) {
	for _, a := range addresses {
		if i := slices.IndexFunc(held, func(l net.Listener) bool { return a.Is(l.Addr()) }); i >= 0 {
			all = append(all, held[i])
			continue
		}
		if len(all) > 0 {
			a = a.withPortOf(all[0].Addr())
		}
		l, openErr := a.open(ctx)
		if openErr == nil {
			all = append(all, l)
			continue
		}
		err = errors.Join(err, openErr)
		if len(addresses) == 1 || !errors.Is(openErr, syscall.EADDRNOTAVAIL) && !errors.Is(openErr, syscall.EAFNOSUPPORT) {
			Close(slices.DeleteFunc(all, func(l net.Listener) bool { return slices.Contains(held, l) }))
			return nil, err
		}
	}
	if len(all) > 0 {
		err = nil
	}
	return all, err
}

// Close closes each of the listeners.
func Close(all []net.Listener) {
	for _, l := range all {
		_ = l.Close()
	}
}

// withPortOf returns a with the port that the system has chosen for first.
func (a Address) withPortOf(first net.Addr) Address {
	host, port, err := net.SplitHostPort(a.Address)
	if tcp, ok := first.(*net.TCPAddr); ok && err == nil && port == "0" {
		a.Address = net.JoinHostPort(host, strconv.Itoa(tcp.Port))
	}
	return a
}

func (a Address) open(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	if a.Network == "unix" {
		if err := removeStale(ctx, a.Address); err != nil {
			return nil, err
		}
		config.Control = restrict
	}
	l, err := config.Listen(ctx, a.Network, a.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if a.Network == "unix" {
		// The umask may have taken more away.
		if err := os.Chmod(a.Address, socketMode); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot set mode of socket: %w", err), l.Close())
		}
	}
	return l, nil
}

// restrict lets nobody else connect from the first moment: Linux gives a socket's file the
// mode of the socket (net/unix/af_unix.c, unix_bind).
func restrict(_, _ string, socket syscall.RawConn) error {
	var refused error
	err := socket.Control(func(fd uintptr) { refused = unix.Fchmod(int(fd), socketMode) })
	return errors.Join(err, refused)
}

// removeStale removes the socket that a killed process left behind. A socket in use
// stays, and so does anything that is not a socket.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot look at socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("cannot listen: %s exists and is not a socket: %w", path, syscall.EADDRINUSE)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot listen: %s is in use: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove stale socket: %w", err)
	}
	return nil
}

// Certificate returns the certificate chain and the key that two PEM files hold. It
// reads nothing.
func Certificate(cert, key string) *watch.File[*tls.Certificate] {
	return watch.New(func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		return &pair, err
	}, cert, key)
}

// TLS speaks TLS on the connections of each listener, HTTP/2 included, with the
// certificate in use. Connections that are open keep theirs.
func TLS(all []net.Listener, certificate *watch.File[*tls.Certificate]) []net.Listener {
	secure := make([]net.Listener, len(all))
	for i, l := range all {
		secure[i] = tls.NewListener(l, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Value(), nil },
		})
	}
	return secure
}
