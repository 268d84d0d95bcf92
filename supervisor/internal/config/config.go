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
	"strconv"
	"strings"
	"time"

	"session-manager/shared/chrome"
)

// Config is every setting. The tags are the documentation that --help prints.
type Config struct {
	Listen     string   `default:"127.0.0.1:3001" placeholder:"ADDRESS" help:"Address of the HTTP API: HOST:PORT, or unix:/PATH. Beyond the loopback it needs --api-key-file."`
	URL        string   `name:"url" default:"https://web.whatsapp.com" help:"Page to open."`
	Tokens     string   `default:"tokens" placeholder:"DIR" help:"Folder that holds admin/, the Chrome profile with the login."`
	Crashes    string   `placeholder:"DIR" help:"Folder for the reports of crashes. Default: crashes, in the tokens folder."`
	Worker     string   `placeholder:"FILE" help:"The worker's binary. Default: worker, beside the supervisor."`
	Chrome     string   `placeholder:"FILE" help:"Chrome's binary. Default: google-chrome-stable, google-chrome, chromium on the PATH."`
	ChromeArgs []string `name:"chrome-arg" sep:"none" placeholder:"--FLAG" help:"Further flag for Chrome, such as --chrome-arg=--proxy-server=…; repeatable."`

	QRTimeout time.Duration `default:"15s" placeholder:"DURATION" help:"How long the page may ask for a phone without a scannable QR before that is an incident, reason qr_unreadable. At least 5s."`

	DeadlineFactor float64 `default:"1" placeholder:"NUMBER" help:"How many times the usual the worker, Chrome, its parts and the page may take to start and to answer before they count as hung, and a copy of the login to open: more than 1 on a slow machine. 0.5 to 10."`

	Selectors string `placeholder:"FILE" help:"File in the place of the built-in selectors of WhatsApp's page: names, selectors, texts. A changed file is taken up at once. Default: selectors.json in the folder of --config, or in systemd's configuration folder."`

	SettleTime  time.Duration `default:"60s" placeholder:"TIME" help:"How long after a phone was linked planned restarts wait, so that they can't cost the new login."`
	MemoryLimit string        `default:"2G" placeholder:"SIZE" help:"Memory that the worker and Chrome may hold together before they are restarted, at a calm moment: a number with K, M or G, 0 for no limit."`
	BackupHour  string        `default:"4" placeholder:"HOUR" help:"Hour of the day, 0 to 23 in local time, at which the session is restarted to copy the login when the last copy is older than a day; off for never."`

	APIKeyFile string   `placeholder:"FILE" help:"File with the keys that callers show, one a line: KEY, read:KEY or command:KEY. Default: the systemd credential api-key, if there is one."`
	AllowHosts []string `name:"allow-host" sep:"none" placeholder:"NAME" help:"Further host name that requests may name, for a reverse proxy; repeatable."`
	TLSCert    string   `placeholder:"FILE" help:"PEM file with the certificate chain; with it the API speaks HTTPS. A changed file is taken up at once."`
	TLSKey     string   `placeholder:"FILE" help:"PEM file with the certificate's key."`

	Webhook        string `placeholder:"URL" help:"Where each change of the state is sent to, as a POST in JSON."`
	WebhookKeyFile string `placeholder:"FILE" help:"File with the key that signs what is sent there. Default: the systemd credential webhook-key, if there is one."`

	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase of session export and import, on its first line. Default: SESSION_MANAGER_PASSPHRASE in the environment, or a prompt."`

	Trace string `placeholder:"FILE" help:"File to write the times of the first start to, up to the first QR or READY, for ui.perfetto.dev."`

	LogLevel string `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	Headless string `default:"true" hidden:"" help:"Always true: the browser is never visible."`

	File        string `name:"config" placeholder:"FILE" help:"JSON file with settings, by the names of these flags."`
	PrintConfig bool   `help:"Print every setting with its source, and exit."`
	Version     bool   `help:"Print the version, and exit."`

	// Command is what to do, one of the commands below.
	Command string `kong:"-"`
	// Archive is the file to export to, or to import.
	Archive string `kong:"-"`
	// Backup says that the newest copy is exported, not the profile.
	Backup bool `kong:"-"`
	// Passphrase of the archive, where the environment gives it.
	Passphrase string `kong:"-" json:"-"`
	// Shell is the shell to write a completion for.
	Shell string `kong:"-"`
}

// What the program can do.
const (
	CommandServe      = "serve"
	CommandDoctor     = "doctor"
	CommandCompletion = "completion"
	CommandExport     = "session export"
	CommandImport     = "session import"
)

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
		c.checkListen, c.checkTLS, c.checkURL, c.checkWebhook, c.checkHeadless, c.checkChromeArgs,
		c.checkLogLevel, c.checkDurations, c.checkLogin, c.checkMemory, c.resolvePaths,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// unixPrefix marks an address of --listen that is a socket in the file system.
const unixPrefix = "unix:"

// Address returns the network and the address to listen on, as net.Listen knows
// them. The Config must be valid.
func (c *Config) Address() (network, address string) {
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", c.Listen
}

// ListenOn puts the address of a socket that is open already in the place of
// Listen. The error is a *Problem when the rest of the Config doesn't allow it.
func (c *Config) ListenOn(a net.Addr) error {
	c.Listen = a.String()
	if a.Network() == "unix" {
		c.Listen = unixPrefix + c.Listen
	}
	return c.checkListen()
}

// Exposed says whether other machines may reach the API. The Config must be
// valid.
func (c *Config) Exposed() bool {
	network, address := c.Address()
	host, _, err := net.SplitHostPort(address)
	if network == "unix" || err != nil || host == "localhost" {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.IsLoopback()
}

func (c *Config) checkListen() error {
	const example = "use HOST:PORT, for example 127.0.0.1:3001, or unix:/PATH"
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		return checkSocket(c.Listen, path)
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example}
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example + " (the port is none)"}
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return &Problem{Name: "--listen", Value: c.Listen, Allowed: example + " (the host must be a number, or localhost)"}
	}
	if c.Exposed() && c.APIKeyFile == "" {
		return &Problem{
			Name: "--listen", Value: c.Listen, Insecure: true,
			Allowed: "only the loopback is without an API key, as whoever reaches the API can take the session over; " +
				"set --api-key-file, or use 127.0.0.1 and reach it by ssh -L or through a reverse proxy that checks who calls",
		}
	}
	return nil
}

// maxSocketPath is what a socket's path may have in bytes, unix(7).
const maxSocketPath = 107

func checkSocket(listen, path string) error {
	if !filepath.IsAbs(path) || len(path) > maxSocketPath {
		return &Problem{
			Name: "--listen", Value: listen,
			Allowed: fmt.Sprintf("a socket needs an absolute path of at most %d bytes, for example unix:/run/session-manager/api.sock", maxSocketPath),
		}
	}
	return nil
}

func (c *Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return &Problem{Name: "--tls-cert and --tls-key", Value: c.TLSCert + c.TLSKey, Allowed: "set both, or none"}
	}
	return nil
}

// The URL of a webhook may hold a secret, so it is never repeated.
func (c *Config) checkWebhook() error {
	if c.Webhook == "" {
		return nil
	}
	u, err := url.Parse(c.Webhook)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return &Problem{Name: "--webhook", Value: masked(c.Webhook), Allowed: "use an http or https address"}
	}
	return nil
}

// masked shows of an address no more than where it leads.
func masked(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "…"
	}
	return u.Scheme + "://" + u.Host + "/…"
}

func (c *Config) checkURL() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return &Problem{Name: "--url", Value: c.URL, Allowed: "use an http or https address, for example https://web.whatsapp.com"}
	}
	return nil
}

func (c *Config) checkHeadless() error {
	switch strings.ToLower(c.Headless) {
	case "true", "1", "yes", "on", "new":
		return nil
	}
	return &Problem{Name: "--headless", Value: c.Headless, Allowed: "Chrome is never visible here; leave the setting out"}
}

func (c *Config) checkChromeArgs() error {
	for _, arg := range c.ChromeArgs {
		if err := chrome.CheckArg(arg); err != nil {
			return &Problem{Name: "--chrome-arg", Value: arg, Allowed: err.Error()}
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

// minQRTimeout is what the slowest reader needs to find a code for the first time.
const minQRTimeout = 5 * time.Second

// The bounds of DeadlineFactor: with less a busy machine looks hung, with more a hung one
// looks busy for minutes.
const leastFactor, mostFactor = 0.5, 10

func (c *Config) checkDurations() error {
	if c.QRTimeout < minQRTimeout {
		return &Problem{Name: "--qr-timeout", Value: c.QRTimeout.String(), Allowed: "use a duration of at least 5s, for example 15s"}
	}
	// Not what is between: NaN.
	if f := c.DeadlineFactor; !(f >= leastFactor && f <= mostFactor) {
		return &Problem{Name: "--deadline-factor", Value: strconv.FormatFloat(f, 'g', -1, 64), Allowed: "use a number from 0.5 to 10"}
	}
	return nil
}

func (c *Config) checkLogin() error {
	if c.SettleTime < 0 {
		return &Problem{Name: "--settle-time", Value: c.SettleTime.String(), Allowed: "use a duration such as 60s, or 0s"}
	}
	if _, ok := c.quietHour(); !ok {
		return &Problem{Name: "--backup-hour", Value: c.BackupHour, Allowed: "use an hour from 0 to 23, or off"}
	}
	return nil
}

// QuietHour is BackupHour as a number, and negative when it is off. The Config
// must be valid.
func (c *Config) QuietHour() int {
	hour, _ := c.quietHour()
	return hour
}

func (c *Config) quietHour() (int, bool) {
	if c.BackupHour == "off" {
		return -1, true
	}
	hour, err := strconv.Atoi(c.BackupHour)
	return hour, err == nil && hour >= 0 && hour < 24
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
	if c.Crashes == "" {
		c.Crashes = filepath.Join(c.Tokens, "crashes")
	}
	for _, path := range []*string{&c.Tokens, &c.Crashes, &c.Worker, &c.APIKeyFile, &c.TLSCert, &c.TLSKey, &c.WebhookKeyFile, &c.PassphraseFile, &c.Archive, &c.Selectors} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("cannot make %s absolute: %w", *path, err)
		}
		*path = abs
	}
	return nil
}
