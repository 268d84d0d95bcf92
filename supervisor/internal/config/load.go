package config

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"session-manager/shared/logging"
)

// programName is the name that the program was called by: the installed one has two.
var programName = filepath.Base(os.Args[0])

const (
	envPrefix   = "SESSION_MANAGER_"
	description = "Holds one WhatsApp Web session in a headless Chrome and answers GET /status and GET /qr.\n\n" +
		"Every setting can be in the environment, --listen as " + envPrefix + "LISTEN and so on. " +
		"Precedence: flags, environment, file, defaults."

	// passphraseEnv may hold the passphrase of session export and import. It is not a
	// setting: a flag would show it to other users.
	passphraseEnv = envPrefix + "PASSPHRASE"
)

// ErrDone means that --help, --version or --print-config was all there was to
// do; the text has been written.
var ErrDone = errors.New("nothing more to do")

// ErrUsage means that the command line could not be understood.
var ErrUsage = errors.New("bad usage")

// Sources has for each flag's name where its value comes from: flag, environment,
// file, credential or default.
type Sources map[string]string

// Load reads the settings from args, environ ("NAME=value") and the file that
// they name, until ctx ends. It writes to stdout only what was asked for. Errors are
// ErrDone, ErrUsage, *Problem or ctx's cause.
//
// What below has comes after the environment.
func Load(ctx context.Context, args, environ []string, stdout io.Writer, version string, below ...Below) (*Config, Sources, error) {
	var g grammar
	c := &g.Config
	if len(below) > 0 {
		c.below = &below[0]
	}
	env := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	l := &layers{values: map[string]value{}, sources: Sources{}}
	flags, err := g.parse(ctx, args, env, stdout, l)
	switch {
	case err != nil:
	case c.Version:
		_, err = fmt.Fprintln(stdout, version)
		err = errors.Join(ErrDone, err)
	default:
		c.takeProxies(env)
		c.takeCredentials(env["CREDENTIALS_DIRECTORY"], l.sources)
		c.findSelectors(env["CONFIGURATION_DIRECTORY"])
		err = c.validate(flags, l.sources)
	}
	if err == nil && c.PrintConfig {
		err = errors.Join(ErrDone, c.print(stdout, flags, l.sources))
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		err = c.named(p)
	}
	if err != nil {
		return nil, nil, err
	}
	return c, l.sources, nil
}

// parse fills g from the command line and the layers below it.
func (g *grammar) parse(ctx context.Context, args []string, env map[string]string, stdout io.Writer, l *layers) ([]*kong.Flag, error) {
	asked := false
	if err := inUTF8(args); err != nil {
		return nil, err
	}
	further, err := clientCommands()
	if err != nil {
		return nil, err
	}
	var options []kong.Option
	for _, command := range further {
		// They have a parser of their own.
		options = append(options, kong.DynamicCommand(command.Name, command.Help, "", &struct{}{}))
	}
	parser, err := kong.New(g, append(options,
		kong.Name(programName), kong.Description(description), kong.Writers(stdout, stdout),
		kong.Exit(func(int) { asked = true }),
		kong.Resolvers(l), kong.ValueFormatter(withDefault),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.TypeMapper(reflect.TypeFor[float64](), kong.MapperFunc(decodeNumber)),
		kong.TypeMapper(reflect.TypeFor[int](), kong.MapperFunc(decodeWhole)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	flags := parser.Model.Flags
	if err := l.read(ctx, args, env, flags, g.below); err != nil {
		return nil, err
	}
	for _, f := range flags {
		l.sources[f.Name] = "flag" // unless Resolve is called for it
	}
	parsed, err := parser.Parse(args)
	g.names = l.names()
	if err := outcome(asked, err); err != nil {
		return nil, err
	}
	g.Command, g.Backup = parsed.Command(), g.Session.Export.Backup
	g.Archive = cmp.Or(g.Session.Export.File, g.Session.Import.File)
	g.Passphrase = env[passphraseEnv]
	return flags, nil
}

// outcome is the error of a parser that has answered what was asked, such as --help, or has
// returned err.
func outcome(asked bool, err error) error {
	problem, isProblem := errors.AsType[*Problem](err)
	switch {
	case asked:
		return ErrDone
	case isProblem:
		return problem // kong puts the flag's name before it once more
	case err != nil:
		return usage(err)
	}
	return nil
}

// inUTF8 refuses arguments in which kong would replace what is not UTF-8.
func inUTF8(args []string) error {
	for _, arg := range args {
		if !utf8.ValidString(arg) {
			return fmt.Errorf("%w: an argument is not valid UTF-8", ErrUsage)
		}
	}
	return nil
}

// Names reports whether args name the command, even if they can't be understood.
func Names(args []string, command string) bool {
	for i, arg := range args {
		if arg == command && !isValue(args, i) {
			return true
		}
	}
	return false
}

// isValue reports whether args[i] is the value of the flag before it.
func isValue(args []string, i int) bool {
	if i == 0 {
		return false
	}
	name, isFlag := strings.CutPrefix(args[i-1], "--")
	return isFlag && !strings.Contains(name, "=") && !slices.Contains(withoutValue, name)
}

// withoutValue are flags that take no value.
var withoutValue = []string{"help", "version", "print-config"}

// InstanceOf returns the value of --instance in args.
func InstanceOf(args []string) (instance string) {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--instance="); ok {
			instance = value
		} else if arg == "--instance" && i+1 < len(args) {
			instance = args[i+1]
		}
	}
	return instance
}

// usage is an error of kong's. Neither an unexpected argument nor what stands where a
// value is missing is repeated: it may be a secret, put in the wrong place.
func usage(err error) error {
	text := logging.Redact(err.Error())
	name, _, missing := strings.Cut(text, ": expected ")
	switch {
	case missing:
		text = name + " needs a value: " + name + "=…"
	case strings.HasPrefix(text, "unexpected argument"):
		text = "unexpected argument; the commands are serve, doctor, session export, session import, completion, status, qr, pair, logout, restart, send and events"
	case strings.HasPrefix(text, "unknown flag -") && !strings.HasPrefix(text, "unknown flag --"):
		text = "flags begin with two dashes"
	case strings.HasPrefix(text, `expected "<`):
		text = strings.Trim(strings.TrimPrefix(text, "expected "), `"`) + " is missing"
	}
	if parsed, ok := errors.AsType[*kong.ParseError](err); ok && parsed.Context.Selected() != nil {
		command, _, _ := strings.Cut(parsed.Context.Command(), " <")
		return fmt.Errorf("%w: %s (see %s %s --help)", ErrUsage, text, programName, command)
	}
	return fmt.Errorf("%w: %s (%s --help lists the settings)", ErrUsage, text, programName)
}

// grammar is the command line: the settings, and what to do with them.
type grammar struct {
	Config

	Serve      struct{} `cmd:"" default:"1" help:"Run the service. This is the default command."`
	Doctor     struct{} `cmd:"" help:"Check this machine with these settings, and say what to do about each finding."`
	Completion struct {
		Shell string `arg:"" enum:"bash" help:"bash."`
	} `cmd:"" help:"Print a completion script: source <(session-manager completion bash)."`
	Session struct {
		Export struct {
			File   string `arg:"" help:"File to create. It must not exist."`
			Backup bool   `help:"Export the newest backup of the login, which works while the service runs."`
		} `cmd:"" help:"Write the login to a file, encrypted with a passphrase. The service must be stopped. Never run the same login in two places."`
		Import struct {
			File string `arg:"" help:"File created by session export."`
		} `cmd:"" help:"Replace the login with the one in a file. The service must be stopped; the old login goes to admin.quarantine."`
	} `cmd:"" help:"Move the login to another machine."`
}

// takeCredentials uses what systemd hands over (systemd.exec(5), LoadCredential=)
// where no file is set.
func (c *Config) takeCredentials(dir string, sources Sources) {
	if dir == "" && c.below == nil {
		return
	}
	for name, setting := range map[string]*string{
		"api-key": &c.APIKeyFile, "webhook-key": &c.WebhookKeyFile, "webhook-url": &c.WebhookURLFile,
		"proxy-password": &c.ProxyPasswordFile,
	} {
		path := filepath.Join(dir, name)
		if c.below != nil {
			path = c.below.Credentials[name]
		}
		if name == "webhook-url" && c.Webhook != "" || name == "proxy-password" && c.Proxy == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil && *setting == "" {
			*setting = path
			sources[name+"-file"] = "credential"
		}
	}
}

// findSelectors looks for the file where --config is, or in systemd's configuration
// folders (systemd.exec(5), ConfigurationDirectory=). It may be created later.
func (c *Config) findSelectors(dirs string) {
	dir, _, _ := strings.Cut(dirs, ":")
	if c.File != "" {
		dir = filepath.Dir(c.File)
	}
	if c.Selectors == "" && dir != "" {
		c.Selectors = filepath.Join(dir, "selectors.json")
	}
}

// print writes each setting with its source, for --print-config.
func (c *Config) print(w io.Writer, flags []*kong.Flag, sources Sources) error {
	for _, f := range flags {
		switch f.Name {
		case "help", "version", "print-config":
			continue
		}
		if f.Name == "proxy" && c.Proxy == "" && c.shownProxy() != "" {
			sources[f.Name] = "environment"
		}
		value, err := json.Marshal(c.shown(f))
		if err != nil {
			return fmt.Errorf("cannot print --%s: %w", f.Name, err)
		}
		if f.Name == "url" || f.Name == "chrome-arg" { // either may have a password before a host
			value = []byte(logging.Redact(string(value)))
		}
		if _, err := fmt.Fprintf(w, "%-19s %-40s %s\n", f.Name, value, sources[f.Name]); err != nil {
			return fmt.Errorf("cannot print the settings: %w", err)
		}
	}
	return nil
}

// shown is the value of a setting, as people may see it.
func (c *Config) shown(f *kong.Flag) any {
	value := f.Target.Interface()
	path, _ := value.(string)
	d, isDuration := value.(time.Duration)
	switch {
	case isDuration:
		return d.String()
	case f.Name == "webhook" && c.Webhook != "":
		return masked(c.Webhook)
	case f.Name == "proxy":
		return c.shownProxy()
	case c.below != nil && c.below.Sources[path] != "":
		return c.below.Sources[path]
	case slices.Contains(c.SecretFiles(), path) && !exists(path):
		return "… (there is no such file)" // it may be the secret itself
	}
	return value
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// bashCompletion has gaps for the flags that take a path, for all settings and commands, and
// for the flags of commands for a running service.
const bashCompletion = `_supervisor() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word words="%[2]s"
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
%[3]s		esac
	done
	# bash splits words at =, so the name may be one further back.
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	case $prev in
	%[1]s) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--log-format) mapfile -t COMPREPLY < <(compgen -W "auto json text" -- "$cur") ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
	esac
}
complete -o filenames -F _supervisor supervisor session-manager
`

// WriteCompletion writes a completion script for bash.
func WriteCompletion(w io.Writer) error {
	parser, err := kong.New(&grammar{}, kong.Name(programName))
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	client, err := newClientParser(&Client{}, io.Discard)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	var paths []string
	names := func(flags []*kong.Flag) (names []string) {
		for _, f := range flags {
			if f.Hidden {
				continue
			}
			names = append(names, "--"+f.Name)
			if f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" {
				paths = append(paths, "--"+f.Name)
			}
		}
		return names
	}
	words, always := names(parser.Model.Flags), names(client.Model.Flags)
	for _, command := range parser.Model.Children {
		words = append(words, command.Name)
	}
	var cases strings.Builder
	for _, command := range client.Model.Children {
		words = append(words, command.Name)
		fmt.Fprintf(&cases, "\t\t%s) words=%q ;;\n", command.Name, strings.Join(append(names(command.Flags), always...), " "))
	}
	_, err = fmt.Fprintf(w, bashCompletion, strings.Join(paths, "|"), strings.Join(words, " "), cases.String())
	return err
}
