package chrome

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"session-manager/shared/reason"
)

// tryTimeout bounds a start on an empty profile, which takes about a second.
const tryTimeout = 30 * time.Second

// tryPrefix begins the names of the folders that Try makes.
const tryPrefix = "sm-try"

// RemoveTries removes the folders of calls of Try whose process was killed: those of
// this user that are older than a call can last.
func RemoveTries() error {
	found, err := filepath.Glob(filepath.Join(tempDir(), tryPrefix+"*"))
	for _, dir := range found {
		info, statErr := os.Lstat(dir)
		if statErr != nil || !info.IsDir() || time.Since(info.ModTime()) < 2*tryTimeout {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == uint32(os.Getuid()) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}

// Try finds out whether the browser at path can start on this machine: it shows an
// empty page from an empty profile, with the operator's args. Nothing of it is left.
// Errors carry reason.SandboxRefused or reason.BrowserStartFailed, and Chrome's last
// line.
func Try(ctx context.Context, path string, args []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(tempDir(), tryPrefix)
	if err != nil {
		return fmt.Errorf("cannot make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	all := []string{
		"--headless=new", "--dump-dom", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
		"--disable-component-update", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
	}
	if os.Geteuid() == 0 {
		all = append(all, noSandbox)
	}
	stdout, stderr, err := output(ctx, dir, path, append(append(all, args...), "about:blank")...)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	last := lines[len(lines)-1]
	switch {
	case SandboxRefused(stderr):
		return reason.Wrap(reason.SandboxRefused, fmt.Errorf("cannot start %s with its sandbox: %s", path, last))
	case err != nil:
		return reason.Wrap(reason.BrowserStartFailed, fmt.Errorf("cannot start %s on an empty profile: %w %s", path, err, last))
	case !strings.Contains(stdout, "<html"):
		return reason.Wrap(reason.BrowserStartFailed, fmt.Errorf("%s showed no page: %s", path, last))
	}
	return nil
}

// maxTempDir is the longest folder, in bytes, below which Chrome's socket has room:
// Chrome aborts when its path gets longer than a socket's may be.
const maxTempDir = 40

func tempDir() string {
	if dir := os.TempDir(); len(dir) <= maxTempDir {
		return dir
	}
	return "/tmp"
}

// output runs the browser at path to its end and returns the beginning of what it
// wrote. It has dir for its files, and nothing of the service's environment. No
// process of it is left.
func output(ctx context.Context, dir, path string, args ...string) (stdout, stderr string, err error) {
	var out, errs limited
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_RUNTIME_DIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A helper that inherited stdout must not hold this up.
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that outlived it
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out.kept.String(), errs.kept.String(), errors.Join(err, ctx.Err())
}

// maxOutput is how much of an output is kept, in bytes.
const maxOutput = 64 << 10

// limited keeps the first maxOutput bytes. It must not embed the buffer, whose
// ReadFrom io.Copy would prefer to Write.
type limited struct{ kept bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.kept.Len(); room > 0 {
		_, _ = l.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
