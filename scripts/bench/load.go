package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

// measureLoad compares requests a second with a bare net/http handler that writes the
// same bytes, and takes the median of /status while Chrome starts.
func measureLoad(ctx context.Context, b *bench) (err error) {
	s, err := b.serve(ctx, simulator.Options{Speed: 0.1})
	if err != nil {
		return err
	}
	defer s.end(&err)
	starting, err := latencies(ctx, s)
	if err != nil {
		return err
	}
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return err
	}
	for path, content := range map[string]string{"/status": `{"status":"QR_REQUIRED"}`, "/qr": body} {
		ours, floor, err := compare(ctx, b, s.Base+path, content)
		if err != nil {
			return err
		}
		b.table.add(row{
			Name: fmt.Sprintf("%s, %d connections", path, connections), Unit: "1/s",
			Ours: ours, Floor: floor, Result: ours / floor, Limit: 0.8, AtLeast: true,
		})
	}
	b.table.add(absolute("/status while Chrome starts, median", "ms", median(starting), 1))
	return nil
}

// latencies asks /status, one request after the other, until there is a QR.
func latencies(ctx context.Context, s *side) ([]time.Duration, error) {
	var took []time.Duration
	for {
		begun := time.Now()
		body, err := s.Get(ctx, "/status")
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		if !strings.Contains(body, "INIT") {
			return took, nil
		}
		if err := harness.Pause(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// compare returns how many answers a second both give.
func compare(ctx context.Context, b *bench, url, content string) (ours, floor float64, err error) {
	bare, err := startBare(ctx, b, content)
	if err != nil {
		return 0, 0, err
	}
	defer bare.KillGroup()
	for range bursts {
		for url, sum := range map[string]*float64{url: &ours, bare.url: &floor} {
			timed, cancel := context.WithTimeout(ctx, burst)
			begun := time.Now()
			answers, err := askMany(timed, math.MaxInt64, url)
			cancel()
			if err == nil && answers == 0 {
				err = fmt.Errorf("%s gave no answer in %s", url, burst)
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return 0, 0, err
			}
			*sum += float64(answers) / time.Since(begun).Seconds() / bursts
		}
	}
	return ours, floor, nil
}

// askMany asks the URLs in turn, on many connections that are kept, until count
// requests were made or ctx ends.
func askMany(ctx context.Context, count int64, urls ...string) (answers int64, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var begun, answered, failed atomic.Int64
	var askers sync.WaitGroup
	for range connections {
		askers.Go(func() {
			for n := begun.Add(1); n <= count && ctx.Err() == nil; n = begun.Add(1) {
				if harness.Fetch(ctx, client, urls[n%int64(len(urls))]) == nil {
					answered.Add(1)
				} else if ctx.Err() == nil {
					failed.Add(1)
				}
			}
		})
	}
	askers.Wait()
	if n := failed.Load(); n > 0 {
		return 0, fmt.Errorf("%d requests to %v failed", n, urls)
	}
	return answered.Load(), nil
}

// bareHandler is the least that an HTTP server has to do, in a process of its own as
// the service is: this program, with --bare.
type bareHandler struct {
	*harness.Child
	url string
}

// startBare lets a bare handler answer with content.
func startBare(ctx context.Context, b *bench, content string) (*bareHandler, error) {
	file := filepath.Join(b.folder, "content")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return nil, fmt.Errorf("cannot write content: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "--bare", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start the floor: %w", err)
	}
	h := &bareHandler{}
	if h.Child, err = harness.Spawn(cmd); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		h.KillGroup()
		return nil, fmt.Errorf("cannot start the floor: %w", err)
	}
	h.url = strings.TrimSpace(address)
	return h, nil
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
	if _, err := fmt.Fprintf(out, "http://%s/\n", l.Addr()); err != nil {
		return fmt.Errorf("cannot report the address: %w", err)
	}
	site := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(content)
	})}
	return site.Serve(l) // until this process is killed
}
