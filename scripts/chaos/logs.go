package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"session-manager/scripts/harness"
)

// logFaults hit what takes the log, and then Chrome: without a log, everything else must
// be as it is with one.
func logFaults() []fault {
	var terminal *harness.Terminal
	var reader *os.File
	return []fault{
		{name: "the log's terminal stopped, Chrome killed", expect: restarts, reasons: one("browser_crashed"),
			prepare: simply(func(h *hit) (err error) {
				if terminal, err = harness.OpenTerminal(); err != nil {
					return err
				}
				return h.logThrough(terminal.Slave, terminal.Master)
			}),
			inject: all(simply(func(*hit) error { return terminal.Type("\x13") }), toChrome(syscall.SIGKILL))},
		{name: "the log's reader gone, Chrome killed", expect: restarts, reasons: one("browser_crashed"),
			prepare: simply(func(h *hit) error {
				var writer *os.File
				var err error
				if reader, writer, err = os.Pipe(); err != nil {
					return err
				}
				return h.logThrough(writer, reader)
			}),
			inject: all(simply(func(*hit) error { return reader.Close() }), toChrome(syscall.SIGKILL))},
	}
}

// logThrough makes the service log to a terminal or pipe, from whose other end the log is
// copied until the fault is over.
func (s *stage) logThrough(to, from *os.File) error {
	log, err := os.OpenFile(filepath.Join(s.files.root, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.stderr = to
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(log, from) // it ends with an error, as one end is closed
	}()
	s.afterwards(func() error {
		err := to.Close()
		_ = from.Close() // the fault may have closed it
		<-copied
		return errors.Join(err, log.Close())
	})
	return nil
}
