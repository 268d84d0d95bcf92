package login

import (
	"context"
	"errors"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// logout is one by command. Those who ask for another one meanwhile wait for it.
type logout struct {
	purge  bool          // guarded by the Manager's mu
	over   bool          // guarded by the Manager's mu
	closed chan struct{} // closed when it is over; then name and err are valid
	name   string
	err    error
}

// done is called with the Manager's mu held. It may be called on nil, and more than
// once: the first outcome counts.
func (o *logout) done(name string, err error) {
	if o == nil || o.over {
		return
	}
	o.name, o.err, o.over = name, err, true
	close(o.closed)
}

func (o *logout) wait(ctx context.Context) (string, error) {
	select {
	case <-o.closed:
		return o.name, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// LogOut ends the link through the page, closes Chrome cleanly, and moves the login
// to quarantine or, if purge is set, erases it with its backups and the quarantine.
// It returns when that is done, with the name of the folder in quarantine. A second
// caller waits for the first one's logout. Errors match those of worker.Manager's
// LogOut; without a link, purge still erases what there is.
func (m *Manager) LogOut(ctx context.Context, purge bool) (string, error) {
	m.mu.Lock()
	if running := m.logout; running != nil {
		running.purge = running.purge || purge
		m.mu.Unlock()
		return running.wait(ctx)
	}
	o := &logout{purge: purge, closed: make(chan struct{})}
	m.logout = o
	m.mu.Unlock()
	defer m.endLogout(o)

	if err := m.planLogout(o, m.workers.LogOut(ctx)); err != nil {
		return "", err
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
		o.done("", err)
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
	m.journal.save(m.record)
	return nil
}

func (m *Manager) endLogout(o *logout) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.done("", context.Canceled)
	m.logout = nil
}
