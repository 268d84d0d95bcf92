package classify

import (
	"regexp"
	"strings"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// Failure is why Chrome could not reach a server. The zero Failure means that it could, or did not try.
type Failure struct {
	Reason reason.Code
	// Detail is a sentence for people, with Chrome's name of the error.
	Detail string
}

// TimedOut is Chrome's name for the failure of a server that gives no answer.
const TimedOut = "net::ERR_TIMED_OUT"

// failures has what Chrome's network errors mean, by a part of their names
// (net/base/net_error_list.h). The first that fits counts.
var failures = []struct {
	part   string
	reason reason.Code
	words  string
}{
	{"ERR_NO_SUPPORTED_PROXIES", reason.ProxyFailed, "Chrome can't use the address of the proxy"},
	{"ERR_PROXY_CONNECTION_FAILED", reason.ProxyFailed, "the proxy can't be reached"},
	{"ERR_TUNNEL_CONNECTION_FAILED", reason.ProxyFailed, "the proxy refuses to connect to the server, or can't"},
	{"ERR_SOCKS_CONNECTION_HOST_UNREACHABLE", reason.ProxyFailed, "the SOCKS proxy can't reach the server"},
	{"ERR_SOCKS_CONNECTION_FAILED", reason.ProxyFailed, "the SOCKS proxy refuses to connect to the server, or demands a password"},
	{"ERR_PROXY_CERTIFICATE_INVALID", reason.ProxyFailed, "the certificate of the proxy is not valid"},
	{"PROXY_AUTH", reason.ProxyFailed, "the proxy demands a user and a password, or does not accept those of --proxy"},
	{"ERR_INVALID_AUTH_CREDENTIALS", reason.ProxyFailed, "the proxy or the server does not accept the password"},
	{"_PROXY_", reason.ProxyFailed, "the proxy does not work"},
	{"ERR_PAC_", reason.ProxyFailed, "the script that chooses the proxy does not work"},
	{"ERR_CERT_AUTHORITY_INVALID", reason.CertificateInvalid, "this machine does not know the authority that issued the server's certificate"},
	{"ERR_CERT_DATE_INVALID", reason.CertificateInvalid, "the server's certificate has expired, or this machine's clock is wrong"},
	{"ERR_CERT_COMMON_NAME_INVALID", reason.CertificateInvalid, "the server's certificate is for another name"},
	{"ERR_CERT_", reason.CertificateInvalid, "the server's certificate is not valid"},
	{"ERR_SSL_", reason.CertificateInvalid, "no encrypted connection to the server is possible"},
	{"ERR_HTTP_RESPONSE_CODE_FAILURE", reason.HTTPError, "the server answered with an error and no page"},
	{"ERR_INVALID_RESPONSE", reason.HTTPError, "the server's answer can't be understood"},
	{"ERR_INVALID_HTTP_RESPONSE", reason.HTTPError, "the server does not speak HTTP"},
	{"ERR_EMPTY_RESPONSE", reason.HTTPError, "the server closed the connection without an answer"},
	{"ERR_TOO_MANY_REDIRECTS", reason.HTTPError, "the server redirects in a circle"},
	{"ERR_BLOCKED_BY_", reason.PageLoadFailed, "a policy or an extension of Chrome blocks the address"},
	{"ERR_ABORTED", reason.PageLoadFailed, "the server's answer is not a page"},
	{"ERR_NAME_NOT_RESOLVED", reason.NetworkUnreachable, "the server's name can't be resolved"},
	{"ERR_DNS_", reason.NetworkUnreachable, "the server's name can't be resolved"},
	{"ERR_INTERNET_DISCONNECTED", reason.NetworkUnreachable, "this machine has no network"},
	{"ERR_NETWORK_ACCESS_DENIED", reason.NetworkUnreachable, "a firewall keeps Chrome from the network"},
	{"ERR_CONNECTION_REFUSED", reason.NetworkUnreachable, "nobody listens at the server's address"},
	{"ERR_ADDRESS_UNREACHABLE", reason.NetworkUnreachable, "there is no route to the server"},
	{"TIMED_OUT", reason.NetworkUnreachable, "the server does not answer"},
	{"ERR_CONNECTION_", reason.NetworkUnreachable, "the connection to the server broke"},
	{"ERR_UNSAFE_PORT", reason.NetworkUnreachable, "Chrome refuses the port of the address"},
}

var errorName = regexp.MustCompile(`\bERR_[A-Z0-9_]{1,60}\b`)

// FailureOf explains a text of Chrome's that names a network error, such as
// net::ERR_NAME_NOT_RESOLVED. Without such a name it returns the zero Failure.
func FailureOf(text string) Failure {
	name := errorName.FindString(text)
	if name == "" {
		return Failure{}
	}
	for _, f := range failures {
		if strings.Contains(name, f.part) {
			return Failure{f.reason, f.words + " (" + name + ")"}
		}
	}
	return Failure{reason.NetworkUnreachable, "the network failed (" + name + ")"}
}

// withFailure adds to the report of a page of kind k what Chrome knows of the network.
func (o Observation) withFailure(r rpc.PageObserved, k kind) rpc.PageObserved {
	page, connection := o.Navigation.Failure, o.Connection.Failure
	switch none := (Failure{}); {
	case k == kindErrorPage && page != none:
		r.Reason, r.Detail = page.Reason, r.Detail+": "+page.Detail
	case (k == kindConnecting || k == kindReconnecting) && connection != none:
		r.Detail = connection.Detail
	case k == kindNoServer && connection != none:
		r.Detail += ": " + connection.Detail
		if r.Reason == reason.NetworkUnreachable {
			r.Reason = connection.Reason
		}
	}
	return r
}
