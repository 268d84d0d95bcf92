package preflight

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/watch"
)

// Binary is what a worker is run from.
type Binary struct {
	// Path is what is executed.
	Path string
	File watch.Signature
	// Warning is why this is the last binary that worked, and not the present one; empty
	// if it is the present one.
	Warning string
}

// binaries decides which binary is run.
type binaries struct {
	// good is the last one that answered the handshake, held open, so that it stays
	// regardless of what is done to its name. A binary that runs can be replaced, but
	// not written to.
	good     *os.File
	goodFile watch.Signature
	// rejected did not answer, and why explains it.
	rejected watch.Signature
	why      string
}

// Keep remembers the binary b of the process pid as one that works. It does nothing for a
// worker that is started by a script: the process runs another file.
func (c *Checker) Keep(b Binary, pid int) error {
	if c.binaries.good != nil && c.binaries.goodFile == b.File {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return fmt.Errorf("cannot keep worker binary: %w", err)
	}
	if info, err := f.Stat(); err != nil || watch.SignatureOf(info) != b.File {
		return f.Close()
	}
	c.Close()
	c.binaries.good, c.binaries.goodFile = f, b.File
	return nil
}

// Reject keeps the worker's file from being used until it changes, if there is another
// one that works.
func (c *Checker) Reject(file watch.Signature, why string) {
	c.binaries.rejected, c.binaries.why = file, why
}

// Accept lets the worker's file be used again.
func (c *Checker) Accept() { c.binaries.rejected, c.binaries.why = watch.Signature{}, "" }

// Close frees what Keep holds.
func (c *Checker) Close() {
	if c.binaries.good != nil {
		_ = c.binaries.good.Close()
	}
}

// binary returns the present binary if it can be used, and else the last one that worked.
func (c *Checker) binary() (Binary, error) {
	present := Binary{Path: c.Worker, File: watch.Sign(c.Worker)}
	err := CheckWorker(c.Worker)
	why := c.binaries.why
	switch {
	case err != nil:
		why = err.Error()
	case present.File != c.binaries.rejected:
		return present, nil
	}
	if good := c.binaries.good; good != nil {
		if info, statErr := good.Stat(); statErr == nil && watch.SignatureOf(info) == c.binaries.goodFile {
			return Binary{Path: fmt.Sprintf("/proc/self/fd/%d", good.Fd()), File: c.binaries.goodFile, Warning: why}, nil
		}
	}
	return present, err
}

// CheckWorker checks that the worker's binary can be executed. Whether it is a
// worker of our version shows at the handshake.
func CheckWorker(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		if accessErr := unix.Access(path, unix.X_OK); accessErr != nil {
			err = fmt.Errorf("cannot execute %s: %w", path, accessErr)
		}
	}
	if err != nil {
		return reason.Wrap(reason.WorkerUnusable, fmt.Errorf("cannot use worker binary: %w", err))
	}
	return nil
}
