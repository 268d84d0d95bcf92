package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClientCommandsHaveFlagsOfTheirOwn(t *testing.T) {
	for args, want := range map[string]string{
		"status": "status", "status --json": "status", "--url=http://x qr": "qr", "--instance 3002 pair +5491123456789": "pair",
		"send +5491123456789 -- --hello": "send", "events --types state": "events", "logout --yes": "logout", "restart --now": "restart",
		"": "", "serve": "", "doctor": "", "--tokens status": "", "session export status": "", "--url http://x": "", "completion bash": "",
	} {
		list := strings.Fields(args)
		if got := IsClient(list); got != (want != "") {
			t.Errorf("%q: IsClient is %v", args, got)
		}
		if want == "" {
			continue
		}
		if c, err := ParseClient(list, &bytes.Buffer{}); err != nil || c.Command != want {
			t.Errorf("%q: got %+v, %v", args, c, err)
		}
	}
	c, err := ParseClient([]string{"send", "--timeout=2m", "--json", "+5491123456789", "hello there", "--wait", "--key-file", "k"}, &bytes.Buffer{})
	if err != nil || c.Send.Text != "hello there" || c.Limit() != 2*time.Minute || !c.JSON() || !c.Send.Wait || c.KeyFile != "k" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestBadClientCommandsRepeatNoSecret(t *testing.T) {
	for args, want := range map[string]error{
		"status extra-secret": ErrUsage, "send": ErrUsage, "pair": ErrUsage, "status --key=secret": ErrUsage, "status --listen=:1": ErrUsage,
		"qr --timeout=5": ErrSetting, "qr --timeout=-5s": ErrSetting, "status --url=x-secret": ErrSetting, "status --url=ftp://host/secret": ErrSetting,
		"status --url=unix:secret": ErrSetting, "status --url=http://x --instance=1": ErrSetting, "status --config=x --instance=1": ErrSetting,
		"status --url=http://user:secret@host": ErrSetting, "status --url=http://host/?key=secret": ErrSetting,
		"status --help": ErrDone,
	} {
		_, err := ParseClient(strings.Fields(args), &bytes.Buffer{})
		if !errors.Is(err, want) || strings.Contains(err.Error(), "secret") || strings.Count(err.Error(), "--timeout:") > 1 {
			t.Errorf("%q: got %v", args, err)
		}
		command, _, _ := strings.Cut(args, " ")
		if errors.Is(want, ErrUsage) && !strings.Contains(err.Error(), "(see "+filepath.Base(os.Args[0])+" "+command+" --help)") {
			t.Errorf("%q: the help of another command or program is named: %v", args, err)
		}
	}
}

func TestEmptyTextIsNotStandardInput(t *testing.T) {
	for want, text := range map[string][]string{"": {""}, Standard: nil} {
		c, err := ParseClient(append([]string{"send", "+5491123456789"}, text...), &bytes.Buffer{})
		if err != nil || c.Send.Text != want {
			t.Errorf("got %q instead of %q, %v", c.Send.Text, want, err)
		}
	}
}

func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	_, ofClient := ParseClient([]string{"send", "+5491123456789", "\xff"}, &bytes.Buffer{})
	_, _, ofService := Load(t.Context(), []string{"--tokens=/x/\xff"}, nil, &bytes.Buffer{}, "")
	_, _, ofEnvironment := Load(t.Context(), nil, []string{"SESSION_MANAGER_TOKENS=/x/\xff"}, &bytes.Buffer{}, "")
	if !errors.Is(ofClient, ErrUsage) || !errors.Is(ofService, ErrUsage) || !errors.Is(ofEnvironment, ErrSetting) {
		t.Errorf("got %v, %v, %v", ofClient, ofService, ofEnvironment)
	}
}

func TestClientsReachTheAddressOfTheService(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:3001": "http://127.0.0.1:3001", "localhost:3001": "http://localhost:3001", ":3001": "http://localhost:3001",
		"0.0.0.0:3001": "http://127.0.0.1:3001", "[::]:3001": "http://localhost:3001", "[::1]:3001": "http://[::1]:3001",
		"192.168.1.5:https": "http://192.168.1.5:443", "[fe80::1%eth0]:3001": "http://[fe80::1%25eth0]:3001",
		"unix:/run/sm/api.sock": "unix:/run/sm/api.sock", "127.0.0.1:0": "",
	} {
		c, _ := load(t, nil, "--listen="+listen, "--api-key-file=/keys")
		got, err := c.Reach()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", listen, got, err)
		}
	}
	c, _ := load(t, nil, "--tls-cert=/cert", "--tls-key=/key")
	if got, err := c.Reach(); got != "https://127.0.0.1:3001" {
		t.Errorf("got %q, %v", got, err)
	}
}
