package page

import (
	"context"
	"fmt"
	"time"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/classify"
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
func (k *passkeys) look(ctx context.Context, p *Page, look classify.Observation) (bool, error) {
	drawn := false
	for _, r := range look.Readings {
		k.offered = k.offered || r.Found
		drawn = drawn || r.Found && r.Reader != selectors.ReaderModules
	}
	if !k.offered || drawn || look.Storage.Registered == nil || *look.Storage.Registered {
		return false, nil
	}
	if k.document == look.Document && time.Since(k.at) < passkeyInterval {
		return k.asked, nil
	}
	asked, err := p.holds(ctx, pendingScript)
	if err != nil {
		return false, fmt.Errorf("cannot ask for pending requests for a passkey: %w", err)
	}
	k.document, k.at, k.asked = look.Document, time.Now(), asked
	return asked, nil
}
