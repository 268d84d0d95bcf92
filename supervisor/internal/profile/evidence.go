package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"session-manager/shared/proctree"
)

// probeTimeout bounds the connect to SingletonSocket. A live Chrome accepts at
// once; one that is frozen has room in its queue.
const probeTimeout = time.Second

// ticksPerSecond is the kernel's USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// gather collects what judge needs to know of the lock.
func (p *Profile) gather(ctx context.Context, dir int, target string, name lockName) (evidence, error) {
	e := evidence{lock: name, target: target}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, lockFile, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return e, inUse("%w: %w", errChanged, err)
	}
	e.made = time.Unix(st.Mtim.Unix())
	var err error
	if e.host, err = os.Hostname(); err != nil {
		return e, fmt.Errorf("cannot judge lock: %w", err)
	}
	if e.boot, err = bootTime(); err != nil {
		return e, err
	}
	if e.bootID, err = bootID(); err != nil {
		return e, err
	}
	if e.launched, err = p.lastLaunch(); err != nil {
		return e, err
	}
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(dir, &sfs); err != nil {
		return e, fmt.Errorf("cannot judge lock: %w", err)
	}
	e.local = isLocal(int64(sfs.Type)) //nolint:unconvert // its size depends on the architecture
	e.socket, e.peer = probeSocket(ctx, dir)
	e.process = lookAt(name.pid, p.Dir(), e.boot)
	return e, nil
}

// bootTime returns when this machine was started, on the wall clock as it is set
// now.
func bootTime() (time.Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}, fmt.Errorf("cannot read boot time: %w", err)
	}
	return time.Now().Add(-time.Duration(ts.Nano())), nil
}

// isLocal knows the file systems that one machine alone can write. Every other
// one, FUSE and 9p too, may be shared.
func isLocal(magic int64) bool {
	switch magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.MSDOS_SUPER_MAGIC,
		0x2fc12fc1 /* ZFS */, 0xca451a4e /* bcachefs */, 0x3153464a /* JFS */ :
		return true
	}
	return false
}

// probeSocket connects to the profile's socket and says nothing. This sees
// through changed host names and other PID namespaces. The pid is that of the
// process that listens, 0 if not known.
func probeSocket(ctx context.Context, dir int) (socketState, int) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var dialer net.Dialer
	// By way of the open folder, since a socket's path has at most 107 bytes.
	conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir, socketFile))
	if err == nil {
		defer func() { _ = conn.Close() }()
		return socketAlive, peerOf(conn)
	}
	netErr, timeout := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, unix.EAGAIN), timeout && netErr.Timeout():
		return socketAlive, 0
	case errors.Is(err, fs.ErrPermission):
		return socketUnknown, 0
	default:
		return socketDead, 0
	}
}

func peerOf(conn net.Conn) int {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// lookAt tells what the process pid, if there is one, has to do with the
// profile. What it may not see it takes for the worst.
func lookAt(pid int, profile string, boot time.Time) suspect {
	stat, err := proctree.Look(pid)
	if errors.Is(err, fs.ErrNotExist) || err == nil && stat.State == proctree.Zombie {
		return suspect{}
	}
	s := suspect{exists: true, name: "a process", chrome: true, started: boot}
	if err != nil {
		return s
	}
	s.name, s.start = stat.Comm, stat.Start
	s.started = boot.Add(time.Duration(stat.Start) * (time.Second / ticksPerSecond))
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return s
	}
	exe, err := proc.Executable()
	if err != nil || exe == "" {
		exe = stat.Comm
	}
	s.chrome = isChrome(exe)
	s.holds, s.elsewhere = profileOf(proc, profile)
	return s
}

// isChrome judges by the program's name, as Chrome itself does, but for every
// name that it has. A program replaced by an upgrade has " (deleted)" behind it.
func isChrome(exe string) bool {
	name := strings.ToLower(filepath.Base(strings.TrimSuffix(exe, " (deleted)")))
	return strings.Contains(name, "chrom") || name == "headless_shell"
}

// profileOf tells whether the process uses our profile, or names another one.
func profileOf(proc procfs.Proc, profile string) (holds, elsewhere bool) {
	real, err := filepath.EvalSymlinks(profile)
	if err != nil {
		real = profile
	}
	targets, err := proc.FileDescriptorTargets()
	if err == nil {
		for _, target := range targets {
			if strings.HasPrefix(target, real+"/") {
				return true, false
			}
		}
	}
	args, err := proc.CmdLine()
	if err != nil {
		return false, false
	}
	for _, arg := range args {
		dir, ok := strings.CutPrefix(arg, "--user-data-dir=")
		if !ok || !filepath.IsAbs(dir) {
			continue
		}
		ours, errOurs := os.Stat(real)
		theirs, errTheirs := os.Stat(dir)
		if errOurs != nil || errTheirs != nil {
			return dir == profile || dir == real, false
		}
		return os.SameFile(ours, theirs), !os.SameFile(ours, theirs)
	}
	return false, false
}
