package main

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile"
)

func TestExitCodeIsThatOfTheCause(t *testing.T) {
	for want, err := range map[int]error{
		0:              nil,
		exitNotWorking: reason.Wrap(reason.ProfileUnwritable, errors.New("the folder is a link to nowhere")),
		exitInternal:   errors.New("unexpected"),
		69:             fmt.Errorf("--listen: %w", syscall.EADDRINUSE),
		75:             reason.Wrap(reason.ProfileInUse, profile.ErrHeld),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
}
