package profile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"session-manager/shared/reason"
)

// LockState says what CleanLock found, and so what it did.
type LockState string

// Verdicts. All but NoLock, Unparsable and NotALink mean that a stale lock was
// removed.
const (
	// NoLock: there is nothing to clean.
	NoLock LockState = "no_lock"
	// Unparsable: the lock names nobody; it stays, since Chrome replaces it.
	Unparsable LockState = "unparsable"
	// NotALink: something that is no symlink was moved out of the way.
	NotALink LockState = "not_a_link"
	// StaleOwn: it is that of the Chrome we started last, and that is gone.
	StaleOwn LockState = "stale_own"
	// StaleBoot: it was made before this machine was started.
	StaleBoot LockState = "stale_boot"
	// StaleDead: no process has its pid.
	StaleDead LockState = "stale_dead"
	// StaleRecycled: its pid was given to a process that is younger than it.
	StaleRecycled LockState = "stale_recycled"
	// StaleNotChrome: its pid is that of another program.
	StaleNotChrome LockState = "stale_not_chrome"
	// StaleElsewhere: its pid is that of a Chrome on another profile.
	StaleElsewhere LockState = "stale_elsewhere"
	// StaleOtherHost: it names another machine, but lies on a disk of this one.
	StaleOtherHost LockState = "stale_other_host"
)

// clockSlack is how much later than the lock a process must have started to be
// another one than made it. Start times are known to 10 ms.
const clockSlack = time.Second

// lockName is the target of a SingletonLock.
type lockName struct {
	host string
	pid  int
}

// parseLock splits "hostname-pid" at the last dash, as Chrome does
// (chrome/browser/process_singleton_posix.cc).
func parseLock(target string) (lockName, bool) {
	dash := strings.LastIndexByte(target, '-')
	if dash < 0 {
		return lockName{}, false
	}
	pid, err := strconv.Atoi(target[dash+1:])
	if err != nil || pid <= 0 {
		return lockName{}, false
	}
	return lockName{host: target[:dash], pid: pid}, true
}

// socketState is what a connect to SingletonSocket told.
type socketState int

const (
	// socketDead: nobody listens, or there is no socket.
	socketDead socketState = iota
	// socketAlive: somebody listens, or is frozen with a full queue.
	socketAlive
	// socketUnknown: we may not ask.
	socketUnknown
)

// suspect is the process on this machine that has the lock's pid.
type suspect struct {
	exists  bool
	name    string
	started time.Time
	// start is the same in the kernel's ticks since boot.
	start uint64
	// chrome: its program is, by its name, a Chrome.
	chrome bool
	// holds: it has files of our profile open, or names it on its command line.
	holds bool
	// elsewhere: its command line names another profile, which exists.
	elsewhere bool
}

// evidence is all that judge looks at.
type evidence struct {
	lock   lockName
	target string
	// made is when the lock was made.
	made time.Time

	host   string
	boot   time.Time
	bootID string
	// local: the profile lies on a disk that no other machine can write.
	local bool

	socket socketState
	// peer is the pid that listens at a socket that is alive; 0 if not known.
	peer     int
	process  suspect
	launched launch
}

// judge decides whether the lock is stale. Its caller has made sure that no
// Chrome of ours lives. What can't be proven stale is an error that carries
// reason.ProfileInUse.
func judge(e evidence) (LockState, error) {
	sameHost := e.lock.host == e.host
	switch {
	case e.socket == socketAlive:
		return "", inUse("a Chrome that this service did not start%s uses the profile: it answers at its socket", withPID(e.peer, e.lock.pid))
	case e.process.exists && e.process.holds:
		return "", inUse("%s (pid %d) uses the profile", e.process.name, e.lock.pid)
	case e.target == e.launched.Target && e.target != "":
		return judgeOwn(e)
	case e.made.Before(e.boot):
		return StaleBoot, nil
	case e.socket == socketUnknown:
		return "", inUse("the lock %q belongs to another user's Chrome, it seems: its socket can't be asked", e.target)
	case sameHost:
		return judgeHere(e)
	case e.process.exists && e.process.chrome:
		return "", inUse("the lock %q was made on another machine, but a Chrome here has the pid %d", e.target, e.lock.pid)
	case !e.local:
		return "", inUse("the lock %q was made on another machine, and the profile lies on a file system that machines may share; "+
			"when no Chrome there uses the profile, remove SingletonLock", e.target)
	default:
		return StaleOtherHost, nil
	}
}

// judgeOwn looks at a lock that the Chrome we started last has made. The lease
// says that this Chrome is gone, whatever the machine's name is by now.
func judgeOwn(e evidence) (LockState, error) {
	if e.process.exists && e.launched.BootID == e.bootID && e.launched.Start == e.process.start {
		return "", inUse("the Chrome that this service started last (pid %d) lives, but lost its lease", e.lock.pid)
	}
	return StaleOwn, nil
}

// judgeHere looks at a lock that was made on this machine since it was started.
func judgeHere(e evidence) (LockState, error) {
	switch {
	case !e.process.exists:
		return StaleDead, nil
	case e.process.started.After(e.made.Add(clockSlack)):
		return StaleRecycled, nil
	case !e.process.chrome:
		return StaleNotChrome, nil
	case e.process.elsewhere:
		return StaleElsewhere, nil
	default:
		return "", inUse("%s (pid %d), which this service did not start, holds the profile's lock", e.process.name, e.lock.pid)
	}
}

func inUse(format string, args ...any) error {
	return reason.Wrap(reason.ProfileInUse, fmt.Errorf(format, args...))
}

// withPID is " (pid N)" with the first pid that is known.
func withPID(pids ...int) string {
	for _, pid := range pids {
		if pid > 0 {
			return fmt.Sprintf(" (pid %d)", pid)
		}
	}
	return ""
}

var errChanged = errors.New("the lock changed while it was judged")
