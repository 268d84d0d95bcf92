package page

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/page/judge"
)

// pendingScript asks the browser for a passkey of a relying party that can't be:
// Chrome refuses that with a SecurityError before it looks for any. Before that
// it refuses a second request of a tab with an OperationError while it has not
// answered the first (Chromium's authenticator_common_impl.cc). So it starts
// nothing, and leaves no trace on any object of the page.
const pendingScript = `(async () => {
	if (!navigator.credentials) return false;
	const asked = navigator.credentials.get({ publicKey: { challenge: new Uint8Array(32), rpId: "" } })
		.then(() => false, (e) => e.name === "OperationError");
	return Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 500, false))]);
})()`

// passkeyInterval is the least time between two of these questions.
const passkeyInterval = 2 * time.Second

// passkeys watches for the page's requests for a passkey.
type passkeys struct {
	offered  bool // a code was there once, and may have been scanned
	document int
	at       time.Time // of the last question
	asked    bool
}

// look tells whether the page waits for a passkey. It asks only where a scan
// could have come before.
func (k *passkeys) look(ctx context.Context, p *Page, look judge.Look) (bool, error) {
	if slices.ContainsFunc(look.Readings, func(r judge.Reading) bool { return r.Found }) {
		k.offered = true
	}
	drawn := slices.ContainsFunc(look.Readings, func(r judge.Reading) bool { return r.Found && r.Reader != judge.ReaderModules })
	if !k.offered || drawn || look.Registered == nil || *look.Registered {
		return false, nil
	}
	if k.document == look.Document && time.Since(k.at) < passkeyInterval {
		return k.asked, nil
	}
	asked, err := p.passkeyAsked(ctx)
	if err == nil {
		k.document, k.at, k.asked = look.Document, time.Now(), asked
	}
	return asked, err
}

// passkeyAsked tells whether the page has asked its browser for a passkey, or to
// make one, and waits for the answer.
func (p *Page) passkeyAsked(ctx context.Context) (bool, error) {
	world, err := p.isolated(ctx)
	if err != nil {
		return false, err
	}
	res, err := proto.RuntimeEvaluate{
		Expression: pendingScript, ContextID: world, AwaitPromise: true, ReturnByValue: true,
	}.Call(p.rod.Context(ctx))
	if err != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", stale(err))
	}
	if res.ExceptionDetails != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", exception(res.ExceptionDetails))
	}
	return res.Result.Value.Bool(), nil
}
