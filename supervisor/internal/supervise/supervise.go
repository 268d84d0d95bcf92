// Package supervise owns the worker's process, one generation after the other.
package supervise
