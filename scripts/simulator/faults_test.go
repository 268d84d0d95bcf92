package simulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
)

func TestParseFaultTakesEveryListedSwitch(t *testing.T) {
	for _, name := range simulator.FaultNames() {
		text := strings.NewReplacer(":NAME", ":WABase64", "=NAME", "=pt_BR", ":N", ":7", "=N", "=7").Replace(name)
		f, err := simulator.ParseFault(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if f.String() != text {
			t.Errorf("%s reads as %s", text, f)
		}
	}
}

func TestParseFaultRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"", "nonsense", "socket", "reload", "socket=sometimes", "503=1", "sync=stuck", "sync=stuck:x", "sync=timeout:3",
		"modules=missing", "slow=", "slow=-1", "slow=fast", "locale=", "sync=stuck:-1",
	} {
		if f, err := simulator.ParseFault(text); err == nil {
			t.Errorf("%q reads as %v", text, f)
		}
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]simulator.Options{
		"speed":   {Speed: -1},
		"profile": {Profile: "1999"},
		"fault":   {Faults: []string{"gravity=off"}},
	} {
		if _, err := simulator.New(o); err == nil {
			t.Errorf("bad %s is taken", name)
		}
	}
}

type screen = simulator.Screen

func named(name string) func(screen) bool {
	return func(c screen) bool { return c.Name == name }
}

func visible(c screen) bool { return c.Visible }

// faultRow is what a switch leads to. Every row has its own load of the page.
type faultRow struct {
	faults string
	// linked rows begin with a login.
	linked bool
	// query goes into the address.
	query string
	// before is awaited, then do is done, then after is awaited.
	before func(screen) bool
	do     func(*rig)
	after  func(screen) bool
	// isTrue holds on the page in the end; a block of statements that returns.
	isTrue string
}

// elsewhere waits for the page of the other host.
func elsewhere(r *rig) {
	check(r.t, r.page.Wait(evalUntil(`location.hostname === 'localhost' && document.querySelector('canvas')`)))
}

var unlinkedRows = []faultRow{
	{faults: "socket=never", after: func(c screen) bool { return c.Name == "QR" && c.State == "OPENING" }, isTrue: noDataRef},
	{faults: "socket=flap", before: visible, after: func(c screen) bool { return c.State == "OPENING" || c.State == "PAIRING" }},
	{faults: "socket=proxyblock", after: named("PROXYBLOCK"), isTrue: `require('WAWebSocketModel').Socket.state === 'PROXYBLOCK'`},
	{faults: "socket=refused", after: func(c screen) bool { return c.Name == "QR" && c.State == "OPENING" }, isTrue: noDataRef},
	{faults: "favicon=404", after: func(c screen) bool { return c.Name == "QR" && c.State == "OPENING" }, isTrue: noDataRef},
	{faults: "refs=5", after: func(c screen) bool { return c.Name == "QR" && c.State == "PAIRING" }, isTrue: noDataRef},
	{faults: "refs=7", after: func(c screen) bool { return c.Name == "QR" && c.State == "PAIRING" }, isTrue: noDataRef},
	{faults: "socket=worker", after: visible},
	{faults: "probe=fail", after: func(c screen) bool { return c.State == "UNPAIRED" && c.Overlay == "offline" }},
	{faults: "modules=late:1500", before: func(c screen) bool { return c.State == "UNPAIRED" },
		after: visible, isTrue: `!!require('WABase64')`},
	{faults: "modules=late:600000", after: func(c screen) bool { return c.State == "UNPAIRED" },
		isTrue: `require('WAWebMsgCollection').MsgCollection.length === 0 && ` + throws(`require('WABase64')`, `Requiring unknown module "WABase64"`)},
	{faults: "modules=missing:WABase64", after: visible, isTrue: throws(`require('WABase64')`, `Requiring unknown module "WABase64"`)},
	{faults: "modules=throw-not-initialized:60000", after: visible,
		isTrue: throws(`require('WAWebUserPrefsMultiDevice').getADVSecretKey()`, `Storage must be initialized before accessing a table!`)},
	{faults: "debug=absent", after: visible, isTrue: `!window.Debug`},
	{faults: "debug=late", query: "?sim.speed=5", after: visible, isTrue: `!window.Debug?.VERSION`},
	{faults: "idle=now", after: func(c screen) bool { return c.State == "UNPAIRED_IDLE" && c.Overlay == "idle" }},
	{faults: "idle=now overlay=wrong-button", after: func(c screen) bool { return c.State == "UNPAIRED_IDLE" && c.Overlay == "idle" },
		isTrue: `document.querySelector('[data-ref] button').textContent === 'No internet connection'`},
	{faults: "offline=now", after: func(c screen) bool { return c.State == "UNPAIRED" && c.Overlay == "offline" },
		isTrue: `navigator.onLine && !require('WAWebNetworkStatus').online && document.querySelector('canvas').style.opacity === '0.04'`},
	{faults: "adv=rotate", do: func(r *rig) {
		login := map[string]string{}
		r.until(func(c screen) bool {
			before := login[c.Ref]
			login[c.Ref] = c.Payload
			return before != "" && c.Payload != "" && c.Payload != before
		})
	}},
	{faults: "ref=repeat", query: "?sim.speed=200", before: visible, do: func(r *rig) {
		first := r.shown()
		idle := r.until(func(c screen) bool { return c.State == "UNPAIRED_IDLE" })
		if idle.Payload != first.Payload {
			r.t.Error("the repeated ref makes another string")
		}
	}},
	{faults: "ref=empty", after: func(c screen) bool { return c.State == "UNPAIRED" && c.Offered == "" }, isTrue: noDataRef},
	{faults: "autologout=iframe", after: visible, isTrue: noDataRef + ` && !!document.querySelector('iframe[src="/?autologout=1"]')`},
	{faults: "view=phone", after: named("PHONE_NUMBER")},
	{faults: "view=phone", query: "?sim=2026-04", before: unpairedForm, do: func(r *rig) {
		r.ask("+99900000000", "Valid phone number is required.")
		if n := r.CodeRequests(); n != 0 {
			r.t.Errorf("the server was asked %d times for the code of an impossible number", n)
		}
	}, isTrue: `document.body.textContent.includes('Update WhatsApp on phone') && !document.querySelector('[data-testid]')`},
	{faults: "view=phone code=429", before: unpairedForm, do: func(r *rig) {
		r.ask("+15550100042", "Too many attempts")
		r.press("OK")
		if c := r.shown(); c.Overlay != "" {
			r.t.Errorf("got %s", c)
		}
	}},
	{faults: "view=phone code=503", before: unpairedForm, do: func(r *rig) {
		r.ask("+15550100042", "Something went wrong")
	}, after: named("PHONE_NUMBER")},
	{faults: "view=phone code=never", before: unpairedForm, do: func(r *rig) {
		r.ask("+15550100042", "Enter code on phone")
	}, after: func(c screen) bool { return c.Name == "LINK_CODE" && c.Code == "" }},
	{faults: "conflict=unlinked", after: named("CONFLICT"), isTrue: `localStorage.getItem('last-wid-md') === null`},
	{faults: "mutex=other-tab", after: named("ANOTHER_SESSION")},
	{faults: "503", after: named("SERVICE_UNAVAILABLE")},
	{faults: "405", do: reloadsItself},
	{faults: "409", do: reloadsItself},
	{faults: "outdated", after: named("UPDATE"), isTrue: `!!document.querySelector('[data-testid=confirm-popup]')`},
	{faults: "tos", after: named("TOS_BLOCK")},
	{faults: "csp=strict", after: visible},
	{faults: "slow=20", after: visible},
	{faults: "quota", after: named("QR"), isTrue: `document.body.textContent.includes('A database error occurred') && ` + noDataRef},
	{faults: "locale=ar", after: visible, isTrue: `document.documentElement.dir === 'rtl'`},
	{faults: "passkey=gate", before: visible, do: func(r *rig) {
		secret := r.eval(`require('WAWebUserPrefsMultiDevice').getADVSecretKey()`)
		check(r.t, r.Scan(r.ctx))
		r.untilNamed("PASSKEY")
		if r.eval(`require('WAWebUserPrefsMultiDevice').getADVSecretKey()`) == secret {
			r.t.Error("the gate did not renew the ADV secret")
		}
		r.press("Cancel")
		r.shown()
	}},
	{faults: "passkey=waiting", before: visible, do: func(r *rig) { check(r.t, r.Scan(r.ctx)) },
		after: named("PASSKEY"), isTrue: `!!document.querySelector('[data-testid=shortcake_waiting_for_phone_card]')`},
	{faults: "passkey=code", before: visible, do: func(r *rig) { check(r.t, r.Scan(r.ctx)) },
		after: named("PASSKEY"), isTrue: `!!document.querySelector('[data-testid=shortcake_verification_code_display]')`},
	{faults: "elsewhere=redirect:localhost", do: elsewhere, after: visible, isTrue: `location.search === ''`},
	{faults: "elsewhere=logout:localhost", do: elsewhere, after: visible, isTrue: `location.search === ''`},
	{faults: "elsewhere=script:localhost", do: elsewhere, after: visible, isTrue: `location.search === ''`},
	{faults: "elsewhere=meta:localhost", do: elsewhere, after: visible, isTrue: `location.search === ''`},
	{faults: "reload=random", do: reloadsItself},
}

func reloadsItself(r *rig) {
	first := r.OnScreen().Load
	r.until(func(c screen) bool { return c.Load > first+2 })
}

func unpairedForm(c screen) bool { return c.Name == "PHONE_NUMBER" && c.State == "UNPAIRED" }

// ask fills in the form for a phone number, and waits for a text.
func (r *rig) ask(number, text string) {
	r.eval(`{ document.querySelector('input').value = ` + quote(number) + `; return ''; }`)
	r.press("Next")
	check(r.t, r.page.Wait(evalUntil(`document.body.textContent.includes(`+quote(text)+`)`)))
}

func throws(expression, message string) string {
	return `(() => { try { ` + expression + `; return false; } catch (e) { return e.message === ` + quote(message) + `; } })()`
}

var linkedRows = []faultRow{
	{faults: "conflict=now", linked: true, after: named("CONFLICT")},
	{faults: "conflict=now takeover=throws", linked: true, before: named("CONFLICT"),
		isTrue: throws(`require('WAWebSocketModel').Socket.takeover()`, "takeover: there is no conflict")},
	{faults: "lock", linked: true, after: named("SCREEN_LOCK")},
	{faults: "socket=replaced", linked: true, after: func(c screen) bool { return c.State == "CONNECTED" && c.Name == "STARTUP" }},
	{faults: "500", linked: true, after: func(c screen) bool { return c.State == "CONNECTED" && c.Name == "STARTUP" },
		isTrue: `require('WAWebSocketModel').Socket.stream === 'DISCONNECTED'`},
	{faults: "405", linked: true, do: reloadsItself},
	{faults: "reload=canonical", after: func(c screen) bool { return c.Name == "MAIN" && c.Load >= 2 }},
	{faults: "ban=temp", linked: true, after: named("TEMP_BAN")},
	{faults: "sync=stuck:99", after: func(c screen) bool { return c.Progress == 99 },
		isTrue: `document.body.textContent.includes('Loading your chats [99%]')`},
	{faults: "sync=timeout", query: "?sim.speed=200", after: func(c screen) bool { return c.Name == "QR" },
		isTrue: `document.body.textContent.includes('Keep WhatsApp open on your phone')`},
	{faults: "logout=mid-sync", after: func(c screen) bool { return c.Name == "QR" }},
	{faults: "logout=phone", linked: true, after: visible, isTrue: `localStorage.getItem('last-wid-md') === null`},
	{faults: "logout=reason:3", linked: true, after: visible, isTrue: `document.body.textContent.includes('logged out by the server') && location.search === ''`},
	{faults: "ban=perm", linked: true, after: visible},
	{faults: "partial-profile", linked: true, after: visible, isTrue: `localStorage.getItem('last-wid-md') === null`},
}

func TestSwitchesOfUnlinkedPage(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, row := range unlinkedRows {
		t.Run(row.faults, func(t *testing.T) {
			r.row(t)
			r.turnOn(row.faults)
			r.open(row.query)
			r.follow(row)
		})
	}
}

func TestSwitchesOfLinkedPage(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, row := range linkedRows {
		t.Run(row.faults, func(t *testing.T) {
			r.row(t)
			r.ClearFaults()
			r.open(row.query)
			seen := r.until(func(c screen) bool { return c.Visible || c.Name == "MAIN" })
			switch {
			case row.linked && seen.Name != "MAIN":
				r.link()
			case !row.linked && seen.Name == "MAIN":
				check(t, r.LogOut())
				r.before = seen.Load
				r.shown()
			}
			r.turnOn(row.faults)
			if row.linked {
				r.open("")
			} else {
				check(t, r.Scan(r.ctx))
				r.until(func(c screen) bool { return c.Name != "QR" })
			}
			r.follow(row)
		})
	}
}

// turnOn replaces the switches by these, separated by spaces.
func (r *rig) turnOn(faults string) {
	r.t.Helper()
	r.ClearFaults()
	for f := range strings.FieldsSeq(faults) {
		check(r.t, r.SetFault(f))
	}
}

func (r *rig) follow(row faultRow) {
	r.t.Helper()
	if row.before != nil {
		r.until(row.before)
	}
	if row.do != nil {
		row.do(r)
	}
	if row.after != nil {
		r.untilAlso(row.after)
	}
	if row.isTrue != "" {
		if got := r.eval(`String(!!(` + row.isTrue + `))`); got != "true" {
			r.t.Error("the page is not what the switch is about")
		}
	}
}

func TestSplashHangsWhenAsked(t *testing.T) {
	for _, fault := range []string{"splash=hang", "assets=404"} {
		r := newRig(t, simulator.Options{Faults: []string{fault}})
		r.open("")
		check(t, r.page.WaitLoad())
		if got := r.eval(`String(!!document.querySelector('#wa_web_initial_startup progress') && !window.Debug)`); got != "true" {
			t.Errorf("%s shows no splash", fault)
		}
	}
}

func TestHungPageDoesNotAnswer(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	check(t, r.Order(simulator.Hang))
	if _, err := r.page.Timeout(time.Second).Eval(`() => new Promise((resolve) => setTimeout(resolve, 100))`); err == nil {
		t.Error("the page still turns")
	}
	if c := r.OnScreen(); c.Load == 0 {
		t.Error("the page has gone")
	}
}

func TestCrashedRendererLeavesNoPage(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.open("")
	r.shown()
	check(t, proto.InspectorEnable{}.Call(r.page))
	crashed := r.page.WaitEvent(&proto.InspectorTargetCrashed{})
	check(t, r.Order(simulator.Crash))
	check(t, r.Await(r.ctx, func(c screen) bool { return c.Load == 0 }))
	crashed()
	r.open("")
	r.shown()
}
