package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/login"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program writes a shell script that can be run.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func expect(t *testing.T, f Finding, mark Mark, words ...string) {
	t.Helper()
	if f.Mark != mark {
		t.Errorf("got %s %s", f.Mark, f.Found)
	}
	if (f.Mark == Good) != (f.Do == "") && f.Mark != Good {
		t.Errorf("nothing to do about %s", f.Found)
	}
	for _, word := range words {
		if !strings.Contains(f.Found+" "+f.Do, word) {
			t.Errorf("no %q in %s → %s", word, f.Found, f.Do)
		}
	}
}

func TestMissingChromeAndOtherProgramsAreReported(t *testing.T) {
	expect(t, settings{Chrome: "/nonexistent"}.checkChrome(t.Context()), NoChrome, "/nonexistent", "apt-get install chromium")
	expect(t, settings{Chrome: program(t, "echo no browser")}.checkChrome(t.Context()), NoChrome, "no version")
	expect(t, settings{Chrome: program(t, "echo Chromium 156.0.1.2")}.checkChrome(t.Context()), Good, "156.0.1.2")
}

func TestFailedStartOfChromeIsExplained(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   []string
	}{
		"no sandbox":        {`echo "FATAL: No usable sandbox! Update your kernel" >&2; exit 1`, []string{"sandbox", "unprivileged_userns_clone"}},
		"a missing library": {`echo "error while loading shared libraries: libnss3.so" >&2; exit 127`, []string{"libnss3.so", "by hand"}},
		"no page":           {`exit 0`, []string{"no page"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, settings{Chrome: program(t, tt.script)}.checkStart(t.Context()), Bad, tt.want...)
		})
	}
}

func TestHangingChromeIsKilledWithItsChildren(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	// The browser and a helper of it, that both never end.
	hanging := program(t, `mkfifo `+pids+`.end; (read x < `+pids+`.end) & echo $$ $! > `+pids+`; wait`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	expect(t, settings{Chrome: hanging}.checkStart(ctx), Bad, "did not show")
	content, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for pid := range strings.FieldsSeq(string(content)) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("%s lives: %s", pid, stat)
		}
	}
}

func TestRealChromeIsStartedAndLeavesNothing(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing: apt-get install chromium")
	}
	// Not t.TempDir: its long name would make the doctor use another one.
	dir, err := os.MkdirTemp("/tmp", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	f := settings{Chrome: path}.checkStart(t.Context())
	want := Good
	if os.Geteuid() == 0 {
		want = Warning
	}
	expect(t, f, want, "shows a page")
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWorkerMustBeAProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Worker: file + ".missing"}.checkWorker(t.Context()), Bad, "make build")
	expect(t, settings{Worker: filepath.Dir(file)}.checkWorker(t.Context()), Bad, "not a regular file")
	expect(t, settings{Worker: file}.checkWorker(t.Context()), Bad, "cannot execute")
	expect(t, settings{Worker: program(t, "")}.checkWorker(t.Context()), Good)
}

func TestFolderIsCheckedAndNotTouched(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "a", "tokens")
	expect(t, settings{Tokens: missing}.checkFolder(t.Context()), Good, "will be created")
	expect(t, settings{Tokens: missing}.checkDisk(t.Context()), Good, "MiB")
	if _, err := os.Stat(filepath.Dir(missing)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a folder was created")
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: tokens}.checkFolder(t.Context()), Warning, "755", "chmod 700")
	if err := os.Chmod(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: tokens}.checkFolder(t.Context()), Good, "free")
	lock, err := os.Create(filepath.Join(tokens, "admin.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if _, err := lock.WriteString("4711\n"); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: tokens}.checkFolder(t.Context()), Good, "free")
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: tokens}.checkFolder(t.Context()), Good, "in use", "4711")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: file}.checkFolder(t.Context()), Bad, "not a folder")
}

func TestAddressInUse(t *testing.T) {
	var body string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer s.Close()
	o := settings{Listen: s.Listener.Addr().String()}
	body = "something else"
	expect(t, o.checkAddress(t.Context()), Bad, "in use", "ss -ltnp")
	body = `{"ok":true}`
	expect(t, o.checkAddress(t.Context()), Good, "the service answers")
	expect(t, settings{Listen: "127.0.0.1:0"}.checkAddress(t.Context()), Good, "free")
	socket := filepath.Join(t.TempDir(), "api.sock")
	expect(t, settings{Listen: "unix:" + socket}.checkAddress(t.Context()), Good, "can be created")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s2 := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.Config.Handler}}
	s2.Start()
	defer s2.Close()
	expect(t, settings{Listen: "unix:" + socket}.checkAddress(t.Context()), Good, "the service answers")
}

func TestPageAndClock(t *testing.T) {
	date, status := time.Now(), 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.WriteHeader(status)
	}))
	defer s.Close()
	o := settings{URL: s.URL}
	expect(t, o.checkPage(t.Context()), Good, "clock is right")
	date = time.Now().Add(-5 * time.Minute)
	expect(t, o.checkPage(t.Context()), Warning, "clock", "timedatectl")
	date = time.Now().Add(time.Hour)
	expect(t, o.checkPage(t.Context()), Bad, "clock")
	date, status = time.Now(), 503
	expect(t, o.checkPage(t.Context()), Warning, "503")
	secure := httptest.NewUnstartedServer(s.Config.Handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	expect(t, settings{URL: secure.URL}.checkPage(t.Context()), Bad, "intercepts TLS")
	s.Close()
	expect(t, o.checkPage(t.Context()), Bad, "can't be reached")
	expect(t, settings{URL: "http://nowhere.invalid"}.checkPage(t.Context()), Bad, "can't be reached")
}

func TestProxyOfChromeIsUsed(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.String() }))
	defer proxy.Close()
	o := settings{URL: "http://page.example/", ChromeArgs: []string{"--x", "--proxy-server=" + strings.TrimPrefix(proxy.URL, "http://")}}
	expect(t, o.checkPage(t.Context()), Good, "page.example")
	if asked != "http://page.example/" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestSecretsThatOthersCanReadAreReported(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{APIKeyFile: keys}.checkFiles(t.Context()), Bad, "16")
	if err := os.WriteFile(keys, []byte("long-enough-for-a-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{APIKeyFile: keys}.checkFiles(t.Context()), Good)
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{APIKeyFile: keys}.checkFiles(t.Context()), Warning, "chmod 600")
	expect(t, settings{TLSCert: keys, TLSKey: keys}.checkFiles(t.Context()), Bad)
	expect(t, settings{WebhookKeyFile: keys + ".missing"}.checkFiles(t.Context()), Bad)
	expect(t, settings{}.checkFiles(t.Context()), Good)
}

func TestRunReturnsTheWorstFinding(t *testing.T) {
	var out bytes.Buffer
	err := Run(t.Context(), &config.Config{
		Chrome: "/nonexistent", Worker: "/nonexistent", Tokens: t.TempDir(), URL: "http://127.0.0.1:1/", Listen: "127.0.0.1:0",
	}, &out)
	if !errors.Is(err, ErrNoChrome) {
		t.Errorf("got %v", err)
	}
	for _, c := range (settings{}).checks() {
		if !strings.Contains(out.String(), c.name+" ") {
			t.Errorf("no %s in %s", c.name, out.String())
		}
	}
}

func TestLoginAndItsBackupsAreReported(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		memory *login.Record
		mark   Mark
		word   string
	}{
		"nothing known":      {nil, Good, "no phone"},
		"logged out":         {&login.Record{LinkedAt: now, LoggedOutAt: now}, Good, "no phone"},
		"linked":             {&login.Record{LinkedAt: now, BackupAt: now}, Good, "no backup has been verified"},
		"backup verified":    {&login.Record{LinkedAt: now, BackupAt: now, BackupVerifiedAt: now}, Good, "a backup was verified"},
		"never backed up":    {&login.Record{LinkedAt: now}, Warning, "--backup-hour"},
		"backed up long ago": {&login.Record{LinkedAt: now, BackupAt: now.Add(-100 * time.Hour)}, Warning, "backup_create_failed"},
		"lost":               {&login.Record{LostAt: now}, Warning, "link the phone again"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := t.TempDir()
			if tt.memory != nil {
				data, err := json.Marshal(tt.memory)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(tokens, "admin.login"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, settings{Tokens: tokens}.checkLogin(t.Context()), tt.mark, tt.word)
		})
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "admin.login"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, settings{Tokens: broken}.checkLogin(t.Context()), Warning, broken)
}
