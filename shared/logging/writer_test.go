package logging_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/shared/logging"
)

// patience bounds every wait. It only matters when something is broken.
const patience = time.Minute

const dropped = "log_lines_dropped"

// pipe returns both ends of one whose writing end blocks, as one that a shell makes.
func pipe(t *testing.T) (reader *os.File, writer int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader = os.NewFile(uintptr(fds[0]), "reader")
	t.Cleanup(func() {
		_ = reader.Close()
		_ = unix.Close(fds[1])
	})
	return reader, fds[1]
}

func logger(w io.Writer) *slog.Logger { return logging.New(w, "supervisor", slog.LevelInfo) }

// numbered logs lines with the numbers from from on, from several goroutines.
func numbered(w io.Writer, n int) {
	log := logger(w)
	var loops sync.WaitGroup
	const loggers = 4
	for i := range loggers {
		loops.Go(func() {
			for j := range n / loggers {
				log.Info("line", "n", i*n/loggers+j)
			}
		})
	}
	loops.Wait()
}

// entry is a line of the log.
type entry struct {
	Msg   string
	N     int
	Lines int
}

// resume reads lines until nothing is dropped any longer, and then the rest.
func resume(t *testing.T, w *logging.Writer, from io.Reader) (lines, missing int) {
	t.Helper()
	scanner := bufio.NewScanner(from)
	var loops sync.WaitGroup
	defer loops.Wait()
	ended := make(chan struct{})
	loops.Go(func() {
		for { // the queue is full at first
			logger(w).Info("end")
			select {
			case <-ended:
				logger(w).Info("all")
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	lines, missing = read(t, scanner, "end")
	close(ended)
	more, lost := read(t, scanner, "all")
	w.Flush(patience)
	return lines + more, missing + lost
}

// read reads lines until one of them is the last.
func read(t *testing.T, scanner *bufio.Scanner, last string) (lines, missing int) {
	t.Helper()
	for scanner.Scan() {
		var e entry
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			t.Fatalf("%v: %q", err, scanner.Text())
		}
		switch e.Msg {
		case dropped:
			missing += e.Lines
		case last:
			return lines, missing
		case "line":
			lines++
		}
	}
	t.Fatalf("%q never came: %v", last, scanner.Err())
	return 0, 0
}

func TestStalledReaderCostsLinesAndNothingElse(t *testing.T) {
	reader, fd := pipe(t)
	w := logging.NewWriter(fd, "supervisor", dropped)
	const all = 40000
	numbered(w, all)
	if w.Dropped() == 0 {
		t.Fatal("everything was queued")
	}
	begun := time.Now()
	w.Flush(10 * time.Millisecond)
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("the flush took %s", took)
	}
	lost := int(w.Dropped())
	lines, missing := resume(t, w, reader)
	if missing != int(w.Dropped()) || lines+lost != all {
		t.Errorf("of %d lines %d came; %d were dropped, and %d reported", all, lines, lost, missing)
	}
}

func TestSlowReaderLosesNothing(t *testing.T) {
	reader, fd := pipe(t)
	w := logging.NewWriter(fd, "supervisor", dropped)
	const all = 4000
	numbered(w, all)
	logger(w).Info("end")
	if lines, missing := read(t, bufio.NewScanner(reader), "end"); lines != all || missing != 0 || w.Dropped() != 0 {
		t.Errorf("of %d lines %d came, %d are missing", all, lines, missing)
	}
	w.Flush(patience)
}

func TestClosedPipeCostsLinesAndNothingElse(t *testing.T) {
	reader, fd := pipe(t)
	w := logging.NewWriter(fd, "supervisor", dropped)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	numbered(w, 1000)
	w.Flush(patience)
	if w.Dropped() != 1000 {
		t.Errorf("%d were dropped", w.Dropped())
	}
}

// A terminal of which nobody reads, or at which somebody has pressed Ctrl-S.
func TestStoppedTerminalCostsLinesAndNothingElse(t *testing.T) {
	for name, stop := range map[string]string{"nobody reads": "", "stopped": "\x13"} {
		t.Run(name, func(t *testing.T) {
			terminal, err := harness.OpenTerminal()
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			if err := terminal.Type(stop); err != nil {
				t.Fatal(err)
			}
			w := logging.NewWriter(int(terminal.Slave.Fd()), "supervisor", dropped)
			numbered(w, 40000)
			if w.Dropped() == 0 {
				t.Fatal("everything was queued")
			}
			if err := terminal.Type("\x11"); err != nil { // Ctrl-Q
				t.Fatal(err)
			}
			if _, missing := resume(t, w, terminal.Master); missing != int(w.Dropped()) {
				t.Errorf("%d were dropped, and %d reported", w.Dropped(), missing)
			}
		})
	}
}

// smallDisk returns a folder on a disk of its own, of 16 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skip("cannot mount a small disk:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func count(log string) (whole, torn, missing int) {
	for line := range strings.Lines(log) {
		var e entry
		if json.Unmarshal([]byte(line), &e) != nil {
			torn++
			continue
		}
		whole++
		missing += e.Lines
	}
	return whole, torn, missing
}

func TestFullDiskCostsLinesAndTearsNone(t *testing.T) {
	dir := smallDisk(t)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w := logging.NewWriter(int(f.Fd()), "supervisor", dropped)
	numbered(w, 1000)
	w.Flush(patience)
	if w.Dropped() == 0 {
		t.Fatal("the disk was not full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	logger(w).Info("end")
	w.Flush(patience)
	content, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	whole, torn, missing := count(string(content))
	// The torn one counts as dropped.
	if torn > 1 || whole-2+missing != 1000 || missing != int(w.Dropped()) || !strings.HasSuffix(string(content), "\"process\":\"supervisor\"}\n") {
		t.Errorf("%d whole lines, %d torn, %d missing of %d: %q", whole, torn, missing, w.Dropped(), content[len(content)-200:])
	}
}

func TestDeviceThatFailsIsNotTriedWithoutPause(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = full.Close() }()
	w := logging.NewWriter(int(full.Fd()), "supervisor", dropped)
	numbered(w, 100)
	w.Flush(patience)
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond) // in which nothing may happen
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	if w.Dropped() != 100 || after.Nvcsw-before.Nvcsw > 1000 {
		t.Errorf("%d dropped, %d switches", w.Dropped(), after.Nvcsw-before.Nvcsw)
	}
}

func TestHugeLineIsDroppedAndCounted(t *testing.T) {
	reader, fd := pipe(t)
	w := logging.NewWriter(fd, "supervisor", dropped)
	if n, err := fmt.Fprintln(w, strings.Repeat("x", 60<<20)); err != nil || n != 60<<20+1 {
		t.Errorf("%d, %v", n, err)
	}
	w.Flush(patience)
	logger(w).Info("end")
	if _, missing := read(t, bufio.NewScanner(reader), "end"); missing != 1 {
		t.Errorf("%d are missing", missing)
	}
	w.Flush(patience)
}
