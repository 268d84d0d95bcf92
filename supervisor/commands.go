package main

import (
	"context"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/override"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// commands is who the API passes its commands to.
type commands struct {
	*worker.Manager
	keeper  *login.Manager
	session *session.Session
}

// Pair implements api.Commander. The code goes to the caller alone, its expiry to
// everybody.
func (c commands) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	pairing, err := c.Manager.Pair(ctx, phone)
	if err == nil {
		c.session.Paired(time.Now().Add(pairing.TTL))
	}
	return pairing, err
}

// LogOut implements api.Commander.
func (c commands) LogOut(ctx context.Context, purge bool) (string, error) {
	return c.keeper.LogOut(ctx, purge)
}

// newWorkers makes who runs the workers, and who looks after their login. Each
// notice goes to all who follow them, in one order.
func (s *service) newWorkers(cfg *config.Config, runtimeDir string, override *override.File) *login.Manager {
	group, err := proctree.Delegated()
	s.log.Info(logid.ContainmentSelected, "control_group", err == nil, logging.KeyPath, group)
	s.workers = worker.New(worker.Options{
		ControlGroup: group,
		Tokens:       cfg.Tokens, Worker: cfg.Worker, Chrome: cfg.Chrome, ChromeArgs: cfg.ChromeArgs, URL: cfg.URL,
		Selectors:  func() []byte { return override.State().File },
		RuntimeDir: runtimeDir, MemoryLimit: cfg.MemoryBytes(), Logger: s.log,
		DeadlineFactor: rpc.DeadlineFactor(cfg.DeadlineFactor),
		Timings:        worker.DefaultTimings(), Limits: restart.DefaultLimits(),
	})
	keeper := login.New(s.workers, login.Options{
		Limits: login.Limits{SettleTime: cfg.SettleTime, BackupHour: cfg.QuietHour()}, Logger: s.log,
		Publish: s.session.SetLogin, Now: time.Now,
	})
	for _, observe := range []func(worker.Notice){s.crashes.Notice, s.trace.Notice, keeper.Notice, s.session.Notify} {
		s.workers.Subscribe(observe)
	}
	s.hooks = keeper
	return keeper
}
