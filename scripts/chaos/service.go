package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// service is one supervisor process on the run's folders.
type service struct {
	base   string
	cmd    *exec.Cmd
	log    *os.File
	ended  chan struct{}
	client *http.Client
}

// places are the folders and files of a run. All of it is private to the run, so
// that whatever is left can be seen.
type places struct {
	root, tokens, runtime, tmp string
	worker, chrome, log        string
}

func (p places) profile() string { return filepath.Join(p.tokens, "admin") }

// makePlaces makes the folders, a copy of the worker, and a link to Chrome, which
// faults may replace.
func makePlaces(o options) (places, error) {
	// Short: sockets are made below.
	root, err := os.MkdirTemp("/tmp", "chaos")
	if err != nil {
		return places{}, fmt.Errorf("cannot make folder: %w", err)
	}
	p := places{
		root: root, tokens: filepath.Join(root, "tokens"), runtime: filepath.Join(root, "run"), tmp: filepath.Join(root, "tmp"),
		worker: filepath.Join(root, "worker"), chrome: filepath.Join(root, "chrome"), log: filepath.Join(root, "log"),
	}
	for _, folder := range []string{p.tokens, p.runtime, p.tmp} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return p, fmt.Errorf("cannot make folder: %w", err)
		}
	}
	if err := copyFile(o.worker, p.worker); err != nil {
		return p, err
	}
	browser, err := findBrowser(o.chrome)
	if err != nil {
		return p, err
	}
	if err := os.Symlink(browser, p.chrome); err != nil {
		return p, fmt.Errorf("cannot link to Chrome: %w", err)
	}
	return p, nil
}

func findBrowser(given string) (string, error) {
	names := []string{"google-chrome-stable", "google-chrome", "chromium", "chromium-browser"}
	if given != "" {
		names = []string{given}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("no browser on the PATH; install one, or name it with --chrome")
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot copy binary: %w", err)
	}
	if err := os.WriteFile(to, content, 0o700); err != nil { //nolint:gosec // a program must be executable
		return fmt.Errorf("cannot copy binary: %w", err)
	}
	return nil
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// startService starts the supervisor and returns when it answers.
func startService(ctx context.Context, binary, address, url string, p places, args ...string) (*service, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	args = append([]string{"--listen", address, "--url", url, "--tokens", p.tokens,
		"--worker", p.worker, "--settle-time", "0s", "--chrome", p.chrome, "--log-level", "debug"}, args...)
	s := &service{
		base: "http://" + address, log: log, ended: make(chan struct{}),
		cmd:    exec.CommandContext(context.WithoutCancel(ctx), binary, args...), //nolint:gosec // the operator's binary; stop and kill are its kill path
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
	}
	s.cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+p.runtime, "TMPDIR="+p.tmp)
	s.cmd.Stderr = log
	// A group of its own, so that Ctrl-C reaches it through us only.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("cannot start the service: %w", err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
		_ = log.Close()
	}()
	return s, s.awaitAnswer(ctx)
}

// awaitAnswer retries until the API answers: before that there is no event to
// wait for.
func (s *service) awaitAnswer(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := s.get(ctx, "/healthz"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return fmt.Errorf("the service ended at once: %s", s.cmd.ProcessState)
		case <-tick.C:
		}
	}
}

func (s *service) pid() int { return s.cmd.Process.Pid }

// stop ends the service cleanly, and by force when that takes too long.
func (s *service) stop() error {
	const patience = 30 * time.Second
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the service did not stop within %s", patience)
	}
	s.client.CloseIdleConnections()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the service ended with %s", s.cmd.ProcessState)
	}
	return nil
}

// kill ends the service as kill -9 does.
func (s *service) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.client.CloseIdleConnections()
}

func (s *service) get(ctx context.Context, path string) ([]byte, error) {
	return s.ask(ctx, http.MethodGet, path)
}

// restart asks for a clean restart, which also cuts a backoff short.
func (s *service) restart(ctx context.Context) error {
	_, err := s.ask(ctx, http.MethodPost, "/session/restart")
	return err
}

func (s *service) ask(ctx context.Context, method, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(nil)) //nolint:gosec // the service under test
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	resp, err := s.client.Do(r) //nolint:gosec // the same
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read the service's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("the service answers %s to %s %s: %s", resp.Status, method, path, body)
	}
	return body, nil
}

// view is what GET /session says, as far as it matters here.
type view struct {
	Status string `json:"status"`
	Reason struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"reason"`
	Phase struct {
		Name string `json:"name"`
	} `json:"phase"`
	Registered bool `json:"registered"`
	QR         *struct {
		Generation uint64 `json:"generation"`
		Seq        uint64 `json:"seq"`
	} `json:"qr"`
	Worker struct {
		PID        int    `json:"pid"`
		Generation uint64 `json:"generation"`
	} `json:"worker"`
	Browser *struct {
		PID int `json:"pid"`
	} `json:"browser"`
	LastEnd *end       `json:"last_end"`
	RetryAt *time.Time `json:"retry_at"`
}

// end is how the last generation ended.
type end struct {
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Class      string `json:"class"`
	DelayMS    int64  `json:"delay_ms"`
}

func (s *service) view(ctx context.Context) (view, error) {
	var v view
	body, err := s.get(ctx, "/session")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("cannot read /session: %w", err)
	}
	return v, nil
}
