package rpctest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-plugin"

	"session-manager/shared/rpc"
)

// Worker is how a worker under test is started.
type Worker struct {
	// Command returns the worker's program, not started.
	Command func(*testing.T) *exec.Cmd
	// Request returns a request for a session whose page asks for a phone, with
	// folders of its own.
	Request func(*testing.T) rpc.RunRequest
}

// Run checks that a worker keeps the contract.
func Run(t *testing.T, w Worker) {
	for name, check := range map[string]func(*testing.T, Worker){
		"started by hand":             startedByHand,
		"another protocol version":    otherVersion,
		"no request":                  noRequest,
		"invalid request":             invalidRequest,
		"events until stop":           eventsUntilStop,
		"stop without a stream":       stopWithoutStream,
		"one stream only":             oneStream,
		"commands":                    commands,
		"selectors":                   selectors,
		"caller goes away":            callerGoesAway,
		"worker is killed":            killed(syscall.SIGKILL),
		"worker is terminated":        killed(syscall.SIGTERM),
		"a backup is checked":         backupChecked,
		"stop while a backup is open": stopWhileVerifying,
	} {
		t.Run(name, func(t *testing.T) { check(t, w) })
	}
}

func startedByHand(t *testing.T, w Worker) {
	out, err := w.Command(t).CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || len(out) == 0 {
		t.Errorf("ended with %v, and wrote %q", err, out)
	}
}

func otherVersion(t *testing.T, w Worker) {
	config := clientConfig(t, w.Command(t))
	config.ProtocolVersion++
	client := plugin.NewClient(config)
	defer client.Kill()
	if _, err := client.Client(); err == nil || !strings.Contains(err.Error(), "ncompatible API version") {
		t.Errorf("the handshake ended with %v", err)
	}
}

func noRequest(t *testing.T, w Worker) {
	p := startWith(t, w.Command(t), os.DevNull)
	if err := p.Events(t.Context(), nil); !errors.Is(err, rpc.ErrNoRequest) {
		t.Errorf("events: %v", err)
	}
}

func invalidRequest(t *testing.T, w Worker) {
	path := filepath.Join(t.TempDir(), "request")
	if err := os.WriteFile(path, []byte("\xff\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := startWith(t, w.Command(t), path).Events(t.Context(), nil); err == nil || errors.Is(err, rpc.ErrNoRequest) {
		t.Errorf("events: %v", err)
	}
}

func eventsUntilStop(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	p.Stream(t.Context())
	if first := Await[rpc.PhaseChanged](t, p); first.Phase != rpc.PhaseBrowserStart || p.seq != 1 {
		t.Errorf("event %d is %+v", p.seq, first)
	}
	if started := Await[rpc.BrowserStarted](t, p); started.PID == 0 || started.Product == "" {
		t.Errorf("%+v", started)
	}
	if beat := Await[rpc.Heartbeat](t, p); beat.ResidentBytes == 0 {
		t.Errorf("%+v", beat)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	p.StopCleanly(t) // again
}

func stopWithoutStream(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	p.MustCloseCleanly(t)
}

func oneStream(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	p.Stream(t.Context())
	Await[rpc.BrowserStarted](t, p)
	if err := p.Events(t.Context(), nil); !errors.Is(err, rpc.ErrAlreadyStreaming) {
		t.Errorf("second stream: %v", err)
	}
	Await[rpc.Heartbeat](t, p)
	p.StopCleanly(t)
}

func commands(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	p.Stream(t.Context())
	for Await[rpc.PageObserved](t, p).Condition != rpc.PageUnlinked {
	}
	if png, err := p.Screenshot(t.Context()); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("screenshot: %.8q, %v", png, err)
	}
	if err := p.LogOut(t.Context()); !errors.Is(err, rpc.ErrNotLinked) {
		t.Errorf("log out: %v", err)
	}
	if d, err := p.Diagnose(t.Context()); err != nil || d.Outline == "" {
		t.Errorf("diagnosis: %+v, %v", d, err)
	}
	if pairing, err := p.Pair(t.Context(), "4915112345678"); err != nil || len(pairing.Code) != 8 || pairing.TTL <= 0 {
		t.Errorf("pairing: %d characters for %v, %v", len(pairing.Code), pairing.TTL, err)
	}
	nothingToSendWith(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Screenshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled screenshot: %v", err)
	}
	p.StopCleanly(t)
}

// nothingToSendWith checks that a page that is not linked sends nothing, and that this is
// known for sure.
func nothingToSendWith(t *testing.T, p *Process) {
	t.Helper()
	id := rpc.MessageID("3EB00123456789ABCDEF01")
	_, sent := p.Send(t.Context(), rpc.Message{ID: id, To: "4915112345678@c.us", Text: "hello"})
	_, found := p.Lookup(t.Context(), []rpc.MessageRef{{ID: id, Chat: rpc.ChatAt("4915112345678@c.us")}})
	_, known := p.Contact(t.Context(), "4915112345678")
	for what, err := range map[string]error{"send": sent, "lookup": found, "contact": known} {
		if e, ok := errors.AsType[*rpc.SendError](err); !ok || e.Code != rpc.SendNotReady {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func selectors(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	p.Stream(t.Context())
	if err := p.SetSelectors(t.Context(), []byte("broken")); !errors.Is(err, rpc.ErrSelectors) {
		t.Errorf("invalid selectors: %v", err)
	}
	if err := p.SetSelectors(t.Context(), make([]byte, 5<<20)); err == nil {
		t.Error("selectors of 5 MiB were accepted")
	}
	if err := p.SetSelectors(t.Context(), nil); err != nil {
		t.Errorf("built-in selectors: %v", err)
	}
	p.StopCleanly(t)
}

func callerGoesAway(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), w.Request(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Stream(ctx)
	Await[rpc.PageObserved](t, p)
	cancel()
	if err := p.End(t); !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v", err)
	}
	p.MustCloseCleanly(t)
}

// Chrome closes cleanly although its worker dies.
func killed(signal syscall.Signal) func(*testing.T, Worker) {
	return func(t *testing.T, w Worker) {
		p := Start(t, w.Command(t), w.Request(t))
		p.Stream(t.Context())
		Await[rpc.PageObserved](t, p)
		if err := p.Cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := p.End(t); signal == syscall.SIGKILL && !errors.Is(err, rpc.ErrWorkerGone) {
			t.Errorf("the stream ended with %v", err)
		}
		p.MustCloseCleanly(t)
	}
}

// verifying turns a session's request into one that checks an empty backup.
func verifying(t *testing.T, r rpc.RunRequest) rpc.RunRequest {
	r.Mode, r.BackupDir, r.ProfileDir, r.VerifyLimit = rpc.ModeVerify, t.TempDir(), t.TempDir(), patience
	return r
}

func backupChecked(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), verifying(t, w.Request(t)))
	p.Stream(t.Context())
	checked := Await[rpc.BackupChecked](t, p)
	switch checked.Outcome {
	case rpc.BackupVerified, rpc.BackupRejected, rpc.BackupInconclusive:
	default:
		t.Errorf("the outcome is %q", checked.Outcome)
	}
	if (checked.Outcome == rpc.BackupVerified) != (checked.Detail == "") {
		t.Errorf("%+v", checked)
	}
	Await[rpc.Heartbeat](t, p) // it waits for Stop
	if err := errors.Join(p.Stop(t.Context()), p.End(t)); err != nil {
		t.Error(err)
	}
	nothingLeft(t, p)
}

func stopWhileVerifying(t *testing.T, w Worker) {
	p := Start(t, w.Command(t), verifying(t, w.Request(t)))
	p.Stream(t.Context())
	Await[rpc.PhaseChanged](t, p)
	if err := errors.Join(p.Stop(t.Context()), p.End(t)); err != nil {
		t.Error(err)
	}
	nothingLeft(t, p)
}

func nothingLeft(t *testing.T, p *Process) {
	t.Helper()
	for _, folder := range []string{p.Request.ProfileDir, p.Request.BackupDir} {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", folder, left, err)
		}
	}
}
