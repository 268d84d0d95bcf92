package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("cannot find port: %w", err)
		}
		host = free.Addr().String()
		if err := free.Close(); err != nil {
			return nil, fmt.Errorf("cannot free port: %w", err)
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

// Log returns the requests that were made, one per line.
func (p *Proxy) Log() (string, error) {
	content, err := os.ReadFile(p.log)
	return string(content), err
}
