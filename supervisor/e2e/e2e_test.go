package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
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

func TestServedQRMatchesTheScreen(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 1})
	s := start(t, p.URL, t.TempDir())
	s.await("QR_REQUIRED")
	if got, want := s.awaitQR(), p.OnScreen().Payload; got != want {
		t.Error("/qr decodes to another string than the one on the screen")
	}
	if got := s.get("/qr.txt"); got.Code != 200 || strings.Count(got.Body, "\n") < 20 {
		t.Errorf("/qr.txt: %d, %d lines", got.Code, strings.Count(got.Body, "\n"))
	}
	if got := s.get("/qr.png"); got.Code != 200 || !strings.HasPrefix(got.Body, "\x89PNG") {
		t.Errorf("/qr.png: %d", got.Code)
	}
}

func TestLoginSurvivesARestartOfEverything(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	tokens := t.TempDir()
	p := newPhone(t, simulator.Options{})
	first := start(t, p.URL, tokens)
	first.awaitQR()
	p.scan(t)
	first.await("READY")
	if _, ok := first.qr(); ok {
		t.Error("a QR is served to a linked account")
	}
	below := tree(t, first.PID())
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, below)
	if _, err := os.Lstat(filepath.Join(tokens, "admin", "SingletonLock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Chrome did not close cleanly: its lock is there (%v)", err)
	}
	info, err := os.Stat(filepath.Join(tokens, "admin"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("profile: %v, %v", info.Mode(), err)
	}

	second := start(t, p.URL, tokens)
	second.await("READY")
	second.stop()
	if strings.Contains(second.Log(), `"to":"QR_REQUIRED"`) {
		t.Error("a scan was asked for")
	}
}

func TestStatesFollowTheScan(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 4})
	s := start(t, p.URL, t.TempDir())
	s.awaitQR()
	p.scan(t)
	s.await("READY")
	s.stop() // so that the log is whole
	log := s.Log()
	for _, move := range []string{
		`"from":"INIT","to":"QR_REQUIRED"`, `"from":"QR_REQUIRED","to":"AUTHENTICATED"`, `"from":"AUTHENTICATED","to":"READY"`,
	} {
		if !strings.Contains(log, move) {
			t.Errorf("no %s in the log", move)
		}
	}
}

// victims are the processes whose death the API must not notice.
var victims = map[string]func(harness.Session) int{
	"Chrome":     func(v harness.Session) int { return v.Browser.PID },
	"the worker": func(v harness.Session) int { return v.Worker.PID },
}

func TestKilledProcessCostsNoRequest(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	for name, victim := range victims {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPhone(t, simulator.Options{Speed: 1})
			s := start(t, p.URL, t.TempDir())
			s.awaitQR()
			before := s.session()
			below := tree(t, s.PID())
			requests := probe(s)
			kill(t, victim(before))
			s.awaitSession("the end of the generation", func(v harness.Session) bool { return v.Worker.AbnormalExits > 0 })
			v := s.awaitSession("a QR of the next generation", func(v harness.Session) bool { return v.QR != nil })
			if v.QR.Generation == before.QR.Generation {
				t.Error("the dead page's QR is served")
			}
			if got, want := s.awaitQR(), p.OnScreen().Payload; got != want {
				t.Error("/qr decodes to another string than the one on the screen")
			}
			requests.check(t)
			gone(t, below)
		})
	}
}

func TestNothingListensButTheAPI(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 1})
	s := start(t, p.URL, t.TempDir())
	s.awaitQR()
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

func TestCleanRestartWaitsUntilALoginHasSettled(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{})
	s := linked(t, p, t.TempDir(), "--settle-time", "3s")
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

func TestLogHoldsNoLoginString(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p := newPhone(t, simulator.Options{Speed: 20})
	s := start(t, p.URL, t.TempDir())
	var seen []string
	for range 3 {
		seen = append(seen, s.awaitQR())
		last := p.OnScreen().Ref
		if err := p.Await(within(t), func(c simulator.Screen) bool { return c.Visible && c.Ref != last }); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	log := s.Log()
	for _, login := range seen {
		for field := range strings.SplitSeq(strings.TrimPrefix(login, "https://wa.me/settings/linked_devices#"), ",") {
			if len(field) > 8 && strings.Contains(log, field) {
				t.Error("a part of a QR payload is in the log")
			}
		}
	}
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
