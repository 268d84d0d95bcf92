package chrome

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// tryTimeout bounds a start on an empty profile, which takes about a second.
const tryTimeout = 30 * time.Second

// Try finds out whether the browser at path can start at all, by an empty profile
// that is thrown away. It is nil when it can.
func Try(ctx context.Context, path string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	// Chrome's sockets need a short path.
	scratch, err := os.MkdirTemp("", "try")
	if err != nil {
		return fmt.Errorf("cannot make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	args := []string{"--headless=new", "--no-first-run", "--disable-gpu", "--disable-background-networking", "--user-data-dir=" + scratch, "--dump-dom", "about:blank"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + scratch, "TMPDIR=" + scratch}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot start %s on an empty profile: %w", path, errors.Join(err, ctx.Err()))
	}
	return nil
}
