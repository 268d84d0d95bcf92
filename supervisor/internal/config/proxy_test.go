package config

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// way loads settings and returns the proxy for an address, "" for none.
func way(t *testing.T, env []string, address string, args ...string) string {
	t.Helper()
	c, _, err := Load(t.Context(), args, env, &bytes.Buffer{}, "v")
	if err != nil {
		t.Fatal(err)
	}
	route, err := c.ReadProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := route.Proxy(r)
	if err != nil {
		t.Fatal(err)
	}
	if u == nil {
		return ""
	}
	return u.String()
}

func TestProxyIsTheSettingsThenTheEnvironments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p@ss w:rd\r\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const page = "https://web.whatsapp.com"
	for _, tt := range []struct {
		name    string
		env     []string
		address string
		args    []string
		want    string
	}{
		{"none", nil, page, nil, ""},
		{"setting", []string{"HTTPS_PROXY=http://other:1"}, page, []string{"--proxy=http://p:3128"}, "http://p:3128"},
		{"without a scheme", nil, page, []string{"--proxy=p:3128"}, "http://p:3128"},
		{"default ports", nil, page, []string{"--proxy=socks5://p"}, "socks5://p:1080"},
		{"password of the file", nil, page, []string{"--proxy=http://u@p:3128", "--proxy-password-file=" + file}, "http://u:p%40ss%20w%3Ard@p:3128"},
		{"password in the environment", []string{"SESSION_MANAGER_PROXY=http://u:pw@p:3128"}, page, nil, "http://u:pw@p:3128"},
		{"HTTPS_PROXY", []string{"HTTPS_PROXY=http://u:pw@p:1", "HTTP_PROXY=http://q:2"}, page, nil, "http://u:pw@p:1"},
		{"HTTP_PROXY", []string{"HTTPS_PROXY=http://p:1", "HTTP_PROXY=http://q:2"}, "http://intranet", nil, "http://q:2"},
		{"HTTP_PROXY is not for HTTPS", []string{"HTTP_PROXY=http://q:2"}, page, nil, ""},
		{"small letters", []string{"https_proxy=p:1"}, page, nil, "http://p:1"},
		{"ALL_PROXY", []string{"ALL_PROXY=socks://p:1/"}, page, nil, "socks5://p:1"},
		{"NO_PROXY", []string{"NO_PROXY=whatsapp.com"}, page, []string{"--proxy=http://p:1"}, ""},
		{"NO_PROXY of another", []string{"NO_PROXY=example.com"}, page, []string{"--proxy=http://p:1"}, "http://p:1"},
		{"loopback", []string{"HTTP_PROXY=http://p:1"}, "http://127.0.0.1:3003", nil, ""},
		{"loopback by name", nil, "http://localhost:3003", []string{"--proxy=http://p:1"}, ""},
		{"loopback, IPv6", nil, "http://[::1]:3003", []string{"--proxy=http://p:1"}, ""},
	} {
		if got := way(t, tt.env, tt.address, tt.args...); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestBadProxyIsNamedWithoutItsPassword(t *testing.T) {
	dir := t.TempDir()
	empty, config := filepath.Join(dir, "empty"), filepath.Join(dir, "config")
	for path, content := range map[string]string{empty: "\n", config: `{"proxy": "http://u:secret@p:1"}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		env, args []string
		want      string
	}{
		"scheme":                    {nil, []string{"--proxy=ftp://u:secret@p"}, "--proxy: a proxy is http"},
		"SOCKS 4":                   {nil, []string{"--proxy=socks4://p:1"}, "socks5"},
		"no host":                   {nil, []string{"--proxy=http://:3128"}, "host"},
		"port":                      {nil, []string{"--proxy=p:99999"}, "port"},
		"port zero":                 {nil, []string{"--proxy=p:0"}, "port"},
		"path":                      {nil, []string{"--proxy=http://p:1/secret"}, "nothing may follow"},
		"two proxies":               {nil, []string{"--proxy=http=p:1;https=q:2"}, "--proxy:"},
		"not a URL":                 {nil, []string{"--proxy=http://u:sec%ret@p"}, "%XX"},
		"password in a flag":        {nil, []string{"--proxy=http://u:secret@p:1"}, "--proxy-password-file"},
		"the same without a scheme": {nil, []string{"--proxy=u:secret@p:1"}, "--proxy-password-file"},
		"password in the file":      {nil, []string{"--config=" + config}, "--proxy-password-file"},
		"variable":                  {[]string{"https_proxy=ftp://u:secret@p"}, nil, "HTTPS_PROXY: a proxy is http"},
		"file without a proxy":      {nil, []string{"--proxy-password-file=" + empty}, "set --proxy"},
		"file without a user":       {nil, []string{"--proxy=http://p:1", "--proxy-password-file=" + empty}, "name the user"},
		"two passwords":             {[]string{"SESSION_MANAGER_PROXY=http://u:secret@p:1"}, []string{"--proxy-password-file=" + empty}, "one of them"},
		"empty file":                {nil, []string{"--proxy=http://u@p:1", "--proxy-password-file=" + empty}, "--proxy-password-file: its first line"},
		"missing file":              {nil, []string{"--proxy=http://u@p:1", "--proxy-password-file=/nowhere/secret"}, "does not exist"},
		"two ways":                  {nil, []string{"--proxy=http://p:1", "--chrome-arg=--proxy-server=q:2"}, "one of them"},
		"user for Chrome":           {nil, []string{"--chrome-arg=--proxy-server=http://u@p:1"}, "use --proxy"},
	} {
		c, _, err := Load(t.Context(), tt.args, tt.env, &bytes.Buffer{}, "v")
		if err == nil {
			_, err = c.ReadProxy(t.Context())
		}
		if !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPrintedProxyHasNoPassword(t *testing.T) {
	for _, env := range []string{"SESSION_MANAGER_PROXY=u:secret@p:1", "HTTPS_PROXY=http://u:secret@p:1"} {
		var out bytes.Buffer
		_, _, err := Load(t.Context(), []string{"--print-config"}, []string{env}, &out, "v")
		if !errors.Is(err, ErrDone) || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "@p:1") {
			t.Errorf("%s: %v: %s", env, err, out.String())
		}
	}
}
