package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// refused runs the supervisor, which must give up, and returns its exit
// code and what it wrote.
func refused(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(within(t), binaries.Supervisor, args...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("it ran: %s", out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestBadStartIsOneHelpfulLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"listen": "unix:%s"}`, t.TempDir()), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"port taken", []string{"--listen", taken.Addr().String()}, 69, []string{taken.Addr().String(), "already in use", "choose another port"}},
		{"folder for a socket", []string{"--config", file}, 69, []string{"listen in " + file, "is not a socket", "another path"}},
		{"misspelt flag", []string{"--tokns=x"}, 64, []string{"--tokns", "--tokens"}},
		{"visible browser", []string{"--headless=false"}, 78, []string{"--headless", "never visible"}},
		{"visible browser by Chrome's flag", []string{"--chrome-arg=--no-headless"}, 78, []string{"--no-headless", "never visible"}},
		{"open to the network", []string{"--listen", "0.0.0.0:0"}, 77, []string{"--listen"}},
		{"a key in the wrong place", []string{"--api-key=secret-secret-secret"}, 64, []string{"--api-key-file"}},
		{"a key for a file", []string{"--api-key-file=secret-secret-secret"}, 78, []string{"--api-key-file", "does not exist"}},
		{"bad address", []string{"--listen", "nowhere"}, 78, []string{"--listen", "HOST:PORT"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out := refused(t, append(tt.args, "--tokens", t.TempDir())...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if strings.Contains(out, "secret") {
				t.Errorf("it shows the key: %s", out)
			}
			if strings.Count(out, "\n") != 1 {
				t.Errorf("not one line: %s", out)
			}
			for _, part := range tt.want {
				if !strings.Contains(out, part) {
					t.Errorf("%q does not name %q", out, part)
				}
			}
		})
	}
}

func TestSecondSupervisorNamesTheFirst(t *testing.T) {
	t.Parallel()
	tokens := t.TempDir()
	first := start(t, "http://127.0.0.1:1/", tokens, "--chrome", "/nonexistent")
	first.await("ERROR")
	write(t, filepath.Join(tokens, "admin.lock"), strconv.Itoa(os.Getpid())+"\n") // as a predecessor left it
	second := launch(t, tokens, "--url", "http://127.0.0.1:1/")
	if code := second.exitCode(); code != 75 {
		t.Errorf("exit code %d", code)
	}
	if want := "(pid " + strconv.Itoa(first.PID()) + ")"; !strings.Contains(second.Log(), want) {
		t.Errorf("%s does not name the %s", second.Log(), want)
	}
	if got := first.status(); got != `{"status":"ERROR"}` {
		t.Errorf("the first was disturbed: %s", got)
	}
}

// obstacle is what keeps a service from working: a part of the detail, and how it ends.
type obstacle struct {
	detail string
	remove func() error
}

// TestObstaclesAreReportedAndRecover has several at once, which are removed as they are reported. A selectors file is
// then applied without a restart.
func TestObstaclesAreReportedAndRecover(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	installed, err := exec.LookPath("chromium")
	if err != nil {
		if installed, err = exec.LookPath("google-chrome-stable"); err != nil {
			t.Skip("neither chromium nor google-chrome-stable on the PATH")
		}
	}
	browser, tokens := filepath.Join(t.TempDir(), "chrome"), filepath.Join(t.TempDir(), "tokens")
	write(t, tokens, "") // a file in the way stops root, too
	temp, env := temporary(t)
	obstacles := map[string]obstacle{
		"browser_missing":    {browser, func() error { return os.Symlink(installed, browser) }},
		"profile_unwritable": {tokens, func() error { return os.Remove(tokens) }},
	}
	if err := unix.Mount("none", temp, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Log("cannot mount a read-only folder:", err)
	} else {
		t.Cleanup(func() { _ = unix.Unmount(temp, unix.MNT_DETACH) })
		obstacles["runtime_unwritable"] = obstacle{temp, func() error { return unix.Mount("none", temp, "", unix.MS_REMOUNT, "") }}
	}
	p, selectors := newPhone(t, simulator.Options{Profile: "other-attribute"}), filepath.Join(t.TempDir(), "selectors.json")
	s := launchWith(t, harness.Options{Tokens: tokens, URL: p.URL, Args: []string{"--chrome", browser, "--selectors", selectors}, Env: env})
	s.awaitListening()
	for len(obstacles) > 0 {
		v := s.awaitSession("another obstacle", func(v harness.Session) bool {
			_, known := obstacles[v.Reason.Code]
			return known && v.Status == "ERROR"
		})
		o := obstacles[v.Reason.Code]
		if v.Reason.Action == "" || !strings.Contains(v.Reason.Detail, o.detail) {
			t.Errorf("reason %+v", v.Reason)
		}
		if err := o.remove(); err != nil {
			t.Fatal(err)
		}
		delete(obstacles, v.Reason.Code)
	}
	s.await("QR_REQUIRED")
	selectorsApply(t, s, p, selectors)
}
