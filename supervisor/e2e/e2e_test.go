package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

func TestAPIAnswersBeforeThereIsABrowser(t *testing.T) {
	t.Parallel()
	slow := filepath.Join(t.TempDir(), "chrome")
	const script = "#!/bin/sh\n[ \"$1\" != --version ] || exec echo Chromium 156.0.8078.79\nexec sleep 600\n"
	if err := os.WriteFile(slow, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, "http://127.0.0.1:1/", t.TempDir(), "--chrome", slow)
	s.awaitSession("a worker that waits for its browser", func(v harness.Session) bool { return v.Worker.PID != 0 })
	if v := s.session(); v.Browser != nil {
		t.Errorf("there is a browser: %+v", v.Browser)
	}
	if got := s.status(); got != `{"status":"INIT"}` {
		t.Errorf("got %s", got)
	}
	if _, ok := s.qr(); ok {
		t.Error("a QR before there is a page")
	}
}

// TestLoginSurvivesARestartOfEverything follows a person from the first QR on, and the login from one
// engine to the other.
func TestLoginSurvivesARestartOfEverything(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{Speed: 4, Faults: []string{"sync=stuck:50"}})
	first := start(t, p.URL, tokens)
	first.await("QR_REQUIRED")
	first.showsScreen(p)
	if got := first.get("/qr.txt"); got.Code != 200 || strings.Count(got.Body, "\n") < 20 {
		t.Errorf("/qr.txt: %d, %d lines", got.Code, strings.Count(got.Body, "\n"))
	}
	if got := first.get("/qr.png"); got.Code != 200 || !strings.HasPrefix(got.Body, "\x89PNG") {
		t.Errorf("/qr.png: %d", got.Code)
	}
	onlyTheAPIListens(t, first)

	p.scan(t)
	first.await("AUTHENTICATED")
	p.ClearFaults()
	first.await("READY")
	if _, ok := first.qr(); ok {
		t.Error("a QR is served to a linked account")
	}
	below := tree(t, first.PID())
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, below)
	if got, want := first.states(), []string{"INIT", "QR_REQUIRED", "AUTHENTICATED", "READY"}; !slices.Equal(got[:min(len(want), len(got))], want) {
		t.Errorf("states were %v", got)
	}
	if _, err := os.Lstat(filepath.Join(tokens, "admin", "SingletonLock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Chrome did not close cleanly: its lock is there (%v)", err)
	}
	info, err := os.Stat(filepath.Join(tokens, "admin"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("profile: %v, %v", info.Mode(), err)
	}

	movesBetweenTheEngines(t, p, tokens)
}

// movesBetweenTheEngines uses a login with one engine, and then with the other.
func movesBetweenTheEngines(t *testing.T, p *phone, tokens string) {
	t.Helper()
	for _, next := range []struct {
		name   string
		engine chrome.Engine
	}{{"chromium-headless-shell", chrome.HeadlessShell}, {"chromium", chrome.FullChrome}} {
		var args []string
		binary, err := chrome.Find(next.name)
		if err == nil {
			args = []string{"--chrome", binary.Path}
		} else {
			t.Logf("not tried with %s: apt-get install %s", next.name, next.name)
		}
		s := start(t, p.URL, tokens, args...)
		s.await("READY")
		if got := s.session().Browser.Engine; err == nil && got != string(next.engine) {
			t.Errorf("engine %q, want %q", got, next.engine)
		}
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if strings.Contains(s.Log(), `"to":"QR_REQUIRED"`) {
			t.Errorf("%s asked for a new scan", next.name)
		}
	}
}

func onlyTheAPIListens(t *testing.T, s *service) {
	t.Helper()
	pids := tree(t, s.PID()).PIDs()
	if len(pids) < 3 {
		t.Fatalf("only %d processes below the supervisor", len(pids))
	}
	if found := listening(t, pids); len(found) > 0 {
		t.Errorf("listening: %v", found)
	}
	if own := listening(t, []int{s.PID()}); len(own) != 1 {
		t.Errorf("the supervisor listens on %v", own)
	}
}

// TestCrashesCostNoRequestAndDumpNoCore crashes Chrome, and then the worker, of a service
// that was started with core dumps allowed, and whose log nobody reads.
func TestCrashesCostNoRequestAndDumpNoCore(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 1})
	s := launchWith(t, harness.Options{Supervisor: dumping(t), URL: p.URL, Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: stalledPipe(t), Args: light})
	s.awaitSession("a QR", shown)
	requests := probe(s)
	folders := map[string]bool{}
	for i, victim := range []func(harness.Session) int{
		func(v harness.Session) int { return v.Browser.PID }, func(v harness.Session) int { return v.Worker.PID },
	} {
		before := s.awaitSession("a QR", shown)
		for _, pid := range processes(t, s) {
			wantNoCoreLimit(t, pid)
			if folder, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
				folders[folder] = true
			}
		}
		below := tree(t, s.PID())
		if err := syscall.Kill(victim(before), syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
		s.awaitSession("the end of the generation", func(v harness.Session) bool { return v.Worker.AbnormalExits > i })
		v := s.awaitSession("a QR of the next generation", func(v harness.Session) bool { return v.QR != nil })
		if v.QR.Generation == before.QR.Generation {
			t.Error("the dead page's QR is served")
		}
		s.showsScreen(p)
		gone(t, below)
	}
	requests.check(t)
	for folder := range folders {
		if cores, err := filepath.Glob(filepath.Join(folder, "core*")); err != nil || len(cores) > 0 {
			t.Errorf("in %s: %v, %v", folder, cores, err)
		}
	}
	before := s.session()
	s.wantAnswer("/session/restart", "", 202, "")
	s.awaitSession("the QR after a restart", func(v harness.Session) bool { return v.Worker.Generation > before.Worker.Generation && shown(v) })
	below := tree(t, s.PID())
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, below)
}

// restartWaitsUntilALoginHasSettled asks for a restart of a service whose account was just linked.
func restartWaitsUntilALoginHasSettled(t *testing.T, s *service) {
	t.Helper()
	settled := s.login().SettledAt
	before := s.session()
	requests := probe(s)
	s.signal(syscall.SIGHUP)
	v := s.awaitSession("the next generation, READY", func(v harness.Session) bool {
		return v.Worker.Generation > before.Worker.Generation && v.Status == "READY"
	})
	if settled == nil || time.Now().Before(*settled) {
		t.Errorf("it did not wait until %v", settled)
	}
	if v.Worker.AbnormalExits != 0 {
		t.Error("a planned restart was counted as a failure")
	}
	if v := s.login(); v.BackupAt == nil {
		t.Errorf("no backup was created meanwhile: %+v", v)
	}
	requests.check(t)
}

// A waiting request must not hold up the stop.
func TestStopEndsRequestsThatWait(t *testing.T) {
	t.Parallel()
	s := start(t, "http://127.0.0.1:1/", t.TempDir(), "--chrome", "/nonexistent")
	s.await("ERROR")
	answer := make(chan error, 1)
	go func() {
		_, err := s.Get(context.Background(), "/status?wait=60s")
		answer <- err
	}()
	began := time.Now()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := <-answer; err != nil {
		t.Logf("the waiting request ended with %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the stop took %s", took)
	}
}
