package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"session-manager/scripts/harness"
	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/worker/process"
)

// patience bounds every wait of the tests; it is reached only by failures.
const patience = 2 * time.Minute

// thorough is for a machine that has time.
var thorough = flag.Bool("thorough", false, "run every case of each test, not only those that differ most")

// fakeWorker is the path of the built testdata/fakeworker. TestMain sets it.
var fakeWorker string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if dir := os.Getenv(envRig); dir != "" {
		return playSupervisor(dir)
	}
	if err := proctree.BecomeSubreaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("/tmp", "sv")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fakeWorker = filepath.Join(dir, "worker") // where it can be linked to
	if err := installFakeWorker(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot install fake worker: %v\n", err)
		return 1
	}
	return m.Run()
}

func installFakeWorker() error {
	path, err := harness.StandIn(context.Background())
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(fakeWorker, content, 0o700)
}

// rig is a Manager with a fake worker and everything that it needs.
type rig struct {
	*Manager
	t       *testing.T
	o       Options
	hooks   Hooks
	dir     string
	log     *logBuffer
	notices chan Notice
	cancel  context.CancelFunc
	done    chan error
	ended   bool
	order   []string // what was notified, heartbeats apart, up to the last call of await
}

// testTimings are short where a test waits for them, and long where they must not
// matter on a slow machine.
func testTimings() Timings {
	t := DefaultTimings()
	t.Start.Browser, t.Start.Lease, t.Start.Retry = 10*time.Second, 200*time.Millisecond, time.Minute
	t.Run.Silence, t.Run.Check, t.Run.Lock = 5*time.Second, 20*time.Millisecond, 2*time.Second
	t.Stop.Close, t.Stop.LastEvents, t.Stop.Dump = 3*time.Second, time.Second, 200*time.Millisecond
	t.Stop.Drain, t.Stop.Stuck = 5*time.Second, time.Second
	return t
}

// idleHooks does nothing between two instances.
type idleHooks struct{}

func (idleHooks) Hold(Urgency) time.Time                                     { return time.Time{} }
func (idleHooks) BeforeStart(context.Context, *profile.Profile, Start) error { return nil }
func (idleHooks) AfterStop(context.Context, *profile.Profile, Closing)       {}

func newRig(t *testing.T, mode string, change ...func(*Options)) *rig {
	t.Helper()
	// Sockets need a short path, which t.TempDir does not give.
	dir, err := os.MkdirTemp("/tmp", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, hooks: idleHooks{}, log: &logBuffer{}, notices: make(chan Notice, 1<<16), done: make(chan error, 1)}
	if err := os.Link(fakeWorker, r.path("worker")); err != nil {
		t.Fatal(err)
	}
	r.mode(mode)
	r.program("chrome", "echo Chromium 156.0.8078.79")
	r.o = optionsFor(dir)
	r.o.Logger = logging.New(r.log, "supervisor", slog.LevelDebug)
	for _, f := range change {
		f(&r.o)
	}
	return r
}

// optionsFor are the options of a Manager that has everything in dir.
func optionsFor(dir string) Options {
	limits := restart.DefaultLimits()
	limits.FirstDelay = 10 * time.Millisecond
	return Options{
		Tokens: dir + "/tokens", Worker: dir + "/worker", Chrome: dir + "/chrome", URL: "http://127.0.0.1:1/",
		RuntimeDir: process.RuntimeDir{Path: dir + "/run"}, Selectors: func() []byte { return nil }, Timings: testTimings(), Limits: limits,
	}
}

// envRig names the folder of a rig whose Manager this process is to be.
const envRig = "WORKER_TEST_RIG"

// playSupervisor runs a Manager until somebody kills it, and prints the pids of
// the worker and of Chrome.
func playSupervisor(dir string) int {
	if err := proctree.BecomeSubreaper(); err != nil {
		return 1
	}
	o := optionsFor(dir)
	o.Logger = slog.New(slog.DiscardHandler)
	m := New(o)
	m.Subscribe(func(n Notice) {
		switch n := n.(type) {
		case WorkerStarted:
			fmt.Print(n.PID, " ")
		case FromWorker:
			if b, ok := n.Event.Body.(rpc.BrowserStarted); ok {
				fmt.Println(b.PID)
			}
		}
	})
	if err := m.Run(context.Background(), idleHooks{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// mode decides what the next worker does. The file is replaced, not written.
func (r *rig) mode(mode string) {
	r.t.Helper()
	if err := os.WriteFile(r.path("mode.new"), []byte(mode), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.path("mode.new"), r.path("mode")); err != nil {
		r.t.Fatal(err)
	}
}

// program installs a shell script.
func (r *rig) program(name, script string) {
	r.t.Helper()
	path := r.path(name + ".new")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path, r.path(name)); err != nil {
		r.t.Fatal(err)
	}
}

// start runs the Manager. At the end of the test it is stopped, if it was not,
// and nothing may be left of it.
func (r *rig) start() *rig {
	r.t.Helper()
	r.Manager = New(r.o)
	r.Subscribe(func(n Notice) { r.notices <- n })
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx, r.hooks) }()
	r.t.Cleanup(func() {
		if !r.ended {
			r.stop()
		}
		r.nothingLeft()
		if r.t.Failed() {
			r.t.Logf("notified: %s\nlog:\n%s", strings.Join(r.order, " "), r.log.tail(16<<10))
		}
	})
	return r
}

// stop ends Run by its context and returns how long that took.
func (r *rig) stop() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Errorf("Run() = %v, want nil", err)
	}
	return time.Since(began)
}

func (r *rig) wait() error {
	r.t.Helper()
	r.ended = true
	defer r.cancel()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		r.t.Fatalf("Run does not return\n%s\n%s", r.log.tail(8<<10), buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// nothingLeft fails the test when a process, a folder, a goroutine or the lease is
// left.
func (r *rig) nothingLeft() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := proctree.Below(nil).Wait(ctx); err != nil {
		r.t.Errorf("after Run: %v", err)
		killCtx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = proctree.Below(nil).Kill(killCtx)
	}
	if entries, err := os.ReadDir(r.path("run")); err == nil && len(entries) > 0 {
		r.t.Errorf("after Run, in the runtime folder: %v", entries)
	}
	if _, err := os.Stat(r.path("tokens/admin.lease")); err == nil {
		if free, err := lease.Free(r.path("tokens/admin.lease")); err != nil || !free {
			r.t.Errorf("after Run the lease is free: %v, %v", free, err)
		}
	}
	goleak.VerifyNone(r.t)
}

// await returns the next notice of type T, and drops those before it.
func await[T Notice](r *rig) T {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case n := <-r.notices:
			r.note(n)
			if want, ok := n.(T); ok {
				return want
			}
		case <-timeout.C:
			var want T
			r.t.Fatalf("%T was not notified; notified: %s", want, strings.Join(r.order, " "))
		}
	}
}

// awaitEvent returns the next event from the worker with a body of type B.
func awaitEvent[B rpc.EventBody](r *rig) B {
	r.t.Helper()
	for {
		if body, ok := await[FromWorker](r).Event.Body.(B); ok {
			return body
		}
	}
}

func (r *rig) note(n Notice) {
	name := strings.TrimPrefix(fmt.Sprintf("%T", n), "worker.")
	if f, ok := n.(FromWorker); ok {
		if _, beat := f.Event.Body.(rpc.Heartbeat); beat {
			return
		}
		name = strings.TrimPrefix(fmt.Sprintf("%T", f.Event.Body), "rpc.")
	}
	r.order = append(r.order, name)
}

// drain notes what is notified until Run has returned.
func (r *rig) drain() {
	for {
		select {
		case n := <-r.notices:
			r.note(n)
		default:
			return
		}
	}
}

func (r *rig) wantOrder(want string) {
	r.t.Helper()
	if got := strings.Join(r.order, " "); got != want {
		r.t.Errorf("notified %s\nwant %s", got, want)
	}
}

// logBuffer takes the log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail returns what is worth a look after a failure.
func (b *logBuffer) tail(n int) string {
	var kept strings.Builder
	for line := range strings.Lines(b.text()) {
		if !strings.Contains(line, `"level":"DEBUG"`) && !strings.Contains(line, `"msg":"worker_stderr_received"`) {
			kept.WriteString(line)
		}
	}
	text := kept.String()
	return text[max(0, len(text)-n):]
}

// lines returns the parsed log lines with this message.
func (b *logBuffer) lines(t *testing.T, msg string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(b.text()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("log line %.200q is no JSON: %v", line, err)
		}
		if fields["msg"] == msg {
			found = append(found, fields)
		}
	}
	return found
}

// exitLine returns the last worker_exited line.
func (r *rig) exitLine() map[string]any {
	r.t.Helper()
	lines := r.log.lines(r.t, "worker_exited")
	if len(lines) == 0 {
		r.t.Fatal("worker_exited was not logged")
	}
	return lines[len(lines)-1]
}

// restarted asks for a restart as an operator does.
func restarted(r *rig) error {
	_, err := r.Restart(r.t.Context(), AfterPairing)
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
