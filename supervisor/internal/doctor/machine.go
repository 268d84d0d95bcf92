package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/session"
)

// What the service needs, and what it needs to work well.
const (
	// Chrome with WhatsApp Web has been seen to use 400 MB to 1 GB.
	comfortableMemory = 1 << 30
	comfortableDisk   = 1 << 30
	// A backup is made each night.
	oldBackup = 3 * 24 * time.Hour
)

func (o Options) checkChrome(ctx context.Context) Finding {
	var versions chrome.Versions
	var version string
	browser, err := chrome.Find(o.Config.Chrome)
	if err == nil {
		version, err = versions.Of(ctx, browser)
	}
	if err != nil {
		return failure(session.NewReason(reason.Of(err, reason.BrowserMissing), err.Error(), time.Time{}))
	}
	return good("%s, %s", version, browser.Path)
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
	if free < comfortableMemory {
		return warning("%d MiB are available", free>>20).do("Chrome needs about 1 GiB; add memory or swap")
	}
	return good("%d MiB are available", free>>20)
}

// checkFolder checks whether this user could keep a login in the tokens folder.
func (o Options) checkFolder(ctx context.Context) Finding {
	folder := o.Config.Tokens
	err := profile.Inspect(folder)
	info, statErr := os.Stat(folder)
	switch {
	case errors.Is(err, profile.ErrHeld) && o.answers(ctx):
		return good("%s, in use by the service, which runs", folder)
	case errors.Is(err, profile.ErrHeld):
		return bad("%v", err).do("it is not the service at %s", o.Config.Listen)
	case err != nil:
		return failure(session.NewReason(reason.Of(err, reason.ProfileUnwritable), err.Error(), time.Time{}))
	case statErr != nil:
		return good("%s will be created at the first start", folder)
	case info.Mode().Perm()&0o077 != 0:
		return warning("other users have access to %s (mode %o)", folder, info.Mode().Perm()).do("chmod 700 %s", folder)
	}
	return good("%s, free", folder)
}

// existing returns path, or the nearest folder above it that exists.
func existing(path string) string {
	if _, err := os.Stat(path); err == nil || path == "/" {
		return path
	}
	return existing(filepath.Dir(path))
}

// checkLogin reports which login there is, and how well it is backed up.
func (o Options) checkLogin(context.Context) Finding {
	known, err := login.LoadRecord(o.Config.Tokens)
	if err != nil {
		return warning("its record can't be read: %v", err).do("let this user read %s", o.Config.Tokens)
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

func (o Options) checkDisk(context.Context) Finding {
	path := existing(filepath.Join(o.Config.Tokens, "admin")) // which may be on another disk
	if err := profile.CheckSpaceAt(path, profile.MinFreeBytes); err != nil {
		return bad("%v", err).do("%s", reason.Describe(reason.Of(err, reason.DiskFull)).Action)
	}
	if err := profile.CheckSpaceAt(path, comfortableDisk); err != nil {
		return warning("%v", err).do("free some space: a profile grows to several hundred MiB")
	}
	return good("at least %d MiB are free at %s", comfortableDisk>>20, path)
}
