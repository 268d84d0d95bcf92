// Command demo runs the service against the simulator on this machine, without
// internet or phone, and shows what happens. With --auto it plays the phone as
// well, restarts everything once, and ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"session-manager/scripts/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run. Everything it prints goes to out.
type demo struct {
	out                      io.Writer
	listen, page, control    string
	tokens, supervisor, logs string
	speed                    float64
	auto                     bool
	startedAt                time.Time
}

func run(ctx context.Context, args []string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the binaries: %w", err)
	}
	bin := filepath.Dir(self)
	d := &demo{out: out, startedAt: time.Now()}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&d.listen, "listen", "127.0.0.1:3001", "address of the service")
	flags.StringVar(&d.page, "page", "127.0.0.1:3002", "address of the simulated page")
	flags.StringVar(&d.control, "control", "127.0.0.1:3003", "address of the simulator's control API")
	flags.StringVar(&d.tokens, "tokens", "tokens/demo", "folder of the login")
	flags.StringVar(&d.supervisor, "supervisor", filepath.Join(bin, "supervisor"), "binary of the service")
	flags.StringVar(&d.logs, "log", filepath.Join(bin, "demo.log"), "file for the service's log")
	flags.Float64Var(&d.speed, "speed", 1, "speed of the simulator's clock")
	flags.BoolVar(&d.auto, "auto", false, "play the phone, restart everything once, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !d.auto {
		return d.session(ctx)
	}
	if err := d.session(ctx); err != nil {
		return err
	}
	d.say("everything is stopped; now the same again, without a phone")
	return d.session(ctx)
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.startedAt).Seconds(), fmt.Sprintf(format, args...))
}

// session runs simulator and service until ctx ends or, with --auto, until the
// session is READY.
func (d *demo) session(ctx context.Context) error {
	sim, err := simulator.New(simulator.Options{Speed: d.speed, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer sim.Close()
	for address, handler := range map[string]http.Handler{d.page: sim, d.control: sim.Control()} {
		closeServer, err := serve(address, handler)
		if err != nil {
			return err
		}
		defer closeServer()
	}
	ctx, cancel := context.WithCancel(ctx)
	ended, err := d.start(ctx)
	if err != nil {
		cancel()
		return err
	}
	defer func() { <-ended }()
	defer cancel()

	d.say("the service answers on http://%s, its log is %s", d.listen, d.logs)
	if !d.auto {
		d.say("try: curl -s %s/status; curl -s %s/qr; curl -s %s/session", d.listen, d.listen, d.listen)
	}
	return d.follow(ctx, sim)
}

// serve serves handler on address until the returned function is called.
func serve(address string, handler http.Handler) (func(), error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	var loop sync.WaitGroup
	loop.Go(func() { _ = server.Serve(l) })
	return func() {
		_ = server.Close()
		loop.Wait()
	}, nil
}

// start runs the service until ctx ends. The returned channel is closed when its
// process has ended.
func (d *demo) start(ctx context.Context) (<-chan struct{}, error) {
	log, err := os.OpenFile(d.logs, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	cmd := exec.CommandContext(ctx, d.supervisor, "--listen", d.listen, "--url", "http://"+d.page+"/", "--tokens", d.tokens)
	cmd.Stderr = log
	// In a group of its own, so that Ctrl-C reaches it once and through us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("cannot start the service: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = log.Close()
	}()
	return ended, nil
}

// follow prints each change of the state, and plays the phone when asked to.
func (d *demo) follow(ctx context.Context, sim *simulator.Server) error {
	last := ""
	for {
		state, err := d.next(ctx, last)
		if err != nil {
			return err
		}
		if state != last {
			d.say("status %s", state)
		}
		last = state
		switch {
		case state == "QR_REQUIRED":
			if err := d.showQR(ctx, sim); err != nil {
				return err
			}
		case state == "READY" && d.auto:
			return nil
		case state == "READY":
			d.say("Ctrl-C ends this; make demo again is READY without a scan")
		}
	}
}

// next waits until the state differs from last.
func (d *demo) next(ctx context.Context, last string) (string, error) {
	for {
		state, err := d.status(ctx, "")
		if err == nil && state == last {
			state, err = d.status(ctx, "?wait=30s")
		}
		if err == nil && state != last {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(50 * time.Millisecond): // the service is starting
		}
	}
}

func (d *demo) status(ctx context.Context, query string) (string, error) {
	body, err := d.get(ctx, "/status"+query)
	if err != nil {
		return "", err
	}
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("cannot read status: %w", err)
	}
	return answer.Status, nil
}

func (d *demo) showQR(ctx context.Context, sim *simulator.Server) error {
	code, err := d.get(ctx, "/qr.txt")
	for err == nil && code == nil {
		code, err = d.get(ctx, "/qr.txt?wait=500ms")
	}
	if err != nil {
		return err
	}
	_, _ = d.out.Write(code)
	if !d.auto {
		d.say("no phone at hand? this plays its scan: curl -s -X POST %s/scan", d.control)
		return nil
	}
	d.say("the phone scans it")
	return sim.Scan(ctx)
}

// get returns the body of a good answer, and nil for 404.
func (d *demo) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.listen+path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the service's answer: %w", err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the service answers %s to %s", resp.Status, path)
	}
	return body, nil
}
