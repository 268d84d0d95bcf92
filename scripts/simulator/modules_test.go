package simulator_test

import (
	"slices"
	"testing"
	"time"

	"session-manager/scripts/simulator"
)

// assembled makes the payload from the modules, as libraries do.
const assembled = `(async () => {
	const b64 = require('WABase64').encodeB64;
	const noise = await require('WAWebUserPrefsInfoStore').waNoiseInfo.get();
	const registration = await require('WAWebSignalStoreApi').waSignalStore.getRegistrationInfo();
	const prefix = require('WAWebNativeCameraQRLinkedDeviceUtils').isNativeCameraQRLinkedDeviceTest();
	return (prefix ? 'https://wa.me/settings/linked_devices#' : '') + [
		require('WAWebConnModel').Conn.ref, b64(noise.staticKeyPair.pubKey), b64(registration.identityKeyPair.pubKey),
		require('WAWebUserPrefsMultiDevice').getADVSecretKey(), require('WAWebCompanionRegClientUtils').DEVICE_PLATFORM,
	].join(',');
})()`

func TestModulesGiveWhatIsOnScreen(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 5})
	r.open("")
	seen := r.shown()
	check(t, r.page.Wait(evalUntil(`window.Debug?.VERSION`)))
	if got := r.eval(assembled); got != seen.Payload && got != r.OnScreen().Payload {
		t.Error("modules give another string")
	}
	for name, expression := range map[string]string{
		"state":      `const s = require('WAWebSocketModel').Socket; return [s.state, s.stream, s.hasSynced].join() === 'UNPAIRED,DISCONNECTED,'`,
		"stream":     `const s = require('WAWebStreamModel').Stream; return [s.mode, s.info, s.displayInfo].join() === 'QR,NORMAL,CONNECTING'`,
		"registered": `return require('WAWebUserPrefsMultiDevice').isRegistered() === false`,
		"takeover":   `try { require('WAWebSocketModel').Socket.takeover(); } catch { return true; }`,
		"namespace":  `return importNamespace('WAWebNetworkStatus').default === require('WAWebNetworkStatus')`,
		"lazy":       `let got; requireLazy(['WABase64'], (m) => { got = m; }); return got === require('WABase64')`,
		"databases":  `return (await indexedDB.databases()).length === 8`,
	} {
		if got := r.eval(`(async () => { ` + expression + ` })().then(String)`); got != "true" {
			t.Errorf("%s is not as observed", name)
		}
	}
}

// TestStatesPassInOrder follows the states by their events, which the screen,
// drawn less often, doesn't all show.
func TestStatesPassInOrder(t *testing.T) {
	r := newRig(t, simulator.Options{Speed: 10})
	r.open("")
	r.shown()
	r.eval(`(() => {
		const { Socket } = require('WAWebSocketModel');
		const { Conn } = require('WAWebConnModel');
		window.seen = [];
		Socket.on('change:state', (model, state) => window.seen.push(state));
		Socket.on('change:hasSynced', (model, synced) => window.seen.push('synced ' + synced));
		Conn.on('change:ref', (model, ref) => window.seen.push(ref ? 'ref' : 'no ref'));
		require('WAWebUserPrefsMultiDevice').advSecretEventEmitter.on('change', () => window.seen.push('adv'));
		return '';
	})()`)
	check(t, r.RotateADV())
	check(t, r.page.Wait(evalUntil(`window.seen.includes('adv')`)))
	check(t, r.ExpireNow())
	r.until(func(c simulator.Screen) bool { return c.State == "UNPAIRED_IDLE" })
	r.press("Click to reload QR code")
	r.shown()
	check(t, r.Scan(r.ctx))
	r.untilNamed("MAIN")
	const want = "adv,UNPAIRED_IDLE,no ref,OPENING,PAIRING,adv,ref,UNPAIRED,no ref,PAIRING,OPENING,CONNECTED,synced true"
	if got := r.eval(`window.seen.join()`); got != want {
		t.Errorf("the page passed through\n%s, not\n%s", got, want)
	}
}

func TestCodesLiveAsLongAsObserved(t *testing.T) {
	const speed = 20
	r := newRig(t, simulator.Options{Speed: speed})
	r.open("")
	first := r.shown()
	ttls := []float64{first.RefTTL * speed}
	last := first
	for last.State != "UNPAIRED_IDLE" {
		next := r.until(func(c simulator.Screen) bool { return c.State == "UNPAIRED_IDLE" || c.Visible && c.Ref != last.Ref })
		if next.Ref != last.Ref {
			ttls = append(ttls, next.RefTTL*speed)
		}
		last = next
	}
	if want := []float64{60_000, 20_000, 20_000, 20_000, 20_000, 20_000}; !slices.Equal(ttls, want) {
		t.Errorf("the codes live for %v ms", ttls)
	}
	// The page's timers may be late on a busy machine, but not early; the first
	// drawing may be late, too.
	if life := last.Since.Sub(first.Since) * speed; life < 140*time.Second {
		t.Errorf("all codes together lived for %v", life)
	}
}
