package main

import (
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/shared/rpc/rpctest"
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
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	// A worker that is killed leaves its socket in TMPDIR.
	cmd.Env = append(os.Environ(), asItself+"=1", "TMPDIR="+browsertest.ShortDir(t))
	if cookie {
		h := rpc.Handshake()
		client, err := rpc.Secure(&plugin.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, h.MagicCookieKey+"="+h.MagicCookieValue, client)
	}
	return cmd
}

func TestWorkerRunByHandExplainsItself(t *testing.T) {
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
	// It serves after the handshake line, and ignores interrupts.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// As when the supervisor is stopped.
func TestWorkerWhoseLogNobodyReadsExits(t *testing.T) {
	reader, writer, err := harness.FullPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	cmd := command(t, true)
	cmd.Stderr = writer
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// request is for a session on the simulator.
func request(t *testing.T) rpc.RunRequest {
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
	return rpc.RunRequest{
		Generation: 7, ChromePath: chrome.Path, ChromeVersion: chrome.Version, URL: site.URL,
		ProfileDir: chrome.ProfileDir, LeaseFile: chrome.LeaseFile, ScratchDir: chrome.ScratchDir,
	}
}

func TestWorkerKeepsTheContract(t *testing.T) {
	rpctest.Run(t, rpctest.Worker{
		Command: func(t *testing.T) *exec.Cmd { return command(t, false) },
		Request: request,
	})
}

func TestQRCrossesTheWire(t *testing.T) {
	browsertest.InChrome(t)
	p := rpctest.Start(t, command(t, false), request(t))
	p.Stream(t.Context())
	if qr := rpctest.Await[rpc.QRShown](t, p); qr.Payload == "" || qr.TTL <= 0 {
		t.Errorf("%+v", qr)
	}
	p.StopCleanly(t)
}

// Its browser never answers.
func TestTerminatedBackupCheckLeavesNothing(t *testing.T) {
	dir := browsertest.ShortDir(t)
	started, chrome := filepath.Join(dir, "started"), filepath.Join(dir, "chrome")
	if err := errors.Join(
		syscall.Mkfifo(started, 0o600),
		os.WriteFile(chrome, []byte("#!/bin/sh\necho $$ > "+started+"\nexec sleep 600\n"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	req := rpc.RunRequest{
		Generation: 7, Mode: rpc.ModeVerify, BackupDir: filepath.Join(dir, "b"), ProfileDir: filepath.Join(dir, "r"),
		ScratchDir: filepath.Join(dir, "s"), ChromePath: chrome, ChromeVersion: "156.0.1.2", URL: "http://127.0.0.1:1/",
		VerifyLimit: time.Minute,
	}
	for _, folder := range []string{filepath.Join(req.BackupDir, "Default"), req.ProfileDir, req.ScratchDir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p := rpctest.Start(t, command(t, false), req)
	p.Stream(t.Context())
	pid, err := os.ReadFile(started) // returns when the browser runs
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if checked := rpctest.Await[rpc.BackupChecked](t, p); checked.Outcome != rpc.BackupInconclusive || checked.Detail == "" {
		t.Errorf("%+v", checked)
	}
	if err := p.End(t); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); !os.IsNotExist(err) {
		t.Errorf("the browser is left: %v", err)
	}
	for _, folder := range []string{req.ProfileDir, req.ScratchDir} {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
