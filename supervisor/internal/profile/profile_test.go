package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
	"session-manager/shared/proctree"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/profile/profiletest"
)

// Environment of the test binary when it plays another program, which waits for the
// end of its standard input.
const (
	envRole   = "PROFILE_TEST_ROLE"
	envFolder = "PROFILE_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "supervisor":
		if _, err := Open(os.Getenv(envFolder)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fallthrough
	case "chrome":
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if moves[os.Getenv(envRole)] == nil {
		profiletest.Private()
	}
	if err := proctree.BecomeSubreaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// play runs a copy of the test binary under the name, and returns its pid when
// it is ready. It ends with the test.
func play(t *testing.T, name, role, folder string, args ...string) int {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.Link(self, program); err != nil {
		copyFile(t, self, program)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), envRole+"="+role, envFolder+"="+folder)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line := make([]byte, 100)
	n, err := stdout.Read(line)
	if err != nil || string(line[:n]) != "ready\n" {
		t.Fatalf("%s printed %q, %v", role, line[:n], err)
	}
	return cmd.Process.Pid
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o700); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *Profile {
	t.Helper()
	p, err := Open(filepath.Join(t.TempDir(), "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func wantReason(t *testing.T, err error, want reason.Code) {
	t.Helper()
	if err == nil || reason.Of(err, "") != want {
		t.Errorf("error %v carries %q, want %q", err, reason.Of(err, ""), want)
	}
}

func TestOpenMakesPrivateFolders(t *testing.T) {
	p := open(t)
	for _, path := range []string{string(p.tokens), p.Dir()} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if !filepath.IsAbs(p.Dir()) || !filepath.IsAbs(p.LeaseFile()) {
		t.Errorf("relative: %s, %s", p.Dir(), p.LeaseFile())
	}
}

func TestOpenMakesAReadableProfilePrivate(t *testing.T) {
	tokens := t.TempDir()
	if err := os.Mkdir(filepath.Join(tokens, session), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := Open(tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if info, err := os.Stat(p.Dir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSecondSupervisorIsRefusedWithTheHoldersPID(t *testing.T) {
	tokens := t.TempDir()
	pid := play(t, "supervisor", "supervisor", tokens)
	_, err := Open(tokens)
	if !errors.Is(err, ErrHeld) {
		t.Fatalf("Open() = %v, want ErrHeld", err)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", pid)) {
		t.Errorf("%q does not name pid %d", err, pid)
	}
}

func TestCloseLetsTheNextSupervisorIn(t *testing.T) {
	p := open(t)
	if _, err := Open(string(p.tokens)); !errors.Is(err, ErrHeld) {
		t.Fatalf("Open() of a second one = %v, want ErrHeld", err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	next, err := Open(string(p.tokens))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	if err := p.Preflight(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Preflight() of the closed one = %v", err)
	}
}

func TestFolderThatCannotBeMadeIsUnwritable(t *testing.T) {
	tests := map[string]func(t *testing.T, tokens, profile string){
		"tokens is a file": func(t *testing.T, tokens, _ string) { write(t, tokens) },
		"profile is a file": func(t *testing.T, tokens, profile string) {
			mkdir(t, tokens)
			write(t, profile)
		},
		"profile is a dangling link": func(t *testing.T, tokens, profile string) {
			mkdir(t, tokens)
			symlink(t, "/no/where", profile)
		},
		"lock is a folder": func(t *testing.T, tokens, _ string) { mkdir(t, filepath.Join(tokens, "admin.lock")) },
		"lock is a link":   func(t *testing.T, tokens, _ string) { mkdir(t, tokens); symlink(t, "/dev/null", tokens+"/admin.lock") },
		"read-only":        func(t *testing.T, tokens, _ string) { mkdir(t, tokens); mount(t, tokens, unix.MS_RDONLY, "") },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			tokens := filepath.Join(t.TempDir(), "tokens")
			prepare(t, tokens, filepath.Join(tokens, session))
			p, err := Open(tokens)
			if err == nil {
				_ = p.Close()
			}
			wantReason(t, err, reason.ProfileUnwritable)
			found := Inspect(tokens)
			wantReason(t, found, reason.ProfileUnwritable)
			if strings.Contains(err.Error(), "/no/where, which does not exist") && found.Error() != err.Error() {
				t.Errorf("Inspect() = %v, and Open() = %v", found, err)
			}
		})
	}
}

func TestPreflightPassesAndLeavesNothing(t *testing.T) {
	p := open(t)
	if err := p.Preflight(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(p.Dir())
	if err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if entries, err = os.ReadDir(string(p.tokens)); err != nil || len(entries) != 2 {
		t.Errorf("in tokens: %v, %v; want admin and admin.lock", entries, err)
	}
}

func TestPreflightNoticesChangesSinceOpen(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, p *Profile)
		want   reason.Code
	}{
		"profile became a file":     {func(t *testing.T, p *Profile) { remove(t, p.Dir()); write(t, p.Dir()) }, reason.ProfileUnwritable},
		"profile became a bad link": {func(t *testing.T, p *Profile) { remove(t, p.Dir()); symlink(t, "/no/where", p.Dir()) }, reason.ProfileUnwritable},
		"profile is read-only":      {func(t *testing.T, p *Profile) { mount(t, p.Dir(), unix.MS_RDONLY, "") }, reason.ProfileUnwritable},
		"disk is small":             {func(t *testing.T, p *Profile) { mount(t, p.Dir(), 0, "size=1m") }, reason.DiskFull},
		"few inodes":                {func(t *testing.T, p *Profile) { mount(t, p.Dir(), 0, "size=300m,nr_inodes=100") }, reason.DiskFull},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			tt.change(t, p)
			wantReason(t, p.Preflight(), tt.want)
		})
	}
}

func TestPreflightAcceptsALinkToAnotherDisk(t *testing.T) {
	tokens := t.TempDir()
	symlink(t, t.TempDir(), filepath.Join(tokens, session))
	p, err := Open(tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if err := p.Preflight(); err != nil {
		t.Error(err)
	}
}

func TestPreflightRestoresARemovedTokensFolder(t *testing.T) {
	p := open(t)
	remove(t, string(p.tokens))
	if err := p.Preflight(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(string(p.tokens)); !errors.Is(err, ErrHeld) {
		t.Errorf("Open() = %v, want ErrHeld: the new lock file must be locked", err)
	}
}

func TestPreflightNoticesAnotherSupervisorInTheNewFolder(t *testing.T) {
	p := open(t)
	remove(t, string(p.tokens))
	other, err := Open(string(p.tokens))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := p.Preflight(); !errors.Is(err, ErrHeld) {
		t.Errorf("Preflight() = %v, want ErrHeld", err)
	}
}

func TestCheckFree(t *testing.T) {
	full := unix.Statfs_t{Bsize: 4096, Bavail: 1 << 20, Files: 1 << 20, Ffree: 1 << 19}
	tests := map[string]struct {
		change func(*unix.Statfs_t)
		want   reason.Code
	}{
		"enough":           {func(*unix.Statfs_t) {}, ""},
		"exactly enough":   {func(s *unix.Statfs_t) { s.Bavail = 65536 }, ""},
		"a block less":     {func(s *unix.Statfs_t) { s.Bavail = 65535 }, reason.DiskFull},
		"no inodes":        {func(s *unix.Statfs_t) { s.Ffree = 0 }, reason.DiskFull},
		"inodes on demand": {func(s *unix.Statfs_t) { s.Files, s.Ffree = 0, 0 }, ""},
		"read-only":        {func(s *unix.Statfs_t) { s.Flags = unix.ST_RDONLY }, reason.ProfileUnwritable},
	}
	for name, tt := range tests {
		st := full
		tt.change(&st)
		if got := reason.Of(checkFree("/x", &st, MinFreeBytes, minFreeInodes), ""); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestHeldLeaseMeansInUse(t *testing.T) {
	p := open(t)
	f, err := lease.Acquire(p.LeaseFile())
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.ChromeLock.Clean()
	wantReason(t, err, reason.ProfileInUse)
	_ = f.Close()
	if v, err := p.ChromeLock.Clean(); v != NoLock || err != nil {
		t.Errorf("Clean() = %q, %v", v, err)
	}
}

func TestStateIsKept(t *testing.T) {
	p := open(t)
	got := map[string]int{}
	if err := p.Restarts.Load(&got); err != nil || len(got) != 0 {
		t.Errorf("Load() of nothing = %v, %v", got, err)
	}
	if err := p.Restarts.Save(map[string]int{"streak": 3}); err != nil {
		t.Fatal(err)
	}
	if err := p.Restarts.Load(&got); err != nil || got["streak"] != 3 {
		t.Errorf("Load() = %v, %v", got, err)
	}
	if err := os.WriteFile(string(p.Restarts), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Restarts.Load(&got); err == nil {
		t.Error("Load() of a torn file succeeded")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// mount puts an empty tmpfs on the folder for the rest of the test.
func mount(t *testing.T, folder string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", folder, "tmpfs", flags, options); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, 0); err != nil {
			t.Errorf("cannot unmount: %v", err)
		}
	})
}
