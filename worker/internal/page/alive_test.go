package page

import (
	"strings"
	"testing"

	"session-manager/scripts/simulator"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// secretOf is the ADV secret in a payload.
func secretOf(payload string) string { return strings.Split(payload, ",")[3] }

// only leaves one reader.
func only(reader selectors.Reader) func(k *selectors.Set) {
	return func(k *selectors.Set) { k.Readers.Use = []selectors.Reader{reader} }
}

// TestNoReaderServesADeadCode lets the page draw what is left of its list while every
// connection is refused.
func TestNoReaderServesADeadCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, fault string
		reader      selectors.Reader
	}{
		{"dom", "", selectors.ReaderDOM},
		{"modules", "", selectors.ReaderModules},
		{"image", "", selectors.ReaderImage},
		{"screenshot", "", selectors.ReaderScreenshot},
		{"dom, without the modules", "modules=missing:WAWebSocketModel", selectors.ReaderDOM},
		{"modules, a service worker holds the connection", "socket=worker", selectors.ReaderModules},
		{"dom, a service worker holds the connection", "socket=worker", selectors.ReaderDOM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := simulator.Options{Speed: 5}
			if tc.fault != "" {
				o.Faults = []string{tc.fault}
			}
			r := open(t, o, eager, withSelectors(t, only(tc.reader)))
			first, _ := r.awaitCode(0)
			if err := r.sim.SetFault("socket=refused"); err != nil {
				t.Fatal(err)
			}
			r.sim.Disconnect()
			_, mark := r.await(0, "the end of the code", func(b rpc.EventBody) bool { _, ok := b.(rpc.QRGone); return ok })
			refs := map[string]bool{}
			r.awaitScreen(func(s simulator.Screen) bool {
				refs[s.Ref] = refs[s.Ref] || s.State == "UNPAIRED" && s.Payload != ""
				return len(refs) >= 4 || s.Load > 1
			})
			r.sim.ClearFaults()
			if tc.fault == "socket=worker" {
				if err := r.sim.SetFault(tc.fault); err != nil {
					t.Fatal(err)
				}
			}
			fresh, _ := r.awaitCode(mark)
			if secretOf(string(fresh.Payload)) == secretOf(string(first.Payload)) {
				t.Error("a code is served whose connection is closed")
			}
			r.awaitScreen(func(s simulator.Screen) bool { return s.Alive && s.Offered == string(fresh.Payload) })
			if err := r.sim.ScanPayload(r.context(), string(fresh.Payload)); err != nil {
				t.Errorf("the phone can't link with the code that follows: %v", err)
			}
		})
	}
}
