package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	programName = "supervisor"
	envPrefix   = "SESSION_MANAGER"
	description = "Holds one WhatsApp Web session in a headless Chrome, and answers GET /status and GET /qr.\n\n" +
		"Every flag has an environment name: --listen is " + envPrefix + "_LISTEN, and so on. " +
		"A flag wins over the environment, that over the file, that over the default."
)

// ErrDone means that --help, --version or --print-config was all there was to
// do; the text has been written.
var ErrDone = errors.New("nothing more to do")

// ErrUsage means that the command line could not be understood.
var ErrUsage = errors.New("bad usage")

// Sources says for each flag's name where its value comes from: flag,
// environment, file, credential or default.
type Sources map[string]string

// Load reads the settings from args, environ ("NAME=value") and the file that
// they name. It writes to stdout only what was asked for. Errors are ErrDone,
// ErrUsage, *Problem, or of the file.
func Load(args, environ []string, stdout io.Writer, version string) (*Config, Sources, error) {
	var g grammar
	c := &g.Config
	env := environment(environ)
	passphrase := env[passphraseEnv]
	delete(env, passphraseEnv) // It is no setting: a flag would show it to others.
	file, err := readFile(args, env)
	if err != nil {
		return nil, nil, err
	}
	asked := false
	parser, err := kong.New(&g,
		kong.Name(programName), kong.Description(description), kong.Writers(stdout, stdout),
		kong.Exit(func(int) { asked = true }),
		kong.Resolvers(&layers{env: env, file: file}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("internal error: %w", err)
	}
	if err := checkNames(parser.Model.Flags, env, file); err != nil {
		return nil, nil, err
	}
	parsed, err := parser.Parse(args)
	if asked {
		return nil, nil, ErrDone
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w (supervisor --help lists the settings)", ErrUsage, err)
	}
	if c.Version {
		_, err := fmt.Fprintln(stdout, version)
		return nil, nil, errors.Join(ErrDone, err)
	}
	g.choose(parsed.Command())
	c.Passphrase = passphrase
	sources := sourcesOf(parsed, env, file)
	c.takeCredentials(environ, sources)
	c.findSelectors(environ)
	if err := c.validate(); err != nil {
		return nil, nil, err
	}
	if c.PrintConfig {
		return nil, nil, errors.Join(ErrDone, c.print(stdout, parser.Model.Flags, sources))
	}
	return c, sources, nil
}

// grammar is the command line: the settings, and what to do with them.
type grammar struct {
	Config

	Serve      struct{} `cmd:"" default:"1" help:"Run the service. This is what happens without a command."`
	Doctor     struct{} `cmd:"" help:"Check this machine with these settings, and say what to do about each finding."`
	Completion struct {
		Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	} `cmd:"" help:"Print a completion script for a shell: source <(supervisor completion bash)."`
	Session struct {
		Export struct {
			File     string `arg:"" help:"File to make. It must not exist."`
			Snapshot bool   `help:"Export the newest copy of the login. That can be done while the service runs."`
		} `cmd:"" help:"Write the login to a file, encrypted by a passphrase. The service must not run. The same login must never run in two places."`
		Import struct {
			File string `arg:"" help:"File that session export has made."`
		} `cmd:"" help:"Replace the login by that in a file. The service must not run; the old login goes to admin.quarantine."`
	} `cmd:"" help:"Carry the login to another machine."`
}

// passphraseEnv may hold the passphrase of session export and import.
const passphraseEnv = envPrefix + "_PASSPHRASE"

// choose takes over what the command line says to do, in kong's words, such as
// "session export <file>".
func (g *grammar) choose(command string) {
	words := strings.Fields(command)
	g.Command, g.Shell = words[0], g.Completion.Shell
	switch command = strings.Join(words[:min(2, len(words))], " "); command {
	case CommandExport:
		g.Command, g.Archive, g.Backup = command, g.Session.Export.File, g.Session.Export.Snapshot
	case CommandImport:
		g.Command, g.Archive = command, g.Session.Import.File
	}
}

// takeCredentials uses what systemd hands over (systemd.exec(5), LoadCredential=)
// where no file is set.
func (c *Config) takeCredentials(environ []string, sources Sources) {
	dir := ""
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, "CREDENTIALS_DIRECTORY="); ok {
			dir = value
		}
	}
	if dir == "" {
		return
	}
	for name, setting := range map[string]*string{"api-key": &c.APIKeyFile, "webhook-key": &c.WebhookKeyFile} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil && *setting == "" {
			*setting = path
			sources[name+"-file"] = "credential"
		}
	}
}

// findSelectors looks for the file in the configuration folder (systemd.exec(5),
// ConfigurationDirectory=) where none is set. It may come later.
func (c *Config) findSelectors(environ []string) {
	const name = "selectors.json"
	switch {
	case c.Selectors != "":
	case c.File != "":
		c.Selectors = filepath.Join(filepath.Dir(c.File), name)
	default:
		for _, e := range environ {
			if dirs, ok := strings.CutPrefix(e, "CONFIGURATION_DIRECTORY="); ok && dirs != "" {
				dir, _, _ := strings.Cut(dirs, ":")
				c.Selectors = filepath.Join(dir, name)
			}
		}
	}
}

// environment keeps what begins with our prefix.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, envPrefix+"_") {
			env[name] = value
		}
	}
	return env
}

func envName(flag string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readFile reads the file that --config or its environment name gives. It has
// to be known before the rest is parsed.
func readFile(args []string, env map[string]string) (map[string]any, error) {
	path := env[envName("config")]
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, &Problem{Name: "--config", Value: path, Allowed: "it must be a JSON file that can be read (" + err.Error() + ")"}
	}
	var settings map[string]any
	d := json.NewDecoder(bytes.NewReader(content))
	if err := d.Decode(&settings); err != nil {
		return nil, &Problem{Name: "--config", Value: path, Allowed: "it must hold one JSON object (" + err.Error() + ")"}
	}
	return settings, nil
}

// checkNames refuses names that no flag goes by.
func checkNames(flags []*kong.Flag, env map[string]string, file map[string]any) error {
	known := map[string]bool{}
	for _, f := range flags {
		known[f.Name] = true
	}
	names := slices.Sorted(maps.Keys(known))
	knownEnv := map[string]bool{}
	for _, n := range names {
		knownEnv[envName(n)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !knownEnv[name] {
			return &Problem{Name: name, Value: env[name], Allowed: "there is no such setting: " + envName("listen") + ", …; supervisor --help lists them"}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		if !known[name] || name == "config" {
			return &Problem{Name: name + " (in the --config file)", Value: fmt.Sprint(file[name]), Allowed: "there is no such setting: " + strings.Join(names, ", ")}
		}
	}
	return nil
}

// layers gives kong the environment first, then the file. (kong's own order of
// those two is the other way round.)
type layers struct {
	env  map[string]string
	file map[string]any
}

// Validate implements kong.Resolver; checkNames has done it.
func (l *layers) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (l *layers) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if v, ok := l.env[envName(flag.Name)]; ok {
		if flag.Target.Kind() == reflect.Slice {
			return words(v), nil
		}
		return v, nil
	}
	if v, ok := l.file[flag.Name]; ok {
		return v, nil
	}
	return nil, nil
}

// words splits the environment's form of a repeatable flag at white space.
func words(s string) []any {
	var list []any
	for word := range strings.FieldsSeq(s) {
		list = append(list, word)
	}
	return list
}

// Changed returns the names of the settings whose values differ.
func Changed(a, b *Config) ([]string, error) {
	before, err := values(a)
	if err != nil {
		return nil, err
	}
	after, err := values(b)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !reflect.DeepEqual(before[name], after[name]) {
			names = append(names, name)
		}
	}
	return names, nil
}

func values(c *Config) (map[string]any, error) {
	parser, err := kong.New(&grammar{Config: *c}, kong.Name(programName))
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	list := map[string]any{}
	for _, f := range parser.Model.Flags {
		list[f.Name] = f.Target.Interface()
	}
	return list, nil
}

func sourcesOf(parsed *kong.Context, env map[string]string, file map[string]any) Sources {
	given := map[string]bool{}
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	sources := Sources{}
	for _, f := range parsed.Model.Flags {
		_, inEnv := env[envName(f.Name)]
		_, inFile := file[f.Name]
		switch {
		case given[f.Name]:
			sources[f.Name] = "flag"
		case inEnv:
			sources[f.Name] = "environment"
		case inFile:
			sources[f.Name] = "file"
		default:
			sources[f.Name] = "default"
		}
	}
	return sources
}

func (c *Config) print(w io.Writer, flags []*kong.Flag, sources Sources) error {
	for _, f := range flags {
		switch f.Name {
		case "help", "version", "print-config":
			continue
		}
		shown := f.Target.Interface()
		if f.Name == "webhook" && c.Webhook != "" {
			shown = masked(c.Webhook)
		}
		value, err := json.Marshal(shown)
		if err != nil {
			return fmt.Errorf("cannot print --%s: %w", f.Name, err)
		}
		if _, err := fmt.Fprintf(w, "%-16s %-40s %s\n", f.Name, value, sources[f.Name]); err != nil {
			return fmt.Errorf("cannot print the settings: %w", err)
		}
	}
	return nil
}
