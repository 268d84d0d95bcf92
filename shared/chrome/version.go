package chrome

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"
)

// versionTimeout bounds --version, which takes 0.1 s when the file is cached.
const versionTimeout = 10 * time.Second

var versionPattern = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)

// Versions asks browsers for their versions, each file once. The zero value is
// ready, and safe for concurrent use.
type Versions struct {
	mu    sync.Mutex
	known map[identity]string // guarded by mu
}

// Of returns the version of b, such as "156.0.8078.79". Its errors carry
// reason.BrowserMissing: a program without a version is not a usable Chrome.
func (v *Versions) Of(ctx context.Context, b Binary) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if version, ok := v.known[b.id]; ok {
		return version, nil
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	stdout, _, err := output(ctx, os.TempDir(), b.Path, "--version")
	if err != nil {
		return "", missing(fmt.Errorf("cannot ask %s for its version: %w", b.Path, err))
	}
	version := versionPattern.FindString(stdout)
	if version == "" {
		return "", missing(fmt.Errorf("%s is not Chrome: --version prints no version", b.Path))
	}
	if v.known == nil {
		v.known = map[identity]string{}
	}
	v.known[b.id] = version
	return version, nil
}
