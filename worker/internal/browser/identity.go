package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
)

// acceptLanguage is what Chrome sends with --lang=en-US.
const acceptLanguage = "en-US,en"

// userAgentOf returns the user agent of Chrome of this version on Linux, as it
// is with a window: since Chrome 110 all but the major version is fixed, on
// every architecture (Chromium's user-agent reduction). Headless it would say
// "HeadlessChrome", which WhatsApp answers with its page for old browsers.
func userAgentOf(version string) string {
	return fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "+
		"Chrome/%s.0.0.0 Safari/537.36", chrome.Major(version))
}

// errOtherVersion means that another version runs than was asked for.
var errOtherVersion = errors.New("another version")

// checkIdentity returns an error unless the browser that runs is the requested one, and
// has the user agent that was set. The versions differ when Chrome was upgraded after
// its version was read.
func checkIdentity(version, product, userAgent string) error {
	_, running, _ := strings.Cut(product, "/")
	if chrome.Major(running) != chrome.Major(version) {
		return fmt.Errorf("%s was started as %s: %w", product, version, errOtherVersion)
	}
	if userAgent != userAgentOf(version) {
		return reason.Wrap(reason.BrowserUnsupported, fmt.Errorf("%w: %s does not let its user agent be set; it is still %q", ErrUnsupported, product, userAgent))
	}
	return nil
}

// disguise gives targets the identity of a browser with a window.
type disguise struct {
	// client is the connection itself: rod's browser would keep every call to every session forever.
	client   rod.CDPClient
	identity atomic.Pointer[proto.EmulationSetUserAgentOverride] // nil until known
	held     chan struct{}                                       // has a token for each target that Chrome holds for us
}

const (
	// mostHeld bounds the targets that are given the identity at once. A page that starts more
	// before the first ones answer gets the others without it.
	mostHeld = 256
	// dressLimit is how long a target may take for each answer. Measured: 1 ms.
	dressLimit = time.Second
)

// Disguise completes what page reports about the browser. With --user-agent Chrome
// leaves the detailed client hints (full version list, architecture, bitness)
// empty, as no browser of a person does, and a chrome-headless-shell has a brand of its
// own. The real values are filled in: in the page, and in each of its frames and windows and in
// every worker before its first line runs. Chrome holds windows that a page opens, and the page
// with them, regardless of the types that are asked for below the page. It must be called before the page's first
// navigation, for it asks its blank document for the real brands. Requests of workers have
// no hints.
func (b *Browser) Disguise(ctx context.Context, page *rod.Page) error {
	page = page.Context(ctx)
	identity, err := b.disguise.learn(page, b.info)
	if err != nil {
		return fmt.Errorf("cannot learn the browser's client hints: %w", err)
	}
	errs := make([]error, 3)
	var calls sync.WaitGroup
	for i, call := range []func() error{
		func() error { return identity.Call(page) },
		func() error { return hold("iframe", "worker").Call(page) },
		func() error { return hold("service_worker", "shared_worker", "page").Call(b.rod.Context(ctx)) },
	} {
		calls.Go(func() { errs[i] = call() })
	}
	calls.Wait()
	if err := cmp.Or(errs...); err != nil {
		return fmt.Errorf("cannot set the client hints: %w", err)
	}
	return nil
}

// hold makes Chrome attach to each target of these types that starts below another one,
// and hold it before its first line runs.
func hold(types ...string) proto.TargetSetAutoAttach {
	call := proto.TargetSetAutoAttach{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: true}
	for _, t := range types {
		call.Filter = append(call.Filter, &proto.TargetFilterEntry{Type: t})
	}
	call.Filter = append(call.Filter, &proto.TargetFilterEntry{Exclude: true}) // all others
	return call
}

// attached gives a target that Chrome holds the identity, and then lets it run in any
// case. It waits for no answer.
func (d *disguise) attached(e *cdp.Event) {
	var to proto.TargetAttachedToTarget
	identity := d.identity.Load()
	if err := json.Unmarshal(e.Params, &to); err != nil || !to.WaitingForDebugger || to.TargetInfo == nil || identity == nil {
		return
	}
	within := func(limit time.Duration, call proto.Request) { d.call(to.SessionID, limit, call) }
	select {
	case d.held <- struct{}{}:
	default:
		within(0, proto.RuntimeRunIfWaitingForDebugger{}) // is sent all the same
		return
	}
	go func() {
		defer func() { <-d.held }()
		var calls sync.WaitGroup
		calls.Go(func() { within(dressLimit, identity) })
		if kind := to.TargetInfo.Type; kind == "iframe" || kind == "worker" || kind == "page" { // the others have none below
			calls.Go(func() { within(dressLimit, hold("iframe", "worker")) })
		}
		calls.Wait()
		within(dressLimit, proto.RuntimeRunIfWaitingForDebugger{})
	}()
}

// restarted lets a service worker run that had stopped. Chrome keeps its session, and with that the
// identity, and holds it at each start (Chromium's service_worker_devtools_manager.cc) without an
// attachment. A page that is not held does not mind.
func (d *disguise) restarted(e *cdp.Event) {
	d.call(proto.TargetSessionID(e.SessionID), 0, proto.RuntimeRunIfWaitingForDebugger{})
}

// call is made, and answered within the limit or not: the target may have ended, or hang.
func (d *disguise) call(session proto.TargetSessionID, limit time.Duration, call proto.Request) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, _ = d.client.Call(ctx, string(session), call.ProtoReq(), call)
}

// learn reads the brands from page the first time, and remembers them.
func (d *disguise) learn(page *rod.Page, info Info) (*proto.EmulationSetUserAgentOverride, error) {
	if known := d.identity.Load(); known != nil {
		return known, nil
	}
	brands, err := readBrands(page)
	if err != nil {
		return nil, err
	}
	_, full, _ := strings.Cut(info.Product, "/")
	d.identity.Store(&proto.EmulationSetUserAgentOverride{
		UserAgent: info.UserAgent, AcceptLanguage: acceptLanguage, UserAgentMetadata: hintsOf(brands, full, runtime.GOARCH),
	})
	return d.identity.Load(), nil
}

// askBrands makes a request to this machine, and takes it back.
const askBrands = `(() => {
	const end = new AbortController();
	fetch("` + nowhere + `", { mode: "no-cors", signal: end.signal }).catch(() => {});
	end.abort();
})()`

// readBrands reads the brands from the header of a request, which Chrome reports before it
// sends it. The blank document has no navigator.userAgentData, which exists in secure
// contexts only, and to visit one would cost the start of another renderer.
func readBrands(page *rod.Page) ([]*proto.EmulationUserAgentBrandVersion, error) {
	header := ""
	wait := page.EachEvent(func(e *proto.NetworkRequestWillBeSent) bool {
		header = e.Request.Headers["sec-ch-ua"].Str()
		return e.Request.URL == nowhere
	})
	if _, err := (proto.RuntimeEvaluate{Expression: askBrands}).Call(page); err != nil {
		return nil, err
	}
	wait()
	if err := page.GetContext().Err(); err != nil {
		return nil, err
	}
	return brandsIn(header)
}

// brandPattern is a member of the header (https://wicg.github.io/ua-client-hints/#sec-ch-ua).
var brandPattern = regexp.MustCompile(`"([^"\\]*)";v="(\d+)"`)

// brandsIn returns the brands in a header, without that of a chrome-headless-shell, which
// has the others of Chromium.
func brandsIn(header string) (brands []*proto.EmulationUserAgentBrandVersion, err error) {
	for _, m := range brandPattern.FindAllStringSubmatch(header, -1) {
		if m[1] != "HeadlessChrome" {
			brands = append(brands, &proto.EmulationUserAgentBrandVersion{Brand: m[1], Version: m[2]})
		}
	}
	if len(brands) == 0 {
		return nil, fmt.Errorf("no brands in the header %.200q", header)
	}
	return brands, nil
}

// hintsOf completes the brands. A brand with the browser's major version gets
// the full version; the made-up brand that Chrome adds ends in zeros.
func hintsOf(brands []*proto.EmulationUserAgentBrandVersion, full, arch string) *proto.EmulationUserAgentMetadata {
	list := make([]*proto.EmulationUserAgentBrandVersion, 0, len(brands))
	for _, b := range brands {
		version := b.Version + ".0.0.0"
		if b.Version == chrome.Major(full) {
			version = full
		}
		list = append(list, &proto.EmulationUserAgentBrandVersion{Brand: b.Brand, Version: version})
	}
	hints := &proto.EmulationUserAgentMetadata{
		Brands: brands, FullVersionList: list, FullVersion: full,
		Platform: "Linux", Bitness: "64", Architecture: "x86",
	}
	if arch == "arm64" {
		hints.Architecture = "arm"
	}
	return hints
}
