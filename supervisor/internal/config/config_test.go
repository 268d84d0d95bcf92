package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValid(t *testing.T) {
	c, _, err := Load(t.Context(), nil, nil, &bytes.Buffer{}, "v")
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

func TestFlagsBeatEnvironmentBeatsFileBeatsDefaults(t *testing.T) {
	file := write(t, `{"listen":"127.0.0.1:1001","url":"http://file.example","tokens":"/file","chrome-arg":["--a","--b=c,d"]}`)
	c, sources, err := Load(
		t.Context(), []string{"--config", file, "--listen=127.0.0.1:1003"},
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

func TestRepeatableFlagsInTheEnvironment(t *testing.T) {
	c, _, err := Load(t.Context(), nil, []string{"SESSION_MANAGER_CHROME_ARG=--a=1 --b"}, &bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"--a=1", "--b"}, c.ChromeArgs); d != "" {
		t.Error(d)
	}
}

func TestBadSettingIsNamedWithItsValue(t *testing.T) {
	tests := []struct {
		name     string
		args     []string
		env      []string
		file     string
		want     []string
		insecure bool
	}{
		{name: "unknown environment name", env: []string{"SESSION_MANAGER_LISTN=x"}, want: []string{"SESSION_MANAGER_LISTN", "no such setting"}},
		{name: "secret under an unknown name", env: []string{"SESSION_MANAGER_API_KEY=secret"}, want: []string{"SESSION_MANAGER_API_KEY: there is no such setting"}},
		{name: "secret under an unknown key", file: `{"api-key":"secret"}`, want: []string{"api-key (in the --config file): there is no such setting"}},
		{name: "secrets under an unknown key", file: `{"api-keys":["secret",{"secret":1}]}`, want: []string{"no such setting"}},
		{name: "password in an address", args: []string{"--url=ftp://user:secret@host"}, want: []string{"--url", "host"}},
		{name: "password in a flag", args: []string{"--chrome-arg=proxy=http://user:secret@host"}, want: []string{"--chrome-arg"}},
		{name: "webhook twice", args: []string{"--webhook=https://host/secret", "--webhook-url-file=/secret"}, want: []string{"--webhook and --webhook-url-file"}},
		{name: "a key twice in the file", file: `{"listen":"127.0.0.1:1","Listen":"127.0.0.1:2"}`, want: []string{"--config", "twice"}},
		{name: "more after the object", file: `{"listen":"127.0.0.1:1"}}`, want: []string{"--config", "follows"}},
		{name: "config is a pipe", args: []string{"--config=" + fifo(t)}, want: []string{"--config", "not a regular file"}},
		{name: "environment name in the file", file: `{"SESSION_MANAGER_LISTEN":"x"}`, want: []string{"no such setting"}},
		{name: "unknown key in the file", file: `{"listn":"x"}`, want: []string{"listn", "no such setting", "listen"}},
		{name: "file that is not JSON", file: `{`, want: []string{"--config", "JSON"}},
		{name: "file that is missing", args: []string{"--config=/nonexistent.json"}, want: []string{"/nonexistent.json"}},
		{name: "listen without a port", args: []string{"--listen=localhost"}, want: []string{"--listen", "localhost", "HOST:PORT"}},
		{name: "listen on a bad port", args: []string{"--listen=127.0.0.1:99999"}, want: []string{"--listen", "99999"}},
		{name: "listen on a host name", args: []string{"--listen=example.org:80"}, want: []string{"--listen", "example.org"}},
		{name: "listen beyond the loopback", args: []string{"--listen=0.0.0.0:3001"}, want: []string{"--listen", "loopback"}, insecure: true},
		{name: "listen everywhere", args: []string{"--listen=:3001"}, want: []string{"--listen", "loopback"}, insecure: true},
		{name: "listen on a relative socket", args: []string{"--listen=unix:api.sock"}, want: []string{"--listen", "absolute"}},
		{name: "listen on a socket with a long name", args: []string{"--listen=unix:/" + strings.Repeat("x", 200)}, want: []string{"--listen", "107"}},
		{name: "certificate without key", args: []string{"--tls-cert=/c.pem"}, want: []string{"--tls-cert", "--tls-key", "both"}},
		{name: "webhook without scheme", args: []string{"--webhook=hooks.example/secret"}, want: []string{"--webhook", "https"}},
		{name: "webhook with a secret and a bad scheme", args: []string{"--webhook=ftp://hooks.example/secret"}, want: []string{"--webhook", "hooks.example"}},
		{name: "url without scheme", args: []string{"--url=web.whatsapp.com"}, want: []string{"--url", "https"}},
		{name: "visible browser", args: []string{"--headless=false"}, want: []string{"--headless", "false", "never visible"}},
		{name: "visible browser by the environment", env: []string{"SESSION_MANAGER_HEADLESS=0"}, want: []string{"--headless", "never visible"}},
		{name: "visible browser by Chrome's flag", args: []string{"--chrome-arg=--headless=false"}, want: []string{"--chrome-arg", "never visible"}},
		{name: "DevTools port", args: []string{"--chrome-arg=--remote-debugging-port=9222"}, want: []string{"--chrome-arg", "DevTools"}},
		{name: "private window", args: []string{"--chrome-arg=--incognito"}, want: []string{"--chrome-arg", "--incognito", "login would not be kept"}},
		{name: "Chrome flag without dashes", args: []string{"--chrome-arg=proxy"}, want: []string{"--chrome-arg", "two dashes"}},
		{name: "log level", args: []string{"--log-level=loud"}, want: []string{"--log-level", "loud", "debug"}},
		{name: "deadline factor too small", args: []string{"--deadline-factor=0.1"}, want: []string{"--deadline-factor", "0.1", "0.5 to 10"}},
		{name: "deadline factor that is not a number", args: []string{"--deadline-factor=NaN"}, want: []string{"--deadline-factor", "NaN", "0.5 to 10"}},
		{name: "no tokens folder", args: []string{"--tokens="}, want: []string{"--tokens"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				args = append(args, "--config="+write(t, tt.file))
			}
			_, _, err := Load(t.Context(), args, tt.env, &bytes.Buffer{}, "v")
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
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q has a secret", err)
			}
			if p.Insecure != tt.insecure || errors.Is(err, ErrInsecure) != tt.insecure || !errors.Is(err, ErrSetting) {
				t.Errorf("Insecure is %v", p.Insecure)
			}
		})
	}
}

// fifo returns the path of a named pipe.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLineErrorsRepeatNoSecret(t *testing.T) {
	for _, args := range [][]string{
		{"--api-key=secret"}, {"--api-key", "secret"}, {"-ksecret"}, {"secret"}, {"serve", "secret"}, {"--log-level=info", "secret"},
		{"session", "export", "file", "secret"}, {"--passphrase=secret", "session", "export", "file"}, {"--passphrase", "secret", "doctor"},
	} {
		_, _, err := Load(t.Context(), args, nil, &bytes.Buffer{}, "v")
		if !errors.Is(err, ErrUsage) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestWebhookCanComeFromAFile(t *testing.T) {
	for content, want := range map[string]string{
		"https://hooks.example/secret\n":      "https://hooks.example/secret",
		" https://hooks.example/secret \r\nx": "https://hooks.example/secret",
		"secret":                              "", "": "", "ftp://hooks.example/secret": "",
	} {
		c, _ := load(t, nil, "--webhook-url-file="+write(t, content))
		err := c.ReadWebhook(t.Context())
		if (err == nil) != (want != "") || want != "" && c.Webhook != want {
			t.Errorf("%q: got %q, %v", content, c.Webhook, err)
		}
		if err != nil && (!errors.Is(err, ErrSetting) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: got %v", content, err)
		}
	}
	for path, part := range map[string]string{fifo(t): "not a regular file", "/nonexistent/secret": "does not exist"} {
		c, _ := load(t, nil, "--webhook-url-file="+path)
		if err := c.ReadWebhook(t.Context()); !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestMisspeltFlagGetsASuggestion(t *testing.T) {
	_, _, err := Load(t.Context(), []string{"--lisen=127.0.0.1:1"}, nil, &bytes.Buffer{}, "v")
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--lisen") || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v", err)
	}
}

func TestHelpVersionAndPrintConfig(t *testing.T) {
	for args, want := range map[string]string{
		"--help":         "--chrome-arg",
		"--version":      "v1.2.3",
		"--print-config": "environment",
	} {
		var out bytes.Buffer
		_, _, err := Load(t.Context(), []string{args}, []string{"SESSION_MANAGER_URL=http://env.example"}, &out, "v1.2.3")
		if !errors.Is(err, ErrDone) {
			t.Errorf("%s: got %v", args, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s printed %q, without %q", args, out.String(), want)
		}
	}
}

func load(t *testing.T, environ []string, args ...string) (*Config, Sources) {
	t.Helper()
	c, sources, err := Load(t.Context(), args, environ, &bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	return c, sources
}

func TestExposedAddresses(t *testing.T) {
	for listen, want := range map[string]struct {
		network, address string
		exposed          bool
	}{
		"127.0.0.1:3001":          {"tcp", "127.0.0.1:3001", false},
		"localhost:3001":          {"tcp", "localhost:3001", false},
		"[::1]:3001":              {"tcp", "[::1]:3001", false},
		"unix:/run/sm/api.sock":   {"unix", "/run/sm/api.sock", false},
		":3001":                   {"tcp", ":3001", true},
		"0.0.0.0:3001":            {"tcp", "0.0.0.0:3001", true},
		"[::]:3001":               {"tcp", "[::]:3001", true},
		"[::ffff:127.0.0.1]:3001": {"tcp", "[::ffff:127.0.0.1]:3001", false},
		"192.168.1.5:https":       {"tcp", "192.168.1.5:https", true},
		"[fe80::1%eth0]:3001":     {"tcp", "[fe80::1%eth0]:3001", true},
	} {
		c, _ := load(t, nil, "--listen="+listen, "--api-key-file=/keys")
		network, address := c.Address()
		if network != want.network || address != want.address || c.Exposed() != want.exposed {
			t.Errorf("%s: got %s %s, exposed %v", listen, network, address, c.Exposed())
		}
	}
}

func TestSystemdCredentialsAreDefaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "api-key"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	environ := []string{"CREDENTIALS_DIRECTORY=" + dir}
	c, sources := load(t, environ)
	if c.APIKeyFile != filepath.Join(dir, "api-key") || sources["api-key-file"] != "credential" {
		t.Errorf("got %q from %s", c.APIKeyFile, sources["api-key-file"])
	}
	if c.WebhookKeyFile != "" {
		t.Errorf("got %q", c.WebhookKeyFile)
	}
	if c, sources := load(t, environ, "--api-key-file=/mine"); c.APIKeyFile != "/mine" || sources["api-key-file"] != "flag" {
		t.Errorf("got %q from %s", c.APIKeyFile, sources["api-key-file"])
	}
	if c, _ := load(t, environ, "--listen=0.0.0.0:3001"); !c.Exposed() {
		t.Error("a credential is as good as a file")
	}
}

func TestCommandsAndTheirSettings(t *testing.T) {
	for args, want := range map[string]string{
		"":                         CommandServe,
		"serve":                    CommandServe,
		"--log-level=debug":        CommandServe,
		"doctor":                   CommandDoctor,
		"--log-level=debug doctor": CommandDoctor,
		"doctor --log-level=debug": CommandDoctor,
		"completion bash":          CommandCompletion,
	} {
		c, _ := load(t, nil, strings.Fields(args)...)
		if c.Command != want {
			t.Errorf("%q: got %s", args, c.Command)
		}
	}
	for _, args := range [][]string{{"restart"}, {"completion"}, {"completion", "tcsh"}} {
		if _, _, err := Load(t.Context(), args, nil, &bytes.Buffer{}, "v"); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: got %v", args, err)
		}
	}
}

func TestPrintedSettingsHaveNoSecrets(t *testing.T) {
	var out bytes.Buffer
	_, _, err := Load(t.Context(), []string{
		"--print-config", "--webhook=https://user:secret@hooks.example/secret?secret",
		"--chrome-arg=--proxy-server=http://user:secret@proxy.example", "--url=https://user:secret@web.example",
		"--api-key-file=secret-secret-secret",
	}, nil, &out, "v")
	if !errors.Is(err, ErrDone) || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "hooks.example") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestMemoryLimit(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "2G": 2 << 30, "1500M": 1500 << 20, "1500m": 1500 << 20, "2000000K": 2000000 << 10, "300000000": 300000000,
	} {
		if c, _ := load(t, nil, "--memory-limit="+text); c.MemoryBytes() != want {
			t.Errorf("%q is %d; want %d", text, c.MemoryBytes(), want)
		}
	}
	for _, text := range []string{"", "off", "-1", "1.5G", "100M", "1", "99999999999999999999", "99999999999999G", "G"} {
		if _, _, err := Load(t.Context(), []string{"--memory-limit=" + text}, nil, &bytes.Buffer{}, "v"); !errors.Is(err, ErrSetting) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
