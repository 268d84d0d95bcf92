package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
)

// Exit codes, after sysexits.h where it has one. A missing or broken Chrome is
// none of the service's: the API stays up and tells.
const (
	exitClean     = 0
	exitFindings  = 1 // of the command doctor
	exitUsage     = 64
	exitBadData   = 65 // of the command session import: a bad file or passphrase
	exitNoChrome  = 66 // of the command doctor alone
	exitInUse     = 69 // the address of --listen is taken
	exitInternal  = 70
	exitNotMade   = 73 // of the command session export: the file exists
	exitHeld      = 75 // another supervisor holds the tokens folder
	exitInsecure  = 77
	exitBadConfig = 78
)

// exitCode maps what stopped the service to its exit code.
func exitCode(err error) int {
	var p *config.Problem
	switch {
	case err == nil, errors.Is(err, config.ErrDone):
		return exitClean
	case errors.Is(err, errNoChrome):
		return exitNoChrome
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.Is(err, config.ErrUsage):
		return exitUsage
	case errors.As(err, &p) && p.Insecure:
		return exitInsecure
	case errors.As(err, &p):
		return exitBadConfig
	case errors.Is(err, syscall.EADDRINUSE):
		return exitInUse
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EACCES):
		return exitBadConfig
	case errors.Is(err, archive.ErrPassphrase), errors.Is(err, archive.ErrDamaged), errors.Is(err, profile.ErrDamaged):
		return exitBadData
	case errors.Is(err, login.ErrNothing):
		return exitFindings
	case errors.Is(err, login.ErrExists):
		return exitNotMade
	case errors.Is(err, profile.ErrHeld):
		return exitHeld
	default:
		return exitInternal
	}
}

// explainListen says what to do about an address that can't be listened on.
func explainListen(address string, err error) error {
	_, port, splitErr := net.SplitHostPort(address)
	if errors.Is(err, syscall.EADDRINUSE) && splitErr == nil {
		return fmt.Errorf("--listen: %s is taken by another program; stop that one (ss -ltnp 'sport = :%s' shows it) "+
			"or choose another port: %w", address, port, err)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--listen: %s is taken; stop the program that listens there, or choose another path: %w", address, err)
	}
	return fmt.Errorf("--listen: %s can't be listened on: %w", address, err)
}
