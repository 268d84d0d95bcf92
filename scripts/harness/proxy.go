package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Proxy is tinyproxy with a password, on a port of the loopback.
type Proxy struct {
	*Child
	// Host is its address with the port.
	Host string
	log  string
}

// StartProxy starts tinyproxy for one user on an address, or on a free port without one,
// and returns when it listens. Its files are in folder. Its error is that of Tool where
// it is not installed.
func StartProxy(ctx context.Context, folder, host, user, password string) (*Proxy, error) {
	binary, err := Tool(ctx, "tinyproxy")
	if err != nil {
		return nil, err
	}
	if host == "" {
		if host, err = FreeAddress(); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return nil, fmt.Errorf("cannot read address: %w", err)
	}
	p := &Proxy{Host: host, log: filepath.Join(folder, "tinyproxy.log")}
	settings := filepath.Join(folder, "tinyproxy.conf")
	err = os.WriteFile(settings, fmt.Appendf(nil, "Port %s\nListen 127.0.0.1\nTimeout 600\nLogFile %q\nLogLevel Connect\nBasicAuth %s %s\n", port, p.log, user, password), 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write settings: %w", err)
	}
	if p.Child, err = Spawn(exec.CommandContext(context.WithoutCancel(ctx), binary, "-d", "-c", settings)); err != nil {
		return nil, err
	}
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err == nil {
			return p, conn.Close()
		}
		select {
		case <-p.Exited():
		case <-ctx.Done():
		case <-time.After(pollEvery):
			continue
		}
		p.KillGroup()
		return nil, fmt.Errorf("tinyproxy does not listen: %w", err)
	}
}

// FreeAddress returns an address of the loopback on which nobody listens. Its port is below those that the
// kernel gives to connections (net.ipv4.ip_local_port_range), one of which could take it meanwhile.
func FreeAddress() (string, error) {
	const first, ports, attempts = 10_000, 20_000, 100
	for range attempts {
		host := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(ports))) //nolint:gosec // it is no secret
		if free, err := net.Listen("tcp", host); err == nil {
			return host, free.Close()
		}
	}
	return "", errors.New("cannot find a free port")
}

// Log returns the requests that were made, one per line.
func (p *Proxy) Log() (string, error) {
	content, err := os.ReadFile(p.log)
	return string(content), err
}
