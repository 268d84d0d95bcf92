// Package browsertest finds the machine's Chrome and starts it for tests, each
// time on a profile of its own that is gone afterwards.
package browsertest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"session-manager/shared/chrome"
	"session-manager/shared/chrome/chrometest"
	"session-manager/worker/internal/browser"
)

type installed struct{ path, version string }

// find returns the browser that setting names, as chrome.Find does, and its version.
func find(setting string) (installed, error) {
	binary, err := chrome.Find(setting)
	if err != nil {
		return installed{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	version, err := new(chrome.Versions).Of(ctx, binary)
	return installed{binary.Path, version}, err
}

var (
	findChrome = sync.OnceValues(func() (installed, error) { return find("") })
	findLight  = sync.OnceValues(func() (installed, error) { return find(chrometest.Light()) })
)

// inChrome has the names of the tests that asked for Chrome; the empty one stands for all.
var inChrome sync.Map

// InChrome makes t and its subtests run in the browser that the product would take. Other tests
// run in chrometest.Light's, which costs half as much: name those that cover what may differ
// between the two.
func InChrome(t testing.TB) { inChrome.Store(t.Name(), true) }

// AllInChrome is as InChrome, for all tests of a package. Call it in TestMain.
func AllInChrome() { inChrome.Store("", true) }

// IsInChrome reports whether InChrome was called for t or a test that it is part of.
func IsInChrome(t testing.TB) bool {
	name := t.Name()
	for {
		if _, named := inChrome.Load(name); named || name == "" {
			return named
		}
		name = name[:max(0, strings.LastIndex(name, "/"))]
	}
}

// Options returns what starts this machine's browser on a fresh profile: see InChrome. The test
// is skipped on a machine without one.
func Options(t testing.TB) browser.Options {
	t.Helper()
	return OptionsIn(t, ShortDir(t))
}

// OptionsIn is as Options, with all that Chrome writes below dir.
func OptionsIn(t testing.TB, dir string) browser.Options {
	t.Helper()
	found, err := findLight()
	if IsInChrome(t) {
		found, err = findChrome()
	}
	if err != nil {
		t.Skip(err)
	}
	o := browser.Options{
		Path: found.path, Version: found.version, StartTimeout: browser.StartTimeout,
		ProfileDir: filepath.Join(dir, "p"), LeaseFile: filepath.Join(dir, "lease"), ScratchDir: filepath.Join(dir, "s"),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if err := os.Mkdir(o.ProfileDir, 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// ShortDir makes a folder whose path is short enough for Chrome's sockets, which
// that of t.TempDir is not always. It is removed when the test ends.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove the test's folder: %v", err)
		}
	})
	return dir
}

// Start starts Chrome with o and closes it when the test ends.
func Start(t testing.TB, o browser.Options) *browser.Browser {
	t.Helper()
	b, err := browser.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Tests that kill or freeze it have their own expectations.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = b.Close(ctx)
		<-b.Done()
	})
	return b
}

// Helpers returns the pids of a Chrome's processes whose command line holds arg, its
// main one left out. They are waited for, since Chrome starts its helpers when they are
// needed. All but its crash handlers are in its group.
func Helpers(t testing.TB, chrome int, arg string) []int {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		all, err := procfs.AllProcs()
		if err != nil {
			t.Fatal(err)
		}
		var found []int
		for _, p := range all {
			stat, err := p.Stat()
			if err != nil || stat.PGRP != chrome || p.PID == chrome { // or it has ended
				continue
			}
			if args, _ := p.CmdLine(); strings.Contains(strings.Join(args, " "), arg) {
				found = append(found, p.PID)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	t.Fatalf("Chrome has no %s", arg)
	return nil
}
