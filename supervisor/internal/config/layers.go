package config

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/smallfile"
)

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// value is what a layer has for a flag.
type value struct {
	// text is the value of a flag that has one, and list those of a repeatable one.
	text string
	list []any
	// name is what the layer calls the flag, and source the kind of the layer.
	name, source string
}

// layers are what is below the command line: the environment, then the file. (kong's own
// order of those two is the other way round.)
type layers struct {
	values  map[string]value
	sources Sources
}

// flagsOnly can be set on the command line alone.
var flagsOnly = []string{"help", "version", "print-config", "instance"}

// Below is what a command takes from the unit of an installed service.
type Below struct {
	// Args are the arguments in the unit, and Environ its environment: later variables count.
	Args, Environ []Given
	// Credentials are the paths of credentials by their names. Sources are what to show of
	// such paths.
	Credentials, Sources map[string]string
}

// Given is an argument, or a variable as NAME=value, and the file that has it.
type Given struct{ Text, Where string }

// read fills the layers. The file is the one that --config names, or the environment.
func (l *layers) read(ctx context.Context, args []string, environ map[string]string, flags []*kong.Flag, below *Below) error {
	known := map[string]*kong.Flag{}
	for _, f := range flags {
		if !slices.Contains(flagsOnly, f.Name) {
			known[f.Name] = f
		}
	}
	if err := l.readEnviron(environ, known, "", "environment"); err != nil {
		return err
	}
	if below != nil {
		if err := l.readBelow(*below, known); err != nil {
			return err
		}
	}
	path, name := l.values["config"].text, cmp.Or(l.values["config"].name, "--config")
	for i, arg := range args {
		given, ok := strings.CutPrefix(arg, "--config=")
		if !ok && arg == "--config" && i+1 < len(args) {
			given, ok = args[i+1], true
		}
		if ok {
			path, name = given, "--config"
		}
	}
	if path == "" {
		return nil
	}
	delete(known, "config")
	return l.readFile(ctx, name, path, known)
}

// readBelow adds what a unit has and no layer above it.
func (l *layers) readBelow(b Below, known map[string]*kong.Flag) error {
	for i := 0; i < len(b.Args); i++ {
		name, text, ok := strings.Cut(strings.TrimPrefix(b.Args[i].Text, "--"), "=")
		f := known[name]
		switch {
		case name == "serve":
			continue
		case f == nil:
			return unknown("--"+name, " in "+b.Args[i].Where, slices.Collect(maps.Keys(known)))
		case !ok && i+1 < len(b.Args):
			i++
			text = b.Args[i].Text
		}
		v := l.values[name]
		if v.source == "environment" {
			continue
		}
		v.text, v.name, v.source = text, "--"+name+" in "+b.Args[i].Where, "unit"
		if isList(f) {
			v.list = append(v.list, text)
		}
		l.values[name] = v
	}
	for _, g := range slices.Backward(b.Environ) {
		name, text, _ := strings.Cut(g.Text, "=")
		if err := l.readEnviron(map[string]string{name: text}, known, " in "+g.Where, "unit"); err != nil {
			return err
		}
	}
	return nil
}

// readEnviron adds what an environment has and no layer above it.
func (l *layers) readEnviron(environ map[string]string, known map[string]*kong.Flag, where, source string) error {
	byName := map[string]*kong.Flag{}
	for flag, f := range known {
		byName[envName(flag)] = f
	}
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		if !strings.HasPrefix(name, envPrefix) || name == passphraseEnv {
			continue
		}
		f, ok := byName[name]
		if !ok {
			return unknown(name, where, slices.Collect(maps.Keys(byName)))
		}
		v := value{text: environ[name], name: name + where, source: source}
		if isList(f) {
			v.list = []any{}
			for word := range strings.FieldsSeq(v.text) {
				v.list = append(v.list, word)
			}
		} else if err := plain(v); err != nil {
			return err
		}
		if _, ok := l.values[f.Name]; !ok {
			l.values[f.Name] = v
		}
	}
	return nil
}

func isList(f *kong.Flag) bool { return f.Target.Kind() == reflect.Slice }

// readFile adds what the file at path has and no layer above it.
func (l *layers) readFile(ctx context.Context, setting, path string, known map[string]*kong.Flag) error {
	content, err := smallfile.ReadSetting(ctx, path)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Problem{Name: setting, Allowed: "there is no file " + path}
	}
	if err != nil {
		return &Problem{Name: setting, Allowed: "the file can't be read: " + err.Error()}
	}
	var object map[string]json.RawMessage
	if err := strictjson.Unmarshal(content, &object); err != nil || object == nil {
		return &Problem{Name: setting, Allowed: path + ": " + describeJSON(content, err)}
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		f, ok := known[key]
		if !ok {
			return unknown(key, " in "+path, slices.Collect(maps.Keys(known)))
		}
		v := value{name: key + " in " + path, source: "file"}
		if err := v.decode(object[key], isList(f)); err != nil {
			return err
		}
		if _, ok := l.values[key]; !ok {
			l.values[key] = v
		}
	}
	return nil
}

// decode takes a value from JSON. A number and a boolean are what they would be on the
// command line.
func (v *value) decode(raw json.RawMessage, list bool) (err error) {
	var items []json.RawMessage
	switch {
	case list && json.Unmarshal(raw, &items) == nil && items != nil:
	case list:
		items = []json.RawMessage{raw}
	case raw[0] == '[' || raw[0] == '{':
		return &Problem{Name: v.name, Allowed: "write one value, in quotation marks, instead of a list or an object"}
	default:
		v.text, err = v.scalar(raw)
		return err
	}
	for _, item := range items {
		text, err := v.scalar(item)
		if err != nil {
			return err
		}
		v.list = append(v.list, text)
	}
	return nil
}

func (v *value) scalar(raw json.RawMessage) (string, error) {
	text := string(raw)
	switch {
	case text == "null":
		return "", &Problem{Name: v.name, Allowed: "it has no value; leave it out for the default"}
	case raw[0] == '[' || raw[0] == '{':
		return "", &Problem{Name: v.name, Allowed: "write a list of values, each in quotation marks"}
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", &Problem{Name: v.name, Allowed: err.Error()}
		}
	}
	return text, plain(value{text: text, name: v.name})
}

// plain refuses what a shell would have removed, and an env file or a container's settings
// keep.
func plain(v value) error {
	t := v.text
	switch {
	case t != strings.TrimSpace(t):
		return &Problem{Name: v.name, Allowed: "the value begins or ends with white space; remove that"}
	case !utf8.ValidString(t):
		return &Problem{Name: v.name, Allowed: "the value is not valid UTF-8"}
	case len(t) > 1 && strings.ContainsAny(t[:1], `"'`) && t[0] == t[len(t)-1]:
		return &Problem{Name: v.name, Allowed: "the value has quotation marks around it; remove them"}
	}
	return nil
}

// describeJSON explains why a file is not one JSON object.
func describeJSON(content []byte, err error) string {
	const want = `it must hold one JSON object, such as {"listen": "127.0.0.1:3001"}`
	offset := int64(len(content))
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	} else if e, ok := errors.AsType[*strictjson.KeyError](err); ok {
		offset = e.Offset
	}
	switch _, wrong := errors.AsType[*json.UnmarshalTypeError](err); {
	case len(bytes.TrimSpace(content)) == 0:
		return "the file is empty; " + want
	case bytes.HasPrefix(content, []byte("\uFEFF")):
		return "the file begins with a byte order mark; save it as UTF-8 without one"
	case wrong || err == nil:
		return want
	}
	line := 1 + bytes.Count(content[:min(offset, int64(len(content)))], []byte("\n"))
	return fmt.Sprintf("line %d: %v; %s", line, err, want)
}

// unknown is for a name that is not a flag's. It does not show the value: a name that is
// nearly right may have a key for its value.
func unknown(name, where string, known []string) *Problem {
	if name != strings.Map(graphic, name) || len(name) > longestName {
		name = fmt.Sprintf("%.*q", longestName, name)
	}
	text := "there is no such setting; " + programName + " --help lists them"
	if close := closest(name, known); close != "" {
		text = fmt.Sprintf("there is no such setting; did you mean %s?", close)
	}
	return &Problem{Name: name + where, Allowed: text}
}

func graphic(r rune) rune {
	if unicode.IsGraphic(r) {
		return r
	}
	return -1
}

// longestName is how much is shown and compared of a name that is not ours.
const longestName = 64

// closest returns the one of names that name was probably meant to be, or "".
func closest(name string, names []string) (best string) {
	least := 3
	var longer []string
	for _, candidate := range slices.Sorted(slices.Values(names)) {
		if strings.HasPrefix(letters(candidate), letters(name)) {
			longer = append(longer, candidate)
		}
		if d := distance(letters(name), letters(candidate)); d < least {
			best, least = candidate, d
		}
	}
	if best == "" && len(longer) == 1 {
		return longer[0]
	}
	return best
}

// letters leaves out what spellings of a name differ in.
func letters(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "", ".", "").Replace(strings.ToLower(name))
}

// distance is Levenshtein's: how many letters have to be added, removed or replaced.
func distance(a, b string) int {
	a, b = a[:min(len(a), longestName)], b[:min(len(b), longestName)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // the entry above and to the left
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			before, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, before+cost)
		}
	}
	return row[len(b)]
}

// Validate implements kong.Resolver; read has done it.
func (l *layers) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. It is called for the flags that the command line
// does not set. In the environment the values of a repeatable flag are separated by
// white space.
func (l *layers) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := l.values[flag.Name]
	if !ok {
		l.sources[flag.Name] = "default"
		return nil, nil
	}
	l.sources[flag.Name] = v.source
	if v.list != nil {
		return v.list, nil
	}
	return v.text, nil
}

// names returns what the user calls the flags that a layer sets.
func (l *layers) names() map[string]string {
	names := map[string]string{}
	for flag, v := range l.values {
		if l.sources[flag] == v.source {
			names["--"+flag] = v.name
		}
	}
	return names
}

// decodeDuration is kong's decoder of durations; its errors are Problems.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	return decode(ctx, target, time.ParseDuration, "use a number with its unit, such as 500ms, 15s or 2m")
}

// decodeNumber is the same for numbers.
func decodeNumber(ctx *kong.DecodeContext, target reflect.Value) error {
	return decode(ctx, target, func(text string) (float64, error) { return strconv.ParseFloat(text, 64) }, "use a number, such as 1.5")
}

// decodeWhole is the same for whole numbers.
func decodeWhole(ctx *kong.DecodeContext, target reflect.Value) error {
	return decode(ctx, target, strconv.Atoi, "use a whole number, such as 100")
}

func decode[T any](ctx *kong.DecodeContext, target reflect.Value, parse func(string) (T, error), allowed string) error {
	var text string
	if err := ctx.Scan.PopValueInto("value", &text); err != nil {
		return err
	}
	v, err := parse(text)
	if err != nil {
		return notAllowed("--"+ctx.Value.Name, text, allowed)
	}
	target.Set(reflect.ValueOf(v))
	return nil
}

// withDefault adds the default to a flag's help.
func withDefault(v *kong.Value) string {
	if v.HasDefault && v.Flag != nil && !v.IsBool() {
		return fmt.Sprintf("%s Default: %s.", v.Help, v.Default)
	}
	return v.Help
}
