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

// Open listens on an address of network "tcp" or "unix". If the address is in use it tries
// again for a moment. Errors wrap those of the system, such as EADDRINUSE.
func Open(ctx context.Context, network, address string) (net.Listener, error) {
	waiting, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	tick := time.NewTicker(releasePoll)
	defer tick.Stop()
	for {
		l, err := try(ctx, network, address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
		select {
		case <-waiting.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func try(ctx context.Context, network, address string) (net.Listener, error) {
	var config net.ListenConfig
	if network == "unix" {
		if err := removeStale(ctx, address); err != nil {
			return nil, err
		}
		config.Control = restrict
	}
	l, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if network == "unix" {
		// The umask may have taken more away.
		if err := os.Chmod(address, socketMode); err != nil {
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

// TLS speaks TLS on the connections of l, HTTP/2 included, with the certificate in
// use. Connections that are open keep theirs.
func TLS(l net.Listener, certificate *watch.File[*tls.Certificate]) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Value(), nil },
	})
}
