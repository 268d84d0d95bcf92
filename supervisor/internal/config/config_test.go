package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryDefaultIsValidAlone(t *testing.T) {
	c, _, err := Load(nil, nil, &bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3001" || c.URL != "https://web.whatsapp.com" {
		t.Errorf("got %q and %q", c.Listen, c.URL)
	}
	if filepath.Base(c.Worker) != "worker" || !filepath.IsAbs(c.Worker) || !filepath.IsAbs(c.Tokens) {
		t.Errorf("worker %q, tokens %q", c.Worker, c.Tokens)
	}
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := write(t, `{"listen":"127.0.0.1:1001","url":"http://file.example","tokens":"/file","chrome-arg":["--a","--b=c,d"]}`)
	c, sources, err := Load(
		[]string{"--config", file, "--listen=127.0.0.1:1003"},
		[]string{"SESSION_MANAGER_LISTEN=127.0.0.1:1002", "SESSION_MANAGER_URL=http://env.example", "HOME=/root"},
		&bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Listen, c.URL, c.Tokens, c.LogLevel}
	if d := cmp.Diff([]string{"127.0.0.1:1003", "http://env.example", "/file", "info"}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"--a", "--b=c,d"}, c.ChromeArgs); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"listen": "flag", "url": "environment", "tokens": "file", "log-level": "default"} {
		if sources[name] != want {
			t.Errorf("source of %s is %q, want %q", name, sources[name], want)
		}
	}
}

func TestRepeatableFlagsAreWordsInTheEnvironment(t *testing.T) {
	c, _, err := Load(nil, []string{"SESSION_MANAGER_CHROME_ARG=--a=1 --b"}, &bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"--a=1", "--b"}, c.ChromeArgs); d != "" {
		t.Error(d)
	}
}

func TestBadSettingStopsTheStartWithItsNameAndValue(t *testing.T) {
	tests := []struct {
		name     string
		args     []string
		env      []string
		file     string
		want     []string
		insecure bool
	}{
		{name: "unknown environment name", env: []string{"SESSION_MANAGER_LISTN=x"}, want: []string{"SESSION_MANAGER_LISTN", "no such setting"}},
		{name: "unknown key in the file", file: `{"listn":"x"}`, want: []string{"listn", "no such setting", "listen"}},
		{name: "file that is no JSON", file: `{`, want: []string{"--config", "JSON"}},
		{name: "file that is missing", args: []string{"--config=/nonexistent.json"}, want: []string{"/nonexistent.json"}},
		{name: "listen without a port", args: []string{"--listen=localhost"}, want: []string{"--listen", "localhost", "HOST:PORT"}},
		{name: "listen on a bad port", args: []string{"--listen=127.0.0.1:99999"}, want: []string{"--listen", "99999"}},
		{name: "listen on a host name", args: []string{"--listen=example.org:80"}, want: []string{"--listen", "example.org"}},
		{name: "listen beyond the loopback", args: []string{"--listen=0.0.0.0:3001"}, want: []string{"--listen", "loopback"}, insecure: true},
		{name: "listen everywhere", args: []string{"--listen=:3001"}, want: []string{"--listen", "loopback"}, insecure: true},
		{name: "url without scheme", args: []string{"--url=web.whatsapp.com"}, want: []string{"--url", "https"}},
		{name: "visible browser", args: []string{"--headless=false"}, want: []string{"--headless", "false", "never visible"}},
		{name: "visible browser by the environment", env: []string{"SESSION_MANAGER_HEADLESS=0"}, want: []string{"--headless", "never visible"}},
		{name: "visible browser by Chrome's flag", args: []string{"--chrome-arg=--headless=false"}, want: []string{"--chrome-arg", "never visible"}},
		{name: "DevTools port", args: []string{"--chrome-arg=--remote-debugging-port=9222"}, want: []string{"--chrome-arg", "DevTools"}},
		{name: "Chrome flag without dashes", args: []string{"--chrome-arg=proxy"}, want: []string{"--chrome-arg", "two dashes"}},
		{name: "log level", args: []string{"--log-level=loud"}, want: []string{"--log-level", "loud", "debug"}},
		{name: "no tokens folder", args: []string{"--tokens="}, want: []string{"--tokens"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				args = append(args, "--config="+write(t, tt.file))
			}
			_, _, err := Load(args, tt.env, &bytes.Buffer{}, "v")
			var p *Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want a Problem", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
			if p.Insecure != tt.insecure {
				t.Errorf("Insecure is %v", p.Insecure)
			}
		})
	}
}

func TestMisspeltFlagIsAUsageErrorThatSuggests(t *testing.T) {
	_, _, err := Load([]string{"--lisen=127.0.0.1:1"}, nil, &bytes.Buffer{}, "v")
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--lisen") || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v", err)
	}
}

func TestHelpVersionAndPrintConfigEndTheStart(t *testing.T) {
	for args, want := range map[string]string{
		"--help":         "--chrome-arg",
		"--version":      "v1.2.3",
		"--print-config": "environment",
	} {
		var out bytes.Buffer
		_, _, err := Load([]string{args}, []string{"SESSION_MANAGER_URL=http://env.example"}, &out, "v1.2.3")
		if !errors.Is(err, ErrDone) {
			t.Errorf("%s: got %v", args, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s printed %q, without %q", args, out.String(), want)
		}
	}
}
