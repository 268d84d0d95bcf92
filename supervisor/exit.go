package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/client"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/doctor"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
)

const (
	exitNotWorking = 1
	exitInternal   = 70
)

// exitCode returns the exit code for what stopped the program, as in sysexits.h where it
// has one: that of the first error in the table that err is. The service does not exit
// because of a missing or broken Chrome: the API stays up and reports it.
func exitCode(err error) int {
	if stopped, ok := errors.AsType[stopError](err); ok {
		return exitSignal + int(stopped.signal)
	}
	for _, e := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{config.ErrDone, 0},
		{doctor.ErrFindings, 1},
		{config.ErrUsage, 64},
		{config.ErrInsecure, 77},
		{config.ErrSetting, 78},
		{client.ErrFailed, 1},
		{client.ErrRefused, 65},
		{client.ErrUnreachable, 69},
		{client.ErrLater, 75},
		{client.ErrKey, 77},
		{syscall.EADDRINUSE, 69},
		{syscall.EADDRNOTAVAIL, 69},
		{archive.ErrPassphrase, 65},
		{archive.ErrDamaged, 65},
		{archive.ErrUnreadable, 65},
		{profile.ErrDamaged, 65},
		{syscall.EACCES, 78},
		{login.ErrNothing, 1},
		{profile.ErrNoLogin, 1},
		{login.ErrExists, 73},
		{profile.ErrHeld, 75},
	} {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	if reason.Of(err, "") != "" {
		return exitNotWorking // of this machine, and with an explanation
	}
	return exitInternal
}

// explainListen adds to an error of listening which setting it is about, and what to do.
func explainListen(cfg *config.Config, err error) error {
	network, address := cfg.Address()
	_, port, _ := net.SplitHostPort(address)
	setting := cfg.NameOf("--listen")
	switch {
	case !errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w", setting, err)
	case network == "unix":
		return fmt.Errorf("%s: %w; stop the program that listens there or choose another path", setting, err)
	}
	return fmt.Errorf("%s: port %s is already in use (see ss -ltnp 'sport = :%s'); stop that program or choose another port: %w", setting, port, port, err)
}
