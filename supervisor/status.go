package main

import (
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/systemd"
)

// toldToSystemd is what systemctl status shows, and what the watchdog asks.
func toldToSystemd(s *session.Session) systemd.Session {
	return systemd.Session{
		Changed: func() (string, <-chan struct{}) {
			snapshot, changed := s.Changed()
			return describeState(snapshot), changed
		},
		Alive: s.Alive,
	}
}

// describeState is the state, and why it is what it is.
func describeState(s *session.Snapshot) string {
	if s.Reason.Code == "" {
		return string(s.State)
	}
	return string(s.State) + ": " + s.Reason.Message
}
