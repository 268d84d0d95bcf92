package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker/preflight"
)

// What the service needs, and what it needs to work well.
const (
	// Chrome with WhatsApp Web has been seen to use 400 MB to 1 GB.
	neededMemory      = 400 << 20
	comfortableMemory = 1 << 30
	comfortableDisk   = 1 << 30
	// A backup is made each night.
	oldBackup = 3 * 24 * time.Hour
)

func (o settings) checkChrome(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "apt-get install chromium, or install Google's google-chrome-stable, or set --chrome"}
	}
	var versions chrome.Versions
	version, err := versions.Of(ctx, browser)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "reinstall it, or set --chrome to another one"}
	}
	return good("%s, %s", version, browser.Path)
}

// checkStart starts Chrome, sandbox and all, on an empty profile. It is the only
// proof that its libraries, sandbox and memory are all right.
func (o settings) checkStart(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return bad("skipped, as no Chrome was found")
	}
	start := time.Now()
	err = chrome.Try(ctx, browser.Path, o.ChromeArgs)
	took := time.Since(start).Round(100 * time.Millisecond)
	switch {
	case reason.Of(err, "") == reason.SandboxRefused:
		return bad("Chrome can't use its sandbox").do("allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 23.10 and later install Google's package, whose AppArmor profile allows them")
	case err != nil:
		return bad("Chrome did not show an empty page: %v", err).do("run %s --headless --dump-dom about:blank by hand; it names missing libraries", browser.Path)
	case os.Geteuid() == 0:
		return warning("it shows a page in %s, without its sandbox, as this is root", took).do("run the service as its own user")
	default:
		return good("it shows a page in %s, with its sandbox", took)
	}
}

func checkSharedMemory(context.Context) Finding {
	if free, enough := chrome.SharedMemory(); !enough {
		return warning("%d MiB are free in /dev/shm; Chrome uses the disk instead", free>>20).do("give it 512 MiB: docker run --shm-size=512m, or mount -o remount,size=512m /dev/shm")
	}
	return good("enough")
}

func checkMemory(context.Context) Finding {
	var info procfs.Meminfo
	proc, err := procfs.NewDefaultFS()
	if err == nil {
		info, err = proc.Meminfo()
	}
	if err != nil || info.MemAvailableBytes == nil {
		return warning("unknown: %v", err)
	}
	free := *info.MemAvailableBytes
	f := good("%d MiB are available", free>>20)
	if free < comfortableMemory {
		f = warning("%d MiB are available", free>>20).do("Chrome needs about 1 GiB; add memory or swap")
	}
	if free < neededMemory {
		f.Mark = Bad
	}
	return f
}

func (o settings) checkWorker(context.Context) Finding {
	if err := preflight.CheckWorker(o.Worker); err != nil {
		return bad("%v", err).do("%s", reason.Describe(reason.WorkerUnusable).Action)
	}
	return good("%s", o.Worker)
}

// checkFolder checks whether this user could keep a login in the tokens folder.
func (o settings) checkFolder(context.Context) Finding {
	for _, path := range []string{filepath.Join(o.Tokens, "admin"), o.Tokens} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return bad("%v", err).do("let this user reach it")
		}
		if f := usable(path, info); f.Mark != Good {
			return f
		}
		return o.holder()
	}
	parent := existing(o.Tokens)
	if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
		return bad("%s does not exist, and %s can't be written: %v", o.Tokens, parent, err).do("create it for the service's user, or set --tokens")
	}
	return good("%s will be created at the first start", o.Tokens)
}

func usable(path string, info fs.FileInfo) Finding {
	if !info.IsDir() {
		return bad("%s is not a folder", path).do("remove it, or set --tokens")
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return warning("%s belongs to user %d, and this is user %d", path, stat.Uid, os.Geteuid()).do("run the doctor as the service's user: sudo -u … supervisor doctor")
	}
	if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
		return bad("%s can't be written: %v", path, err).do("let the service's user write there, or set --tokens")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return warning("other users have access to %s (mode %o)", path, info.Mode().Perm()).do("chmod 700 %s: anyone who can read it has the login", path)
	}
	return good("")
}

// holder reports whether a supervisor uses the folder now.
func (o settings) holder() Finding {
	lock, err := os.OpenFile(filepath.Join(o.Tokens, "admin.lock"), os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return good("%s, free", o.Tokens)
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return good("%s, free", o.Tokens)
	}
	pid := make([]byte, 20)
	n, _ := lock.Read(pid)
	return good("%s, in use by the supervisor with pid %s", o.Tokens, strings.TrimSpace(string(pid[:n])))
}

// existing returns path, or the nearest folder above it that exists.
func existing(path string) string {
	if _, err := os.Stat(path); err == nil || path == "/" {
		return path
	}
	return existing(filepath.Dir(path))
}

// checkLogin reports which login there is, and how well it is backed up.
func (o settings) checkLogin(context.Context) Finding {
	known, err := login.LoadRecord(o.Tokens)
	if err != nil {
		return warning("its record can't be read: %v", err).do("let this user read %s", o.Tokens)
	}
	day := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
	switch {
	case !known.LostAt.IsZero():
		return warning("it was lost on %s, and no backup could be restored", day(known.LostAt)).do("link the phone again")
	case known.LinkedAt.IsZero(), !known.LoggedOutAt.IsZero():
		return good("no phone is linked")
	case known.BackupAt.IsZero():
		return warning("linked on %s; there is no backup yet", day(known.LinkedAt)).
			do("one is made at the next stop or restart, and at --backup-hour")
	case time.Since(known.BackupAt) > oldBackup:
		return warning("linked on %s; the last backup is from %s", day(known.LinkedAt), day(known.BackupAt)).
			do("look for backup_create_failed and backup_rejected in the log, and check --backup-hour")
	}
	verified := "no backup has been verified yet"
	if at := known.BackupVerifiedAt; !at.IsZero() {
		verified = "a backup was verified on " + day(at)
	}
	return good("linked on %s, last backed up on %s; %s", day(known.LinkedAt), day(known.BackupAt), verified)
}

func (o settings) checkDisk(context.Context) Finding {
	path := existing(o.Tokens)
	if err := profile.CheckSpaceAt(path, profile.MinFreeBytes); err != nil {
		return bad("%v", err).do("%s", reason.Describe(reason.Of(err, reason.DiskFull)).Action)
	}
	if err := profile.CheckSpaceAt(path, comfortableDisk); err != nil {
		return warning("%v", err).do("free some space: a profile grows to several hundred MiB")
	}
	return good("at least %d MiB are free at %s", comfortableDisk>>20, path)
}
