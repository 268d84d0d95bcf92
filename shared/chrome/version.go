package chrome

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"session-manager/shared/reason"
)

// versionTimeout bounds --version, which takes 0.1 s when the file is cached.
const versionTimeout = 10 * time.Second

// maxOutput is what is looked at of the answer.
const maxOutput = 4 << 10

var versionPattern = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)

// Versions asks browsers for their versions, each file once. The zero value is
// ready, and safe for concurrent use.
type Versions struct {
	mu    sync.Mutex
	known map[identity]string // guarded by mu
}

// Of returns the version of b, such as "156.0.8078.79". Its errors carry
// reason.BrowserMissing: what can't tell its version is no usable Chrome.
func (v *Versions) Of(ctx context.Context, b Binary) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if version, ok := v.known[b.id]; ok {
		return version, nil
	}
	version, err := ask(ctx, b.Path)
	if err != nil {
		return "", err
	}
	if v.known == nil {
		v.known = map[identity]string{}
	}
	v.known[b.id] = version
	return version, nil
}

func ask(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	var out limited
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Stdout = &out
	// The host's environment may hold what no other program is to see.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A child that inherited stdout must not keep us waiting.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", missing(fmt.Errorf("cannot ask %s for its version: %w", path, errors.Join(err, ctx.Err())))
	}
	version := versionPattern.FindString(out.String())
	if version == "" {
		return "", reason.Wrap(reason.BrowserMissing, fmt.Errorf("%s --version names no version: it is no Chrome", path))
	}
	return version, nil
}

// limited keeps the first 4 kB and takes the rest for read. It must not embed the
// buffer, whose ReadFrom io.Copy would prefer to Write.
type limited struct{ kept bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.kept.Len(); room > 0 {
		_, _ = l.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *limited) String() string { return l.kept.String() }
