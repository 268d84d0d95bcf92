package page

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// offering is a page that asks for a phone, whose modules give what code returns.
func offering(code string) string {
	return `<div id="link-device-instructions-list">x</div><script>
		const api = { setPairingType() {}, initializeAltDeviceLinking() {}, startAltLinkingFlow() { window.asked = (window.asked || 0) + 1; ` + code + ` } };
		window.importNamespace = window.require = (name) => { if (name === "WAWebAltDeviceLinkingApi") return api; throw new Error("unknown module"); };
	</script>`
}

// answering waits so long for the page's answers, which come at once, or never.
func answering(within time.Duration) func(*Options) {
	return func(o *Options) { o.Timings.Answer, o.Timings.Call, o.Timings.Deadline = within, within, 2*time.Second }
}

// TestHostileAnswersToPairingAreReadSafely asks one page again and again. After most
// answers its form is looked for, in vain.
func TestHostileAnswersToPairingAreReadSafely(t *testing.T) {
	t.Parallel()
	r := openPlain(t, offering(`return window.answer()`), hurried, answering(4*time.Second), func(o *Options) { o.Timings.Classify.Pace = 0.01 }) // The loop does not load it again.
	r.awaitCondition(0, rpc.PageUnlinked)
	type hostile struct {
		name, answer string
		want         error
	}
	for _, tc := range first([]hostile{
		{"a name that throws next to a code", `return Promise.reject({ name: "CompanionHelloError", type: { get name() { throw 1 }, value: { code: 403 } } })`, rpc.ErrPairingForbidden},
		{"a failure that lists every name", `return Promise.reject(Object.assign(new Error("IQErrorBadRequest 400"), { name: "SmaxParsingFailure" }))`, rpc.ErrPairingFailed},
		{"10 MB", `return "A".repeat(1e7)`, rpc.ErrPairingUnavailable},
		{"never settled", `return { then() {} }`, rpc.ErrPairingTimeout},
		{"an object", `return { toString() { return "ABCD1234" } }`, rpc.ErrPairingUnavailable},
		{"getters that throw", `return Promise.reject({ get name() { throw 1 }, get message() { throw 1 }, get type() { throw 1 }, toString() { throw 1 } })`, rpc.ErrPairingUnavailable},
		{"names of 10 MB", `return Promise.reject({ name: "IQErrorForbidden".padEnd(1e7, "x"), message: "x".repeat(1e7), type: { name: "IQErrorBadRequest".padEnd(1e7), value: { code: "4".repeat(1e7) } } })`, rpc.ErrPairingUnavailable},
		{"then throws", `return { get then() { throw 1 } }`, rpc.ErrPairingUnavailable},
		{"a message with every name", `return Promise.reject(new Error("IQErrorBadRequest bad-request 400 IQErrorRateOverlimit 429"))`, rpc.ErrPairingUnavailable},
		{"settled again and again", `return { then(done) { setInterval(done, 0, "x") } }`, rpc.ErrPairingUnavailable},
		{"a proxy that throws", `return Promise.reject(new Proxy({}, { get() { throw new Proxy({}, {}) } }))`, rpc.ErrPairingUnavailable},
		{"names that are objects", `return Promise.reject({ name: { toString() { return "IQErrorForbidden" } }, type: { name: ["IQErrorForbidden"], value: { code: ["403"] } } })`, rpc.ErrPairingUnavailable},
		{"nothing", `return Promise.reject(undefined)`, rpc.ErrPairingUnavailable},
		{"a name and another's code", `return Promise.reject({ type: { name: "IQErrorFeatureNotAvailable", value: { code: 403 } } })`, rpc.ErrPairingUnavailable},
	}, 7) {
		r.evaluate(`window.asked = 0; window.answer = () => { ` + tc.answer + ` }`)
		if _, err := r.page.Pair(r.context(), somePhone); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v", tc.name, err)
		}
		if n := r.number("window.asked"); n != 1 {
			t.Errorf("%s: the module was asked %d times", tc.name, n)
		}
	}
}

// TestGetterThatNeverEndsIsCured has the page's error hold the main thread for ever.
func TestGetterThatNeverEndsIsCured(t *testing.T) {
	t.Parallel()
	r := openPlain(t, offering(`return Promise.reject({ get type() { for (;;); } })`), answering(3*time.Second), impatient)
	_, mark := r.awaitCondition(0, rpc.PageUnlinked)
	if _, err := r.page.Pair(r.context(), somePhone); err == nil {
		t.Error("no error")
	}
	_, mark = r.awaitReason(mark, reason.PageHung)
	r.awaitCondition(mark, rpc.PageUnlinked)
}

// dialogs is a page with so many dialogs over it; after runs when one is closed.
func dialogs(n int, after string) string {
	return offering(`return "ABCD1234"`) + fmt.Sprintf(`<script>
		function add() {
			const d = document.createElement("div");
			d.setAttribute("role", "dialog"); d.style.cssText = "position:fixed;inset:0;background:#fff";
			d.innerHTML = "<p>Too many attempts</p><button>OK</button>";
			d.querySelector("button").onclick = () => { d.remove(); %s };
			document.body.append(d);
		}
		for (let i = 0; i < %d; i++) add();
	</script>`, after, n)
}

func TestDialogsOfAHostilePageAreBounded(t *testing.T) {
	t.Parallel()
	type hostile struct {
		name, body string
		left       int
	}
	for _, tc := range first([]hostile{
		{"a thousand", dialogs(1000, ""), 980},
		{"one that comes back", dialogs(1, "add()"), 1},
		{"ten", dialogs(10, ""), 0},
		{"one that stays", dialogs(1, "document.body.append(d)"), 1},
	}, 2) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := openPlain(t, tc.body, hurried, answering(patience))
			r.awaitCondition(0, rpc.PageUnlinked)
			made, err := r.page.Pair(r.context(), somePhone)
			if err != nil || made.Code != "ABCD1234" {
				t.Fatalf("got %v", err)
			}
			if n := r.count("[role=dialog]"); n != tc.left {
				t.Errorf("%d dialogs are left", n)
			}
		})
	}
}

// TestCodesThatChangeAtSpeedAreBounded fills in a form that then shows another code
// all the time.
func TestCodesThatChangeAtSpeedAreBounded(t *testing.T) {
	t.Parallel()
	r := openPlain(t, `<div id="link-device-instructions-list"><button>Log in with phone number</button></div><script>
		document.querySelector("button").onclick = () => {
			document.body.innerHTML = '<input aria-label="Type your phone number to log in to WhatsApp"><button>Next</button>';
			document.querySelector("button").onclick = () => {
				document.body.innerHTML = '<div data-link-code=""></div>';
				const c = new MessageChannel(); let n = 0;
				c.port1.onmessage = () => {
					for (let i = 0; i < 50; i++) document.querySelector("div").setAttribute("data-link-code", "CODE" + (1111 + (n++ % 8888)));
					c.port2.postMessage(0);
				};
				c.port2.postMessage(0);
			};
		};</script>`, hurried, answering(8*time.Second))
	r.awaitCondition(0, rpc.PageUnlinked)
	made, err := r.page.Pair(r.context(), somePhone)
	if err == nil && (len(made.Code) != 8 || made.Code[:4] != "CODE") {
		t.Error("what was given is not one of the codes")
	}
	if age := r.page.MainThreadAge(); age > inTime {
		t.Errorf("the page was last observed %v ago", age)
	}
}

// number evaluates an expression in the page.
func (r *rig) number(expression string) int {
	r.t.Helper()
	found, err := r.page.target.Page.Context(r.context()).Eval("() => " + expression)
	if err != nil {
		r.t.Fatal(err)
	}
	return found.Value.Int()
}
