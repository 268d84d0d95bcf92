package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// WriteCompletion writes a completion script for bash, zsh or fish.
func WriteCompletion(w io.Writer, shell string) error {
	parser, err := kong.New(&grammar{}, kong.Name(programName))
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	script := map[string]func(*kong.Application) string{"bash": bash, "zsh": zsh, "fish": fish}[shell]
	if script == nil {
		return fmt.Errorf("%w: there is no completion for %q", ErrUsage, shell)
	}
	if _, err := io.WriteString(w, script(parser.Model)); err != nil {
		return fmt.Errorf("cannot write completion: %w", err)
	}
	return nil
}

// visible returns the flags that --help shows.
func visible(app *kong.Application) []*kong.Flag {
	var flags []*kong.Flag
	for _, f := range app.Flags {
		if !f.Hidden {
			flags = append(flags, f)
		}
	}
	return flags
}

// file says that a flag's value is a path.
func file(f *kong.Flag) bool { return f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" }

func isSwitch(f *kong.Flag) bool { return f.Target.IsValid() && f.Target.Kind() == reflect.Bool }

func commands(app *kong.Application) []*kong.Node { return app.Children }

func commandNames(app *kong.Application) []string {
	var names []string
	for _, c := range commands(app) {
		names = append(names, c.Name)
	}
	return names
}

const shells = "bash zsh fish"

func bash(app *kong.Application) string {
	var words, paths []string
	for _, f := range visible(app) {
		words = append(words, "--"+f.Name)
		if file(f) {
			paths = append(paths, "--"+f.Name)
		}
	}
	words = append(words, commandNames(app)...)
	return `_supervisor() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	# bash splits words at =, so the name may be one further back.
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	case $prev in
	` + strings.Join(paths, "|") + `) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$cur") ;;
	completion) mapfile -t COMPREPLY < <(compgen -W "` + shells + `" -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "` + strings.Join(words, " ") + `" -- "$cur") ;;
	esac
}
complete -o filenames -F _supervisor supervisor
`
}

// zsh's _arguments takes "--name=[help]:message:action".
func zsh(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("#compdef supervisor\n_supervisor() {\n\t_arguments \\\n")
	escape := strings.NewReplacer("'", "'\\''", "[", "(", "]", ")", ":", "\\:")
	for _, f := range visible(app) {
		switch {
		case isSwitch(f):
			fmt.Fprintf(&b, "\t\t'--%s[%s]' \\\n", f.Name, escape.Replace(f.Help))
		case file(f):
			fmt.Fprintf(&b, "\t\t'*--%s=[%s]:%s:_files' \\\n", f.Name, escape.Replace(f.Help), f.PlaceHolder)
		default:
			fmt.Fprintf(&b, "\t\t'*--%s=[%s]:value:' \\\n", f.Name, escape.Replace(f.Help))
		}
	}
	fmt.Fprintf(&b, "\t\t'1:command:(%s)' \\\n\t\t'2:shell:(%s)'\n}\ncompdef _supervisor supervisor\n",
		strings.Join(commandNames(app), " "), shells)
	return b.String()
}

func fish(app *kong.Application) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	b.WriteString("complete -c supervisor -f\n")
	for _, f := range visible(app) {
		value := " -x"
		switch {
		case isSwitch(f):
			value = ""
		case file(f):
			value = " -r -F"
		}
		fmt.Fprintf(&b, "complete -c supervisor -l %s%s -d '%s'\n", f.Name, value, escape.Replace(f.Help))
	}
	for _, c := range commands(app) {
		fmt.Fprintf(&b, "complete -c supervisor -n __fish_use_subcommand -a %s -d '%s'\n", c.Name, escape.Replace(c.Help))
	}
	fmt.Fprintf(&b, "complete -c supervisor -n '__fish_seen_subcommand_from completion' -a '%s'\n", shells)
	return b.String()
}
