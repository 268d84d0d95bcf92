package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"session-manager/scripts/command"
	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

const (
	connections = 64
	// burst is how long each side is asked at a time; they take turns, so that
	// what else the machine does hits both.
	burst  = 2 * time.Second
	bursts = 4
)

// measureLoad compares requests a second with a bare net/http handler that
// writes the same bytes, and takes the median of /status while Chrome starts.
func (b *bench) measureLoad(ctx context.Context) (err error) {
	s, end, err := b.serve(ctx, simulator.Options{Speed: 0.1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	starting, err := latencies(ctx, s)
	if err != nil {
		return err
	}
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return err
	}
	for path, content := range map[string]string{"/status": `{"status":"QR_REQUIRED"}`, "/qr": body} {
		ours, floor, err := b.compare(ctx, s.Base+path, content)
		if err != nil {
			return err
		}
		b.table.Rows = append(b.table.Rows, row{
			Name: fmt.Sprintf("%s, %d connections", path, connections), Unit: "1/s",
			Ours: ours, Floor: floor, Judged: ours / floor, Limit: 0.8, AtLeast: true,
		})
	}
	b.table.Rows = append(b.table.Rows, absolute("/status while Chrome starts, median", "ms", median(starting), 1))
	return nil
}

// latencies asks /status, one request after the other, until there is a QR.
func latencies(ctx context.Context, s *harness.Service) ([]time.Duration, error) {
	var took []time.Duration
	for {
		begun := time.Now()
		body, err := s.Get(ctx, "/status")
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		if !strings.Contains(string(body), "INIT") {
			return took, nil
		}
		if err := command.Pause(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (b *bench) compare(ctx context.Context, url, content string) (ours, floor float64, err error) {
	address, end, err := b.serveBare(ctx, content)
	if err != nil {
		return 0, 0, err
	}
	defer end()
	for range bursts {
		n, err := ask(ctx, url)
		if err != nil {
			return 0, 0, err
		}
		ours += n / bursts
		if n, err = ask(ctx, address); err != nil {
			return 0, 0, err
		}
		floor += n / bursts
	}
	return ours, floor, nil
}

// ask returns how many answers a second all connections get together.
func ask(ctx context.Context, url string) (float64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, burst)
	defer cancel()
	var answers, failures atomic.Int64
	var askers sync.WaitGroup
	begun := time.Now()
	for range connections {
		askers.Go(func() {
			for ctx.Err() == nil {
				if err := askOnce(ctx, client, url); err == nil {
					answers.Add(1)
				} else if ctx.Err() == nil {
					failures.Add(1)
				}
			}
		})
	}
	askers.Wait()
	if n := failures.Load(); n > 0 {
		return 0, fmt.Errorf("%d requests to %s failed", n, url)
	}
	if err := interrupted.Err(); err != nil {
		return 0, err
	}
	if answers.Load() == 0 {
		return 0, fmt.Errorf("%s gave no answer in %s", url, burst)
	}
	return float64(answers.Load()) / time.Since(begun).Seconds(), nil
}

func askOnce(ctx context.Context, client *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// serveBare lets the floor answer with content until end is called.
func (b *bench) serveBare(ctx context.Context, content string) (address string, end func(), err error) {
	file := filepath.Join(b.folder, "content")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return "", nil, fmt.Errorf("cannot write content: %w", err)
	}
	bare, address, err := startBare(ctx, file)
	if err != nil {
		return "", nil, err
	}
	return address, func() {
		_ = bare.Process.Kill()
		_ = bare.Wait()
	}, nil
}

// startBare runs this program as the floor, in a process of its own as the
// service is.
func startBare(ctx context.Context, file string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("cannot find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "--bare", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("cannot start the floor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("cannot start the floor: %w", err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("cannot start the floor: %w", err), cmd.Process.Kill())
	}
	return cmd, strings.TrimSpace(address), nil
}

// serveBare answers every request with the file's content.
func serveBare(ctx context.Context, file string, out io.Writer) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read content: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(content)
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if _, err := fmt.Fprintf(out, "http://%s/\n", l.Addr()); err != nil {
		return fmt.Errorf("cannot tell the address: %w", err)
	}
	return server.Serve(l)
}
