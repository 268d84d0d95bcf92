package observe

import (
	"context"
	"fmt"
	"time"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/classify"
)

// pendingScript reports whether the page waits for a passkey. Chrome has no event
// for a page's navigator.credentials.get, and turning on its WebAuthn domain
// replaces the authenticators that the page sees. But while a tab's first request
// waits, Chrome refuses a second one with an OperationError, before it looks at
// anything else; otherwise it refuses this one with a SecurityError, since its
// relying party is impossible (Chromium's authenticator_common_impl.cc). So the
// script starts nothing, and leaves no trace on any object of the page.
const pendingScript = `(async () => {
	if (!navigator.credentials) return false;
	const asked = navigator.credentials.get({ publicKey: { challenge: new Uint8Array(32), rpId: "" } })
		.then(() => false, (e) => e.name === "OperationError");
	return Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 500, false))]);
})()`

// passkeyInterval is the least time between two runs of the script.
const passkeyInterval = 2 * time.Second

// passkey is what is known of the page's requests for a passkey.
type passkey struct {
	offered  bool // there was a code once, and it may have been scanned
	document int
	at       time.Time // when the script last ran
	asked    bool
}

// PasskeyAsked reports whether the page waits for a passkey. It asks only where a
// scan could have come before.
func (o *Observer) PasskeyAsked(ctx context.Context, seen classify.Observation) (bool, error) {
	k, drawn := &o.passkey, false
	for _, r := range seen.Readings {
		k.offered = k.offered || r.Found
		drawn = drawn || r.Found && r.Reader != selectors.ReaderModules
	}
	if !k.offered || drawn || seen.Storage.Registered == nil || *seen.Storage.Registered {
		return false, nil
	}
	if k.document == seen.Document && time.Since(k.at) < passkeyInterval {
		return k.asked, nil
	}
	var asked bool
	if err := o.target.Isolated(ctx, &asked, pendingScript); err != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", err)
	}
	k.document, k.at, k.asked = seen.Document, time.Now(), asked
	return asked, nil
}
