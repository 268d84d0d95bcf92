package doctor

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
)

func (o Options) checkChrome(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "apt-get install chromium, or install Google's google-chrome-stable, or set --chrome"}
	}
	var versions chrome.Versions
	version, err := versions.Of(ctx, browser)
	if err != nil {
		return Finding{Mark: NoChrome, Found: err.Error(), Do: "reinstall it, or set --chrome to another one"}
	}
	return good("%s, %s", version, browser.Path)
}

// checkStart starts Chrome, sandbox and all, on an empty profile. It is the only
// proof that its libraries, sandbox and memory are all right.
func (o Options) checkStart(ctx context.Context) Finding {
	browser, err := chrome.Find(o.Chrome)
	if err != nil {
		return bad("skipped, as no Chrome was found")
	}
	start := time.Now()
	err = chrome.Try(ctx, browser.Path, o.ChromeArgs)
	took := time.Since(start).Round(100 * time.Millisecond)
	switch {
	case reason.Of(err, "") == reason.SandboxRefused:
		return bad("Chrome can't use its sandbox").do("allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 23.10 and later install Google's package, whose AppArmor profile allows them")
	case err != nil:
		return bad("Chrome did not show an empty page: %v", err).do("run %s --headless --dump-dom about:blank by hand; it names missing libraries", browser.Path)
	case os.Geteuid() == 0:
		return warning("it shows a page in %s, without its sandbox, as this is root", took).do("run the service as its own user")
	default:
		return good("it shows a page in %s, with its sandbox", took)
	}
}

// With less than smallSharedMemory the worker makes Chrome use the disk.
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
