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
	// list means that value is a comma-separated list, to which the operator's
	// flag of the same name adds: Chrome uses only the last of two.
	list bool
}

func (f flag) String() string {
	if f.value == "" {
		return f.name
	}
	return f.name + "=" + f.value
}

// baseFlags are the flags of every start. What each does is documented in
// Chromium's sources next to the switch of that name.
func baseFlags(profileDir, userAgent string) []flag {
	return append(essentialFlags(profileDir, userAgent), savingFlags()...)
}

// essentialFlags are those without which the service would not work.
func essentialFlags(profileDir, userAgent string) []flag {
	return []flag{
		// No display is needed; the old mode is another program.
		{name: "--headless", value: "new"},
		// Unlike a port, descriptors 3 and 4 can't be attached to by others. Chrome
		// exits when the pipe closes.
		{name: "--remote-debugging-pipe"},
		// A folder that can't be made is silently replaced by $HOME/.config, which is
		// checked after the start.
		{name: "--user-data-dir", value: profileDir},
		// Otherwise Chrome uses the profile that its Local State names. chrome-headless-shell
		// knows no other (headless_browser_context_impl.cc).
		{name: "--profile-directory", value: "Default"},
		// Chrome restores the tabs of a crash in its start window, and two tabs of
		// WhatsApp starve each other.
		{name: "--no-startup-window"},
		// WhatsApp serves its page for old browsers to "HeadlessChrome". By flag, so that
		// service workers have it; Disguise fills in the client hints.
		{name: "--user-agent", value: userAgent},
		// Otherwise navigator.webdriver would be true.
		{name: "--disable-blink-features", value: "AutomationControlled", list: true},
		// Texts and Accept-Language do not depend on the machine.
		{name: "--lang", value: "en-US"},
		// Else a service worker of chrome-headless-shell sends no Accept-Language.
		{name: "--accept-lang", value: acceptLanguage},
		// The landing screen must not cut its QR off.
		{name: "--window-size", value: "1366,900"},
		// The default screen of 800x600 is one that nobody has.
		{name: "--screen-info", value: "{1920x1080}"},
		// The cookies' key is fixed rather than in a keyring, so that a profile opens after
		// a restart and elsewhere. Who can read the profile (0700) can read the cookies.
		{name: "--password-store", value: "basic"},
		// Timers must not wait for up to a minute, painting (and with it the QR) must not
		// stop, and the renderer must keep its priority in a page that nobody looks at.
		{name: "--disable-background-timer-throttling"},
		{name: "--disable-backgrounding-occluded-windows"},
		{name: "--disable-renderer-backgrounding"},
		// A change of localStorage, which holds the login, is written after a second. Else
		// Chrome waits for 5 s, and for up to a minute in a page that writes every second,
		// as WhatsApp's does (measured: 40 to 55 s); until then a crash would lose the login,
		// so it is not READY. Such a page costs 1.8 MB of writes an hour instead of 0.5.
		{name: "--enable-aggressive-domstorage-flushing"},
		{name: "--enable-features", list: true, value: storageFeature},
	}
}

// storageFeature keeps Chrome from deleting the login to make room. By its sources
// (storage/browser/quota/quota_settings.cc) it may do so when less than 2 GB or a tenth of
// the disk is free, or when sites have more than 70 % of a pool of 80 % of the disk. Here
// the pool has 6 GiB on any disk, and 70 % of that is more than target.MaxStorage. Another
// site, as in a frame, may have three quarters of it.
const storageFeature = "StorageQuotaSettings:PoolSizeBytes/6442450944/PoolSizeRatio/1000/ShouldRemainAvailableBytes/0"

// nowhere is an address at which nobody listens: port 9 of this machine (discard,
// RFC 863).
const nowhere = "http://127.0.0.1:9/"

// savingFlags keep Chrome from what a person might like, and a service pays for. The
// figures were measured with Chrome 156: each flag left out in turn, at an age of 20 s,
// and of 200 s with everything outside of this machine behind a proxy that answers
// nothing. Flags that changed neither start, memory, processes, disk nor traffic are
// not here; neither are --noerrdialogs, which headless Chrome gives itself, and those
// that Chrome 156 does not know.
func savingFlags() []flag {
	return []flag{
		// The names are bound to the version: an unknown one is ignored, and the saving is
		// lost.
		{name: "--disable-features", list: true, value: strings.Join([]string{
			// Renderers kept warm for the address bar, even headless: 64 MB in two processes.
			"WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
			// One kept warm for the next site, which never comes: 7 MB.
			"SpareRendererForSitePerProcess",
			// Asks optimizationguide-pa.googleapis.com.
			"OptimizationHints",
			// Asks clients2.google.com for the time.
			"NetworkTimeServiceQuerying",
		}, ",")},
		// A process that measures after two minutes how fast the machine could run a
		// language model, and stays.
		{name: "--optimization-guide-performance-class", value: "2"},
		// Requests to safebrowsing.googleapis.com, seen after minutes.
		{name: "--disable-background-networking"},
		// Six requests to accounts.google.com about Google accounts in the profile.
		{name: "--gaia-url", value: nowhere},
		// Four requests to update.googleapis.com, and what they would download into the
		// profile. It costs newer lists of revoked certificates than the package's.
		// --disable-component-update stopped none, and is said to give automation away
		// (seleniumbase/SeleniumBase 3329).
		{name: "--component-updater", value: "url-source=" + nowhere, list: true},
		// A request to redirector.gvt1.com.
		{name: "--disable-sync"},
		// What other packages install for all profiles (/usr/share/chromium/extensions)
		// would see the page.
		{name: "--disable-extensions"},
		// Without a bound the cache takes what the size of the disk suggests.
		{name: "--disk-cache-size", value: "104857600"},
		// The page's ringing, on a machine with a loudspeaker.
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
