package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/doctor"
)

// How a check-up may end.
var (
	errNoChrome = errors.New("there is no Chrome that could be started")
	errFindings = errors.New("the service can't work like this")
)

// checkUp is the command doctor.
func checkUp(cfg *config.Config, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, address := cfg.Address()
	worst, err := doctor.Run(ctx, doctor.Options{
		Chrome: cfg.Chrome, ChromeArgs: cfg.ChromeArgs, Worker: cfg.Worker, Tokens: cfg.Tokens, URL: cfg.URL,
		Network: network, Address: address,
		Files: doctor.Files{APIKeys: cfg.APIKeyFile, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey, WebhookKey: cfg.WebhookKeyFile},
	}, stdout)
	switch {
	case err != nil:
		return err
	case worst == doctor.NoChrome:
		return errNoChrome
	case worst == doctor.Bad:
		return errFindings
	default:
		return nil
	}
}
