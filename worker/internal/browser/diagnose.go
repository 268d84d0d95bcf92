package browser

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
)

// profileInUse is Chrome's exit code RESULT_CODE_PROFILE_IN_USE. It is also what
// Chrome exits with when the profile can't be written (measured), so it proves
// nothing alone.
const profileInUse = 21

// profileState is what the profile's folder looks like after a failed start.
type profileState struct {
	// lock is the target of SingletonLock, "host-pid"; empty if it does not exist.
	lock string
	// oddLock is true if SingletonLock is not a symbolic link.
	oddLock bool
	// unwritable is why the folder can't be written; nil if it can.
	unwritable error
}

func inspectProfile(dir string) profileState {
	var s profileState
	var err error
	s.lock, err = os.Readlink(filepath.Join(dir, "SingletonLock"))
	s.oddLock = errors.Is(err, syscall.EINVAL)
	s.unwritable = unix.Access(dir, unix.W_OK|unix.X_OK)
	var fs unix.Statfs_t
	if s.unwritable == nil && unix.Statfs(dir, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0 {
		s.unwritable = unix.EROFS
	}
	return s
}

// diagnose names the reason of a start that ended with exit, by facts rather
// than by Chrome's words where there are facts.
func diagnose(exit Exit, stderr []string, profile profileState) (reason.Code, string) {
	for _, line := range stderr {
		if chrome.SandboxRefused(line) {
			return reason.SandboxRefused, "Chrome said: " + line
		}
	}
	switch {
	case exit.Signal == syscall.SIGKILL.String():
		return reason.BrowserStartFailed, reason.Killed("Chrome")
	case profile.unwritable != nil:
		return reason.ProfileUnwritable, fmt.Sprintf("the profile's folder: %v", profile.unwritable)
	case exit.Code != profileInUse:
		return reason.BrowserStartFailed, lastWords(stderr)
	case profile.oddLock:
		return reason.ProfileUnwritable, "SingletonLock is not a symbolic link"
	case profile.lock != "":
		return reason.ProfileInUse, fmt.Sprintf("SingletonLock names %s", profile.lock)
	}
	return reason.BrowserStartFailed, lastWords(stderr)
}

// lastWords returns the line that is most likely the cause: the first fatal one, or
// the last.
func lastWords(stderr []string) string {
	said := "nothing"
	for _, line := range stderr {
		if said = line; strings.Contains(line, ":FATAL:") {
			break
		}
	}
	return "Chrome said: " + said
}

// checkProfile returns an error unless our browser has its profile in dir, and can write
// to it.
func checkProfile(engine chrome.Engine, dir, hostname string, pid int) error {
	if engine == chrome.FullChrome {
		return checkLock(dir, hostname, pid)
	}
	if err := inspectProfile(dir).unwritable; err != nil {
		return reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("the profile's folder: %w", err))
	}
	return nil
}

// checkLock returns an error unless our Chrome holds the profile in dir. Chrome
// silently moves to another profile when it can't make ours, and answers every probe
// from there.
func checkLock(dir, hostname string, pid int) error {
	target, err := os.Readlink(filepath.Join(dir, "SingletonLock"))
	if err != nil {
		return reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("cannot find Chrome's lock in the profile: %w", err))
	}
	if want := hostname + "-" + strconv.Itoa(pid); target != want {
		return reason.Wrap(reason.ProfileInUse, fmt.Errorf("the profile is held by %s, and our Chrome is %s", target, want))
	}
	return nil
}
