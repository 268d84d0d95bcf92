package api

import (
	"net/http"
	"strings"
	"testing"

	"session-manager/supervisor/internal/session"
)

func TestPageHeadersKeepOtherSitesOut(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{State: session.Ready}), fakeCommands{})
	got := ask(t, s, "GET", "/", func(r *http.Request) { r.Header.Set("Accept-Language", "es-MX") })
	if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(got.body, `lang="es"`) {
		t.Fatalf("got %d %s", got.status, got.header.Get("Content-Type"))
	}
	policy := got.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("no %s in %s", part, policy)
		}
	}
	if got.header.Get("Content-Language") != "es" || got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", got.header)
	}
}

func TestCrossSiteLinkOpensOnlyThePage(t *testing.T) {
	s := serve(t, newFakeSession(session.Snapshot{}), fakeCommands{})
	follow := func(method, path, mode, dest string) int {
		return ask(t, s, method, path, func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", mode)
			r.Header.Set("Sec-Fetch-Dest", dest)
		}).status
	}
	if got := follow("GET", "/", "navigate", "document"); got != 200 {
		t.Errorf("the page: got %d", got)
	}
	for name, got := range map[string]int{
		"in a frame":       follow("GET", "/", "navigate", "iframe"),
		"by a script":      follow("GET", "/", "cors", "empty"),
		"as an image":      follow("GET", "/qr.png", "no-cors", "image"),
		"the QR, by link":  follow("GET", "/qr", "navigate", "document"),
		"a form's command": follow("POST", "/session/restart", "navigate", "document"),
	} {
		if got != 403 {
			t.Errorf("%s: got %d", name, got)
		}
	}
}

func TestPageIsInThePreferredLanguage(t *testing.T) {
	for accept, want := range map[string]string{
		"":                              "en",
		"es":                            "es",
		"es-AR,es;q=0.9,en;q=0.8":       "es",
		"en-US,en;q=0.9,es;q=0.8":       "en",
		"de-DE,de;q=0.9,es;q=0.5":       "es",
		"fr":                            "en",
		"es;q=0.1,en;q=0.2":             "en",
		"ES-mx":                         "es",
		"*":                             "en",
		";;;,q=,es;q=rubbish":           "es",
		"est":                           "en",
		"es;q=0":                        "en",
		"pt-BR,en;q=0.5":                "pt-BR",
		"pt-PT,es;q=0.9":                "pt-BR",
		"PT":                            "pt-BR",
		"pt-br;q=0.5,en;q=0.6":          "en",
		strings.Repeat("x,", 1000) + "": "en",
	} {
		if got := language(accept); got != want {
			t.Errorf("%.40q: got %s, want %s", accept, got, want)
		}
	}
}
