package api

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/supervisor/internal/session"
)

var (
	tcpAddress  = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001}
	unixAddress = &net.UnixAddr{Name: "/run/api.sock", Net: "unix"}
)

func TestForeignHostsAndOriginsAreRejected(t *testing.T) {
	const evil, ours = "https://evil.example", "wa.example"
	h := made(t, Options{
		Session: newFakeSession(withQR(t, time.Minute)), Workers: fakeCommands{}, AllowedHosts: []string{ours}, Keys: someKeys(t),
	}).router()
	tests := []struct {
		name, host, origin, fetchSite, header string
		local                                 net.Addr
		want                                  string
	}{
		{name: "loopback by number", host: "127.0.0.1:3001"},
		{name: "loopback by name", host: "LOCALHOST:3001"},
		{name: "IPv6 loopback", host: "[::1]:3001"},
		{name: "allowed name", host: "WA.example"},
		{name: "an address of this machine, or one that leads here", host: "192.168.1.5:3001"},
		{name: "an IPv6 address", host: "[2001:db8::1]:3001"},
		{name: "HTTP/1.0, as a health check sends it", host: ""},
		{name: "own page", host: "localhost:3001", origin: "http://localhost:3001", fetchSite: "same-origin"},
		{name: "typed by a person", host: "localhost:3001", fetchSite: "none"},
		{name: "an older browser's own page", host: "localhost:3001", origin: "http://localhost:3001"},

		{name: "DNS rebinding", host: "evil.example:3001", want: "host_refused"},
		{name: "DNS rebinding, vouched for", host: "evil.example:3001", origin: "https://evil.example:3001", fetchSite: "same-origin", want: "host_refused"},
		{name: "DNS rebinding with a guessed key", host: "evil.example:3001", header: "X-API-Key: guess-guess-guess-guess", want: "host_refused"},
		{name: "loopback as a prefix", host: "127.0.0.1.evil.example", want: "host_refused"},
		{name: "a search domain", host: "intranet:3001", want: "host_refused"},
		{name: "every address", host: "0.0.0.0:3001", want: "host_refused"},
		{name: "an address in other words", host: "0x7f.1", want: "host_refused"},
		{name: "an allowed name as a prefix", host: ours + ".evil.example", want: "host_refused"},
		{name: "other origin", host: "localhost:3001", origin: evil, want: "origin_refused"},
		{name: "opaque origin", host: "localhost:3001", origin: "null", want: "origin_refused"},
		{name: "not an origin", host: "localhost:3001", origin: "://", want: "origin_refused"},
		{name: "other port's page", host: "localhost:3001", origin: "http://localhost:1", want: "origin_refused"},
		{name: "cross-site request without origin", host: "localhost:3001", fetchSite: "cross-site", want: "origin_refused"},
		{name: "same-site request", host: ours, origin: "https://evil." + ours, fetchSite: "same-site", want: "origin_refused"},
		{name: "of an allowed name, and not vouched for", host: "localhost:3001", origin: "http://" + ours, fetchSite: "cross-site", want: "origin_refused"},
		{name: "an extension's", host: "localhost:3001", origin: "chrome-extension://abc", fetchSite: "none", want: "origin_refused"},
		{name: "unknown word for a site", host: "localhost:3001", origin: evil, fetchSite: "same-planet", want: "origin_refused"},

		{name: "nginx with its default Host, vouched for", host: "127.0.0.1:3001", origin: "https://anything.example", fetchSite: "same-origin"},
		{name: "nginx with its default Host", host: "127.0.0.1:3001", origin: "http://" + ours + ":8080"},
		{name: "nginx with its default Host, name not allowed", host: "127.0.0.1:3001", origin: "http://other.example", want: "origin_refused"},
		{name: "nginx on another port, Host without it", host: "localhost", origin: "http://localhost:8080", fetchSite: "same-origin"},
		{name: "nginx on another port, by an allowed name", host: ours, origin: "http://" + ours + ":8080"},
		{name: "nginx before a Unix socket, default Host", local: unixAddress, host: "localhost", origin: "https://" + ours, fetchSite: "same-origin"},
		{name: "nginx before a Unix socket, other site", local: unixAddress, host: "localhost", origin: evil, fetchSite: "cross-site", want: "origin_refused"},
		{name: "nginx before a Unix socket, rebound", local: unixAddress, host: "evil.example", want: "host_refused"},

		{name: "curl over a Unix socket", local: unixAddress, host: "unix"},
		{name: "curl over a Unix socket, by address", local: unixAddress, host: "10.0.0.1"},
		{name: "the same name over TCP", host: "unix", want: "host_refused"},
		{name: "a client with a key", host: "session-manager.compose:3001", header: "X-API-Key: " + readKey},
		{name: "a client with a bearer's key", host: "session-manager.compose:3001", header: "Authorization: Bearer " + readKey},
		{name: "a browser sends a password unasked", host: "localhost:3001", origin: evil, header: "Authorization: Basic eDpyZWFkZXItcmVhZGVyLXJlYWRlcg==", want: "origin_refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local := tt.local
			if local == nil {
				local = tcpAddress
			}
			r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local), "GET", "/qr", nil)
			r.Host = tt.host
			for name, value := range map[string]string{"Origin": tt.origin, "Sec-Fetch-Site": tt.fetchSite} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Body.String()
			if given := strings.Contains(got, "QR_AVAILABLE"); given != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %.200s, want %s", got, tt.want)
			}
		})
	}
}

func TestOtherSitesReachNoRoute(t *testing.T) {
	const rebound = "evil.example:3001"
	requests := map[string]map[string]string{
		"an img":                       {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
		"a prefetch":                   {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty", "Sec-Purpose": "prefetch"},
		"a frame":                      {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
		"a frame of a sibling":         {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
		"a form":                       {"Origin": "https://evil.example", "Content-Type": "multipart/form-data; boundary=x"},
		"a form without a referrer":    {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
		"a form in a new window":       {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Content-Type": "multipart/form-data; boundary=x"},
		"a script with a simple body":  {"Origin": "https://evil.example", "Content-Type": "text/plain"},
		"a beacon":                     {"Origin": "https://evil.example", "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"},
		"another port's page":          {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-site"},
		"a rebound name":               {"Host": rebound, "Origin": "http://" + rebound, "Sec-Fetch-Site": "same-origin"},
		"one with a password":          {"Origin": "https://evil.example", "Authorization": "Basic eDpib3RoLWJvdGgtYm90aC1ib3Ro"},
		"a rebound one and a password": {"Host": rebound, "Authorization": "Basic eDpib3RoLWJvdGgtYm90aC1ib3Ro"},
	}
	for _, o := range []Options{{}, {Keys: someKeys(t)}} {
		a, h := admitting(t, o)
		for _, rt := range a.routes {
			for _, method := range rt.methods {
				for name, header := range requests {
					r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost:3001"+rt.path, nil)
					for name, value := range header {
						r.Header.Set(name, value)
					}
					if header["Host"] != "" {
						r.Host = header["Host"]
					}
					w := httptest.NewRecorder()
					if h.ServeHTTP(w, r); rt.path == pagePath && method != "POST" && name == "a form in a new window" {
						continue // a link to the page
					}
					if w.Code != http.StatusForbidden || w.Header().Get("Access-Control-Allow-Origin") != "" {
						t.Errorf("%s of another site, %s %s: got %d", name, method, rt.path, w.Code)
					}
				}
			}
		}
	}
}

func TestGuessesOfABrowserAreNoCommands(t *testing.T) {
	a, h := admitting(t, Options{})
	for _, rt := range a.routes {
		for _, purpose := range []string{"prefetch", "prefetch;prerender", ""} {
			if !slices.Contains(rt.methods, http.MethodGet) {
				continue
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+rt.path, nil)
			r.Header.Set("Sec-Fetch-Site", "none")
			r.Header.Set("Sec-Purpose", purpose)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden; refused != (rt.access == command && purpose != "") {
				t.Errorf("%s, %q: got %d", rt.path, purpose, w.Code)
			}
		}
	}
}

func TestRefusalNamesTheSettingThatAllowsIt(t *testing.T) {
	h := made(t, Options{Session: newFakeSession(session.Snapshot{})}).router()
	for host, origin := range map[string]string{"upstream": "", "127.0.0.1:3001": "http://wa.lan:8080"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/status", nil)
		r.Host = host
		want := "--allow-host=" + host
		if origin != "" {
			r.Header.Set("Origin", origin)
			want = "--allow-host=wa.lan"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 403 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s, %s: %d %s", host, origin, w.Code, w.Body)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/status", nil)
	r.Host = strings.Repeat("x", 8000)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 403 || w.Body.Len() > 1000 {
		t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
	}
}
