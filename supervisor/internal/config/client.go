package config

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Client is a command for a running service, with flags of its own. The tags are the
// documentation that --help prints.
type Client struct {
	URL      string `name:"url" placeholder:"URL" help:"Address of the service: http:// or https://HOST:PORT, or unix:/PATH. Default: that of the service's settings."`
	KeyFile  string `placeholder:"FILE" help:"File or pipe with an API key, as for --api-key-file. Default: that of the service's settings, unless --url is given."`
	Instance string `placeholder:"NAME" help:"The instance of the installed service that is meant, such as 3002 for session-manager@3002."`
	File     string `name:"config" placeholder:"FILE" help:"JSON file with the settings of a service that is not installed."`

	Status struct {
		printing
		Wait bool `help:"Wait until the session is READY."`
		limited
	} `cmd:"" help:"Show the session's state, and what to do. The exit code is 0 if it is READY, and 1 otherwise."`
	QR struct {
		limited
	} `cmd:"" name:"qr" help:"Draw the QR on the terminal, renew it until it is scanned, and wait until the session is READY."`
	Pair struct {
		Phone string `arg:"" help:"The phone's number in international form, such as +5491123456789, or - to read it from standard input."`
		printing
		limited
	} `cmd:"" help:"Show a code to be entered on the phone in place of a QR, and wait until the session is READY; with --json do not wait."`
	Logout struct {
		Purge bool `help:"Erase the login and its backups, instead of keeping the old login in quarantine."`
		Yes   bool `help:"Do not ask for confirmation."`
	} `cmd:"" help:"Unlink the phone."`
	Restart struct {
		Now bool `help:"Do not wait while a phone is being linked."`
	} `cmd:"" help:"Close Chrome cleanly, and start it again."`
	Send struct {
		To             string  `arg:"" help:"Phone number in international form, or address of a chat."`
		Text           string  `arg:"" optional:"" default:"-" help:"Text of the message. Default: standard input, which - stands for, too."`
		IdempotencyKey *string `placeholder:"KEY" help:"Name of this message: with the same one nothing is sent twice. Default: one is drawn."`
		printing
		Wait bool `help:"Wait until the message was sent. The exit code is 1 if it never will be."`
		limited
	} `cmd:"" help:"Send a message."`
	Events struct {
		Types string `placeholder:"TYPES" help:"Only these types, separated by commas: state, progress, warnings, qr, worker, message.status and others."`
		printing
		limited
	} `cmd:"" help:"Print what happens, as it happens."`

	// Command is the name of the command.
	Command string `kong:"-"`
}

type printing struct {
	JSON bool `help:"Print JSON, for programs."`
}

type limited struct {
	Timeout time.Duration `placeholder:"DURATION" help:"Give up after this time, with exit code 75, such as 2m. Default: never."`
}

// Limit returns --timeout of the command, 0 for none.
func (c *Client) Limit() time.Duration {
	return c.Status.Timeout + c.QR.Timeout + c.Pair.Timeout + c.Send.Timeout + c.Events.Timeout
}

// JSON reports whether the command prints JSON.
func (c *Client) JSON() bool {
	return c.Status.JSON || c.Pair.JSON || c.Send.JSON || c.Events.JSON
}

func newClientParser(c *Client, stdout io.Writer, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append(options,
		kong.Name(programName), kong.Description("Commands for a running service."), kong.Writers(stdout, stdout),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)...)
}

// clientCommands returns the commands for a running service.
func clientCommands() ([]*kong.Node, error) {
	parser, err := newClientParser(&Client{}, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return parser.Model.Children, nil
}

// IsClient reports whether args name a command for a running service.
func IsClient(args []string) bool {
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") && !isValue(args, i) {
			commands, _ := clientCommands() // not for a start of the service, which names none
			return slices.ContainsFunc(commands, func(n *kong.Node) bool { return n.Name == arg })
		}
	}
	return false
}

// ParseClient reads such a command. Errors are ErrDone, ErrUsage or a *Problem.
func ParseClient(args []string, stdout io.Writer) (*Client, error) {
	if err := inUTF8(args); err != nil {
		return nil, err
	}
	c, asked := &Client{}, false
	parser, err := newClientParser(c, stdout, kong.Exit(func(int) { asked = true }))
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	parsed, err := parser.Parse(args)
	if err := outcome(asked, err); err != nil {
		return nil, err
	}
	c.Command, _, _ = strings.Cut(parsed.Command(), " ")
	return c, c.check()
}

func (c *Client) check() error {
	address, isSocket := strings.CutPrefix(c.URL, unixPrefix)
	for _, s := range []struct {
		ok                   bool
		name, value, allowed string
	}{
		{c.URL == "" || isService(c.URL) || isSocket && filepath.IsAbs(address), "--url", masked(c.URL), "use http://HOST:PORT, https://HOST:PORT or unix:/PATH; a key goes into --key-file"},
		{c.URL == "" || c.Instance == "" && c.File == "", "--url", "", "with it, leave out --instance and --config"},
		{c.Instance == "" || c.File == "", "--config", "", "leave it out with --instance"},
		{c.Limit() >= 0, "--timeout", c.Limit().String(), "use a duration such as 2m"},
	} {
		if !s.ok {
			return &Problem{Name: s.name, Value: s.value, Allowed: s.allowed}
		}
	}
	return nil
}

// isService reports whether an address can be that of a service, perhaps in a folder of a reverse
// proxy, and has nothing that other users must not see on the command line.
func isService(address string) bool {
	u, err := url.Parse(address)
	return err == nil && isWeb(address) && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// Reach returns the address at which clients on this machine reach the service: a URL, or a
// socket after "unix:". The Config must be valid.
func (c *Config) Reach() (string, error) {
	network, address := c.Address()
	if network == "unix" {
		return unixPrefix + address, nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", notAllowed("--listen", c.Listen, "use HOST:PORT")
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil || port == 0 {
		return "", c.named(&Problem{Name: "--listen", Value: c.Listen, Allowed: "the port is chosen when the service starts; name the one that it has with --url"})
	}
	if ip, err := netip.ParseAddr(cmp.Or(host, "::")); err == nil && ip.IsUnspecified() {
		host = "localhost"
		if ip.Is4() {
			host = "127.0.0.1"
		}
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	if c.TLSCert != "" {
		u.Scheme = "https"
	}
	return u.String(), nil
}
