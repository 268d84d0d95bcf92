package simulator

import (
	"fmt"
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

// number is the switch's argument, or its value, as a number; 0 if neither is one.
func (f Fault) number() int {
	for _, text := range []string{f.Arg, f.Value} {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return 0
}

// switches are all faults. N stands for a number, NAME for a word.
var switches = []string{
	"405", "503", "tos", "ban=perm", "ban=temp", // the server refuses
	"adv=rotate",                                       // the ADV secret is renewed every 5 s
	"assets=404",                                       // the page never starts, as its scripts have gone
	"autologout=iframe",                                // the code is in a credentialless iframe
	"code=bad-number", "code=rate", "code=unavailable", // no pairing codes are given out
	"conflict=now",               // opened elsewhere as soon as it is synced
	"crash",                      // the renderer dies 2 s after the boot
	"csp=strict",                 // a strict Content-Security-Policy
	"debug=absent", "debug=late", // window.Debug.VERSION is not set, or after 40 s
	"hang",                            // the main thread spins, 2 s after the boot
	"idle=now",                        // every code has run out as soon as it is shown
	"locale=NAME",                     // the language: es, pt, de, ar; all else is English
	"lock",                            // a linked page is locked by a password
	"logout=mid-sync",                 // the link ends when half synced
	"logout=phone",                    // the link ends when synced
	"logout=reason:N",                 // the page was logged out for a reason
	"modules=late:N",                  // the second wave of modules comes N ms later
	"modules=missing:NAME",            // one module never loads
	"modules=throw-not-initialized:N", // stored values can't be read for N ms
	"mutex=other-tab",                 // another tab seems to be open
	"offline=now",                     // the page believes that it has no network
	"overlay=wrong-button",            // a dead button precedes the one that reloads the code
	"partial-profile",                 // the own id was lost: the databases go, too
	"passkey=gate",                    // the phone demands a passkey
	"quota",                           // nothing can be stored
	"ref=empty", "ref=repeat",         // all refs of a list are empty, or the same
	"reload=random",       // the page reloads itself all the time
	"slow=N",              // every request waits N ms
	"socket=flap",         // every connection ends after 3 s
	"socket=never",        // the connection is never answered
	"socket=proxyblock",   // the connection is refused, the probe blames a proxy
	"socket=replaced",     // a linked device's connection goes dead, and it shows nothing
	"splash=hang",         // the page never starts
	"sync=stuck:N",        // the first sync stops at N percent, for ever
	"sync=timeout",        // the first sync never starts, and ends the link after 180 s
	"takeover=throws",     // a conflict can't be ended
	"ua=off", "ua=strict", // the page does not depend on the user agent, or does, as always
	"view=phone", // the page opens with the phone number
}

// FaultNames lists the switches in the form that ParseFault reads; N stands for a
// number, NAME for a word.
func FaultNames() []string { return slices.Clone(switches) }

// ParseFault reads one switch: name, name=value or name=value:argument.
func ParseFault(text string) (Fault, error) {
	f := split(text)
	for _, known := range switches {
		if k := split(known); f.Name == k.Name && matches(f.Value, k.Value) && matches(f.Arg, k.Arg) {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("cannot use fault %q: it is not a switch; there are %s", text, strings.Join(switches, ", "))
}

func split(text string) Fault {
	name, value, _ := strings.Cut(text, "=")
	f := Fault{Name: name}
	f.Value, f.Arg, _ = strings.Cut(value, ":")
	return f
}

// matches reports whether got is what a part of a known switch stands for.
func matches(got, known string) bool {
	switch known {
	case "N":
		_, err := strconv.ParseUint(got, 10, 31)
		return err == nil
	case "NAME":
		return got != ""
	}
	return got == known
}
