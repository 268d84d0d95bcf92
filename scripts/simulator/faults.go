package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fault is one switch: a way in which the page or its server misbehaves until
// the switch is cleared.
type Fault struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
	Arg   string `json:"arg,omitempty"`
}

// String returns the switch as ParseFault reads it.
func (f Fault) String() string {
	text := f.Name
	if f.Value != "" {
		text += "=" + f.Value
	}
	if f.Arg != "" {
		text += ":" + f.Arg
	}
	return text
}

// number is the switch's argument, or its value, as a number; 0 if it is none.
func (f Fault) number() int {
	for _, text := range []string{f.Arg, f.Value} {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return 0
}

// argument says what may follow a value's colon.
type argument int

const (
	noArgument argument = iota
	anyNumber
	anyName
)

// grammar holds every switch with its values and their arguments. The value ""
// is the bare switch, "#" any number, "*" any word.
var grammar = map[string]map[string]argument{
	"socket":          {"never": 0, "flap": 0, "replaced": 0, "proxyblock": 0},
	"modules":         {"late": anyNumber, "missing": anyName, "throw-not-initialized": anyNumber},
	"debug":           {"absent": 0, "late": 0},
	"ua":              {"strict": 0, "off": 0},
	"splash":          {"hang": 0},
	"assets":          {"404": 0},
	"idle":            {"now": 0},
	"offline":         {"now": 0},
	"adv":             {"rotate": 0},
	"ref":             {"repeat": 0, "empty": 0},
	"overlay":         {"wrong-button": 0},
	"autologout":      {"iframe": 0},
	"view":            {"phone": 0},
	"mutex":           {"other-tab": 0},
	"conflict":        {"now": 0},
	"takeover":        {"throws": 0},
	"passkey":         {"gate": 0},
	"sync":            {"stuck": anyNumber, "timeout": 0},
	"logout":          {"phone": 0, "reason": anyNumber, "mid-sync": 0},
	"ban":             {"temp": 0, "perm": 0},
	"code":            {"rate": 0, "unavailable": 0, "bad-number": 0},
	"503":             {"": 0},
	"405":             {"": 0},
	"tos":             {"": 0},
	"lock":            {"": 0},
	"reload":          {"random": 0},
	"crash":           {"": 0},
	"hang":            {"": 0},
	"locale":          {"*": 0},
	"csp":             {"strict": 0},
	"slow":            {"#": 0},
	"quota":           {"": 0},
	"partial-profile": {"": 0},
}

// FaultNames lists the switches in the form that ParseFault reads, each value on
// its own, sorted; N stands for a number, NAME for a word.
func FaultNames() []string {
	var names []string
	for name, values := range grammar {
		for value, arg := range values {
			text := name
			switch value {
			case "":
			case "#":
				text += "=N"
			case "*":
				text += "=NAME"
			default:
				text += "=" + value
			}
			switch arg {
			case anyNumber:
				text += ":N"
			case anyName:
				text += ":NAME"
			}
			names = append(names, text)
		}
	}
	slices.Sort(names)
	return names
}

// ParseFault reads one switch: name, name=value or name=value:argument.
func ParseFault(text string) (Fault, error) {
	name, value, _ := strings.Cut(text, "=")
	f := Fault{Name: name}
	f.Value, f.Arg, _ = strings.Cut(value, ":")
	values, ok := grammar[name]
	if !ok {
		return Fault{}, fmt.Errorf("cannot use fault %q: %q is no switch; there are %s",
			text, name, strings.Join(FaultNames(), ", "))
	}
	arg, ok := values[f.Value]
	if !ok {
		arg, ok = wildcard(values, f.Value)
	}
	if !ok {
		return Fault{}, fmt.Errorf("cannot use fault %q: %s takes one of %q",
			text, name, slices.Sorted(maps.Keys(values)))
	}
	if err := checkArgument(arg, f.Arg); err != nil {
		return Fault{}, fmt.Errorf("cannot use fault %q: %w", text, err)
	}
	return f, nil
}

func wildcard(values map[string]argument, value string) (argument, bool) {
	if arg, ok := values["*"]; ok && value != "" {
		return arg, true
	}
	arg, ok := values["#"]
	_, err := strconv.ParseUint(value, 10, 31)
	return arg, ok && err == nil
}

func checkArgument(want argument, got string) error {
	switch {
	case want == noArgument && got != "":
		return fmt.Errorf("it takes no argument, not %q", got)
	case want == anyName && got == "":
		return fmt.Errorf("it needs a name after the colon")
	case want == anyNumber:
		if _, err := strconv.ParseUint(got, 10, 31); err != nil {
			return fmt.Errorf("it needs a number after the colon, not %q", got)
		}
	}
	return nil
}

func faultNamed(faults []Fault, name string) (Fault, bool) {
	for _, f := range faults {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}

// withFault returns faults with f in the place of its namesake.
func withFault(faults []Fault, f Fault) []Fault {
	kept := slices.DeleteFunc(slices.Clone(faults), func(old Fault) bool { return old.Name == f.Name })
	return append(kept, f)
}
