package webui

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
)

func render(t *testing.T, s session.Snapshot, language string) string {
	t.Helper()
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	page, err := u.Render(&s, language)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func TestEachLanguageHasEveryText(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var translated struct{ Reasons map[reason.Code]reason.Text }
	if err := json.Unmarshal(spanish, &translated); err != nil {
		t.Fatal(err)
	}
	en, es := u.languages["en"], u.languages["es"]
	for _, c := range reason.Codes() {
		text, ok := translated.Reasons[c]
		if !ok || text.Message == "" || (text.Action == "") != (en.Reasons[c].Action == "") {
			t.Errorf("es.json: reason %s is missing, or differs from the catalogue", c)
		}
	}
	for c := range translated.Reasons {
		if !slices.Contains(reason.Codes(), c) {
			t.Errorf("es.json: there is no reason %s", c)
		}
	}
	for _, s := range session.States() {
		if en.States[s] == "" || es.States[s] == "" {
			t.Errorf("state %s has no headline", s)
		}
	}
	same(t, en.UI, es.UI)
	same(t, en.Phases, es.Phases)
	if len(en.Steps) != len(es.Steps) {
		t.Error("the steps differ")
	}
}

// same checks that two languages have the same keys, with the same {places}.
func same(t *testing.T, a, b map[string]string) {
	t.Helper()
	places := regexp.MustCompile(`\{\w+\}`)
	if len(a) != len(b) {
		t.Errorf("%d and %d texts", len(a), len(b))
	}
	for key, text := range a {
		x, y := places.FindAllString(text, -1), places.FindAllString(b[key], -1)
		slices.Sort(x)
		slices.Sort(y)
		if b[key] == "" || !slices.Equal(x, y) {
			t.Errorf("%s: %q and %q", key, text, b[key])
		}
	}
}

func TestScriptUsesExistingTextsAndElements(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bid="(\w+)"`).FindAllStringSubmatch(pageHTML, -1) {
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\b(?:el|show)\("(\w+)"`).FindAllStringSubmatch(pageJS, -1) {
		if !ids[m[1]] {
			t.Errorf("the page has no element %s", m[1])
		}
	}
	used := regexp.MustCompile(`\b(?:ui|Text\.UI)\.(\w+)`).FindAllStringSubmatch(pageJS+pageHTML, -1)
	for _, m := range used {
		if u.languages["en"].UI[m[1]] == "" {
			t.Errorf("there is no text %s", m[1])
		}
	}
}

func TestPageNamesNoOtherHost(t *testing.T) {
	page := render(t, session.Snapshot{State: session.Init}, "en")
	if found := regexp.MustCompile(`(?i)(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//`).FindString(page); found != "" {
		t.Errorf("found %s", found)
	}
}

func TestPolicyAllowsExactlyTheInlineScriptAndStyle(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	page := render(t, session.Snapshot{State: session.Init}, "en")
	for _, tag := range []string{"script", "style"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		content, _, ok := strings.Cut(rest, "</"+tag+">")
		if !ok || !strings.Contains(u.Policy, tag+"-src '"+hash(content)+"'") {
			t.Errorf("the policy does not name this %s: %s", tag, u.Policy)
		}
		if n := strings.Count(page, "<"+tag+">"); n != 1 {
			t.Errorf("%d elements %s", n, tag)
		}
	}
	if strings.Contains(u.Policy, "unsafe") || strings.Contains(page, " style=") || strings.Contains(page, " onclick=") {
		t.Error("something else than the hashes is needed")
	}
}

func TestPageShowsTheStateBeforeItsScriptRuns(t *testing.T) {
	s := session.Snapshot{State: session.Error, Reason: session.Reason{Code: reason.BrowserMissing}}
	for accept, want := range map[string][]string{
		"en": {`<html lang="en">`, "Action needed", "No usable Chrome or Chromium was found.", "apt-get install chromium"},
		"es": {`<html lang="es">`, "Se requiere tu intervención", "ningún Chrome", "apt-get install chromium"},
	} {
		page := render(t, s, accept)
		for _, part := range want {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %q", accept, part)
			}
		}
	}
}

func TestTextsOfThePageCantEndItsScript(t *testing.T) {
	page := render(t, session.Snapshot{State: `</script><b>`, Reason: session.Reason{Code: `</script><i>`}}, "en")
	if strings.Contains(page, "<b>") || strings.Contains(page, "<i>") {
		t.Error("not escaped")
	}
}
