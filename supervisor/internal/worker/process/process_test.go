package process

import (
	"fmt"
	"syscall"
	"testing"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/restart"
)

func TestMachinesLimitsAreNotTheWorkersFault(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if got := reasonOf(fmt.Errorf("cannot start worker: %w", err)); got != reason.ResourcesExhausted || restart.Classify(got) != restart.Transient {
			t.Errorf("%v is %s", err, got)
		}
	}
	if got := reasonOf(syscall.ENOEXEC); got != reason.WorkerUnusable {
		t.Errorf("a broken binary is %s", got)
	}
}
