package simulator_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/simulator"
)

// gated opens the page in a browser whose authenticator has the account's passkey. An
// address can be no party to a passkey, so the page has a name.
func gated(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	r := newRig(t, o)
	r.url = strings.Replace(r.url, "127.0.0.1", "localhost", 1)
	check(t, proto.WebAuthnEnable{}.Call(r.page))
	added, err := proto.WebAuthnAddVirtualAuthenticator{Options: &proto.WebAuthnVirtualAuthenticatorOptions{
		Protocol: proto.WebAuthnAuthenticatorProtocolCtap2, Ctap2Version: proto.WebAuthnCtap2VersionCtap21,
		Transport: proto.WebAuthnAuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		HasPrf: true, AutomaticPresenceSimulation: true, IsUserVerified: true,
	}}.Call(r.page)
	check(t, err)
	k := r.Passkey()
	check(t, proto.WebAuthnAddCredential{AuthenticatorID: added.AuthenticatorID, Credential: &proto.WebAuthnCredential{
		CredentialID: k.ID, IsResidentCredential: true, RpID: "localhost", PrivateKey: k.PrivateKey, UserHandle: k.UserHandle,
	}}.Call(r.page))
	r.open("")
	return r
}

// card waits for an element of the cards of linking by a passkey.
func (r *rig) card(id string) {
	r.t.Helper()
	check(r.t, r.page.Wait(evalUntil(`document.querySelector('[data-testid=shortcake_`+id+`]')`)))
}

func TestPasskeyLinksWithProofOrCode(t *testing.T) {
	r := gated(t, simulator.Options{Speed: 10, Faults: []string{"passkey=gate"}})
	r.scan()
	r.card("passkey_prompt_card")
	r.press("Continue")
	check(t, r.AwaitPasskey(r.ctx, 1))
	r.card("waiting_for_phone_card")
	check(t, r.RefusePasskey())
	r.card("passkey_prompt_card")
	if !strings.Contains(r.eval(`document.body.textContent`), "That did not work") {
		t.Error("the prompt does not explain why it is back")
	}
	r.press("Cancel")

	// Within 300 s the page has a proof, so that there is nothing to compare.
	r.scan()
	r.card("passkey_prompt_card")
	r.eval(`{ window.seen = []; require('WAWebLinkDeviceEvents').LinkDeviceEvents.on(
		'link_device_events:shortcake_verification_code_ready', (code, skip) => seen.push(String(skip))); return ''; }`)
	r.press("Continue")
	check(t, r.AwaitPasskey(r.ctx, 2))
	r.card("waiting_for_phone_card")
	check(t, r.ApprovePasskey())
	r.untilNamed("MAIN")
	if got := r.Passkey().Verdicts; !slices.Equal(got, []string{"accepted", "accepted"}) {
		t.Errorf("got verdicts %q", got)
	}

	// An integrity challenge makes the same call.
	check(t, r.SetFault("challenge=passkey"))
	check(t, r.page.Wait(evalUntil(`document.querySelector('[role=dialog]')?.textContent.includes("Confirm that it's you")`)))
	r.press("Continue")
	check(t, r.page.Wait(evalUntil(`!document.querySelector('[role=dialog]')`)))
}

// TestPasskeyLinksByCodeAfterHandoff puts the page's clock forward by 300 s, and lets that of 120 s run
// out.
func TestPasskeyLinksByCodeAfterHandoff(t *testing.T) {
	r := gated(t, simulator.Options{Speed: 30, Faults: []string{"passkey=gate", "view=phone"}})
	r.until(unpairedForm)
	r.ask("+15550100042", "Enter code on phone")
	code := r.until(func(c screen) bool { return c.Name == "LINK_CODE" && c.Code != "" }).Code
	check(t, r.EnterCode(r.ctx, code))
	r.card("passkey_prompt_card")
	r.eval(`{ const now = performance.now.bind(performance); performance.now = () => now() + 300_000 / 30; return ''; }`)
	r.press("Continue")
	check(t, r.AwaitPasskey(r.ctx, 1))
	check(t, r.page.Wait(evalUntil(`document.body.textContent.includes("That did not work")`))) // nobody has agreed on the phone
	r.card("passkey_prompt_card")
	r.press("Continue")
	check(t, r.AwaitPasskey(r.ctx, 2))
	check(t, r.ApprovePasskey())
	r.card("verification_code_display")
	shown := strings.ReplaceAll(r.eval(`document.querySelector('[data-testid=shortcake_verification_code_display]').textContent`), "-", "")
	if shown != r.Passkey().Code {
		t.Error("page and phone show different codes")
	}
	r.press("It does")
	r.untilNamed("MAIN")
}
