package simulator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
)

func TestScanLinksSyncsAndStaysLinkedOverReload(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	if got := r.eval(`localStorage.getItem('last-wid-md') === null && localStorage.getItem('WANoiseInfo') !== null ? 'unpaired' : 'odd'`); got != "unpaired" {
		t.Errorf("storage before the scan is %s", got)
	}
	check(t, r.Scan(r.ctx))
	r.untilNamed("SYNCING")
	r.untilNamed("MAIN")
	if got := r.eval(`String(!!document.querySelector('#side #pane-side') && require('WAWebSocketModel').Socket.hasSynced)`); got != "true" {
		t.Error("main screen lacks #pane-side, or hasSynced is not set")
	}
	load := r.OnScreen().Load
	check(t, r.Order(simulator.Reload))
	c := r.until(func(c simulator.Screen) bool { return c.Load > load && c.Name != "STARTUP" })
	if c.Name != "MAIN" {
		t.Errorf("after a reload the page shows %v", c)
	}
}

func TestPhoneRemovingDeviceWipesLogin(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	check(t, r.LogOut())
	r.until(func(c simulator.Screen) bool { return c.Load > 1 && c.Visible })
	if got := r.eval(`location.pathname + location.search + localStorage.getItem('last-wid-md')`); got != "/null" {
		t.Errorf("after the logout address and id are %s", got)
	}
}

func TestDeviceRemovedWhileOfflineLearnsItOnReturn(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	r.DropNetwork()
	r.until(func(c simulator.Screen) bool { return !c.Online })
	check(t, r.LogOut())
	r.RestoreNetwork()
	r.until(func(c simulator.Screen) bool { return c.Load > 1 && c.Visible })
}

func TestTakeOverShowsConflictUntilUseHere(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	check(t, r.TakeOver())
	if c := r.untilNamed("CONFLICT"); c.State != "CONFLICT" {
		t.Errorf("state under the conflict is %s", c.State)
	}
	r.press("Use here")
	r.untilNamed("MAIN")
}

// loggedOut is a page that looks alive, although the server has not accepted its login.
const loggedOut = `(({ state, stream, hasSynced }) => [state, stream, hasSynced].join() === 'CONNECTED,DISCONNECTED,true')(require('WAWebSocketModel').Socket)`

func TestReplacedPageLooksAliveUntilReloaded(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	check(t, r.Replace())
	check(t, r.page.Wait(evalUntil(loggedOut)))
	if c := r.OnScreen(); c.Name != "MAIN" {
		t.Errorf("it shows %v", c)
	}
	if got := r.eval(throws(`require('WAWebSocketModel').Socket.takeover()`, "takeover: there is no conflict") + `.toString()`); got != "true" {
		t.Error("it can be taken over in place")
	}
	loads := r.OnScreen().Load
	check(t, r.Order(simulator.Reload))
	r.until(func(c simulator.Screen) bool { return c.Load > loads && c.Name == "MAIN" })
	check(t, r.page.Wait(evalUntil(`require('WAWebSocketModel').Socket.stream === 'CONNECTED'`)))
}

func TestRefusedLoginLooksConnectedAndIsTriedAgain(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	check(t, r.SetFault("500"))
	r.DropNetwork()
	r.until(func(c simulator.Screen) bool { return c.State == "OPENING" })
	r.RestoreNetwork()
	check(t, r.page.Wait(evalUntil(loggedOut)))
	r.ClearFaults()
	check(t, r.page.Wait(evalUntil(`require('WAWebSocketModel').Socket.stream === 'CONNECTED'`)))
	if c := r.OnScreen(); c.Load != 1 {
		t.Error("the page was loaded again")
	}
}

func TestReloadButtonRenewsCodesThatRanOut(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 200})
	r.open("")
	seen := map[string]bool{}
	idle := r.until(func(c simulator.Screen) bool {
		seen[c.Ref] = c.Ref != "" || seen[c.Ref]
		return c.State == "UNPAIRED_IDLE"
	})
	if idle.Payload == "" || idle.Visible || idle.Overlay != "idle" {
		t.Errorf("idle screen is %v", idle)
	}
	if got := r.eval(`String(document.querySelector('[data-ref]') !== null) + document.querySelector('canvas').style.opacity`); got != "true0.04" {
		t.Errorf("idle container and opacity are %s", got)
	}
	if err := r.Scan(r.ctx); !errors.Is(err, simulator.ErrNothingToScan) {
		t.Errorf("scan of a dead code: %v", err)
	}
	if err := r.ScanPayload(r.ctx, idle.Payload); !errors.Is(err, simulator.ErrExpired) {
		t.Errorf("scan of a dead string: %v", err)
	}
	r.press("Click to reload QR code")
	if fresh := r.shown(); fresh.Payload == idle.Payload {
		t.Error("the renewed code is the old one")
	}
}

func TestRotatedADVSecretChangesStringUnderSameRef(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 10})
	r.open("")
	before := r.shown()
	check(t, r.RotateADV())
	after := r.until(func(c simulator.Screen) bool { return c.Visible && c.Payload != before.Payload })
	if after.Ref != before.Ref {
		t.Error("the ref changed, too")
	}
	if err := r.ScanPayload(r.ctx, before.Payload); !errors.Is(err, simulator.ErrRefused) {
		t.Errorf("scan of the string before the rotation: %v", err)
	}
	check(t, r.ScanPayload(r.ctx, after.Payload))
	r.untilNamed("SYNCING")
}

func TestDroppedNetworkCoversCodeAndRestoredRenewsIt(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	before := r.shown()
	r.DropNetwork()
	c := r.until(func(c simulator.Screen) bool { return !c.Online })
	if c.Overlay != "offline" || c.Visible {
		t.Errorf("offline screen is %v", c)
	}
	r.RestoreNetwork()
	if after := r.shown(); after.Payload == before.Payload {
		t.Error("the code after the outage is the old one")
	}
}

// TestClockOfTheCodesOutlivesTheirConnection follows the page to the end of the list.
func TestClockOfTheCodesOutlivesTheirConnection(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 20})
	r.open("")
	first := r.shown()
	check(t, r.SetFault("socket=refused"))
	r.Disconnect()
	dead := r.until(func(c simulator.Screen) bool { return c.State == "UNPAIRED" && c.Payload != "" && c.Ref != first.Ref })
	if dead.Visible || dead.Alive || strings.Split(dead.Payload, ",")[3] != strings.Split(first.Payload, ",")[3] {
		t.Errorf("a dead code has a new secret, or can be scanned: %v", dead)
	}
	if err := r.ScanPayload(r.ctx, dead.Payload); !errors.Is(err, simulator.ErrExpired) {
		t.Errorf("scan of a dead code: %v", err)
	}
	r.until(func(c simulator.Screen) bool { return c.State == "UNPAIRED_IDLE" })
	r.ClearFaults()
	fresh := r.shown()
	if strings.Split(fresh.Payload, ",")[3] == strings.Split(first.Payload, ",")[3] {
		t.Error("the secret is still the old one")
	}
	check(t, r.Scan(r.ctx))
}

func TestClockOfTheCodesDiesWithoutNetwork(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	check(t, r.SetFault("probe=fail"))
	before := r.until(func(c simulator.Screen) bool { return !c.Online && !c.Alive })
	r.ClearFaults()
	c := r.until(func(c simulator.Screen) bool { return c.Online })
	if c.State != "UNPAIRED" || c.Visible || c.Overlay != "" || c.Payload != before.Payload {
		t.Errorf("back online the page shows %v", c)
	}
}

func TestServiceWorkerCanHoldTheConnection(t *testing.T) {
	r := newRig(t, simulator.Options{Faults: []string{"socket=worker"}})
	check(t, proto.NetworkEnable{}.Call(r.page))
	opened := make(chan string, 100)
	wait := r.page.EachEvent(func(e *proto.NetworkWebSocketCreated) { opened <- e.URL })
	go wait()
	r.open("")
	r.link()
	check(t, r.Order(simulator.Reload))
	r.until(func(c simulator.Screen) bool { return c.Load > 1 && c.Name == "MAIN" })
	for len(opened) > 0 {
		if url := <-opened; strings.Contains(url, "/ws/chat") {
			t.Errorf("the page opened %s", url)
		}
	}
}

func TestSilentNetworkIsNoticedByPage(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.link()
	r.StallNetwork()
	if c := r.until(func(c simulator.Screen) bool { return !c.Online && c.State == "OPENING" }); c.Name != "MAIN" {
		t.Errorf("a linked page without a network shows %v", c)
	}
	r.RestoreNetwork()
	r.until(func(c simulator.Screen) bool { return c.Online && c.State == "CONNECTED" })
}

func TestPhoneNumberLinksByCode(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	r.press("Log in with phone number")
	r.untilNamed("PHONE_NUMBER")
	if got := r.eval(`String(document.querySelector('[data-ref]'))`); got != "null" {
		t.Error("data-ref is there next to the phone number")
	}
	r.eval(`document.querySelector('input[aria-label]').value = '+1 555 010 0042'`)
	r.press("Next")
	c := r.until(func(c simulator.Screen) bool { return c.Code != "" })
	check(t, r.EnterCode(r.ctx, c.Code[:4]+"-"+c.Code[4:]))
	r.untilNamed("MAIN")
}

func TestSecondTabStepsBack(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	r.page = r.newTab()
	r.open("")
	r.untilNamed("ANOTHER_SESSION")
	r.press("Use here")
	r.until(func(c simulator.Screen) bool { return c.Load > 2 && c.Visible })
}

// TestRefusedCodesFailAsObserved asks by the modules, as libraries do.
func TestRefusedCodesFailAsObserved(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	ask := func() string {
		return r.eval(`(async () => {
			const api = require('WAWebAltDeviceLinkingApi');
			api.setPairingType('ALT_DEVICE_LINKING');
			api.initializeAltDeviceLinking();
			try {
				return await api.startAltLinkingFlow('15550100042', true);
			} catch (e) {
				return [e.name, e.type?.name, e.type?.value.code, e.type?.value.text].join(' ') + (e.message.includes('bad-request') ? ' all' : '');
			}
		})()`)
	}
	first := ask()
	for fault, want := range map[string]string{
		"code=400": "CompanionHelloError IQErrorBadRequest 400 bad-request",
		"code=403": "CompanionHelloError IQErrorForbidden 403 forbidden",
		"code=452": "CompanionHelloError IQErrorFeatureNotAvailable 452 feature-not-available",
		"code=500": "CompanionHelloError IQErrorInternalServerError 500 internal-server-error",
		"code=501": "SmaxParsingFailure    all",
		"code=503": "SmaxParsingFailure    all",
	} {
		check(t, r.SetFault(fault))
		if got := ask(); got != want {
			t.Errorf("%s: got %q", fault, got)
		}
		if err := r.EnterCode(r.ctx, first); !errors.Is(err, simulator.ErrExpired) {
			t.Errorf("%s: the code before it: %v", fault, err)
		}
	}
	if n := r.CodeRequests(); n != 7 {
		t.Errorf("%d requests", n)
	}
}
