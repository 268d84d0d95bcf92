package chrome

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
)

// program writes an executable shell script.
func program(t *testing.T, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindPrefersGooglesChrome(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, name := range []string{"chromium", "google-chrome", "google-chrome-stable"} {
		want := program(t, dir, name, "")
		b, err := Find("")
		if err != nil || b.Path != want {
			t.Errorf("got %s, %v, want %s", b.Path, err, want)
		}
	}
}

func TestFindUsesTheSetting(t *testing.T) {
	want := program(t, t.TempDir(), "my-chrome", "")
	b, err := Find(want)
	if err != nil || b.Path != want {
		t.Errorf("got %s, %v", b.Path, err)
	}
}

func TestFindResolvesDebiansWrapper(t *testing.T) {
	if _, err := os.Stat("/usr/lib/chromium/chromium"); err != nil {
		t.Skip("Debian's chromium is missing: apt-get install chromium")
	}
	b, err := Find("/usr/bin/chromium")
	if err != nil || b.Path != "/usr/lib/chromium/chromium" {
		t.Errorf("got %s, %v", b.Path, err)
	}
}

func TestVersionOfARealChrome(t *testing.T) {
	b, err := Find("")
	if err != nil {
		t.Skip("needs a browser: apt-get install chromium")
	}
	version, err := new(Versions).Of(t.Context(), b)
	if err != nil || !versionPattern.MatchString(version) {
		t.Errorf("got %q, %v", version, err)
	}
}

func TestVersionIsAskedInACleanEnvironment(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "leaked")
	path := program(t, t.TempDir(), "chrome", `[ -z "$SECRET_TOKEN" ] && echo Chromium 156.0.3.4`)
	b, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(Versions).Of(t.Context(), b); err != nil {
		t.Error(err)
	}
}

func TestCandidatesAreWhereFindLooks(t *testing.T) {
	t.Setenv("PATH", "/usr/bin:relative:/x")
	for setting, want := range map[string]string{
		"/opt/c": "/opt/c",
		"brave":  "/usr/bin/brave /x/brave",
		"": "/usr/bin/google-chrome-stable /usr/bin/google-chrome /usr/bin/chromium /usr/lib/chromium/chromium /usr/bin/chromium-browser " +
			"/usr/bin/chromium-headless-shell /usr/lib/chromium/chromium-headless-shell /usr/bin/chrome-headless-shell " +
			"/x/google-chrome-stable /x/google-chrome /x/chromium /x/chromium-browser /x/chromium-headless-shell /x/chrome-headless-shell",
	} {
		if got := strings.Join(Candidates(setting), " "); got != want {
			t.Errorf("Candidates(%q) = %s, want %s", setting, got, want)
		}
	}
}

func TestMissingBrowserIsExplained(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"":          "install",
		"/no/where": "--chrome",
		plain:       "--chrome",
		dir:         "--chrome",
	} {
		_, err := Find(setting)
		if reason.Of(err, "") != reason.BrowserMissing || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", setting, err)
		}
	}
}

func TestVersionIsAskedOncePerFile(t *testing.T) {
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	path := program(t, dir, "chrome", "echo x >> "+count+"; echo Chromium 156.0.8078.79 built on Debian")
	var v Versions
	for range 3 {
		b, err := Find(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Of(t.Context(), b); err != nil || got != "156.0.8078.79" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	asked, err := os.ReadFile(count)
	if err != nil || strings.Count(string(asked), "x") != 1 {
		t.Errorf("asked %q, %v", asked, err)
	}
	program(t, dir, "chrome", "echo Chromium 157.0.0.1")
	b, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Of(t.Context(), b); err != nil || got != "157.0.0.1" {
		t.Errorf("after the upgrade: got %q, %v", got, err)
	}
}

func TestVersionIsAskedAhead(t *testing.T) {
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	path := program(t, dir, "chrome", "echo x >> "+count+"; echo Chromium $(cat "+dir+"/version).0.1.2")
	says := func(version int) {
		if err := os.WriteFile(filepath.Join(dir, "version"), []byte(strconv.Itoa(version)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says(OldestMajor - 1)
	var v Versions
	stop := v.Ahead(t.Context(), path)
	defer stop()
	b, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Of(t.Context(), b); reason.Of(err, "") != reason.BrowserUnsupported {
		t.Errorf("too old: got %v", err)
	}
	says(OldestMajor)
	for range 2 {
		if got, err := v.Of(t.Context(), b); err != nil || Major(got) != strconv.Itoa(OldestMajor) {
			t.Errorf("after that: got %q, %v", got, err)
		}
	}
	if asked, err := os.ReadFile(count); err != nil || strings.Count(string(asked), "x") != 2 {
		t.Errorf("asked %q, %v", asked, err)
	}
}

func TestVersionAskedAheadHoldsNobodyUp(t *testing.T) {
	dir := t.TempDir()
	path := program(t, dir, "chrome", "echo > "+dir+"/asked; exec sleep 1000")
	var v Versions
	stop := v.Ahead(t.Context(), path)
	for _, err := os.Stat(dir + "/asked"); err != nil; _, err = os.Stat(dir + "/asked") {
		time.Sleep(time.Millisecond)
	}
	b, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Of(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	stop()
	if _, err := v.Of(t.Context(), b); reason.Of(err, "") != reason.BrowserMissing {
		t.Errorf("after its end: got %v", err)
	}
}

func TestOtherProgramsAreAMissingBrowser(t *testing.T) {
	for name, script := range map[string]string{
		"fails":       "exit 1",
		"says little": "echo hello",
		"floods":      "head -c 10000000 /dev/zero",
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Find(program(t, t.TempDir(), "chrome", script))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := new(Versions).Of(t.Context(), b); reason.Of(err, "") != reason.BrowserMissing {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestVersionDecidesWhetherABrowserIsSupported(t *testing.T) {
	const log = "[1128/104520.615754:ERROR:zygote_host_impl_linux.cc(100)] Running as root without --no-sandbox"
	ended := errors.New("exit status 1")
	for name, tt := range map[string]struct {
		stdout, stderr string
		err            error
		want           reason.Code
		text           string
	}{
		"a Chromium":                 {"Chromium 156.0.8078.79 built on Debian\n", "", nil, "", "156.0.8078.79"},
		"a Chromium that complains":  {"Chromium 156.0.8078.79\n", log, nil, "", "156.0.8078.79"},
		"the oldest":                 {fmt.Sprintf("Google Chrome %d.0.1.2", OldestMajor), "", nil, "", fmt.Sprintf("%d.0.1.2", OldestMajor)},
		"Brave":                      {"Brave Browser 150.1.71.114", "", nil, "", "150.1.71.114"},
		"one older":                  {fmt.Sprintf("Google Chrome %d.0.1.2", OldestMajor-1), "", nil, reason.BrowserUnsupported, fmt.Sprintf("Chrome %d or newer", OldestMajor)},
		"a very old one":             {"Chromium 9.0.1.2", "", nil, reason.BrowserUnsupported, "9.0.1.2 is too old"},
		"Opera and Vivaldi":          {"Vivaldi 7.1.3570.39 stable", "", nil, reason.BrowserUnsupported, "7.1.3570.39 is too old"},
		"a number out of range":      {"Chromium 99999999999999999999.0.1.2", "", nil, reason.BrowserUnsupported, "too old"},
		"Electron":                   {"v33.2.0\n", "", nil, reason.BrowserUnsupported, "v33.2.0"},
		"Firefox":                    {"Mozilla Firefox 140.0\n", "", nil, reason.BrowserUnsupported, "Firefox"},
		"an old shell of root":       {"", log, ended, reason.BrowserUnsupported, "does not answer --version"},
		"an old shell that hangs":    {"", "\n" + log, context.DeadlineExceeded, reason.BrowserUnsupported, "does not answer --version"},
		"a program that fails":       {"", "cannot open libnss3.so", ended, reason.BrowserMissing, "exit status 1"},
		"a program without a number": {"hello", "", nil, reason.BrowserMissing, "prints no version"},
		"a flood":                    {strings.Repeat("\x00", maxOutput), "", nil, reason.BrowserMissing, "prints no version"},
		"a number and a flood":       {"1.2" + strings.Repeat("\x1b", maxOutput), "", nil, reason.BrowserUnsupported, "needed"},
	} {
		version, err := versionIn(tt.stdout, tt.stderr, tt.err)
		if got := reason.Of(err, ""); got != tt.want || !strings.Contains(fmt.Sprint(version, err), tt.text) || len(fmt.Sprint(err)) > 500 {
			t.Errorf("%s: got %q, %v", name, version, err)
		}
	}
}

func TestOnlyTheBeginningOfAnAnswerIsKept(t *testing.T) {
	var l limited
	n, err := io.Copy(&l, strings.NewReader(strings.Repeat("x", 1<<20)))
	if n != 1<<20 || err != nil || l.kept.Len() != maxOutput {
		t.Errorf("took %d bytes, kept %d, %v", n, l.kept.Len(), err)
	}
}

func TestVersionOfAHangingProgramIsCancelled(t *testing.T) {
	b, err := Find(program(t, t.TempDir(), "chrome", "sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := new(Versions).Of(ctx, b); err == nil {
		t.Error("it answered")
	}
}
