package chrome

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"session-manager/shared/reason"
)

// OldestMajor is the oldest major version of Chrome with which the service works, found by
// trying: with the chrome-headless-shells 133 and 141 of the npm package @sparticuz/chromium an
// account is linked, and the login kept; 129 starts and never shows the first page; 123 and 119
// don't know --version.
const OldestMajor = 133

// versionTimeout bounds --version, which takes 0.1 s when the file is cached.
const versionTimeout = 10 * time.Second

var (
	versionPattern = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)
	// numberPattern finds what other programs call their version, such as Electron's "v33.2.0".
	numberPattern = regexp.MustCompile(`\d+\.\d+`)
	// logPattern finds a line of Chromium's own log, which a chrome-headless-shell that is too
	// old to know --version writes: it shows a page instead.
	logPattern = regexp.MustCompile(`(?m)^\[\d+/\d+\.\d+:[A-Z]+:\w+\.cc[(:]\d+`)
)

// Versions asks browsers for their versions, the same file only once. The zero value is
// ready, and safe for concurrent use.
type Versions struct {
	ahead chan struct{} // closed when what Ahead has begun has ended; nil without it

	mu          sync.Mutex
	id, version string // of the last browser; guarded by mu
	err         error  // why Ahead got no version, for the first who asks; guarded by mu
}

// Ahead begins to ask the browser that setting names, as for Find, so that the first call of Of has to
// wait for less. It is called before Of. Stop ends that, and returns when nothing of it is left.
func (v *Versions) Ahead(ctx context.Context, setting string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan struct{})
	v.ahead = ahead
	go func() {
		defer close(ahead)
		if b, err := Find(setting); err == nil { // otherwise Of is not called
			v.mu.Lock()
			defer v.mu.Unlock()
			v.id = b.id
			v.version, v.err = ask(ctx, b)
		}
	}()
	return func() {
		cancel()
		<-ahead
	}
}

// Of returns the version of b, such as "156.0.8078.79". Its errors carry
// reason.BrowserUnsupported for a browser that is too old or that is not a Chrome, and
// reason.BrowserMissing for a program that is not a browser.
func (v *Versions) Of(ctx context.Context, b Binary) (string, error) {
	if v.ahead != nil {
		select {
		case <-v.ahead:
		case <-ctx.Done():
			return "", fmt.Errorf("%s: cannot ask it for its version: %w", b.Path, ctx.Err())
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.id != "" && v.id == b.id {
		err := v.err
		if err != nil {
			v.id, v.err = "", nil
		}
		return v.version, err
	}
	version, err := ask(ctx, b)
	if err == nil {
		v.id, v.version, v.err = b.id, version, nil
	}
	return version, err
}

// ask runs b for its version.
func ask(ctx context.Context, b Binary) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	stdout, stderr, err := output(ctx, os.TempDir(), b.Path, "--version")
	version, err := versionIn(stdout, stderr, err)
	if err != nil {
		return "", fmt.Errorf("%s: %w", b.Path, err)
	}
	return version, nil
}

// versionIn finds the version in what a browser that was asked for it wrote, and how it ended.
func versionIn(stdout, stderr string, err error) (string, error) {
	version := versionPattern.FindString(stdout)
	first, _, _ := strings.Cut(strings.TrimSpace(stdout), "\n")
	switch {
	case logPattern.MatchString(stderr) && version == "":
		return "", unsupported("it does not answer --version, as a chrome-headless-shell that is too old")
	case err != nil:
		return "", missing(fmt.Errorf("cannot ask it for its version: %w", err))
	case version == "" && numberPattern.MatchString(first):
		return "", unsupported(fmt.Sprintf("%.60q is not a version of Chrome", first))
	case version == "":
		return "", missing(fmt.Errorf("it is not Chrome: --version prints no version"))
	}
	if number, err := strconv.Atoi(Major(version)); err != nil || number < OldestMajor {
		return "", unsupported(version + " is too old")
	}
	return version, nil
}

// Major returns the first number of a version, such as 156.
func Major(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major
}

func unsupported(what string) error {
	return reason.Wrap(reason.BrowserUnsupported, fmt.Errorf("%s; Chrome %d or newer is needed", what, OldestMajor))
}
