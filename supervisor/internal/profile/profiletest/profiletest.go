// Package profiletest puts a profile where operators put it: behind a link, on a mount
// point, on another file system, in an overlay.
package profiletest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// private is set in the process that Private starts.
const private = "PROFILETEST_PRIVATE"

// Private runs the test binary again, where mounts are seen by nobody else and end with it.
// It returns in that process, and where mounting is not allowed. Call it first in TestMain.
func Private() {
	if os.Getenv(private) != "" || os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // the signal below is for the end of this thread
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if cmd.Start() != nil {
		runtime.UnlockOSThread()
		return
	}
	_ = cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
}

// Place is where a tokens folder has its profile.
type Place struct {
	Name string
	// put makes admin in the empty folder tokens; fill puts what it should hold at a path.
	put func(t *testing.T, tokens string, fill func(path string))
}

// Places are the ones that operators choose.
var Places = []Place{
	{"plain folder", func(_ *testing.T, tokens string, fill func(string)) { fill(filepath.Join(tokens, "admin")) }},
	{"link", func(t *testing.T, tokens string, fill func(string)) { link(t, tokens, t.TempDir(), fill) }},
	{"link to a link", func(t *testing.T, tokens string, fill func(string)) {
		link(t, tokens, t.TempDir(), func(string) {})
		first := filepath.Join(tokens, "admin")
		must(t, os.Rename(first, first+"-1"), os.Symlink("admin-1", first))
		fill(first)
	}},
	{"link to another file system", func(t *testing.T, tokens string, fill func(string)) {
		disk := t.TempDir()
		mount(t, "tmpfs", disk, "tmpfs", 0, "")
		link(t, tokens, filepath.Join(disk, "wa"), fill)
	}},
	{"link to a mount point", func(t *testing.T, tokens string, fill func(string)) {
		disk := t.TempDir()
		mount(t, "tmpfs", disk, "tmpfs", 0, "")
		link(t, tokens, disk, fill)
	}},
	{"mount point", func(t *testing.T, tokens string, fill func(string)) {
		admin := mkdir(t, filepath.Join(tokens, "admin"))
		mount(t, "tmpfs", admin, "tmpfs", 0, "")
		fill(admin)
	}},
	{"mount point of the same file system", func(t *testing.T, tokens string, fill func(string)) {
		admin := mkdir(t, filepath.Join(tokens, "admin"))
		mount(t, t.TempDir(), admin, "bind", unix.MS_BIND, "")
		fill(admin)
	}},
	{"overlay", func(t *testing.T, tokens string, fill func(string)) {
		disk := t.TempDir()
		mount(t, "tmpfs", disk, "tmpfs", 0, "")
		lower := mkdir(t, filepath.Join(disk, "l"))
		fill(filepath.Join(lower, "admin"))
		options := fmt.Sprintf("redirect_dir=off,lowerdir=%s,upperdir=%s,workdir=%s", lower, mkdir(t, disk+"/u"), mkdir(t, disk+"/w"))
		mount(t, "overlay", tokens, "overlay", 0, options)
	}},
	{"quarantine and backups behind links", func(t *testing.T, tokens string, fill func(string)) {
		disk := t.TempDir()
		mount(t, "tmpfs", disk, "tmpfs", 0, "")
		for _, name := range []string{"admin.quarantine", "admin.backups"} {
			must(t, os.Symlink(mkdir(t, filepath.Join(disk, name)), filepath.Join(tokens, name)))
		}
		fill(filepath.Join(tokens, "admin"))
	}},
	{"quarantine and backups on mount points", func(t *testing.T, tokens string, fill func(string)) {
		for _, name := range []string{"admin.quarantine", "admin.backups"} {
			mount(t, "tmpfs", mkdir(t, filepath.Join(tokens, name)), "tmpfs", 0, "")
		}
		fill(filepath.Join(tokens, "admin"))
	}},
}

// Put makes a tokens folder with a profile that holds the login. It skips the test where
// mounting is not possible. Check fails the test if the profile is then elsewhere.
func (p Place) Put(t *testing.T, login string) (tokens string, check func()) {
	t.Helper()
	tokens = t.TempDir()
	p.put(t, tokens, func(path string) { Fill(t, path, login) })
	before := where(t, tokens)
	return tokens, func() {
		t.Helper()
		if after := where(t, tokens); after != before {
			t.Errorf("it was at %s, and is at %s", before, after)
		}
	}
}

// where describes what is behind the names in a tokens folder.
func where(t *testing.T, tokens string) string {
	t.Helper()
	var all []string
	for _, name := range []string{"admin", "admin.quarantine", "admin.backups"} {
		path := filepath.Join(tokens, name)
		target, _ := os.Readlink(path)
		var here, above unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS, &here) != nil {
			continue
		}
		must(t, unix.Statx(unix.AT_FDCWD, tokens, 0, unix.STATX_BASIC_STATS, &above))
		mounted, disk := here.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, here.Dev_minor != above.Dev_minor
		if target != "" || mounted || disk {
			all = append(all, fmt.Sprintf("%s -> %q, mounted: %v, another file system: %v", name, target, mounted, disk))
		}
	}
	return strings.Join(all, "; ")
}

// Files are those of a profile with a login.
func Files(login string) map[string]string {
	return map[string]string{
		"Local State":         `{"profile":{"last_used":"Default"}}`,
		"Default/Preferences": "{}",
		"Default/Local Storage/leveldb/000003.log": login,
		"Default/Local Storage/leveldb/CURRENT":    "MANIFEST-000001\n",
		"Default/IndexedDB/wa/000004.ldb":          login,
	}
}

// Fill puts a profile with the login at path.
func Fill(t *testing.T, path, login string) {
	t.Helper()
	for name, content := range Files(login) {
		file := filepath.Join(path, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(path, "Default/Cache/Cache_Data"), 0o700),
		os.WriteFile(filepath.Join(path, "Default/Cache/Cache_Data/data_0"), []byte("cache"), 0o600))
}

// Content returns the files of a profile that are neither caches nor our own.
func Content(t *testing.T, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	root, err := filepath.EvalSymlinks(path)
	must(t, err)
	must(t, fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(name, "Cache") || strings.HasPrefix(name, ".session-manager") {
			return err
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		found[name] = string(data)
		return err
	}))
	return found
}

func link(t *testing.T, tokens, target string, fill func(string)) {
	t.Helper()
	fill(mkdir(t, target))
	must(t, os.Symlink(target, filepath.Join(tokens, "admin")))
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o700))
	return path
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func mount(t *testing.T, source, folder, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(source, folder, kind, flags, options); err != nil {
		t.Skipf("needs the right to mount %s: %v", kind, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(folder, unix.MNT_DETACH)) })
}
