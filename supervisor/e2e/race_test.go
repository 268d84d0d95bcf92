//go:build race

package e2e

// The binaries are built with the race detector when the tests are.
const raceEnabled = true
