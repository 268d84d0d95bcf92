// Package e2e tests the two built binaries with a real Chrome against the
// simulator, by HTTP and signals alone.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/simulator"
)

// binaries is the folder with supervisor and worker, built once by TestMain.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, name := range []string{"supervisor", "worker"} {
		args := []string{"build", "-o", filepath.Join(dir, name)}
		// Under the race detector the worker looks at a screenshot ten times as
		// long; its own packages are tested with it.
		if raceEnabled && name == "supervisor" {
			args = append(args, "-race")
		}
		out, err := exec.CommandContext(context.Background(), "go", append(args, "session-manager/"+name)...).CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	binaries = dir
	return m.Run()
}

// patience bounds every wait. It only matters when something is broken.
const patience = 60 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// needBrowser skips the test where no browser is installed.
func needBrowser(t *testing.T) {
	t.Helper()
	for _, name := range []string{"google-chrome-stable", "google-chrome", "chromium", "chromium-browser"} {
		if _, err := exec.LookPath(name); err == nil {
			return
		}
	}
	t.Skip("no browser on the PATH: apt-get install chromium")
}

// phone is a simulator behind a real address.
type phone struct {
	*simulator.Server
	url string
}

func newPhone(t *testing.T, o simulator.Options) *phone {
	t.Helper()
	if o.Speed == 0 {
		o.Speed = 10
	}
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		server.Close()
	})
	return &phone{Server: sim, url: server.URL + "/"}
}

// service is a running supervisor.
type service struct {
	t      *testing.T
	cmd    *exec.Cmd
	base   string
	tokens string
	log    *logBuffer
	ended  chan struct{}
	// lastQR is the body that awaitNewQR saw last.
	lastQR string
}

// logBuffer is a buffer for a process's stderr.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// nextPort hands each test a port of its own, below those that the kernel gives
// to outgoing connections.
var nextPort atomic.Int32

// freeAddress is a loopback address that nobody listens on now, and that no
// other test of this run gets.
func freeAddress(t *testing.T) string {
	t.Helper()
	const first, last = 20000, 32000
	nextPort.CompareAndSwap(0, int32(first+os.Getpid()%(last-first)))
	for range last - first {
		port := first + int(nextPort.Add(1))%(last-first)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// start runs the supervisor on tokens and waits until it listens.
func start(t *testing.T, url, tokens string, args ...string) *service {
	t.Helper()
	s := launch(t, tokens, append([]string{"--url", url}, args...)...)
	s.awaitListening()
	return s
}

func launch(t *testing.T, tokens string, args ...string) *service {
	t.Helper()
	address := freeAddress(t)
	s := &service{t: t, base: "http://" + address, tokens: tokens, log: &logBuffer{}, ended: make(chan struct{})}
	s.cmd = exec.CommandContext(context.Background(), filepath.Join(binaries, "supervisor"),
		append([]string{"--listen", address, "--tokens", tokens, "--log-level", "debug"}, args...)...)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(patience):
			s.signal(syscall.SIGKILL)
			<-s.ended
			t.Error("the supervisor did not stop")
		}
		if t.Failed() {
			t.Logf("log of the supervisor:\n%s", s.log)
		}
	})
	return s
}

func (s *service) signal(sig syscall.Signal) { _ = s.cmd.Process.Signal(sig) }

// awaitListening retries until the API answers. There is no event to wait for
// before that.
func (s *service) awaitListening() {
	s.t.Helper()
	ctx := within(s.t)
	for {
		if _, err := s.try(ctx, "/healthz"); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatal("the API never answered")
		case <-s.ended:
			s.t.Fatal("the supervisor ended")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

type answered struct {
	status int
	body   string
}

func (s *service) try(ctx context.Context, path string) (answered, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return answered{}, err
	}
	return do(r)
}

func do(r *http.Request) (answered, error) {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, string(body)}, err
}

func (s *service) get(path string) answered {
	s.t.Helper()
	a, err := s.try(within(s.t), path)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return a
}

func (s *service) status() string {
	s.t.Helper()
	return s.get("/status").body
}

// await waits for a state by the API's own long poll.
func (s *service) await(state string) {
	s.t.Helper()
	want := `{"status":"` + state + `"}`
	ctx := within(s.t)
	for last := ""; last != want; {
		path := "/status"
		if last != "" {
			path = "/status?wait=1s"
		}
		a, err := s.try(ctx, path)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v (session %s)", state, err, s.mustSession())
		}
		last = a.body
	}
}

func (s *service) mustSession() string {
	a, err := s.try(context.Background(), "/session")
	if err != nil {
		return err.Error()
	}
	return a.body
}

// sessionView is the part of GET /session that tests look at.
type sessionView struct {
	Status string `json:"status"`
	Reason struct {
		Code   string `json:"code"`
		Action string `json:"action"`
		Detail string `json:"detail"`
	} `json:"reason"`
	Registered bool `json:"registered"`
	Worker     struct {
		PID          int    `json:"pid"`
		Generation   uint64 `json:"generation"`
		AbnormalEnds int    `json:"abnormal_exits"`
	} `json:"worker"`
	Browser *struct {
		PID int `json:"pid"`
	} `json:"browser"`
	QR *struct {
		Generation uint64 `json:"generation"`
		Seq        uint64 `json:"seq"`
		Reader     string `json:"reader"`
	} `json:"qr"`
	Page struct {
		Selectors struct {
			Source  string `json:"source"`
			Path    string `json:"path"`
			Refused string `json:"refused"`
		} `json:"selectors"`
	} `json:"page"`
}

func (s *service) session() sessionView {
	s.t.Helper()
	var v sessionView
	if err := json.Unmarshal([]byte(s.get("/session").body), &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// awaitSession polls /session, which has no long poll, until ok.
func (s *service) awaitSession(what string, ok func(sessionView) bool) sessionView {
	s.t.Helper()
	ctx := within(s.t)
	for {
		v := s.session()
		if ok(v) {
			return v
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s never came; session: %s", what, s.mustSession())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the supervisor as systemd would, and returns its exit code.
func (s *service) stop() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	return s.exitCode()
}

func (s *service) exitCode() int {
	s.t.Helper()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode()
	case <-within(s.t).Done():
		s.t.Fatal("the supervisor did not end")
		return -1
	}
}
