package doctor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
)

func (o Options) checkChrome(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "apt-get install chromium, or install Google's google-chrome-stable, or set --chrome"}
	}
	var versions chrome.Versions
	version, err := versions.Of(ctx, browser)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "install it anew, or set --chrome to another one"}
	}
	return good("%s, %s", version, browser.Path)
}

// sandboxSigns are what Chrome writes when it can't build its sandbox
// (Chromium's zygote_host_impl_linux.cc).
var sandboxSigns = []string{"No usable sandbox", "is not configured correctly", "Failed to move to new namespace"}

// checkStart starts Chrome, sandbox and all, on a profile of its own, and lets
// it show an empty page. It is the only proof that its libraries, sandbox and
// memory are all right.
func (o Options) checkStart(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return bad("not tried, as there is no Chrome")
	}
	dir, err := os.MkdirTemp(shortTempDir(), "sm-doctor")
	if err != nil {
		return bad("cannot make a folder for it: %v", err).do("make %s writable", os.TempDir())
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root := os.Geteuid() == 0
	start := time.Now()
	out, err := trial(ctx, browser.Path, dir, o.ChromeArgs, root)
	took := time.Since(start).Round(100 * time.Millisecond)
	switch {
	case slices.ContainsFunc(sandboxSigns, func(sign string) bool { return strings.Contains(out.stderr, sign) }):
		return bad("Chrome can't use its sandbox").do("allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 23.10 and later install Google's package, whose AppArmor profile allows it")
	case err != nil:
		return bad("Chrome did not show an empty page within %s: %v %s", took, err, lastLine(out.stderr)).do("run %s --headless --dump-dom about:blank by hand; missing libraries are named there", browser.Path)
	case !strings.Contains(out.stdout, "<html"):
		return bad("Chrome showed no page: %s", lastLine(out.stderr)).do("run %s --headless --dump-dom about:blank by hand", browser.Path)
	case root:
		return warning("it shows a page in %s, without its sandbox, as this is root", took).do("run the service as a user of its own")
	default:
		return good("it shows a page in %s, with its sandbox", took)
	}
}

// maxTempDir is the longest folder, in bytes, below which Chrome's socket has
// room: it aborts when the path gets longer than a socket's may.
const maxTempDir = 40

func shortTempDir() string {
	if dir := os.TempDir(); len(dir) <= maxTempDir {
		return dir
	}
	return "/tmp"
}

type output struct{ stdout, stderr string }

// trial runs one Chrome to its end. Nothing of it is left when it returns.
func trial(ctx context.Context, path, dir string, extra []string, root bool) (output, error) {
	args := []string{
		"--headless", "--dump-dom", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
		"--disable-component-update", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
	}
	if root {
		args = append(args, "--no-sandbox")
	}
	args = append(append(args, extra...), "about:blank")
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_RUNTIME_DIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that outlived it
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return output{stdout.String(), stderr.String()}, err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// smallSharedMemory is what the worker takes for too little, and works around.
const smallSharedMemory = 512 << 20

func checkSharedMemory(context.Context) Finding {
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil {
		return warning("there is no /dev/shm; Chrome uses the disk instead").do("mount a tmpfs there")
	}
	if free := fs.Bavail * uint64(max(fs.Bsize, 0)); free < smallSharedMemory {
		return warning("%d MiB are free; Chrome uses the disk instead", free>>20).do("give it 512 MiB: docker run --shm-size=512m, or mount -o remount,size=512m /dev/shm")
	}
	return good("enough")
}
