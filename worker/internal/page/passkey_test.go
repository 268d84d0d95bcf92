package page

import (
	"errors"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/browser/browsertest"
)

// passkey carries out an action.
func (r *rig) passkey(action rpc.PasskeyAction, assertion string) (rpc.PasskeyCall, rpc.PasskeyErrorCode) {
	r.t.Helper()
	call, err := r.page.Passkey(r.context(), rpc.PasskeyCommand{Action: action, Assertion: rpc.Secret(assertion)})
	if e, ok := errors.AsType[*rpc.PasskeyError](err); ok {
		return call, e.Code
	}
	if err != nil {
		r.t.Fatalf("%s: %v", action, err)
	}
	return call, ""
}

func (r *rig) mustPasskey(action rpc.PasskeyAction, assertion string) rpc.PasskeyCall {
	r.t.Helper()
	call, code := r.passkey(action, assertion)
	if code != "" {
		r.t.Fatalf("%s: %s", action, code)
	}
	return call
}

// sign answers options as the browser of a person on this origin does.
func (r *rig) sign(options rpc.Secret, origin string) string {
	r.t.Helper()
	signed, err := r.sim.Passkey().Sign(string(options), origin)
	if err != nil {
		r.t.Fatal(err)
	}
	return signed
}

// awaitStage waits for a stage after the mark.
func (r *rig) awaitStage(mark int, stage rpc.PasskeyStage) (rpc.PasskeyChanged, int) {
	r.t.Helper()
	e, next := r.await(mark, "stage "+string(stage), func(b rpc.EventBody) bool {
		c, ok := b.(rpc.PasskeyChanged)
		return ok && c.Stage == stage
	})
	return e.body.(rpc.PasskeyChanged), next
}

// untouched fails if anything stands between the page and its authenticators.
func (r *rig) untouched() {
	r.t.Helper()
	res, err := r.page.target.Page.Context(r.context()).Eval(`() => {
		const own = Object.getOwnPropertyNames(navigator.credentials).join();
		const d = Object.getOwnPropertyDescriptor(CredentialsContainer.prototype, "get");
		return [own, d.writable, d.enumerable, d.configurable, navigator.credentials.get === d.value, Function.prototype.toString.call(d.value)].join("|");
	}`)
	if err != nil {
		r.t.Fatal(err)
	}
	if got := res.Value.Str(); got != "|true|true|true|true|function get() { [native code] }" {
		r.t.Errorf("the page has %q", got)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPasskeyIsRelayedForOneCall(t *testing.T) {
	t.Parallel()
	browsertest.InChrome(t)
	r := open(t, simulator.Options{Speed: 4, Faults: []string{"passkey=compare"}}, named)
	origin := strings.Replace(r.url, "127.0.0.1", "localhost", 1)
	_, mark := r.awaitCode(0)
	if _, code := r.passkey(rpc.PasskeyBegin, ""); code != rpc.PasskeyNotAsked {
		t.Errorf("before a scan: %q", code)
	}
	r.scan()
	needed, mark := r.awaitStage(mark, rpc.PasskeyNeeded)
	if needed.TTL <= needed.HandoffTTL || needed.HandoffTTL < 4*time.Minute || needed.TTL > 10*time.Minute {
		t.Errorf("the clocks show %v and %v", needed.TTL, needed.HandoffTTL)
	}
	r.hasNoCall()

	call := r.mustPasskey(rpc.PasskeyBegin, "")
	r.untouched()
	signed := r.sign(call.Options, origin)
	r.refusesAssertions(call, origin)
	if again := r.mustPasskey(rpc.PasskeyBegin, ""); again.Options != call.Options {
		t.Error("the call is no longer open")
	}
	r.mustPasskey(rpc.PasskeyAnswer, signed)
	_, mark = r.awaitStage(mark, rpc.PasskeySent)
	check(r.t, r.sim.AwaitPasskey(r.context(), 1))
	if _, code := r.passkey(rpc.PasskeyAnswer, signed); code != rpc.PasskeyNoCall {
		t.Errorf("used again: %q", code)
	}
	check(r.t, r.sim.RefusePasskey())
	failed, mark := r.awaitStage(mark, rpc.PasskeyFailed)
	if failed.Reason != rpc.PasskeyServerError {
		t.Errorf("it failed because of %q", failed.Reason)
	}

	mark = r.giveUp(mark, signed)
	mark = r.linkWithPasskey(mark, origin)
	r.meetChallenge(mark, origin)
	r.leavesNoTrace()
}

// TestPasskeyAskedAtOnceIsRelayed has the page ask the browser before anybody could relay that. Chrome leaves
// it without an answer, behind a dialog of its own, and chrome-headless-shell refuses.
func TestPasskeyAskedAtOnceIsRelayed(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"Chrome", "the lighter engine"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if engine == "Chrome" {
				browsertest.InChrome(t)
			}
			r := open(t, simulator.Options{Speed: 4, Faults: []string{"passkey=eager"}}, named)
			_, mark := r.awaitCode(0)
			r.scan()
			_, mark = r.awaitStage(mark, rpc.PasskeyNeeded)
			r.mustPasskey(rpc.PasskeyAnswer, r.sign(r.mustPasskey(rpc.PasskeyBegin, "").Options, strings.Replace(r.url, "127.0.0.1", "localhost", 1)))
			r.awaitStage(mark, rpc.PasskeySent)
			check(r.t, r.sim.AwaitPasskey(r.context(), 1))
			r.leavesNoTrace()
		})
	}
}

// hasNoCall checks that there is nothing to answer yet.
func (r *rig) hasNoCall() {
	r.t.Helper()
	r.untouched()
	for _, action := range []rpc.PasskeyAction{rpc.PasskeyAnswer, rpc.PasskeyConfirm} {
		if _, code := r.passkey(action, "{}"); code != rpc.PasskeyNoCall && code != rpc.PasskeyNoCode {
			r.t.Errorf("%s without a call: %q", action, code)
		}
	}
}

// leavesNoTrace checks that the server and the page have noticed nothing.
func (r *rig) leavesNoTrace() {
	r.t.Helper()
	r.untouched()
	for _, verdict := range r.sim.Passkey().Verdicts {
		if verdict != "accepted" {
			r.t.Errorf("the server found %s", verdict)
		}
	}
	if r.sim.Traps() != 0 {
		r.t.Error("the page has caught a foreign script")
	}
}

// refusesAssertions answers a call with what was not signed for it.
func (r *rig) refusesAssertions(call rpc.PasskeyCall, origin string) {
	r.t.Helper()
	for name, tc := range map[string]struct {
		assertion string
		want      rpc.PasskeyErrorCode
	}{
		"no JSON":                {"(", rpc.PasskeyMalformed},
		"made on another site":   {r.sign(call.Options, "https://example.com"), rpc.PasskeyWrongOrigin},
		"for another site":       {r.sign(rpc.Secret(`{"challenge":"`+between(string(call.Options), `"challenge":"`, `"`)+`","rpId":"example.com"}`), origin), rpc.PasskeyWrongRP},
		"for an earlier request": {r.sign(`{"challenge":"AAECAwQFBgcICQoLDA0ODw","rpId":"localhost"}`, origin), rpc.PasskeyWrongChallenge},
	} {
		if _, code := r.passkey(rpc.PasskeyAnswer, tc.assertion); code != tc.want {
			r.t.Errorf("%s: got %q", name, code)
		}
	}
}

// giveUp begins another try, which is cancelled. Signed is for an earlier one.
func (r *rig) giveUp(mark int, signed string) int {
	r.t.Helper()
	r.mustPasskey(rpc.PasskeyBegin, "")
	if _, code := r.passkey(rpc.PasskeyAnswer, signed); code != rpc.PasskeyWrongChallenge {
		r.t.Errorf("used for another request: %q", code)
	}
	r.mustPasskey(rpc.PasskeyCancel, "")
	_, mark = r.awaitStage(mark, "")
	_, mark = r.awaitCode(mark)
	r.untouched()
	return mark
}

// linkWithPasskey links an account that is then challenged.
func (r *rig) linkWithPasskey(mark int, origin string) int {
	r.t.Helper()
	r.scan()
	_, mark = r.awaitStage(mark, rpc.PasskeyNeeded)
	r.mustPasskey(rpc.PasskeyAnswer, r.sign(r.mustPasskey(rpc.PasskeyBegin, "").Options, origin))
	check(r.t, r.sim.AwaitPasskey(r.context(), 2))
	check(r.t, r.sim.ApprovePasskey())
	confirm, mark := r.awaitStage(mark, rpc.PasskeyConfirming)
	if string(confirm.Code) != r.sim.Passkey().Code || confirm.Code == "" {
		r.t.Error("the code is not the phone's")
	}
	check(r.t, r.sim.SetFault("challenge=passkey"))
	r.mustPasskey(rpc.PasskeyConfirm, "")
	_, mark = r.awaitCondition(mark, rpc.PageReady)
	return mark
}

// meetChallenge proves that the account's owner is there.
func (r *rig) meetChallenge(mark int, origin string) {
	r.t.Helper()
	challenged := func(want bool) func(rpc.EventBody) bool {
		return func(b rpc.EventBody) bool {
			s, ok := b.(rpc.SendingObserved)
			return ok && s.Possible && s.NewChats.ChallengePasskey == want
		}
	}
	_, mark = r.await(mark, "the challenge", challenged(true))
	call := r.mustPasskey(rpc.PasskeyBegin, "")
	if !strings.Contains(string(call.Options), `"prf"`) {
		r.t.Error("the extension is lost")
	}
	r.mustPasskey(rpc.PasskeyAnswer, r.sign(call.Options, origin))
	r.await(mark, "the end of the challenge", challenged(false))
}

func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}

// prompting is a page that asks for a passkey, and does what go is when somebody continues.
func prompting(script string) string {
	return `<!doctype html><div data-testid="shortcake_passkey_prompt_card">Passkey
		<button data-testid="shortcake_passkey_continue_button" onclick="go()">Continue</button></div><script>` + script + `</script>`
}

// run runs a script in the page's own world.
func (r *rig) run(script string) {
	r.t.Helper()
	_, err := r.page.target.Page.Context(r.context()).Eval(`() => { ` + script + ` }`)
	check(r.t, err)
}

// TestPasskeyCallEndsInTime lets the page's request expire, and then loads the page again.
func TestPasskeyCallEndsInTime(t *testing.T) {
	t.Parallel()
	r := openPlain(t, prompting(`let timeout = 1000; go = () => navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), timeout}}).catch(() => {})`),
		fast, withSelectors(t, func(k *selectors.Set) { k.Passkey.OptionsSeconds = 300 }))
	_, mark := r.awaitStage(0, rpc.PasskeyNeeded)
	if call := r.mustPasskey(rpc.PasskeyBegin, ""); call.TTL > time.Second {
		t.Errorf("the call is good for %v", call.TTL)
	}
	_, mark = r.awaitStage(mark, rpc.PasskeyNeeded) // the call is open
	_, mark = r.awaitStage(mark, rpc.PasskeyNeeded) // and no longer
	if _, code := r.passkey(rpc.PasskeyAnswer, "{}"); code != rpc.PasskeyNoCall {
		t.Errorf("after its time: %q", code)
	}
	r.run(`timeout = undefined`)
	if call := r.mustPasskey(rpc.PasskeyBegin, ""); call.TTL <= time.Second || call.TTL > 5*time.Minute {
		t.Errorf("the call is good for %v", call.TTL)
	}
	_, mark = r.awaitStage(mark, rpc.PasskeyNeeded)
	r.run(`location.reload()`)
	r.awaitStage(mark, rpc.PasskeyNeeded)
	if _, code := r.passkey(rpc.PasskeyAnswer, "{}"); code != rpc.PasskeyNoCall {
		t.Errorf("after a reload: %q", code)
	}
}

// TestHostilePageGetsNothingOfPasskeys has a page that answers the request to go on in
// every other way.
func TestHostilePageGetsNothingOfPasskeys(t *testing.T) {
	t.Parallel()
	r := openPlain(t, prompting(`go = () => {}`), func(o *Options) { o.Timings.Answer = time.Second })
	r.awaitReason(0, reason.PasskeyRequired)
	for name, script := range map[string]string{
		"no call":          `go = () => {}`,
		"another call":     `go = () => navigator.credentials.get({password: true}).catch(() => {})`,
		"a passive call":   `go = () => navigator.credentials.get({publicKey: {challenge: new Uint8Array(32)}, mediation: "conditional"}).catch(() => {})`,
		"another site":     `go = () => navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: "example.com"}}).catch(() => {})`,
		"too much":         `go = () => navigator.credentials.get({publicKey: {challenge: new Uint8Array(1 << 24)}}).catch(() => {})`,
		"no challenge":     `go = () => navigator.credentials.get({publicKey: {}}).catch(() => {})`,
		"a cycle":          `go = () => { const o = {}; o.o = o; navigator.credentials.get({publicKey: o}).catch(() => {}); }`,
		"an object of its": `go = () => navigator.credentials.get({get publicKey() { throw new Error("no"); }})`,
	} {
		r.run(script)
		if _, code := r.passkey(rpc.PasskeyBegin, ""); code != rpc.PasskeyUnavailable {
			t.Errorf("%s: got %q", name, code)
		}
		r.untouched()
	}
	for _, script := range []string{
		`JSON.stringify = () => "x".repeat(1 << 24); go = () => navigator.credentials.get({publicKey: {challenge: new Uint8Array(32)}}).catch(() => {})`,
		`Object.freeze(navigator.credentials)`,
	} {
		r.run(script)
		if _, code := r.passkey(rpc.PasskeyBegin, ""); code != rpc.PasskeyUnavailable {
			t.Errorf("%s: got %q", script, code)
		}
		r.untouched()
	}
}
