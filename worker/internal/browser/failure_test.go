package browser_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
	"session-manager/worker/internal/browser"
	"session-manager/worker/internal/browser/browsertest"
)

// script makes an executable in place of Chrome.
func script(t *testing.T, body string) browser.Options {
	t.Helper()
	dir := browsertest.ShortDir(t)
	path := filepath.Join(dir, "chrome")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(dir, "p")
	if err := os.Mkdir(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	return browser.Options{
		Path: path, Version: "156.0.1.2", ProfileDir: profile,
		LeaseFile: filepath.Join(dir, "lease"), ScratchDir: filepath.Join(dir, "s"),
		StartTimeout: browser.StartTimeout, Logger: slog.New(slog.DiscardHandler),
	}
}

// answering is the line of a script that answers every call of a start: with a
// version, or when product is empty with an error that says userAgent.
func answering(product, userAgent string) string {
	return fmt.Sprintf("%s='%s' exec '%s' '%s'", asChrome, product, os.Args[0], userAgent)
}

// noPID stands for the process that is not known from here.
const noPID = -1

const plainUserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"

// failedStart is a start that must fail.
type failedStart struct {
	name   string
	script string // in place of Chrome
	change func(*browser.Options)
	want   reason.Code
	text   string
}

func TestStartWithBadOptionsNamesItsReason(t *testing.T) {
	for _, tt := range []failedStart{
		{name: "binary missing", change: func(o *browser.Options) { o.Path += "-not" },
			want: reason.BrowserMissing, text: "no such file"},
		{name: "binary not executable", change: func(o *browser.Options) { _ = os.Chmod(o.Path, 0o600) },
			want: reason.BrowserMissing, text: "permission denied"},
		{name: "binary is a folder", change: func(o *browser.Options) { o.Path = filepath.Dir(o.Path) },
			want: reason.BrowserMissing, text: "permission denied"},
		{name: "binary of nothing known", change: func(o *browser.Options) { _ = os.WriteFile(o.Path, []byte("\x00\x01"), 0o700) },
			want: reason.BrowserMissing, text: "exec format"},
		{name: "profile missing", change: func(o *browser.Options) { o.ProfileDir += "/no" },
			want: reason.ProfileUnwritable, text: "no such file"},
		{name: "profile is a file", change: func(o *browser.Options) { o.ProfileDir = o.Path },
			want: reason.ProfileUnwritable, text: "not a folder"},
		{name: "lease can't be made", change: func(o *browser.Options) { o.LeaseFile += "/no/lease" },
			want: reason.ProfileUnwritable, text: "lease"},
		{name: "scratch folder can't be made", change: func(o *browser.Options) { o.ScratchDir = o.Path },
			want: reason.BrowserStartFailed, text: "not a directory"},
		{name: "scratch path too long", change: func(o *browser.Options) { o.ScratchDir += strings.Repeat("x", 60) },
			want: reason.BrowserStartFailed, text: "longer than 62 bytes"},
	} {
		t.Run(tt.name, tt.test)
	}
}

func TestFailedStartNamesItsReasonAndLeavesNothing(t *testing.T) {
	for _, tt := range []failedStart{
		{name: "never answers", script: "exec sleep 60", want: reason.BrowserStartFailed, text: "no answer within"},
		{name: "a child holds on", script: "sleep 60", want: reason.BrowserStartFailed, text: "no answer within"},
		{name: "exits 1", script: "echo 'the cause' >&2; exit 1", want: reason.BrowserStartFailed, text: "the cause"},
		{name: "exits 0", script: "exit 0", want: reason.BrowserStartFailed, text: "exit 0"},
		{name: "is killed", script: "kill -KILL $$", want: reason.BrowserStartFailed, text: "by something else; see journalctl -k"},
		{name: "aborts", script: "kill -ABRT $$", want: reason.BrowserStartFailed, text: "signal aborted"},
		{name: "no sandbox", script: "echo 'FATAL: No usable sandbox! Update your kernel' >&2; kill -ABRT $$",
			want: reason.SandboxRefused, text: "No usable sandbox"},
		{name: "exits 21 with a lock", script: `ln -s other-4242 "$(dirname "$0")/p/SingletonLock"; exit 21`,
			want: reason.ProfileInUse, text: "other-4242"},
		{name: "exits 21 with a file as lock", script: `: > "$(dirname "$0")/p/SingletonLock"; exit 21`,
			want: reason.ProfileUnwritable, text: "not a symbolic link"},
		{name: "exits 21 for no visible cause", script: "exit 21", want: reason.BrowserStartFailed, text: "exit 21"},
		{name: "talks nonsense", script: `printf 'hello\0' >&4; exec cat <&3`, want: reason.BrowserStartFailed, text: "invalid character"},
		{name: "answers with an error", script: answering("", "no such method"),
			want: reason.BrowserStartFailed, text: "no such method"},
		{name: "another version runs", script: answering("Chrome/157.0.1.1", plainUserAgent),
			want: reason.BrowserStartFailed, text: "Chrome/157.0.1.1"},
		{name: "another version than it says", script: `[ "$1" != --version ] || exec echo Odd 156.0.1.2` + "\n" + answering("Chrome/157.0.1.1", plainUserAgent),
			want: reason.BrowserUnsupported, text: "Chrome/157.0.1.1"},
		{name: "lacks a method", script: answering("", `"'Browser.setDownloadBehavior' wasn'"'"'t found"`),
			want: reason.BrowserUnsupported, text: "or newer is needed"},
		{name: "lacks a method and exits", script: answering("", `"'Browser.getVersion' wasn'"'"'t found"`),
			want: reason.BrowserUnsupported, text: "or newer is needed"},
		{name: "still headless to servers", script: answering("Chrome/156.0.1.2", "HeadlessChrome/156"),
			want: reason.BrowserUnsupported, text: "user agent"},
		{name: "runs on another profile", script: answering("Chrome/156.0.1.2", plainUserAgent),
			want: reason.ProfileUnwritable, text: "SingletonLock"},
		{name: "another holds the profile",
			script: `ln -s other-4242 "$(dirname "$0")/p/SingletonLock"` + "\n" + answering("Chrome/156.0.1.2", plainUserAgent),
			want:   reason.ProfileInUse, text: "other-4242"},
	} {
		t.Run(tt.name, tt.test)
	}
}

func (tt failedStart) test(t *testing.T) {
	o := script(t, tt.script)
	o.StartTimeout = 300 * time.Millisecond
	if tt.want != reason.BrowserStartFailed || !strings.Contains(tt.text, "within") {
		o.StartTimeout = 20 * time.Second
	}
	if tt.change != nil {
		tt.change(&o)
	}
	b, err := browser.Start(t.Context(), o)
	if err == nil {
		t.Fatalf("Start succeeded: %v", b.Info().Product)
	}
	if got := reason.Of(err, ""); got != tt.want {
		t.Errorf("reason %q, want %q: %v", got, tt.want, err)
	}
	if !strings.Contains(err.Error(), tt.text) {
		t.Errorf("error %q does not say %q", err, tt.text)
	}
	mustBeGone(t, noPID, o.ScratchDir)
	if free, err := lease.Free(o.LeaseFile); err == nil && !free {
		t.Error("the lease is still held")
	}
}

func TestCancelledStartEndsWhatItStarted(t *testing.T) {
	o := script(t, `echo up >&2; : > "$(dirname "$0")/up"; exec sleep 60`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := browser.Start(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start: %v, want %v", err, context.DeadlineExceeded)
	}
	mustBeGone(t, noPID, o.ScratchDir)
}
