package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := harness.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func fullPipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := harness.FullPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = reader.Close()
		_ = writer.Close()
	})
	return reader, writer
}

// What takes the log stands still, or fails, from the first line on.
func TestStalledLogChangesNothingElse(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *os.File{
		"a pipe that nobody reads": stalledPipe,
		"a terminal after Ctrl-S":  stoppedTerminal,
		"a pipe that is closed": func(t *testing.T) *os.File {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = reader.Close()
			t.Cleanup(func() { _ = writer.Close() })
			return writer
		},
		"a disk that is full": func(t *testing.T) *os.File {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = full.Close() })
			return full
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := harness.Options{Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: open(t), Args: noChrome}
			follow := failsAndRetries
			if *thorough { // TestCrashesCostNoRequestAndDumpNoCore has the first
				needBrowser(t)
				o.URL, o.Args = newPhone(t, simulator.Options{}).URL, nil
				follow = crashesAndRestarts
			}
			s := launchWith(t, o)
			follow(s)
			processes := tree(t, s.PID())
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			gone(t, processes)
		})
	}
}

// failsAndRetries follows a service that has no Chrome.
func failsAndRetries(s *service) {
	s.awaitSession("that there is no Chrome", func(v harness.Session) bool { return v.Reason.Code == "browser_missing" })
	if a := s.command("/session/restart"); a.Code != 202 {
		s.t.Errorf("restart: %+v", a)
	}
	s.await("ERROR")
}

// crashesAndRestarts kills the Chrome of a service, and asks for a restart.
func crashesAndRestarts(s *service) {
	first := s.awaitSession("a QR", shown)
	kill(s.t, first.Browser.PID)
	s.awaitSession("that the QR of a dead Chrome is gone", func(v harness.Session) bool {
		return v.QR == nil || v.Worker.Generation > first.Worker.Generation
	})
	second := s.awaitSession("the QR of the next Chrome", func(v harness.Session) bool {
		return v.Worker.Generation > first.Worker.Generation && shown(v)
	})
	if a := s.command("/session/restart"); a.Code != 202 {
		s.t.Errorf("restart: %+v", a)
	}
	s.awaitSession("the QR after a restart", func(v harness.Session) bool {
		return v.Worker.Generation > second.Worker.Generation && shown(v)
	})
}

func shown(v harness.Session) bool { return v.QR != nil && v.Browser != nil }

// floodingWorker is a worker that writes to its log a little more than it may.
func floodingWorker(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker")
	script := "#!/bin/sh\nline=$(head -c 4000 /dev/zero | tr '\\0' x)\nwhile printf '%s\\n' \"$line\" \"$line\" \"$line\" \"$line\" \"$line\" >&2; do sleep 0.25; done\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *service) droppedLines() (n int) {
	s.t.Helper()
	body, err := s.Get(within(s.t), "/metrics")
	if err != nil {
		return 0 // it does not listen yet
	}
	_, number, _ := strings.Cut(body, "\nsession_manager_log_dropped_lines_total ")
	_, _ = fmt.Sscan(number, &n)
	return n
}

func TestDroppedLogLinesAreCountedAndReported(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	reader, writer := fullPipe(t)
	s := launchWith(t, harness.Options{
		Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: writer, URL: "http://127.0.0.1:1/", Args: []string{"--worker", floodingWorker(t)},
	})
	_ = writer.Close()
	for ctx := within(t); s.droppedLines() == 0; { // after 16 s; metrics cost more than most answers
		if harness.Pause(ctx, time.Second) != nil {
			t.Fatal("no line was dropped")
		}
	}
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var entry struct {
			Level, Msg, Process string
			Lines               int
		}
		text := strings.TrimLeft(lines.Text(), "\x00") // what the pipe was filled with
		if json.Unmarshal([]byte(text), &entry) == nil && entry.Msg == "log_lines_dropped" {
			if entry.Lines <= 0 || entry.Level != "WARN" || entry.Process != "supervisor" {
				t.Errorf("reported %s", text)
			}
			go func() { _, _ = io.Copy(io.Discard, reader) }()
			return
		}
	}
	t.Error("nothing was reported:", lines.Err())
}

// As bin/supervisor 2>&1 | jq, ended by Ctrl-C: the terminal interrupts both.
func TestInterruptedPipelineStopsCleanly(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	cmd := exec.Command(binaries.Supervisor, append(noChrome, "--listen", "127.0.0.1:0", "--tokens", t.TempDir(), "--log-level", "debug")...)
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = writer.Close()
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	_ = reader.Close()
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := wait(t, cmd); err != nil {
		t.Errorf("it exited with %v", err)
	}
}

// wait waits for the exit of a command.
func wait(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		return err
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatal("it did not exit")
		return nil
	}
}

func TestStartThatFailsExitsDespiteAStalledLog(t *testing.T) {
	t.Parallel()
	_, writer := fullPipe(t)
	cmd := exec.Command(binaries.Supervisor, "--listen", "nowhere")
	cmd.Stderr = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _ = wait(t, cmd); cmd.ProcessState.ExitCode() != 78 {
		t.Errorf("it exited with %s", cmd.ProcessState)
	}
}

// stalledSocket is one as journald listens on, with nobody who reads.
func stalledSocket(t *testing.T) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
	})
	for err == nil {
		_, err = unix.Write(pair[1], make([]byte, 1))
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(pair[1], false); err != nil {
		t.Fatal(err)
	}
	return theirs
}

func stoppedTerminal(t *testing.T) *os.File {
	t.Helper()
	terminal, err := harness.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(terminal.Close)
	if err := terminal.Type("\x13"); err != nil {
		t.Fatal(err)
	}
	return terminal.Slave
}

func stalledPipe(t *testing.T) *os.File {
	t.Helper()
	_, writer := fullPipe(t)
	return writer
}

func TestPanicEndsDespiteAStalledLog(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *os.File{"pipe": stalledPipe, "terminal": stoppedTerminal, "socket": stalledSocket} {
		t.Run(name, func(t *testing.T) {
			s := launchWith(t, harness.Options{Tokens: t.TempDir(), Listen: freeAddress(t), Stderr: open(t), Args: noChrome})
			s.awaitSession("an answer", func(harness.Session) bool { return true })
			s.signal(syscall.SIGQUIT) // the runtime writes the stacks of all goroutines, and exits
			if code := s.exitCode(); code != 2 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// With stty tostop the kernel stops what writes to its terminal from the background.
func TestServiceInTheBackgroundIsNotStopped(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	terminal, err := harness.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	systemd, path := listenAsSystemd(t)
	cmd := exec.Command(bash, "-c", `set -m; stty tostop; "$@" & wait`, "bash", binaries.Supervisor)
	cmd.Args = append(cmd.Args, append(noChrome, "--listen", "127.0.0.1:0", "--tokens", t.TempDir())...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal.Slave, terminal.Slave, terminal.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	systemd.await(t, "STATUS=ERROR") // long after the first line
	for _, p := range tree(t, cmd.Process.Pid) {
		_ = syscall.Kill(p.PID, syscall.SIGTERM)
	}
	if err := wait(t, cmd); err != nil {
		t.Errorf("it exited with %v", err)
	}
}
