// Package config says what can be set, and from where: flags over environment
// over a file over defaults. A setting that is unknown or bad stops the start
// with its name, its value and what is allowed.
package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Config is every setting. The tags are the documentation that --help prints.
type Config struct {
	Listen     string   `default:"127.0.0.1:3001" placeholder:"HOST:PORT" help:"Address of the HTTP API. It must be of the loopback."`
	URL        string   `name:"url" default:"https://web.whatsapp.com" help:"Page to open."`
	Tokens     string   `default:"tokens" placeholder:"DIR" help:"Folder that holds admin/, the Chrome profile with the login."`
	Worker     string   `placeholder:"FILE" help:"The worker's binary. Default: worker, beside the supervisor."`
	Chrome     string   `placeholder:"FILE" help:"Chrome's binary. Default: google-chrome-stable, google-chrome, chromium on the PATH."`
	ChromeArgs []string `name:"chrome-arg" sep:"none" placeholder:"--FLAG" help:"Further flag for Chrome, such as --chrome-arg=--proxy-server=…; repeatable."`
	AllowHosts []string `name:"allow-host" sep:"none" placeholder:"NAME" help:"Further host name that requests may name, for a reverse proxy; repeatable."`
	LogLevel   string   `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	Headless   string   `default:"true" hidden:"" help:"Always true: the browser is never visible."`

	File        string `name:"config" placeholder:"FILE" help:"JSON file with settings, by the names of these flags."`
	PrintConfig bool   `help:"Print every setting with its source, and exit."`
	Version     bool   `help:"Print the version, and exit."`
}

// Problem is a setting that can't be used.
type Problem struct {
	// Name as the user knows it: a flag, an environment name or a file's key.
	Name string
	// Value as given.
	Value string
	// Allowed says what to write instead.
	Allowed string
	// Insecure says that it was refused for safety's sake.
	Insecure bool
}

// Error is one line: which setting, which value, what is allowed.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s: %q is not allowed; %s", p.Name, p.Value, p.Allowed)
}

// Level is LogLevel as slog knows it. The Config must be valid.
func (c *Config) Level() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// validate checks every setting by itself, and makes paths absolute.
func (c *Config) validate() error {
	for _, check := range []func() error{
		c.checkListen, c.checkURL, c.checkHeadless, c.checkChromeArgs, c.checkLogLevel, c.resolvePaths,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkListen() error {
	const example = "use HOST:PORT, for example 127.0.0.1:3001"
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example}
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example + " (the port is none)"}
	}
	if host == "localhost" {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.IsLoopback():
		return nil
	case err != nil && host != "":
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example}
	}
	return &Problem{
		Name: "--listen", Value: c.Listen, Insecure: true,
		Allowed: "only the loopback is, as whoever reaches the API can take the session over; " +
			"use 127.0.0.1 and reach it by ssh -L or through a reverse proxy that checks who calls",
	}
}

func (c *Config) checkURL() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return &Problem{Name: "--url", Value: c.URL, Allowed: "use an http or https address, for example https://web.whatsapp.com"}
	}
	return nil
}

const neverVisible = "the browser is never visible here: leave the setting out"

func (c *Config) checkHeadless() error {
	switch strings.ToLower(c.Headless) {
	case "true", "1", "yes", "on", "new":
		return nil
	}
	return &Problem{Name: "--headless", Value: c.Headless, Allowed: neverVisible}
}

// Flags of Chrome that belong to the service, and why they are refused.
var ownChromeFlags = map[string]string{
	"--headless":                 neverVisible,
	"--no-headless":              neverVisible,
	"--headful":                  neverVisible,
	"--display":                  neverVisible,
	"--ozone-platform":           neverVisible,
	"--ozone-platform-hint":      neverVisible,
	"--remote-debugging-port":    "an open DevTools port would give the session to every local user",
	"--remote-debugging-pipe":    "the worker sets it",
	"--remote-debugging-address": "an open DevTools port would give the session to every local user",
	"--user-data-dir":            "use --tokens",
	"--profile-directory":        "use --tokens",
}

func (c *Config) checkChromeArgs() error {
	for _, arg := range c.ChromeArgs {
		name, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "--") || len(name) == 2 {
			return &Problem{Name: "--chrome-arg", Value: arg, Allowed: "a flag of Chrome begins with two dashes, for example --chrome-arg=--proxy-server=127.0.0.1:8080"}
		}
		if why, ok := ownChromeFlags[name]; ok {
			return &Problem{Name: "--chrome-arg", Value: arg, Allowed: why}
		}
	}
	return nil
}

func (c *Config) checkLogLevel() error {
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
		return nil
	}
	return &Problem{Name: "--log-level", Value: c.LogLevel, Allowed: "use debug, info, warn or error"}
}

func (c *Config) resolvePaths() error {
	if c.Tokens == "" {
		return &Problem{Name: "--tokens", Value: "", Allowed: "name a folder"}
	}
	if c.Worker == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("cannot find the worker's binary, set --worker: %w", err)
		}
		c.Worker = filepath.Join(filepath.Dir(self), "worker")
	}
	for _, path := range []*string{&c.Tokens, &c.Worker} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("cannot make %s absolute: %w", *path, err)
		}
		*path = abs
	}
	return nil
}
