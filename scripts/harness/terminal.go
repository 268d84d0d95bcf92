package harness

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Terminal is a terminal without a window. Nobody reads what is written to Slave until
// Master is read.
type Terminal struct{ Master, Slave *os.File }

// OpenTerminal opens one (pty(7)). The caller closes it.
func OpenTerminal() (*Terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	var slave *os.File
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	return &Terminal{master, slave}, nil
}

// Type presses keys: \x13 is Ctrl-S, which stops the output, and \x11 is Ctrl-Q.
func (t *Terminal) Type(keys string) error {
	if keys == "" {
		return nil
	}
	_, err := t.Master.WriteString(keys)
	return err
}

// Close closes both ends.
func (t *Terminal) Close() {
	_ = t.Slave.Close()
	_ = t.Master.Close()
}
