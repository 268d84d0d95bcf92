package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/webhook"
	"session-manager/supervisor/internal/worker"
)

// mailboxes are what keeps messages, in either direction.
type mailboxes struct {
	*outbox.Outbox
	inbox *inbox.Inbox
	// sends and receives are what --messages allows.
	sends, receives bool
}

// newMailboxes returns box and the inbox next to it. The webhook may be nil.
func newMailboxes(cfg *config.Config, box *outbox.Outbox, folder *profile.Profile, workers *worker.Manager, hook *webhook.Sender, changes *events.Log, meter *metrics.Metrics, log *slog.Logger) *mailboxes {
	m := &mailboxes{Outbox: box, sends: cfg.Messages != "off", receives: cfg.Messages == "both"}
	limits := inbox.DefaultLimits()
	limits.KeepText = cfg.MessageTextRetention
	limits.Keep = max(limits.Keep, limits.KeepText)
	sizes := fileLimits(cfg)
	sizes.Replace = true
	o := inbox.Options{
		Path: profile.InboxPath(folder), Files: media.New(profile.ReceivedMedia(folder), sizes), Logger: log, Limits: limits, Sent: m.sent, Opened: changes.Inbox,
		Changed: func(e inbox.Event) {
			meter.Received(string(e.Kind))
			changes.Received(e)
		},
		Unannounced: func() { meter.Received("unannounced") },
	}
	if m.receives {
		o.Worker = workers
	}
	if hook != nil {
		o.Report = func(ctx context.Context, account string, all []inbox.Event) error {
			reports := make([]events.Report, len(all))
			for i, e := range all {
				reports[i] = events.ReportOfReceived(account, e)
			}
			return hook.Keep(ctx, rpc.Account{}, reports)
		}
	}
	m.inbox = inbox.New(o)
	return m
}

// sent reports whether this service has sent a message.
func (m *mailboxes) sent(id rpc.MessageID) (bool, error) {
	_, err := m.Message(id)
	if errors.Is(err, outbox.ErrUnknownMessage) {
		return false, nil
	}
	return err == nil, err
}

// Notice follows the worker instances.
func (m *mailboxes) Notice(n worker.Notice) {
	if m.sends {
		m.Outbox.Notice(n)
	}
	m.inbox.Notice(n)
}

// Run has messages sent and received until ctx ends.
func (m *mailboxes) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { m.inbox.Run(ctx) })
	m.Outbox.Run(ctx)
	loops.Wait()
}

// Purge erases every message.
func (m *mailboxes) Purge(ctx context.Context) error {
	return errors.Join(m.Outbox.Purge(ctx), m.inbox.Purge(ctx))
}
