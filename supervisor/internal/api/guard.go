package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// guard lets a request pass only if it names this service as its host, and does
// not come from another site's page. Else a web page that the operator visits
// could read the QR by DNS rebinding, or press buttons by a cross-site request.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.hostAllowed(r) {
			problem{
				status: http.StatusForbidden, code: "host_refused",
				detail: "The Host header names a host that this service does not go by.",
				hint:   "Use localhost or 127.0.0.1, or start the supervisor with --allow-host.",
			}.write(w, r)
			return
		}
		if !sameOrigin(r) && !opensPage(r) {
			problem{
				status: http.StatusForbidden, code: "origin_refused",
				detail: "The request was sent by another site's page.",
			}.write(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *api) hostAllowed(r *http.Request) bool {
	name := hostname(r.Host)
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(a.AllowedHosts, func(h string) bool {
		return strings.EqualFold(h, name)
	}) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && (addr.IsLoopback() || addr.Unmap() == localAddr(r))
}

// localAddr is the address of ours that the connection came to. A Host that
// names it by number can't be a rebound name.
func localAddr(r *http.Request) netip.Addr {
	tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// hostname is host without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// opensPage says that r is a person who follows another site's link to the page.
// The other site learns nothing of it, and the page can't be framed.
func opensPage(r *http.Request) bool {
	return r.URL.Path == pagePath && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// sameOrigin judges by the two headers that browsers send and pages can't forge.
// A client that is no browser sends neither.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}
