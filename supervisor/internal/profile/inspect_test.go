package profile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
)

// shell runs a script in folder.
func shell(t *testing.T, folder, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

func TestInspectFindsWhatAStartWould(t *testing.T) {
	for name, tt := range map[string]struct {
		script string // makes the folder "tokens"
		want   reason.Code
	}{
		"nothing":                {"true", ""},
		"an empty folder":        {"mkdir tokens", ""},
		"an empty profile":       {"mkdir -p tokens/admin", ""},
		"a profile":              {"mkdir -p tokens/admin/Default; echo x > tokens/admin/Default/Cookies", ""},
		"a file":                 {"touch tokens", reason.ProfileUnwritable},
		"a file for a profile":   {"mkdir tokens; touch tokens/admin", reason.ProfileUnwritable},
		"a file above":           {"touch above; ln -s above/tokens tokens", reason.ProfileUnwritable},
		"links in the profile":   {"mkdir -p tokens/admin/Default disk; ln -s ../../../disk tokens/admin/Default/IndexedDB; ln -s x tokens/admin/y", ""},
		"a lock that is a link":  {"mkdir tokens; ln -s x tokens/admin.lock", reason.ProfileUnwritable},
		"a lock of Chrome's":     {"mkdir -p tokens/admin; ln -s elsewhere-1 tokens/admin/SingletonLock", ""},
		"a lock that is a file":  {"mkdir -p tokens/admin; touch tokens/admin/SingletonLock", ""},
		"a link to nowhere":      {"ln -s nowhere tokens", reason.ProfileUnwritable},
		"a profile that is lost": {"mkdir tokens; ln -s nowhere tokens/admin", reason.ProfileUnwritable},
		"links":                  {"mkdir disk; ln -s disk tokens", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shell(t, dir, tt.script)
			folder := filepath.Join(dir, "tokens")
			before := shell(t, dir, "find . | sort")
			if got := reason.Of(Inspect(folder), ""); got != tt.want {
				t.Errorf("got %q", got)
			}
			if after := shell(t, dir, "find . | sort"); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
			p, err := Open(folder)
			if err == nil {
				defer func() { _ = p.Close() }()
				err = p.Preflight()
			}
			if err == nil {
				_, err = p.ChromeLock.Clean()
			}
			if got := reason.Of(err, ""); got != tt.want {
				t.Errorf("a start: %v", err)
			}
		})
	}
}

func TestInspectSeesWhoUsesTheFolder(t *testing.T) {
	folder := t.TempDir()
	p, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := Inspect(folder); !errors.Is(err, ErrHeld) {
		t.Errorf("a supervisor: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	held, err := lease.Acquire(p.LeaseFile())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if err := Inspect(folder); reason.Of(err, "") != reason.ProfileInUse {
		t.Errorf("a Chrome: %v", err)
	}
}

// TestFilesOfOthersAreFound runs itself as another user: nothing is denied to root.
func TestFilesOfOthersAreFound(t *testing.T) {
	const variable = "INSPECT_FOLDER"
	if folder := os.Getenv(variable); folder != "" {
		err := Inspect(folder)
		if reason.Of(err, "") != reason.ProfileUnwritable || !strings.Contains(err.Error(), "Cookies belongs to user 0") {
			t.Error(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "inspect")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shell(t, dir, "mkdir -p tokens/admin/Default; touch tokens/admin/Default/read-only; chmod 400 tokens/admin/Default/read-only; chown -R 65534:65534 .; umask 077; echo x > tokens/admin/Default/Cookies; mkdir tokens/admin/Default/Cache")
	self, err := os.Open("/proc/self/exe") // its folder may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Close() }()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run=^TestFilesOfOthersAreFound$")
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", []string{variable + "=" + filepath.Join(dir, "tokens")}, []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
