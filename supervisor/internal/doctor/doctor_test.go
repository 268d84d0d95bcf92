package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile/profiletest"
	"session-manager/supervisor/internal/session"
)

func TestMain(m *testing.M) {
	profiletest.Private()
	goleak.VerifyTestMain(m)
}

// program writes a shell script that can be run.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func with(c config.Config) Options {
	return Options{Config: &c, Open: func(context.Context) error { return nil }}
}

func expect(t *testing.T, f Finding, mark Mark, words ...string) {
	t.Helper()
	if f.Mark != mark {
		t.Errorf("got %s %s", f.Mark, f.Found)
	}
	if f.Mark > Good && f.Do == "" {
		t.Errorf("nothing to do about %s", f.Found)
	}
	for _, word := range words {
		if !strings.Contains(f.Found+" "+f.Do, word) {
			t.Errorf("no %q in %s → %s", word, f.Found, f.Do)
		}
	}
}

func TestMissingChromeAndOtherProgramsAreReported(t *testing.T) {
	expect(t, with(config.Config{Chrome: "/nonexistent"}).checkChrome(t.Context()), Bad, "/nonexistent", "google-chrome-stable", "Ubuntu's is a snap")
	expect(t, with(config.Config{Chrome: program(t, "echo no browser")}).checkChrome(t.Context()), Bad, "no version")
	expect(t, with(config.Config{Chrome: program(t, "echo Chromium 156.0.1.2")}).checkChrome(t.Context()), Good, "156.0.1.2")
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
			expect(t, with(config.Config{Tokens: tokens}).checkLogin(t.Context()), tt.mark, tt.word)
		})
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "admin.login"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, with(config.Config{Tokens: broken}).checkLogin(t.Context()), Warning, broken)
}

func TestActBecomesFindings(t *testing.T) {
	const spoke, browser = true, true
	failed := func(code reason.Code, stderr ...string) act {
		return act{why: session.NewReason(code, "detail", time.Time{}), stderr: stderr}
	}
	page := func(s session.State, code reason.Code, qr bool) act {
		return act{page: session.Snapshot{State: s, Reason: session.NewReason(code, "detail", time.Time{})}, showsQR: qr}
	}
	for name, tt := range map[string]struct {
		act            act
		spoke, browser bool
		marks          [3]Mark
		words          string
	}{
		"no Chrome":               {failed(reason.BrowserMissing), !spoke, !browser, [3]Mark{}, "not tried"},
		"not a Chrome":            {failed(reason.BrowserUnsupported), !spoke, !browser, [3]Mark{}, "not tried"},
		"no worker":               {failed(reason.WorkerUnusable), !spoke, !browser, [3]Mark{Bad, Untried, Untried}, "worker_unusable make build"},
		"a reason without advice": {failed(reason.WorkerCrashed), !spoke, !browser, [3]Mark{Bad, Untried, Untried}, "worker_crashed worker_exited"},
		"no sandbox":              {failed(reason.SandboxRefused), spoke, !browser, [3]Mark{Good, Bad, Untried}, "sandbox_refused namespaces"},
		"no start":                {failed(reason.BrowserStartFailed, "first", "libnss3.so"), spoke, !browser, [3]Mark{Good, Bad, Untried}, "browser_start_failed libnss3.so"},
		"a page that crashes":     {failed(reason.BrowserCrashed), spoke, browser, [3]Mark{Good, Warning, Bad}, "browser_crashed"},
		"no network":              {page(session.Error, reason.NetworkUnreachable, false), spoke, browser, [3]Mark{Good, Warning, Bad}, "network_unreachable DNS"},
		"a QR":                    {page(session.QRRequired, reason.ScanQR, true), spoke, browser, [3]Mark{Good, Warning, Good}, "shows a QR"},
		"a QR that has expired":   {page(session.QRRequired, reason.ScanQR, false), spoke, browser, [3]Mark{Good, Warning, Good}, "asks for a phone"},
		"no QR":                   {page(session.QRRequired, reason.QRUnreadable, false), spoke, browser, [3]Mark{Good, Warning, Warning}, "qr_unreadable screenshot"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.act.spoke = tt.spoke
			if tt.browser {
				tt.act.browser = &rpc.BrowserStarted{Product: "Chrome/1"}
			}
			text := ""
			for i, f := range []Finding{tt.act.worker(), tt.act.start(), tt.act.shown()} {
				expect(t, f, tt.marks[i])
				text += f.String()
			}
			for word := range strings.FieldsSeq(tt.words) {
				if !strings.Contains(text, word) {
					t.Errorf("no %s in:\n%s", word, text)
				}
			}
		})
	}
}

func TestClockIsCompared(t *testing.T) {
	var date string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", date) }))
	defer s.Close()
	o := with(config.Config{URL: s.URL})
	for text, want := range map[string]struct {
		mark Mark
		word string
	}{
		time.Now().UTC().Format(http.TimeFormat):                       {Good, "right"},
		time.Now().Add(-5 * time.Minute).UTC().Format(http.TimeFormat): {Warning, "timedatectl"},
		"yesterday": {Untried, "no date"},
	} {
		date = text
		expect(t, o.checkClock(t.Context()), want.mark, want.word)
	}
	s.Close()
	expect(t, o.checkClock(t.Context()), Untried, "can't be reached")
}

func TestProxyOfChromeIsUsed(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.String() }))
	defer proxy.Close()
	o := with(config.Config{URL: "http://page.example/", ChromeArgs: []string{"--x", "--proxy-server=" + strings.TrimPrefix(proxy.URL, "http://")}})
	expect(t, o.checkClock(t.Context()), Good, "it is right")
	if asked != "http://page.example/" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestFilesAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, with(config.Config{}).checkFiles(t.Context()), Good)
	expect(t, with(config.Config{APIKeyFile: file}).checkFiles(t.Context()), Good)
	expect(t, with(config.Config{Selectors: file}).checkFiles(t.Context()), Warning, file)
	expect(t, with(config.Config{Selectors: file + ".missing"}).checkFiles(t.Context()), Good)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, with(config.Config{APIKeyFile: file}).checkFiles(t.Context()), Warning, "chmod 600")
	o := with(config.Config{})
	o.Open = func(context.Context) error { return errors.New("no key") }
	expect(t, o.checkFiles(t.Context()), Bad, "no key")
}

func TestStageRemovesWhatAKilledDoctorLeft(t *testing.T) {
	tokens := t.TempDir()
	o := with(config.Config{Tokens: tokens})
	old, err := o.stage()
	if err != nil {
		t.Fatal(err)
	}
	ago := time.Now().Add(-time.Hour)
	foreign := filepath.Join(tokens, stagePrefix+"notes")
	for path, content := range map[string]string{filepath.Join(old, "admin.lock"): "1\n", filepath.Join(foreign, "thesis"): "x"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{old, foreign} {
		if err := os.Chtimes(folder, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	next, err := o.stage()
	if err != nil || filepath.Dir(next) != tokens {
		t.Fatal(next, err)
	}
	third, err := o.stage()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{old: false, foreign: true, next: true, third: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}
