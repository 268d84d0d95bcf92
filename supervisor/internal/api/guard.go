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
		if !a.hostAllowed(r.Host) {
			problem{
				status: http.StatusForbidden, code: "host_refused",
				detail: "The Host header names a host that this service does not go by.",
				hint:   "Use localhost or 127.0.0.1, or start the supervisor with --allow-host.",
			}.write(w, r)
			return
		}
		if !sameOrigin(r) {
			problem{
				status: http.StatusForbidden, code: "origin_refused",
				detail: "The request was sent by another site's page.",
			}.write(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *api) hostAllowed(host string) bool {
	name := hostname(host)
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(a.AllowedHosts, func(h string) bool {
		return strings.EqualFold(h, name)
	}) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// hostname is host without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
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
