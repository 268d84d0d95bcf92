package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

var hangups = flag.Int("hangups", 4, "how many starts TestHangupNeverKills hangs up on")

// has reports whether a set of the process's signals, such as SigIgn, has SIGHUP.
func has(pid int, set string) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\n"+set+":")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	bits, _ := strconv.ParseUint(text, 16, 64)
	return bits&(1<<(syscall.SIGHUP-1)) != 0
}

// notified is the socket at which systemd would be notified.
type notified struct{ *net.UnixConn }

func listenAsSystemd(t *testing.T) (n notified, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return notified{conn}, path
}

// await waits for a message.
func (n notified) await(t *testing.T, want string) {
	t.Helper()
	if err := n.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for message := make([]byte, 4096); ; {
		size, err := n.Read(message)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if bytes.Contains(message[:size], []byte(want)) {
			return
		}
	}
}

// From the first instructions to the last, of the start, of systemd's READY=1, and of the
// stop.
func TestHangupNeverKills(t *testing.T) {
	t.Parallel()
	for n := range *hangups {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(n), 0))
			systemd, path := listenAsSystemd(t)
			s := launchWith(t, harness.Options{Tokens: t.TempDir(), Args: noChrome, Env: []string{"NOTIFY_SOCKET=" + path}})
			// Between exec and the first instructions of the program the kernel decides.
			for !has(s.PID(), "SigIgn") && !strings.Contains(s.Log(), "service_started") && !s.HasExited(0) {
				time.Sleep(100 * time.Microsecond)
			}
			for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
				s.signal(syscall.SIGHUP)
				time.Sleep(time.Duration(random.Int64N(int64(10 * time.Millisecond))))
			}
			systemd.await(t, "READY=1")
			s.signal(syscall.SIGHUP)
			s.awaitListening()
			s.signal(syscall.SIGTERM)
			for !s.HasExited(time.Millisecond) {
				s.signal(syscall.SIGHUP)
			}
			if code := s.exitCode(); code != 0 {
				t.Errorf("exit code %d: %s", code, s.Log())
			}
		})
	}
}

// TestHangupStormIsAtMostTwoRestarts also has a proxy that nobody serves, to which the loopback is
// not sent. Two signals end the service.
func TestHangupStormIsAtMostTwoRestarts(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	s := launchWith(t, harness.Options{URL: newPhone(t, simulator.Options{}).URL, Tokens: t.TempDir(), Args: light, Env: []string{
		"http_proxy=http://user:passw0rd@127.0.0.1:9", "HTTPS_PROXY=http://user:passw0rd@127.0.0.1:9",
	}})
	s.awaitListening()
	s.awaitQR()
	if !strings.Contains(s.Log(), `"proxy_selected"`) {
		t.Error("the environment's proxy is not used")
	}
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
		s.signal(syscall.SIGHUP)
	}
	s.awaitSession("the second restart", func(v harness.Session) bool { return v.Worker.Generation == 3 && shown(v) })
	s.endsAtOnce(syscall.SIGINT)
	if restarts := strings.Count(s.Log(), `"reason":"restart_requested","detail"`); restarts != 2 {
		t.Errorf("%d restarts", restarts)
	}
}

func TestIgnoredHangupStaysIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nohup := filepath.Join(dir, "nohup")
	if err := os.WriteFile(nohup, []byte("#!/bin/sh\ntrap '' HUP\nexec "+binaries.Supervisor+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nohup, append(noChrome, "--listen", "127.0.0.1:0", "--tokens", filepath.Join(dir, "tokens"))...)
	systemd, path := listenAsSystemd(t)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	systemd.await(t, "READY=1")
	if !has(cmd.Process.Pid, "SigIgn") {
		t.Error("SIGHUP is not ignored")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := wait(t, cmd); err != nil {
		t.Errorf("it exited with %v", err)
	}
}

// TestSecondSignalEndsEverythingAtOnce has SIGTERM, with -thorough: TestTwoSignalsEndTheStart has it too, and
// TestHangupStormIsAtMostTwoRestarts the other one.
func TestSecondSignalEndsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	for _, sig := range variants([]syscall.Signal{syscall.SIGTERM}, 0) {
		s := start(t, newPhone(t, simulator.Options{}).URL, t.TempDir(), light...)
		s.awaitQR()
		s.endsAtOnce(sig)
	}
}

// endsAtOnce sends a signal twice to a service that waits for its Chrome.
func (s *service) endsAtOnce(sig syscall.Signal) {
	s.t.Helper()
	processes := tree(s.t, s.PID())
	// A stopped Chrome does not close, and the service waits for it.
	browser := s.session().Browser.PID
	if err := syscall.Kill(browser, syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	s.signal(sig)
	s.awaitLog("stop_requested")
	s.signal(sig)
	if code := s.exitCode(); code != -1 {
		s.t.Errorf("it exited with %d instead of by the signal", code)
	}
	_ = syscall.Kill(browser, syscall.SIGCONT) // it finds that its worker is gone
	gone(s.t, processes)
}

// Whether the service is up or not.
func TestTwoSignalsEndTheStart(t *testing.T) {
	t.Parallel()
	for n := range 10 {
		cmd := exec.Command(binaries.Supervisor, append(noChrome, "--listen", "127.0.0.1:0", "--tokens", t.TempDir())...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n*10) * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if _ = wait(t, cmd); cmd.ProcessState.ExitCode() > 0 {
			t.Errorf("after %d ms: %s", n*10, cmd.ProcessState)
		}
	}
}

// sleeps reports whether a process's first thread waits for something.
func sleeps(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State == "S"
}

func TestSignalEndsACommand(t *testing.T) {
	t.Parallel()
	_, stalled := fullPipe(t)
	for name, tt := range map[string]struct {
		args   []string
		stdout *os.File
		signal syscall.Signal
		code   int
	}{
		"doctor, interrupted": {[]string{"doctor", "--tokens", t.TempDir(), "--listen", "127.0.0.1:0"}, nil, syscall.SIGINT, 130},
		"doctor, hung up":     {[]string{"doctor", "--tokens", t.TempDir(), "--listen", "127.0.0.1:0"}, nil, syscall.SIGHUP, 129},
		"settings, stalled":   {[]string{"--print-config"}, stalled, syscall.SIGTERM, 143},
		"script, stalled":     {[]string{"completion", "bash"}, stalled, syscall.SIGHUP, 129},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binaries.Supervisor, tt.args...)
			if tt.stdout != nil {
				cmd.Stdout = tt.stdout
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			eventually(t, "its handlers", func() bool { return has(cmd.Process.Pid, "SigCgt") && !has(cmd.Process.Pid, "SigIgn") })
			if tt.stdout == nil {
				eventually(t, "what it starts", func() bool { return len(tree(t, cmd.Process.Pid)) > 0 })
			} else {
				eventually(t, "what it waits for", func() bool { return sleeps(cmd.Process.Pid) }) // not while it is being initialized
				time.Sleep(time.Second)                                                            // into what it does
			}
			processes := tree(t, cmd.Process.Pid)
			_ = cmd.Process.Signal(tt.signal)
			if _ = wait(t, cmd); cmd.ProcessState.ExitCode() != tt.code {
				t.Errorf("it exited with %s", cmd.ProcessState)
			}
			gone(t, processes)
		})
	}
}

// It waits for a moment whether the address is freed.
func TestSignalEndsTheWaitForTheAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s := launch(t, t.TempDir(), append(noChrome, "--listen", taken.Addr().String())...)
	eventually(t, "its handlers", func() bool { return has(s.PID(), "SigCgt") && !has(s.PID(), "SigIgn") })
	if code := s.stop(); code != 0 && code != -1 {
		t.Errorf("exit code %d: %s", code, s.Log())
	}
}
