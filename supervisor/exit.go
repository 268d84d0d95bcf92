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

// Exit codes, as in sysexits.h where it has one. The service does not exit because of a
// missing or broken Chrome: the API stays up and reports it.
const (
	exitClean     = 0
	exitFindings  = 1 // of the command doctor
	exitUsage     = 64
	exitBadData   = 65 // of the command session import: a bad file or passphrase
	exitNoChrome  = 66 // of the command doctor alone
	exitInUse     = 69 // the address of --listen is already in use
	exitInternal  = 70
	exitNotMade   = 73 // of the command session export: the file exists
	exitHeld      = 75 // another supervisor holds the tokens folder
	exitInsecure  = 77
	exitBadConfig = 78
)

// exitCode returns the exit code for what stopped the program: that of the first
// error in the table that err is.
func exitCode(err error) int {
	for _, e := range []struct {
		err  error
		code int
	}{
		{nil, exitClean},
		{config.ErrDone, exitClean},
		{doctor.ErrNoChrome, exitNoChrome},
		{doctor.ErrFindings, exitFindings},
		{config.ErrUsage, exitUsage},
		{config.ErrInsecure, exitInsecure},
		{config.ErrSetting, exitBadConfig},
		{syscall.EADDRINUSE, exitInUse},
		{syscall.EADDRNOTAVAIL, exitBadConfig},
		{syscall.EACCES, exitBadConfig},
		{archive.ErrPassphrase, exitBadData},
		{archive.ErrDamaged, exitBadData},
		{profile.ErrDamaged, exitBadData},
		{login.ErrNothing, exitFindings},
		{login.ErrExists, exitNotMade},
		{profile.ErrHeld, exitHeld},
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
