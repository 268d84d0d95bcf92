package main

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// ours is the name of this project among the programs.
const ours = "session-manager"

// startOurs runs the supervisor, and tells of each code that /qr.png gives out
// as the others tell of theirs. What a phone would read is what counts, so the
// picture is decoded.
func startOurs(ctx context.Context, o options, s *stage) (*program, error) {
	socket := s.folder + "/api.sock"
	args := []string{"--listen=unix:" + socket, "--tokens=" + s.folder + "/tokens", "--chrome=" + o.chrome}
	for _, arg := range s.chromeArgs() {
		if arg != "--no-sandbox" { // the supervisor sees by itself that it is root
			args = append(args, "--chrome-arg="+arg)
		}
	}
	p := &program{cmd: exec.CommandContext(ctx, o.supervisor, args...), changed: make(chan struct{})}
	p.cmd.Dir = s.folder
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 25 * time.Second
	if o.verbose {
		p.cmd.Stderr = os.Stderr
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot run the supervisor: %w", err)
	}
	asking, cancel := context.WithCancel(ctx)
	p.stdin = ending(func() error {
		cancel()
		return p.cmd.Process.Signal(syscall.SIGTERM)
	})
	p.loop.Go(func() { p.ask(asking, socket) })
	return p, nil
}

// ending is a program's standard input of which only the end counts.
type ending func() error

func (ending) Write(b []byte) (int, error) { return len(b), nil }
func (e ending) Close() error              { return e() }

// ask looks at /qr.png ten times a second.
func (p *program) ask(ctx context.Context, socket string) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	last := ""
	for {
		if code, err := current(ctx, client); err == nil && code != last {
			last = code
			p.record(event{Event: "qr", Value: code})
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// current returns the login in the picture that is served now.
func current(ctx context.Context, client *http.Client) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/qr.png", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("cannot get the picture: %s %w", response.Status, err)
	}
	picture, err := png.Decode(bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		return "", err
	}
	found, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		return "", err
	}
	return found.GetText(), nil
}
