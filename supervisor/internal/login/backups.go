package login

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

// backups makes, verifies and restores the backups of a login.
type backups struct {
	profile *profile.Profile
	workers Workers
	log     *slog.Logger
	now     func() time.Time
}

// list returns those of the login in r, newest first.
func (b backups) list(r Record) ([]profile.Backup, error) {
	all, err := b.profile.Backups.List()
	return slices.DeleteFunc(all, func(backup profile.Backup) bool {
		return backup.Stamp != r.Stamp || !backup.LinkedAt.Equal(r.LinkedAt)
	}), err
}

// create reports whether it made a backup.
func (b backups) create(ctx context.Context, r Record, chromeVersion string) (profile.Backup, bool) {
	backup := profile.Backup{Manifest: profile.Manifest{
		CreatedAt: b.now(), Stamp: r.Stamp, LinkedAt: r.LinkedAt,
		PersistedAt: r.PersistedAt, ReadyAt: r.ReadyAt, ChromeVersion: chromeVersion,
	}}
	var err error
	if backup.Name, err = b.profile.Backups.Create(ctx, backup.Manifest); err != nil {
		b.log.Warn(logid.BackupCreateFailed, logging.KeyError, err)
	}
	return backup, err == nil
}

// verify opens a backup in a Chrome, unless that was done before, and records when it
// was. It returns false when the backup is of no use. When that can't be found out it
// is usable: its checksums prove that it is what a clean close has left.
func (b backups) verify(ctx context.Context, backup *profile.Backup) (usable bool) {
	if backup.Verified() {
		return true
	}
	err := b.workers.VerifyBackup(ctx, b.profile.Backups.Path(*backup))
	switch {
	case errors.Is(err, worker.ErrBackupRejected):
		b.log.Error(logid.BackupRejected, logging.KeyPath, backup.Name, logging.KeyError, err)
		return false
	case err != nil:
		b.log.Warn(logid.BackupVerifyFailed, logging.KeyPath, backup.Name, logging.KeyError, err)
		return true
	}
	backup.VerifiedAt = b.now()
	if err := b.profile.Backups.MarkVerified(backup.Name, backup.VerifiedAt); err != nil {
		b.log.Warn(logid.BackupRecordFailed, logging.KeyPath, backup.Name, logging.KeyError, err)
	}
	return true
}

// verifyNew verifies a new backup, and removes it if it is of no use.
func (b backups) verifyNew(ctx context.Context, backup *profile.Backup) bool {
	if b.verify(ctx, backup) {
		return true
	}
	if err := b.profile.Backups.Remove(backup.Name); err != nil {
		b.log.Warn(logid.BackupRemoveFailed, logging.KeyPath, backup.Name, logging.KeyError, err)
	}
	return false
}

func (b backups) thin() {
	if err := b.profile.Backups.Thin(); err != nil {
		b.log.Warn(logid.BackupsPruneFailed, logging.KeyError, err)
	}
}

// restoreNewest restores the newest backup of the login in r that this Chrome can
// read, that opens, and that is whole. It returns the name in quarantine of the
// profile that was replaced, empty if none was; with a name, an error means that the next
// start completes it. Without a usable backup the error is nil or profile.ErrDamaged; any
// other one is this machine's fault.
func (b backups) restoreNewest(ctx context.Context, r Record, s worker.Start, why string) (restored profile.Backup, moved string, err error) {
	found, err := b.list(r)
	for _, backup := range found {
		if s.Older(backup.ChromeVersion) {
			b.log.Warn(logid.BackupSkipped, logging.KeyPath, backup.Name, logging.KeyDetail, "it was made with Chrome "+backup.ChromeVersion)
			continue
		}
		if !b.verify(ctx, &backup) {
			continue
		}
		moved, restoreErr := b.profile.Restore(ctx, backup, r.former(why, b.now()))
		if moved != "" || !errors.Is(restoreErr, profile.ErrDamaged) {
			return backup, moved, restoreErr
		}
		err = errors.Join(err, restoreErr)
	}
	return profile.Backup{}, "", err
}

// profileIsToBlame reports whether Chrome starts on an empty profile, so that it is
// the present one that keeps it from starting.
func (b backups) profileIsToBlame(ctx context.Context, s worker.Start) bool {
	err := chrome.Try(ctx, s.Chrome, nil)
	// Nothing else may be below this process now.
	if killErr := proctree.Below(nil).Kill(ctx); killErr != nil {
		b.log.Warn(logid.ProcessKillFailed, logging.KeyError, killErr)
	}
	if err != nil {
		b.log.Info(logid.ChromeTrialFailed, logging.KeyError, logging.Redact(err.Error()))
	}
	return err == nil
}
