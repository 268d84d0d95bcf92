// Package harness runs the built supervisor for programs under scripts/ that
// measure it: from its start to its end, in folders of its own, by HTTP and
// signals alone.
package harness

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience bounds what is waited for without a context of the caller's.
const patience = 30 * time.Second

// Options of a Service.
type Options struct {
	// Supervisor is the binary.
	Supervisor string
	// Address to listen on; a free one when empty.
	Address string
	// URL is the page to open.
	URL string
	// Folder holds tokens, runtime folder and log. It must be short, as sockets
	// are made below it.
	Folder string
	// Args are further flags, and Env further variables.
	Args, Env []string
}

// Service is one supervisor process. Its methods are safe for concurrent use.
type Service struct {
	// Base is the address of the API.
	Base string
	// StartedAt is just before the exec.
	StartedAt time.Time

	cmd    *exec.Cmd
	client *http.Client
	ended  chan struct{}
}

// Start starts the supervisor and returns when it answers. End it with Stop or
// Kill.
func Start(ctx context.Context, o Options) (*Service, error) {
	address := o.Address
	if address == "" {
		var err error
		if address, err = FreeAddress(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(o.Folder, name), 0o700); err != nil {
			return nil, fmt.Errorf("cannot make folder: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(o.Folder, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	args := append([]string{"--listen", address, "--url", o.URL, "--tokens", filepath.Join(o.Folder, "tokens")}, o.Args...)
	s := &Service{
		Base: "http://" + address, ended: make(chan struct{}),
		cmd:    exec.CommandContext(context.WithoutCancel(ctx), o.Supervisor, args...), // Stop and Kill are its kill path
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
	s.cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+filepath.Join(o.Folder, "run"), "TMPDIR="+filepath.Join(o.Folder, "tmp"))
	s.cmd.Env = append(s.cmd.Env, o.Env...)
	s.cmd.Stderr = log
	// A group of its own, so that Ctrl-C reaches it through us only.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.StartedAt = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the service: %w", err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	if err := s.awaitAnswer(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// CopyProgram copies a binary, such as a worker that is to be replaced.
func CopyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot copy binary: %w", err)
	}
	if err := os.WriteFile(to, content, 0o700); err != nil { //nolint:gosec // a program must be executable
		return fmt.Errorf("cannot copy binary: %w", err)
	}
	return nil
}

// PlaceSelf copies the program that runs: for one that plays the worker (package
// rpc, StartedAsWorker).
func PlaceSelf(to string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	return CopyProgram(self, to)
}

// FreeAddress returns a loopback address that nobody listens on now.
func FreeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// awaitAnswer retries until the API answers: before that there is no event to
// wait for.
func (s *Service) awaitAnswer(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := s.Get(ctx, "/healthz"); err == nil {
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

// PID is that of the supervisor.
func (s *Service) PID() int { return s.cmd.Process.Pid }

// Stop ends the service cleanly, and by force when that takes too long, which is
// an error.
func (s *Service) Stop() error {
	defer s.client.CloseIdleConnections()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		s.Kill()
		return fmt.Errorf("the service did not stop within %s", patience)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the service ended with %s", s.cmd.ProcessState)
	}
	return nil
}

// HangUp asks for a clean restart as SIGHUP does, which may be asked for as often as
// one likes.
func (s *Service) HangUp() error {
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("cannot signal the service: %w", err)
	}
	return nil
}

// Kill ends the service as kill -9 does, and waits for its end.
func (s *Service) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.client.CloseIdleConnections()
}

// Get returns the body of a good answer.
func (s *Service) Get(ctx context.Context, path string) ([]byte, error) {
	return s.ask(ctx, http.MethodGet, path)
}

// Restart asks for a clean restart, which also cuts a backoff short.
func (s *Service) Restart(ctx context.Context) error {
	_, err := s.ask(ctx, http.MethodPost, "/session/restart")
	return err
}

func (s *Service) ask(ctx context.Context, method, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.Base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the service: %w", err)
	}
	resp, err := s.client.Do(r)
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

// NextQR waits until /qr serves a picture whose body differs from last, and
// returns the body and the picture.
func (s *Service) NextQR(ctx context.Context, last string) (body string, png []byte, err error) {
	for path := "/qr"; ; path = "/qr?wait=5s" {
		answer, err := s.Get(ctx, path)
		if err != nil {
			return "", nil, err
		}
		body := string(answer)
		if body == last || body == `{"status":"NO_QR"}` {
			continue
		}
		encoded, ok := strings.CutPrefix(body, `{"status":"QR_AVAILABLE","qr":"`)
		encoded, ok2 := strings.CutSuffix(encoded, `"}`)
		if !ok || !ok2 {
			return "", nil, errors.New("/qr does not answer as it must")
		}
		png, err := base64.StdEncoding.DecodeString(encoded)
		return body, png, err
	}
}

// AwaitStatus waits until /status says want.
func (s *Service) AwaitStatus(ctx context.Context, want string) error {
	for path := "/status"; ; path = "/status?wait=5s" {
		body, err := s.Get(ctx, path)
		if err != nil {
			return err
		}
		if string(body) == `{"status":"`+want+`"}` {
			return nil
		}
	}
}

// View is what GET /session says, as far as it matters to programs here.
type View struct {
	Status string `json:"status"`
	Reason struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"reason"`
	Phase struct {
		Name string `json:"name"`
	} `json:"phase"`
	Warning *struct {
		Code string `json:"code"`
	} `json:"warning"`
	Registered bool `json:"registered"`
	Page       struct {
		Version string `json:"version"`
	} `json:"page"`
	QR *struct {
		Generation uint64 `json:"generation"`
		Seq        uint64 `json:"seq"`
		Reader     string `json:"reader"`
		Renewals   uint   `json:"renewals"`
	} `json:"qr"`
	Worker struct {
		PID        int    `json:"pid"`
		Generation uint64 `json:"generation"`
	} `json:"worker"`
	Browser *struct {
		PID int `json:"pid"`
	} `json:"browser"`
	LastEnd *End       `json:"last_exit"`
	RetryAt *time.Time `json:"retry_at"`
}

// End is how the last generation ended.
type End struct {
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Class      string `json:"class"`
	DelayMS    int64  `json:"delay_ms"`
}

// View asks for it.
func (s *Service) View(ctx context.Context) (View, error) {
	var v View
	body, err := s.Get(ctx, "/session")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("cannot read /session: %w", err)
	}
	return v, nil
}
