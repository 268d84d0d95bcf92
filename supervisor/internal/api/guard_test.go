package api

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestForeignHostsAndOriginsAreRejected(t *testing.T) {
	s := serve(t, newFakeSession(withQR(t, time.Minute)), fakeCommands{})
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	tests := []struct {
		name, host, origin, fetchSite string
		want                          int
	}{
		{name: "loopback by number", host: "127.0.0.1" + port, want: 200},
		{name: "loopback by name", host: "localhost" + port, want: 200},
		{name: "IPv6 loopback", host: "[::1]" + port, want: 200},
		{name: "allowed name", host: "wa.example", want: 200},
		{name: "own page", host: "localhost" + port, origin: "http://localhost" + port, fetchSite: "same-origin", want: 200},
		{name: "DNS rebinding", host: "evil.example" + port, want: 403},
		{name: "loopback as a prefix", host: "127.0.0.1.evil.example", want: 403},
		{name: "other machine", host: "192.168.1.5" + port, want: 403},
		{name: "no host", host: " ", want: 403},
		{name: "other origin", host: "localhost" + port, origin: "https://evil.example", want: 403},
		{name: "opaque origin", host: "localhost" + port, origin: "null", want: 403},
		{name: "other port's page", host: "localhost" + port, origin: "http://localhost:1", want: 403},
		{name: "cross-site request without origin", host: "localhost" + port, fetchSite: "cross-site", want: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, s, "GET", "/qr", func(r *http.Request) {
				r.Host = tt.host
				if tt.origin != "" {
					r.Header.Set("Origin", tt.origin)
				}
				if tt.fetchSite != "" {
					r.Header.Set("Sec-Fetch-Site", tt.fetchSite)
				}
			})
			if got.status != tt.want {
				t.Errorf("got %d, want %d", got.status, tt.want)
			}
			if got.status != 200 && strings.Contains(got.body, "QR_AVAILABLE") {
				t.Error("the QR was given away")
			}
		})
	}
}
