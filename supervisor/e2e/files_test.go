package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile/profiletest"
)

// pipe makes a named pipe that nobody writes to.
func pipe(t *testing.T, path string) string {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPipesInPlaceOfFilesAreRefused(t *testing.T) {
	t.Parallel()
	path := pipe(t, filepath.Join(t.TempDir(), "pipe"))
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, "a-key-a-key-a-key-a-key")
	for name, args := range map[string][]string{
		"config": {"--config", path}, "keys": {"--api-key-file", path}, "certificate": {"--tls-cert", path, "--tls-key", keys},
		"certificate's key": {"--tls-cert", keys, "--tls-key", path}, "webhook": {"--webhook-url-file", path},
		"webhook's key": {"--webhook-key-file", path},
	} {
		if code, out := refused(t, append(args, "--tokens", t.TempDir(), "--listen", "127.0.0.1:0")...); code != 78 || !strings.Contains(out, "not a regular file") {
			t.Errorf("%s: exit code %d, %s", name, code, out)
		}
	}
}

func TestSelectorsThatArePipesAreTriedAgain(t *testing.T) {
	t.Parallel()
	path := pipe(t, filepath.Join(t.TempDir(), "selectors.json"))
	s := launch(t, t.TempDir(), append(noChrome, "--selectors", path)...)
	s.awaitListening()
	if v := s.session(); v.Page.Selectors.Source != "built_in" || !strings.Contains(v.Page.Selectors.Refused, "not a regular file") {
		t.Errorf("got %+v", v.Page.Selectors)
	}
	content, err := os.ReadFile("../../shared/selectors/selectors.json")
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, string(content))
	s.awaitSession("the file", func(v harness.Session) bool {
		return v.Page.Selectors.Source == "file" && v.Page.Selectors.Refused == ""
	})
}

// warned waits until there are exactly these warnings, and returns them.
func (s *service) warned(codes ...string) []harness.Reason {
	s.t.Helper()
	return s.awaitSession(fmt.Sprintf("warnings %q", codes), func(v harness.Session) bool { return v.Warned(codes...) }).Warnings
}

// replace puts another file, or with no content a pipe, in place of one.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if content == "" {
		pipe(t, path+".new")
	} else {
		write(t, path+".new", content)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestPipeInPlaceOfKeysHoldsNothingUp(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, "a-key-a-key-a-key-a-key")
	s := launch(t, t.TempDir(), append(noChrome, "--api-key-file", keys)...)
	s.awaitListening()
	screenshot := func(key string) int { return code(t, http.DefaultClient, "GET", s.Base+"/session/screenshot", key) }
	replace(t, keys, "")
	if w := s.warned("keys_unusable"); !strings.Contains(w[0].Detail, "not a regular file; no key is valid from 20") {
		t.Errorf("got %+v", w)
	}
	s.awaitLog(`"file_reload_failed"`)
	replace(t, keys, "another-key-another-key")
	eventually(t, "the next key", func() bool { return screenshot("another-key-another-key") != 401 })
	if got := screenshot("a-key-a-key-a-key-a-key"); got != 401 {
		t.Errorf("the revoked key: got %d", got)
	}
	s.warned()
	replace(t, keys, "")
	s.warned("keys_unusable")
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestKeyFileOpenToAllIsAWarning(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, "a-key-a-key-a-key-a-key")
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(keys, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o644)
	s := launch(t, t.TempDir(), append(noChrome, "--api-key-file", keys)...)
	s.awaitListening()
	if w := s.warned("secret_file_exposed"); w[0].Detail != keys {
		t.Errorf("got %+v", w)
	}
	s.awaitLog(`"secret_file_exposed"`)
	chmod(0o600)
	s.warned()
	chmod(0o602)
	s.warned("secret_file_exposed")
}

func TestWebhookFromAFileIsNeverShown(t *testing.T) {
	t.Parallel()
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.String() }))
	defer receiver.Close()
	path := filepath.Join(t.TempDir(), "url")
	write(t, path, receiver.URL+"/secret-path?token=secret\n")
	s := launch(t, t.TempDir(), append(noChrome, "--webhook-url-file", path)...)
	s.awaitListening()
	select {
	case url := <-got:
		if url != "/secret-path?token=secret" {
			t.Errorf("got %s", url)
		}
	case <-within(t).Done():
		t.Fatal("nothing came")
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the log": s.Log(), "/session": s.get("/session").Body, "/metrics": s.get("/metrics").Body, "ps": string(line)} {
		if strings.Contains(text, "secret") {
			t.Errorf("%s has the secret", where)
		}
	}
}

// exported is a file with a login, whose passphrase costs next to nothing to check.
func exported(t *testing.T) string {
	t.Helper()
	tokens, file := t.TempDir(), filepath.Join(t.TempDir(), "login.age")
	profiletest.Fill(t, filepath.Join(tokens, "admin"), "the exported login")
	if _, err := (login.Export{Tokens: tokens, File: file, Passphrase: passphrase, Work: 4}).Run(within(t)); err != nil {
		t.Fatal(err)
	}
	return file
}

// loginFile is where a page keeps its login.
func loginFile(tokens string) string {
	return filepath.Join(tokens, "admin", "Default", "Local Storage", "leveldb", "000003.log")
}

// writer opens a pipe for writing once somebody reads from it.
func writer(t *testing.T, path string) (w *os.File) {
	t.Helper()
	eventually(t, "the reader", func() bool {
		var err error
		w, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// A signal ends an import while it waits for the writer of a pipe, and while it computes
// what the file claims to be the cost of its passphrase.
func TestSignalEndsAnImport(t *testing.T) {
	t.Parallel()
	file := exported(t)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	costly := string(bytes.Replace(content, []byte(" 4\n"), []byte(" 18\n"), 1))
	phrase := filepath.Join(t.TempDir(), "phrase")
	write(t, phrase, passphrase+"\n")
	path := pipe(t, filepath.Join(t.TempDir(), "pipe"))
	for name, tt := range map[string]struct{ file, phrase, written string }{
		"the file": {path, phrase, ""}, "the rest of the file": {path, phrase, string(content[:len(content)/2])},
		"the passphrase": {file, path, ""}, "the cost": {path, phrase, costly},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := t.TempDir()
			profiletest.Fill(t, filepath.Join(tokens, "admin"), "the old login")
			var out bytes.Buffer
			cmd := exec.CommandContext(within(t), binaries.Supervisor, "session", "import", tt.file, "--passphrase-file", tt.phrase, "--tokens", tokens)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w := writer(t, path)
			if _, err := w.WriteString(tt.written); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the reading of what was written", func() bool {
				left, err := unix.IoctlGetInt(int(w.Fd()), unix.TIOCINQ)
				return err == nil && left == 0
			})
			asked := time.Now()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the code is checked below
			if took := time.Since(asked); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if cmd.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
				t.Errorf("%s, %s", cmd.ProcessState, out.String())
			}
			old, err := os.ReadFile(loginFile(tokens))
			left, globErr := filepath.Glob(filepath.Join(tokens, "partial-*"))
			if err := errors.Join(err, globErr); err != nil || string(old) != "the old login" || len(left) > 0 {
				t.Errorf("%v, %q, left: %v", err, old, left)
			}
		})
	}
}

func TestImportReadsPipes(t *testing.T) {
	t.Parallel()
	file, tokens := exported(t), t.TempDir()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := pipe(t, filepath.Join(t.TempDir(), "pipe"))
	cmd := exec.CommandContext(within(t), binaries.Supervisor, "session", "import", path, "--passphrase-file", "/dev/stdin", "--tokens", tokens)
	cmd.Stdin = io.MultiReader(strings.NewReader(passphrase), strings.NewReader("\nand more"))
	wrote := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = w.Write(content)
			err = errors.Join(err, w.Close())
		}
		wrote <- err
	}()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(loginFile(tokens)); err != nil || string(got) != "the exported login" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUnusableArchivesExitWith65(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, cut := filepath.Join(dir, "text"), filepath.Join(dir, "cut")
	write(t, text, "a-key-of-somebody")
	content, err := os.ReadFile(exported(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, cut, string(content[:len(content)-1]))
	tokens := filepath.Join(dir, "tokens")
	for _, path := range []string{filepath.Join(dir, "missing"), dir, text, cut, "/dev/null"} {
		if out, code := run(t, "session", "import", path, "--tokens", tokens); code != 65 || strings.Contains(out, "a-key") {
			t.Errorf("%s: exit code %d, %s", path, code, out)
		}
	}
	if _, err := os.Lstat(tokens); err == nil {
		t.Error("the folder for a login was made")
	}
}

func TestFilesOfVenomAreNamedInTheLog(t *testing.T) {
	t.Parallel()
	tokens := t.TempDir()
	profile, token := filepath.Join(tokens, "ADMIN"), filepath.Join(tokens, "ADMIN.data.json")
	if err := os.MkdirAll(filepath.Join(profile, "Default"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, token, `{"WABrowserId":"\"x\"","WAToken1":"\"x\""}`)
	s := launch(t, tokens, noChrome...)
	for _, path := range []string{profile, token} {
		s.awaitLog(`"msg":"former_login_ignored","process":"supervisor","path":"` + path + `"`)
	}
}
