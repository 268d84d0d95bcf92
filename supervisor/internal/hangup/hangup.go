// Package hangup keeps SIGHUP from ending the process before it has a handler. It needs
// nothing but package syscall, so that Go initializes it before those that take long:
// of the packages whose dependencies are ready, the first by path comes first (The Go
// Programming Language Specification, Program initialization).
package hangup

import (
	"syscall"
	"unsafe"
)

// action is the kernel's struct sigaction of 64-bit machines, of which the first word is
// the handler (rt_sigaction(2)).
type action [4]uint64

const (
	ignored = 1 // SIG_IGN
	// maskSize is that of the kernel's sigset_t, in bytes.
	maskSize = 8
)

// inherited is how SIGHUP was handled at first: by Go, or ignored as under nohup(1).
var inherited = set(action{ignored})

// Handle lets Go handle SIGHUP again, unless it was ignored when the process was started.
// A handler must have been installed (signal.Notify), as without one SIGHUP ends a Go
// program.
func Handle() { set(inherited) }

func set(to action) (from action) {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGHUP),
		uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&from)), maskSize, 0, 0) //nolint:gosec // the kernel reads and writes two structs
	return from
}
