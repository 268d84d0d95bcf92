package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
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

func TestPageWithoutItsKeyShowsNoSession(t *testing.T) {
	h := made(t, Options{
		Session: newFakeSession(full(t)), Keys: someKeys(t), ReadNeedsKey: true, About: About{KeyFile: "/etc/the-keys"},
	}).router()
	for key, want := range map[string]bool{"": false, "wrong": false, commandKey: false, readKey: true} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Host = "localhost"
		r.Header.Set("X-API-Key", key)
		h.ServeHTTP(w, r)
		body := w.Body.String()
		shows := strings.Contains(body, `data-state="QR_REQUIRED"`) || strings.Contains(body, "a detail")
		if asks := strings.Contains(body, "<h1 id=\"headline\">API key needed"); shows != want || asks == want || strings.Contains(body, "/etc/the-keys") != want {
			t.Errorf("key %q: it shows the session: %v, asks for a key: %v", key, shows, asks)
		}
	}
}

func TestPageHasTextsForProblemsThatItMeets(t *testing.T) {
	content, err := os.ReadFile("../webui/locales/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts struct{ Problems, SendCodes, Statuses map[string]string }
	if err := json.Unmarshal(content, &texts); err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Concat(refusals, outboxRefusals) {
		elsewhere := strings.Contains(r.Code, "passkey") || r.Code == "not_sent" // a section of its own, or none
		if texts.Problems[r.Code] == "" && !elsewhere {
			t.Errorf("problem %s: %s %s", r.Code, r.Detail, r.Hint)
		}
	}
	enum := doc(t).Components.Schemas["Problem"].Value.Properties["code"].Value.Enum
	for code := range texts.Problems {
		if !slices.Contains(enum, any(code)) {
			t.Errorf("there is no problem %s", code)
		}
	}
	for _, status := range doc(t).Components.Schemas["MessageStatus"].Value.Enum {
		if name, _ := status.(string); texts.Statuses[name] == "" {
			t.Errorf("status %v", status)
		}
	}
}
