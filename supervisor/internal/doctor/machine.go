package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// What the service needs to be comfortable.
const (
	// Chrome with WhatsApp Web has been seen to take 400 MB to 1 GB.
	comfortableMemory = 1 << 30
	neededMemory      = 400 << 20
	// Below the first, the profile may not be written whole (package profile).
	neededDisk      = 256 << 20
	comfortableDisk = 1 << 30
)

func checkMemory(context.Context) Finding {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return warning("can't be told: %v", err)
	}
	info, err := proc.Meminfo()
	if err != nil || info.MemAvailableBytes == nil {
		return warning("can't be told: %v", err)
	}
	free := *info.MemAvailableBytes
	switch {
	case free < neededMemory:
		return bad("%d MiB are available", free>>20).do("Chrome needs about 1 GiB; add memory, or swap")
	case free < comfortableMemory:
		return warning("%d MiB are available", free>>20).do("Chrome needs about 1 GiB; add memory, or swap")
	default:
		return good("%d MiB are available", free>>20)
	}
}

func (o Options) checkWorker(context.Context) Finding {
	info, err := os.Stat(o.Worker)
	switch {
	case err != nil:
		return bad("%v", err).do("make build, or set --worker")
	case !info.Mode().IsRegular() || unix.Access(o.Worker, unix.X_OK) != nil:
		return bad("%s is no program that this user can run", o.Worker).do("chmod 755 it, or set --worker")
	default:
		return good("%s", o.Worker)
	}
}

// checkFolder looks whether this user could keep a login there.
func (o Options) checkFolder(context.Context) Finding {
	profile := filepath.Join(o.Tokens, "admin")
	for _, path := range []string{profile, o.Tokens} {
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
		return bad("%s is not there, and %s can't be written: %v", o.Tokens, parent, err).do("make it, for the service's user, or set --tokens")
	}
	return good("%s will be made at the first start", o.Tokens)
}

func usable(path string, info fs.FileInfo) Finding {
	if !info.IsDir() {
		return bad("%s is no folder", path).do("remove it, or set --tokens")
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return warning("%s belongs to user %d, and this is user %d", path, stat.Uid, os.Geteuid()).do("run the doctor as the service's user: sudo -u … supervisor doctor")
	}
	if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
		return bad("%s can't be written: %v", path, err).do("let the service's user write there, or set --tokens")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return warning("%s can be entered by others (mode %o)", path, info.Mode().Perm()).do("chmod 700 %s: whoever reads it has the login", path)
	}
	return good("")
}

// holder tells whether a supervisor uses the folder now.
func (o Options) holder() Finding {
	lock, err := os.Open(filepath.Join(o.Tokens, "admin.lock"))
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

// existing is the nearest folder above path that is there.
func existing(path string) string {
	for {
		path = filepath.Dir(path)
		if _, err := os.Stat(path); err == nil || path == "/" {
			return path
		}
	}
}

func (o Options) checkDisk(context.Context) Finding {
	path := o.Tokens
	if _, err := os.Stat(path); err != nil {
		path = existing(path)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return bad("%s: %v", path, err)
	}
	free := st.Bavail * uint64(max(st.Bsize, 0))
	switch {
	case st.Flags&unix.ST_RDONLY != 0:
		return bad("%s is on a read-only file system", path).do("set --tokens to another one")
	case free < neededDisk:
		return bad("%d MiB are free at %s", free>>20, path).do("free some; without 256 MiB the login can't be kept")
	case st.Files > 0 && st.Ffree < 1024:
		return bad("%d inodes are free at %s", st.Ffree, path).do("remove files that are not needed")
	case free < comfortableDisk:
		return warning("%d MiB are free at %s", free>>20, path).do("a profile grows to some hundred MiB")
	default:
		return good("%d MiB are free at %s", free>>20, path)
	}
}
