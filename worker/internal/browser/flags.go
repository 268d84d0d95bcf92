package browser

import (
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
	// saves is what would be without it, and risks what it may cost.
	saves, risks string
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

// baseFlags are the flags of every start. What each does is documented in
// Chromium's sources beside the switch of that name.
func baseFlags(profileDir, userAgent string) []flag {
	return append(essentialFlags(profileDir, userAgent), savingFlags()...)
}

// essentialFlags are those without which the service would not work.
func essentialFlags(profileDir, userAgent string) []flag {
	return []flag{
		{name: "--headless", value: "new",
			saves: "a display; the old mode is another program",
			risks: "some features of a window are missing"},
		{name: "--remote-debugging-pipe",
			saves: "a port that others could attach to: descriptors 3 and 4 are ours alone",
			risks: "none: Chrome ends when the pipe does, as it should"},
		{name: "--user-data-dir", value: profileDir,
			saves: "the login",
			risks: "a folder that can't be made is replaced by $HOME/.config without a word; that is checked after the start"},
		{name: "--no-startup-window",
			saves: "a second tab: Chrome restores those of a crash in its start window, and two WhatsApp tabs starve each other",
			risks: "none: the page is opened by the protocol"},
		{name: "--user-agent", value: userAgent,
			saves: "the page for old browsers, which WhatsApp serves to \"HeadlessChrome\"; by flag, so that service workers have it",
			risks: "client hints without detail; Disguise fills them in"},
		{name: "--disable-blink-features", value: "AutomationControlled", list: true,
			saves: "navigator.webdriver being true",
			risks: "none known"},
		{name: "--lang", value: "en-US",
			saves: "texts and Accept-Language that depend on the machine",
			risks: "the page is English"},
		{name: "--window-size", value: "1366,900",
			saves: "a landing screen that cuts its code off",
			risks: "none"},
		{name: "--screen-info", value: "{1920x1080}",
			saves: "a screen of 800x600, which nobody has",
			risks: "none"},
		{name: "--password-store", value: "basic",
			saves: "a question to a keyring by D-Bus; the cookies' key is fixed, so that a profile opens after a restart and elsewhere",
			risks: "who can read the profile can read the cookies: it is 0700"},
		{name: "--disable-background-timer-throttling",
			saves: "timers that wait for up to a minute in a page nobody looks at",
			risks: "the page's own CPU"},
		{name: "--disable-backgrounding-occluded-windows",
			saves: "a page that stops painting, and with it the codes",
			risks: "as above"},
		{name: "--disable-renderer-backgrounding",
			saves: "a renderer of low priority",
			risks: "as above"},
	}
}

// nowhere is an address at which nobody listens: port 9 of this machine (discard,
// RFC 863).
const nowhere = "http://127.0.0.1:9/"

// savingFlags keep Chrome from what a person might like, and a service pays for. The
// figures are those of "make bench ARGS='--only flags'" with Chrome 156: each flag
// left out in turn, at an age of 20 s, and of 200 s with all that is not this machine
// behind a proxy that answers nothing. Flags that changed neither start, memory,
// processes, disk nor traffic are not here; neither are --noerrdialogs, which headless
// Chrome gives itself, and those that Chrome 156 does not know any more.
func savingFlags() []flag {
	return []flag{
		{name: "--disable-features", list: true, value: strings.Join([]string{
			// Renderers kept warm for the address bar, even headless.
			"WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
			// One kept warm for the next site; there is none.
			"SpareRendererForSitePerProcess",
			// Asks optimizationguide-pa.googleapis.com.
			"OptimizationHints",
			// Asks clients2.google.com for the time.
			"NetworkTimeServiceQuerying",
		}, ","),
			saves: "31 MB and a process, 33 MB and a process, 7 MB and a process; two requests to Google",
			risks: "the names are bound to the version: an unknown one is ignored, and the saving is lost"},
		{name: "--optimization-guide-performance-class", value: "2",
			saves: "a process that measures after two minutes how fast the machine could run a language model, and stays",
			risks: "none: no model is ever used"},
		{name: "--disable-background-networking",
			saves: "requests to safebrowsing.googleapis.com, seen after minutes",
			risks: "no list of dangerous sites: one site is opened"},
		{name: "--gaia-url", value: nowhere,
			saves: "six requests to accounts.google.com, which asks whose Google accounts are in the profile",
			risks: "nobody can sign in to Google in this profile"},
		{name: "--component-updater", value: "url-source=" + nowhere, list: true,
			saves: "four requests to update.googleapis.com, and what they would download into the profile; --disable-component-update stopped none, and is said to give automation away (seleniumbase/SeleniumBase 3329)",
			risks: "no new lists of revoked certificates but those of the package"},
		{name: "--disable-sync",
			saves: "a request to redirector.gvt1.com",
			risks: "none: nobody is signed in"},
		{name: "--disable-extensions",
			saves: "nothing by itself, but what other packages install for all profiles (/usr/share/chromium/extensions) would see the page",
			risks: "none"},
		{name: "--disk-cache-size", value: "104857600",
			saves: "disk: without a bound the cache takes what the size of the disk suggests",
			risks: "the page's files are loaded again when they are more than 100 MB"},
		{name: "--mute-audio",
			saves: "the page's ringing, on a machine with a loudspeaker; the audio service starts all the same",
			risks: "none"},
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
