package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/worker"
)

// Workers is what a Manager asks of the worker instances.
type Workers interface {
	// RequestRestart ends the present instance.
	RequestRestart(ctx context.Context, w worker.RestartRequest) (time.Time, error)
	// LogOut ends the link through the page.
	LogOut(ctx context.Context) error
	// VerifyBackup opens the backup in folder in a Chrome of its own. Its error
	// matches worker.ErrBackupRejected when the backup does not open.
	VerifyBackup(ctx context.Context, folder string) error
}

// Options of a Manager. All but EraseMessages are required.
type Options struct {
	Limits Limits
	Logger *slog.Logger
	// Publish receives every change of the status, in order. It must not call back.
	Publish func(Status)
	// Now is the clock.
	Now func() time.Time
	// EraseMessages erases the outbox when the login is erased.
	EraseMessages func(ctx context.Context) error
}

// Manager looks after the login. Its methods may be called from any goroutine,
// except that those of worker.Hooks and Notice are for that of the worker.Manager.
type Manager struct {
	limits  Limits
	log     *slog.Logger
	now     func() time.Time
	workers Workers
	// eraseMessages is nil without an outbox.
	eraseMessages func(ctx context.Context) error

	mu           sync.Mutex
	journal      journal          // guarded by mu
	known                         // guarded by mu
	failedStarts int              // guarded by mu; starts of Chrome that failed in a row
	profile      *profile.Profile // guarded by mu; nil before the first start
}

var _ worker.Hooks = (*Manager)(nil)

// New returns a Manager that knows nothing until BeforeStart is called.
func New(workers Workers, o Options) *Manager {
	m := &Manager{
		limits: o.Limits, log: o.Logger, now: o.Now, workers: workers, eraseMessages: o.EraseMessages,
		journal: journal{limits: o.Limits, log: o.Logger, now: o.Now, publish: o.Publish},
	}
	m.journal.status.Store(&Status{})
	return m
}

// Hold implements worker.Hooks.
func (m *Manager) Hold(u worker.Urgency) time.Time {
	return m.limits.hold(m.journal.status.Load().Record, u)
}

// Notice follows the worker instances. Heartbeats are the clock by which decisions
// become due.
func (m *Manager) Notice(n worker.Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n := n.(type) {
	case worker.Spawning:
		m.page = page{}
		if m.pending.action != nothing { // It was decided on after BeforeStart.
			m.requestRestart(worker.RestartRequest{Reason: reason.Maintenance, Detail: "the profile is to be replaced", Urgency: worker.Immediately})
		}
	case worker.FromWorker:
		m.event(n.Event.Body, m.now())
	}
}

// event is called with mu held.
func (m *Manager) event(body rpc.EventBody, now time.Time) {
	switch b := body.(type) {
	case rpc.BrowserStarted:
		m.failedStarts = 0
	case rpc.PageObserved:
		before := m.record
		m.record, m.page = observe(m.record, m.page, b, now)
		m.journal.logChanges(before, m.record)
		m.journal.save(m.known)
	case rpc.Heartbeat:
		m.journal.report(m.known)
	}
	if m.logout != nil || m.pending.action != nothing {
		return
	}
	if a, why := decide(m.limits, m.record, m.page, m.kept, now); a != nothing {
		m.begin(plan{a, why}, now)
	}
}

// begin acts on a decision. It is called with mu held.
func (m *Manager) begin(p plan, now time.Time) {
	request := worker.RestartRequest{Reason: reason.Maintenance}
	switch p.action {
	case giveUp:
		m.log.Error(logid.LoginLost, logging.KeyDetail, "the login is missing from the profile although nobody logged out, and no backup of it can be restored")
		m.record = m.record.withoutLogin()
		m.record.LostAt = now
		m.journal.save(m.known)
		return
	case keep:
		m.keep()
		m.journal.save(m.known)
		return
	case backUp:
		m.record.BackupTriedAt = now
		request.Detail = "a backup of the login is due"
	case restore:
		m.pending = p
		request.Detail = "the login is lost; a backup of it is restored"
		// There is no login to disturb, and somebody may scan the QR at any moment.
		request.Urgency = worker.Immediately
	default:
		m.pending = p
		request.Detail = "the link was ended; the old login is moved to quarantine"
	}
	m.page.asked = true
	m.journal.save(m.known)
	m.requestRestart(request)
}

// requestRestart does not block.
func (m *Manager) requestRestart(r worker.RestartRequest) {
	if _, err := m.workers.RequestRestart(context.Background(), r); err != nil {
		m.log.Warn(logid.WorkerRestartFailed, logging.KeyError, err)
	}
}

// BeforeStart implements worker.Hooks: it does what is pending. If that fails it is
// only logged, as the present profile may still be usable. An error is returned only
// for what keeps Chrome from using the profile, or a lost login from being restored.
func (m *Manager) BeforeStart(ctx context.Context, p *profile.Profile, s worker.Start) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.profile != p {
		record, err := m.journal.load(p.Login)
		if err != nil {
			return err
		}
		m.profile, m.record = p, record
	}
	if err := m.identify(); err != nil {
		return err
	}
	todo := m.pending
	if m.overtaken() {
		todo = plan{}
	}
	m.pending = plan{}
	switch todo.action {
	case quarantine:
		m.logout.done(m.quarantine(ctx, todo.why))
	case erase:
		m.logout.done(LoggedOut{}, m.erase(ctx))
	case restore:
		if err := m.restore(ctx, s, todo.why); err != nil {
			m.pending = todo
			return err
		}
	}
	if err := m.identify(); err != nil {
		return err
	}
	m.pruneCaches()
	m.journal.save(m.known)
	return nil
}

// identify finds out whether the profile is the one in the record, and which backups
// there are of its login. It is called with mu held.
func (m *Manager) identify() error {
	adopted, err := m.profile.Adopt()
	if err != nil {
		return err
	}
	if adopted != "" {
		m.log.Info(logid.ProfileAdopted, logging.KeyPath, adopted, logging.KeyDetail, "another Chrome used this profile last; it is now called Default")
	}
	stamp, err := m.profile.Stamp()
	if err != nil {
		return err
	}
	if m.record.Stamp != stamp {
		if !m.record.LinkedAt.IsZero() {
			m.log.Warn(logid.ProfileReplaced, logging.KeyDetail,
				"the profile that held the login was removed or replaced; nothing is known about the present one")
		}
		m.record = m.record.forProfile(stamp)
		if m.pending.action != erase {
			m.pending = plan{} // It was about another profile.
		}
	}
	found, err := m.backups().list(m.record)
	if err != nil {
		m.log.Warn(logid.BackupsListFailed, logging.KeyError, err)
	}
	m.kept = kept{backup: len(found) > 0, quarantineFull: m.profile.QuarantineFull(m.now())}
	if m.kept.backup {
		m.record.BackupAt = first(m.record.BackupAt, found[0].CreatedAt)
		m.record.BackupVerifiedAt = slices.MaxFunc(found, func(a, b profile.Backup) int {
			return a.VerifiedAt.Compare(b.VerifiedAt)
		}).VerifiedAt
	}
	return nil
}

func (m *Manager) backups() backups {
	return backups{m.profile, m.workers, m.log, m.now}
}

// moveTime bounds the copying of a profile that can't be moved as a whole. How large it is
// depends on the page.
const moveTime = 2 * time.Minute

// quarantine is called with mu held.
func (m *Manager) quarantine(ctx context.Context, why string) (LoggedOut, error) {
	now := m.now()
	if m.kept.quarantineFull {
		m.keep()
		return LoggedOut{Detail: "The old login was not moved, as there is no room in admin.quarantine; the page has emptied it."}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	name, err := m.profile.Quarantine(bounded, m.record.former(why, now))
	m.record = m.record.withoutLogin()
	if err != nil {
		m.log.Error(logid.ProfileQuarantineFailed, logging.KeyError, err)
	}
	if name == "" {
		// The page has emptied the profile, so it can be used again.
		m.record.Quarantined, m.record.QuarantinedAt = "", now
		return LoggedOut{Detail: "The old login could not be moved to admin.quarantine (see profile_quarantine_failed in the log); the page has emptied it."}, nil
	}
	m.quarantined(name, now)
	return LoggedOut{Quarantined: name}, nil
}

// keep is called with mu held.
func (m *Manager) keep() {
	m.record = m.record.withoutLogin()
	m.log.Warn(logid.ProfileRetained, logging.KeyDetail,
		"the link was ended, but admin.quarantine is full, so the profile, which the page has emptied, stays in use")
}

func (m *Manager) quarantined(name string, now time.Time) {
	m.record.Quarantined, m.record.QuarantinedAt = name, now
	m.log.Info(logid.ProfileQuarantined, logging.KeyPath, name)
}

func (m *Manager) erase(ctx context.Context) error {
	m.record = Record{}
	err := m.profile.Erase(ctx)
	if m.eraseMessages != nil {
		err = errors.Join(err, m.eraseMessages(ctx))
	}
	if err != nil {
		m.log.Error(logid.LoginEraseFailed, logging.KeyError, err)
		return fmt.Errorf("%w: %w", ErrNotErased, err)
	}
	m.log.Info(logid.LoginErased)
	return nil
}

// restore brings back the newest usable backup. The attempt is saved first, so that
// one that kills the process is not repeated forever. An error means that this machine
// keeps a login that is missing from being restored, until that is fixed. It is called
// with mu held.
func (m *Manager) restore(ctx context.Context, s worker.Start, why string) error {
	b, now := m.backups(), m.now()
	if why == whyNoStart && !b.profileIsToBlame(ctx, s) {
		return nil
	}
	m.record.Attempts++
	m.journal.save(m.known)
	backup, moved, err := b.restoreNewest(ctx, m.record, s, why)
	switch {
	case moved != "":
		m.quarantined(moved, now)
		m.record.RestoredAt, m.record.RestoredFrom, m.record.Attempts = now, backup.Name, 0
		m.record.ReadyAt, m.record.PersistedAt = backup.ReadyAt, backup.PersistedAt
		m.log.Warn(logid.LoginRestored, logging.KeyPath, backup.Name, logging.KeyReason, why)
	case ctx.Err() != nil: // the next start decides again
	case err == nil, errors.Is(err, profile.ErrDamaged):
		m.record.RestoredAt, m.record.RestoredFrom = now, ""
		m.log.Warn(logid.LoginRestoreFailed, logging.KeyReason, why, logging.KeyError, err)
	case why == whyMissing:
		m.record.Attempts-- // It was none.
		return err
	default:
		m.log.Warn(logid.LoginRestoreFailed, logging.KeyReason, why, logging.KeyError, err)
	}
	return nil
}

func (m *Manager) pruneCaches() {
	pruned, err := m.profile.PruneCaches()
	for _, c := range pruned {
		m.log.Info(logid.CacheRemoved, logging.KeyPath, c.Path, "bytes", c.Bytes)
	}
	if err != nil {
		m.log.Warn(logid.CachesPruneFailed, logging.KeyError, err)
	}
}

// startFailures is how many starts of Chrome in a row must fail before the profile
// is suspected.
const startFailures = 3

// AfterStop implements worker.Hooks: it backs up a profile that was closed cleanly
// while its login was usable, and suspects one on which Chrome fails to start. Whether
// that profile is to blame is found out before the next start.
func (m *Manager) AfterStop(ctx context.Context, p *profile.Profile, end worker.Closing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end.Reason == reason.BrowserStartFailed {
		m.failedStarts++
	}
	if m.failedStarts >= startFailures {
		m.failedStarts = 0
		if m.pending.action == nothing && m.kept.backup && m.record.expected() && m.record.canRestore(m.now()) {
			m.pending = plan{restore, whyNoStart}
		}
	}
	if end.Clean && m.page.ready && m.pending.action == nothing && m.logout == nil && m.profile == p {
		m.backUp(ctx, end)
	}
}

// backupTime bounds the making of a backup, and stopBackupTime that at a stop.
const backupTime, stopBackupTime = 20 * time.Second, 5 * time.Second

// backUp makes a backup. One that the restart was for is verified; after any other
// end somebody waits for the next Chrome. It is called with mu held.
func (m *Manager) backUp(ctx context.Context, end worker.Closing) {
	making, bound := ctx, backupTime
	if end.Stopping {
		making, bound = context.WithoutCancel(ctx), stopBackupTime // ctx has ended
	}
	making, cancel := context.WithTimeout(making, bound)
	defer cancel()
	b := m.backups()
	backup, ok := b.create(making, m.record, end.ChromeVersion)
	took := m.now().Sub(backup.CreatedAt)
	if ok && end.Reason == reason.Maintenance {
		ok = b.verifyNew(ctx, &backup)
	}
	if !ok {
		return
	}
	b.thin()
	m.record.BackupAt, m.kept.backup = backup.CreatedAt, true
	if backup.Verified() {
		m.record.BackupVerifiedAt = backup.VerifiedAt
	}
	m.log.Info(logid.BackupCreated, slog.String(logging.KeyPath, backup.Name), logging.Millis("took_ms", took), slog.Bool("verified", backup.Verified()))
	m.journal.save(m.known)
}
