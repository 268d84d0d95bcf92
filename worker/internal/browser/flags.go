package browser

import (
	"fmt"
	"slices"
	"strings"
)

// flag is one entry of Chrome's command line.
type flag struct {
	// name is the switch with its dashes.
	name string
	// value follows an equals sign; a flag without a value has none.
	value string
	// list says that value is a comma-separated list, to which the operator's
	// flag of the same name adds: Chrome heeds only the last of two.
	list bool
}

func (f flag) String() string {
	if f.value == "" {
		return f.name
	}
	return f.name + "=" + f.value
}

// host is what the command line depends on beside the options.
type host struct {
	// root: Chrome refuses to run as root with its sandbox.
	root bool
	// smallSharedMemory: /dev/shm is too small for Chrome's bitmaps.
	smallSharedMemory bool
}

// preloads are the features by which Chrome 156 keeps renderers warm for pages of
// its own, even headless. Without them an idle browser has 7 processes and 165
// MB instead of 11 and 263 MB. Names are bound to the version; unknown ones are
// ignored.
var preloads = strings.Join([]string{
	"WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "OmniboxPopupWebUI", "WebUIOmniboxFullPopup",
	"AiModeOmniboxEntryPoint", "InitialWebUI", "WebUIReloadButton",
	"TopChromeWebUIUsesSpareRenderer", "SpareRendererForSitePerProcess",
	// Not pre-loads, but services that fetch things nobody asked for.
	"Translate", "OptimizationHints", "MediaRouter",
}, ",")

// baseFlags are the flags of every start. What each does is documented in
// Chromium's sources beside the switch of that name, unless said otherwise.
func baseFlags(profileDir, userAgent string) []flag {
	return append(essentialFlags(profileDir, userAgent), tidyFlags()...)
}

// essentialFlags are those without which the service would not work.
func essentialFlags(profileDir, userAgent string) []flag {
	return []flag{
		// The full browser without a window; the old mode is another program.
		{name: "--headless", value: "new"},
		// Descriptors 3 and 4, and no port that others could attach to.
		{name: "--remote-debugging-pipe"},
		{name: "--user-data-dir", value: profileDir},
		// The page is opened by the protocol. Without a start window Chrome does
		// not restore the tabs of a crash either: a second WhatsApp tab starves
		// the first.
		{name: "--no-startup-window"},

		// Chrome's own string without "Headless", which the server would take as
		// a browser too old to serve. By flag, so that service workers have it.
		{name: "--user-agent", value: userAgent},
		// navigator.webdriver is false, as in a browser that a person drives.
		{name: "--disable-blink-features", value: "AutomationControlled", list: true},
		// Texts of the page and Accept-Language do not depend on the machine.
		{name: "--lang", value: "en-US"},
		// Room for the page's landing screen with its code; headless's own screen
		// of 800x600 is one that nobody has.
		{name: "--window-size", value: "1366,900"},
		{name: "--screen-info", value: "{1920x1080}"},

		// The cookies' key is fixed and no keyring or D-Bus is asked, so that a
		// profile can be read after a restart and on another machine.
		{name: "--password-store", value: "basic"},
		// The page must run as if it were looked at.
		{name: "--disable-background-timer-throttling"},
		{name: "--disable-backgrounding-occluded-windows"},
		{name: "--disable-renderer-backgrounding"},
	}
}

// tidyFlags keep Chrome from what a person might like, and a service pays for.
func tidyFlags() []flag {
	return []flag{
		{name: "--no-first-run"},
		{name: "--no-default-browser-check"},
		// Dialogs and bubbles that nobody would answer.
		{name: "--noerrdialogs"},
		{name: "--hide-crash-restore-bubble"},
		{name: "--disable-session-crashed-bubble"},
		{name: "--disable-search-engine-choice-screen"},

		// Nothing goes to the network but what the page asks for.
		{name: "--disable-background-networking"},
		{name: "--disable-component-update"},
		{name: "--disable-sync"},
		{name: "--disable-domain-reliability"},
		{name: "--no-pings"},

		// Memory and disk.
		{name: "--disable-extensions"},
		{name: "--disable-component-extensions-with-background-pages"},
		{name: "--disable-default-apps"},
		{name: "--disable-features", value: preloads, list: true},
		{name: "--disk-cache-size", value: "104857600"},
		{name: "--media-cache-size", value: "33554432"},
		{name: "--mute-audio"},
	}
}

// commandLine returns Chrome's arguments: ours, what the host needs, then the
// operator's.
func commandLine(profileDir, userAgent string, h host, extra []string) []string {
	flags := baseFlags(profileDir, userAgent)
	if h.root {
		flags = append(flags, flag{name: "--no-sandbox"})
	}
	if h.smallSharedMemory {
		flags = append(flags, flag{name: "--disable-dev-shm-usage"})
	}
	var rest []string
	for _, arg := range extra {
		if !mergeList(flags, arg) {
			rest = append(rest, arg)
		}
	}
	args := make([]string, 0, len(flags)+len(rest))
	for _, f := range flags {
		args = append(args, f.String())
	}
	return append(args, rest...)
}

// mergeList adds arg's value to our flag of that name, if it is a list.
func mergeList(flags []flag, arg string) bool {
	name, value, _ := strings.Cut(arg, "=")
	i := slices.IndexFunc(flags, func(f flag) bool { return f.list && f.name == name })
	if i < 0 || value == "" {
		return false
	}
	flags[i].value += "," + value
	return true
}

// refused are the switches that the operator can't give, and why.
var refused = map[string]string{
	"headless":                 "Chrome always runs headless",
	"no-headless":              "Chrome always runs headless",
	"remote-debugging-pipe":    "it is the service's own connection",
	"remote-debugging-port":    "it would let other users of this machine into the session",
	"remote-debugging-address": "it would let others into the session",
	"user-data-dir":            "the profile lies in the tokens folder",
	"profile-directory":        "the profile lies in the tokens folder",
	"incognito":                "the login would not be kept",
	"guest":                    "the login would not be kept",
	"user-agent":               "WhatsApp serves by it; it is made of Chrome's real version",
	"enable-automation":        "it tells the page that a program drives the browser",
	"type":                     "it is for Chrome's own helper processes",
	"version":                  "Chrome would print it and exit",
	"app":                      "the page is opened by the service",
}

// CheckArg reports whether arg may be given to Chrome beside our own flags. The
// error names the switch and says why not.
func CheckArg(arg string) error {
	name := strings.TrimLeft(arg, "-")
	// Chrome takes one dash and two alike.
	if name == arg || name == "" || strings.HasPrefix(name, "=") {
		return fmt.Errorf("%q is not a flag: it must begin with dashes and a name", arg)
	}
	if strings.ContainsRune(arg, 0) {
		return fmt.Errorf("%q holds a NUL byte", arg)
	}
	name, _, _ = strings.Cut(name, "=")
	if why, ok := refused[name]; ok {
		return fmt.Errorf("--%s can't be set: %s", name, why)
	}
	return nil
}

// disablesSandbox reports whether a command line turns Chrome's sandbox off.
func disablesSandbox(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return strings.TrimLeft(arg, "-") == "no-sandbox" && strings.HasPrefix(arg, "-")
	})
}
