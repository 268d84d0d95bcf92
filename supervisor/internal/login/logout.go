package login

import (
	"context"
	"errors"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// LoggedOut is what became of the login on disk once the link was ended.
type LoggedOut struct {
	// Quarantined is the name of its folder in quarantine, empty if it is not there.
	Quarantined string
	// Detail explains to a person why it is not.
	Detail string
	// Pending means that it is still being moved or erased.
	Pending bool
}

// ErrNotErased means that the link was ended, but something of the login is still on disk.
var ErrNotErased = errors.New("the login could not be erased")

// logout is one by command. Those who ask for another one meanwhile wait for it.
type logout struct {
	purge bool // guarded by the Manager's mu
	over  bool // guarded by the Manager's mu
	// unlinked is closed when the link has been ended.
	unlinked chan struct{}
	closed   chan struct{} // closed when it is over; then result and err are valid
	result   LoggedOut
	err      error
}

// done is called with the Manager's mu held. It may be called on nil, and more than
// once: the first outcome counts.
func (o *logout) done(result LoggedOut, err error) {
	if o == nil || o.over {
		return
	}
	o.result, o.err, o.over = result, err, true
	close(o.closed)
}

// wait waits for the outcome. When ctx ends after the link was ended, that is one.
func (o *logout) wait(ctx context.Context) (LoggedOut, error) {
	select {
	case <-o.closed:
		return o.result, o.err
	case <-ctx.Done():
		return o.soFar(ctx.Err())
	}
}

// soFar is the outcome if nobody can wait any longer because of err.
func (o *logout) soFar(err error) (LoggedOut, error) {
	select {
	case <-o.unlinked:
		return LoggedOut{Pending: true, Detail: "The old login is still being put away; GET /session shows what the service is busy with."}, nil
	default:
		return LoggedOut{}, err
	}
}

// LogOut ends the link through the page, closes Chrome cleanly, and moves the login
// to quarantine or, if purge is set, erases it with its backups and the quarantine.
// It returns when that is done, or when ctx has ended. A second
// caller waits for the first one's logout. Errors match those of worker.Manager's
// LogOut, or ErrNotErased; without a link, purge still erases what there is.
func (m *Manager) LogOut(ctx context.Context, purge bool) (LoggedOut, error) {
	m.mu.Lock()
	if running := m.logout; running != nil {
		running.purge = running.purge || purge
		if purge && m.pending.action == quarantine {
			m.pending.action = erase
		}
		m.mu.Unlock()
		return running.wait(ctx)
	}
	o := &logout{purge: purge, unlinked: make(chan struct{}), closed: make(chan struct{})}
	m.logout = o
	m.mu.Unlock()
	defer m.endLogout(o)

	if err := m.planLogout(o, m.workers.LogOut(ctx)); err != nil {
		return LoggedOut{}, err
	}
	m.requestRestart(worker.RestartRequest{Reason: reason.Maintenance, Detail: "the session was logged out by command", Urgency: worker.Immediately})
	return o.wait(ctx)
}

// planLogout makes BeforeStart move or erase the login, unless the page failed to log
// out with err.
func (m *Manager) planLogout(o *logout, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && (!o.purge || !errors.Is(err, rpc.ErrNotLinked)) {
		o.done(LoggedOut{}, err)
		return err
	}
	m.pending = plan{quarantine, whyLoggedOut}
	if o.purge {
		m.pending.action = erase
	}
	if !m.record.LinkedAt.IsZero() {
		m.record.LoggedOutAt = m.now()
	}
	m.page.asked = true
	m.journal.save(m.known)
	close(o.unlinked)
	return nil
}

func (m *Manager) endLogout(o *logout) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.done(o.soFar(context.Canceled))
	m.logout = nil
	m.journal.save(m.known)
}
