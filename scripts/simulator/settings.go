package simulator

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// build is the made-up version that the page calls itself.
const build = "2.3000.1099999999"

// Settings choose how fast time runs, which page is served and which switches
// are on.
type Settings struct {
	mu      sync.Mutex
	speed   float64
	profile profile
	faults  map[string]Fault // by their names
	// changed is called after the switches have changed, if it is set.
	changed func()
}

func newSettings(o Options) (*Settings, error) {
	s := &Settings{speed: o.Speed, faults: map[string]Fault{}}
	if o.Speed < 0 {
		return nil, fmt.Errorf("cannot run at speed %v: it must be above 0", o.Speed)
	}
	if s.speed == 0 {
		s.speed = 1
	}
	if o.Profile == "" {
		o.Profile = DefaultProfile
	}
	if err := s.SetProfile(o.Profile); err != nil {
		return nil, err
	}
	for _, f := range o.Faults {
		if err := s.SetFault(f); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// SetProfile chooses the markup that the next page load gets.
func (s *Settings) SetProfile(name string) error {
	p, err := profileNamed(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profile = p
	return nil
}

// SetFault turns a switch on, replacing an earlier one of the same name. What the
// page does takes effect at its next load, what the server does at the next
// request or connection.
func (s *Settings) SetFault(text string) error {
	f, err := ParseFault(text)
	if err != nil {
		return err
	}
	s.change(func() { s.faults[f.Name] = f })
	return nil
}

func (s *Settings) change(do func()) {
	s.mu.Lock()
	do()
	s.mu.Unlock()
	if s.changed != nil {
		s.changed()
	}
}

// clearFault turns one switch off.
func (s *Settings) clearFault(name string) {
	s.change(func() { delete(s.faults, name) })
}

// ClearFaults turns all switches off; it takes effect when SetFault does.
func (s *Settings) ClearFaults() {
	s.change(func() { clear(s.faults) })
}

func (s *Settings) fault(name string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, on := s.faults[name]
	return f, on
}

// isOn reports whether a switch has this value; "" is that of a bare switch.
func (s *Settings) isOn(name, value string) bool {
	f, on := s.fault(name)
	return on && f.Value == value
}

// scaled turns an imitated duration into a real one.
func (s *Settings) scaled(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(d) / s.speed)
}

// config is what the page's scripts get to know, as JSON.
type config struct {
	Speed      float64          `json:"speed"`
	Build      string           `json:"build"`
	Profile    profile          `json:"profile"`
	Faults     map[string]Fault `json:"faults"`
	AutoLogout bool             `json:"autologout"`
}

// forLoad returns what holds for one load of the page. The query parameters sim,
// sim.speed and sim.fault override the settings.
func (s *Settings) forLoad(q url.Values) (config, error) {
	s.mu.Lock()
	cfg := config{Speed: s.speed, Build: build, Profile: s.profile, Faults: maps.Clone(s.faults)}
	s.mu.Unlock()
	var err error
	if q.Has("sim") {
		if cfg.Profile, err = profileNamed(q.Get("sim")); err != nil {
			return config{}, err
		}
	}
	if text := q.Get("sim.speed"); text != "" {
		if cfg.Speed, err = strconv.ParseFloat(text, 64); err != nil || cfg.Speed <= 0 {
			return config{}, fmt.Errorf("cannot run at speed %q: it must be above 0", text)
		}
	}
	for _, text := range q["sim.fault"] {
		f, err := ParseFault(text)
		if err != nil {
			return config{}, err
		}
		cfg.Faults[f.Name] = f
	}
	if locale, on := cfg.Faults["locale"]; on {
		cfg.Profile.Locale = locale.Value
	}
	if locale := q.Get("locale"); locale != "" {
		cfg.Profile.Locale = locale
	}
	cfg.AutoLogout = q.Get("autologout") == "1"
	return cfg, nil
}

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
	"405", "409", "500", "503", "tos", "outdated", "ban=perm", "ban=temp", // the server refuses
	"ack=never",                 // the server acknowledges no message
	"ack=late:N",                // it does so N ms later
	"ack=refuse:N",              // it refuses every message with this code
	"ack=stale:N",               // it does so until the chat was opened, or its group was asked for
	"ack=delivered", "ack=read", // the recipient's phone reports so at once
	"acts=forbidden",                    // the page refuses to edit and to delete messages
	"acts=late",                         // messages that are sent seem to be three days old
	"adv=rotate",                        // the ADV secret is renewed every 5 s
	"assets=404",                        // the page never starts, as its scripts have gone
	"autologout=iframe",                 // the code is in a credentialless iframe
	"capping=warning", "capping=capped", // the quota of new chats is almost or wholly used
	"challenge=passkey", "challenge=captcha", // the account has to prove its integrity
	"chat=blocked",         // every contact is blocked
	"chat=readonly",        // groups can't be written to
	"chats=N",              // there are N more chats
	"cipher=late:N",        // what is received can be read N ms later
	"cipher=never",         // or not at all
	"cipher=asked",         // or once the phone was asked for it
	"code=N", "code=never", // requests for a pairing code get this error, or no answer
	"composer=changes",           // the composer changes what is typed
	"composer=draft",             // it holds a draft
	"composer=ignores",           // it ignores it
	"composer=dialog",            // a dialog appears meanwhile
	"composer=elsewhere",         // another chat is opened meanwhile
	"composer=voice",             // the button that sends stays the one that records
	"composer=dead",              // it does nothing
	"composer=restricted",        // there is a bar instead of it
	"conflict=now",               // opened elsewhere as soon as it is synced
	"conflict=unlinked",          // opened elsewhere before it was linked
	"crash=in-send:NAME",         // the renderer dies in mid-send: built, stored, written or acked; once for each message
	"crash",                      // the renderer dies 2 s after the boot
	"csp=strict",                 // a strict Content-Security-Policy
	"dataid=bare",                // rows of chats have bare ids, as since August 2026
	"debug=absent", "debug=late", // window.Debug.VERSION is not set, or after 40 s
	// The page is at another host name of the same server, which has a page of its own:
	// by a redirect, as such to the address of an ended session, or 2 s after the boot by
	// a script or a meta element.
	"download=403",     // files of messages to the account can't be downloaded
	"download=corrupt", // they arrive with another content
	"download=expired", // their links have expired, until the sender is asked for them
	"download=gone",    // and the sender has them no longer
	"download=longer",  // they are longer than the messages claim
	"download=lost",    // the connection ends in the middle of them
	"download=slow:N",  // they begin N ms later
	"elsewhere=redirect:NAME", "elsewhere=logout:NAME", "elsewhere=script:NAME", "elsewhere=meta:NAME",
	"exists=error", "exists=lid", "exists=none", // whether a number is on WhatsApp is not answered, with a LID, with no
	"favicon=404",                    // what the page probes before it connects is not found
	"hang",                           // the main thread spins, 2 s after the boot
	"idle=now",                       // every code has run out as soon as it is shown
	"key=minified", "key=serialized", // how the text of a message's key is kept
	"lid=missing",                     // no number has a LID
	"lid=off",                         // chats with people have their numbers as addresses
	"listeners=lost",                  // the listeners for messages are lost
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
	"offline=queue:N",                 // N messages came while the page was away
	"overlay=debug",                   // a transparent button lies over the code, as after a right click
	"overlay=wrong-button",            // a dead button precedes the one that reloads the code
	"partial-profile",                 // the own id was lost: the databases go, too
	"passkey=gate",                    // the server demands a passkey before it links
	"passkey=waiting", "passkey=code", // it does, and the page shows its second or third card
	"passkey=compare",         // the same as gate, but its code has to be compared, as after 300 s
	"passkey=eager",           // the same as gate, but the page asks the browser at once
	"passkey=unloaded",        // the same, but the screen for it never loads: the code is only hidden
	"picture=below",           // the code's picture is below the window
	"picture=blank",           // it is never drawn
	"picture=clip-path",       // a shape without area is cut out of it
	"picture=covered",         // something opaque lies over it
	"picture=dialog",          // a modal dialog fills the window
	"picture=display",         // it is not displayed
	"picture=faded",           // a box around it is almost transparent
	"picture=filter",          // it is blurred until nothing is left
	"picture=ghost",           // something opaque lies over it that the mouse goes through
	"picture=glass",           // something transparent lies over it, which harms nothing
	"picture=mask",            // it is masked
	"picture=missing",         // the attribute has no picture
	"picture=narrow",          // its box cuts most of it off
	"picture=other",           // it encodes another text than the attribute
	"picture=outside",         // it is left of the window
	"picture=scale",           // it is scaled to nothing
	"picture=skipped",         // its box's content is not rendered
	"picture=small",           // it has no size
	"picture=visibility",      // it is invisible
	"probe=fail",              // the probe of the network fails, though the connection lives
	"quota",                   // nothing can be stored
	"ref=empty", "ref=repeat", // all refs of a list are empty, or the same
	"ref=growing",              // the refs of a list get longer, until no QR holds the last but one
	"reload=canonical",         // after a scan the page reloads itself, instead of logging in
	"refs=N",                   // a list has N refs instead of six
	"reload=in-send:NAME",      // it reloads itself in mid-send, as with crash
	"reload=random",            // the page reloads itself all the time
	"seen=away",                // the page is not in use, and marks no chat as read until it is
	"seen=hangs",               // marking a chat as read never ends
	"seen=throws",              // a chat can't be marked as read
	"signature=changed:NAME",   // the functions of one module take other arguments
	"slow=N",                   // every request waits N ms
	"socket=drop-after-write",  // a message arrives, and the connection ends before the answer; once for each message
	"socket=drop-before-write", // it ends before the message arrives
	"socket=flap",              // every connection ends after 3 s
	"socket=never",             // the connection is never answered
	"socket=proxyblock",        // the connection is refused, the probe blames a proxy
	"socket=refused",           // every new connection is refused
	"socket=replaced",          // a linked device's connection goes dead, and it shows nothing
	"socket=worker",            // the service worker holds the connection
	"splash=hang",              // the page never starts
	"store=duplicate",          // a message is stored, but refused as one that exists
	"store=fail",               // no message can be stored
	"sync=stuck:N",             // the first sync stops at N percent, until the switch is cleared
	"sync=timeout",             // the first sync never starts, and ends the link after 180 s
	"takeover=throws",          // a conflict can't be ended
	"timelock=account:N",       // no new chats for N minutes
	"timelock=contact",         // the server refuses new chats, and the page doesn't know
	"upload=403",               // no file can be uploaded
	"upload=limit:N",           // the page uploads files of at most N bytes
	"upload=lost",              // uploads get no answer
	"upload=slow:N",            // they begin N ms later
	"ua=off", "ua=strict",      // the page does not depend on the user agent, or does, as always
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
