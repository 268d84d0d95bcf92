package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// asleep is how long the machine has been suspended since it was booted. Go's
// monotonic clock stands still meanwhile, as does that of the page; WhatsApp's server,
// which ends a code's life, does not sleep.
func asleep() time.Duration {
	var all, awake unix.Timespec
	// These clocks exist on every Linux that Chrome runs on (clock_gettime(2)).
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	// Some time passes between the two looks.
	return time.Duration(all.Nano() - awake.Nano()).Round(time.Second)
}
