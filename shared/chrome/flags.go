package chrome

import (
	"errors"
	"slices"
	"strings"
)

// Why flags are refused, where there is more than one for the same reason.
const (
	neverVisible = "Chrome is never visible here"
	openPort     = "an open DevTools port would give the session to every local user"
	ownPipe      = "the worker drives Chrome by a pipe of its own"
	ownProfile   = "use --tokens"
	loginLost    = "the login would not be kept"
	exits        = "Chrome would exit at once"
	ownPage      = "the worker opens the page; use --url for another one"
	waits        = "Chrome would wait for a debugger"
	runsProgram  = "Chrome's helper processes would not be its own"
)

// refused are the flags, without their dashes, that can't be passed to Chrome: they
// belong to the service, or would keep it from working. Most were tried with Chrome
// 156.
var refused = map[string]string{
	"headless": neverVisible, "no-headless": neverVisible, "headful": neverVisible, "display": neverVisible,
	"ozone-platform": neverVisible, "ozone-platform-hint": neverVisible,

	"remote-debugging-port": openPort, "remote-debugging-address": openPort, "remote-debugging-socket-name": openPort,
	"remote-debugging-pipe": ownPipe, "remote-debugging-io-pipes": ownPipe, "remote-debugging-targets": ownPipe,

	"user-data-dir": ownProfile, "profile-directory": ownProfile, "profile-email": ownProfile,
	"incognito": loginLost, "guest": loginLost, "bwsi": loginLost,

	"app": ownPage, "app-id": ownPage, "kiosk": ownPage, "restore-last-session": ownPage,
	"user-agent":        "WhatsApp chooses its page by it, so the worker derives it from Chrome's real version",
	"enable-automation": "the page would see that a program drives the browser",

	"version": exits, "product-version": exits, "help": exits, "make-default-browser": exits, "pack-extension": exits,
	"diagnostics": exits, "crash-test": exits, "validate-crx": exits,
	"screen-info":    "the worker sets it; Chrome exits at once when it is malformed",
	"type":           "it is for Chrome's own helper processes",
	"no-zygote":      "Chrome's sandbox needs the zygote",
	"single-process": "the worker watches Chrome's processes one by one",

	"wait-for-debugger": waits, "wait-for-debugger-children": waits, "renderer-startup-dialog": waits,
	"gpu-startup-dialog": waits, "utility-startup-dialog": waits,
	"browser-subprocess-path": runsProgram, "renderer-cmd-prefix": runsProgram, "utility-cmd-prefix": runsProgram,
	"zygote-cmd-prefix": runsProgram, "gpu-launcher": runsProgram,

	"virtual-time-budget": "the page's clock would stop",
}

// CheckArg returns nil if arg, such as "--lang=es", may be passed to Chrome, and
// otherwise an error that explains to the operator why not.
func CheckArg(arg string) error {
	name, _, _ := strings.Cut(arg, "=")
	flag, ok := strings.CutPrefix(name, "--")
	switch {
	case !ok || flag == "":
		return errors.New("a flag of Chrome begins with two dashes, for example --lang=es")
	case arg != strings.TrimSpace(arg) || strings.ContainsRune(arg, 0):
		// Chrome would cut white space off, and take the rest for another flag.
		return errors.New("a flag neither ends with white space nor holds a NUL byte")
	}
	if _, server, _ := strings.Cut(arg, "="); flag == "proxy-server" && strings.Contains(server, "@") {
		return errors.New("Chrome takes no user for a proxy; use --proxy")
	}
	if why, ok := refused[strings.TrimLeft(flag, "-")]; ok {
		return errors.New(why)
	}
	return nil
}

// DisablesSandbox reports whether a command line turns Chrome's sandbox off.
func DisablesSandbox(args []string) bool { return slices.Contains(args, noSandbox) }

const noSandbox = "--no-sandbox"

// sandboxSigns are what Chrome writes when it can't build its sandbox (Chromium's
// zygote_host_impl_linux.cc and sandbox/linux).
var sandboxSigns = []string{
	"No usable sandbox",
	"without --no-sandbox is not supported",
	"The SUID sandbox helper binary was found, but is not configured correctly",
	"Failed to move to new namespace",
}

// SandboxRefused reports whether Chrome's output on stderr means that it can't use its
// sandbox on this machine.
func SandboxRefused(stderr string) bool {
	return slices.ContainsFunc(sandboxSigns, func(sign string) bool { return strings.Contains(stderr, sign) })
}
