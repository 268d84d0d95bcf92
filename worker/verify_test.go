package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/browser/browsertest"
)

// verification is "worker verify" with a request.
func verification(t *testing.T, request []byte) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	cmd, out = command(t, false), &bytes.Buffer{}
	cmd.Args = append(cmd.Args, rpc.VerifyCommand)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), out, t.Output()
	return cmd, out
}

func TestVerifyWithoutARequestIsRefused(t *testing.T) {
	cmd, out := verification(t, []byte("{"))
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != exitUsage || out.Len() > 0 {
		t.Errorf("ended with %v, said %q", err, out)
	}
}

// The browser is one that never answers.
func TestVerifyThatIsEndedSaysSoAndLeavesNothing(t *testing.T) {
	dir := browsertest.ShortDir(t)
	started := filepath.Join(dir, "started")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	chrome := filepath.Join(dir, "chrome")
	if err := os.WriteFile(chrome, []byte("#!/bin/sh\necho $$ > "+started+"\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	req := rpc.VerifyRequest{
		CopyDir: filepath.Join(dir, "copy"), RoomDir: filepath.Join(dir, "r"), ScratchDir: filepath.Join(dir, "s"),
		ChromePath: chrome, ChromeVersion: "156.0.1.2", URL: "http://127.0.0.1:1/",
	}
	for _, folder := range []string{filepath.Join(req.CopyDir, "Default"), req.RoomDir, req.ScratchDir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	request, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := verification(t, request)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(started) // returns when the browser runs
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var verdict rpc.Verdict
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != rpc.VerifyUntried {
		t.Errorf("ended with %v", err)
	}
	if err := json.Unmarshal(out.Bytes(), &verdict); err != nil || verdict.Exit != rpc.VerifyUntried || verdict.Reason == "" {
		t.Errorf("said %q, %v", out, err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); !os.IsNotExist(err) {
		t.Errorf("the browser is left: %v", err)
	}
	for _, folder := range []string{req.RoomDir, req.ScratchDir} {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
