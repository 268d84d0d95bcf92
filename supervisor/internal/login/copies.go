package login

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

// snapshots are those of the present login, newest first.
func (k *Keeper) backups() ([]profile.Backup, error) {
	all, err := k.folder.Backups.List()
	var ours []profile.Backup
	for _, s := range all {
		if s.Stamp == k.memory.Stamp && s.LinkedAt.Equal(k.memory.LinkedAt) {
			ours = append(ours, s)
		}
	}
	return ours, err
}

// copyProfile makes a copy. One for whose sake the restart was made is opened on trial,
// and is none when it does not open; after any other end somebody waits for the next
// Chrome. It is called with mu held.
func (k *Keeper) backUp(ctx context.Context, end worker.Closing) {
	copying, bound := ctx, k.o.Limits.Copy
	if end.Stopping {
		copying, bound = context.WithoutCancel(ctx), k.o.Limits.CopyAtStop // ctx has ended
	}
	copying, cancel := context.WithTimeout(copying, bound)
	defer cancel()
	copied := profile.Backup{Manifest: profile.Manifest{
		CreatedAt: k.o.Now(), Stamp: k.memory.Stamp, LinkedAt: k.memory.LinkedAt,
		PersistedAt: k.memory.PersistedAt, ReadyAt: k.memory.ReadyAt, ChromeVersion: end.ChromeVersion,
	}}
	var err error
	if copied.Name, err = k.folder.Backups.Create(copying, copied.Manifest); err != nil {
		k.o.Logger.Warn(logid.BackupCreateFailed, logging.KeyError, err)
		return
	}
	took := k.o.Now().Sub(copied.CreatedAt)
	if end.Reason == reason.Maintenance {
		var fit bool
		if copied.VerifiedAt, fit = k.verify(ctx, copied); !fit {
			if err := k.folder.Backups.Remove(copied.Name); err != nil {
				k.o.Logger.Warn(logid.BackupRemoveFailed, logging.KeyPath, copied.Name, logging.KeyError, err)
			}
			return
		}
	}
	if err := k.folder.Backups.Thin(); err != nil {
		k.o.Logger.Warn(logid.BackupsPruneFailed, logging.KeyError, err)
	}
	k.memory.SnapshotAt, k.copies = copied.CreatedAt, true
	if !copied.VerifiedAt.IsZero() {
		k.memory.SnapshotVerifiedAt = copied.VerifiedAt
	}
	k.o.Logger.Info(logid.BackupCreated, slog.String(logging.KeyPath, copied.Name), logging.Millis("took_ms", took),
		slog.Bool("verified", !copied.VerifiedAt.IsZero()))
	k.save()
}

// verify opens a copy on trial, unless that was done before, and notes with it when
// that was. It returns false when the copy is of no use. What can't be found out does
// not speak against it: its checksums say that it is what a clean close has left.
func (k *Keeper) verify(ctx context.Context, copied profile.Backup) (at time.Time, fit bool) {
	if !copied.VerifiedAt.IsZero() {
		return copied.VerifiedAt, true
	}
	err := k.o.Workers().VerifyBackup(ctx, k.folder.Backups.Path(copied))
	switch {
	case errors.Is(err, worker.ErrCopyRefused):
		k.o.Logger.Error(logid.BackupRejected, logging.KeyPath, copied.Name, logging.KeyError, err)
		return time.Time{}, false
	case err != nil:
		k.o.Logger.Warn(logid.BackupVerifyFailed, logging.KeyPath, copied.Name, logging.KeyError, err)
		return time.Time{}, true
	}
	at = k.o.Now()
	if err := k.folder.Backups.MarkVerified(copied.Name, at); err != nil {
		k.o.Logger.Warn(logid.BackupRecordFailed, logging.KeyPath, copied.Name, logging.KeyError, err)
	}
	return at, true
}
