// Package installed finds the systemd unit by which this program is run as a service, so
// that commands mean that service: its settings, and its user. It understands of
// systemd.syntax(7), systemd.unit(5) and systemd.exec(5) what such a unit needs, and
// refuses the rest.
package installed

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"session-manager/supervisor/internal/smallfile"
)

// unitName is the name of the unit, without its suffix.
const unitName = "session-manager"

// unitFolders are where units are looked for, in systemd's order (systemd.unit(5)).
var unitFolders = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// Service is what the unit of an installed service says.
type Service struct {
	// Name is that of the unit, such as "session-manager@3002.service".
	Name string
	// Files are those that it was read from: the unit, then its drop-ins, then the files
	// with its environment.
	Files []string
	// Args are the arguments of the program, and Environ its environment.
	Args    []string
	Environ []Variable
	// Credentials are the files of its credentials, by their names.
	Credentials map[string]string

	section  section
	instance string
}

// Variable is one of the environment, and where it is set.
type Variable struct{ Name, Value, Where string }

// ErrNotInstalled means that there is no such unit, or that it runs another program.
var ErrNotInstalled = errors.New("it is not installed as a service")

// Find returns the service that runs the program at path, whose unit has this instance, or
// none if that is empty.
func Find(program, instance string) (*Service, error) {
	s := &Service{Name: unitName + ".service", instance: instance, section: section{}}
	names := []string{s.Name}
	if instance != "" {
		s.Name = unitName + "@" + instance + ".service"
		names = []string{s.Name, unitName + "@.service"}
	}
	if strings.ContainsAny(instance, "/ \n") {
		return nil, fmt.Errorf("%q can't be an instance: %w", instance, ErrNotInstalled)
	}
	if err := s.load(names); err != nil {
		return nil, err
	}
	command, err := s.words("ExecStart")
	if err != nil || len(command) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s has no ExecStart=: %w", s.Name, ErrNotInstalled))
	}
	target, err := filepath.EvalSymlinks(strings.TrimLeft(command[0], "@-:+!"))
	if err != nil || target != program {
		return nil, fmt.Errorf("%s runs another program: %w", s.Name, ErrNotInstalled)
	}
	if err := s.readEnvironment(); err != nil {
		return nil, err
	}
	for _, arg := range command[1:] {
		s.Args = append(s.Args, os.Expand(arg, s.variable))
	}
	return s, s.readCredentials()
}

// variable is what systemd puts in place of ${name} in a command; $$ is a dollar sign.
func (s *Service) variable(name string) (value string) {
	if name == "$" {
		return name
	}
	for _, v := range s.Environ {
		if v.Name == name {
			value = v.Value
		}
	}
	return value
}

// load reads the unit, and its drop-ins in the order of their names.
func (s *Service) load(names []string) error {
	var candidates []string
	for _, name := range names {
		for _, folder := range unitFolders {
			candidates = append(candidates, filepath.Join(folder, name))
		}
	}
	at := slices.IndexFunc(candidates, func(path string) bool { _, err := os.Stat(path); return err == nil })
	if at < 0 {
		return fmt.Errorf("there is no %s: %w", s.Name, ErrNotInstalled)
	}
	dropIns := map[string]string{}
	for _, name := range append(names, "service") {
		for _, folder := range unitFolders {
			found, _ := filepath.Glob(filepath.Join(folder, name+".d", "*.conf"))
			for _, path := range found {
				if _, ok := dropIns[filepath.Base(path)]; !ok {
					dropIns[filepath.Base(path)] = path
				}
			}
		}
	}
	files := []string{candidates[at]}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[name])
	}
	for _, path := range files {
		if real, err := filepath.EvalSymlinks(path); err == nil && real == "/dev/null" {
			continue // masked
		}
		content, err := smallfile.Read(path, smallfile.Max)
		if err != nil {
			return fmt.Errorf("cannot read unit: %w", err)
		}
		s.section.add(string(content), path)
		s.Files = append(s.Files, path)
	}
	return nil
}

// setting is a value of a unit, and the file that has it.
type setting struct{ value, where string }

// section is a unit's section Service: the values of each key.
type section map[string][]setting

// add adds what a file has.
func (s section) add(content, where string) {
	in := ""
	for _, line := range lines(content, " ") {
		if strings.HasPrefix(line, "[") {
			in = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if in != "[Service]" || !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "" {
			delete(s, key) // an empty value resets the list
			continue
		}
		s[key] = append(s[key], setting{value, where})
	}
}

// lines splits a unit or a file with an environment into lines, without comments. A line that
// ends with a backslash continues on the next one, after joint.
func lines(content, joint string) (all []string) {
	var before string
	for line := range strings.Lines(content) {
		line = strings.TrimRight(line, "\r\n")
		if t := strings.TrimSpace(line); t == "" && before == "" || strings.HasPrefix(t, "#") || strings.HasPrefix(t, ";") {
			continue
		}
		if start, ok := strings.CutSuffix(line, `\`); ok {
			before += start + joint
			continue
		}
		all, before = append(all, strings.TrimSpace(before+line)), ""
	}
	if before != "" {
		all = append(all, strings.TrimSpace(before))
	}
	return all
}

// last returns the value of a key that has one, with its specifiers replaced.
func (s *Service) last(key string) (string, error) {
	all := s.section[key]
	if len(all) == 0 {
		return "", nil
	}
	return s.expand(all[len(all)-1].value)
}

// words returns the words of all values of a key.
func (s *Service) words(key string) (all []string, err error) {
	for _, v := range s.section[key] {
		found, err := s.split(v)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Service) split(v setting) ([]string, error) {
	found, err := split(v.value)
	for i := range found {
		if err == nil {
			found[i], err = s.expand(found[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot understand %s: %w", v.where, err)
	}
	return found, nil
}

// expand replaces the specifiers of a text (systemd.unit(5)).
func (s *Service) expand(text string) (string, error) {
	known := map[byte]string{
		'%': "%", 'i': s.instance, 'n': s.Name, 'N': strings.TrimSuffix(s.Name, ".service"), 'p': unitName,
		'S': "/var/lib", 'L': "/var/log", 'C': "/var/cache", 't': "/run", 'E': "/etc", 'T': "/tmp", 'V': "/var/tmp",
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			_ = out.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) {
			return "", errors.New("a % ends a value")
		}
		value, ok := known[text[i]]
		if !ok {
			return "", fmt.Errorf("the specifier %%%c is not known here", text[i])
		}
		_, _ = out.WriteString(value)
	}
	return out.String(), nil
}

// split splits a value into words, which may be quoted, with the escapes of systemd.syntax(7)
// that are not numbers.
func split(text string) (words []string, err error) {
	var word []byte
	inWord, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			word, inWord = append(word, unescape(text[i])), true
		case c == quote:
			quote = 0
		case quote == 0 && strings.IndexByte(`"'`, c) >= 0:
			quote, inWord = c, true
		case quote == 0 && strings.IndexByte(" \t\n", c) >= 0:
			if inWord {
				words, word, inWord = append(words, string(word)), nil, false
			}
		default:
			word, inWord = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark is missing")
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, nil
}

// unescape returns what a character after a backslash stands for.
func unescape(c byte) byte {
	if at := strings.IndexByte(`abfnrtvs`, c); at >= 0 {
		return "\a\b\f\n\r\t\v "[at]
	}
	return c
}

// readEnvironment reads the environment: that of the unit, then that of its files, of which
// later ones count.
func (s *Service) readEnvironment() error {
	for _, v := range s.section["Environment"] {
		assignments, err := s.split(v)
		if err != nil {
			return err
		}
		for _, a := range assignments {
			name, value, _ := strings.Cut(a, "=")
			s.Environ = append(s.Environ, Variable{name, value, v.where})
		}
	}
	for _, v := range s.section["EnvironmentFile"] {
		path, err := s.expand(v.value)
		if err != nil {
			return err
		}
		path, optional := strings.CutPrefix(path, "-")
		content, err := smallfile.Read(path, smallfile.Max)
		if errors.Is(err, fs.ErrNotExist) && optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read the settings of %s: %w", s.Name, err)
		}
		s.Files = append(s.Files, path)
		for _, line := range lines(string(content), "") {
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			value = strings.TrimSpace(value)
			if words, err := split(value); err == nil && len(words) == 1 {
				value = words[0]
			}
			s.Environ = append(s.Environ, Variable{strings.TrimSpace(name), value, path})
		}
	}
	return nil
}

func (s *Service) readCredentials() error {
	s.Credentials = map[string]string{}
	for _, v := range s.section["LoadCredential"] {
		text, err := s.expand(v.value)
		if err != nil {
			return err
		}
		if name, path, ok := strings.Cut(text, ":"); ok && filepath.IsAbs(path) {
			s.Credentials[name] = path
		}
	}
	return nil
}
