package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, content string) string {
	t.Helper()
	// The name of t.TempDir has that of the test.
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "config.json")
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

func TestBaseIsWhereThisMachineReachesTheAPI(t *testing.T) {
	for want, at := range map[string]struct {
		a    net.Addr
		cert string
	}{
		"http://127.0.0.1:3001": {a: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001}},
		"https://[::1]:3001":    {a: &net.TCPAddr{IP: net.IPv6loopback, Port: 3001}, cert: "/cert"},
		"http://localhost:3001": {a: &net.TCPAddr{IP: net.IPv6unspecified, Port: 3001}},
		"http://localhost:80":   {a: &net.TCPAddr{IP: net.IPv4zero, Port: 80}},
		"unix:/run/api":         {a: &net.UnixAddr{Net: "unix", Name: "/run/api"}},
	} {
		if got := (&Config{TLSCert: at.cert}).Base(at.a); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLogIsTextOnATerminalUnlessChosen(t *testing.T) {
	for format, want := range map[string][2]bool{"auto": {true, false}, "json": {false, false}, "text": {true, true}} {
		c, _, err := Load(t.Context(), []string{"--log-format", format}, nil, &bytes.Buffer{}, "v")
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{c.TextLog(true), c.TextLog(false)}; got != want {
			t.Errorf("%s: text is %t on a terminal, %t elsewhere; want %t", format, got[0], got[1], want)
		}
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

func TestValuesOfTheFileMayBeNumbers(t *testing.T) {
	c, _ := load(t, nil, "--config="+write(t, `{"backup-hour":4,"memory-limit":2147483648,"deadline-factor":1.5,"headless":true,"chrome-arg":"--a=b c"}`))
	if c.HourOfBackup() != 4 || c.MemoryBytes() != 2<<30 || c.DeadlineFactor != 1.5 || c.ChromeArgs[0] != "--a=b c" {
		t.Errorf("got %+v", c)
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
		usage    bool // the command line can't be understood
	}{
		{name: "unknown environment name", env: []string{"SESSION_MANAGER_LISTN=x"}, want: []string{"SESSION_MANAGER_LISTN", "no such setting"}},
		{name: "secret under an unknown name", env: []string{"SESSION_MANAGER_API_KEY=secret"}, want: []string{"SESSION_MANAGER_API_KEY: there is no such setting; did you mean"}},
		{name: "secret under an unknown key", file: `{"api-key":"secret"}`, want: []string{"api-key in ", "did you mean api-key-file?"}},
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
		{name: "visible browser by the environment", env: []string{"SESSION_MANAGER_HEADLESS=0"}, want: []string{"SESSION_MANAGER_HEADLESS", "never visible"}},
		{name: "visible browser by Chrome's flag", args: []string{"--chrome-arg=--headless=false"}, want: []string{"--chrome-arg", "never visible"}},
		{name: "DevTools port", args: []string{"--chrome-arg=--remote-debugging-port=9222"}, want: []string{"--chrome-arg", "DevTools"}},
		{name: "private window", args: []string{"--chrome-arg=--incognito"}, want: []string{"--chrome-arg", "--incognito", "login would not be kept"}},
		{name: "Chrome flag without dashes", args: []string{"--chrome-arg=proxy"}, want: []string{"--chrome-arg", "two dashes"}},
		{name: "log format", args: []string{"--log-format=xml"}, want: []string{"--log-format", "xml", "text"}},
		{name: "log level", args: []string{"--log-level=loud"}, want: []string{"--log-level", "loud", "debug"}},
		{name: "deadline factor too small", args: []string{"--deadline-factor=0.1"}, want: []string{"--deadline-factor", "0.1", "0.5 to 10"}},
		{name: "deadline factor that is not a number", args: []string{"--deadline-factor=NaN"}, want: []string{"--deadline-factor", "NaN", "0.5 to 10"}},
		{name: "limit of the outbox", args: []string{"--outbox-limit=0"}, want: []string{"--outbox-limit", "1 to 100000"}},
		{name: "limit that is not a number", file: `{"outbox-limit":1.5}`, want: []string{"outbox-limit", "1.5", "whole number"}},
		{name: "negative number of chats", args: []string{"--new-chats-per-day=-1"}, want: []string{"--new-chats-per-day", "-1"}},
		{name: "long pause", args: []string{"--message-pause=2h"}, want: []string{"--message-pause", "2h", "1h"}},
		{name: "long pause between new chats", args: []string{"--new-chat-pause=-1s"}, want: []string{"--new-chat-pause", "-1s"}},
		{name: "no size of files", args: []string{"--media-limit=large"}, want: []string{"--media-limit", "2G"}},
		{name: "huge files", args: []string{"--media-limit=3G", "--media-disk-limit=9G"}, want: []string{"--media-limit", "2G"}},
		{name: "less for all files than for one", args: []string{"--media-disk-limit=1M"}, want: []string{"--media-disk-limit", "at least --media-limit"}},
		{name: "texts for ever", args: []string{"--message-text-retention=1000h"}, want: []string{"--message-text-retention", "720h"}},
		{name: "no tokens folder", args: []string{"--tokens="}, want: []string{"--tokens"}},
		{name: "flag that is nearly right", args: []string{"--lisen=127.0.0.1:1"}, usage: true, want: []string{"--lisen", "--listen"}},
		{name: "flag in the plural", args: []string{"--chrome-args=--x"}, usage: true, want: []string{`did you mean "--chrome-arg"`}},
		{name: "flag with one dash", args: []string{"-listen=127.0.0.1:1"}, usage: true, want: []string{"two dashes"}},
		{name: "flag without its value", args: []string{"--listen"}, usage: true, want: []string{"--listen needs a value"}},
		{name: "secret in place of a value", args: []string{"--listen", "--secret"}, usage: true, want: []string{"--listen needs a value"}},
		{name: "switch with a value", args: []string{"--print-config=maybe"}, usage: true, want: []string{"--print-config", "true"}},
		{name: "unknown command", args: []string{"secret"}, usage: true, want: []string{"the commands are serve, doctor"}},
		{name: "duration without its unit", args: []string{"--qr-timeout=15"}, want: []string{`--qr-timeout: "15"`, "15s"}},
		{name: "duration in days", args: []string{"--settle-time=1d"}, want: []string{`--settle-time: "1d"`, "unit"}},
		{name: "negative duration", args: []string{"--settle-time=-5s"}, want: []string{"--settle-time", "60s"}},
		{name: "duration that is too short", env: []string{"SESSION_MANAGER_QR_TIMEOUT=1s"}, want: []string{"SESSION_MANAGER_QR_TIMEOUT", "at least 5s"}},
		{name: "duration of the environment", env: []string{"SESSION_MANAGER_QR_TIMEOUT=15"}, want: []string{`SESSION_MANAGER_QR_TIMEOUT: "15"`, "unit"}},
		{name: "number of the environment", env: []string{"SESSION_MANAGER_DEADLINE_FACTOR=2x"}, want: []string{"SESSION_MANAGER_DEADLINE_FACTOR", "number"}},
		{name: "address of the environment", env: []string{"SESSION_MANAGER_LISTEN=x"}, want: []string{"SESSION_MANAGER_LISTEN: \"x\"", "HOST:PORT"}},
		{name: "empty variable", env: []string{"SESSION_MANAGER_LISTEN="}, want: []string{"SESSION_MANAGER_LISTEN: it is empty"}},
		{name: "variable in quotation marks", env: []string{`SESSION_MANAGER_URL="http://host"`}, want: []string{"SESSION_MANAGER_URL", "quotation marks"}},
		{name: "secret in quotation marks", env: []string{`SESSION_MANAGER_WEBHOOK='https://host/secret'`}, want: []string{"SESSION_MANAGER_WEBHOOK", "quotation marks"}},
		{name: "variable of a Windows file", env: []string{"SESSION_MANAGER_URL=http://host\r"}, want: []string{"SESSION_MANAGER_URL", "white space"}},
		{name: "flag with a space", args: []string{"--tokens= /x"}, want: []string{"--tokens", "white space"}},
		{name: "variable that is nearly right", env: []string{"SESSION_MANAGER_CHROME_ARGS=x"}, want: []string{"did you mean SESSION_MANAGER_CHROME_ARG?"}},
		{name: "what is a flag only", env: []string{"SESSION_MANAGER_VERSION=1.2"}, want: []string{"SESSION_MANAGER_VERSION", "no such setting"}},
		{name: "file of the environment is missing", env: []string{"SESSION_MANAGER_CONFIG=/nonexistent"}, want: []string{"SESSION_MANAGER_CONFIG: there is no file /nonexistent"}},
		{name: "config is a folder", args: []string{"--config=/tmp"}, want: []string{"--config", "not a regular file"}},
		{name: "key that is nearly right", file: `{"lisen":"x"}`, want: []string{"lisen in ", "did you mean listen?"}},
		{name: "key of another style", file: `{"qrTimeout":"x"}`, want: []string{"did you mean qr-timeout?"}},
		{name: "key with dashes", file: `{"--listen":"x"}`, want: []string{"did you mean listen?"}},
		{name: "key that is hostile", file: `{"a\nb` + strings.Repeat("x", 1<<16) + `":1}`, want: []string{`"a\nbxxx`, "no such setting"}},
		{name: "boolean of the file", file: `{"headless":false}`, want: []string{"headless in ", "never visible"}},
		{name: "number for a duration", file: `{"qr-timeout":15}`, want: []string{`qr-timeout in `, `"15"`, "unit"}},
		{name: "number for an address", file: `{"listen":3001}`, want: []string{"listen in ", `"3001"`, "HOST:PORT"}},
		{name: "boolean for a number", file: `{"deadline-factor":true}`, want: []string{"deadline-factor in ", "number"}},
		{name: "list for a value", file: `{"listen":["127.0.0.1:1"]}`, want: []string{"listen in ", "one value"}},
		{name: "object for a value", file: `{"tokens":{}}`, want: []string{"tokens in ", "one value"}},
		{name: "list in a list", file: `{"chrome-arg":[["--a"]]}`, want: []string{"chrome-arg in ", "list of values"}},
		{name: "number in a list", file: `{"chrome-arg":[1]}`, want: []string{"chrome-arg in ", "two dashes"}},
		{name: "null", file: `{"tokens":null}`, want: []string{"tokens in ", "leave it out"}},
		{name: "null for a list", file: `{"chrome-arg":null}`, want: []string{"chrome-arg in ", "leave it out"}},
		{name: "white space in the file", file: `{"url":"http://host "}`, want: []string{"url in ", "white space"}},
		{name: "no object in the file", file: `["listen"]`, want: []string{"one JSON object"}},
		{name: "null in the file", file: `null`, want: []string{"one JSON object"}},
		{name: "empty file", file: " \n", want: []string{"the file is empty"}},
		{name: "comma at the end", file: "{\n\"listen\":\"x\",\n}", want: []string{"line 3"}},
		{name: "comment in the file", file: "// mine\n{}", want: []string{"line 1", "one JSON object"}},
		{name: "YAML", file: "listen: x", want: []string{"line 1", "one JSON object"}},
		{name: "byte order mark", file: "\ufeff{}", want: []string{"byte order mark"}},
		{name: "config in the file", file: `{"config":"/x"}`, want: []string{"no such setting"}},
		{name: "size without a unit", args: []string{"--memory-limit=2"}, want: []string{"--memory-limit", "at least 200M"}},
		{name: "size with a point", args: []string{"--memory-limit=1.5G"}, want: []string{"--memory-limit", "1536M"}},
		{name: "hour as a time", args: []string{"--backup-hour=04:00"}, want: []string{"--backup-hour", "0 to 23"}},
		{name: "level of another program", args: []string{"--log-level=warning"}, want: []string{"--log-level", "warn"}},
		{name: "URL for a host", args: []string{"--allow-host=https://wa.example"}, want: []string{"--allow-host", "wa.example.com"}},
		{name: "host with a port", args: []string{"--allow-host=wa.example:8080"}, want: []string{"--allow-host", "without its port"}},
		{name: "hosts in one value", args: []string{"--allow-host=a.example,b.example"}, want: []string{"--allow-host", "host name"}},
		{name: "trace in a missing folder", args: []string{"--trace=/nonexistent/trace"}, want: []string{"--trace", "folder must exist"}},
		{name: "long value", args: []string{"--url=" + strings.Repeat("x", 1<<16)}, want: []string{"--url", "https"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				args = append(args, "--config="+write(t, tt.file))
			}
			_, _, err := Load(t.Context(), args, tt.env, &bytes.Buffer{}, "v")
			p, ok := errors.AsType[*Problem](err)
			if ok == tt.usage || errors.Is(err, ErrUsage) != tt.usage {
				t.Fatalf("got %v, want a Problem", err)
			}
			checkText(t, err.Error(), tt.want)
			if tt.usage {
				return
			}
			if strings.Contains(err.Error(), "not allowed") != (p.Value != "") {
				t.Errorf("%q, and the value is %q", err, p.Value)
			}
			if p.Insecure != tt.insecure || errors.Is(err, ErrInsecure) != tt.insecure || !errors.Is(err, ErrSetting) {
				t.Errorf("Insecure is %v", p.Insecure)
			}
		})
	}
}

// checkText wants one line, of a reasonable length, that has these parts and no secret.
func checkText(t *testing.T, text string, want []string) {
	t.Helper()
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not name %q", text, part)
		}
	}
	if strings.Contains(text, "\n") || strings.Contains(text, "secret") || len(text) > 1000 {
		t.Errorf("%d bytes: %q", len(text), text)
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

func TestHelpVersionAndPrintConfig(t *testing.T) {
	for args, want := range map[string]string{
		"--help":         "Default: 15s.",
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
	for _, args := range [][]string{{"restrat"}, {"completion"}, {"completion", "tcsh"}} {
		if _, _, err := Load(t.Context(), args, nil, &bytes.Buffer{}, "v"); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: got %v", args, err)
		}
	}
}

func TestPrintedSettingsHaveNoSecrets(t *testing.T) {
	var out bytes.Buffer
	_, _, err := Load(t.Context(), []string{
		"--print-config", "--webhook=https://user:secret@hooks.example/secret?secret",
		"--chrome-arg=--homepage=http://user:secret@proxy.example", "--url=https://user:secret@web.example",
		"--api-key-file=secret-secret-secret",
	}, nil, &out, "v")
	if !errors.Is(err, ErrDone) || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "hooks.example") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestMemoryLimit(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "2G": 2 << 30, "1500M": 1500 << 20, "1500m": 1500 << 20, "2000000K": 2000000 << 10, "300000000": 300000000,
		"2GB": 2 << 30, "2 GiB": 2 << 30, "1500MB": 1500 << 20, "300000000B": 300000000,
	} {
		if c, _ := load(t, nil, "--memory-limit="+text); c.MemoryBytes() != want {
			t.Errorf("%q is %d; want %d", text, c.MemoryBytes(), want)
		}
	}
	for _, text := range []string{"", "off", "-1", "1.5G", "100M", "1", "99999999999999999999", "99999999999999G", "G", "B", "iB", "2GG", "2 G B"} {
		if _, _, err := Load(t.Context(), []string{"--memory-limit=" + text}, nil, &bytes.Buffer{}, "v"); !errors.Is(err, ErrSetting) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestUnitComesBetweenEnvironmentAndFile(t *testing.T) {
	file := write(t, `{"url":"http://file.example","memory-limit":"1G","backup-hour":1,"settle-time":"1s","chrome-arg":["--file"]}`)
	key, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = key.Close() }()
	opened := fmt.Sprintf("/proc/self/fd/%d", key.Fd())
	below := Below{
		Args:        []Given{{"serve", "unit"}, {"--config", "unit"}, {file, "unit"}, {"--memory-limit=3G", "unit"}, {"--chrome-arg=--a", "unit"}, {"--chrome-arg=--b", "unit"}},
		Environ:     []Given{{"SESSION_MANAGER_BACKUP_HOUR=2", "unit"}, {"SESSION_MANAGER_BACKUP_HOUR=3", "3002.env"}, {"OTHER=x", "unit"}, {"SESSION_MANAGER_MEMORY_LIMIT=4G", "unit"}, {"SESSION_MANAGER_TOKENS=theirs", "unit"}},
		Credentials: map[string]string{"api-key": opened}, Sources: map[string]string{opened: "/etc/api-key"},
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	args := []string{"session", "export", "mine.age", "--log-level=debug", "--crashes=mine"}
	c, sources, err := Load(t.Context(), args, []string{"SESSION_MANAGER_SETTLE_TIME=5s"}, &out, "v", below)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.URL, c.MemoryLimit, c.BackupHour, c.SettleTime.String(), strings.Join(c.ChromeArgs, " "), c.LogLevel, c.APIKeyFile, c.Archive, c.Crashes, c.Tokens}
	want := []string{"http://file.example", "3G", "3", "5s", "--a --b", "debug", opened, filepath.Join(here, "mine.age"), filepath.Join(here, "mine"), "/theirs"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if sources["memory-limit"] != "unit" || sources["url"] != "file" {
		t.Errorf("sources %v", sources)
	}
	for _, g := range []Given{{"SESSION_MANAGER_QR_TIMEOUT=15", "3002.env"}, {"SESSION_MANAGER_LISEN=x", "3002.env"}} {
		_, _, err := Load(t.Context(), nil, nil, &out, "v", Below{Environ: []Given{g}})
		if name, _, _ := strings.Cut(g.Text, "="); !errors.Is(err, ErrSetting) || !strings.HasPrefix(err.Error(), name+" in 3002.env: ") {
			t.Errorf("%s: %v", g.Text, err)
		}
	}
	_, _, err = Load(t.Context(), []string{"--print-config"}, nil, &out, "v", below)
	if !errors.Is(err, ErrDone) || !strings.Contains(out.String(), `"/etc/api-key"`) {
		t.Errorf("%v: %s", err, out.String())
	}
}
