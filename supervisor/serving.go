package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/metrics"
	"session-manager/supervisor/internal/override"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/webhook"
)

// serving is what the API is served with: the address, who may ask, and files
// that may change meanwhile.
type serving struct {
	listener net.Listener
	manager  *systemd.Manager
	keys     apikey.File
	reloads  []reload
}

// reload reads files again when they have changed.
type reload struct {
	what  string
	files watch.Set
	read  func() error
}

// openServing reads the keys and the certificate, and listens.
func openServing(ctx context.Context, cfg *config.Config, manager *systemd.Manager, log *slog.Logger) (*serving, error) {
	s := &serving{manager: manager}
	if path := cfg.APIKeyFile; path != "" {
		files, read := watch.Look(path), func() error { return s.keys.Load(path) }
		if err := read(); err != nil {
			return nil, &config.Problem{Name: "--api-key-file", Value: path, Allowed: "it must hold usable keys: " + err.Error()}
		}
		s.reloads = append(s.reloads, reload{"api_keys", files, read})
	}
	var certificate *listen.Certificate
	if cfg.TLSCert != "" {
		var err error
		files := watch.Look(cfg.TLSCert, cfg.TLSKey)
		if certificate, err = listen.LoadCertificate(cfg.TLSCert, cfg.TLSKey); err != nil {
			return nil, &config.Problem{Name: "--tls-cert", Value: cfg.TLSCert, Allowed: "it must be usable with --tls-key: " + err.Error()}
		}
		s.reloads = append(s.reloads, reload{"certificate", files, certificate.Reload})
	} else if cfg.Exposed() {
		log.Warn(logid.KeysExposed, logging.KeyDetail, "other machines reach the API without TLS; set --tls-cert, or use a reverse proxy")
	}
	listener, err := openListener(ctx, cfg, manager, log)
	if err != nil {
		return nil, err
	}
	if certificate != nil {
		listener = certificate.Listener(listener)
	}
	s.listener = listener
	return s, nil
}

// openListener takes the socket that systemd hands over, or opens one and hands
// that to systemd for the successor.
func openListener(ctx context.Context, cfg *config.Config, manager *systemd.Manager, log *slog.Logger) (net.Listener, error) {
	listener, err := manager.Listener(cfg.Address())
	if err != nil {
		return nil, err
	}
	if listener != nil {
		if err := cfg.ListenOn(listener.Addr()); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		return listen.Limited(listener), nil
	}
	network, address := cfg.Address()
	if listener, err = listen.Open(ctx, network, address); err != nil {
		return nil, explainListen(cfg.Listen, err)
	}
	if err := manager.Keep(listener); err != nil {
		log.Warn(logid.SocketStoreFailed, logging.KeyError, err)
	}
	return listen.Limited(listener), nil
}

// settingsReload takes up a changed --config file as far as that can be done
// while the service runs, and names what has to wait for a restart.
func settingsReload(running *config.Config, args, environ []string, level *slog.LevelVar, log *slog.Logger) reload {
	return reload{"settings", watch.Look(running.File), func() error {
		next, _, err := config.Load(args, environ, io.Discard, version)
		if err != nil {
			return err
		}
		level.Set(next.Level())
		changed, err := config.Changed(running, next)
		if err != nil {
			return err
		}
		for _, name := range changed {
			if name != "log-level" {
				log.Warn(logid.SettingDeferred, "setting", name)
			}
		}
		return nil
	}}
}

// selectorsReload reads the file for the first time, so that the first worker
// gets it, and hands each newer one to the worker that runs.
func (s *service) selectorsReload(file *override.File) reload {
	files := watch.LookOptional(file.Path())
	if err := file.Load(); err != nil {
		s.log.Error(logid.SelectorsRejected, logging.KeyError, err)
	} else if len(file.State().File) > 0 {
		s.log.Info(logid.SelectorsLoaded, "file", file.Path())
	}
	return reload{"selectors", files, func() error {
		if err := file.Load(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
		defer cancel()
		return s.workers.SetSelectors(ctx)
	}}
}

// learnTimeout bounds the handing over of a file to the worker.
const learnTimeout = 10 * time.Second

// watch keeps to one set of files until ctx ends.
func (r reload) watch(ctx context.Context, log *slog.Logger) {
	err := r.files.Watch(ctx, func() {
		if err := r.read(); err != nil {
			log.Error(logid.FileReloadFailed, "what", r.what, logging.KeyError, err)
			return
		}
		log.Info(logid.FileReloaded, "what", r.what)
	})
	if err != nil {
		log.Warn(logid.FileWatchFailed, "what", r.what, logging.KeyError, fmt.Errorf("changes need a restart: %w", err))
	}
}

// newWebhook returns the sender of --webhook, or nil when none is set.
func newWebhook(cfg *config.Config, log *events.Log, meter *metrics.Metrics, logger *slog.Logger) (*webhook.Sender, error) {
	if cfg.Webhook == "" {
		return nil, nil
	}
	o := webhook.Options{URL: cfg.Webhook, Events: log, Count: meter.Delivery, Logger: logger, Version: version}
	if cfg.WebhookKeyFile != "" {
		key, err := webhook.ReadKey(cfg.WebhookKeyFile)
		if err != nil {
			return nil, &config.Problem{Name: "--webhook-key-file", Value: cfg.WebhookKeyFile, Allowed: "it must hold a usable key: " + err.Error()}
		}
		o.Key = key
	}
	return webhook.New(o), nil
}
