package e2e

import (
	"errors"
	"net/http"
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
	s := linked(t, p, tokens)

	empty := fill(t, disk, 0)
	s.awaitSession("a warning", func(v harness.Session) bool { return v.Warning != nil && v.Warning.Code == "disk_full" })
	if got := s.status(); got != `{"status":"READY"}` {
		t.Errorf("a Chrome that runs was disturbed: %s", got)
	}
	kill(t, s.session().Browser.PID)
	blocked(s, "disk_full")
	empty()
	back(s)

	s.stop()
	if n := strings.Count(s.Log(), `"from":"INIT","to":"QR_REQUIRED"`); n != 1 {
		t.Errorf("a scan was asked for %d times", n)
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
