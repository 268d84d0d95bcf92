package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
)

// The names that Chrome gives its lock and its socket
// (chrome/common/chrome_constants.cc).
const (
	lockFile   = "SingletonLock"
	socketFile = "SingletonSocket"
)

// ChromeLock is the SingletonLock in the profile, a link to "hostname-pid" of the
// Chrome that made it. A Chrome that is killed leaves it behind, and then the next
// one may refuse to start, or kill the process that has the pid by now.
//
// Four proofs decide whether a Chrome still uses the profile:
//
//   - the lease is held by every Chrome that this service started;
//   - the database of localStorage is locked by every Chrome on this machine that has
//     opened a page, also by a chrome-headless-shell, which makes no SingletonLock;
//   - the socket answers for every Chrome in reach, also after the host was renamed
//     and from another PID namespace;
//   - the process with the pid in the lock is a Chrome that can have made it: this
//     covers a Chrome on this machine whose socket is hidden, as by a private /tmp.
//
// None of them covers a Chrome on another machine. So a lock from another host is
// stale only on a file system that no other machine can write to, unless it is the
// lock of the Chrome that this service started last.
type ChromeLock struct{ tokens tokens }

// LockState is what Clean found, and so what it did.
type LockState string

// The states. In the stale ones the lock was removed.
const (
	// NoLock: there is nothing to clean.
	NoLock LockState = "no_lock"
	// Unparsable: the lock names nobody. It stays, since Chrome replaces it.
	Unparsable LockState = "unparsable"
	// NotALink: something that is not a symlink was moved out of the way.
	NotALink LockState = "not_a_link"
	// StaleOwn: the Chrome that this service started last made it, and has ended.
	StaleOwn LockState = "stale_own"
	// StaleDead: it was made on this machine by a Chrome that has ended.
	StaleDead LockState = "stale_dead"
	// StaleOtherHost: it names another machine, but is on a disk of this one.
	StaleOtherHost LockState = "stale_other_host"
)

var errChanged = errors.New("the lock changed while it was checked")

// Clean removes the lock if it is proven stale. It never touches SingletonSocket and
// SingletonCookie: the next Chrome rewrites them, and without them a live Chrome can't
// be reached, so that the next one would kill it or start next to it.
//
// The caller must have ended everything of earlier instances, and start one Chrome
// only, since Chrome has a race with itself here. A lock that is not proven stale
// and a held lease are errors that carry reason.ProfileInUse.
func (l ChromeLock) Clean() (LockState, error) {
	state, target, err := l.inspect()
	switch {
	case err != nil:
		return "", err
	case state == NotALink:
		if err := renameNew(l.path(), l.path()+".quarantine."+suffix()); err != nil {
			return "", unwritable("cannot move a lock that is not a link", err)
		}
	case state != NoLock && state != Unparsable:
		if err := removeUnchanged(l.path(), target); err != nil {
			return "", err
		}
	}
	return state, nil
}

// inspect returns what Clean would, and the target of the lock, and changes nothing.
func (l ChromeLock) inspect() (state LockState, target string, err error) {
	if err := l.checkLease(); err != nil {
		return "", "", err
	}
	if err := checkStorage(l.tokens.profile()); err != nil {
		return "", "", err
	}
	// The socket comes last, since a Chrome makes its lock before its socket.
	target, err = os.Readlink(l.path())
	hidden, socketErr := checkSocket(l.tokens.profile())
	switch {
	case socketErr != nil:
		return "", "", socketErr
	case errors.Is(err, fs.ErrNotExist):
		return NoLock, "", nil
	case errors.Is(err, unix.EINVAL):
		return NotALink, "", nil
	case err != nil:
		return "", "", unwritable("cannot read lock", err)
	}
	name, ok := parseLock(target)
	if !ok {
		return Unparsable, target, nil
	}
	e, err := l.gather(name)
	if err != nil {
		return "", "", err
	}
	e.hidden = hidden
	state, err = classify(e)
	return state, target, err
}

// Record remembers that the Chrome with this pid holds the profile, so that Clean
// recognises its lock later, even in another process. The error carries
// reason.ProfileInUse when the lock does not name pid: then Chrome uses another
// profile.
func (l ChromeLock) Record(pid int) error {
	target, _ := os.Readlink(l.path())
	if name, ok := parseLock(target); !ok || name.pid != pid {
		return inUse("Chrome (pid %d) has not locked our profile; the lock is %q", pid, target)
	}
	return l.launch().Save(target)
}

func (l ChromeLock) path() string { return filepath.Join(l.tokens.profile(), lockFile) }

func (l ChromeLock) launch() JSONFile { return JSONFile(l.tokens.path("launch")) }

// launched returns the lock of the Chrome that was started last, empty if that is
// not known.
func (l ChromeLock) launched() string {
	var target string
	_ = l.launch().Load(&target) // it is one proof among others
	return target
}

// checkLease makes sure that no Chrome that this service started is running.
func (l ChromeLock) checkLease() error {
	file := l.tokens.path("lease")
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	free, err := lease.Free(file)
	if err != nil {
		return unwritable("cannot check lease", err)
	}
	if free {
		return nil
	}
	return inUse("a Chrome that this service started earlier%s is still running", withPID(lease.Holder(file)))
}

// checkStorage makes sure that no process has the localStorage of the profile open. Chrome
// locks it with fcntl(2) for as long as it is open (base/files/file_posix.cc); a second
// Chrome would run on without it, and so without the login.
func checkStorage(profile string) error {
	locks, _ := fs.Glob(os.DirFS(profile), "*/Local Storage/leveldb/LOCK") // it fails on malformed patterns only
	for _, path := range locks {
		file, err := os.OpenFile(filepath.Join(profile, path), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // nobody can lock it through this path
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock)
		_ = file.Close()
		if err == nil && lock.Type != unix.F_UNLCK {
			return inUse("a Chrome that this service did not start%s has the profile open", withPID(int(lock.Pid)))
		}
	}
	return nil
}

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

// String returns the lock's target.
func (n lockName) String() string { return fmt.Sprintf("%s-%d", n.host, n.pid) }

// evidence is what the lock is classified by once nobody holds the lease or answers at
// the socket.
type evidence struct {
	lock lockName
	// made is when the lock was made.
	made time.Time
	// own: the Chrome that this service started last made the lock.
	own bool
	// hidden: we have no permission to connect to the socket.
	hidden bool
	// host is the name of this machine.
	host string
	// local: no other machine can write to the profile's file system.
	local  bool
	holder process
}

func (l ChromeLock) gather(name lockName) (evidence, error) {
	info, err := os.Lstat(l.path())
	if err != nil {
		return evidence{}, inUse("%w: %w", errChanged, err)
	}
	e := evidence{
		lock: name, made: info.ModTime(), own: name.String() == l.launched(),
		holder: lookAt(name.pid, l.tokens.profile()),
	}
	// If these fail, the lock counts as one of another machine on a shared disk.
	e.host, _ = os.Hostname()
	var volume unix.Statfs_t
	e.local = unix.Statfs(l.tokens.profile(), &volume) == nil && isLocal(int64(volume.Type)) //nolint:unconvert // its size depends on the architecture
	return e, nil
}

// classify decides whether the lock is stale. A lock that is not proven stale is an
// error that carries reason.ProfileInUse.
func classify(e evidence) (LockState, error) {
	sameHost, suspect := e.lock.host == e.host, e.holder.canHaveMade(e.made)
	switch {
	case e.holder.holds:
		return "", inUse("%s%s uses the profile", e.holder.name, withPID(e.lock.pid))
	case suspect && e.own:
		return "", inUse("the Chrome that this service started last%s is running, but lost its lease", withPID(e.lock.pid))
	case e.own:
		return StaleOwn, nil
	case e.hidden:
		return "", inUse("the lock %q seems to be that of another user's Chrome: permission to connect to its socket is denied", e.lock)
	case suspect && sameHost:
		return "", inUse("%s%s, which this service did not start, holds the profile's lock", e.holder.name, withPID(e.lock.pid))
	case sameHost:
		return StaleDead, nil
	case suspect:
		return "", inUse("the lock %q was made on another machine, but a Chrome here has the pid %d", e.lock, e.lock.pid)
	case !e.local:
		return "", inUse("the lock %q was made on another machine, and the profile is on a file system that machines may share; "+
			"when no Chrome there uses the profile, remove SingletonLock", e.lock)
	}
	return StaleOtherHost, nil
}

// isLocal knows the file systems that one machine alone can write to. All others,
// FUSE and 9p too, may be shared.
func isLocal(magic int64) bool {
	switch magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.MSDOS_SUPER_MAGIC,
		0x2fc12fc1 /* ZFS */, 0xca451a4e /* bcachefs */, 0x3153464a /* JFS */ :
		return true
	}
	return false
}

// checkSocket connects to the profile's socket and sends nothing. It fails when
// somebody listens there, perhaps frozen and with a full queue. hidden means that this
// user may not find out: the socket is in a folder of another user's Chrome.
func checkSocket(profile string) (hidden bool, err error) {
	// Through the open folder, since the path of a socket has at most 107 bytes.
	folder, err := os.OpenFile(profile, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, unwritable("cannot open profile", err)
	}
	defer func() { _ = folder.Close() }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, fmt.Errorf("cannot check lock: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), socketFile)})
	switch {
	case err == nil, errors.Is(err, unix.EAGAIN):
		pid := 0
		if peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
		return false, inUse("a Chrome that this service did not start%s uses the profile: it answers at its socket", withPID(pid))
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return true, nil
	}
	return false, nil
}

// process is the one on this machine that has the lock's pid, or zero.
type process struct {
	name    string
	started time.Time
	// chrome: by the name of its program it is a Chrome.
	chrome bool
	// holds: it has files of our profile open, or names the profile on its command line.
	holds bool
	// elsewhere: its command line names another profile, which exists.
	elsewhere bool
}

// clockSlack is by how much a process must be younger than the lock to have got its
// pid after the lock's maker. Start times are known to 10 ms.
const clockSlack = time.Second

// canHaveMade reports whether the process may be the Chrome that made a lock then.
func (p process) canHaveMade(made time.Time) bool {
	return p.chrome && !p.elsewhere && !p.started.After(made.Add(clockSlack))
}

// lookAt returns what the process pid has to do with the profile. What can't be seen
// counts against removing the lock.
func lookAt(pid int, profile string) process {
	proc, err := procfs.NewProc(pid)
	var stat procfs.ProcStat
	if err == nil {
		stat, err = proc.Stat()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), stat.State == "Z":
		return process{}
	case err != nil:
		return process{name: "a process", chrome: true}
	}
	p := process{name: stat.Comm, started: startTime(stat.Starttime)}
	exe, err := proc.Executable()
	if err != nil || exe == "" {
		exe = stat.Comm
	}
	p.chrome = isChrome(exe)
	p.holds, p.elsewhere = profileOf(proc, profile)
	return p
}

// startTime converts the start of a process from ticks since boot, 100 a second on
// every Linux that Go runs on, to the wall clock. The zero time is before any lock.
func startTime(ticks uint64) time.Time {
	var sinceBoot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot) != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(ticks)*(time.Second/100) - time.Duration(sinceBoot.Nano()))
}

// isChrome goes by the program's name, as Chrome does, but knows all its names. The
// kernel appends " (deleted)" when an upgrade has replaced the program.
func isChrome(exe string) bool {
	name := strings.ToLower(filepath.Base(strings.TrimSuffix(exe, " (deleted)")))
	return strings.Contains(name, "chrom") || name == "headless_shell"
}

// profileOf reports whether the process uses our profile or names another one.
func profileOf(proc procfs.Proc, profile string) (holds, elsewhere bool) {
	if real, err := filepath.EvalSymlinks(profile); err == nil {
		profile = real
	}
	targets, _ := proc.FileDescriptorTargets()
	if slices.ContainsFunc(targets, func(target string) bool { return strings.HasPrefix(target, profile+"/") }) {
		return true, false
	}
	args, _ := proc.CmdLine()
	for _, arg := range args {
		dir, ok := strings.CutPrefix(arg, "--user-data-dir=")
		if !ok || !filepath.IsAbs(dir) {
			continue
		}
		ours, err := os.Stat(profile)
		theirs, theirErr := os.Stat(dir)
		if err != nil || theirErr != nil {
			return dir == profile, false
		}
		return os.SameFile(ours, theirs), !os.SameFile(ours, theirs)
	}
	return false, false
}

// removeUnchanged removes the lock if it is still the one that was checked. It is
// renamed first: a check followed by a removal could hit a lock that another Chrome
// makes in between.
func removeUnchanged(lock, checked string) error {
	aside := lock + ".stale." + suffix()
	if err := renameNew(lock, aside); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return unwritable("cannot move stale lock", err)
	}
	if found, err := os.Readlink(aside); err == nil && found == checked {
		if err := os.Remove(aside); err != nil {
			return unwritable("cannot remove stale lock", err)
		}
		syncFolder(filepath.Dir(lock))
		return nil
	}
	if back := renameNew(aside, lock); back != nil {
		return inUse("%w, and can't be put back from %s: %w", errChanged, aside, back)
	}
	return inUse("%w", errChanged)
}

// renameNew renames and never replaces anything.
func renameNew(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", from, to, err)
	}
	return nil
}

func inUse(format string, args ...any) error {
	return reason.Wrap(reason.ProfileInUse, fmt.Errorf(format, args...))
}

// withPID is " (pid N)", or empty if the pid is not known.
func withPID(pid int) string {
	if pid <= 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}
