package harness

import (
	"errors"
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

// Resize gives it another size, and notifies the programs in its foreground.
func (t *Terminal) Resize(columns, rows uint16) error {
	return unix.IoctlSetWinsize(int(t.Slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
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

// FullPipe returns the ends of a pipe into which nothing fits, even if its writer makes it
// larger.
func FullPipe() (reader, writer *os.File, err error) {
	reader, writer, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	raw, err := writer.SyscallConn()
	if err == nil {
		var filled error
		err = raw.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) // the largest for most users
			for _, size := range []int{1 << 12, 1} {
				for filled = nil; filled == nil; {
					_, filled = unix.Write(int(fd), make([]byte, size))
				}
			}
		})
		if err == nil && !errors.Is(filled, unix.EAGAIN) {
			err = filled
		}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot fill the pipe: %w", err), reader.Close(), writer.Close())
	}
	return reader, writer, nil
}
