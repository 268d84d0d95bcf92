package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// bashCompletion has gaps for the flags that take a path, and for all flags and
// commands.
const bashCompletion = `_supervisor() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	# bash splits words at =, so the name may be one further back.
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	case $prev in
	%s) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur") ;;
	esac
}
complete -o filenames -F _supervisor supervisor
`

// WriteCompletion writes a completion script for bash.
func WriteCompletion(w io.Writer) error {
	parser, err := kong.New(&grammar{}, kong.Name(programName))
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	var words, paths []string
	for _, f := range parser.Model.Flags {
		if f.Hidden {
			continue
		}
		words = append(words, "--"+f.Name)
		if f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" {
			paths = append(paths, "--"+f.Name)
		}
	}
	for _, command := range parser.Model.Children {
		words = append(words, command.Name)
	}
	_, err = fmt.Fprintf(w, bashCompletion, strings.Join(paths, "|"), strings.Join(words, " "))
	return err
}
