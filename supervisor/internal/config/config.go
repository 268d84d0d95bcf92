// Package config reads the settings: flags, then the environment, then a file, then
// defaults. An unknown or bad setting stops the start with its name, its value and
// what is allowed.
package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/supervisor/internal/smallfile"
)

// Config is every setting. The tags are the documentation that --help prints.
type Config struct {
	Listen     string   `default:"127.0.0.1:3001" placeholder:"ADDRESS" help:"Address of the HTTP API: HOST:PORT, or unix:/PATH; localhost is 127.0.0.1 and ::1. Addresses that other machines can reach require --api-key-file."`
	URL        string   `name:"url" default:"https://web.whatsapp.com" help:"Page to open."`
	Tokens     string   `default:"tokens" placeholder:"DIR" help:"Folder that holds admin/, the Chrome profile with the login."`
	Crashes    string   `placeholder:"DIR" help:"Folder for crash reports. Default: crashes in the tokens folder."`
	Worker     string   `placeholder:"FILE" help:"The worker binary. Default: worker, next to the supervisor."`
	Chrome     string   `placeholder:"FILE" help:"The Chrome binary. Default: the first of google-chrome-stable, google-chrome and chromium on the PATH."`
	ChromeArgs []string `name:"chrome-arg" sep:"none" placeholder:"--FLAG" help:"Additional flag for Chrome, such as --chrome-arg=--lang=es; repeatable. Other users can see it in the list of processes."`

	Proxy             string `placeholder:"URL" help:"Proxy for the page, its connection and the webhook: http://, https:// or socks5://, then USER@ if it demands a password, and HOST:PORT. Default: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY of the environment. What NO_PROXY names, and this machine, is reached without."`
	ProxyPasswordFile string `placeholder:"FILE" help:"File whose first line is the password for --proxy. Default: the systemd credential proxy-password, if there is one."`

	QRTimeout time.Duration `default:"15s" placeholder:"DURATION" help:"How long the page may ask for a phone without showing a scannable QR before this is reported as qr_unreadable. At least 5s."`

	DeadlineFactor float64 `default:"1" placeholder:"NUMBER" help:"Factor for the time that the worker, Chrome and the page may take to start and to respond before they count as hung, or their QR is withheld; more than 1 on a slow machine. 0.5 to 10."`

	Selectors string `placeholder:"FILE" help:"File that replaces the built-in selectors of WhatsApp's page. Changes apply at once. Default: selectors.json in the folder of --config, or in systemd's configuration folder."`

	SettleTime  time.Duration `default:"60s" placeholder:"DURATION" help:"How long planned restarts wait after a phone was linked, so that they can't damage the new login."`
	MemoryLimit string        `default:"2G" placeholder:"SIZE" help:"Memory that the worker and Chrome may use together before they are restarted at a quiet moment: a number with K, M or G, in powers of 1024, or 0 for no limit."`
	BackupHour  string        `default:"4" placeholder:"HOUR" help:"Hour of the day, 0 to 23 in local time, at which the session is restarted to back up the login if the last backup is older than a day; off to disable."`

	Messages             string        `default:"out" placeholder:"DIRECTION" help:"out: messages can be sent; both: those that arrive are reported as well, and kept in the tokens folder for a week; off: neither. Statuses and channels are never read."`
	OutboxLimit          int           `default:"10000" placeholder:"NUMBER" help:"How many messages may wait to be sent."`
	MessagePause         time.Duration `default:"1s" placeholder:"DURATION" help:"Least time between two messages; within one chat it is three times as long."`
	SendByTyping         string        `default:"on" placeholder:"on|off" help:"Whether a text is typed as a person does where the page no longer has the functions by which messages are sent. Whether such a message was sent may remain unknown."`
	NewChatPause         time.Duration `default:"45s" placeholder:"DURATION" help:"Mean time between two messages to people who have never written to this account: WhatsApp restricts accounts that write to many of them."`
	NewChatsPerDay       int           `default:"100" placeholder:"NUMBER" help:"How many such people are written to within 24 hours; in the first two weeks after a phone was linked, a fifth of that."`
	MessageTextRetention time.Duration `default:"24h" placeholder:"DURATION" help:"How long the text and the file of a message are kept after it was sent, has ended or was received; they are erased at most ten minutes later. The rest is kept for at least a week."`
	MediaLimit           string        `default:"64M" placeholder:"SIZE" help:"How large the file of a message may be, from 1K to 2G; WhatsApp has limits of its own."`
	MediaDiskLimit       string        `default:"1G" placeholder:"SIZE" help:"How much disk space all files to be sent may take, and as much again those that were received, of which the oldest give way."`

	APIKeyFile string   `placeholder:"FILE" help:"File with the API keys, one per line: KEY, read:KEY, command:KEY, send:KEY or receive:KEY. Changes apply at once; while the file can't be used, its keys are valid for a minute. Default: the systemd credential api-key, if there is one."`
	AllowHosts []string `name:"allow-host" sep:"none" placeholder:"NAME" help:"Name by which browsers reach the service through a reverse proxy, without port; repeatable."`
	TLSCert    string   `placeholder:"FILE" help:"PEM file with the certificate chain; the API then speaks HTTPS. Changes apply at once."`
	TLSKey     string   `placeholder:"FILE" help:"PEM file with the certificate's key."`

	Webhook        string `placeholder:"URL" help:"URL that receives each change of the state, and of the messages that are sent, as a POST request with JSON."`
	WebhookURLFile string `name:"webhook-url-file" placeholder:"FILE" help:"File whose first line is that URL, which other users could see on the command line. Default: the systemd credential webhook-url, if there is one."`
	WebhookKeyFile string `placeholder:"FILE" help:"File with the key that signs these requests: whsec_ and base64. Default: the systemd credential webhook-key, if there is one."`

	PassphraseFile string `placeholder:"FILE" help:"File or pipe whose first line, within 2 minutes, is the passphrase for session export and import. Default: SESSION_MANAGER_PASSPHRASE in the environment, or a prompt."`

	Trace string `placeholder:"FILE" help:"File to write the timing of the first start to, up to the first QR or READY, for ui.perfetto.dev."`

	LogLevel  string `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat string `default:"auto" placeholder:"FORMAT" help:"json: one object per line; text: for people, on a terminal with the QR; auto: text on a terminal, otherwise json."`
	Headless  string `default:"true" hidden:"" help:"Always true: Chrome is never visible."`

	Instance    string `placeholder:"NAME" help:"For doctor, session and --print-config: the instance of the installed service that is meant, such as 3002 for session-manager@3002."`
	File        string `name:"config" placeholder:"FILE" help:"JSON file with settings, named like these flags."`
	PrintConfig bool   `help:"Print every setting and where it comes from, and exit."`
	Version     bool   `help:"Print the version and exit."`

	// Command is what to do, one of the commands below.
	Command string `kong:"-"`
	// Archive is the file to export to, or to import.
	Archive string `kong:"-"`
	// Backup means that the newest backup is exported, not the profile.
	Backup bool `kong:"-"`
	// Environment has the proxies that the environment names, by the variable.
	Environment map[string]string `kong:"-" json:"-"`
	// Passphrase of the archive, if the environment has it.
	Passphrase string `kong:"-" json:"-"`
	// names are what the user calls the flags that the command line does not set.
	names map[string]string
	// below is what an installed service adds to the settings.
	below *Below
}

// What the program can do, in kong's words.
const (
	CommandServe      = "serve"
	CommandDoctor     = "doctor"
	CommandCompletion = "completion <shell>"
	CommandExport     = "session export <file>"
	CommandImport     = "session import <file>"
)

// Standard in place of a login's file is standard output, or standard input.
const Standard = "-"

// What a *Problem is.
var (
	ErrSetting  = errors.New("bad setting")
	ErrInsecure = errors.New("insecure setting")
)

// Problem is a setting that can't be used. It is ErrSetting, and ErrInsecure if it was
// refused for safety.
type Problem struct {
	// Name as the user knows it: a flag, an environment name or a file's key.
	Name string
	// Value as given; empty when it was not set, is not what is wrong, or may be a secret.
	Value string
	// Allowed explains what to write instead.
	Allowed string
	// Insecure means that it was refused for safety.
	Insecure bool
}

// maxShown is how much is shown of a value, in bytes.
const maxShown = 300

// Error is one line: which setting, which value, what is allowed.
func (p *Problem) Error() string {
	if p.Value == "" {
		return p.Name + ": " + p.Allowed
	}
	return fmt.Sprintf("%s: %q is not allowed; %s", p.Name, logging.Truncate(logging.Redact(p.Value), maxShown), logging.Redact(p.Allowed))
}

// named returns p with the names that the user knows in place of flags.
func (c *Config) named(p *Problem) *Problem {
	words := strings.Fields(p.Name)
	for i, word := range words {
		words[i] = c.NameOf(word)
	}
	p.Name = strings.Join(words, " ")
	return p
}

// NameOf returns the name by which the user has set what a flag sets.
func (c *Config) NameOf(flag string) string { return cmp.Or(c.names[flag], flag) }

// FileProblem is the error err of the file that a flag names. A file that does not exist is
// not named: it may be a secret that was put in place of its file.
func (c *Config) FileProblem(flag string, err error) *Problem {
	if errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(flag, "--tls-") {
		err = errors.New("the file that it names does not exist")
	}
	return c.named(&Problem{Name: flag, Allowed: err.Error()})
}

// Is implements errors.Is.
func (p *Problem) Is(target error) bool {
	return target == ErrSetting || p.Insecure && target == ErrInsecure
}

// Level returns LogLevel. The Config must be valid.
func (c *Config) Level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel))
	return level
}

// TextLog reports whether the log is for people. The Config must be valid.
func (c *Config) TextLog(terminal bool) bool {
	return c.LogFormat == "text" || c.LogFormat == "auto" && terminal
}

// Base returns where callers on this machine reach the API that listens at a, as a URL
// where it has one.
func (c *Config) Base(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return unixPrefix + a.String()
	}
	scheme, host := "http", tcp.IP.String()
	if c.TLSCert != "" {
		scheme = "https"
	}
	if tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// MemoryBytes returns MemoryLimit in bytes, 0 for no limit. The Config must be valid.
func (c *Config) MemoryBytes() uint64 {
	n, _ := parseBytes(c.MemoryLimit)
	return n
}

// leastMemory is the smallest limit of memory that a page can work in: Chrome
// alone uses about 80 MiB when idle.
const leastMemory = 200 << 20

// parseMemory is parseBytes for a size that a page can work in, or 0.
func parseMemory(text string) (uint64, bool) {
	n, ok := parseBytes(text)
	return n, ok && (n == 0 || n >= leastMemory)
}

// MediaBytes returns MediaLimit and MediaDiskLimit in bytes. The Config must be valid.
func (c *Config) MediaBytes() (one, all int64) {
	a, _ := parseBytes(c.MediaLimit)
	b, _ := parseBytes(c.MediaDiskLimit)
	return int64(min(a, math.MaxInt64)), int64(min(b, math.MaxInt64))
}

// mostMedia is more than WhatsApp takes in one file, and mostMediaDisk than a disk has.
const leastMedia, mostMedia, mostMediaDisk = 1 << 10, 2 << 30, 1 << 50

// parseBytes understands 1500M, 2GB, 2 GiB and the like, all in powers of 1024.
func parseBytes(text string) (uint64, bool) {
	text, shift := strings.ToUpper(text), 0
	text = strings.TrimSuffix(strings.TrimSuffix(text, "B"), "I")
	for unit, by := range map[string]int{"K": 10, "M": 20, "G": 30} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			text, shift = strings.TrimSpace(number), by
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}

// HourOfBackup returns BackupHour, negative when it is off. The Config must be valid.
func (c *Config) HourOfBackup() int {
	hour, _ := parseHour(c.BackupHour)
	return hour
}

func parseHour(text string) (int, bool) {
	if text == "off" {
		return -1, true
	}
	hour, err := strconv.Atoi(text)
	return hour, err == nil && hour >= 0 && hour < 24
}

// unixPrefix marks an address of --listen that is a socket in the file system.
const unixPrefix = "unix:"

// Address returns the network and the address to listen on, as for net.Listen. The
// Config must be valid.
func (c *Config) Address() (network, address string) {
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", c.Listen
}

// ListenOn replaces Listen by the address of an open socket. The error is a *Problem
// when the other settings don't allow it.
func (c *Config) ListenOn(a net.Addr) error {
	c.Listen = a.String()
	if a.Network() == "unix" {
		c.Listen = unixPrefix + c.Listen
	}
	return c.checkListen()
}

// Exposed reports whether other machines may reach the API. The Config must be valid.
func (c *Config) Exposed() bool {
	network, address := c.Address()
	host, _, err := net.SplitHostPort(address)
	if network == "unix" || err != nil || host == "localhost" {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.IsLoopback()
}

// ReadWebhook takes Webhook from WebhookURLFile, if that is set. The error is a *Problem,
// or ctx's cause.
func (c *Config) ReadWebhook(ctx context.Context) error {
	const name = "--webhook-url-file"
	if c.WebhookURLFile == "" {
		return nil
	}
	content, err := smallfile.ReadSetting(ctx, c.WebhookURLFile)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return c.FileProblem(name, err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if c.Webhook = strings.TrimSpace(line); !isWeb(c.Webhook) {
		return c.named(&Problem{Name: name, Allowed: "its first line must be an http or https URL"})
	}
	return nil
}

// SecretFiles returns the paths that are set of files with secrets.
func (c *Config) SecretFiles() []string {
	all := []string{c.APIKeyFile, c.TLSKey, c.WebhookURLFile, c.WebhookKeyFile, c.ProxyPasswordFile, c.PassphraseFile}
	return slices.DeleteFunc(all, func(path string) bool { return path == "" })
}

// validate checks every setting on its own, and makes paths absolute.
func (c *Config) validate(flags []*kong.Flag, sources Sources) error {
	for _, f := range flags {
		if f.Target.Kind() != reflect.String {
			continue
		}
		if err := plain(value{text: f.Target.String(), name: "--" + f.Name}); err != nil {
			return err
		}
	}
	if c.Instance != "" && c.below == nil {
		return notAllowed("--instance", c.Instance, "it is for doctor, session and --print-config of an installed service")
	}
	if err := c.checkListen(); err != nil {
		return err
	}
	if err := c.checkValues(); err != nil {
		return err
	}
	if err := c.checkLists(); err != nil {
		return err
	}
	if err := c.checkProxy(sources["proxy"]); err != nil {
		return err
	}
	return c.resolvePaths(sources)
}

// checkLists checks the settings that can be repeated.
func (c *Config) checkLists() error {
	for _, arg := range c.ChromeArgs {
		if err := chrome.CheckArg(arg); err != nil {
			return &Problem{Name: "--chrome-arg", Value: arg, Allowed: err.Error()}
		}
	}
	for _, name := range c.AllowHosts {
		if _, err := netip.ParseAddr(name); err != nil && (name == "" || strings.ContainsAny(name, "/*,@: ")) {
			return &Problem{Name: "--allow-host", Value: name, Allowed: "use a host name without its port, such as wa.example.com"}
		}
	}
	return nil
}

// maxSocketPath is what a socket's path may have in bytes, unix(7).
const maxSocketPath = 107

func (c *Config) checkListen() error {
	refused := func(allowed string) error { return notAllowed("--listen", c.Listen, allowed) }
	network, address := c.Address()
	if network == "unix" {
		if !filepath.IsAbs(address) || len(address) > maxSocketPath {
			return refused(fmt.Sprintf("a socket needs an absolute path of at most %d bytes, for example unix:/run/session-manager/api.sock", maxSocketPath))
		}
		return nil
	}
	const example = "use HOST:PORT, for example 127.0.0.1:3001, or unix:/PATH"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return refused(example)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return refused(example + " (the port is not valid)")
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return refused(example + " (the host must be an IP address or localhost)")
	}
	if c.Exposed() && c.APIKeyFile == "" {
		return &Problem{
			Name: "--listen", Value: c.Listen, Insecure: true,
			Allowed: "without an API key only loopback addresses are, as anyone who can reach the API can take over the session; " +
				"set --api-key-file, or use 127.0.0.1 with ssh -L or a reverse proxy that authenticates callers",
		}
	}
	return nil
}

// minQRTimeout is what the slowest reader needs to find a QR for the first time.
const minQRTimeout = 5 * time.Second

// The bounds of DeadlineFactor: with less a busy machine looks hung, with more a hung one
// looks busy for minutes.
const leastFactor, mostFactor = 0.5, 10

// The bounds of what messages may be kept and wait.
const (
	mostMessages     = 100_000
	longestPause     = time.Hour
	longestRetention = 720 * time.Hour
)

// check is whether a setting has an allowed value.
type check struct {
	ok                   bool
	name, value, allowed string
}

// checkValues checks the settings that need no more than a look.
func (c *Config) checkValues() error {
	c.LogLevel = strings.ToLower(c.LogLevel)
	_, isHour := parseHour(c.BackupHour)
	_, isSize := parseMemory(c.MemoryLimit)
	for _, s := range append([]check{
		{(c.TLSCert == "") == (c.TLSKey == ""), "--tls-cert and --tls-key", "", "set both or neither"},
		{hasOrigin(c.URL), "--url", c.URL, "use an http or https URL, for example https://web.whatsapp.com"},
		{c.Webhook == "" || c.WebhookURLFile == "", "--webhook and --webhook-url-file", "", "set one of them"},
		{c.Webhook == "" || isWeb(c.Webhook), "--webhook", masked(c.Webhook), "use an http or https URL"},
		{slices.Contains([]string{"true", "1", "yes", "on", "new"}, strings.ToLower(c.Headless)), "--headless", c.Headless, "Chrome is never visible here; leave the setting out"},
		{c.Trace == "" || isDir(filepath.Dir(c.Trace)), "--trace", c.Trace, "its folder must exist"},
		{slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel), "--log-level", c.LogLevel, "use debug, info, warn or error"},
		{slices.Contains([]string{"auto", "json", "text"}, c.LogFormat), "--log-format", c.LogFormat, "use json, text or auto"},
		{c.QRTimeout >= minQRTimeout, "--qr-timeout", c.QRTimeout.String(), "use a duration of at least 5s, for example 15s"},
		// NaN is not allowed either.
		{c.DeadlineFactor >= leastFactor && c.DeadlineFactor <= mostFactor, "--deadline-factor", strconv.FormatFloat(c.DeadlineFactor, 'g', -1, 64), "use a number from 0.5 to 10"},
		{c.SettleTime >= 0, "--settle-time", c.SettleTime.String(), "use a duration such as 60s, or 0s"},
		{isHour, "--backup-hour", c.BackupHour, "use an hour from 0 to 23, or off"},
		{isSize, "--memory-limit", c.MemoryLimit, "use a whole number with K, M or G, such as 1536M, at least 200M, or 0 for no limit"},
		{c.Tokens != "", "--tokens", c.Tokens, "name a folder"},
	}, c.messageValues()...) {
		if !s.ok {
			return notAllowed(s.name, s.value, s.allowed)
		}
	}
	return nil
}

// messageValues checks the settings of messages.
func (c *Config) messageValues() []check {
	one, all := c.MediaBytes()
	return []check{
		{slices.Contains([]string{"off", "out", "both"}, c.Messages), "--messages", c.Messages, "use off, out or both"},
		{c.SendByTyping == "on" || c.SendByTyping == "off", "--send-by-typing", c.SendByTyping, "use on or off"},
		{c.OutboxLimit > 0 && c.OutboxLimit <= mostMessages, "--outbox-limit", strconv.Itoa(c.OutboxLimit), "use a number from 1 to 100000"},
		{c.MessagePause >= 0 && c.MessagePause <= longestPause, "--message-pause", c.MessagePause.String(), "use a duration of at most 1h, such as 1s"},
		{c.NewChatPause >= 0 && c.NewChatPause <= longestPause, "--new-chat-pause", c.NewChatPause.String(), "use a duration of at most 1h, such as 45s"},
		{c.NewChatsPerDay >= 0, "--new-chats-per-day", strconv.Itoa(c.NewChatsPerDay), "use a number, such as 100"},
		{c.MessageTextRetention >= 0 && c.MessageTextRetention <= longestRetention, "--message-text-retention", c.MessageTextRetention.String(), "use a duration of at most 720h, such as 24h"},
		{one >= leastMedia && one <= mostMedia, "--media-limit", c.MediaLimit, "use a whole number with K, M or G, from 1K to 2G"},
		{all >= one && all <= mostMediaDisk, "--media-disk-limit", c.MediaDiskLimit, "use a whole number with K, M or G, such as 1G, at least --media-limit"},
	}
}

// notAllowed is the Problem of a value, which is empty also for two settings at once.
func notAllowed(name, value, allowed string) *Problem {
	if value == "" && !strings.Contains(name, " and ") {
		allowed = "it is empty; " + allowed
	}
	return &Problem{Name: name, Value: value, Allowed: allowed}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// hasOrigin reports whether an address has an origin, by which the page is recognised.
func hasOrigin(address string) bool {
	_, err := chrome.Origin(address)
	return err == nil
}

func isWeb(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// masked returns no more of a webhook's URL than where it leads: the rest may be
// secret.
func masked(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "…"
	}
	return u.Scheme + "://" + u.Host + "/…"
}

func (c *Config) resolvePaths(sources Sources) error {
	if c.Worker == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("cannot find the worker binary, set --worker: %w", err)
		}
		c.Worker = filepath.Join(filepath.Dir(self), "worker")
	}
	if c.Crashes == "" {
		c.Crashes = filepath.Join(c.Tokens, "crashes")
	}
	for flag, path := range map[string]*string{
		"tokens": &c.Tokens, "crashes": &c.Crashes, "worker": &c.Worker, "api-key-file": &c.APIKeyFile, "tls-cert": &c.TLSCert,
		"tls-key": &c.TLSKey, "webhook-url-file": &c.WebhookURLFile, "webhook-key-file": &c.WebhookKeyFile,
		"proxy-password-file": &c.ProxyPasswordFile, "passphrase-file": &c.PassphraseFile, "selectors": &c.Selectors,
	} {
		if err := c.resolve(path, sources[flag]); err != nil {
			return err
		}
	}
	if c.Archive == Standard {
		return nil
	}
	return c.resolve(&c.Archive, "flag")
}

// resolve makes a path absolute. Those of an installed service are relative to its working
// folder.
func (c *Config) resolve(path *string, source string) error {
	if *path == "" {
		return nil
	}
	if c.below != nil && source != "flag" && source != "environment" {
		*path = filepath.Join("/", *path)
	}
	abs, err := filepath.Abs(*path)
	if err != nil {
		return fmt.Errorf("cannot make %s absolute: %w", *path, err)
	}
	*path = abs
	return nil
}
