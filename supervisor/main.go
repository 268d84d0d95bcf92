// Command supervisor is the service: it answers HTTP, owns the session's state,
// and keeps one worker with its Chrome alive.
package main

import (
	"os"
)

// version is set by the linker (see the Makefile).
var version = "devel"

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
