package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/doctor"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
)

const exitInternal = 70

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
	return exitInternal
}

// explainListen adds to an error of listening what to do about it.
func explainListen(address string, err error) error {
	_, port, splitErr := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && splitErr == nil:
		return fmt.Errorf("--listen: port %s is already in use (see ss -ltnp 'sport = :%s'); stop that program or choose another port: %w", port, port, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--listen: %s is already in use; stop the program that listens there or choose another path: %w", address, err)
	}
	return fmt.Errorf("--listen: cannot listen on %s: %w", address, err)
}
