package doctor

import (
	"context"
	"time"

	"session-manager/supervisor/internal/login"
)

// staleCopy is how old the last copy of a login may be before that is worth a
// word: one is made each night.
const staleCopy = 3 * 24 * time.Hour

// checkLogin tells what is known of the login, and how well it is kept.
func (o Options) checkLogin(context.Context) Finding {
	known, err := login.LoadRecord(o.Tokens)
	if err != nil {
		return warning("what is known of it can't be read: %v", err).do("let this user read %s", o.Tokens)
	}
	day := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
	switch {
	case !known.LostAt.IsZero():
		return warning("it was lost on %s, and no copy could be brought back", day(known.LostAt)).do("link the phone again")
	case known.LinkedAt.IsZero(), !known.LoggedOutAt.IsZero():
		return good("no phone is linked")
	case known.BackupAt.IsZero():
		return warning("linked on %s; there is no copy of it yet", day(known.LinkedAt)).
			do("one is made at the next stop or restart, and at --backup-hour")
	case time.Since(known.BackupAt) > staleCopy:
		return warning("linked on %s; its last copy is of %s", day(known.LinkedAt), day(known.BackupAt)).
			do("see the log for backup_create_failed and backup_rejected, and --backup-hour")
	}
	verified := "none was opened on trial yet"
	if at := known.BackupVerifiedAt; !at.IsZero() {
		verified = "one was opened on trial on " + day(at)
	}
	return good("linked on %s, last copied on %s; of its copies %s", day(known.LinkedAt), day(known.BackupAt), verified)
}
