package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"

	"session-manager/shared/logging"
	"session-manager/shared/selectors"
	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/listen"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/systemd"
	"session-manager/supervisor/internal/watch"
	"session-manager/supervisor/internal/worker"
)

// files are those that may change while the service runs. Files that are not set
// are never loaded.
type files struct {
	log         *slog.Logger
	keys        *watch.File[*apikey.Keys]
	certificate *watch.File[*tls.Certificate]
	selectors   *watch.File[[]byte]
}

// openFiles reads the files that are set. Without its keys and its certificate the
// service must not run; without its selectors it uses the built-in ones.
func openFiles(cfg *config.Config, log *slog.Logger) (*files, error) {
	f := &files{
		log: log, keys: apikey.Open(cfg.APIKeyFile), certificate: listen.Certificate(cfg.TLSCert, cfg.TLSKey),
		selectors: watch.New(func(contents [][]byte) ([]byte, error) {
			if contents[0] == nil {
				return nil, nil
			}
			_, err := selectors.Parse(contents[0])
			return contents[0], err
		}, cfg.Selectors).Optional(),
	}
	if cfg.APIKeyFile != "" {
		if err := f.keys.Load(); err != nil {
			return nil, &config.Problem{Name: "--api-key-file", Allowed: err.Error()}
		}
	}
	if cfg.TLSCert != "" {
		if err := f.certificate.Load(); err != nil {
			return nil, &config.Problem{Name: "--tls-cert and --tls-key", Allowed: err.Error()}
		}
	} else if cfg.Exposed() {
		log.Warn(logid.KeysExposed, logging.KeyDetail, "other machines reach the API without TLS; set --tls-cert, or use a reverse proxy")
	}
	if cfg.Selectors != "" {
		if err := f.selectors.Load(); err != nil {
			log.Error(logid.SelectorsRejected, logging.KeyError, err)
		} else if f.selectors.Value() != nil {
			log.Info(logid.SelectorsLoaded, logging.KeyPath, cfg.Selectors)
		}
	}
	return f, nil
}

// watch reads changed files again until ctx ends, and hands new selectors to the
// worker.
func (f *files) watch(ctx context.Context, workers *worker.Manager) {
	report := func(what string, err error) {
		if err != nil {
			f.log.Error(logid.FileReloadFailed, "what", what, logging.KeyError, err)
			return
		}
		f.log.Info(logid.FileReloaded, "what", what)
	}
	var loops sync.WaitGroup
	loops.Go(func() { f.keys.Watch(ctx, func(err error) { report("api_keys", err) }) })
	loops.Go(func() { f.certificate.Watch(ctx, func(err error) { report("certificate", err) }) })
	loops.Go(func() {
		f.selectors.Watch(ctx, func(err error) {
			if err == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectorsTimeout)
				defer cancel()
				err = workers.SetSelectors(ctx)
			}
			report("selectors", err)
		})
	})
	loops.Wait()
}

// openListener takes the socket that systemd hands over, or opens one and hands
// that to systemd for the next process.
func openListener(ctx context.Context, cfg *config.Config, manager *systemd.Manager, files *files, log *slog.Logger) (net.Listener, error) {
	listener, err := manager.Listener(cfg.Address())
	if err != nil {
		return nil, err
	}
	if listener != nil {
		if err := cfg.ListenOn(listener.Addr()); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	} else {
		network, address := cfg.Address()
		if listener, err = listen.Open(ctx, network, address); err != nil {
			return nil, explainListen(cfg.Listen, err)
		}
		if err := manager.Keep(listener); err != nil {
			log.Warn(logid.SocketStoreFailed, logging.KeyError, err)
		}
	}
	listener = listen.Limited(listener)
	if cfg.TLSCert != "" {
		listener = listen.TLS(listener, files.certificate)
	}
	return listener, nil
}
