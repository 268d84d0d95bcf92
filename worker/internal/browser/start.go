package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
	"session-manager/shared/lease"
	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/worker/internal/logid"
)

// Start starts Chrome and returns when it answers and holds our profile. ctx
// bounds the start only. An error carries a reason (package reason); Chrome has
// exited then.
func Start(ctx context.Context, o Options) (*Browser, error) {
	// Without a profile Chrome would silently use another one.
	if info, err := os.Stat(o.ProfileDir); err != nil {
		return nil, reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("cannot use the profile: %w", err))
	} else if !info.IsDir() {
		return nil, reason.Wrap(reason.ProfileUnwritable, fmt.Errorf("cannot use the profile %s: not a folder", o.ProfileDir))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.StartTimeout,
		fmt.Errorf("Chrome gave no answer within %v", o.StartTimeout))
	defer cancel()

	held, err := lease.Acquire(o.LeaseFile)
	if errors.Is(err, lease.ErrHeld) {
		return nil, reason.Wrap(reason.ProfileInUse, err)
	}
	if err != nil {
		return nil, reason.Wrap(reason.ProfileUnwritable, err)
	}
	// From here on only Chrome's copy holds the lease.
	b, err := launch(o, thisHost(), held)
	_ = held.Close()
	if err != nil {
		return nil, err
	}
	if err := b.settle(ctx, o); err != nil {
		return nil, b.abandon(o, checkVersion(ctx, o, err))
	}
	return b, nil
}

// launch runs the binary with its pipes.
func launch(o Options, h host, held *os.File) (*Browser, error) {
	env, err := prepareScratch(o.ScratchDir, os.Environ())
	if errors.Is(err, syscall.ENOSPC) {
		return nil, reason.Wrap(reason.DiskFull, err)
	}
	if err != nil {
		return nil, reason.Wrap(reason.BrowserStartFailed, err)
	}
	args := commandLine(o.ProfileDir, userAgentOf(o.Version), h, o.Args)
	b := &Browser{log: o.Logger, info: Info{Sandbox: !chrome.DisablesSandbox(args)}}
	b.disguise.held = make(chan struct{}, mostHeld)
	if !b.info.Sandbox {
		o.Logger.Warn(logid.SandboxDisabled, slog.Bool("root", h.root),
			slog.String(logging.KeyDetail, "a page that breaks out of Chrome has this user's rights"))
	}
	if err := b.exec(o.Path, args, env, held); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			return nil, reason.Wrap(reason.BrowserMissing, err)
		}
		return nil, reason.Wrap(reason.BrowserStartFailed, err)
	}
	return b, nil
}

// exec connects Chrome's descriptors: it reads commands from 3, writes answers to
// 4, and keeps the lease in 5 for as long as it lives.
func (b *Browser) exec(path string, args, env []string, held *os.File) error {
	commandsIn, commands, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	answers, answersOut, err := os.Pipe()
	if err != nil {
		_ = commandsIn.Close()
		_ = commands.Close()
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	b.pipe = newPipe(commands, answers)
	b.process, err = spawn(path, args, env, commandsIn, answersOut, held)
	_ = commandsIn.Close()
	_ = answersOut.Close()
	if err != nil {
		b.pipe.Close()
		return err
	}
	b.info.PID = b.process.pid()
	return nil
}

// settle waits until Chrome answers, and verifies that it is ours, on our
// profile.
func (b *Browser) settle(ctx context.Context, o Options) error {
	begun := time.Now()
	if err := b.connect(ctx, o.Version); err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("cannot get this machine's name: %w", err)
	}
	if err := checkProfile(chrome.EngineOf(b.info.Product), o.ProfileDir, hostname, b.PID()); err != nil {
		return err
	}
	b.log.Debug(logid.ChromeConnected, slog.Int(logging.KeyPID, b.PID()), slog.String("product", b.info.Product),
		logging.Millis("start_ms", time.Since(begun)))
	return nil
}

// connect speaks to Chrome for the first time, and learns who it is.
func (b *Browser) connect(ctx context.Context, version string) error {
	b.disguise.client = &boundedClient{cdp.New().Start(b.pipe), &b.info, &b.disguise}
	b.rod = rod.New().NoDefaultDevice().Client(b.disguise.client)
	b.probes.rod = b.rod
	answered := make(chan error, 1)
	go func() { answered <- b.greet(version) }()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
	case <-b.process.done:
	}
	b.pipe.Close() // ends every call of greet
	err := <-answered
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// greet runs until Chrome answers or the pipe is closed. Rod's Connect can't be
// given a context: it would initialise a clone of the browser. Everything is asked at once,
// since Chrome, which is still starting, may take as long for each answer.
func (b *Browser) greet(version string) error {
	var v *proto.BrowserGetVersionResult
	errs := make([]error, 4)
	var calls sync.WaitGroup
	for i, call := range []func() error{
		b.rod.Connect,
		func() (err error) { v, err = proto.BrowserGetVersion{}.Call(b.rod); return err },
		// Said to the browser, this holds for every page and popup, as long as we are connected
		// (https://chromedevtools.github.io/devtools-protocol/tot/Browser/#method-setDownloadBehavior).
		// Nobody wants a download here, and a page could fill the disk with them.
		func() error {
			return proto.BrowserSetDownloadBehavior{Behavior: proto.BrowserSetDownloadBehaviorBehaviorDeny}.Call(b.rod)
		},
		// The page's process starts while the rest of Chrome does.
		func() error { _, err := proto.TargetCreateTarget{URL: "about:blank"}.Call(b.rod); return err },
	} {
		calls.Go(func() { errs[i] = call() })
	}
	calls.Wait()
	if err := cmp.Or(errs...); err != nil {
		return fmt.Errorf("cannot connect to Chrome: %w", err)
	}
	b.info.Product, b.info.UserAgent = v.Product, v.UserAgent
	return checkIdentity(version, v.Product, v.UserAgent)
}

// checkVersion returns err, or, if that is another version than was asked for, and the browser
// still prints the one that was asked for, that it is not supported: Opera, for one,
// counts its versions otherwise than Chrome. Otherwise Chrome has been upgraded meanwhile.
func checkVersion(ctx context.Context, o Options, err error) error {
	if !errors.Is(err, errOtherVersion) {
		return err
	}
	binary, findErr := chrome.Find(o.Path)
	if findErr != nil {
		return err
	}
	if said, sayErr := new(chrome.Versions).Of(ctx, binary); sayErr == nil && said == o.Version {
		return reason.Wrap(reason.BrowserUnsupported, fmt.Errorf("%w: --version prints %s (%w)", ErrUnsupported, said, err))
	}
	return err
}

// boundedClient gives every call a deadline, and frees rod's reader in all
// cases: without its cancel a call whose Send failed would leave the reader
// waiting to hand over an answer that nobody takes.
type boundedClient struct {
	*cdp.Client
	info     *Info
	disguise *disguise
}

// Event implements rod.CDPClient.
func (c *boundedClient) Event() <-chan *cdp.Event {
	events := make(chan *cdp.Event)
	go func() {
		defer close(events)
		for e := range c.Client.Event() {
			switch e.Method {
			case "Target.attachedToTarget":
				c.disguise.attached(e)
			case "Inspector.targetReloadedAfterCrash":
				c.disguise.restarted(e)
			}
			events <- e
		}
	}()
	return events
}

// methodNotFound is JSON-RPC's code for a method that does not exist, as in a browser that
// lacks a part of the protocol (https://www.jsonrpc.org/specification#error_object).
const methodNotFound = -32601

// Call implements rod.CDPClient.
func (c *boundedClient) Call(ctx context.Context, session, method string, params any) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(callLimit)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	res, err := c.Client.Call(ctx, session, method, params)
	if e, ok := errors.AsType[*cdp.Error](err); ok && e.Code == methodNotFound {
		return nil, reason.Wrap(reason.BrowserUnsupported, fmt.Errorf("%w: %s has no %s, and Chrome %d or newer is needed (%w)",
			ErrUnsupported, cmp.Or(c.info.Product, "it"), method, chrome.OldestMajor, err))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return res, nil
}

// abandon ends a Chrome that did not start well, and explains cause.
func (b *Browser) abandon(o Options, cause error) error {
	exited := isClosed(b.process.done) || errors.Is(cause, ErrGone) && wait(b.process.done, pipeExit)
	if !exited || errors.Is(cause, ErrUnsupported) {
		// It may answer on another profile, or be about to: let it close cleanly.
		b.pipe.Close()
		if !wait(b.process.done, pipeExit) {
			b.process.kill()
			wait(b.process.done, killExit)
		}
		return reason.Wrap(reason.Of(cause, reason.BrowserStartFailed), fmt.Errorf("cannot start Chrome: %w", cause))
	}
	exit := b.Exit()
	code, detail := diagnose(exit, b.Stderr(), inspectProfile(o.ProfileDir))
	return reason.Wrap(code, fmt.Errorf("cannot start Chrome: it ended (%v); %s (%w)", exit, detail, cause))
}

// socketPathLimit is how long a TMPDIR may be. Chrome makes the socket
// TMPDIR/org.chromium.Chromium.XXXXXX/SingletonSocket, and aborts when that is
// longer than the 107 bytes of a socket's path.
const socketPathLimit = 107 - len("/org.chromium.Chromium.XXXXXX/SingletonSocket")

// kept are the variables that Chrome gets from our own environment. All others
// stay behind: credentials, proxies (a flag is for that), and above all DISPLAY,
// WAYLAND_DISPLAY and DBUS_SESSION_BUS_ADDRESS, by which Chrome would reach a
// person's desktop.
var kept = []string{"PATH", "LANG", "LC_ALL", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH"}

// prepareScratch makes Chrome's private folders below dir and returns the
// environment that points to them. Names are short because of socketPathLimit.
func prepareScratch(dir string, environ []string) ([]string, error) {
	var env []string
	for _, p := range [][2]string{
		{"HOME", "h"}, {"TMPDIR", "t"}, {"XDG_CONFIG_HOME", "h/cfg"}, {"XDG_CACHE_HOME", "h/cache"},
		{"XDG_DATA_HOME", "h/data"}, {"XDG_RUNTIME_DIR", "r"}, {"BREAKPAD_DUMP_LOCATION", "d"},
	} {
		variable, path := p[0], filepath.Join(dir, p[1])
		if variable == "TMPDIR" && len(path) > socketPathLimit {
			return nil, fmt.Errorf("cannot use %s as TMPDIR: longer than %d bytes", path, socketPathLimit)
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make Chrome's folder: %w", err)
		}
		env = append(env, variable+"="+path)
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(kept, name) {
			env = append(env, entry)
		}
	}
	return env, nil
}

// host is what the command line depends on besides the options.
type host struct {
	// root: Chrome refuses to run as root with its sandbox.
	root bool
	// smallSharedMemory: /dev/shm is too small for Chrome's bitmaps.
	smallSharedMemory bool
}

func thisHost() host {
	_, enough := chrome.SharedMemory()
	return host{root: os.Geteuid() == 0, smallSharedMemory: !enough}
}
