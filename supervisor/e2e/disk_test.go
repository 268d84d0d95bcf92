package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// smallDisk mounts a file system with room for a start of Chrome and little more.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "size=340m,mode=0700"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room but this many bytes.
func fill(t *testing.T, dir string, but uint64) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	// Chrome writes meanwhile, and may take a part of what was free.
	ctx := within(t)
	err = unix.ENOSPC
	for errors.Is(err, unix.ENOSPC) && ctx.Err() == nil {
		var st unix.Statfs_t
		if err = unix.Statfs(dir, &st); err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail*uint64(st.Bsize)-but))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskIsReportedAndLosesNothing(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	disk := smallDisk(t)
	tokens := filepath.Join(disk, "tokens")
	p := newPhone(t, simulator.Options{})
	secret := filepath.Join(t.TempDir(), "key")
	write(t, secret, "webhook-key-webhook-key")
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	reports := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reports <- string(body)
	}))
	defer receiver.Close()
	s := linked(t, p, tokens, append(light, "--webhook", receiver.URL, "--webhook-key-file", secret)...)

	empty := fill(t, disk, 0)
	s.warned("disk_full", "secret_file_exposed")
	for path, parts := range map[string][]string{
		"/":                 {"data-warned", "disk is out of space", "chmod 600"},
		"/readyz":           {`{"ok":true,"warnings":["disk_full","secret_file_exposed"]}`},
		"/readyz?session=1": {`{"ok":true,"warnings":["disk_full","secret_file_exposed"]}`},
		"/metrics":          {"session_manager_session_warnings 2", `session_warning{reason="disk_full"} 1`, `session_warning{reason="secret_file_exposed"} 1`},
		"/session":          {`"warnings": [`, `"warning": {`},
	} {
		got := s.get(path)
		for _, part := range parts {
			if got.Code != http.StatusOK || !strings.Contains(got.Body, part) {
				t.Errorf("%s: %d without %s", path, got.Code, part)
			}
		}
	}
	for !strings.Contains(next(t, reports), `"code":"disk_full"`) {
	}
	if got := s.status(); got != `{"status":"READY"}` {
		t.Errorf("a Chrome that runs was disturbed: %s", got)
	}
	kill(t, s.session().Browser.PID)
	blocked(s, "disk_full")
	if e := s.session().LastExit; e.Detail != "Chrome was killed (SIGKILL) by something else; see journalctl -k" || e.ChromeExit != "signal killed" || e.WorkerExit != "" && e.WorkerExit != "exit 70" {
		t.Errorf("last exit: %+v", e)
	}
	empty()
	back(s)
	s.warned("secret_file_exposed")

	s.stop()
	if n := strings.Count(s.Log(), `"from":"INIT","to":"QR_REQUIRED"`); n != 1 {
		t.Errorf("a scan was asked for %d times", n)
	}
}

// next returns what comes next.
func next(t *testing.T, reports <-chan string) string {
	t.Helper()
	select {
	case report := <-reports:
		return report
	case <-within(t).Done():
		t.Fatal("nothing came")
		return ""
	}
}

// blocked waits until nothing runs, for this reason.
func blocked(s *service, reason string) {
	s.t.Helper()
	s.awaitSession("ERROR for "+reason, func(v harness.Session) bool { return v.Status == "ERROR" && v.Reason.Code == reason })
}

// back looks again now, rather than at the next probe, and waits for READY.
func back(s *service) {
	s.t.Helper()
	if a := s.command("/session/restart"); a.Code != http.StatusAccepted {
		s.t.Fatalf("restart: %d %s", a.Code, a.Body)
	}
	s.await("READY")
}
