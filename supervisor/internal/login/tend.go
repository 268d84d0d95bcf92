package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

// startFailures is how many starts of Chrome in a row must fail before the
// profile is suspected.
const startFailures = 3

// Before implements worker.Hooks: it does what is pending. What can't be done
// is logged and left: the profile that is there may still be of use. Only what
// keeps Chrome from using it at all is returned.
func (k *Keeper) BeforeStart(ctx context.Context, p *profile.Profile, s worker.Start) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.o.Now()
	if k.folder != p {
		k.folder = p
		k.load()
	}
	changed, err := k.recognise()
	if err != nil {
		return err
	}
	if changed && k.pending != erase {
		k.pending = leave // It was about another profile.
	}
	pending, why := k.pending, k.why
	k.pending, k.why = leave, ""
	var name string
	switch pending {
	case retire:
		name, err = k.retire(why, now)
	case erase:
		err = k.erase()
	case restore:
		k.restore(ctx, s, why, now)
	}
	if pending == retire || pending == erase {
		k.logout.done(name, err)
	}
	if _, err := k.recognise(); err != nil {
		return err
	}
	k.prune()
	k.save()
	return nil
}

func (k *Keeper) load() {
	if err := k.folder.Login.Load(&k.memory); err != nil {
		k.o.Logger.Warn(logid.LoginReadFailed, logging.KeyError, err)
	}
	k.saved = k.memory
}

// recognise finds out whether the profile is the remembered one, and which
// snapshots are of its login. It says whether the profile is another one.
func (k *Keeper) recognise() (changed bool, err error) {
	stamp, err := k.folder.Stamp()
	if err != nil {
		return false, err
	}
	if known := k.memory; known.Stamp != stamp {
		k.memory, changed = known.of(stamp), true
		if !known.LinkedAt.IsZero() {
			k.o.Logger.Warn(logid.ProfileReplaced, logging.KeyDetail,
				"the profile that held the login was removed or replaced; nothing is known of the one that is there")
		}
	}
	found, err := k.backups()
	if err != nil {
		k.o.Logger.Warn(logid.BackupsListFailed, logging.KeyError, err)
	}
	k.copies = len(found) > 0
	if k.copies {
		if k.memory.SnapshotAt.IsZero() {
			k.memory.SnapshotAt = found[0].CreatedAt
		}
		k.memory.SnapshotVerifiedAt = slices.MaxFunc(found, func(a, b profile.Backup) int {
			return a.VerifiedAt.Compare(b.VerifiedAt)
		}).VerifiedAt
	}
	return changed, nil
}

func (k *Keeper) retire(why string, now time.Time) (string, error) {
	name, err := k.folder.Quarantine(why, now)
	k.memory = k.memory.without()
	if err != nil {
		// The page has emptied it, so it will do.
		k.o.Logger.Error(logid.ProfileQuarantineFailed, logging.KeyError, err)
		return "", fmt.Errorf("cannot move login away: %w", err)
	}
	k.quarantined(name, now)
	return name, nil
}

func (k *Keeper) quarantined(name string, now time.Time) {
	k.memory.Quarantined, k.memory.QuarantinedAt = name, now
	k.o.Logger.Info(logid.ProfileQuarantined, logging.KeyPath, name)
}

func (k *Keeper) erase() error {
	k.memory = Memory{}
	if err := k.folder.Erase(); err != nil {
		k.o.Logger.Error(logid.LoginEraseFailed, logging.KeyError, err)
		return fmt.Errorf("cannot erase login: %w", err)
	}
	k.o.Logger.Info(logid.LoginErased)
	return nil
}

// restore brings back the newest copy that opens, as far as that can be found out,
// and is whole. That it was begun is noted first: whatever happens then, it does not
// happen for ever.
func (k *Keeper) restore(ctx context.Context, s worker.Start, why string, now time.Time) {
	if why == whyNoStart && !k.profileIsToBlame(ctx, s) {
		return
	}
	found, err := k.backups()
	k.memory.Attempts++
	k.save()
	for _, copied := range found {
		if s.Older(copied.ChromeVersion) {
			k.o.Logger.Warn(logid.BackupSkipped, logging.KeyPath, copied.Name, logging.KeyDetail, "it was made with Chrome "+copied.ChromeVersion)
			continue
		}
		if _, fit := k.verify(ctx, copied); !fit {
			continue
		}
		name, restoreErr := k.folder.Restore(ctx, copied, why, now)
		if restoreErr == nil {
			k.quarantined(name, now)
			k.memory.RestoredAt, k.memory.RestoredFrom, k.memory.Attempts = now, copied.Name, 0
			k.memory.ReadyAt, k.memory.PersistedAt = copied.ReadyAt, copied.PersistedAt
			k.o.Logger.Warn(logid.LoginRestored, logging.KeyPath, copied.Name, logging.KeyReason, why)
			return
		}
		err = errors.Join(err, restoreErr)
		if ctx.Err() != nil {
			return // The next start decides again.
		}
	}
	k.memory.RestoredAt, k.memory.RestoredFrom = now, ""
	k.o.Logger.Error(logid.LoginRestoreFailed, logging.KeyReason, why, logging.KeyError, err)
}

// profileIsToBlame says whether Chrome starts on an empty profile, so that it is
// this one which keeps it from starting. What that Chrome leaves running is ended:
// nothing else may be below this process now.
func (k *Keeper) profileIsToBlame(ctx context.Context, s worker.Start) bool {
	err := chrome.Try(ctx, s.Chrome, nil)
	if killErr := proctree.Below().Kill(ctx); killErr != nil {
		k.o.Logger.Warn(logid.ProcessKillFailed, logging.KeyError, killErr)
	}
	if err != nil {
		k.o.Logger.Info(logid.ChromeTrialFailed, logging.KeyError, logging.Redact(err.Error()))
	}
	return err == nil
}

func (k *Keeper) prune() {
	pruned, err := k.folder.PruneCaches()
	for _, c := range pruned {
		k.o.Logger.Info(logid.CacheRemoved, logging.KeyPath, c.Path, "bytes", c.Bytes)
	}
	if err != nil {
		k.o.Logger.Warn(logid.CachesPruneFailed, logging.KeyError, err)
	}
}

// After implements worker.Hooks: it copies a profile that was closed cleanly
// while its login was usable.
func (k *Keeper) AfterStop(ctx context.Context, p *profile.Profile, end worker.Closing) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if end.Reason == reason.BrowserStartFailed {
		if k.starts++; k.starts >= startFailures {
			k.suspectProfile()
		}
	}
	if end.Clean && k.glimpse.ready && k.pending == leave && k.logout == nil && k.folder == p {
		k.backUp(ctx, end)
	}
}

// suspectProfile is called when Chrome does not start again and again. Whether
// the profile is to blame is found out in Before.
func (k *Keeper) suspectProfile() {
	k.starts = 0
	if k.pending == leave && k.copies && !k.memory.PersistedAt.IsZero() && k.memory.LoggedOutAt.IsZero() &&
		k.memory.mayRestore(k.o.Limits, k.o.Now()) {
		k.pending, k.why = restore, whyNoStart
	}
}
