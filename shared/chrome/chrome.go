// Package chrome has what is known of Chrome: where it is found, which version it has,
// which flags it can be given, and whether it starts on this machine.
package chrome

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// names are looked for on the PATH, in order, when no binary is set.
var names = []string{
	"google-chrome-stable", "google-chrome", "chromium", "chromium-browser", "chromium-headless-shell", "chrome-headless-shell",
}

// Binary is a browser that can be started.
type Binary struct {
	// Path is the absolute path of the program itself, not of a wrapper script.
	Path string
	// id changes when the file does, as at an upgrade.
	id string
}

// wrapped maps a distributor's shell wrapper, by the folder that holds it and
// its name, to the program that it starts. The wrapper is skipped: Google's
// leaves two cat processes behind, and Debian's adds flags of its own.
var wrapped = map[string]string{
	"/usr/bin/chromium":                                  "/usr/lib/chromium/chromium",
	"/usr/bin/chromium-headless-shell":                   "/usr/lib/chromium/chromium-headless-shell",
	"/opt/google/chrome/google-chrome":                   "/opt/google/chrome/chrome",
	"/opt/google/chrome-beta/google-chrome-beta":         "/opt/google/chrome-beta/chrome",
	"/opt/google/chrome-unstable/google-chrome-unstable": "/opt/google/chrome-unstable/chrome",
}

// Find returns the browser that setting names, a path or a name on the PATH, or,
// when it is empty, the first of the usual names. Its errors carry
// reason.BrowserMissing and explain what to do.
func Find(setting string) (Binary, error) {
	if setting != "" {
		path, err := exec.LookPath(setting)
		if err != nil {
			return Binary{}, missing(fmt.Errorf("--chrome: %q can't be run (%w); set it to the path of Chrome, or leave it out", setting, errors.Unwrap(err)))
		}
		return open(path)
	}
	var confined error
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		b, err := open(path)
		if !errors.Is(err, errConfined) {
			return b, err
		}
		confined = cmp.Or(confined, err)
	}
	if confined != nil {
		return Binary{}, confined
	}
	return Binary{}, missing(fmt.Errorf("none of %s is on the PATH; install Google's package google-chrome-stable (on Debian also: apt-get install chromium), or set --chrome", strings.Join(names, ", ")))
}

func missing(err error) error { return reason.Wrap(reason.BrowserMissing, err) }

func open(path string) (Binary, error) {
	real, err := resolve(path)
	if err != nil {
		return Binary{}, missing(err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return Binary{}, missing(fmt.Errorf("cannot look at browser: %w", err))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return Binary{}, missing(fmt.Errorf("%s is not an executable file", real))
	}
	if err := checkForm(real); err != nil {
		return Binary{}, missing(err)
	}
	return Binary{Path: real, id: fmt.Sprint(stat.Dev, stat.Ino, info.Size(), info.ModTime())}, nil
}

// resolve follows links and known wrappers.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot make %s absolute: %w", path, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("cannot resolve browser: %w", err)
	}
	if target, ok := wrapped[real]; ok {
		if _, err := os.Stat(target); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return target, nil
		}
	}
	return real, nil
}

// Candidates returns every path where Find would look with the same setting, so
// that a caller can wait for a browser to be installed.
func Candidates(setting string) []string {
	if strings.ContainsRune(setting, filepath.Separator) {
		return []string{setting}
	}
	wanted := names
	if setting != "" {
		wanted = []string{setting}
	}
	var paths []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		for _, name := range wanted {
			path := filepath.Join(dir, name)
			paths = append(paths, path)
			if target, ok := wrapped[path]; ok {
				paths = append(paths, target)
			}
		}
	}
	return paths
}

// sharedMemoryFloor is where Chrome begins to lose tabs because /dev/shm is too small
// for its bitmaps; containers commonly have 64 MiB.
const sharedMemoryFloor = 512 << 20

// SharedMemory returns what is free in /dev/shm, in bytes, and whether that is enough
// for Chrome. Otherwise Chrome must be started with --disable-dev-shm-usage.
func SharedMemory() (free uint64, enough bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err == nil {
		free = fs.Bavail * uint64(max(fs.Bsize, 0))
	}
	return free, free >= sharedMemoryFloor
}
