package e2e

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// situation is what a doctor and a service find.
type situation struct {
	name string
	// args are for both. Of flags that are set twice the last one counts.
	args func(t *testing.T, tokens string) []string
	// want is the service's reason or exit code; empty if it works.
	want string
	// says is a part of what the doctor writes.
	says string
	rare bool // is tried with -thorough
}

func flags(args ...string) func(*testing.T, string) []string {
	return func(*testing.T, string) []string { return args }
}

// script returns --chrome or --worker with a shell script, which answers --version.
func script(flag, code string) func(*testing.T, string) []string {
	return program(flag, "[ \"$1\" != --version ] || { echo Chromium 156.0.1.2; exit; }\n"+code)
}

// program returns --chrome or --worker with a shell script.
func program(flag, code string) func(*testing.T, string) []string {
	return func(t *testing.T, _ string) []string {
		path := filepath.Join(t.TempDir(), "program")
		write(t, path, "#!/bin/sh\n"+code+"\n")
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return []string{flag, path}
	}
}

// withoutChrome keeps the doctor from starting Chrome where the finding is another one.
func withoutChrome(args ...string) []string { return append(args, noChrome...) }

// file returns a flag with a file of this content.
func file(flag, content string) func(*testing.T, string) []string {
	return func(t *testing.T, _ string) []string {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, content)
		return withoutChrome(flag, path)
	}
}

// fullDisk mounts a file system without room for Chrome.
func fullDisk(t *testing.T, tokens string) []string {
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", tokens, "tmpfs", unix.MS_NODEV, "size=10m,mode=0700"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(tokens, unix.MNT_DETACH) })
	return withoutChrome()
}

// page returns --url with a server that answers so.
func page(start func(http.Handler) *httptest.Server, answer http.HandlerFunc) func(*testing.T, string) []string {
	return func(t *testing.T, _ string) []string {
		s := start(answer)
		t.Cleanup(s.Close)
		return []string{"--url", s.URL}
	}
}

func situations() []situation {
	short := "long-enough-for-a-key"
	return []situation{
		{"all is well", flags(), "", "the page shows a QR", false},
		{"a clock that is wrong", page(httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusServiceUnavailable)
		}), "http_error", "timedatectl", true},
		{"no Chrome", flags("--chrome", "/nonexistent"), "browser_missing", "apt-get install chromium", false},
		{"a Chrome without a version", flags("--chrome", "/bin/true"), "browser_missing", "no version", true},
		{"a Chrome that is too old", program("--chrome", "echo Chromium 99.0.1.2"), "browser_unsupported", "or newer is needed", false},
		{"a browser that is not Chrome", program("--chrome", "echo v33.2.0"), "browser_unsupported", "v33.2.0", true},
		{"no sandbox", script("--chrome", `echo "FATAL: No usable sandbox!" >&2; exit 1`), "sandbox_refused", "user namespaces", false},
		{"a library that is missing", script("--chrome", "echo cannot open libnss3.so >&2; exit 127"), "browser_start_failed", "libnss3.so", false},
		{"a worker that is missing", flags("--worker", "/nonexistent"), "worker_unusable", "make build", false},
		{"a worker that is another program", flags("--worker", "/bin/ls"), "worker_unusable", "not a handshake", true},
		{"a worker that speaks otherwise", script("--worker", "echo hello; sleep 100"), "worker_unusable", "not a handshake", false},
		{"a worker of another version", script("--worker", "echo '1|1|unix|/x|grpc'; sleep 100"), "worker_unusable", "protocol version 1", true},
		{"a worker that hangs", script("--worker", "sleep 100"), "worker_hung", "worker_hung", true},
		{"a worker that floods", script("--worker", "yes"), "worker_unusable", "not a handshake", true},
		{"a disk that is full", fullDisk, "disk_full", "Free some space", false},
		{"tokens that are a file", func(t *testing.T, tokens string) []string {
			write(t, tokens, "")
			return withoutChrome()
		}, "profile_unwritable", "not a directory", false},
		{"an address that is in use", func(t *testing.T, _ string) []string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return withoutChrome("--listen", l.Addr().String())
		}, "69", "ss -ltnp", false},
		{"a socket in a missing folder", flags(withoutChrome("--listen", "unix:/nonexistent/api.sock")...), "70", "✗ address", false},
		{"an address of another machine", func(t *testing.T, tokens string) []string {
			return append(file("--api-key-file", short)(t, tokens), "--listen", "192.0.2.1:1")
		}, "69", "✗ address", true},
		{"a setting that is wrong", flags("--qr-timeout=15"), "78", "--qr-timeout", false},
		{"a flag that is wrong", flags("--lisen=x"), "64", "--listen", false},
		{"an address that is not safe", flags("--listen=0.0.0.0:0"), "77", "--api-key-file", false},
		{"a key that is too short", file("--api-key-file", "short"), "78", "✗ files", false},
		{"a key of a webhook", file("--webhook-key-file", ""), "78", "✗ files", true},
		{"a webhook that is not a URL", file("--webhook-url-file", "x"), "78", "✗ files", true},
		{"a certificate that is not one", file("--tls-cert", "x"), "78", "--tls-key", false},
		{"a page that nobody serves", flags("--url", "http://127.0.0.1:1/"), "network_unreachable", "proxy", false},
		{"a page with a certificate of its own", page(func(h http.Handler) *httptest.Server {
			s := httptest.NewUnstartedServer(h)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			return s
		}, func(http.ResponseWriter, *http.Request) {}), "certificate_invalid", "clock", true},
		{"a proxy that does not exist", flags("--chrome-arg=--proxy-server=127.0.0.1:1", "--url", "http://page.example/"), "proxy_failed", "--proxy", true},
		{"a name that does not exist", flags("--url", "http://nowhere.invalid/"), "network_unreachable", "DNS", true},
	}
}

func TestDoctorAndServiceAgree(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	url := newPhone(t, simulator.Options{}).URL
	for _, tt := range situations() {
		if tt.rare && !*thorough {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			tokens, theirs := filepath.Join(dir, "tokens"), filepath.Join(shortDir(t), "tokens")
			common := append(light, "--url", url, "--listen", "127.0.0.1:0")
			s := launch(t, theirs, append(common, tt.args(t, theirs)...)...)
			exit, out := examine(t, dir, append(append(common, tt.args(t, tokens)...), "--tokens", tokens)...)
			if exit != min(1, len(tt.want)) || !strings.Contains(out, tt.says) {
				t.Errorf("exit code %d:\n%s", exit, out)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if got := outcome(s); got != tt.want {
				t.Errorf("the service: %q\nthe doctor: %s", got, out)
			} else if strings.Contains(got, "_") && !strings.Contains(out, got) {
				t.Errorf("no %s in %s", got, out)
			}
		})
	}
}

// examine runs the doctor with temporary files in dir, and returns its exit code and what it
// wrote.
func examine(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(within(t), binaries.Supervisor, append([]string{"doctor"}, args...)...)
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// outcome is the exit code of a service that does not start, or the first reason that it has
// for not working; empty if it works.
func outcome(s *service) string {
	s.t.Helper()
	if err := s.AwaitListening(within(s.t)); err != nil {
		return strconv.Itoa(s.exitCode())
	}
	failed := func(v harness.Session) bool { return v.LastExit != nil && v.LastExit.Class != "planned" }
	v := s.awaitSession("an outcome", func(v harness.Session) bool { return v.Status == "ERROR" || v.QR != nil || failed(v) })
	switch {
	case v.QR != nil:
		return ""
	case failed(v):
		return v.LastExit.Reason
	}
	return v.Reason.Code
}

func TestDoctorSeesTheServiceThatRuns(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	files := t.TempDir()
	cert, key := filepath.Join(files, "cert"), filepath.Join(files, "key")
	writePair(t, cert, key)
	dir, tokens := shortDir(t), shortDir(t)
	address := "unix:" + filepath.Join(dir, "api.sock")
	args := []string{"--chrome", "/nonexistent", "--listen", address, "--tls-cert", cert, "--tls-key", key}
	s := launch(t, tokens, args...)
	s.awaitListening()
	_, out := examine(t, dir, append(args, "--tokens", tokens)...)
	if !strings.Contains(out, "the service answers there") || !strings.Contains(out, "which runs") {
		t.Error(out)
	}
	other := shortDir(t)
	if _, out := examine(t, other, append(args, "--tokens", other)...); !strings.Contains(out, "another session-manager") {
		t.Error(out)
	}
	args[3] = "127.0.0.1:0"
	if _, out := examine(t, shortDir(t), append(args, "--tokens", tokens)...); !strings.Contains(out, "in use by another supervisor") {
		t.Error(out)
	}
}
