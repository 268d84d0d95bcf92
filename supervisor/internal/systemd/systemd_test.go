package systemd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childMode makes the test binary a service that reports which socket it got.
const childMode = "SYSTEMD_TEST_CHILD"

func TestMain(m *testing.M) {
	if wanted, ok := os.LookupEnv(childMode); ok {
		os.Exit(child(wanted))
	}
	goleak.VerifyTestMain(m)
}

func child(wanted string) int {
	m, err := Find(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return 1
	}
	unit, kept, err := m.Listeners(func(have net.Addr) bool { return have.String() == wanted })
	if err != nil {
		return 1
	}
	if unit != nil {
		kept = append(kept, unit)
	}
	addresses := "none"
	for i, l := range kept {
		if i == 0 {
			addresses = ""
		}
		addresses += l.Addr().String()
		_ = l.Close()
	}
	_, _ = os.Stdout.WriteString(addresses + "\n")
	return 0
}

// manager is a notification socket as systemd has one.
type manager struct {
	*net.UnixConn
	t *testing.T
}

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{conn, t}
}

// next returns the next notification, and the descriptors that came with it.
func (m manager) next() (string, []int) {
	m.t.Helper()
	text, rights := make([]byte, 4096), make([]byte, 128)
	if err := m.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	n, rn, _, _, err := m.ReadMsgUnix(text, rights)
	if err != nil {
		m.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		m.t.Fatal(err)
	}
	var fds []int
	for _, message := range messages {
		got, err := unix.ParseUnixRights(&message)
		if err != nil {
			m.t.Fatal(err)
		}
		fds = append(fds, got...)
	}
	return string(text[:n]), fds
}

func find(t *testing.T) *Manager {
	t.Helper()
	m, err := Find(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadinessAndStatusAreSent(t *testing.T) {
	notified := newManager(t)
	m := find(t)
	m.Ready()
	if text, _ := notified.next(); text != "READY=1" {
		t.Errorf("got %q", text)
	}
	changes := make(chan struct{}, 1)
	words := make(chan string, 3)
	words <- "INIT"
	words <- "INIT"
	words <- "READY: linked"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx, func() (string, <-chan struct{}) { return <-words, changes }, nil)
	}()
	changes <- struct{}{}
	changes <- struct{}{}
	for _, want := range []string{"STATUS=INIT", "STATUS=READY: linked"} {
		if text, _ := notified.next(); text != want {
			t.Errorf("got %q, not %q", text, want)
		}
	}
	cancel()
	<-ended
	m.Stopping()
	if text, _ := notified.next(); text != "STOPPING=1" {
		t.Errorf("got %q", text)
	}
}

// It reads nothing, and its queue is full.
func TestSystemdThatStandsStillHoldsNothingUp(t *testing.T) {
	notified := newManager(t)
	from, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(from) }()
	to := &unix.SockaddrUnix{Name: notified.LocalAddr().String()}
	for err == nil {
		err = unix.Sendto(from, []byte("full"), 0, to)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	m := find(t)
	m.Ready()
	m.Stopping()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := m.Keep(l); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v", err)
	}
}

func TestWatchdogIsFedOnlyWhileTheLoopRuns(t *testing.T) {
	notified := newManager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	var log bytes.Buffer
	m, err := Find(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx, func() (string, <-chan struct{}) { return "", nil }, func(ctx context.Context) error {
			if asked++; asked == 2 {
				<-ctx.Done() // the loop hangs
				return ctx.Err()
			}
			if asked == 4 {
				cancel()
				return errors.New("never fed")
			}
			return nil
		})
	}()
	<-ended
	for range 2 {
		if text, _ := notified.next(); text != "WATCHDOG=1" {
			t.Errorf("got %q", text)
		}
	}
	if err := notified.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := notified.Read(make([]byte, 99)); err == nil {
		t.Errorf("%d more bytes were sent", n)
	}
	if !strings.Contains(log.String(), "watchdog_feed_failed") {
		t.Errorf("log is %s", &log)
	}
}

func TestListenerIsKeptAndHandedOver(t *testing.T) {
	notified := newManager(t)
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := find(t).Keep(first); err != nil {
		t.Fatal(err)
	}
	text, fds := notified.next()
	if len(fds) != 1 || !strings.Contains(text, "FDSTORE=1") || !strings.Contains(text, "FDNAME=api") {
		t.Fatalf("got %q and %d descriptors", text, len(fds))
	}
	kept := os.NewFile(uintptr(fds[0]), "api")
	defer func() { _ = kept.Close() }()
	address := first.Addr().String()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody serves, and still nobody is refused.
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("refused between two processes: %v", err)
	}
	_ = conn.Close()

	for name, row := range map[string]struct{ names, wanted, gets string }{
		"its own address":     {"api", address, address},
		"another address now": {"api", "127.0.0.1:1", "none"},
		"of a socket unit":    {"session-manager.socket", "127.0.0.1:1", address},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inherit(t, kept, row.names, row.wanted); got != row.gets {
				t.Errorf("got %s, not %s", got, row.gets)
			}
		})
	}
}

func TestUnixSocketStaysBetweenTwoProcesses(t *testing.T) {
	notified := newManager(t)
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := find(t).Keep(l); err != nil {
		t.Fatal(err)
	}
	_, fds := notified.next()
	kept := os.NewFile(uintptr(fds[0]), "api")
	defer func() { _ = kept.Close() }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if got := inherit(t, kept, "api", path); got != path {
		t.Errorf("got %s", got)
	}
}

// inherit starts a process with the descriptor as systemd would, and returns
// what it says of its listener.
func inherit(t *testing.T, kept *os.File, names, wanted string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The number of the process must be in its environment.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ exec "$0"`, self)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+names, childMode+"="+wanted)
	cmd.ExtraFiles = []*os.File{kept}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(bytes.NewReader(out)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestWithoutSystemdNothingHappens(t *testing.T) {
	m := find(t)
	m.Ready()
	unit, kept, err := m.Listeners(nil)
	if unit != nil || kept != nil || err != nil {
		t.Errorf("got %v, %v, %v", unit, kept, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := m.Keep(l); err != nil {
		t.Error(err)
	}
}
