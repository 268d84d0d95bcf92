package classify

import (
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

func TestFailureNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]Failure{
		"":                              {},
		"nothing of Chrome's":           {},
		"net::ERR_NO_SUPPORTED_PROXIES": {reason.ProxyFailed, "Chrome can't use the address of the proxy (ERR_NO_SUPPORTED_PROXIES)"},
		"net::ERR_CERT_AUTHORITY_INVALID": {
			reason.CertificateInvalid, "this machine does not know the authority that issued the server's certificate (ERR_CERT_AUTHORITY_INVALID)"},
		"net::ERR_SSL_PROTOCOL_ERROR":            {reason.CertificateInvalid, "no encrypted connection to the server is possible (ERR_SSL_PROTOCOL_ERROR)"},
		"net::ERR_UNEXPECTED_PROXY_AUTH":         {reason.ProxyFailed, "the proxy demands a user and a password, or does not accept those of --proxy (ERR_UNEXPECTED_PROXY_AUTH)"},
		"net::ERR_CONNECTION_TIMED_OUT":          {reason.NetworkUnreachable, "the server does not answer (ERR_CONNECTION_TIMED_OUT)"},
		"net::ERR_SOMETHING_NEW":                 {reason.NetworkUnreachable, "the network failed (ERR_SOMETHING_NEW)"},
		"net::ERR_" + strings.Repeat("X", 10000): {},
		"Error in connection establishment: net::ERR_TUNNEL_CONNECTION_FAILED": {
			reason.ProxyFailed, "the proxy refuses to connect to the server, or can't (ERR_TUNNEL_CONNECTION_FAILED)"},
	} {
		if got := FailureOf(text); got != want {
			t.Errorf("%.60s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestFailureOfTheConnectionIsReported(t *testing.T) {
	for text, want := range map[string]reason.Code{
		"net::ERR_TUNNEL_CONNECTION_FAILED": reason.ProxyFailed,
		"net::ERR_CONNECTION_REFUSED":       reason.NetworkUnreachable,
	} {
		o := observed(on(selectors.ScreenQR), socket(selectors.SocketOpening))
		o.Connection.Failure = FailureOf(text)
		c, h := New(Timings{}), History{}
		var last rpc.PageObserved
		for s := time.Duration(0); s <= 20*time.Second; s += 2 * time.Second {
			var d Decision
			h, d = c.Next(h, o, epoch.Add(s))
			for _, e := range d.Events {
				if p, ok := e.(rpc.PageObserved); ok {
					last = p
				}
			}
		}
		if last.Condition != rpc.PageUnlinked || last.Reason != want || !strings.Contains(last.Detail, strings.TrimPrefix(text, "net::")) {
			t.Errorf("%s: got %+v", text, last)
		}
	}
}
