package browser_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/lease"
	"session-manager/shared/reason"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

func TestChromeStartsAndClosesCleanly(t *testing.T) {
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	if err := b.Probes().Main(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(b.Info().Product, "/"+o.Version) {
		t.Errorf("product %q, want version %s", b.Info().Product, o.Version)
	}
	if chrome.EngineOf(b.Info().Product) == chrome.FullChrome && lockOwner(t, o.ProfileDir) != b.PID() {
		t.Error("the profile's lock does not name our Chrome")
	}
	if want := os.Geteuid() != 0; b.Info().Sandbox != want {
		t.Errorf("sandbox %v, want %v", b.Info().Sandbox, want)
	}
	pids := tree(t, b.PID(), o.ScratchDir)
	if len(pids) < 3 {
		t.Fatalf("found %d processes, want the whole tree", len(pids))
	}

	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := b.Exit(); got != (browser.Exit{}) {
		t.Errorf("exit: %v, want a clean one", got)
	}
	if _, err := os.Lstat(filepath.Join(o.ProfileDir, "SingletonLock")); !os.IsNotExist(err) {
		t.Error("the lock is left")
	}
	mustBeGone(t, b.PID(), o.ScratchDir)
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := b.Probes().Main(t.Context()); err == nil {
		t.Error("a closed browser answers")
	}
}

func TestChromeListensOnNoTCPSocket(t *testing.T) {
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	for _, p := range tree(t, b.PID(), o.ScratchDir) {
		if l := listeners(t, p); len(l) > 0 {
			t.Errorf("process %d listens: %q", p, l)
		}
	}
}

func TestLeaseIsHeldWhileChromeLives(t *testing.T) {
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	if free, err := lease.Free(o.LeaseFile); err != nil || free {
		t.Fatalf("lease free: %v, %v, while Chrome lives", free, err)
	}
	if _, err := browser.Start(t.Context(), o); reason.Of(err, "") != reason.ProfileInUse {
		t.Errorf("a second start: %v, want reason %s", err, reason.ProfileInUse)
	}
	if err := unix.Kill(b.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	if got, want := b.Exit(), (browser.Exit{Code: -1, Signal: "killed"}); got != want {
		t.Errorf("exit: %+v, want %+v", got, want)
	}
	if free, err := lease.Free(o.LeaseFile); err != nil || !free {
		t.Errorf("lease free: %v, %v, after Chrome was killed", free, err)
	}
	mustBeGone(t, b.PID(), o.ScratchDir)
}

func TestChromeClosesCleanlyWhenTheWorkerIsKilled(t *testing.T) {
	o := browsertest.Options(t)
	worker := exec.CommandContext(t.Context(), os.Args[0], o.Path, o.Version)
	worker.Env = append(os.Environ(), asWorker+"="+filepath.Dir(o.ProfileDir))
	worker.Stderr = t.Output()
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, convErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || convErr != nil {
		t.Fatalf("worker said %q, %v", line, err)
	}
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	if !ended(pid, 30*time.Second) {
		_ = unix.Kill(-pid, unix.SIGKILL)
		t.Fatal("Chrome outlives its worker")
	}
	if _, err := os.Lstat(filepath.Join(o.ProfileDir, "SingletonLock")); !os.IsNotExist(err) {
		t.Error("the lock is left: Chrome did not close cleanly")
	}
	mustBeGone(t, pid, o.ScratchDir)
}

func TestProfileOfAnotherChromeIsLeftAlone(t *testing.T) {
	o := browsertest.Options(t)
	holder := browsertest.Start(t, o)
	if chrome.EngineOf(holder.Info().Product) == chrome.HeadlessShell {
		t.Skip("needs a Chrome that locks its profile; a chrome-headless-shell does not")
	}
	o.LeaseFile += ".other"
	o.ScratchDir += "2"
	_, err := browser.Start(t.Context(), o)
	if reason.Of(err, "") != reason.ProfileInUse {
		t.Errorf("start: %v, want reason %s", err, reason.ProfileInUse)
	}
	if err := holder.Probes().Main(t.Context()); err != nil {
		t.Errorf("the holder was disturbed: %v", err)
	}
}

func TestFrozenChromeMissesItsDeadlineAndIsKilled(t *testing.T) {
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	if err := unix.Kill(b.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := b.Probes().Main(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("probe of a frozen Chrome: %v, want %v", err, context.DeadlineExceeded)
	}
	if err := b.Close(t.Context()); !errors.Is(err, browser.ErrKilled) {
		t.Errorf("close: %v, want %v", err, browser.ErrKilled)
	}
	mustBeGone(t, b.PID(), o.ScratchDir)
}

func TestFrozenChromeWithAFullPipeIsKilled(t *testing.T) {
	o := browsertest.Options(t)
	b := browsertest.Start(t, o)
	if err := unix.Kill(b.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error)
	go func() {
		_, err := b.Rod().Call(t.Context(), "", "Browser.getVersion", strings.Repeat("x", 1<<20))
		blocked <- err
	}()
	begun := time.Now()
	if err := b.Close(t.Context()); !errors.Is(err, browser.ErrKilled) {
		t.Errorf("close: %v, want %v", err, browser.ErrKilled)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := <-blocked; !errors.Is(err, browser.ErrGone) {
		t.Errorf("the blocked call: %v, want %v", err, browser.ErrGone)
	}
	mustBeGone(t, b.PID(), o.ScratchDir)
}

func TestConcurrentClosesAreOneCleanExit(t *testing.T) {
	b := browsertest.Start(t, browsertest.Options(t))
	errs := make(chan error)
	for range 4 {
		go func() { errs <- b.Close(t.Context()) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := b.Exit(); got != (browser.Exit{}) {
		t.Errorf("exit: %v, want a clean one", got)
	}
}

func lockOwner(t *testing.T, profile string) int {
	t.Helper()
	target, err := os.Readlink(filepath.Join(profile, "SingletonLock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(target[strings.LastIndex(target, "-")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
