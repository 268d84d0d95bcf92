package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// socketPathLimit is what a TMPDIR may have at most. Chrome makes the socket
// TMPDIR/org.chromium.Chromium.XXXXXX/SingletonSocket, and aborts when that is
// longer than the 107 bytes of a socket's path.
const socketPathLimit = 107 - len("/org.chromium.Chromium.XXXXXX/SingletonSocket")

// kept are the variables that Chrome gets from our own environment. All others
// stay behind: credentials, proxies (a flag is for that), and above all DISPLAY,
// WAYLAND_DISPLAY and DBUS_SESSION_BUS_ADDRESS, by which Chrome would reach a
// person's desktop.
var kept = []string{"PATH", "LANG", "LC_ALL", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH"}

// prepareScratch makes Chrome's private folders below dir and returns the
// environment that points to them. Names are short for the sake of
// socketPathLimit.
func prepareScratch(dir string, environ []string) ([]string, error) {
	places := []struct{ name, variable string }{
		{"h", "HOME"},
		{"t", "TMPDIR"},
		{"h/cfg", "XDG_CONFIG_HOME"},
		{"h/cache", "XDG_CACHE_HOME"},
		{"h/data", "XDG_DATA_HOME"},
		{"r", "XDG_RUNTIME_DIR"},
		{"d", "BREAKPAD_DUMP_LOCATION"},
	}
	var env []string
	for _, p := range places {
		path := filepath.Join(dir, p.name)
		if p.variable == "TMPDIR" && len(path) > socketPathLimit {
			return nil, fmt.Errorf("cannot use %s as TMPDIR: longer than %d bytes", path, socketPathLimit)
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make Chrome's folder: %w", err)
		}
		env = append(env, p.variable+"="+path)
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(kept, name) {
			env = append(env, entry)
		}
	}
	return env, nil
}

// sharedMemoryFloor is where Chrome begins to lose tabs for want of space in
// /dev/shm; containers commonly have 64 MiB.
const sharedMemoryFloor = 512 << 20

func thisHost() host {
	h := host{root: os.Geteuid() == 0}
	var fs unix.Statfs_t
	err := unix.Statfs("/dev/shm", &fs)
	h.smallSharedMemory = err != nil || fs.Bavail*uint64(fs.Bsize) < sharedMemoryFloor
	return h
}
