package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"session-manager/scripts/simulator"
	"session-manager/shared/lease"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
)

// asItself makes the test binary the worker.
const asItself = "WORKER_TEST_AS_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asItself) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// command is the worker as the supervisor, or a person, would run it.
func command(t *testing.T, cookie bool) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	// A worker that is killed leaves its socket in TMPDIR.
	cmd.Env = append(os.Environ(), asItself+"=1", "TMPDIR="+browsertest.ShortDir(t))
	if cookie {
		h := rpc.Handshake()
		cmd.Env = append(cmd.Env, h.MagicCookieKey+"="+h.MagicCookieValue)
	}
	return cmd
}

func TestWorkerRunByHandSaysWhoStartsIt(t *testing.T) {
	out, err := command(t, false).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != exitUsage {
		t.Errorf("ended with %v, want exit code %d", err, exitUsage)
	}
	if strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "bin/supervisor") {
		t.Errorf("it said %q", out)
	}
}

func TestTerminatedWorkerWithoutASessionExitsCleanly(t *testing.T) {
	cmd := command(t, true)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The handshake line says that it serves. An interrupt is not for it.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// serving is a worker process with a session on the simulator.
type serving struct {
	worker *rpc.Client
	client *plugin.Client
	cmd    *exec.Cmd
	req    rpc.RunRequest
	codes  chan rpc.QRShown
	ended  chan error
}

// withRequest makes cmd read req from its standard input, which go-plugin would
// replace.
func withRequest(t *testing.T, cmd *exec.Cmd, req rpc.RunRequest) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "request")
	file, err := os.Create(path)
	if err == nil {
		err = rpc.SendRequest(file, req)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = []string{"/bin/sh", "-c", `exec "$0" < "$1"`, cmd.Path, path}
	cmd.Path = "/bin/sh"
}

func serve(t *testing.T) *serving {
	t.Helper()
	chrome := browsertest.Options(t)
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		site.CloseClientConnections()
		site.Close()
	})
	s := &serving{
		cmd: command(t, false), codes: make(chan rpc.QRShown, 100), ended: make(chan error, 1),
		req: rpc.RunRequest{
			Generation: 1, ChromePath: chrome.Path, ChromeVersion: chrome.Version, URL: site.URL,
			ProfileDir: chrome.ProfileDir, LeaseFile: chrome.LeaseFile, ScratchDir: chrome.ScratchDir,
		},
	}
	withRequest(t, s.cmd, s.req)
	s.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: rpc.Handshake(), Plugins: rpc.Plugins(), Cmd: s.cmd, GRPCDialOptions: rpc.DialOptions(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, AutoMTLS: true,
		Logger: hclog.NewNullLogger(), Stderr: t.Output(),
	})
	t.Cleanup(s.client.Kill)
	protocol, err := s.client.Client()
	if err != nil {
		t.Fatal(err)
	}
	if s.worker, err = rpc.Dispense(protocol); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *serving) run(ctx context.Context) {
	s.ended <- s.worker.Events(ctx, func(e rpc.Event) error {
		if code, ok := e.Body.(rpc.QRShown); ok {
			s.codes <- code
		}
		return nil
	})
}

// mustHaveClosedCleanly waits until Chrome is gone and checks what it left.
func (s *serving) mustHaveClosedCleanly(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for free := false; !free; time.Sleep(10 * time.Millisecond) { // a lock has no event
		var err error
		if free, err = lease.Free(s.req.LeaseFile); err != nil || time.Now().After(deadline) {
			t.Fatalf("lease free: %v, %v", free, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.req.ProfileDir, "SingletonLock")); !os.IsNotExist(err) {
		t.Error("Chrome's lock is left: it did not close cleanly")
	}
}

func TestWorkerShowsTheCodeOverTheWireAndStops(t *testing.T) {
	s := serve(t)
	go s.run(t.Context())
	select {
	case code := <-s.codes:
		if code.Payload == "" || code.TTL <= 0 {
			t.Errorf("%+v", code)
		}
	case err := <-s.ended:
		t.Fatal(err)
	}
	if png, err := s.worker.Screenshot(t.Context()); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("screenshot: %.8q, %v", png, err)
	}
	if err := s.worker.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	s.mustHaveClosedCleanly(t)
}

func TestChromeClosesCleanlyWhenTheWorkerDies(t *testing.T) {
	for name, signal := range map[string]os.Signal{"by a kill": os.Kill, "by a termination": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			go s.run(t.Context())
			select {
			case <-s.codes:
			case err := <-s.ended:
				t.Fatal(err)
			}
			if err := s.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := <-s.ended; signal == os.Kill && !errors.Is(err, rpc.ErrWorkerGone) {
				t.Errorf("run: %v", err)
			}
			s.mustHaveClosedCleanly(t)
		})
	}
}

func TestChromeClosesCleanlyWhenTheCallerGoes(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.run(ctx)
	select {
	case <-s.codes:
	case err := <-s.ended:
		t.Fatal(err)
	}
	cancel()
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	s.mustHaveClosedCleanly(t)
}
